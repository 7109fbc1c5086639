//! A long run: traffic of all kinds, peers that come and go, scrapes, readers that come and go, a node that is killed and started anew
//! each minute. In: `SOAK_SECONDS`, an hour in `make soak`, else a short one. Out: claims that each event is told or told as lost,
//! and that memory, descriptors and threads stay what they were; and a table of these.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
    panic::{self, AssertUnwindSafe},
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
    node::{Simnode, own_program},
    streams::Stream,
    tool::{Exporter, descriptors, entries, eventually, memory},
};

/// Scenarios, one after another, with their rates. What they fire in a second is little for the tool, so that none is lost
/// though the tests run beside.
const RUNS: [&str; 4] = ["mix --rate 2000", "churn --rate 500", "mix --rate 2000", "blocks --rate 20"];

/// What the tool holds.
#[derive(Debug)]
struct Held {
    kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn by(pid: u32) -> Self {
        Self { kib: memory(pid), descriptors: entries(pid, "fd"), threads: entries(pid, "task") }
    }

    /// When nobody reads, no node runs, and what was let go of is gone.
    fn at_rest(exporter: &Exporter) -> Self {
        eventually("no stream", || (exporter.scrape().sum("http_streams", &[]) == 0.0).then_some(()));
        descriptors(exporter.process.pid());
        Self::by(exporter.process.pid())
    }
}

struct Sample {
    at: Duration,
    held: Held,
}

/// What the readers of all kinds did, and what the tool held meanwhile.
struct Read {
    start: Instant,
    over: AtomicBool,
    scrapes: AtomicU64,
    streams: AtomicU64,
    lines: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

impl Read {
    /// While something goes on.
    fn during(exporter: &Exporter, goes_on: impl FnOnce(Instant)) -> Self {
        let [scrapes, streams, lines] = [(); 3].map(|()| AtomicU64::default());
        let (start, over, samples) = (Instant::now(), AtomicBool::default(), Mutex::default());
        let read = Self { start, over, scrapes, streams, lines, samples };
        thread::scope(|scope| {
            scope.spawn(|| read.scrape(&exporter.address));
            for queries in [["", "events=net"], ["bytes=hex", "events=mempool"], ["payload=raw", "command=ping,inv"]] {
                let read = &read;
                scope.spawn(move || read.stream(exporter, &queries));
            }
            scope.spawn(|| read.sample(exporter.process.pid()));
            // A claim that fails must not leave the others waiting.
            let result = panic::catch_unwind(AssertUnwindSafe(|| goes_on(start)));
            read.over.store(true, Relaxed);
            if let Err(claim) = result {
                panic::resume_unwind(claim);
            }
        });
        read
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    fn sample(&self, pid: u32) {
        while self.goes_on() {
            let sample = Sample { at: self.start.elapsed(), held: Held::by(pid) };
            self.samples.lock().unwrap().push(sample);
            thread::sleep(Duration::from_millis(500));
        }
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
    chunks.map(|part| part.iter().max_by_key(|sample| sample.held.kib).expect("chunks are not empty")).collect()
}

#[test]
fn a_long_run_with_restarts_loses_nothing_and_grows_in_nothing() {
    let seconds = env::var("SOAK_SECONDS").map_or(20, |text| text.parse().expect("SOAK_SECONDS is a number"));
    let each = (seconds / 8).min(60);
    let directory = tempfile::tempdir().unwrap();
    let path = own_program(&directory);
    let socket = directory.path().join("lines");
    let listener = UnixListener::bind(&socket).unwrap();
    let lines = thread::spawn(move || count(&listener));
    let exporter = Exporter::start_waiting(&format!(
        "--bitcoind {} --events all --json unix:{}",
        path.display(),
        socket.display()
    ));
    let mut fired = BTreeMap::<String, u64>::new();
    let mut runs = 0;
    let mut run = |seconds: u64| {
        let scenario = RUNS[runs % RUNS.len()];
        runs += 1;
        let mut node = Simnode::start_program(
            &path,
            &format!("--scenario {scenario} --seed {runs} --duration {seconds} --linger"),
        );
        exporter.wait_for_attachment(runs as f64);
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

    // Once each: what the tool holds after that is what it may hold at the end.
    Read::during(&exporter, |_| RUNS.iter().for_each(|_| run(1)));
    let before = Held::at_rest(&exporter);
    let read = Read::during(&exporter, |start| {
        while start.elapsed() < Duration::from_secs(seconds) {
            run(each);
        }
    });

    let lost = exporter.last_scrape().sum("events_lost_total", &[]);
    let held = eventually("as many descriptors and threads as before", || {
        let held = Held::at_rest(&exporter);
        (held.descriptors <= before.descriptors && held.threads <= before.threads).then_some(held)
    });
    let log = exporter.stop();
    let (events, told) = lines.join().unwrap();
    let all: u64 = fired.values().sum();
    println!("{runs} runs of a node, {all} events fired, {events} told, {told} told as lost ({lost} by the kernel)");
    let [scrapes, streams, lines] = [&read.scrapes, &read.streams, &read.lines].map(|count| count.load(Relaxed));
    println!("{scrapes} scrapes, {streams} streams with {lines} lines, {} lines of log", log.lines().count());
    println!("{:>8} {:>12} {:>12} {:>8}", "second", "resident KiB", "descriptors", "threads");
    let samples = read.samples.into_inner().unwrap();
    for Sample { at, held: Held { kib, descriptors, threads } } in largest(&samples, 12) {
        println!("{:>8} {kib:>12} {descriptors:>12} {threads:>8}", at.as_secs());
    }
    assert_eq!(events + told, all);
    assert!(lost as u64 <= told);
    println!("at rest before: {before:?}, and after: {held:?}");
    // What the queues of readers that lag have held at their most is not all given back: some MiB, after a run of any length.
    assert!(held.kib <= before.kib + (16 << 10), "it has grown");
    // Of fewer runs one half has more of the large scenarios than the other.
    if runs >= 6 * RUNS.len() {
        let [first, second] = [0, 1].map(|half| largest(&samples, 2)[half].held.kib);
        assert!(second <= first + (4 << 10), "it grows: {first} KiB, then {second}");
    }
}
