//! Recordings joined, cut and described: several files and nodes at once, parts of them, and what is in them.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    node::Simnode,
    tool::{Attached, Exporter, bitcointap, eventually, fetched, output, signal},
};

/// Recordings of nodes that ran at the same time.
fn recorded(directory: &TempDir, names: &[&str], arguments: &str) -> Vec<String> {
    let mut nodes = Vec::new();
    for (seed, name) in names.iter().enumerate() {
        let path = directory.path().join(format!("{name}.recording")).to_str().unwrap().to_owned();
        let node = Simnode::start("v31", &format!("--scenario mix --rate 5000 --count 10000 --seed {}", seed + 1));
        let record = format!("record {path} --events all --pid {} --node-name {name} {arguments}", node.pid());
        nodes.push((Attached::spawn(bitcointap(&record)), node, path));
    }
    nodes.iter_mut().for_each(|(_, node, _)| node.fire());
    let recorded = nodes.into_iter().map(|(mut recorder, node, path)| {
        node.tally();
        assert!(recorder.wait().success(), "{}", recorder.log);
        path
    });
    recorded.collect()
}

fn lines(arguments: &str) -> Vec<String> {
    let all = if arguments.contains("--events") { "" } else { "--events all" };
    let Output { status, stdout, stderr } = output(&format!("tap --speed max {all} {arguments}"));
    assert!(status.success(), "{arguments}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The microseconds at which it fired, and the rest of a line without its source.
fn apart(line: &str) -> (u64, Value, Value) {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let source = line.as_object_mut().unwrap().remove("source").unwrap_or_default();
    let time = line["timestamp"].as_u64().unwrap() * 1_000_000 + line["timestamp_subsec_micros"].as_u64().unwrap();
    (time, line, source)
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Runs a command that must fail. Gives the line that says why.
fn refused(arguments: &str) -> String {
    let Output { status, stderr, .. } = output(arguments);
    let log = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{arguments}: {log}");
    let words: Vec<_> = log.lines().filter_map(|line| line.strip_prefix("bitcointap: ")).collect();
    let [words] = words[..] else { panic!("{arguments}: {log}") };
    words.to_owned()
}

#[test]
fn recordings_of_two_nodes_come_in_order_of_time_and_each_line_knows_its_node() {
    let directory = tempfile::tempdir().unwrap();
    let paths = recorded(&directory, &["alice", "bob"], "");
    let alone: Vec<Vec<_>> = paths.iter().map(|path| lines(&format!("--replay {path}"))).collect();
    let expected = lines(&format!("--replay {} {}", paths[0], paths[1]));
    let told: Vec<_> = expected.iter().map(|line| apart(line)).collect();
    assert!(told.is_sorted_by_key(|(time, ..)| *time));
    for (name, alone) in ["alice", "bob"].into_iter().zip(&alone) {
        let of_node = told.iter().filter(|(.., source)| source["node"] == name).map(|(_, line, _)| line.clone());
        assert!(of_node.eq(alone.iter().map(|line| serde_json::from_str::<Value>(line).unwrap())), "{name}");
        // A single node needs no word.
        assert!(!alone[0].contains(r#""source""#));
    }
    assert_eq!(told.len(), alone[0].len() + alone[1].len());
    let switches = told.windows(2).filter(|pair| pair[0].2 != pair[1].2).count();
    assert!(switches > 10, "they ran at the same time: {switches}");
    // In another order, as a directory, one after another in a file, and in several files.
    fs::write(directory.path().join("notes.txt"), "no recording").unwrap();
    let both = directory.path().join("both");
    fs::write(&both, [fs::read(&paths[1]).unwrap(), fs::read(&paths[0]).unwrap()].concat()).unwrap();
    for inputs in
        [format!("{} {}", paths[1], paths[0]), directory.path().display().to_string(), both.display().to_string()]
    {
        assert!(lines(&format!("--replay {inputs}")) == expected, "{inputs}");
    }
    // Metrics take one run after another, and sum up both.
    let arguments = format!("--replay {} --speed max --events all", both.display());
    let mut exporter = Exporter::start_by(bitcointap, &arguments, "end of the run");
    exporter.process.read_log_until("end of the run", 2);
    let metrics = exporter.last_scrape();
    assert_eq!((metrics.sum("events_total", &[]), metrics.sum("attachments_total", &[])), (20_000.0, 2.0));
    exporter.stop();
    let one = directory.path().join("one");
    fs::create_dir(&one).unwrap();
    for name in ["alice", "bob"] {
        fs::create_dir(one.join(name)).unwrap();
        fs::rename(directory.path().join(format!("{name}.recording")), one.join(name).join("1.recording")).unwrap();
    }
    assert!(lines(&format!("--replay {}", one.display())) == expected, "a directory for each node");
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(refused(&format!("tap --replay {}", empty.display())).contains("has no recordings"));
}

#[test]
fn a_part_equals_the_same_part_of_a_replay_line_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let paths = recorded(&directory, &["alice", "bob"], "");
    let inputs = paths.join(" ");
    let old = format!("{}/tests/golden/version-2.recording", env!("CARGO_MANIFEST_DIR"));
    let all: Vec<_> = lines(&format!("--replay {inputs}")).iter().map(|line| apart(line).0).collect();
    let [since, until] = [all.len() / 3, all.len() / 2].map(|place| seconds(all[place]));
    let part = directory.path().join("part");
    let mut lengths = Vec::new();
    for (inputs, chosen) in [
        (&inputs, String::new()),
        (&inputs, format!("--since {since} --until {until}")),
        (&inputs, "--since 400ms --until=-500ms --events net,mempool:added --not-command ping,pong".into()),
        (&inputs, "--command inv,tx --direction inbound --peer 1,2,3 --min-size 40".into()),
        (&inputs, format!("--since {until} --network ipv6 --connection-type inbound")),
        (&old, String::new()),
        (&old, "--since 20ms --events mempool,validation".into()),
        (&paths[0], "--until 2009-01-03T18:15:05Z".into()),
    ] {
        let Output { status, stderr, .. } = output(&format!("cut {inputs} -o {} --force {chosen}", part.display()));
        assert!(status.success(), "{chosen}: {}", String::from_utf8_lossy(&stderr));
        let expected = lines(&format!("{chosen} --replay {inputs}"));
        let given = lines(&format!("--replay {}", part.display()));
        // A single node needs no source.
        let different = given.iter().zip(&expected).find(|(given, expected)| given != expected);
        assert!(given == expected, "{inputs} {chosen}: {} of {} lines, {different:?}", given.len(), expected.len());
        lengths.push(given.len());
        // Its counters agree with what it has.
        let info: Value =
            serde_json::from_slice(&output(&format!("info --format json {}", part.display())).stdout).unwrap();
        assert_eq!(info["events"], given.len(), "{chosen}");
        let [fired, filtered] = ["fired", "filtered"].map(|name| info[name].as_u64().unwrap());
        assert_eq!((fired - filtered, &info["lost"]), (given.len() as u64, &serde_json::json!({})), "{chosen}");
        assert_eq!(info["damage"], serde_json::json!([]), "{chosen}");
    }
    assert_eq!(lengths[0], 20_000);
    assert_eq!((lengths[5], lengths[7]), (3267, 0));
    assert!(lengths[1..5].iter().all(|&length| (1..19_000).contains(&length)), "{lengths:?}");
    // Through pipes.
    let chosen = format!("--since {since} --command inv");
    let mut cut = bitcointap(&format!("cut {} -o - {chosen}", paths[0])).stdout(Stdio::piped()).spawn().unwrap();
    let given = cut.stdout.take().unwrap();
    let piped = bitcointap("tap --replay - --speed max").stdin(given).output().unwrap();
    assert!(piped.status.success() && cut.wait().unwrap().success());
    let expected = lines(&format!("{chosen} --replay {}", paths[0]));
    assert!(!expected.is_empty() && String::from_utf8(piped.stdout).unwrap().lines().eq(expected));
}

#[test]
fn a_part_takes_no_file_away_and_has_its_name_once_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let paths = recorded(&directory, &["alice"], "");
    let whole = fs::read(&paths[0]).unwrap();
    let part = directory.path().join("part");
    let name = part.display();
    let files = || fs::read_dir(directory.path()).unwrap().count();
    fs::write(&part, "mine").unwrap();
    let words = refused(&format!("cut {} -o {name}", paths[0]));
    assert!(words.ends_with("part exists already: --force replaces it, or name another file"), "{words}");
    for arguments in [
        format!("cut {} -o {}", paths[0], paths[0]),
        format!("cut {} -o {} --force", directory.path().display(), paths[0]),
    ] {
        assert!(refused(&arguments).ends_with("is one of the recordings to cut: name another file"), "{arguments}");
    }
    assert!(fs::read(&part).unwrap() == b"mine" && fs::read(&paths[0]).unwrap() == whole);
    assert!(
        refused(&format!("cut {} -o {}/none/part", paths[0], directory.path().display()))
            .contains("its directory must exist")
    );
    assert_eq!(files(), 2, "nothing is left");
    // Of a damaged recording it has what is whole, and the status says so.
    let damaged = directory.path().join("damaged");
    fs::write(&damaged, &whole[..whole.len() - 100]).unwrap();
    assert!(refused(&format!("cut {} -o {name} --force", damaged.display())).contains("breaks off"));
    let (some, all) = (lines(&format!("--replay {name}")), lines(&format!("--replay {}", paths[0])));
    assert!(!some.is_empty() && some[..] == all[..some.len()]);
    // A signal leaves no part of a part.
    fs::remove_file(&part).unwrap();
    let before = files();
    let mut cut = bitcointap(&format!("cut - -o {name}")).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = cut.stdin.take().unwrap();
    input.write_all(&whole[..whole.len() / 2]).unwrap();
    let unfinished = directory.path().join("part.part");
    eventually("the part", || unfinished.exists().then_some(()));
    signal(cut.id(), Signal::TERM);
    // Whatever it waits for comes, so that it can look at the signal.
    let _ = input.write_all(&whole[whole.len() / 2..]);
    drop(input);
    let mut log = String::new();
    cut.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(cut.wait().unwrap().code(), Some(1), "{log}");
    assert!(log.contains("stopped before the end") && files() == before && !part.exists(), "{log}");
}

#[test]
fn what_is_put_together_is_read_whole_and_damage_has_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let paths = recorded(&directory, &["alice", "bob"], "");
    let [alice, bob] = [&paths[0], &paths[1]].map(|path| fs::read(path).unwrap());
    let joined = directory.path().join("joined");
    let part = directory.path().join("part");
    let info = || -> (Value, Option<i32>) {
        let Output { stdout, status, .. } = output(&format!("info --format json {}", joined.display()));
        (serde_json::from_slice(&stdout).unwrap(), status.code())
    };
    fs::write(&joined, [&alice[..], &bob].concat()).unwrap();
    assert_eq!((&info().0["events"], info().1), (&Value::from(20_000), Some(0)));
    fs::write(&joined, [&alice[..], b"what is this", &bob].concat()).unwrap();
    let (told, status) = info();
    assert_eq!((&told["events"], status), (&Value::from(20_000), Some(1)));
    let [damage] = &told["damage"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&damage["at"], &damage["goes_on"]), (&Value::from(alice.len()), &Value::from(alice.len() + 12)));
    let place = format!("byte {}, after its end", alice.len());
    for arguments in [
        format!("tap --speed max --events all --replay {}", joined.display()),
        format!("cut {} -o {}", joined.display(), part.display()),
    ] {
        assert!(refused(&arguments).contains(&place), "{arguments}");
    }
    let replayed = output(&format!("tap --speed max --events all --replay {}", joined.display())).stdout;
    assert_eq!(replayed.iter().filter(|&&byte| byte == b'\n').count(), 20_000);
    assert_eq!(lines(&format!("--replay {}", part.display())).len(), 20_000);
    let text = String::from_utf8(output(&format!("info {}", joined.display())).stdout).unwrap();
    assert!(text.contains(&place) && text.contains("20,000") && text.contains("alice"), "{text}");
}

#[test]
fn a_pipe_has_no_end_to_count_from() {
    let old = format!("{}/tests/golden/version-2.recording", env!("CARGO_MANIFEST_DIR"));
    let piped = |arguments: &str| bitcointap(arguments).stdin(fs::File::open(&old).unwrap()).output().unwrap();
    let of_pipe = piped("tap --replay - --speed max --events all --since 20ms");
    let of_file = output(&format!("tap --replay {old} --speed max --events all --since 20ms"));
    assert!(of_pipe.status.success() && !of_pipe.stdout.is_empty() && of_pipe.stdout == of_file.stdout);
    for (arguments, words) in [
        ("tap --replay - --since=-1s".to_owned(), "standard input is a pipe, whose end is not known before it is read"),
        (
            format!("tap --replay - {old} --since 1s"),
            "standard input is a pipe, whose beginning is not known before it is read",
        ),
    ] {
        let refused = piped(&arguments);
        let log = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && log.starts_with(&format!("bitcointap: {words}")), "{log}");
    }
}

/// In a terminal of tmux: a line with the progress, and lines of the log above it.
#[test]
fn progress_is_shown_on_a_terminal_only() {
    let old = format!("{}/tests/golden/version-2.recording", env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    // No terminal: only the log.
    let quiet = output(&format!("tap --replay {old} --speed max --json {}", file("quiet")));
    let log = String::from_utf8(quiet.stderr).unwrap();
    assert!(quiet.status.success() && log.lines().all(|line| line.starts_with("ts=")), "{log}");
    let Some(script) = fetched("script", "REQUIRE_SCRIPT") else { return };
    let on_terminal = |arguments: &str| {
        // util-linux' script runs a command in a terminal, and prints what that shows.
        let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_bitcointap"));
        let shown = Command::new(&script).args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        assert!(shown.status.success(), "{arguments}");
        String::from_utf8_lossy(&shown.stdout).into_owned()
    };
    for arguments in [
        format!("info {old}"),
        format!("cut {old} -o {}", file("part")),
        // At its own pace there is time to draw.
        format!("tap --replay {old} --speed 1 --json {}", file("lines")),
    ] {
        let shown = on_terminal(&arguments);
        assert!(shown.contains(" events, ") && shown.contains("left"), "{arguments}: {shown:?}");
    }
    let shown = on_terminal(&format!("tap --replay {old} --speed max --count 10"));
    assert!(!shown.contains(" events, ") && shown.matches("timestamp_subsec_micros").count() == 10, "{shown:?}");
    assert!(Path::new(&file("part")).exists());
}
