//! The flight recorder: what it gives is that stretch of a recording, whoever asks and how, and it delays nothing.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
};

use bitcointap::{
    capture::Counters,
    recording::{Entry, Reader},
    selection::Selection,
    tracepoint::Tracepoint,
};
use rustix::process::Signal;

use crate::{
    golden::without_time,
    node::{Simnode, own_program},
    outputs::Disk,
    tool::{Attached, Exporter, bitcointap, eventually, output},
};

/// The head of an answer without chunks, and its body.
pub fn ask(exporter: &Exporter, query: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(&exporter.address).unwrap();
    write!(stream, "GET /recording{query} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

/// A recording, which accounts for each event.
fn download(exporter: &Exporter, query: &str) -> Vec<u8> {
    let (head, body) = ask(exporter, query);
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}{}", String::from_utf8_lossy(&body));
    assert_complete(&body);
    body
}

/// From the first group on: fired = delivered + filtered + lost, and each loss is told at its place.
fn assert_complete(recording: &[u8]) {
    let all = Selection::of(Tracepoint::all().collect());
    let (mut delivered, mut gaps, mut sums) = (0, 0, Counters::default());
    for entry in Reader::new(recording, &all).unwrap() {
        let added = match entry.unwrap() {
            Entry::Batch(batch) => {
                batch.each(|event| match event.kind {
                    bitcointap::event::Kind::Lost(lost) => gaps += lost.count,
                    _ => delivered += 1,
                });
                *batch.added()
            }
            Entry::End(counted) => {
                gaps += counted.untold.iter().map(|lost| lost.count).sum::<u64>();
                counted.added
            }
            _ => continue,
        };
        sums = added.iter().fold(sums, |sums, added| sums.plus(added));
    }
    assert_eq!(sums.fired, delivered + sums.filtered + sums.lost_in_all());
    assert_eq!(gaps, sums.lost_in_all());
}

/// The lines of its replay.
fn lines(recording: &[u8], arguments: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), recording).unwrap();
    lines_of(file.path(), arguments)
}

fn lines_of(path: &Path, arguments: &str) -> Vec<String> {
    let replayed = output(&format!("tap --replay {} --speed max --events all {arguments}", path.display()));
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    String::from_utf8(replayed.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Each tap has times of its own.
fn without_times(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split_once("\"event\":").unwrap().1).collect()
}

fn held(exporter: &Exporter, what: &str) -> f64 {
    exporter.scrape().sum(&format!("flight_recorder_{what}"), &[])
}

#[test]
fn its_replay_is_that_stretch_of_a_recording_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let beside = directory.path().join("beside");
    let mut node = Simnode::start("v31", "--scenario mix --rate 2000");
    let arguments = "--events all --flight-recorder 64MiB --flight-recorder.payload whole";
    let exporter = Exporter::start(&format!("--pid {} {arguments}", node.pid()));
    let command = format!("record {} --events all --pid {}", beside.display(), node.pid());
    let mut recorder = Attached::spawn(bitcointap(&command));
    node.fire();
    // So long that it has several groups.
    eventually("some groups", || (held(&exporter, "span_seconds") > 7.0).then_some(()));
    let [first, last] = ["", "?last=1"].map(|query| download(&exporter, query));
    node.signal(Signal::TERM);
    let fired: u64 = node.tally().tracepoints().values().sum();
    exporter.last_scrape();
    assert!(recorder.wait().success(), "{}", recorder.log);
    let whole = download(&exporter, "");
    exporter.stop();

    let beside = lines_of(&beside, "--bytes hex");
    let beside = without_times(&beside);
    let [first, last, whole] = [first, last, whole].map(|recording| lines(&recording, "--bytes hex"));
    assert!(without_times(&whole) == beside && beside.len() as u64 == fired, "{} of {fired}", whole.len());
    let first = without_times(&first);
    assert!(first.len() > 5_000 && first[..] == beside[..first.len()], "it ended when it was asked for");
    // One that does not begin with the run is a stretch from the middle.
    let last = without_times(&last);
    assert!(!last.is_empty() && last.len() < first.len());
    let starts = (0..=beside.len() - last.len()).filter(|&start| beside[start] == last[0]);
    let starts: Vec<_> = starts.filter(|&start| beside[start..start + last.len()] == last[..]).collect();
    assert!(matches!(starts[..], [start] if start > 0 && start + last.len() >= first.len()), "{starts:?}");
}

#[test]
fn the_words_of_the_query_select_as_those_of_a_replay_do() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000 --count 20000 --linger");
    let arguments = "--events all --flight-recorder 64MiB --node-name alice";
    let exporter = Exporter::start(&format!("--pid {} {arguments}", node.pid()));
    assert_eq!(ask(&exporter, "").1, b"nothing is recorded yet: try again later\n");
    node.fire();
    let tally = node.read_tally();
    exporter.settled_events(&tally);
    let (head, whole) = ask(&exporter, "");
    let name = head.split_once("content-disposition: attachment; filename=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(name.starts_with("alice-20") && name.ends_with("Z.recording"), "{name}");
    assert!(head.contains(&format!("content-length: {}\r\n", whole.len())), "{head}");
    let all = lines(&whole, "");
    assert!(all.len() > 15_000);
    for (query, arguments) in [
        ("command=inv,tx&direction=inbound", "--command inv,tx --direction inbound"),
        ("events=mempool", "--events mempool"),
        ("not-command=ping%2Cpong&not-network=onion", "--not-command ping,pong --not-network onion"),
        ("peer=0,1,2,3&min-size=30&last=1h", "--peer 0,1,2,3 --min-size 30"),
        ("address=0.0.0.0/1", "--address 0.0.0.0/1"),
    ] {
        let arguments = arguments.replace("--events mempool", "--not-events net,validation,utxocache,coin_selection");
        let expected = lines(&whole, &arguments);
        assert!(!expected.is_empty() && expected.len() < all.len(), "{query}");
        assert!(lines(&download(&exporter, &format!("?{query}")), "") == expected, "{query}");
    }
    for (query, words) in [
        ("?comand=inv", "there is no condition 'comand'; there are events, "),
        ("?last=-5m", "'-5m' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d\n"),
        ("?payload=none", "'payload' is for /events: a recording keeps bytes as they are\n"),
    ] {
        let (head, body) = ask(&exporter, query);
        let body = String::from_utf8(body).unwrap();
        assert!(head.starts_with("HTTP/1.0 400 ") && body.starts_with(words) && body.lines().count() == 1, "{body}");
    }
    exporter.stop();
    let off = Exporter::start(&format!("--pid {}", node.pid()));
    let (head, body) = ask(&off, "?comand=inv");
    assert!(head.starts_with("HTTP/1.0 404 "), "{head}");
    assert_eq!(body, b"there is no flight recorder: start export with --flight-recorder SIZE\n");
    off.stop();
}

#[test]
fn it_keeps_payloads_as_far_as_metrics_read_them_and_goes_on_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = own_program(&directory);
    let exporter = Exporter::start_waiting(&format!("--bitcoind {} --flight-recorder 32MiB", path.display()));
    let mut fired = 0;
    for run in 1..=2 {
        let mut node =
            Simnode::start_program(&path, &format!("--scenario mix --seed {run} --rate 20000 --count 10000"));
        exporter.wait_for_attachment(f64::from(run));
        node.fire();
        let tally = node.tally().tracepoints();
        let default: u64 = tally.iter().filter(|(name, _)| !is_coin(name)).map(|(_, count)| count).sum();
        fired += default;
        exporter.last_scrape();
    }
    let recording = download(&exporter, "");
    let live = eventually("a scrape", || crate::exposition::get(&exporter.address, "/metrics"));
    exporter.stop();
    let all = lines(&recording, "");
    assert_eq!(all.len() as u64, fired);
    let is_cut = |line: &&String| line.contains("\"reason\":\"not_wanted\"");
    let cut: Vec<_> = all.iter().filter(is_cut).collect();
    assert!(cut.len() < all.len() / 2 && cut.iter().any(|line| line.contains(r#""command":"tx""#)), "{}", cut.len());
    assert!(all.iter().any(|line| line.contains(r#""msg":{"Inv""#)));

    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), recording).unwrap();
    let replay = format!("--replay {} --speed max", file.path().display());
    let replay = Exporter::start_by(bitcointap, &replay, "end of the run");
    let of_node = |metrics: &str| -> Vec<String> {
        let groups = ["p2p_", "mempool_", "validation_"].map(|group| format!("bitcointap_{group}"));
        let is_of_node = |line: &&str| groups.iter().any(|group| line.starts_with(group.as_str()));
        without_time(metrics).lines().filter(is_of_node).map(str::to_owned).collect()
    };
    let expected = of_node(&live);
    assert!(expected.len() > 500);
    eventually("the same metrics", || {
        let replayed = crate::exposition::get(&replay.address, "/metrics")?;
        (of_node(&replayed) == expected).then_some(())
    });
    replay.stop();
}

fn is_coin(tracepoint: &str) -> bool {
    ["utxocache:add", "utxocache:spent", "utxocache:uncache"].contains(&tracepoint)
}

#[test]
fn in_a_flood_it_keeps_the_newest_whoever_reads_and_loses_nothing_for_others() {
    const SIZE: f64 = (32 << 20) as f64;
    let mut node = Simnode::start("v31", "--scenario blocks --rate 300");
    let arguments = "--flight-recorder 32MiB --flight-recorder.payload whole --ring-buffer-size 64MiB";
    let exporter = Exporter::start(&format!("--pid {} {arguments}", node.pid()));
    node.fire();
    eventually("something is recorded", || (held(&exporter, "bytes") > 4e6).then_some(()));
    // These read their heads, and nothing more.
    let slow: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(&exporter.address).unwrap();
            write!(stream, "GET /recording HTTP/1.0\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    eventually("it is full", || (held(&exporter, "groups_dropped_total") > 3.0).then_some(()));
    thread::scope(|scope| {
        for query in ["?last=5m", "?last=1", "?command=inv"] {
            let exporter = &exporter;
            scope.spawn(move || {
                for _ in 0..3 {
                    let (head, body) = ask(exporter, query);
                    let is_busy = head.starts_with("HTTP/1.0 503 ");
                    assert!(head.starts_with("HTTP/1.0 200 ") || is_busy, "{head}");
                    // In a flood it may break off, between two blocks or within one.
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if !is_busy && length.is_some_and(|length| length == body.len().to_string()) {
                        assert_complete(&body);
                    }
                }
            });
        }
    });
    node.signal(Signal::TERM);
    let fired: u64 = node.tally().tracepoints().iter().filter(|(name, _)| !is_coin(name)).map(|(_, n)| n).sum();
    let metrics = exporter.last_line("flight-recorder");
    let sum = |family: &str| metrics.sum(family, &[("sink", "flight-recorder")]);
    let lost = metrics.sum("events_lost_total", &[]);
    println!("{lost} lost on the way, {} by the recorder", sum("json_lines_lost_total"));
    assert!(sum("json_lines_total") + sum("json_lines_lost_total") + lost >= fired as f64);
    assert!(held(&exporter, "bytes") <= SIZE);
    println!("peak of resident memory: {} KiB", exporter.process.peak_memory());
    let recording = download(&exporter, "");
    // What slow readers still hold takes room from what is newer.
    assert!(recording.len() as f64 > SIZE / 4.0, "{}", recording.len());
    drop(slow);
    exporter.stop();
}

#[test]
fn what_alerts_say_to_look_at_is_there() {
    let page = fs::read_to_string("docs/alerts.md").unwrap();
    let said = page.split("**Flight recording.** ").skip(1).map(|rest| rest.split("\n\n").next().unwrap());
    let options: BTreeSet<String> = said
        .flat_map(|said| said.split('`').skip(1).step_by(2))
        .map(|it| it.replace('\n', " "))
        .filter(|it| it.starts_with("--"))
        .collect();
    assert!(options.len() > 15, "{options:?}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r");
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000 --count 20000");
    let exporter = Exporter::start(&format!("--pid {} --flight-recorder 64MiB", node.pid()));
    node.fire();
    node.tally();
    exporter.last_scrape();
    fs::write(&path, download(&exporter, "?last=15m")).unwrap();
    exporter.stop();
    for options in options {
        let replayed = output(&format!("tap --replay {} --speed max {options}", path.display()));
        assert!(replayed.status.success(), "{options}: {}", String::from_utf8_lossy(&replayed.stderr));
        // The simulated node has other addresses, and no messages as large as that.
        let may_be_empty = ["--address", "--min-size 100KiB"].iter().any(|those| options.contains(those));
        assert!(!replayed.stdout.is_empty() || may_be_empty, "{options}");
    }
}

/// Recordings in a directory, by name.
fn recordings(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Sends SIGUSR1. Gives the line of the log that answers.
fn request(exporter: &mut Exporter, words: &str) -> String {
    exporter.process.signal(Signal::USR1, words).to_owned()
}

#[test]
fn a_signal_writes_a_file_or_says_in_a_line_why_not() {
    let Some(disk) = Disk::mount("20m") else { return println!("skipped: nothing can be mounted here") };
    let directory = disk.0.path().join("flights");
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000 --count 20000 --linger");
    let arguments =
        format!("--pid {} --flight-recorder 32MiB --flight-recorder-dir {}", node.pid(), directory.display());
    let missing = output(&format!("export --web.listen-address 127.0.0.1:0 {arguments}"));
    let words = format!("bitcointap: cannot write flight recordings into {}: No such file", directory.display());
    assert!(String::from_utf8_lossy(&missing.stderr).starts_with(&words), "{missing:?}");
    fs::create_dir(&directory).unwrap();
    let mut exporter = Exporter::start(&arguments);
    let line = request(&mut exporter, "SIGUSR1");
    assert!(line.contains("level=error") && line.contains("has recorded nothing yet"), "{line}");
    node.fire();
    let fired: u64 = node.read_tally().tracepoints().iter().filter(|(name, _)| !is_coin(name)).map(|(_, n)| n).sum();
    eventually("all is drained", || {
        (exporter.scrape().sum("event_delay_seconds_count", &[]) == fired as f64).then_some(())
    });
    let line = request(&mut exporter, "wrote a flight recording");
    let all = download(&exporter, "");
    let [path] = &recordings(&directory).into_iter().collect::<Vec<_>>()[..] else { panic!("one file") };
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == "20261129T055148Z.recording".len() && name.ends_with("Z.recording"), "{name}");
    let written = fs::read(path).unwrap();
    assert_complete(&written);
    let written = lines(&written, "");
    assert!(written == lines(&all, ""), "it ends with what had fired");
    assert!(line.contains(&format!("path={} seconds=", path.display())), "{line}");
    assert!(line.contains(&format!("events={}", written.len())), "{line}");
    request(&mut exporter, "wrote a flight recording");
    let second = directory.join(name.replace(".recording", "-1.recording"));
    assert_eq!(recordings(&directory), BTreeSet::from([path.clone(), second]));

    // Full, then missing.
    fs::write(disk.0.path().join("other"), vec![1; 20 << 20]).unwrap_err();
    for why in ["No space left on device (os error 28)", "No such file or directory (os error 2)"] {
        let line = request(&mut exporter, "SIGUSR1");
        let words = format!("SIGUSR1: cannot write a flight recording into {}: {why}", directory.display());
        assert!(line.contains("level=error") && line.contains(&words), "{line}");
        assert!(recordings(disk.0.path()).len() <= 2, "nothing is left of it");
        if directory.exists() {
            assert_eq!(recordings(&directory).len(), 2);
            fs::remove_dir_all(&directory).unwrap();
        }
    }
    assert!(lines(&download(&exporter, ""), "") == written, "the rest goes on");
    exporter.stop();
}

#[test]
fn a_configuration_file_has_it_and_sighup_changes_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    let here = directory.path().display();
    for (text, words) in [
        ("[flight-recorder]\nsize = \"1MiB\"".to_owned(), ":2: flight-recorder: must be 32MiB or more"),
        (
            "flight-recorder.dir = \"/\"".into(),
            ":1: --flight-recorder.dir needs a flight recorder: --flight-recorder SIZE",
        ),
        (
            format!("[flight-recorder]\nsize = \"64MiB\"\ndir = \"{here}/none\""),
            ":3: cannot write flight recordings into",
        ),
        ("flight-recorder = \"64MiB\"\n[outputs.flight-recorder]\njson = \"-\"".into(), "has the name of that of"),
    ] {
        write(&text);
        let checked = output(&format!("check-config {}", file.display()));
        let told = String::from_utf8(checked.stderr).unwrap();
        assert!(checked.status.code() == Some(1) && told.contains(words), "{told}");
    }

    write("[flight-recorder]\nsize = \"32MiB\"\n");
    let mut node = Simnode::start("v31", "--scenario mix --rate 2000");
    let mut exporter = Exporter::start(&format!("--config {} --pid {}", file.display(), node.pid()));
    node.fire();
    let has_tx = |recording: &[u8]| lines(recording, "--command tx").iter().any(|line| line.contains(r#""msg":{"Tx""#));
    let before = eventually("some events", || Some(ask(&exporter, "").1).filter(|it| it.len() > 20_000));
    assert!(!has_tx(&before));
    write(&format!("[flight-recorder]\nsize = \"64MiB\"\npayload = \"whole\"\ndir = \"{here}\"\n"));
    exporter.process.hang_up("read the configuration file again");
    assert!(
        exporter.process.log.contains("the output flight-recorder has begun, to memory"),
        "{}",
        exporter.process.log
    );
    assert!(!exporter.process.log.contains("need a restart"), "{}", exporter.process.log);
    eventually("whole payloads", || has_tx(&download(&exporter, "")).then_some(()));
    let [before, after] = [before, download(&exporter, "")].map(|recording| lines(&recording, ""));
    assert!(after[..before.len()] == before[..], "what was held stays");
    request(&mut exporter, "wrote a flight recording");

    write("");
    exporter.process.hang_up("read the configuration file again");
    eventually("its end", || ask(&exporter, "").0.starts_with("HTTP/1.0 404 ").then_some(()));
    assert!(!exporter.scrape().has("flight_recorder_bytes"));
    let line = request(&mut exporter, "SIGUSR1");
    assert!(line.contains("there is no flight recorder: start export with --flight-recorder"), "{line}");
    exporter.stop();
}
