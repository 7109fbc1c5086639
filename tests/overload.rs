//! Under overload the tool reports its losses: in metrics, in the JSON lines at their place, and in the log.

use std::{collections::BTreeMap, fs, thread, time::Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    node::{Simnode, Tally},
    tool::{Exporter, eventually, pause_until_lost},
};

/// The losses that JSON lines report, by tracepoint, and the number of events in them.
pub fn told(json: &str) -> (BTreeMap<String, f64>, f64) {
    let (mut lost, mut events) = (BTreeMap::new(), 0.0);
    for line in json.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {} {line:.300}", line.len()));
        match line["event"].get("Lost") {
            Some(gap) => {
                let tracepoint = gap["tracepoint"].as_str().unwrap().to_owned();
                *lost.entry(tracepoint).or_default() += gap["count"].as_f64().unwrap();
            }
            None => events += 1.0,
        }
    }
    (lost, events)
}

/// Asserts that fired = delivered + lost for each tracepoint in metrics, and in the stream together with losses of its queue.
fn assert_accounted(tally: &Tally, exporter: Exporter, json: &str) -> (f64, String) {
    eventually("all is counted", || {
        let metrics = exporter.scrape();
        let sum = |family: &str| metrics.sum(family, &[]);
        let counted = sum("event_delay_seconds_count") + sum("events_filtered_total") + sum("events_lost_total");
        (counted == sum("events_total") && sum("up") == 0.0).then_some(())
    });
    let metrics = exporter.last_line("file");
    let log = exporter.stop();
    let (told, events) = told(&fs::read_to_string(json).unwrap());
    let fired = tally.tracepoints();
    for (tracepoint, &fired) in &fired {
        assert_eq!(metrics.sum("events_total", &[("tracepoint", tracepoint)]), fired as f64, "{tracepoint}");
        let lost = metrics.sum("events_lost_total", &[("tracepoint", tracepoint)]);
        assert!(told.get(tracepoint).copied().unwrap_or(0.0) >= lost, "{tracepoint}: {told:?}");
    }
    let told: f64 = told.values().sum();
    let fired: u64 = fired.values().sum();
    assert_eq!(events + told, fired as f64, "each is in the stream or reported as lost");
    (metrics.sum("events_lost_total", &[]), log)
}

#[test]
fn a_pause_of_the_exporter_is_a_gap_and_it_recovers() {
    let json = tempfile::NamedTempFile::new().unwrap();
    let path = json.path().to_str().unwrap();
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000");
    let begun = Instant::now();
    let exporter = Exporter::start(&format!("--pid {} --events all --json {path} --ring-buffer-size 8MiB", node.pid()));
    node.fire();
    let delivered = || exporter.scrape().sum("event_delay_seconds_count", &[]);
    eventually("events", || (delivered() > 1000.0).then_some(()));
    let after_pause = pause_until_lost(&exporter);
    let paused = delivered();
    eventually("it recovers", || (delivered() > paused + 10_000.0).then_some(()));
    node.signal(Signal::TERM);
    let tally = node.tally();
    let (lost, log) = assert_accounted(&tally, exporter, path);
    println!("{lost} lost, {after_pause} of them told at once");
    // The log has one line, and at most another every ten seconds, however many gaps there are.
    let lines = log.matches("events were lost").count() as u64;
    assert!((1..=1 + begun.elapsed().as_secs() / 10).contains(&lines), "{log}");
}

#[test]
fn full_speed_on_all_processors_is_accounted_for() {
    let json = tempfile::NamedTempFile::new().unwrap();
    let path = json.path().to_str().unwrap();
    let threads = thread::available_parallelism().map_or(1, |it| it.get().min(64));
    let mut node = Simnode::start("v31", &format!("--scenario flood --rate max --threads {threads} --count 500000"));
    let exporter = Exporter::start(&format!("--pid {} --json {path} --bytes hex --ring-buffer-size 8MiB", node.pid()));
    node.fire();
    let tally = node.tally();
    let (lost, _) = assert_accounted(&tally, exporter, path);
    println!("{lost} of 500000 lost with {threads} threads");
}
