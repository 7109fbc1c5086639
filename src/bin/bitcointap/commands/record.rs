//! `record`. In: runs of a node, batches, ends. Out: a recording in a file, or on standard output.

use std::fs;

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
    if let Source::Other(source) = &source
        && args.subscribe.is_of_many()
    {
        let cannot = |error| format!("cannot create the directory {}: {error}", args.file.display());
        fs::create_dir(&args.file).map_err(cannot)?;
        return source.run_each(&stop, |node| {
            let path = args.file.join(format!("{node}.recording"));
            Ok(Outputs::default().with(RecordingOutput::new(&path, new_file(&path)?, &stop)?))
        });
    }
    let recording = RecordingOutput::new(&args.file, new_file(&args.file)?, &stop)?;
    let mut outputs = Outputs::default().with(recording);
    let result = source.feed(&stop, &mut outputs);
    outputs.finish(&stop).and(result)
}
