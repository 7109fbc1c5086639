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
    recording::{RecordingOutput, Replay, Speed},
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
    /// But those of the process.
    metrics: String,
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
    let metrics: Vec<_> = text.lines().filter(|line| !line.contains("process_")).collect();
    Made { lines: std::mem::take(&mut lines.0.lock().unwrap()), metrics: metrics.join("\n"), runs: noted.take(), lost }
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

        let replay = Replay::open(&path, Speed::Max, &selection).unwrap();
        let replayed = made(None, None, |stop, outputs| replay.run(stop, outputs));
        let of = format!("{layout} {scenario}");
        assert_eq!(live.lines.iter().filter(|&&byte| byte == b'\n').count() as u64, events, "{of}");
        assert_eq!(live.lost, 0, "{of}");
        assert!(live.lines == replayed.lines, "{of}: the lines differ");
        assert_eq!(live.metrics, replayed.metrics, "{of}");
        let [(mut run, counted)] = live.runs.try_into().unwrap();
        // A recording does not have these.
        (run.data_directory, run.chain, run.host) = (None, None, None);
        assert_eq!(replayed.runs, [(run, counted)], "{of}");
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
    assert!(success && log.contains(&format!("replaying {} tracepoints", Tracepoint::COUNT)), "{log}");
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
    let exporter = Exporter::start_by(bitcointap, &arguments, "the node has ended");
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
