//! A recording stands in for the node: it gives the same lines of JSON and the same metrics, up to where it is damaged.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::Stdio,
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bitcointap::{
    bitcoin::hashes::{Hash, sha256},
    capture::{Counted, Counters, End, Run},
    follow::{DropCapabilities, Follow},
    metrics::{self, Metrics},
    output::{Output, Outputs, Result},
    process::Which,
    recording::{Entry, Reader, RecordingOutput, Replay, Speed, Window},
    selection::Selection,
    spool::{JsonLines, Room, Spool, SpoolOutput},
    stop::Stop,
    tap::Options,
    tracepoint::{Tracepoint, Tracepoints},
};
use prometheus::TextEncoder;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    exposition::get,
    node::{Simnode, Tally},
    tool::{Attached, Exporter, bitcointap, eventually, output},
};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Notes what it is told of runs, and may let the node begin.
struct Noting<'a> {
    noted: Rc<RefCell<Vec<(Run, Counted)>>>,
    run: Option<Run>,
    begin: Option<&'a RefCell<Simnode>>,
}

impl Output for Noting<'_> {
    fn name(&self) -> &str {
        "noting"
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        self.run = Some(run.clone());
        self.begin.iter().for_each(|node| node.borrow_mut().fire());
        Ok(())
    }

    fn run_ends(&mut self, counted: &Counted, _: End) -> Result {
        let run = self.run.take().unwrap();
        self.noted.borrow_mut().push((run, counted.clone()));
        Ok(())
    }
}

/// What outputs made of a node, or of a recording of it.
#[derive(PartialEq)]
struct Made {
    lines: Vec<u8>,
    /// Without those of the process, how far the lines are written, and how full the ring buffer was at the last drain: one that
    /// gave nothing is not recorded.
    metrics: Vec<String>,
    runs: Vec<(Run, Counted)>,
    lost: u64,
}

/// Feeds metrics, JSON lines and, if it is named, a recording.
fn made(
    recording: Option<&Path>,
    begin: Option<&RefCell<Simnode>>,
    feed: impl FnOnce(&Stop, &mut Outputs<'_>) -> Result,
) -> Made {
    let stop = Stop::new(None).unwrap();
    let lines = Buffer::default();
    let all = Selection::of(Tracepoint::all().collect());
    let spool = Spool::start(lines.clone(), JsonLines::default(), &all, None).unwrap();
    let options = metrics::Options { tx_response: true, ..metrics::Options::default() };
    let metrics = Metrics::new(Tracepoints::default(), &options);
    let registry = metrics.registry();
    let noted = Rc::default();
    let noting = Noting { noted: Rc::clone(&noted), run: None, begin };
    let spool = SpoolOutput::new(spool, "lines", "lines").required().waited_for(&stop, Room::Always);
    let recording = recording.map(|path| RecordingOutput::new(path, File::create_new(path).unwrap(), &stop).unwrap());
    let outputs = Outputs::default().with(metrics).with(spool);
    let mut outputs = recording.into_iter().fold(outputs, Outputs::with).with(noting);
    feed(&stop, &mut outputs).unwrap();
    let lost = outputs.counted().iter().map(Counters::lost_in_all).sum();
    outputs.finish(&stop).unwrap();
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let is_own = |line: &&str| {
        line.contains("process_")
            || line.contains("json_lines")
            || line.starts_with("bitcointap_ring_buffer_used_bytes ")
    };
    let metrics = text.lines().filter(|line| !is_own(line)).map(str::to_owned).collect();
    Made { lines: std::mem::take(&mut lines.0.lock().unwrap()), metrics, runs: noted.take(), lost }
}

#[test]
fn a_replayed_recording_gives_the_same_lines_and_metrics() {
    let directory = tempfile::tempdir().unwrap();
    for (layout, scenario) in [("v31", "mix"), ("v25", "mix"), ("v29", "churn"), ("v31", "blocks")] {
        let rate = if scenario == "blocks" { 100 } else { 20_000 };
        let simnode = Simnode::start(layout, &format!("--scenario {scenario} --rate {rate} --count {rate}"));
        let which = Which::Pid(simnode.pid() as i32);
        let selection = Selection::of(Tracepoint::all().collect());
        let options = Options { selection: selection.clone(), ..Options::default() };
        let follow =
            Follow { which, options, over_restarts: true, drop_capabilities: DropCapabilities::KeepForReattach };
        let path = directory.path().join(format!("{layout}-{scenario}"));
        let simnode = RefCell::new(simnode);
        let live = made(Some(&path), Some(&simnode), |stop, outputs| follow.run(stop, outputs));
        let events: u64 = simnode.into_inner().tally().tracepoints().values().sum();

        let replay = Replay::open(&[&path], Speed::Max, Window::default(), &selection).unwrap();
        let replayed = made(None, None, |stop, outputs| replay.run(stop, outputs));
        let of = format!("{layout} {scenario}");
        assert_eq!(live.lines.iter().filter(|&&byte| byte == b'\n').count() as u64, events, "{of}");
        assert_eq!(live.lost, 0, "{of}");
        assert!(live.lines == replayed.lines, "{of}: the lines differ");
        let differing: Vec<_> =
            live.metrics.iter().zip(&replayed.metrics).filter(|(live, replayed)| live != replayed).collect();
        assert!(differing.is_empty() && live.metrics.len() == replayed.metrics.len(), "{of}: {differing:#?}");
        assert_eq!(live.runs.len(), 1, "{of}");
        assert_eq!(replayed.runs, live.runs, "{of}");
    }
}

/// A recording of a seeded run, made by the tool.
fn recorded(directory: &TempDir, arguments: &str) -> (String, Tally) {
    let path = directory.path().join("recording").to_str().unwrap().to_owned();
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000 --count 20000");
    let mut recorder =
        Attached::spawn(bitcointap(&format!("record {path} --events all --pid {} {arguments}", node.pid())));
    node.fire();
    let tally = node.tally();
    let status = recorder.wait();
    assert!(status.success(), "{}", recorder.log);
    (path, tally)
}

fn lines(arguments: &str) -> (Vec<String>, String, bool) {
    let output = output(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(str::to_owned).collect(), String::from_utf8(output.stderr).unwrap(), output.status.success())
}

#[test]
fn the_tool_replays_what_it_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let (path, tally) = recorded(&directory, "");
    let fired: u64 = tally.tracepoints().values().sum();
    let (all, log, success) = lines(&format!("tap --replay {path} --speed max --events all"));
    assert!(
        success
            && log.contains("replaying a run of pid ")
            && log.contains(&format!(", with {} tracepoints", Tracepoint::COUNT)),
        "{log}"
    );
    assert_eq!(all.len() as u64, fired);
    // At its own pace it takes as long as it did, which was about a second.
    let start = Instant::now();
    assert_eq!(lines(&format!("tap --replay {path} --events all")).0, all);
    let replayed = start.elapsed();
    let at = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["timestamp"].as_u64().unwrap() * 1_000_000 + event["timestamp_subsec_micros"].as_u64().unwrap()
    };
    let recorded = Duration::from_micros(at(all.last().unwrap()) - at(&all[0]));
    assert!(replayed >= recorded && recorded > Duration::from_millis(100), "{replayed:?} for {recorded:?}");

    let (pings, ..) = lines(&format!("tap --replay {path} --speed max --command ping"));
    let of_all: Vec<_> = all.iter().filter(|line| line.contains(r#""command":"ping""#)).cloned().collect();
    assert!(!pings.is_empty() && pings == of_all);

    let json = directory.path().join("lines").to_str().unwrap().to_owned();
    let arguments = format!("--replay {path} --speed max --events all --json {json} --utxocache-coins");
    let exporter = Exporter::start_by(bitcointap, &arguments, "end of the run");
    let metrics = exporter.last_scrape();
    for (tracepoint, fired) in tally.tracepoints() {
        assert_eq!(metrics.sum("events_total", &[("tracepoint", &tracepoint)]), fired as f64, "{tracepoint}");
    }
    let messages: f64 = tally.rows("messages").iter().map(|row| row["count"].as_f64().unwrap()).sum();
    assert_eq!(metrics.sum("p2p_messages_total", &[]), messages);
    let written = || exporter.scrape().sum("json_lines_total", &[]);
    eventually("all lines", || (written() == fired as f64).then_some(()));
    exporter.stop();
    assert_eq!(fs::read_to_string(json).unwrap().lines().collect::<Vec<_>>(), all);
}

#[test]
fn a_damaged_recording_gives_what_comes_before_and_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = recorded(&directory, "");
    let whole = fs::read(&path).unwrap();
    let (all, ..) = lines(&format!("tap --replay {path} --speed max --events all"));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, words) in [
        (&whole[..whole.len() / 2], "breaks off"),
        (&whole[..whole.len() - 1], "breaks off"),
        (&flipped, "is damaged in the block at byte"),
    ] {
        fs::write(&path, bytes).unwrap();
        for command in ["tap", "export --web.listen-address 127.0.0.1:0"] {
            let (before, log, success) = lines(&format!("{command} --replay {path} --speed max --events all"));
            assert!(!success, "{log}");
            assert_eq!(log.lines().filter(|line| line.starts_with("bitcointap: ")).count(), 1, "{log}");
            assert!(log.contains(words), "{log}");
            assert!(before[..] == all[..before.len()] && (command != "tap" || !before.is_empty()), "{log}");
        }
    }
    for (bytes, words) in [
        (&b""[..], "it is empty"),
        (b"{\"timestamp\":1}\n", "it has JSON, which is not replayed"),
        (b"bitcointap recording\0\x63\0\0\0", "version 99"),
    ] {
        fs::write(&path, bytes).unwrap();
        let (none, log, success) = lines(&format!("tap --replay {path}"));
        assert!(!success && none.is_empty() && log.contains(words), "{log}");
    }
}

#[test]
fn a_recording_goes_through_pipes_and_over_restarts_and_overwrites_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = recorded(&directory, "--payload none");
    let before = fs::read(&path).unwrap();
    let (_, log, success) = lines(&format!("record {path} --pid 1"));
    assert!(!success && log.contains("exists already"), "{log}");
    assert!(fs::read(&path).unwrap() == before);
    let (inv, ..) = lines(&format!("tap --replay {path} --speed max --command inv"));
    assert!(inv.iter().all(|line| line.contains(r#""msg":{"Unavailable":{"command":"inv","reason":"not_wanted"}}"#)));

    let mut node = Simnode::start("v31", "--rate 20000 --count 20000");
    let mut command = bitcointap(&format!("record - --pid {}", node.pid()));
    let mut recorder = Attached::spawn({
        command.stdout(Stdio::piped());
        command
    });
    let mut replay = bitcointap("tap --replay - --speed max");
    let replay = replay.stdin(recorder.child.stdout.take().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    node.fire();
    let tally = node.tally();
    let lines = replay.wait_with_output().unwrap();
    assert!(lines.status.success() && recorder.wait().success());
    let fired: u64 = tally
        .tracepoints()
        .iter()
        .filter(|(name, _)| !["utxocache:add", "utxocache:spent", "utxocache:uncache"].contains(&name.as_str()))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(lines.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64, fired);
}

#[test]
fn a_recorder_ends_at_a_signal_with_a_whole_recording_even_if_its_reader_stands_still() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut node = Simnode::start("v31", "--rate 5000");
    let mut recorder = Attached::spawn(bitcointap(&format!("record {} --pid {}", path.display(), node.pid())));
    let mut stuck = bitcointap(&format!("record - --pid {}", node.pid()));
    stuck.stdout(Stdio::piped());
    let mut stuck = Attached::spawn(stuck);
    node.fire();
    // Blocks of a second each are written meanwhile.
    eventually("some blocks", || (fs::metadata(&path).unwrap().len() > 200_000).then_some(()));
    let so_far = fs::read(&path).unwrap();
    recorder.terminate();
    stuck.terminate();
    let status = recorder.wait();
    assert!(status.success(), "{}", recorder.log);
    let status = stuck.wait();
    assert!(!status.success() && stuck.log.contains("stands still"), "{}", stuck.log);
    let (all, log, success) = lines(&format!("tap --replay {} --speed max", path.display()));
    assert!(success && !all.is_empty(), "{log}");
    fs::write(&path, so_far).unwrap();
    let (some, log, success) = lines(&format!("tap --replay {} --speed max", path.display()));
    assert!(!success && log.contains("breaks off"), "{log}");
    assert!(!some.is_empty() && some[..] == all[..some.len()], "what was written while it ran can be read");
}

/// A change of a record's struct, or of what is stored beside it, takes a new version of the format.
#[test]
fn a_recording_of_version_2_is_read_as_when_it_was_made() {
    let path = format!("{}/tests/golden/version-2.recording", env!("CARGO_MANIFEST_DIR"));
    let printed = output(&format!("tap --replay {path} --speed max --events all --bytes hex"));
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(text.lines().count(), 3267);
    let kinds: BTreeSet<String> = text.lines().map(kind).collect();
    assert_eq!(kinds.len(), 20, "{kinds:?}");
    let hash = sha256::Hash::hash(text.as_bytes()).to_string();
    assert_eq!(hash, "e47c634debebbfd617c35950370db28d56068cde50005b56704f51c729456442");
}

/// A line's group, and its event or the direction of its message.
fn kind(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    let (group, inner) = line["event"].as_object().unwrap().iter().next().unwrap();
    match inner.get("event") {
        Some(event) => format!("{group} {}", event.as_object().unwrap().keys().next().unwrap()),
        None => format!("{group} {}", inner["meta"]["inbound"]),
    }
}

#[test]
fn a_recording_without_the_chosen_events_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = recorded(&directory, "--not-events utxocache");
    let warned = |events: &str| {
        let (_, log, success) = lines(&format!("tap --replay {path} --speed max --events {events}"));
        assert!(success, "{log}");
        log.contains("this run of the recording has none of the chosen events")
    };
    assert!(warned("utxocache:add") && !warned("net"));
}

#[test]
fn a_recording_says_what_the_operator_calls_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = recorded(&directory, "--node-name alice --label site=fra1");
    let entries = Reader::new(File::open(&path).unwrap(), &Selection::default()).unwrap();
    let [run] =
        &entries.filter_map(|it| if let Ok(Entry::Run(run)) = it { Some(run) } else { None }).collect::<Vec<_>>()[..]
    else {
        panic!("one run")
    };
    assert_eq!((run.named.node(), run.named.labels().collect::<Vec<_>>()), (Some("alice"), vec![("site", "fra1")]));
    let (_, log, success) = lines(&format!("tap --replay {path} --speed max"));
    assert!(success && log.contains(", alice, main"), "{log}");
    // Prometheus adds its own.
    let exporter = Exporter::start_by(bitcointap, &format!("--replay {path} --speed max"), "end of the run");
    let metrics = get(&exporter.address, "/metrics").unwrap();
    assert!(
        metrics.contains("bitcointap_p2p_messages_total") && !metrics.contains("alice") && !metrics.contains("fra1")
    );
    exporter.stop();
}

/// As a build writes it that calls a tracepoint otherwise.
fn renamed(recording: &[u8], from: &str, to: &str) -> Vec<u8> {
    const HEADER: usize = 25;
    let number = |at: usize| u32::from_le_bytes(*recording[HEADER + at..].first_chunk().unwrap()) as usize;
    let (length, whole) = (number(0), number(4));
    let (frame, rest) = recording[HEADER + 12..].split_at(length);
    let mut opening = zstd::bulk::decompress(frame, whole).unwrap();
    let place = opening.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    opening[place..place + from.len()].copy_from_slice(to.as_bytes());
    let frame = zstd::bulk::compress(&opening, 3).unwrap();
    let numbers = [frame.len() as u32, whole as u32, crc32fast::hash(&frame)].map(u32::to_le_bytes).concat();
    [&recording[..HEADER], &numbers, &frame, rest].concat()
}

#[test]
fn a_tracepoint_that_this_build_does_not_know_is_left_out_and_said_once() {
    let directory = tempfile::tempdir().unwrap();
    let (path, tally) = recorded(&directory, "");
    let fired = tally.tracepoints();
    let whole = fs::read(&path).unwrap();
    let (all, ..) = lines(&format!("tap --replay {path} --speed max --events all"));
    let other = renamed(&whole, "mempool:added", "mempool:adopt");
    fs::write(&path, [&other[..], &other, &whole].concat()).unwrap();
    let (read, log, success) = lines(&format!("tap --replay {path} --speed max --events all"));
    let is_known = |line: &&String| !line.contains(r#"{"Mempool":{"event":{"Added""#);
    let known: Vec<_> = all.iter().filter(is_known).collect();
    assert!(known.len() < all.len());
    let expected: Vec<_> = known.iter().chain(&known).copied().chain(&all).collect();
    assert!(success && read.iter().eq(expected), "{log}");
    let said: Vec<_> = log.lines().filter(|line| line.contains("mempool:adopt")).collect();
    assert!(
        matches!(said[..], [line] if line.contains(&format!("mempool:adopt {}", 2 * fired["mempool:added"]))),
        "{log}"
    );
    assert!(log.contains(&format!(", with {} tracepoints", Tracepoint::COUNT - 1)), "{log}");
}

#[test]
fn recordings_are_replayed_one_after_another_and_in_a_window_of_time() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // They say that they are of one node.
    let [(first, _), (second, _)] = directories.each_ref().map(|directory| recorded(directory, "--node-name alice"));
    let replay = |arguments: &str| {
        let (lines, log, success) = lines(&format!("tap --speed max --events all {arguments}"));
        assert!(success, "{log}");
        (lines, log)
    };
    let [(of_first, _), (of_second, _)] = [&first, &second].map(|path| replay(&format!("--replay {path}")));
    let (both, log) = replay(&format!("--replay {first} {second}"));
    assert!(both == [&of_first[..], &of_second[..]].concat());
    assert_eq!(log.matches("replaying").count(), 2, "{log}");
    assert!(replay(&format!("--replay {second} --replay {first}")).0 == both, "by their times, not as they are named");

    // Of all whose time is in the window, and no others; a run that has none is not told of.
    let time = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        let micros = line["timestamp_subsec_micros"].as_u64().unwrap();
        line["timestamp"].as_u64().unwrap() * 1_000_000 + micros
    };
    let [since, until] = [of_first.len() / 3, of_first.len() / 2].map(|place| time(&of_first[place]));
    let seconds = |micros: u64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let window = format!("--since {} --until {}", seconds(since), seconds(until));
    let (some, log) = replay(&format!("--replay {first} {second} {window}"));
    let inner = |line: &&String| since < time(line) && time(line) < until;
    assert!(some.iter().filter(inner).eq(of_first.iter().filter(inner)));
    // JSON has microseconds, events nanoseconds.
    assert!(some.iter().all(|line| (since..=until).contains(&time(line))));
    assert_eq!(log.matches("replaying").count(), 1, "{log}");
    let (none, _) = replay(&format!("--replay {first} --until 2009-01-03T18:15:05Z"));
    assert_eq!(none.len(), 0);
    let (_, log, success) = lines(&format!("tap --replay {first} --since 5 --until 4"));
    assert!(!success && log.contains("--since is later than --until"), "{log}");
    let (_, log, success) = lines("tap --since 5");
    assert!(!success && log.contains("--replay"), "{log}");
}
