//! The library as others use it: the examples, the iterator and the stream, each compared with what the simulated node
//! fired.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use bitcointap::{
    event::Kind,
    process::Which,
    tap::{Builder, Captured, Tap},
    tracepoint::Tracepoint,
};
use futures_lite::{StreamExt, future};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    node::{Simnode, Tally},
    tool::{Attached, bitcointap, eventually, output, signal},
};

/// An example that has attached to the node.
fn example(name: &str, node: &Simnode) -> Child {
    let path = Path::new(env!("CARGO_BIN_EXE_bitcointap")).with_file_name("examples").join(name);
    assert!(path.exists(), "{} is not built: run `make test`, or cargo build --examples", path.display());
    let mut command = Command::new(path);
    let example = command.arg(node.pid().to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    // After attaching it maps its ring buffer, which is larger than other maps.
    let maps = format!("/proc/{}/maps", example.id());
    let has_ring = || std::fs::read_to_string(&maps).unwrap().lines().any(is_ring_buffer);
    eventually("the example's ring buffer", || has_ring().then_some(()));
    example
}

fn is_ring_buffer(mapping: &str) -> bool {
    let (range, _) = mapping.split_once(' ').unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
    mapping.contains("anon_inode:bpf-map") && end - start >= 16 << 20
}

fn printed(example: Child) -> String {
    let output = example.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What an example prints of a node, and what the tool prints of the same events.
fn both(name: &str, simnode: &str, tap: &str) -> (String, Vec<Value>, Tally) {
    let mut node = Simnode::start("v31", simnode);
    let example = example(name, &node);
    let mut tap = bitcointap(&format!("tap --pid {} --bytes hex {tap}", node.pid()));
    tap.stdout(Stdio::piped());
    let mut tap = Attached::spawn(tap);
    let lines = thread::spawn({
        let stdout = tap.child.stdout.take().unwrap();
        move || serde_json::Deserializer::from_reader(stdout).into_iter().collect::<Result<_, _>>().unwrap()
    });
    node.fire();
    let tally = node.tally();
    assert!(tap.wait().success());
    (printed(example), lines.join().unwrap(), tally)
}

#[test]
fn an_example_prints_each_announcement() {
    let arguments = "--command inv --direction inbound";
    let (text, lines, _) = both("inventory", "--rate 20000 --count 20000", arguments);
    let mut expected = 0;
    for line in &lines {
        expected += line.pointer("/event/Msg/msg/Inv/items").map_or(0, |items| items.as_array().unwrap().len());
    }
    assert!(expected > 1_000);
    assert_eq!(text.lines().filter(|line| line.starts_with("peer ") && line.contains(" has ")).count(), expected);
}

#[test]
fn an_example_alerts_on_peers_that_leave_soon() {
    let (text, lines, _) =
        both("short_lived_peers", "--scenario churn --rate 20000 --count 20000", "--events net:closed_connection");
    let left_soon = |line: &&Value| {
        let established = line.pointer("/event/Conn/event/Closed/time_established").unwrap().as_u64().unwrap();
        line["timestamp"].as_u64().unwrap() - established < 60
    };
    let expected = lines.iter().filter(left_soon).count();
    assert!(expected > 10, "{} closings", lines.len());
    assert_eq!(text.lines().filter(|line| line.starts_with("ALERT")).count(), expected);
}

#[test]
fn an_example_counts_with_a_counter_of_its_own() {
    let (text, _, tally) = both("bytes_by_network", "--rate 20000 --count 20000", "--events validation");
    let mut bytes = BTreeMap::<&str, u64>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let direction = if line.contains(r#"direction="inbound""#) { "inbound" } else { "outbound" };
        *bytes.entry(direction).or_default() += line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    }
    let mut expected = BTreeMap::new();
    for row in tally.rows("messages") {
        *expected.entry(row["direction"].as_str().unwrap()).or_default() += row["bytes"].as_u64().unwrap();
    }
    assert_eq!(bytes, expected);
    assert!(text.contains(r#"network="onion""#), "{text}");
}

#[test]
fn an_example_counts_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let path = Path::new(env!("CARGO_BIN_EXE_bitcointap")).with_file_name("examples/over_restarts");
    assert!(path.exists(), "{} is not built: run `make test`, or cargo build --examples", path.display());
    let mut example = Ended(Command::new(path).arg(&file).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(example.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut expected = 0;
    for run in 1..=2 {
        let mut node = Simnode::start("v31", "--rate 20000 --count 5000");
        std::fs::write(&file, node.pid().to_string()).unwrap();
        assert_eq!(lines.next().unwrap(), format!("run {run} is pid {}", node.pid()));
        node.fire();
        let fired = node.tally().tracepoints();
        expected += fired["net:inbound_message"] + fired["net:outbound_message"];
    }
    signal(example.0.id(), Signal::INT);
    assert_eq!(lines.next().unwrap(), format!("{expected} messages in 2 runs"));
    assert!(example.0.wait().unwrap().success());
}

/// A process that ends with the test, whatever its result.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It fails if the process has ended.
        let _ = self.0.kill();
    }
}

fn builder(node: &Simnode) -> Builder {
    Tap::builder().node(Which::Pid(node.pid() as i32)).tracepoints(Tracepoint::all().collect())
}

/// Counts each tracepoint's name, as far as the JSON of an event shows it.
fn count(counts: &mut BTreeMap<String, u64>, captured: &Captured) {
    let event = captured.event();
    assert!(!matches!(event.kind, Kind::Lost(_)), "{event:?}");
    let value = serde_json::to_value(&event).unwrap();
    let (group, inner) = value["event"].as_object().unwrap().iter().next().unwrap();
    let name = match inner.get("event") {
        Some(inner) => inner.as_object().unwrap().keys().next().unwrap().clone(),
        None => inner["meta"]["inbound"].to_string(),
    };
    *counts.entry(format!("{group} {name}")).or_default() += 1;
}

#[test]
fn iterator_and_stream_give_all_that_was_fired() {
    let mut node = Simnode::start("v31", "--rate 20000 --count 20000");
    let (iterator, mut stream) =
        (builder(&node).attach().unwrap().events(), builder(&node).attach().unwrap().stream().unwrap());
    assert_eq!(iterator.tap().attached().len(), Tracepoint::COUNT);
    let streamed = thread::spawn(move || {
        let mut counts = BTreeMap::new();
        while let Some(captured) = future::block_on(stream.next()) {
            count(&mut counts, &captured.unwrap());
        }
        counts
    });
    node.fire();
    let mut counts = BTreeMap::new();
    for captured in iterator {
        count(&mut counts, &captured.unwrap());
    }
    let fired: u64 = node.tally().tracepoints().values().sum();
    assert_eq!(counts.values().sum::<u64>(), fired);
    assert!(counts.len() > 15, "{counts:?}");
    assert_eq!(streamed.join().unwrap(), counts);
}

#[test]
fn both_end_when_told_and_let_go_of_the_node() {
    let mut node = Simnode::start("v31", "--rate 1000");
    let pid = node.pid();
    let is_listened_to = || {
        let report = output(&format!("doctor --format json --pid {pid}"));
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let listeners = checks.iter().find(|check| check["name"] == "other_taps").unwrap();
        listeners["status"] == "warning"
    };
    assert!(!is_listened_to());
    let events = builder(&node).attach().unwrap().events();
    let stopper = events.tap().stopper();
    let counting = thread::spawn(move || events.map(Result::unwrap).count());
    let mut stream = builder(&node).attach().unwrap().stream().unwrap();
    assert!(is_listened_to());
    node.fire();
    future::block_on(stream.next()).unwrap().unwrap();
    stopper.stop();
    assert!(counting.join().unwrap() > 0);
    assert!(is_listened_to(), "by the stream");
    drop(stream);
    eventually("the stream's detaching", || (!is_listened_to()).then_some(()));
}

#[test]
fn who_is_slower_than_the_node_can_stop_too() {
    const RING: u64 = 8 << 20;
    let mut node = Simnode::start("v31", "--scenario flood --rate max");
    let mut events = builder(&node).ring_buffer_size(RING as u32).attach().unwrap().events();
    let lags_behind = |tap: &Tap| (tap.ring_buffer().1 > RING / 2).then_some(());
    node.fire();
    events.next().unwrap().unwrap();
    events.tap().stopper().stop();
    let mut left = 0;
    loop {
        // There is more whenever it comes back, until it is detached.
        if !events.tap().attached().is_empty() {
            eventually("a full ring buffer", || lags_behind(events.tap()));
        }
        let Some(captured) = events.next() else { break };
        captured.unwrap();
        left += 1;
        assert!(left < 2 * RING / 64, "more than was there when it was told to stop");
    }
    assert!(events.next().is_none());
}

#[test]
fn what_cannot_be_attached_to_is_an_error_that_says_why() {
    let error = Tap::builder().node(Which::Pid(std::process::id() as i32)).attach().unwrap_err();
    assert!(matches!(error, bitcointap::Error::NotANode { .. }), "{error}");
    let node = Simnode::start("v23", "");
    let error = builder(&node).tracepoints("mempool".parse().unwrap()).attach().unwrap_err();
    assert!(matches!(error, bitcointap::Error::NoneChosen(..)), "{error}");
    let error = builder(&node).ring_buffer_size(1000).attach().unwrap_err();
    assert!(matches!(error, bitcointap::Error::RingBufferSize(1000)), "{error}");
}
