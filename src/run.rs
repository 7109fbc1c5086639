//! The commands, and what each does with events. In: arguments. Out: JSON lines, metrics, lists; and how it ended.

use std::{
    error::Error as StdError,
    fs::{File, OpenOptions},
    io::{self, Write},
    ops::ControlFlow,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bitcointap::{
    Error, doctor,
    event::{Kind, Moment},
    http::{self, Freshness, Readiness, Site, Streams},
    live::Live,
    metrics::{self, Metrics},
    output::{Outcome, Output, Place},
    pcap, privileges,
    probes::{self, Probe, Refusal},
    process::Which,
    selection::Selection,
    tap::{self, Batch, Counted, DRAIN_INTERVAL, Options, Payloads, Run},
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};
use rustix::{fs::OFlags, io::Errno};

use crate::{
    address_lists::AddressLists,
    cli::{DoctorArgs, DropCapabilities, ExportArgs, NodeArgs, RecordArgs, ReplayArgs, ReportFormat, TapArgs},
    follow::{self, End, Sink},
    recorder::Recorder,
    replay::Replay,
    stop::Stop,
};

pub type Result<T, E = Box<dyn StdError>> = std::result::Result<T, E>;

/// How long a full queue of the output is left alone before looking again.
const QUEUE_INTERVAL: Duration = Duration::from_millis(2);
/// How often outputs and lists are looked after while no events come.
pub const IDLE_INTERVAL: Duration = Duration::from_millis(100);

/// How often events are counted while nobody waits for one: each time is paid for with the caches that it fills anew, as much as
/// hundreds of events are. Once in a second, by which the live page tells them.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// When, from a second's beginning: shortly before its end, so that most of what fired in it is told of it.
const COUNT_PLACE: Duration = Duration::from_millis(950);

/// `tap`: events as JSON lines.
pub fn tap(args: &TapArgs) -> Result<()> {
    let options = args.options();
    warn_of_commands(&options.selection);
    let place = args.destination.place().unwrap_or(&Place::Stdout);
    // A file is opened with the capabilities that are about to go. With --pcap it is standard output, left alone.
    let destination = place.open(args.destination.rotation())?;
    let source = Source::open(&args.replay, &args.node, &options)?;
    let replays = matches!(source, Source::Recording(_));
    let stop = Stop::on_signals(args.duration)?;
    // No more of the others comes from the source, which has asked each event already.
    let (wanted, count) = (&Selection::of(options.selection.tracepoints()), args.count);
    let output = match &args.pcap {
        None => Output::start_to(destination, args.json.lines(args.pretty), wanted, count)?,
        Some(path) => Output::start(new_file(path)?, pcap::Writer::default(), wanted, count)?,
    };
    // Others may work again.
    let ends_for_good = args.pcap.is_some() || *place == Place::Stdout;
    let mut lines = Lines { output, stop: &stop, replays };
    let result = source.feed(&options, &stop, args.follow, args.drop_capabilities(), &mut lines);
    // What was given before it failed is written all the same.
    let outcome = lines.output.finish(|output| stop.over(output));
    // A reader that has closed wanted no more.
    let has_closed = |error: &io::Error| ends_for_good && error.kind() == io::ErrorKind::BrokenPipe;
    if outcome.failure.as_ref().is_some_and(has_closed) {
        return result;
    }
    log_lost(&outcome, if args.pcap.is_some() { "packets" } else { "JSON lines" });
    match outcome.failure {
        // A destination that did not work again in time for nothing.
        Some(_) if !ends_for_good && outcome.lost == 0 => result,
        Some(error) => {
            let pcap = args.pcap.as_deref().filter(|path| *path != Path::new("-"));
            let place = pcap.map_or(place.to_string(), |path| path.display().to_string());
            Err(format!("cannot write to {place}: {error}").into())
        }
        None => result,
    }
}

/// Tells which commands may be misspelled.
fn warn_of_commands(selection: &Selection) {
    selection.doubts().for_each(|doubt| tracing::warn!("{doubt}"));
}

/// Where events come from.
pub enum Source {
    Node(Which),
    Recording(Box<Replay>),
}

impl Source {
    /// Opens a recording, if there is to be one; else lets go of the capabilities that no node takes.
    pub fn open(replay: &ReplayArgs, node: &NodeArgs, options: &Options) -> Result<Self> {
        match &replay.file {
            Some(path) => {
                let recording = Replay::open(path, replay.speed, &options.selection)?;
                privileges::drop_all()?;
                Ok(Self::Recording(Box::new(recording)))
            }
            None => {
                privileges::keep_for_attaching()?;
                Ok(Self::Node(node.which()))
            }
        }
    }

    /// Gives all to `sink`, until it is time to stop or nothing more comes.
    pub fn feed(
        self,
        options: &Options,
        stop: &Stop,
        follows: bool,
        drops: DropCapabilities,
        sink: &mut impl Sink,
    ) -> Result<()> {
        match self {
            Self::Node(which) => follow::run(&which, options, stop, follows, drops, sink),
            Self::Recording(replay) => replay.run(stop, sink),
        }
    }
}

/// `record`: events as they are, to a file.
pub fn record(args: &RecordArgs) -> Result<()> {
    warn_of_commands(&args.selection.selection);
    privileges::keep_for_attaching()?;
    privileges::check()?;
    let stop = Stop::on_signals(args.duration)?;
    let mut recorder = Recorder::create(&args.file, &stop)?;
    let result =
        follow::run(&args.node.which(), &args.options(), &stop, args.follow, args.drop_capabilities(), &mut recorder);
    recorder.finish(result)
}

/// What `tap` feeds.
struct Lines<'a> {
    output: Output,
    stop: &'a Stop,
    /// A recording, unlike a node, waits as long as the output fails.
    replays: bool,
}

impl Sink for Lines<'_> {
    fn attached(&mut self, _: &Run) -> Result<()> {
        Ok(())
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        let Self { output, stop, replays } = self;
        // The ring buffer is the queue: it is larger, and what it cannot hold is told at its place. But nobody knows how long
        // a destination fails, and a node must be looked after.
        wait_for_room(output, batch, stop, *replays);
        output.push(batch);
        Ok(if output.has_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn unread(&mut self, batch: &Batch) {
        self.output.lose(batch, LossReason::Stopped);
    }

    fn ended(&mut self, counted: &Counted, _: End) -> Result<()> {
        self.output.run_ended(&counted.untold);
        Ok(())
    }

    fn idle(&mut self) -> ControlFlow<()> {
        if self.output.has_ended() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn wait_for_room(output: &mut Output, batch: &Batch, stop: &Stop, also_while_it_fails: bool) {
    let may_come = |output: &Output| !output.has_ended() && (also_while_it_fails || !output.is_interrupted());
    while !output.has_room(batch.bytes()) && may_come(output) && !stop.over(output) {
        std::thread::sleep(QUEUE_INTERVAL);
    }
}

/// `export`: metrics, streams of events and a live page over HTTP, and JSON lines if wanted.
pub fn export(args: &ExportArgs) -> Result<()> {
    // What can fail is done before anything is attached, and before that what may claim file descriptors.
    let listeners = args.listeners()?;
    let json = args.destination.place().map(|place| place.open(args.destination.rotation())).transpose()?;
    warn_of_commands(&args.selection.selection);
    let options = args.options();
    let source = Source::open(&args.replay, &args.node, &options)?;
    let replays = matches!(source, Source::Recording(_));
    let stop = Stop::on_signals(None)?;
    let lists = AddressLists::on_sighup(&args.address_lists)?;
    // The threads that will read these files again have no capabilities.
    let (gate, address_lists) = privileges::without_any(|| (args.gate(), lists.read()))?;
    let (gate, address_lists) = (gate?, address_lists?);
    let output = json
        .map(|destination| Output::start_to(destination, args.json_style.lines(false), &args.selection.selection, None))
        .transpose()?;
    let json_sinks: &[_] = match args.destination.place() {
        None => &["http"],
        Some(Place::Stdout) => &["stdout", "http"],
        Some(Place::File(_)) => &["file", "http"],
        Some(Place::Socket(_)) => &["socket", "http"],
    };
    // The last is that of streams.
    let json_sinks = if args.max_streams > 0 { json_sinks } else { &json_sinks[..json_sinks.len() - 1] };
    if !replays {
        privileges::check()?;
    }

    let &ExportArgs { max_free_form_values, tx_response, utxocache_coins, .. } = args;
    let chosen = metrics::Options { json_sinks, max_free_form_values, tx_response, utxocache_coins, address_lists };
    let metrics = Metrics::new(Tracepoints::default(), &chosen);
    let readiness = Readiness::default();
    let (path, requests) = (args.telemetry_path.clone(), metrics.http_requests());
    let streams = if args.hide_addresses {
        Streams::hiding_addresses()
    } else {
        Streams::new(options.sent(), args.max_streams.into())
    };
    // A recording has what it has.
    let streams = match options.payloads {
        Payloads::Limited(_) if !replays => streams.with_limited_payloads(),
        Payloads::Limited(_) | Payloads::Whole | Payloads::None => streams,
    };
    let site = Site::new(path, metrics.registry(), requests, readiness.clone(), streams.clone(), args.max_requests);
    let new_live = || {
        let live = Live::new(options.selection.tracepoints(), args.hide_addresses);
        Arc::new(Mutex::new(if replays { live.of_recording() } else { live }))
    };
    let freshness = Freshness::new()?;
    let site = site.with_freshness(freshness.clone());
    let live = (!args.disable_live_page).then(new_live);
    let site = live.iter().cloned().fold(site, Site::with_live_page);
    let _server = http::serve(listeners, gate, site)?;

    let sink = json_sinks.first().copied().unwrap_or_default();
    let mut sinks =
        Sinks { metrics, readiness, live, lists, output, sink, streams, freshness, waits: replays.then_some(&stop) };
    let result = source.feed(&options, &stop, true, args.drop_capabilities(), &mut sinks);
    // Where no next run is followed, what the last one was can be scraped and looked at on.
    sinks.in_live(Live::over);
    while result.is_ok() && !stop.wait(IDLE_INTERVAL) {
        sinks.streams.begin();
        sinks.pass_time();
    }
    if let Some(output) = sinks.output {
        log_lost(&output.finish(|output| stop.over(output)), "JSON lines");
    }
    sinks.streams.finish(|| stop.late());
    result
}

/// What `export` feeds.
struct Sinks<'a> {
    metrics: Metrics,
    readiness: Readiness,
    /// Shared with the server, if it has a live page.
    live: Option<Arc<Mutex<Live>>>,
    lists: AddressLists<'a>,
    output: Option<Output>,
    /// The name of the output in metrics and logs.
    sink: &'static str,
    streams: Streams,
    freshness: Freshness,
    /// A recording, unlike a node, waits for the output.
    waits: Option<&'a Stop>,
}

impl Sink for Sinks<'_> {
    fn attached(&mut self, run: &Run) -> Result<()> {
        run.failed.iter().for_each(|_| self.metrics.attach_failed());
        self.metrics.tapped(run.attached);
        self.metrics.attached(run.start_time);
        self.readiness.attached();
        self.in_live(|live| live.attached(run));
        Ok(())
    }

    fn attach_failed(&mut self) {
        self.metrics.attach_failed();
    }

    fn waits(&mut self, why: &str) {
        self.readiness.not_attached(why);
        self.in_live(|live| live.waits(why));
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        let (bytes, used) = batch.ring_buffer();
        self.metrics.ring_buffer(bytes, used);
        let (_, drained) = batch.drained();
        let mut live = self.live.as_deref().map(|live| live.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(live) = &mut live {
            live.batch(batch);
        }
        batch.each(|event| {
            if !matches!(event.kind, Kind::Lost(_)) {
                self.metrics.observe_delay(drained.since(event.moment));
            }
            self.metrics.observe(&event);
            if let Some(live) = &mut live {
                live.observe(&event);
            }
        });
        drop(live);
        self.metrics.kernel_counters(batch.counters());
        if let Some(output) = &mut self.output {
            if let Some(stop) = self.waits {
                wait_for_room(output, batch, stop, true);
            }
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
            output.run_ended(&counted.untold);
        }
        self.streams.run_ended(&counted.untold);
        self.metrics.node_gone();
        let why = end.why_not_attached();
        self.readiness.not_attached(why);
        self.in_live(|live| live.detached(&counted.counters, why));
        Ok(())
    }

    fn patience(&self) -> Duration {
        if self.output.is_some() || self.streams.have_readers() {
            return DRAIN_INTERVAL;
        }
        let (_, now) = tap::now();
        until_counted(now)
    }

    fn freshness(&self) -> Option<&Freshness> {
        Some(&self.freshness)
    }

    fn wants_whole_payloads(&self) -> bool {
        self.streams.want_payloads()
    }

    fn payloads_are_whole(&mut self) {
        self.streams.begin();
    }

    fn idle(&mut self) -> ControlFlow<()> {
        // There is no tap, and the next one will begin with them.
        self.streams.begin();
        self.pass_time();
        ControlFlow::Continue(())
    }
}

/// How long it is from `now` to the next time that events are counted while nobody waits for one.
fn until_counted(Moment(now): Moment) -> Duration {
    let [interval, place] = [COUNT_INTERVAL, COUNT_PLACE].map(|time| time.as_nanos() as u64);
    Duration::from_nanos(interval - (now + interval - place) % interval)
}

impl Sinks<'_> {
    fn in_live(&self, change: impl FnOnce(&mut Live)) {
        if let Some(live) = &self.live {
            change(&mut live.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// No events come. The time of a recording is what it says.
    fn pass_time(&mut self) {
        self.look_after();
        if self.waits.is_none() {
            let (time, moment) = tap::now();
            self.in_live(|live| live.at(time, moment));
        }
    }

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
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ if found.iter().all(|probe| probe.tracepoint().is_none()) => Err(absence(args, program).into()),
        _ => Ok(()),
    }
}

fn absence(args: &NodeArgs, program: PathBuf) -> Error {
    match args.named_program() {
        Some(_) => Error::NoTracepoints(program),
        None => args.which().find().map_or_else(|error| error, |node| probes::absence(&node)),
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
            let reason = match probe.refusal() {
                // Its arguments say it.
                None | Some(Refusal::NotDocumented | Refusal::ArgumentCount(_)) => String::new(),
                Some(refusal) => format!(" ({refusal})"),
            };
            let arguments = format!("{}: {}{reason}", place.arguments.len(), place.arguments.join(" "));
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

fn log_lost(outcome: &Outcome, what: &str) {
    if outcome.lost > 0 {
        let Outcome { written, lost, .. } = outcome;
        tracing::warn!(written, lost, "some events were not written as {what}");
    }
}

/// A file that is not there yet, or a pipe or device, which does not block; `-` is standard output.
pub fn new_file(path: &Path) -> Result<File> {
    if path == Path::new("-") {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    let is_file = path.metadata().map_or(true, |it| it.is_file());
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().write(true).create_new(is_file).custom_flags(nonblocking).open(path);
    file.map_err(|error| {
        let name = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{name} is there already: remove it, or name another").into(),
            io::ErrorKind::IsADirectory => format!("{name} is a directory: name a file in it").into(),
            io::ErrorKind::NotFound => format!("cannot create {name}: {error}; its directory must be there").into(),
            _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                format!("cannot write {name}: nobody reads this pipe yet: start its reader first").into()
            }
            _ => format!("cannot create {name}: {error}").into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_nobody_waits_for_are_counted_once_near_the_end_of_each_second() {
        for (now, expected) in [(0, 950), (5_949, 1), (5_950, 1_000), (5_951, 999), (5_999, 951)] {
            assert_eq!(until_counted(Moment(now * 1_000_000)), Duration::from_millis(expected), "at {now} ms");
        }
    }
}
