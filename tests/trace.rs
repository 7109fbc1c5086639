//! The story of a transaction or block, from a node and from its recording. The truth is what the simulated node says that it fires.

pub mod truth;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use self::truth::{Fired, Known};
use crate::{
    node::Simnode,
    tool::{Attached, bitcointap, output, signal},
};

/// A node that fires the same whenever it runs.
const NODE: &str = "--scenario mix --seed 5 --count 6000 --rate 3000 --fixed-time 1700000000";

/// Starts it; it writes what it fires to `trace`.
pub fn node(trace: &Path, more: &str) -> Simnode {
    Simnode::start("v31", &format!("{NODE} --trace {} --trace-contents {more}", trace.display()))
}

/// What it fires, and a recording of it.
fn recorded(directory: &Path) -> (Vec<Fired>, String) {
    let (trace, recording) = (directory.join("trace"), directory.join("recording").display().to_string());
    let mut node = node(&trace, "");
    let mut recorder = Attached::spawn(bitcointap(&format!("record {recording} --pid {} --events all", node.pid())));
    node.fire();
    node.tally();
    assert!(recorder.wait().success(), "{}", recorder.log);
    (truth::events(&trace), recording)
}

/// The hashes of those events, in order.
fn hashes<'a>(events: &'a [Fired], tracepoint: &str) -> Vec<&'a str> {
    let of_kind = events.iter().filter(|event| event.tracepoint() == tracepoint);
    of_kind.map(|event| event.line["hashes"][0].as_str().unwrap()).collect()
}

/// Events that `trace` attaches to.
fn is_told(event: &&Fired) -> bool {
    !event.tracepoint().starts_with("utxocache:")
}

/// The rows that the events stand for.
fn expected(events: &[Fired], known: &mut Known) -> Vec<Value> {
    let row = |fired: &Fired| {
        let (what, block) = known.find(fired)?;
        let event = &fired.line;
        let mut row = json!({"tracepoint": event["tracepoint"], "what": what});
        if event["command"].is_string() {
            row["command"] = event["command"].clone();
            let [connection_type, direction] = ["connection_type", "direction"].map(|name| &event[name]);
            row["peer"] = json!({
                "id": event["peer"], "address": event["address"], "connection_type": connection_type, "direction": direction,
            });
        }
        if let Some(block) = block {
            row["block"] = block.into();
        }
        Some(row)
    };
    events.iter().filter(is_told).filter_map(row).collect()
}

/// What rows say beside what is particular to them, and when.
fn essence(row: &Value) -> Value {
    let fields = ["tracepoint", "what", "command", "peer", "block"];
    fields
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), row.get(name)?.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn rows(text: &[u8]) -> Vec<Value> {
    std::str::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_recording_tells_the_whole_story_by_either_hash() {
    let directory = tempfile::tempdir().unwrap();
    let (events, recording) = recorded(directory.path());
    let (added, blocks) = (hashes(&events, "mempool:added"), hashes(&events, "validation:block_connected"));
    let replaced = hashes(&events, "mempool:replaced");
    assert!(added.len() > 100 && blocks.len() >= 3 && !replaced.is_empty());
    let mut said = std::collections::BTreeSet::new();
    let chosen = added.iter().step_by(added.len() / 5).chain(blocks.iter().take(3)).chain(&replaced[..1]);
    for hash in chosen.chain(&hashes(&events, "mempool:rejected")[..1]) {
        let mut known = Known::new([*hash]).having_seen(&events);
        let expected = expected(&events, &mut known);
        let told = output(&format!("trace {hash} --replay {recording} --format json"));
        assert!(told.status.success(), "{told:?}");
        let rows = rows(&told.stdout);
        assert_eq!(rows.iter().map(essence).collect::<Vec<_>>(), expected, "{hash}");
        said.extend(rows.iter().map(|row| row["what"].as_str().unwrap().to_owned()));

        assert_eq!(rows[0]["since_first"], 0.0);
        let since: Vec<f64> = rows.iter().map(|row| row["since_first"].as_f64().unwrap()).collect();
        assert!(since.is_sorted(), "{since:?}");
        // By its other hash the story is the same.
        if let Some(wtxid) = rows.iter().find_map(|row| row["wtxid"].as_str()) {
            assert_eq!(known.others().count(), usize::from(wtxid != *hash));
            let by_wtxid = output(&format!("trace {wtxid} --replay {recording} --format json"));
            assert_eq!(self::rows(&by_wtxid.stdout), rows, "{wtxid}");
        }
        let table = output(&format!("trace {hash} --replay {recording}"));
        assert_eq!(std::str::from_utf8(&table.stdout).unwrap().lines().count(), rows.len() + 2, "{table:?}");
    }
    for what in [
        "announced",
        "requested",
        "sent",
        "sent_as_header",
        "sent_as_compact_block",
        "in_block",
        "in_block_by_short_id",
        "in_locator",
        "added",
        "removed",
        "rejected",
        "replaced",
        "connected",
    ] {
        assert!(said.contains(what), "no row says {what}: {said:?}");
    }
}

#[test]
fn without_a_second_reading_the_other_hash_is_known_once_it_was_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (events, recording) = recorded(directory.path());
    let hash = hashes(&events, "mempool:removed")[0];
    let whole = expected(&events, &mut Known::new([hash]).having_seen(&events));
    let expected = expected(&events, &mut Known::new([hash]));
    assert!(expected.len() < whole.len(), "it is announced by its wtxid before it is sent");
    let mut tool = bitcointap(&format!("trace {hash} --replay - --format json"));
    let told = tool.stdin(File::open(recording).unwrap()).output().unwrap();
    assert_eq!(rows(&told.stdout).iter().map(essence).collect::<Vec<_>>(), expected);
}

#[test]
fn a_node_tells_the_story_as_it_happens_until_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // The same events as later, so that a transaction of them can be named before.
    let mut before = node(&path("before"), "");
    before.fire();
    before.tally();
    let events = truth::events(&path("before"));
    let hash = hashes(&events, "mempool:removed")[0];
    let expected = expected(&events, &mut Known::new([hash]));
    assert!(expected.len() > 5);

    let mut node = node(&path("trace"), "--linger");
    let mut tool = bitcointap(&format!("trace {hash} --pid {} --format json --ring-buffer-size 64MiB", node.pid()));
    tool.stdout(Stdio::piped());
    let mut trace = Attached::spawn(tool);
    let mut told = BufReader::new(trace.child.stdout.take().unwrap()).lines();
    node.fire();
    // The node goes on to run.
    let rows: Vec<Value> =
        (0..expected.len()).map(|_| serde_json::from_str(&told.next().unwrap().unwrap()).unwrap()).collect();
    assert_eq!(rows.iter().map(essence).collect::<Vec<_>>(), expected);
    signal(trace.pid(), Signal::INT);
    assert!(trace.wait().success(), "{}", trace.log);
    assert!(told.next().is_none());
}

#[test]
fn what_cannot_be_told_is_said() {
    let hash = "11".repeat(32);
    let recording = "tests/golden/version-2.recording";
    let nothing = output(&format!("trace {hash} --replay {recording}"));
    let log = String::from_utf8(nothing.stderr).unwrap();
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{log}");
    assert!(log.contains(&format!("no event names {hash}")), "{log}");
    // Each run is told once, although the recording is read twice.
    assert_eq!(log.matches("replaying a run").count(), 1, "{log}");

    let directory = tempfile::tempdir().unwrap();
    let cut_off = directory.path().join("cut");
    let whole = fs::read(recording).unwrap();
    fs::write(&cut_off, &whole[..whole.len() / 2]).unwrap();
    let failed = output(&format!("trace {hash} --replay {}", cut_off.display()));
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8(failed.stderr).unwrap().contains("it breaks off after"));

    for wrong in ["", "11", &hash[1..], &format!("{hash}00"), &"x".repeat(64), "/etc/passwd"] {
        let refused = bitcointap("trace").arg(wrong).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{wrong}");
        let words = String::from_utf8(refused.stderr).unwrap();
        assert!(words.contains("is no hash of a transaction or block, such as 000000000019d6689c"), "{words}");
    }
}
