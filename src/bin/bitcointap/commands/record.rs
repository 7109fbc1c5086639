//! `record`. In: runs of a node, batches, ends. Out: a recording in a file, or on standard output.

use bitcointap::{output::Outputs, privileges, recording::RecordingOutput};

use super::new_file::{new_file, warn_of_commands};
use crate::{arguments::RecordArgs, result::Result, signals, source::Source};

/// `record`: writes events to a file, as a recording.
pub fn record(args: &RecordArgs) -> Result<()> {
    warn_of_commands(&args.selection.selection);
    let source = Source::live(&args.subscribe, &args.node, &args.options(), args.follow, args.drop_capabilities())?;
    if source.taps() {
        privileges::check()?;
    }
    let stop = signals::stop_after(args.duration)?;
    let recording = RecordingOutput::new(&args.file, new_file(&args.file)?, &stop)?;
    let mut outputs = Outputs::default().with(recording);
    let result = source.feed(&stop, &mut outputs);
    outputs.finish(&stop).and(result)
}
