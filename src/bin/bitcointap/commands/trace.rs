//! `trace`. In: events of a node or a recording that name a transaction or block. Out: its story, on standard output.

use std::path::Path;

use bitcointap::{
    capture::Batch,
    json::Hash,
    output::{Observer, Output, Outputs},
    privileges,
    selection::{Followed, Selection},
    spool::{DestinationName, Format, Room, Spool, SpoolOutput},
    stop::Stop,
};
use tracing::subscriber::{NoSubscriber, with_default};

use crate::{arguments::TraceArgs, result::Result, signals, source::Source, story::Story};

/// `trace`: says who announced, requested and sent a transaction or block, and what the node made of it.
pub fn trace(args: &TraceArgs) -> Result<()> {
    let stop = signals::stop_after(args.duration)?;
    let redactor = args.redact.redactor()?;
    let hashes = known(args, &stop)?;
    let options = args.options(hashes.iter().copied());
    let destination = DestinationName::Stdout.open(Story::RECORDS, None)?;
    let source = open(args, hashes.iter().copied())?;
    if source.taps() {
        privileges::check()?;
    }
    let room = if source.replays() { Room::Always } else { Room::WhileItWorks };
    // The source has already checked the condition on each event.
    let wanted = Selection::of(options.selection.tracepoints());
    let spool = Spool::start_any(destination, Story::new(hashes, args.report.format), &wanted, None)?;
    let place = DestinationName::Stdout;
    let mut output = SpoolOutput::new(spool, place.kind(), place.to_string());
    output = output.required().waited_for(&stop, room).ending_for_good();
    let mut outputs = Outputs::default().redacted_by(redactor).with(&mut output);
    let result = source.feed(&stop, &mut outputs);
    outputs.finish(&stop).and(result)?;
    if output.written().is_some_and(|written| written.records == 0) {
        tracing::warn!("no event names {}", args.hash);
    }
    Ok(())
}

fn open(args: &TraceArgs, hashes: impl IntoIterator<Item = Hash>) -> Result<Source> {
    let options = args.options(hashes);
    Source::open(&args.replay, &args.subscribe, &args.node, &options, true, args.drop_capabilities())
}

/// The hashes by which it is known. Of a recording these are all: it is read to its end before, since only the whole transaction tells
/// the other hash, and that comes after the first announcements.
fn known(args: &TraceArgs, stop: &Stop) -> Result<Vec<Hash>> {
    let files = &args.replay.files;
    if files.is_empty() || files.iter().any(|file| file == Path::new("-")) {
        return Ok(vec![args.hash]);
    }
    let mut learning = Learning(Followed::new([args.hash]));
    // All that is wrong is told when it is read again.
    let read = || -> Result<()> { open(args, [args.hash])?.feed(stop, &mut Outputs::default().with(&mut learning)) };
    let _ = with_default(NoSubscriber::default(), read);
    Ok(learning.0.known().collect())
}

/// Learns the hashes of what is followed.
struct Learning(Followed);

impl Output for Learning {
    fn name(&self) -> &str {
        "hashes"
    }

    fn observer<'a>(&'a mut self, _: &'a Batch) -> Option<Observer<'a>> {
        Some(Box::new(|event| _ = self.0.are_named_by(event)))
    }
}
