//! Long runs: traffic of all kinds, peers, scrapes and readers that come and go, and a node that is killed and started
//! again each minute; and hundreds of restarts, one right after another. In: `SOAK_SECONDS`, an hour in `make soak`,
//! otherwise short runs. Out: claims that each event is delivered or reported as lost, that memory, descriptors and
//! threads stay what they were, and that stopped readers do not delay the end; and tables of these.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
    panic::{self, AssertUnwindSafe},
    path::Path,
    process::Stdio,
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
    node::{Simnode, copy_program, own_program},
    streams::Stream,
    tool::{Attached, Exporter, bitcointap, entries, eventually, memory},
};

/// Scenarios, one after another, with their rates. The rates are low for the tool, so that nothing is lost although
/// other tests run at the same time.
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

    /// Measured when nobody reads, no node runs, everything is released, and it has its former descriptors.
    fn at_rest(exporter: &Exporter, descriptors: usize) -> Self {
        eventually("no stream", || (exporter.scrape().sum("http_streams", &[]) == 0.0).then_some(()));
        let kib = exporter.memory_at_rest(descriptors);
        Self { kib, ..Self::by(exporter.process.pid()) }
    }
}

struct Sample {
    at: Duration,
    held: Held,
}

/// What readers of all kinds did, and what the tool held meanwhile.
struct Read {
    start: Instant,
    over: AtomicBool,
    scrapes: AtomicU64,
    streams: AtomicU64,
    lines: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

impl Read {
    /// Reads while something goes on.
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
            // A failed claim must not leave the others waiting.
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
            // If the server has not noticed yet that the last ones left, it may have no room.
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

/// Lines of events that a socket received, and the losses that they report, until its end.
fn count(listener: &UnixListener) -> (u64, u64) {
    let (mut events, mut lost) = (0, 0);
    let mut lines = BufReader::new(listener.accept().unwrap().0);
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // Not in a text, where quotes are escaped.
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

/// The largest sample in each part of the time.
fn largest(samples: &[Sample], parts: usize) -> Vec<&Sample> {
    let chunks = samples.chunks(samples.len().div_ceil(parts).max(1));
    chunks.map(|part| part.iter().max_by_key(|sample| sample.held.kib).expect("chunks are not empty")).collect()
}

/// How long `make soak` runs; `None` otherwise.
fn soak() -> Option<u64> {
    env::var("SOAK_SECONDS").ok().map(|text| text.parse().expect("SOAK_SECONDS is a number"))
}

#[test]
fn a_long_run_with_restarts_loses_nothing_and_grows_in_nothing() {
    let seconds = soak().unwrap_or(20);
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
    let descriptors = entries(exporter.process.pid(), "fd");
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

    // Each once: what the tool holds after that is what it may hold at the end.
    Read::during(&exporter, |_| RUNS.iter().for_each(|_| run(1)));
    let before = Held::at_rest(&exporter, descriptors);
    let read = Read::during(&exporter, |start| {
        while start.elapsed() < Duration::from_secs(seconds) {
            run(each);
        }
    });

    let lost = exporter.last_line("socket").sum("events_lost_total", &[]);
    let held = eventually("as many threads as before", || {
        Some(Held::at_rest(&exporter, descriptors)).filter(|held| held.threads <= before.threads)
    });
    let log = exporter.stop();
    let (events, told) = lines.join().unwrap();
    let all: u64 = fired.values().sum();
    println!("{runs} runs of a node, {all} events fired, {events} told, {told} told as lost ({lost} by the kernel)");
    let [scrapes, streams, lines] = [&read.scrapes, &read.streams, &read.lines].map(|count| count.load(Relaxed));
    println!("{scrapes} scrapes, {streams} streams with {lines} lines, {} lines of log", log.lines().count());
    println!("{:>8} {:>12} {:>12} {:>8}", "second", "memory KiB", "descriptors", "threads");
    let samples = read.samples.into_inner().unwrap();
    for Sample { at, held: Held { kib, descriptors, threads } } in largest(&samples, 12) {
        println!("{:>8} {kib:>12} {descriptors:>12} {threads:>8}", at.as_secs());
    }
    assert_eq!(events + told, all);
    assert!(lost as u64 <= told);
    println!("at rest before: {before:?}, and after: {held:?}");
    // With fewer runs, one half has more of the large scenarios than the other.
    if runs >= 6 * RUNS.len() {
        // The memory of full queues of slow readers is not given back completely: some MiB, after a run of any length.
        assert!(held.kib <= before.kib + (16 << 10), "it has grown");
        let [first, second] = [0, 1].map(|half| largest(&samples, 2)[half].held.kib);
        assert!(second <= first + (4 << 10), "it grows: {first} KiB, then {second}");
    }
}

/// As an upgrade does: a new file in place of the old one.
fn replace(path: &Path) {
    let new = path.with_extension("new");
    copy_program(path, &new);
    fs::rename(&new, path).unwrap();
}

fn median(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn restarts_are_followed_and_leave_nothing_behind() {
    let restarts = if soak().is_some() { 300 } else { 40 };
    // Between these, bitcointap attaches to the next run while it releases the last one.
    const REST_AFTER: usize = 5;
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let mut exporter =
        Exporter::start_waiting(&format!("--bitcoind {} --events all --json /dev/null", program.display()));
    let pid = exporter.process.pid();
    let descriptors = entries(pid, "fd");
    let (mut fired, mut attached, mut at_rest) = (0, Vec::new(), Vec::new());
    for restart in 1..=restarts {
        if restart % 3 == 0 {
            replace(&program);
        }
        let mut node = Simnode::start_program(&program, &format!("--count 300 --rate max --linger --seed {restart}"));
        exporter.wait_for_attachment(restart as f64);
        // Otherwise the pipe of its log is full after some 160 runs, and it waits.
        exporter.process.read_log_until("attached to", restart);
        node.fire();
        fired += node.read_tally().tracepoints().values().sum::<u64>();
        attached.push(memory(pid));
        node.signal(Signal::KILL);
        let metrics = exporter.last_scrape();
        assert_eq!(metrics.sum("events_total", &[]), fired as f64, "restart {restart}");
        assert_eq!(metrics.sum("p2p_connections", &[]), 0.0, "they belonged to the run");
        if restart % REST_AFTER == 0 {
            at_rest.push(exporter.memory_at_rest(descriptors));
        }
    }
    let metrics = exporter.scrape();
    let delivered = ["event_delay_seconds_count", "events_filtered_total", "events_lost_total"];
    assert_eq!(delivered.iter().map(|family| metrics.sum(family, &[])).sum::<f64>(), fired as f64);
    assert_eq!(metrics.sum("attach_failures_total", &[]), 0.0);
    exporter.stop();

    // Libraries and tables allocate within the first ten runs.
    let levels = &at_rest[10 / REST_AFTER..];
    let third = levels.len() / 3;
    let (first, last) = (median(&levels[..third]), median(&levels[levels.len() - third..]));
    println!("{restarts} restarts, KiB of memory at rest: {at_rest:?}, then {first} and {last}");
    println!("and attached to a run: {}", median(&attached));
    assert!(last <= first + (1 << 10), "it grows");
    assert!(last < median(&attached), "what is kept of a run is not given back");
}

/// A flood goes into a pipe, a socket and a stream that nobody reads.
#[test]
fn it_ends_within_two_seconds_though_readers_have_stopped() {
    if soak().is_none() {
        return println!(
            "skipped: how long it takes is for a machine that does nothing else, such as that of make soak"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut node = Simnode::start("v31", "--scenario flood --rate max");
    for json in ["-", &format!("unix:{}", path.display())] {
        let pipe = |arguments: &str| {
            let mut command = bitcointap(arguments);
            command.stdout(Stdio::piped());
            command
        };
        let arguments = format!("--pid {} --json {json}", node.pid());
        let exporter = Exporter::start_by(pipe, &arguments, "attached to");
        let mut tap = Attached::spawn(pipe(&format!("tap {arguments}")));
        let _stream = Stream::try_open(&exporter, "", false).unwrap();
        if json == "-" {
            node.fire();
        }
        let sink = [("sink", if json == "-" { "stdout" } else { "socket" })];
        eventually("lost lines", || (exporter.scrape().sum("json_lines_lost_total", &sink) > 0.0).then_some(()));
        for process in [&mut tap, &mut { exporter }.process] {
            let start = Instant::now();
            process.terminate();
            assert!(process.wait().success(), "{}", process.log);
            println!("it ended {:?} after the signal", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        }
    }
}
