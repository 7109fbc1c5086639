//! Which events are given: those that meet the conditions, in their order, and no others; from a node and from its
//! recording. The truth of each event is what the simulated node says that it fires, not what the tool says.

mod conditions;
mod hashes;
mod kernel_side;

use std::{
    fs::{self, File},
    path::Path,
    process::Output,
};

use bitcointap::{event::net::ConnectionType, network::Network};
use serde_json::{Value, json};

use self::conditions::{Conditions, Values};
use crate::{
    node::Simnode,
    tool::{Attached, Exporter, bitcointap, eventually, output, tracepoint_of},
};

/// A node that fires the same whenever it runs. All of it fits into the ring buffer, so that nothing is ever lost.
const NODE: &str = "--seed 3 --count 6000 --rate max --fixed-time 1700000000";

/// Starts it; it writes what it fires to `trace`.
fn node(trace: &Path) -> Simnode {
    Simnode::start("v31", &format!("{NODE} --trace {}", trace.display()))
}

/// Each event, without the time of its firing.
fn truth(trace: &Path) -> Vec<Value> {
    let mut events: Vec<Value> = lines(&fs::read_to_string(trace).unwrap()).map(|(event, _)| event).collect();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        assert!(event.remove("before").is_some() && event.remove("after").is_some());
    }
    events
}

/// Each line, parsed and as text.
fn lines(text: &str) -> impl Iterator<Item = (Value, &str)> {
    text.lines().map(|line| (serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")), line))
}

/// What a line of the tool says of an event, in the words of the truth. A message's line lacks the network.
fn told(line: &Value) -> Value {
    let (group, event) = line["event"].as_object().unwrap().iter().next().unwrap();
    let name = |number: &Value| ConnectionType::ALL[number.as_u64().unwrap() as usize].name();
    if group == "Msg" {
        let meta = &event["meta"];
        let direction = if meta["inbound"].as_bool().unwrap() { "inbound" } else { "outbound" };
        return json!({
            "tracepoint": tracepoint_of(line),
            "peer": meta["peer_id"],
            "address": meta["addr"],
            "connection_type": name(&meta["conn_type"]),
            "direction": direction,
            "command": meta["command"],
            "size": meta["size"],
        });
    }
    let (event, fields) = event["event"].as_object().unwrap().iter().next().unwrap();
    let tracepoint = tracepoint_of(line);
    if event == "Misbehaving" {
        return json!({"tracepoint": tracepoint, "peer": fields["id"]});
    }
    if group != "Conn" {
        return json!({"tracepoint": tracepoint});
    }
    let conn = &fields["conn"];
    let connection_type = name(&conn["conn_type"]);
    json!({
        "tracepoint": tracepoint,
        "peer": conn["peer_id"],
        "address": conn["addr"],
        "connection_type": connection_type,
        "network": Network::ALL[conn["network"].as_u64().unwrap() as usize].name(),
        "direction": if connection_type == "inbound" { "inbound" } else { "outbound" },
    })
}

/// The truth as far as lines have it.
fn to_be_told(event: &Value) -> Value {
    let mut event = event.clone();
    if event["command"].is_string() {
        event.as_object_mut().unwrap().remove("network");
    }
    event
}

/// The numbers of the last line of a log.
fn last_counts(log: &str) -> [u64; 3] {
    let last = log.lines().last().unwrap_or_default();
    ["fired=", "filtered=", "lost="].map(|name| {
        let number = last.split(' ').find_map(|word| word.strip_prefix(name));
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {log}"))
    })
}

/// Asserts that `text`, and the counts at the end of the log, are those of the selected events. Returns how many that
/// are.
#[track_caller]
fn assert_selected(conditions: &Conditions, truth: &[Value], text: &str, log: &str) -> usize {
    let expected: Vec<Value> = truth.iter().filter(|event| conditions.select(event)).map(to_be_told).collect();
    let given: Vec<Value> = lines(text).map(|(line, _)| told(&line)).collect();
    let differs = given.iter().zip(&expected).position(|(given, expected)| given != expected);
    assert_eq!(
        differs.map(|at| (&given[at], &expected[at])),
        None,
        "{conditions:?}: event {differs:?} of {}",
        expected.len()
    );
    assert_eq!(given.len(), expected.len(), "{conditions:?}");
    let [fired, filtered, lost] = last_counts(log);
    assert_eq!((fired - filtered, lost), (given.len() as u64, 0), "{conditions:?}: {log}");
    given.len()
}

#[test]
fn a_node_gives_what_is_selected_and_its_recording_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let values = Values::of(&directory);
    let conditions = values.conditions();

    // All at once, in one run.
    let mut simnode = node(&path("trace"));
    let which = format!("--pid {} --ring-buffer-size 8MiB", simnode.pid());
    let recording = path("recording").display().to_string();
    let mut recorder = Attached::spawn(bitcointap(&format!("record {recording} --events all {which}")));
    let taps: Vec<(&Conditions, Attached)> = conditions
        .iter()
        .enumerate()
        .map(|(index, conditions)| {
            let mut tap = bitcointap(&format!("tap {which} --bytes hex {}", conditions.arguments()));
            tap.stdout(File::create(path(&index.to_string())).unwrap());
            (conditions, Attached::spawn(tap))
        })
        .collect();
    simnode.fire();
    simnode.tally();
    assert!(truth(&path("trace")) == values.truth, "the same run again");
    for (index, (conditions, mut tap)) in taps.into_iter().enumerate() {
        let status = tap.wait();
        assert!(status.success(), "{conditions:?}: {}", tap.log);
        let text = fs::read_to_string(path(&index.to_string())).unwrap();
        let selected = assert_selected(conditions, &values.truth, &text, &tap.log);
        let is_some = selected > 0 && (selected < 6000 || conditions.0 == "events=all");
        assert!(is_some, "{conditions:?} are to select some, not {selected}");
    }
    assert!(recorder.wait().success(), "{}", recorder.log);

    let replay = |conditions: &Conditions| {
        output(&format!("tap --replay {recording} --speed max --bytes hex {}", conditions.arguments()))
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut none = 0;
    let combinations: Vec<_> = (0..60).map(|_| values.random(&mut random)).collect();
    for conditions in conditions.iter().chain(&combinations) {
        let Output { status, stdout, stderr } = replay(conditions);
        let log = text(&stderr);
        if !status.success() {
            let is_explained =
                ["no event can meet --", "no event is left with --"].iter().any(|words| log.contains(words));
            assert!(is_explained, "{conditions:?}: {log}");
            assert!(!values.truth.iter().any(|event| conditions.select(event)), "{conditions:?}");
            continue;
        }
        none += usize::from(assert_selected(conditions, &values.truth, &text(&stdout), &log) == 0);
    }
    assert!(none < combinations.len() / 2, "{none} of the combinations select nothing");
}

#[test]
fn an_exporter_counts_all_and_writes_what_is_selected() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut simnode = node(&path("trace"));
    let conditions = Conditions("events=all command=inv,tx,xyzunknown12 not-network=onion min-size=40".to_owned());
    let json = path("json").display().to_string();
    let arguments = format!("--pid {} --json {json} --bytes hex {}", simnode.pid(), conditions.arguments());
    let exporter = Exporter::start(&arguments);
    simnode.fire();
    let tally = simnode.tally();
    let metrics = exporter.last_scrape();
    for (tracepoint, fired) in tally.tracepoints() {
        assert_eq!(metrics.sum("events_total", &[("tracepoint", &tracepoint)]), fired as f64, "{tracepoint}");
    }
    assert_eq!(metrics.sum("events_filtered_total", &[]), 0.0);
    let truth = truth(&path("trace"));
    let messages = truth.iter().filter(|event| event["command"].is_string()).count();
    assert_eq!(metrics.sum("p2p_messages_total", &[]), messages as f64);

    let selected: Vec<Value> = truth.iter().filter(|event| conditions.select(event)).map(to_be_told).collect();
    let written = || exporter.scrape().sum("json_lines_total", &[]);
    eventually("all lines", || (written() == selected.len() as f64).then_some(()));
    assert!(exporter.stop().contains("message called xyzunknown12"));
    let text = fs::read_to_string(json).unwrap();
    assert!(!selected.is_empty() && lines(&text).map(|(line, _)| told(&line)).eq(selected));
}

#[test]
fn thousands_of_values_are_taken() {
    let list = |value: fn(u32) -> String| (0..10_000).map(value).collect::<Vec<_>>().join(",");
    let mut node = Simnode::start("v31", "--scenario flood --rate max --count 20000");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let mut tap = bitcointap(&format!("tap --pid {} --command ping", node.pid()));
    tap.args(["--command", &list(|n| format!("c{n}"))]).args(["--peer", &list(|n| n.to_string())]);
    tap.args(["--not-address", &list(|n| format!("10.9.{}.{}", n / 100, n % 100))]);
    tap.args(["--not-command", &list(|n| format!("d{n}"))]).stdout(File::create(&path).unwrap());
    let mut tap = Attached::spawn(tap);
    node.fire();
    let tally = node.tally();
    assert!(tap.wait().success(), "{}", tap.log);
    let pings = tally.rows("messages").iter().filter(|row| row["command"] == "ping");
    let pings: u64 = pings.map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(pings > 19_000);
    assert_eq!(fs::read_to_string(path).unwrap().lines().count() as u64, pings);
    let [fired, filtered, lost] = last_counts(&tap.log);
    assert_eq!((fired - filtered, lost), (pings, 0), "{}", tap.log);
    // Only a few, so that they do not fill the log.
    assert_eq!(tap.log.matches("is it misspelled?").count(), 5, "{}", tap.log);
    assert!(tap.log.contains("Bitcoin Core has no message called c0:"), "{}", tap.log);
}
