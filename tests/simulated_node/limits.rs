//! When more comes than goes. In: floods, a tool that is paused, a reader that stops. Out: losses told in their place, an end in time,
//! memory that stays small.

use std::{fs::File, process::Stdio};

use bitcointap::tracepoint::Tracepoints;
use rustix::process::Signal;
use serde_json::Value;

use super::read_lines;
use crate::{
    exposition::Exposition,
    node::Simnode,
    tool::{self, Attached, Exporter, bitcointap, eventually, free_address, pause_until_lost},
};

#[test]
fn what_is_lost_is_told_in_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut node = Simnode::start("v31", "--scenario flood --rate max");
    let export = format!("--pid {} --ring-buffer-size 8MiB --json {}", node.pid(), file.path().display());
    let exporter = Exporter::start(&export);
    node.fire();
    // While nobody drains, the ring buffer fills; later events get through again.
    let delivered = || exporter.scrape().sum("event_delay_seconds_count", &[]);
    eventually("events", || (delivered() > 1000.0).then_some(()));
    pause_until_lost(&exporter);
    let paused = delivered();
    eventually("it goes on", || (delivered() > paused + 1000.0).then_some(()));
    node.signal(Signal::TERM);
    let tally = node.tally();
    let metrics = exporter.last_line("file");
    let lost = metrics.sum("events_lost_total", &[("reason", "ring_full")]);
    let delivered = metrics.sum("event_delay_seconds_count", &[]);
    let fired = tally.number("/tracepoints/net:inbound_message");
    assert!(lost > 0.0, "the ring was filled");
    assert_eq!(metrics.sum("events_total", &[("tracepoint", "net:inbound_message")]), fired as f64);
    let others: u64 = tally.tracepoints().values().sum::<u64>() - fired;
    assert_eq!(delivered + lost, (fired + others) as f64);
    exporter.stop();

    // The stream has the same gap: nonces rise by one, and over a gap by its count.
    let (mut told, mut written, mut expected) = (0, 0, None);
    for event in read_lines(file.path()) {
        if let Some(gap) = event["event"].get("Lost") {
            assert_eq!(gap["tracepoint"], "net:inbound_message");
            let count = gap["count"].as_u64().unwrap();
            told += count;
            expected = expected.map(|nonce: u64| nonce + count);
            continue;
        }
        written += 1;
        let Some(nonce) = event.pointer("/event/Msg/msg/Ping/value").and_then(Value::as_u64) else { continue };
        // The flood counts from 0; pings of the handshake before it do not.
        if nonce == 0 || expected.is_some() {
            assert_eq!(expected.unwrap_or(0), nonce);
            expected = Some(nonce + 1);
        }
    }
    assert_eq!(told + written, fired + others);
}

#[test]
fn a_reader_that_stops_reading_holds_up_neither_metrics_nor_the_end() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 50000 --count 150000");
    let address = free_address();
    // The ring buffer holds all of it, however slow the machine is.
    let words = format!("export --web.listen-address {address} --pid {} --ring-buffer-size 64MiB --json -", node.pid());
    let mut command = bitcointap(&words);
    // Nobody reads this pipe.
    command.stdout(Stdio::piped());
    let mut process = Attached::spawn(command);
    node.fire();
    let tally = node.tally();
    let scrape = || Exposition::scrape(&address).expect("it serves");
    eventually("the node's end", || (scrape().sum("up", &[]) == 0.0).then_some(()));
    let metrics = scrape();
    let tracepoints: Tracepoints = Tracepoints::default_set();
    let fired: u64 = tracepoints.iter().map(|it| tally.tracepoints()[it.name()]).sum();
    assert_eq!(metrics.sum("event_delay_seconds_count", &[]), fired as f64);
    let lost = metrics.sum("json_lines_lost_total", &[("sink", "stdout")]);
    assert!(lost > 0.0, "150,000 events do not fit in the queue");
    process.terminate();
    let status = process.wait();
    assert!(status.success(), "{}", process.log);
}

#[test]
fn a_flood_does_not_keep_it_from_ending() {
    let mut node = Simnode::start("v31", "--scenario flood --rate max");
    let mut command = bitcointap(&format!("tap --pid {}", node.pid()));
    command.stdout(File::create("/dev/null").unwrap());
    let mut tap = Attached::spawn(command);
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    node.fire();
    eventually("the flood", || (exporter.scrape().sum("events_total", &[]) > 1000.0).then_some(()));
    tap.terminate();
    let status = tap.wait();
    assert!(status.success(), "{}", tap.log);
    exporter.stop();
    node.signal(Signal::TERM);
    node.tally();
}

#[test]
fn resident_memory_stays_small() {
    // The ring buffer counts as 32 MiB, the program without optimisation as 17.
    const LIMIT_KIB: u64 = 72 << 10;
    for simnode in ["--scenario flood --rate max --duration 3", "--scenario blocks --rate 20 --duration 3"] {
        let mut node = Simnode::start("v31", simnode);
        let exporter = Exporter::start(&format!("--pid {}", node.pid()));
        node.fire();
        node.tally();
        exporter.last_scrape();
        let peak = exporter.process.peak_memory();
        assert!(peak < LIMIT_KIB, "{simnode}: {peak} KiB");
        exporter.stop();
    }
}

#[test]
fn count_and_duration_end_a_tap() {
    let mut node = Simnode::start("v31", "--rate 2000");
    node.fire();
    let output = tool::output(&format!("tap --pid {} --count 25", node.pid()));
    assert!(output.status.success());
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 25);
    assert!(tool::output(&format!("--pid {} --duration 0.5", node.pid())).status.success());
    let output = tool::output(&format!("--pid {} --count 1 --pretty", node.pid()));
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("{\n  \"timestamp\": "));
}
