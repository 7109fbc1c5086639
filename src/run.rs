//! The commands: each attaches a tap, hands its batches to sinks, and ends as its description says.

use std::{
    cell::Cell,
    error::Error as StdError,
    fs::OpenOptions,
    io::{self, Write},
    ops::ControlFlow,
    os::{
        fd::AsFd,
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bitcointap::{
    Error,
    event::Kind,
    http::{self, Readiness, Site},
    metrics::{self, Metrics},
    output::{Outcome, Output},
    probes::{self, Probe},
    process::Node,
    tap::{self, Batch, Options, Tap},
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    io::Errno,
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    address_lists::AddressLists,
    cli::{ExportArgs, NodeArgs, TapArgs},
};

type Result<T, E = Box<dyn StdError>> = std::result::Result<T, E>;

/// The longest that an event waits in the ring buffer before it is drained.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// How long a full queue of the output is left alone before looking again.
const QUEUE_INTERVAL: Duration = Duration::from_millis(2);
/// How often the counts of lines are looked after when no events come any more.
const LINES_INTERVAL: Duration = Duration::from_millis(100);
/// What is still given to the ring buffer, and to a reader of the output, after a signal: with detaching it stays within
/// a second.
const DRAIN_PATIENCE: Duration = Duration::from_millis(200);
const OUTPUT_PATIENCE: Duration = Duration::from_millis(400);

/// `tap`: events as JSON lines on standard output.
pub fn tap(args: &TapArgs) -> Result<()> {
    let stop = Stop::on_signals(args.duration)?;
    let mut tap = attach(&args.node.which().find()?, &args.events.options())?;
    tap.wake_on(&stop.signalled)?;
    let mut output = Output::start(io::stdout(), args.json.style(args.pretty), args.count)?;

    let mut deliver = |_: &Tap, batch: &Arc<Batch>| {
        // The ring buffer is the queue: it is larger, and what it cannot hold is told at its place.
        while !output.has_room(batch.bytes()) && !output.has_ended() && !stop.over(&mut output) {
            std::thread::sleep(QUEUE_INTERVAL);
        }
        output.push(batch);
        Ok(if output.has_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let end = pump(&mut tap, &stop, &mut deliver)?;
    if end == End::Requested {
        drain_rest(&mut tap, &stop, &mut deliver)?;
    }
    let unread = drain_unread(&mut tap, |batch| output.lose(batch, LossReason::Stopped))?;
    log_end(&tap, end, unread)?;
    let outcome = output.finish(tap.untold_losses()?, |output| stop.over(output));
    log_lines(&outcome);
    match outcome.failure {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

/// `export`: metrics over HTTP, and JSON lines if wanted.
pub fn export(args: &ExportArgs) -> Result<()> {
    // What can fail is done before anything is attached, and before that what may claim file descriptors.
    let listeners = args.listeners()?;
    let gate = args.gate()?;
    let stop = Stop::on_signals(None)?;
    let lists = AddressLists::on_sighup(&args.address_lists)?;
    let address_lists = lists.read()?;
    let node = args.node.which().find()?;
    let output = match &args.json {
        Some(path) => Some(Output::start(json_file(path)?, args.json_style.style(false), None)?),
        None => None,
    };
    let json_sinks: &[_] = match args.json.as_deref() {
        None => &[],
        Some(path) if path == Path::new("-") => &["stdout"],
        Some(_) => &["file"],
    };

    let mut tap = attach(&node, &args.options())?;
    tap.wake_on(&stop.signalled)?;
    let &ExportArgs { max_free_form_values, tx_response, utxocache_coins, .. } = args;
    let options = metrics::Options { json_sinks, max_free_form_values, tx_response, utxocache_coins, address_lists };
    let mut metrics = Metrics::new(tap.attached(), &options);
    metrics.attached(node.start_time);
    tap.failures().iter().for_each(|_| metrics.attach_failed());
    let readiness = Readiness::default();
    readiness.attached();
    let (path, requests) = (args.telemetry_path.clone(), metrics.http_requests());
    let site = Site::new(path, metrics.registry(), requests, readiness.clone(), args.max_requests);
    let _server = http::serve(listeners, gate, site)?;

    let mut sinks = Sinks { metrics, lists, output, sink: json_sinks.first().copied().unwrap_or_default() };
    let end = pump(&mut tap, &stop, |tap, batch| sinks.take(tap, batch).map(ControlFlow::Continue))?;
    if end == End::NodeEnded {
        // The last drain may have ended before the last counts.
        sinks.take(&tap, &Arc::default())?;
        sinks.metrics.node_gone();
        readiness.not_attached("the node has ended");
        tap.detach();
        tracing::warn!("the node (pid {}) has ended; its metrics stay until a signal ends bitcointap", node.pid);
        while !stop.wait(LINES_INTERVAL) {
            sinks.lists.look_after(&mut sinks.metrics);
            sinks.look_after_lines();
        }
    } else {
        readiness.not_attached("stopping");
        drain_rest(&mut tap, &stop, |tap, batch| sinks.take(tap, batch).map(ControlFlow::Continue))?;
    }
    let unread = drain_unread(&mut tap, |batch| {
        if let Some(output) = &mut sinks.output {
            output.lose(batch, LossReason::Stopped);
        }
    })?;
    log_end(&tap, end, unread)?;
    if let Some(output) = sinks.output {
        log_lines(&output.finish(tap.untold_losses()?, |output| stop.over(output)));
    }
    Ok(())
}

/// What `export` feeds.
struct Sinks<'a> {
    metrics: Metrics,
    lists: AddressLists<'a>,
    output: Option<Output>,
    /// The name of the output in metrics and logs.
    sink: &'static str,
}

impl Sinks<'_> {
    fn take(&mut self, tap: &Tap, batch: &Arc<Batch>) -> Result<()> {
        self.lists.look_after(&mut self.metrics);
        let (bytes, used) = tap.ring_buffer();
        self.metrics.ring_buffer(bytes, used);
        let (_, drained) = tap::now();
        batch.each(|event| {
            if !matches!(event.kind, Kind::Lost(_)) {
                self.metrics.observe_delay(drained.since(event.moment));
            }
            self.metrics.observe(&event);
        });
        self.metrics.kernel_counters(&tap.counters()?);
        if let Some(output) = &mut self.output {
            output.push(batch);
        }
        self.look_after_lines();
        Ok(())
    }

    fn look_after_lines(&mut self) {
        let Some(output) = &self.output else { return };
        self.metrics.json_lines(self.sink, output.lines_written(), output.lines_lost());
        if let Some(error) = output.take_failure() {
            let sink = self.sink;
            tracing::error!("cannot write to the JSON {sink}: {error}; its lines are counted as lost from now on");
        }
    }
}

/// `probes`: what the node's program can tell.
pub fn probes(args: &NodeArgs) -> Result<()> {
    let program = args.program()?;
    let found = probes::read(&program)?;
    match list(&mut io::stdout().lock(), &found) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ if found.iter().all(|probe| probe.tracepoint().is_none()) => Err(Error::NoTracepoints(program).into()),
        _ => Ok(()),
    }
}

fn list(out: &mut impl Write, found: &[Probe]) -> io::Result<()> {
    let width = Tracepoint::all().map(|tracepoint| tracepoint.name().len()).max().unwrap_or_default();
    let mut row = |name: &str, supported: &str, semaphore: &str, arguments: &str| {
        writeln!(out, "{name:width$}  {supported:9}  {semaphore:9}  {arguments}")
    };
    row("TRACEPOINT", "SUPPORTED", "SEMAPHORE", "ARGUMENTS")?;
    for tracepoint in Tracepoint::all() {
        if !found.iter().any(|probe| probe.tracepoint() == Some(tracepoint)) {
            row(tracepoint.name(), "absent", "", &format!("Bitcoin Core has it since {}", tracepoint.since()))?;
        }
    }
    for probe in found {
        let word = |yes| if yes { "yes" } else { "no" };
        for arguments in &probe.places {
            let arguments = format!("{}: {}", arguments.len(), arguments.join(" "));
            row(&probe.name, word(probe.supported()), word(probe.semaphore), &arguments)?;
        }
    }
    Ok(())
}

/// What ended the pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A signal or the time that was given.
    Requested,
    NodeEnded,
    /// The sink wants no more.
    Done,
}

/// Drains the tap until the end, and gives each batch, empty ones too, so that sinks are looked after.
fn pump(
    tap: &mut Tap,
    stop: &Stop,
    mut deliver: impl FnMut(&Tap, &Arc<Batch>) -> Result<ControlFlow<()>>,
) -> Result<End> {
    let mut batch = Arc::<Batch>::default();
    let (mut more, mut node_ended) = (false, false);
    loop {
        if !more {
            node_ended |= tap.wait(stop.at_most(DRAIN_INTERVAL))?.node_ended;
        }
        more = tap.drain(unshared(&mut batch))?;
        if deliver(tap, &batch)?.is_break() {
            return Ok(End::Done);
        }
        if stop.requested() {
            return Ok(End::Requested);
        }
        if node_ended && !more {
            return Ok(End::NodeEnded);
        }
    }
}

/// Detaches and gives what the ring buffer still holds; after a signal only as far as time allows.
fn drain_rest(
    tap: &mut Tap,
    stop: &Stop,
    mut deliver: impl FnMut(&Tap, &Arc<Batch>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    tap.detach();
    let mut batch = Arc::<Batch>::default();
    let mut more = true;
    while more && !stop.signalled_for(DRAIN_PATIENCE) {
        more = tap.drain(unshared(&mut batch))?;
        if deliver(tap, &batch)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Counts what nobody will read.
fn drain_unread(tap: &mut Tap, mut lose: impl FnMut(&Batch)) -> Result<usize> {
    tap.detach();
    let mut batch = Batch::default();
    let (mut more, mut unread) = (true, 0);
    while more {
        more = tap.drain(&mut batch)?;
        unread += batch.len();
        lose(&batch);
    }
    Ok(unread)
}

/// The batch itself, or a new one if a sink still holds it.
fn unshared(batch: &mut Arc<Batch>) -> &mut Batch {
    if Arc::get_mut(batch).is_none() {
        *batch = Arc::default();
    }
    Arc::get_mut(batch).expect("a new Arc is not shared")
}

fn attach(node: &Node, options: &Options) -> Result<Tap> {
    let start = Instant::now();
    let tap = Tap::attach(node, options)?;
    let milliseconds = start.elapsed().as_millis();
    tracing::info!("attached to {} tracepoints of {node} in {milliseconds} ms", tap.attached().len());
    for (tracepoint, error) in tap.failures() {
        tracing::warn!("not attached to {tracepoint}: {error}");
    }
    let failed: Tracepoints = tap.failures().iter().map(|&(tracepoint, _)| tracepoint).collect();
    let absent = |&wanted: &Tracepoint| !tap.attached().contains(wanted) && !failed.contains(wanted);
    let absent: Tracepoints = options.tracepoints.iter().filter(absent).collect();
    if !absent.is_empty() {
        tracing::info!("this program does not have, or has with unknown arguments: {absent}");
    }
    Ok(tap)
}

fn log_end(tap: &Tap, end: End, unread: usize) -> Result<()> {
    let (mut fired, mut filtered, mut lost) = (0, 0, 0);
    for counters in tap.counters()? {
        fired += counters.fired;
        filtered += counters.filtered;
        lost += counters.lost.iter().sum::<u64>();
    }
    let why = match end {
        End::Requested => "stopped",
        End::NodeEnded => "the node has ended",
        End::Done => "done",
    };
    tracing::info!(fired, filtered, lost, unread, "{why}");
    Ok(())
}

fn log_lines(outcome: &Outcome) {
    if outcome.lost > 0 {
        let Outcome { written, lost, .. } = outcome;
        tracing::warn!(written, lost, "some events were not written as JSON lines");
    }
}

fn json_file(path: &Path) -> Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    // A named pipe that nobody reads would hold up the start for ever; so it is opened without waiting.
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().create(true).append(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            return Err(format!("cannot open {} for JSON lines: nobody reads this pipe yet", path.display()).into());
        }
        Err(error) => return Err(format!("cannot open {} for JSON lines: {error}", path.display()).into()),
    };
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(Box::new(file))
}

/// When to stop: at SIGINT, at SIGTERM, or when the time is over.
struct Stop {
    signal: Arc<AtomicBool>,
    signalled: UnixStream,
    /// When the signal was first seen.
    seen: Cell<Option<Instant>>,
    deadline: Option<Instant>,
}

impl Stop {
    fn on_signals(duration: Option<Duration>) -> io::Result<Stop> {
        let (signalled, write) = UnixStream::pair()?;
        let signal = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM] {
            signal_hook::flag::register(number, Arc::clone(&signal))?;
            signal_hook::low_level::pipe::register(number, write.try_clone()?)?;
        }
        Ok(Stop {
            signal,
            signalled,
            seen: Cell::new(None),
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
        })
    }

    fn requested(&self) -> bool {
        self.signal.load(Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether a signal came at least so long ago.
    fn signalled_for(&self, time: Duration) -> bool {
        if !self.signal.load(Relaxed) {
            return false;
        }
        let seen = self.seen.get().unwrap_or_else(Instant::now);
        self.seen.set(Some(seen));
        seen.elapsed() >= time
    }

    /// Whether to wait no longer for the reader of an output: some time after a signal, and after the given time when it
    /// has read nothing for a while.
    fn over(&self, output: &mut Output) -> bool {
        let late = self.deadline.is_some_and(|deadline| deadline.elapsed() >= OUTPUT_PATIENCE);
        self.signalled_for(OUTPUT_PATIENCE) || output.stalled_for() >= OUTPUT_PATIENCE && late
    }

    /// What is left of the time, up to `limit`.
    fn at_most(&self, limit: Duration) -> Duration {
        self.deadline.map_or(limit, |deadline| limit.min(deadline.saturating_duration_since(Instant::now())))
    }

    /// Sleeps until a signal, which it tells, or for `interval`.
    fn wait(&self, interval: Duration) -> bool {
        let timeout = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
        // A signal interrupts it or makes the pipe readable; either way the flag is looked at.
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.signalled.as_fd(), PollFlags::IN)], Some(&timeout));
        self.signal.load(Relaxed)
    }
}
