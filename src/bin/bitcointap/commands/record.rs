//! `record`. In: runs of a node, batches, ends. Out: a recording in a file or on standard output, or recordings in a directory.

use std::{fs, io, path::Path};

use bitcointap::{
    archive,
    output::{Output, Outputs},
    privileges,
    recording::{RecordingArchive, RecordingOutput},
    stop::Stop,
};

use super::new_file::{new_file, warn_of_commands};
use crate::{arguments::RecordArgs, result::Result, signals, source::Source};

/// `record`: writes events to a file or into a directory, as recordings.
pub fn record(args: &RecordArgs) -> Result<()> {
    warn_of_commands(&args.selection.selection);
    let redactor = args.redact.redactor()?;
    let source = Source::live(&args.subscribe, &args.node, &args.options(), args.follow, args.drop_capabilities())?;
    if source.taps() {
        privileges::check()?;
    }
    let stop = signals::stop_after(args.duration)?;
    let archive = args.archive();
    if let Source::Other(source) = &source
        && args.subscribe.is_of_many()
    {
        match fs::create_dir(&args.file) {
            Err(error) if archive.is_none() || error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!("cannot create the directory {}: {error}", args.file.display()).into());
            }
            Ok(()) | Err(_) => {}
        }
        return source.run_each(&stop, |node| {
            let name = if archive.is_some() { node.to_owned() } else { format!("{node}.recording") };
            let output = output(&args.file.join(name), archive, &stop)?;
            Ok(Outputs::default().redacted_by(redactor.clone()).with_boxed(output))
        });
    }
    let mut outputs = Outputs::default().redacted_by(redactor).with_boxed(output(&args.file, archive, &stop)?);
    let result = source.feed(&stop, &mut outputs);
    outputs.finish(&stop).and(result)
}

/// Writes to a file, or into a directory. The directory is used without capabilities, as when the thread has dropped them.
fn output<'a>(path: &Path, archive: Option<archive::Options>, stop: &'a Stop) -> Result<Box<dyn Output + 'a>> {
    Ok(match archive {
        None => Box::new(RecordingOutput::new(path, new_file(path)?, stop)?),
        Some(options) => Box::new(privileges::without_any(|| RecordingArchive::open(path, &options))??),
    })
}
