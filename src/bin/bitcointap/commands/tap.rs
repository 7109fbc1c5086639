//! `tap`. In: events of a node or a recording. Out: JSON lines, or packets.

use std::{io, ops::ControlFlow, path::Path, sync::Arc};

use bitcointap::{
    capture::{Batch, Counted, Run},
    pcap,
    selection::Selection,
    spool::{Place, Spool},
    tracepoint::LossReason,
};

use super::destinations::{log_lost, new_file, wait_for_room, warn_of_commands};
use crate::{
    arguments::TapArgs,
    follow::{End, Sink},
    result::Result,
    source::Source,
    stop::Stop,
};

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
        None => Spool::start_to(destination, args.json.lines(args.pretty), wanted, count)?,
        Some(path) => Spool::start(new_file(path)?, pcap::Writer::default(), wanted, count)?,
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

/// What `tap` feeds.
struct Lines<'a> {
    output: Spool,
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
