//! In a time namespace, which shows a process other clocks than the machine's, all times are those of the wall clock.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    exposition::get,
    node::Simnode,
    tool::{Attached, Exporter, eventually, output},
};

const NODE: &str = "--scenario mix --rate 3000 --count 3000";
const BLOCKS: &str = "--scenario blocks --rate 100 --count 100";
/// The tolerance of a timestamp, in µs, and of a time in whole seconds.
const A_SECOND: u64 = 1_000_000;

/// By how many seconds a namespace's clock is ahead: far ahead; and behind, by the machine's uptime, which is more than
/// the node's. The kernel allows no more.
fn shifts(node: &Simnode) -> [i64; 2] {
    let uptime = || fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let started: u64 = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().parse().unwrap();
    let started = started as f64 / rustix::param::clock_ticks_per_second() as f64;
    let behind = eventually("a second", || Some(uptime().floor()).filter(|&behind| behind > started));
    [1_000_000, -behind as i64]
}

/// The tool in a time namespace with a clock that is ahead by these seconds.
fn shifted(shift: i64, arguments: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--time", "--fork", "--kill-child", &format!("--boottime={shift}")]);
    command.arg(format!("--monotonic={}", shift.max(0))).arg(env!("CARGO_BIN_EXE_bitcointap"));
    command.args(arguments.split_whitespace());
    command
}

fn has_time_namespaces() -> bool {
    let has = Path::new("/proc/self/ns/time").exists();
    if !has {
        println!("skipped: this kernel has no time namespaces");
    }
    has
}

fn lines(text: &[u8]) -> Vec<Value> {
    text.split(|&byte| byte == b'\n')
        .filter(|it| !it.is_empty())
        .map(|it| serde_json::from_slice(it).unwrap())
        .collect()
}

/// Each event has the time of its firing, from the node's trace.
#[track_caller]
fn assert_times(events: &[Value], trace: &Path, what: &str) {
    let fired = lines(&fs::read(trace).unwrap());
    assert!(!fired.is_empty() && events.len() == fired.len(), "{what}: {} of {}", events.len(), fired.len());
    for (event, fired) in events.iter().zip(&fired) {
        let micros =
            event["timestamp"].as_u64().unwrap() * 1_000_000 + event["timestamp_subsec_micros"].as_u64().unwrap();
        let [before, after] = ["before", "after"].map(|name| fired[name].as_u64().unwrap() / 1_000);
        assert!(before - A_SECOND <= micros && micros <= after + A_SECOND, "{what}: {micros}, {before} to {after}");
    }
}

#[test]
fn events_have_the_time_of_the_wall_clock_and_so_has_a_recording_of_them() {
    if !has_time_namespaces() {
        return;
    }
    for place in 0..2 {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let recording = directory.path().join("recording");
        let printed = tempfile::NamedTempFile::new().unwrap();
        let mut node = Simnode::start("v31", &format!("{NODE} --trace {}", trace.path().display()));
        let shift = shifts(&node)[place];
        let mut tap = shifted(shift, &format!("tap --events all --pid {}", node.pid()));
        tap.stdout(printed.reopen().unwrap());
        let mut tap = Attached::spawn(tap);
        let record = format!("record {} --events all --pid {}", recording.display(), node.pid());
        let mut recorder = Attached::spawn(shifted(shift, &record));
        node.fire();
        node.tally();
        for tool in [&mut tap, &mut recorder] {
            assert!(tool.wait().success(), "{}", tool.log);
            assert!(!tool.log.contains("time namespace"), "it knows its own: {}", tool.log);
        }
        assert_times(&lines(&fs::read(printed.path()).unwrap()), trace.path(), &format!("tap, shifted by {shift}"));
        let replay = format!("tap --events all --speed max --replay {}", recording.display());
        for (where_, replayed) in [("outside", output(&replay)), ("inside", shifted(shift, &replay).output().unwrap())]
        {
            assert_times(&lines(&replayed.stdout), trace.path(), &format!("recorded at {shift}, replayed {where_}"));
        }
    }
}

#[test]
fn metrics_are_those_of_an_exporter_elsewhere() {
    if !has_time_namespaces() {
        return;
    }
    for place in 0..2 {
        for simnode in [NODE, BLOCKS] {
            let mut node = Simnode::start("v31", &format!("{simnode} --linger"));
            let shift = shifts(&node)[place];
            let arguments = format!("--events all --pid {}", node.pid());
            let outside = Exporter::start(&arguments);
            let inside = Exporter::start_by(|arguments| shifted(shift, arguments), &arguments, "attached to");
            node.fire();
            let tally = node.read_tally();
            outside.settled_events(&tally);
            inside.settled_events(&tally);
            let (metrics, expected) = (inside.scrape(), outside.scrape());
            for family in
                ["p2p_peer_clock_offset_seconds", "p2p_address_age_seconds", "p2p_connection_duration_seconds"]
            {
                let sum = |of: &crate::exposition::Exposition| of.sum(&format!("{family}_sum"), &[]);
                let count = expected.sum(&format!("{family}_count"), &[]);
                assert!(count > 0.0 || simnode == BLOCKS, "{family}");
                assert!((sum(&metrics) - sum(&expected)).abs() <= count, "{family} at {shift}");
            }
            for family in ["node_start_time_seconds", "validation_last_block_connected_timestamp_seconds"] {
                let (value, expected) = (metrics.sum(family, &[]), expected.sum(family, &[]));
                assert!(expected > 1e9 && (value - expected).abs() <= 1.0, "{family} at {shift}: {value}, {expected}");
            }
            // No delay is 0, or takes days.
            let [count, sum] = ["count", "sum"].map(|it| metrics.sum(&format!("event_delay_seconds_{it}"), &[]));
            assert!(sum > 0.0 && sum < 3_600.0 * count, "{count} delays of {sum} s in all, at {shift}");
            let started = |exporter: &Exporter| -> f64 {
                let text = eventually("a scrape", || get(&exporter.address, "/metrics"));
                let value = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "));
                value.unwrap().parse().unwrap()
            };
            assert!((started(&inside) - started(&outside)).abs() < 60.0, "at {shift}");
        }
    }
}
