//! The tool drains the ring buffer soon while somebody waits for its events, and rarely while nobody does.

use std::{
    fs,
    time::{Duration, Instant},
};

use bitcointap::{capture::Batch, process::Which, selection::Selection, tap::Tap};
use rustix::process::Signal;

use crate::{
    exposition::get,
    node::Simnode,
    streams::Stream,
    tool::{Exporter, PATIENCE, eventually},
};

/// How often the tool's first thread has woken up so far. That thread drains.
fn wake_ups(exporter: &Exporter) -> u64 {
    let pid = exporter.process.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap();
    let number = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    number.trim().parse().unwrap()
}

/// The machine's CLOCK_BOOTTIME, in seconds.
fn uptime() -> f64 {
    fs::read_to_string("/proc/uptime").unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// Wake-ups a second, while the node fires for some seconds.
fn wake_ups_in_a_second(exporter: &Exporter) -> f64 {
    let (before, begun) = (wake_ups(exporter), uptime());
    std::thread::sleep(Duration::from_secs(4));
    (wake_ups(exporter) - before) as f64 / (uptime() - begun)
}

/// A node that fires a thousand times a second, and then lingers.
fn firing() -> (Simnode, Exporter) {
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    node.fire();
    eventually("events", || (exporter.scrape().sum("events_total", &[]) > 100.0).then_some(()));
    (node, exporter)
}

#[test]
fn nobody_who_waits_makes_few_wake_ups() {
    let (node, exporter) = firing();
    let alone = wake_ups_in_a_second(&exporter);
    // It would be 50 if the tool drained as if somebody waited.
    assert!(alone < 15.0, "{alone} wake-ups a second");
    // The reader of a stream waits for each event. A busy machine wakes the tool less often, but at least a third as often.
    let stream = Stream::try_open(&exporter, "payload=none&events=validation", false).unwrap();
    let read = wake_ups_in_a_second(&exporter);
    assert!(read > alone * 2.0, "{alone} wake-ups a second, with a reader {read}");
    drop(stream);
    eventually("the reader has left", || (exporter.scrape().sum("http_streams", &[]) == 0.0).then_some(()));
    let alone = wake_ups_in_a_second(&exporter);
    assert!(alone < 15.0, "{alone} wake-ups a second after it has left");
    drop(node);
    exporter.stop();
}

/// An answer that comes earlier has not given up waiting.
const ANSWERS_PATIENCE: Duration = Duration::from_millis(100);

/// Each answer has all that has fired, at any time since the last drain.
#[test]
fn an_answer_has_all_that_had_fired_before_it() {
    for path in ["/metrics", "/api/live"] {
        let mut answers = 0;
        // On a busy machine some answers come late, and may lack events.
        for round in 0..100 {
            if answers == 10 {
                break;
            }
            let mut node = Simnode::start("v31", "--scenario mix --rate max --count 500 --linger");
            let exporter = Exporter::start(&format!("--pid {}", node.pid()));
            node.fire();
            let tally = node.read_tally();
            let fired = tally.tracepoints()["net:inbound_message"];
            let asked = Instant::now();
            let answer = get(&exporter.address, path).expect("it answers");
            if asked.elapsed() >= ANSWERS_PATIENCE {
                exporter.stop();
                continue;
            }
            answers += 1;
            let counted: u64 = if path == "/metrics" {
                let series = "bitcointap_events_total{tracepoint=\"net:inbound_message\"} ";
                answer.lines().find_map(|line| line.strip_prefix(series)).unwrap().parse().unwrap()
            } else {
                let live: serde_json::Value = serde_json::from_str(&answer).unwrap();
                let commands = live["commands"].as_array().unwrap();
                commands.iter().map(|command| command["inbound"]["messages"].as_u64().unwrap()).sum()
            };
            assert_eq!(counted, fired, "{path}, round {round}");
            exporter.stop();
        }
    }
}

#[test]
fn a_stream_gets_its_lines_without_a_scrape_and_none_from_before_it() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    node.fire();
    eventually("events", || (exporter.scrape().sum("events_total", &[]) > 100.0).then_some(()));
    for query in ["payload=none", "", "payload=none"] {
        let asked = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let mut stream = Stream::try_open(&exporter, query, false).unwrap();
        let line = stream.next().expect("it goes on");
        let second = line["timestamp"].as_u64().unwrap() as f64;
        let fired = second + line["timestamp_subsec_micros"].as_u64().unwrap() as f64 / 1e6;
        // An event that was being written at that moment may be a little older.
        assert!(fired > asked - 0.001, "{query}: {} s before it was asked for", asked - fired);
        for _ in 0..100 {
            stream.next().expect("it goes on");
        }
    }
    node.signal(Signal::TERM);
    node.tally();
    exporter.stop();
}

#[test]
fn each_message_that_fills_the_ring_buffer_past_the_mark_wakes_its_reader() {
    let mut node = Simnode::start("v31", "--scenario blocks --rate 20");
    // The condition leaves out smaller messages, so that each record fills more than a sixteenth of the ring buffer.
    let large = Selection::of("net:inbound_message,net:outbound_message".parse().unwrap()).min_size(800_000);
    let builder = Tap::builder().node(Which::Pid(node.pid().cast_signed())).selection(large);
    let mut tap = builder.ring_buffer_size(8 << 20).attach().unwrap();
    node.fire();
    let mut batch = Batch::default();
    for number in 1..=5 {
        let begun = Instant::now();
        tap.wait(PATIENCE).unwrap();
        assert!(begun.elapsed() < PATIENCE, "no message has ended wait {number}");
        while tap.drain(&mut batch).unwrap() {}
    }
}
