//! What a hit costs the node: with nothing attached, with an empty program (the floor), and with bitcointap's programs
//! and payloads of several sizes. The emitter fires on one core, the reader drains on another.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use bitcointap::{
    capture::Batch,
    process::Which,
    selection::{Condition, Selection},
    tap::{DRAIN_INTERVAL, Options, Payloads, Tap},
    tracepoint::{Tracepoint, Tracepoints},
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{Result, empty, table::Figure};

/// What is attached, and what the emitter fires.
struct Case {
    name: &'static str,
    attached: Attached,
    fired: &'static str,
    /// Bytes for each hit, which decide how often it is fired.
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Attached {
    Nothing,
    Empty,
    Payloads,
    NoPayloads,
    Filtered,
    Summed,
}

const CASES: &[Case] = &[
    case("nothing", Attached::Nothing, "message ping 8", 0),
    case("empty program: the floor", Attached::Empty, "message ping 8", 0),
    case("message of 0 bytes", Attached::Payloads, "message verack 0", 0),
    case("message of 8 bytes", Attached::Payloads, "message ping 8", 8),
    case("message of 100 bytes", Attached::Payloads, "message tx 100", 100),
    case("message of 300 bytes", Attached::Payloads, "message tx 300", 300),
    case("message of 300 bytes, payload not wanted", Attached::NoPayloads, "message tx 300", 0),
    case("message of 2,000 bytes", Attached::Payloads, "message tx 2000", 2_000),
    case("message of 100,000 bytes", Attached::Payloads, "message tx 100000", 100_000),
    case("message of 1,000,000 bytes", Attached::Payloads, "message tx 1000000", 1_000_000),
    case("message of an unwanted command", Attached::Filtered, "message tx 300", 0),
    case("coin, empty program", Attached::Empty, "coin", 0),
    case("coin, summed up in the kernel", Attached::Summed, "coin", 0),
    case("coin, sent", Attached::Payloads, "coin", 0),
];

const fn case(name: &'static str, attached: Attached, fired: &'static str, bytes: usize) -> Case {
    Case { name, attached, fired, bytes }
}

/// Hits of a measurement; fewer for large messages.
const HITS: usize = 100_000;
const BYTES: usize = 200_000_000;

pub fn measure(rounds: usize) -> Result<()> {
    let mut emitter = Emitter::start()?;
    let mut figures = vec![(Figure::default(), 0); CASES.len()];
    for _ in 0..rounds {
        for (case, (figure, lost)) in CASES.iter().zip(&mut figures) {
            let (nanoseconds, more) = emitter.case(case)?;
            figure.add(nanoseconds);
            *lost += more;
        }
    }
    let floor = figures[1].0.clone();
    println!("{:42} {:>10} {:>21} {:>9} {:>15} {:>6}", "ONE HIT", "NS", "SPREAD", "TO FLOOR", "SPREAD", "LOST");
    for (case, (figure, lost)) in CASES.iter().zip(&figures) {
        let ratio = figure.over(&floor);
        println!(
            "{:42} {:10.1} {:>21} {:9.2} {:>15} {lost:6}",
            case.name,
            figure.median(),
            figure.spread(1),
            ratio.median(),
            ratio.spread(2),
        );
    }
    Ok(())
}

struct Emitter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Emitter {
    fn start() -> Result<Self> {
        let path: PathBuf = std::env::current_exe()?.with_file_name("emitter");
        let mut child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self { child, input: input.ok_or("it is piped")?, output: BufReader::new(output.ok_or("it is piped")?) })
    }

    fn fire(&mut self, words: &str, count: usize) -> Result<f64> {
        writeln!(self.input, "{words} {count}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }

    /// Nanoseconds for each hit, and events lost.
    fn case(&mut self, case: &Case) -> Result<(f64, u64)> {
        let count = HITS.min(BYTES / case.bytes.max(1));
        let pid = self.child.id() as i32;
        let tracepoint = if case.fired == "coin" { Tracepoint::UtxocacheAdd } else { Tracepoint::NetInboundMessage };
        let tracepoints: Tracepoints = [tracepoint].into_iter().collect();
        let node = Which::Pid(pid).find()?;
        let mut options = Options { selection: Selection::of(tracepoints), ..Options::default() };
        match case.attached {
            Attached::Nothing => return Ok((self.fire(case.fired, count * 10)?, 0)),
            Attached::Empty => {
                let attached = empty::attach(pid, &node.executable(), tracepoint)?;
                let nanoseconds = self.fire(case.fired, count)?;
                drop(attached);
                return Ok((nanoseconds, 0));
            }
            Attached::Payloads => {}
            Attached::NoPayloads => options.payloads = Payloads::None,
            Attached::Filtered => options.selection = options.selection.only(Condition::Command("inv".into())),
            Attached::Summed => options.summed = tracepoints,
        }
        let tap = Tap::attach(&node, &options)?;
        let reader = Reader::start(tap);
        let nanoseconds = self.fire(case.fired, count)?;
        Ok((nanoseconds, reader.end()?))
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Drains on another core, and does nothing with the events.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::result::Result<u64, bitcointap::Error>>,
}

impl Reader {
    fn start(mut tap: Tap) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut second = CpuSet::new();
            second.set(1);
            let _ = sched_setaffinity(None, &second);
            let mut batch = Batch::default();
            while !stops.load(Relaxed) {
                tap.wait(DRAIN_INTERVAL)?;
                while tap.drain(&mut batch)? {}
            }
            tap.detach();
            Ok(tap.counters()?.iter().map(|it| it.lost.iter().sum::<u64>()).sum())
        });
        Self { stop, thread }
    }

    fn end(self) -> Result<u64> {
        self.stop.store(true, Relaxed);
        Ok(self.thread.join().map_err(|_| "the reader has panicked")??)
    }
}
