//! The commands, and what each does with events. In: arguments. Out: JSON lines, metrics, lists; and how it ended.

use std::{
    error::Error as StdError,
    fs::OpenOptions,
    io::{self, Write},
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bitcointap::{
    Error, doctor,
    event::Kind,
    http::{self, Readiness, Site, Streams},
    metrics::{self, Metrics},
    output::{Outcome, Output},
    privileges,
    probes::{self, Probe},
    tap::{Batch, Counted, Run},
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::Errno,
};

use crate::{
    address_lists::AddressLists,
    cli::{DoctorArgs, ExportArgs, NodeArgs, ReportFormat, TapArgs},
    follow::{self, End, Sink},
    stop::Stop,
};

pub type Result<T, E = Box<dyn StdError>> = std::result::Result<T, E>;

/// How long a full queue of the output is left alone before looking again.
const QUEUE_INTERVAL: Duration = Duration::from_millis(2);
/// How often outputs and lists are looked after when no events come any more.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);

/// `tap`: events as JSON lines on standard output.
pub fn tap(args: &TapArgs) -> Result<()> {
    privileges::keep_for_attaching()?;
    let stop = Stop::on_signals(args.duration)?;
    let options = args.options();
    let output = Output::start(io::stdout(), args.json.lines(args.pretty), &options.selection, args.count)?;
    let mut lines = Lines { output, stop: &stop };
    let which = args.node.which();
    follow::run(&which, &options, &stop, args.follow, args.drop_capabilities(), &mut lines)?;
    let outcome = lines.output.finish(|output| stop.over(output));
    log_lines(&outcome);
    match outcome.failure {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

/// What `tap` feeds.
struct Lines<'a> {
    output: Output,
    stop: &'a Stop,
}

impl Sink for Lines<'_> {
    fn attached(&mut self, _: &Run) -> Result<()> {
        Ok(())
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        let Self { output, stop } = self;
        // The ring buffer is the queue: it is larger, and what it cannot hold is told at its place.
        while !output.has_room(batch.bytes()) && !output.has_ended() && !stop.over(output) {
            std::thread::sleep(QUEUE_INTERVAL);
        }
        output.push(batch);
        Ok(if output.has_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn unread(&mut self, batch: &Batch) {
        self.output.lose(batch, LossReason::Stopped);
    }

    fn ended(&mut self, counted: &Counted, _: End) -> Result<()> {
        self.output.miss(&counted.untold);
        Ok(())
    }

    fn idle(&mut self) -> ControlFlow<()> {
        if self.output.has_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// `export`: metrics and streams of events over HTTP, and JSON lines if wanted.
pub fn export(args: &ExportArgs) -> Result<()> {
    // What can fail is done before anything is attached, and before that what may claim file descriptors.
    let listeners = args.listeners()?;
    let json = args.json.as_deref().map(json_file).transpose()?;
    privileges::keep_for_attaching()?;
    let stop = Stop::on_signals(None)?;
    let lists = AddressLists::on_sighup(&args.address_lists)?;
    // The threads that will read these files again have no capabilities.
    let (gate, address_lists) = privileges::without_any(|| (args.gate(), lists.read()))?;
    let (gate, address_lists) = (gate?, address_lists?);
    let output = json
        .map(|file| Output::start(file, args.json_style.lines(false), &args.selection.selection, None))
        .transpose()?;
    let json_sinks: &[_] = match args.json.as_deref() {
        None => &["http"],
        Some(path) if path == Path::new("-") => &["stdout", "http"],
        Some(_) => &["file", "http"],
    };
    // The last is that of streams.
    let json_sinks = if args.max_streams > 0 { json_sinks } else { &json_sinks[..json_sinks.len() - 1] };
    privileges::check()?;

    let &ExportArgs { max_free_form_values, tx_response, utxocache_coins, .. } = args;
    let options = metrics::Options { json_sinks, max_free_form_values, tx_response, utxocache_coins, address_lists };
    let metrics = Metrics::new(Tracepoints::default(), &options);
    let (readiness, options) = (Readiness::default(), args.options());
    let (path, requests) = (args.telemetry_path.clone(), metrics.http_requests());
    let streams = Streams::new(options.sent(), args.max_streams.into());
    let site = Site::new(path, metrics.registry(), requests, readiness.clone(), streams.clone(), args.max_requests);
    let _server = http::serve(listeners, gate, site)?;

    let sink = json_sinks.first().copied().unwrap_or_default();
    let mut sinks = Sinks { metrics, readiness, lists, output, sink, streams };
    follow::run(&args.node.which(), &options, &stop, true, args.drop_capabilities(), &mut sinks)?;
    // Where no next run is followed, what the last one was can be scraped on.
    while !stop.wait(IDLE_INTERVAL) {
        sinks.look_after();
    }
    if let Some(output) = sinks.output {
        log_lines(&output.finish(|output| stop.over(output)));
    }
    sinks.streams.finish(|| stop.late());
    Ok(())
}

/// What `export` feeds.
struct Sinks<'a> {
    metrics: Metrics,
    readiness: Readiness,
    lists: AddressLists<'a>,
    output: Option<Output>,
    /// The name of the output in metrics and logs.
    sink: &'static str,
    streams: Streams,
}

impl Sink for Sinks<'_> {
    fn attached(&mut self, run: &Run) -> Result<()> {
        run.failed.iter().for_each(|_| self.metrics.attach_failed());
        self.metrics.tapped(run.attached);
        self.metrics.attached(run.start_time);
        self.readiness.attached();
        Ok(())
    }

    fn attach_failed(&mut self) {
        self.metrics.attach_failed();
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        let (bytes, used) = batch.ring_buffer();
        self.metrics.ring_buffer(bytes, used);
        let (_, drained) = batch.drained();
        batch.each(|event| {
            if !matches!(event.kind, Kind::Lost(_)) {
                self.metrics.observe_delay(drained.since(event.moment));
            }
            self.metrics.observe(&event);
        });
        self.metrics.kernel_counters(batch.counters());
        if let Some(output) = &mut self.output {
            output.push(batch);
        }
        self.streams.push(batch);
        self.look_after();
        Ok(ControlFlow::Continue(()))
    }

    fn unread(&mut self, batch: &Batch) {
        if let Some(output) = &mut self.output {
            output.lose(batch, LossReason::Stopped);
        }
        self.streams.lose(batch, LossReason::Stopped);
    }

    fn ended(&mut self, counted: &Counted, end: End) -> Result<()> {
        // The last drain may have ended before the last counts.
        self.metrics.kernel_counters(&counted.counters);
        if let Some(output) = &mut self.output {
            output.miss(&counted.untold);
        }
        self.streams.miss(&counted.untold);
        self.metrics.node_gone();
        self.readiness.not_attached(match end {
            End::NodeEnded => "the node has ended",
            End::Requested | End::Done => "stopping",
        });
        Ok(())
    }

    fn idle(&mut self) -> ControlFlow<()> {
        self.look_after();
        ControlFlow::Continue(())
    }
}

impl Sinks<'_> {
    fn look_after(&mut self) {
        self.lists.look_after(&mut self.metrics);
        let streams = self.streams.told();
        self.metrics.http_streams(streams.open);
        self.metrics.json_lines("http", streams.lines, streams.lost);
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
        for place in &probe.places {
            let arguments = format!("{}: {}", place.arguments.len(), place.arguments.join(" "));
            row(&probe.name, word(probe.supported()), word(probe.semaphore.is_some()), &arguments)?;
        }
    }
    Ok(())
}

/// `doctor`: whether the other commands would work, and what to do if not. True if they would.
pub fn doctor(args: &DoctorArgs) -> Result<bool> {
    let report = doctor::examine(args.node.which().find(), args.node.named_program());
    let text = match args.format {
        ReportFormat::Text => report.to_string(),
        ReportFormat::Json => serde_json::to_string(&report)?,
    };
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(report.verdict() != doctor::Status::Failed),
    }
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
