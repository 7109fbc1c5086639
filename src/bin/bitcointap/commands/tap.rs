//! `tap`. In: events of a node or a recording. Out: JSON lines or packets.

use std::path::Path;

use bitcointap::{
    output::Outputs,
    pcap,
    selection::Selection,
    spool::{DestinationName, Format, JsonLines, Room, Spool, SpoolOutput},
};

use super::new_file::{new_file, warn_of_commands};
use crate::{arguments::TapArgs, result::Result, signals, source::Source};

/// `tap`: writes events as JSON lines or packets.
pub fn tap(args: &TapArgs) -> Result<()> {
    let options = args.options();
    warn_of_commands(&options.selection);
    let place = args.destination.place().unwrap_or(&DestinationName::Stdout);
    // Opens a file with the capabilities that are dropped next. With --pcap this is standard output, which stays unused.
    let destination = place.open(JsonLines::RECORDS, args.destination.rotation())?;
    let source = Source::open(&args.replay, &args.node, &options, args.follow, args.drop_capabilities())?;
    let stop = signals::stop_after(args.duration)?;
    // The source has already checked the conditions on each event, so the spool only needs the tracepoints.
    let (wanted, count) = (&Selection::of(options.selection.tracepoints()), args.count);
    let output = match &args.pcap {
        None => {
            let spool = Spool::start_to(destination, args.json.lines(args.pretty), wanted, count)?;
            let output = SpoolOutput::new(spool, place.kind(), place.to_string());
            // Other destinations may work again after a failure.
            if *place == DestinationName::Stdout { output.ending_for_good() } else { output }
        }
        Some(path) => {
            let spool = Spool::start(new_file(path)?, pcap::Writer::default(), wanted, count)?;
            let place =
                if path == Path::new("-") { DestinationName::Stdout.to_string() } else { path.display().to_string() };
            SpoolOutput::new(spool, "pcap", place).ending_for_good()
        }
    };
    let room = if source.replays() { Room::Always } else { Room::WhileItWorks };
    let mut outputs = Outputs::default().with(output.required().waited_for(&stop, room));
    let result = source.feed(&stop, &mut outputs);
    // Even if the source has failed, the outputs write what they have.
    outputs.finish(&stop).and(result)
}
