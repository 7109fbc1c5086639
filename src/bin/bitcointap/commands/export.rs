//! `export`. In: events of a node or a recording. Out: metrics, streams of events and a live page over HTTP, and JSON lines.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bitcointap::{
    capture::{self, Batch, Counted, Run},
    event::{Kind, Moment},
    http::{self, Freshness, Readiness, Site, Streams},
    live::Live,
    metrics::{self, Metrics},
    privileges,
    spool::{Place, Spool},
    tap::{DRAIN_INTERVAL, Payloads},
    tracepoint::{LossReason, Tracepoints},
};

use super::destinations::{log_lost, wait_for_room, warn_of_commands};
use crate::{
    address_lists::AddressLists,
    arguments::ExportArgs,
    follow::{End, IDLE_INTERVAL, Sink},
    result::Result,
    source::Source,
    stop::Stop,
};

/// How often events are counted while nobody waits for one: each time is paid for with the caches that it fills anew, as much as
/// hundreds of events are. Once in a second, by which the live page tells them.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// When, from a second's beginning: shortly before its end, so that most of what fired in it is told of it.
const COUNT_PLACE: Duration = Duration::from_millis(950);

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
        .map(|destination| Spool::start_to(destination, args.json_style.lines(false), &args.selection.selection, None))
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
    output: Option<Spool>,
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
        let (_, now) = capture::now();
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
            let (time, moment) = capture::now();
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
