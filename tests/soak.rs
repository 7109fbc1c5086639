//! A long run: traffic of all kinds, peers that come and go, scrapes, readers that come and go, a node that is killed and started anew
//! each minute. In: `SOAK_SECONDS`, an hour in `make soak`, else a short one. Out: claims that each event is told or told as lost,
//! and that memory, descriptors and threads stay what they were; and a table of these.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    exposition::get,
    node::{Simnode, program},
    streams::Stream,
    tool::{Exporter, descriptors, eventually, memory},
};

/// Scenarios, one after another, with their rates. What they fire in a second is little for the tool, so that none is lost
/// though the tests run beside.
const RUNS: [&str; 4] = ["mix --rate 2000", "churn --rate 500", "mix --rate 2000", "blocks --rate 20"];

/// What the tool holds.
struct Sample {
    at: Duration,
    kib: u64,
    descriptors: usize,
    threads: usize,
}

/// What the readers of all kinds did.
#[derive(Default)]
struct Read {
    over: AtomicBool,
    scrapes: AtomicU64,
    streams: AtomicU64,
    lines: AtomicU64,
}

impl Read {
    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    /// As Prometheus, and as the live page, each second.
    fn scrape(&self, address: &str) {
        while self.goes_on() {
            for path in ["/metrics", "/api/live"] {
                assert!(get(address, path).is_some(), "{path} is always there");
                self.scrapes.fetch_add(1, Relaxed);
            }
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Opens streams, reads some lines, or none, and leaves in the middle.
    fn stream(&self, exporter: &Exporter, queries: &[&str]) {
        for (number, query) in queries.iter().cycle().enumerate() {
            if !self.goes_on() {
                return;
            }
            // Where the last ones have not been seen to be gone, there may be no room.
            if let Ok(mut stream) = Stream::try_open(exporter, query, number % 2 == 0) {
                stream.ends_after(Duration::from_secs(2));
                for _ in 0..number % 500 {
                    if !self.goes_on() || stream.next().is_none() {
                        break;
                    }
                    self.lines.fetch_add(1, Relaxed);
                }
                thread::sleep(Duration::from_millis(number as u64 % 500));
                self.streams.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Lines of events that a socket was sent, and what they tell as lost, until its end.
fn count(listener: &UnixListener) -> (u64, u64) {
    let (mut events, mut lost) = (0, 0);
    let mut lines = BufReader::new(listener.accept().unwrap().0);
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // In no text, whose quotes are escaped.
        if line.contains(r#""event":{"Lost":"#) {
            let gap: Value = serde_json::from_str(&line).unwrap();
            lost += gap["event"]["Lost"]["count"].as_u64().unwrap();
        } else {
            events += 1;
        }
        line.clear();
    }
    (events, lost)
}

/// What was largest, in each of some parts of the time.
fn largest(samples: &[Sample], parts: usize) -> Vec<&Sample> {
    let chunks = samples.chunks(samples.len().div_ceil(parts).max(1));
    chunks.map(|part| part.iter().max_by_key(|sample| sample.kib).expect("chunks are not empty")).collect()
}

#[test]
fn a_long_run_with_restarts_loses_nothing_and_grows_in_nothing() {
    let seconds = env::var("SOAK_SECONDS").map_or(20, |text| text.parse().expect("SOAK_SECONDS is a number"));
    let each = (seconds / 8).min(60);
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("bitcoind");
    fs::copy(program("simnode-v31"), &path).unwrap();
    let socket = directory.path().join("lines");
    let listener = UnixListener::bind(&socket).unwrap();
    let lines = thread::spawn(move || count(&listener));
    let exporter = Exporter::start_waiting(&format!(
        "--bitcoind {} --events all --json unix:{}",
        path.display(),
        socket.display()
    ));
    let pid = exporter.process.pid();
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    let mut fired = BTreeMap::<String, u64>::new();
    let mut runs = 0;
    let mut run = |seconds: u64| {
        let scenario = RUNS[runs % RUNS.len()];
        runs += 1;
        let mut node = Simnode::start_program(
            &path,
            &format!("--scenario {scenario} --seed {runs} --duration {seconds} --linger"),
        );
        eventually("an attachment", || (exporter.scrape().sum("attachments_total", &[]) == runs as f64).then_some(()));
        node.fire();
        for (tracepoint, count) in node.read_tally().tracepoints() {
            *fired.entry(tracepoint).or_default() += count;
        }
        node.signal(Signal::KILL);
        let metrics = exporter.last_scrape();
        for (tracepoint, &count) in &fired {
            assert_eq!(metrics.sum("events_total", &[("tracepoint", tracepoint)]), count as f64, "{tracepoint}");
        }
    };

    // Once each, with no reader: what the tool holds then is what it may hold at the end.
    RUNS.iter().for_each(|_| run(1));
    let before = (descriptors(pid), threads());
    let (read, samples) = (Read::default(), Mutex::new(Vec::new()));
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| read.scrape(&exporter.address));
        for queries in [["", "events=net"], ["bytes=hex", "events=mempool"], ["payload=raw", "command=ping,inv"]] {
            let (read, exporter) = (&read, &exporter);
            scope.spawn(move || read.stream(exporter, &queries));
        }
        scope.spawn(|| {
            while read.goes_on() {
                let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
                let sample = Sample { at: start.elapsed(), kib: memory(pid), descriptors, threads: threads() };
                samples.lock().unwrap().push(sample);
                thread::sleep(Duration::from_millis(500));
            }
        });
        // A claim of a run that fails must not leave the others waiting.
        let ran = panic::catch_unwind(AssertUnwindSafe(|| {
            while start.elapsed() < Duration::from_secs(seconds) {
                run(each);
            }
        }));
        read.over.store(true, Relaxed);
        if let Err(claim) = ran {
            panic::resume_unwind(claim);
        }
    });

    let metrics = exporter.last_scrape();
    let all: u64 = fired.values().sum();
    let lost = metrics.sum("events_lost_total", &[]);
    eventually("as many descriptors as before", || (descriptors(pid) <= before.0).then_some(()));
    eventually("as many threads as before", || (threads() <= before.1).then_some(()));
    let log = exporter.stop();
    let (events, told) = lines.join().unwrap();
    let samples = samples.into_inner().unwrap();
    println!("{runs} runs of a node, {all} events fired, {events} told, {told} told as lost ({lost} by the kernel)");
    let [scrapes, streams, lines] = [&read.scrapes, &read.streams, &read.lines].map(|count| count.load(Relaxed));
    println!("{scrapes} scrapes, {streams} streams with {lines} lines, {} lines of log", log.lines().count());
    println!("{:>8} {:>12} {:>12} {:>8}", "second", "resident KiB", "descriptors", "threads");
    for sample in largest(&samples, 12) {
        let Sample { at, kib, descriptors, threads } = sample;
        println!("{:>8} {kib:>12} {descriptors:>12} {threads:>8}", at.as_secs());
    }
    assert_eq!(events + told, all);
    assert!(lost as u64 <= told);
    let halves = largest(&samples, 2);
    assert!(halves[1].kib <= halves[0].kib + (4 << 10), "it grows: {} KiB, then {}", halves[0].kib, halves[1].kib);
}
