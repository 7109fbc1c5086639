//! `tap`. In: events of a node or a recording. Out: JSON lines, to a file or over NATS, or packets.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use bitcointap::{
    nats,
    output::{Output, Outputs},
    pcap,
    selection::Selection,
    spool::{DestinationName, Format, JsonLines, Room, Spool, SpoolOutput},
};

use super::new_file::{new_file, warn_of_commands};
use crate::{arguments::TapArgs, progress::Bar, result::Result, signals, source::Source};

/// `tap`: writes events as JSON lines or packets, or publishes them.
pub fn tap(args: &TapArgs) -> Result<()> {
    let options = args.options();
    let redactor = args.redact.redactor()?;
    warn_of_commands(&options.selection);
    let lines = args.json.lines(args.pretty);
    let nats = args.nats.options(args.source.node(), lines)?;
    let place = args.destination.place().unwrap_or(&DestinationName::Stdout);
    // Opens a file with the capabilities that are dropped next. With --pcap or --nats this is standard output, which stays unused.
    let destination = place.open(JsonLines::RECORDS, args.destination.rotation())?;
    let source =
        Source::open(&args.replay, &args.subscribe, &args.node, &options, args.follow, args.drop_capabilities())?;
    // Only JSON lines say which node each is of.
    let source = if args.pcap.is_none() && nats.is_none() { source.joined() } else { source };
    let stop = signals::stop_after(args.duration)?;
    // The source has already checked the conditions on each event, so the spool only needs the tracepoints.
    let (wanted, count) = (&Selection::of(options.selection.tracepoints()), args.count);
    let room = if source.replays() { Room::Always } else { Room::WhileItWorks };
    let output: Box<dyn Output + Send> = match (&args.pcap, &nats) {
        (None, None) => {
            let spool = Spool::start_to(destination, lines, wanted, count)?;
            let output = SpoolOutput::new(spool, place.kind(), place.to_string()).required().waited_for(&stop, room);
            // Other destinations may work again after a failure.
            Box::new(if *place == DestinationName::Stdout { output.ending_for_good() } else { output })
        }
        (None, Some(nats)) => nats::start(nats, wanted, count, |spool| {
            let output = SpoolOutput::new(spool, "nats", nats.server.to_string()).required();
            // A server that is slow or gone never holds up a node.
            if source.replays() { output.waited_for(&stop, room) } else { output }
        })?,
        (Some(path), _) => {
            let spool = Spool::start(new_file(path)?, pcap::Writer::default(), wanted, count)?;
            let place =
                if path == Path::new("-") { DestinationName::Stdout.to_string() } else { path.display().to_string() };
            Box::new(SpoolOutput::new(spool, "pcap", place).ending_for_good().required().waited_for(&stop, room))
        }
    };
    let progress = source.progress().filter(|_| nats.is_none() && writes_a_file(args));
    let bar = progress.map(|progress| (Bar::new(), progress));
    let outputs = Outputs::default().redacted_by(redactor).with_boxed(output);
    let mut outputs = bar.iter().fold(outputs, |outputs, (bar, progress)| outputs.with(bar.output(progress)));
    let result = source.feed(&stop, &mut outputs);
    // Even if the source has failed, the outputs write what they have.
    outputs.finish(&stop).and(result)
}

/// Whether it writes to a file, while a person may wait.
fn writes_a_file(args: &TapArgs) -> bool {
    let is_file = |path: &Path| match path == Path::new("-") {
        true => File::from(io::stdout().as_fd().try_clone_to_owned()?).metadata().map(|it| it.is_file()),
        false => path.metadata().map(|it| it.is_file()),
    };
    let path = match (&args.pcap, args.destination.place()) {
        (Some(path), _) => path.as_path(),
        (None, Some(DestinationName::File(path))) => path,
        (None, Some(DestinationName::Socket(_))) => return false,
        (None, Some(DestinationName::Stdout) | None) => Path::new("-"),
    };
    is_file(path).unwrap_or(false)
}
