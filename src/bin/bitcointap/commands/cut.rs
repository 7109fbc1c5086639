//! `cut`. In: recordings. Out: a part of them, as a recording in a file or on standard output. The file has its name once it is whole.

use std::{
    cell::Cell,
    fs::{self, File},
    path::{Path, PathBuf},
};

use bitcointap::{
    output::{Output, Outputs},
    privileges,
    recording::{RecordingOutput, Replay, Speed},
};

use super::new_file::{new_file, warn_of_commands};
use crate::{arguments::CutArgs, progress::Bar, result::Result, signals};

/// `cut`: writes a part of recordings.
pub fn cut(args: &CutArgs) -> Result<()> {
    warn_of_commands(&args.selection.selection);
    let redactor = args.redact.redactor()?;
    let replay = Replay::open(&args.inputs, Speed::Max, args.window.limits(), &args.selection())?;
    privileges::drop_all()?;
    let stop = signals::stop_after(None)?;
    let target = Target::create(&args.output, args.force, &replay)?;
    let (bar, progress) = (Bar::new(), replay.progress());
    let is_empty = Cell::new(true);
    let recording = || -> Result<_> {
        is_empty.set(false);
        let recording = RecordingOutput::new(&args.output, target.file.try_clone()?, &stop)?;
        Ok(if target.names.is_some() { recording.removed_if_it_fails() } else { recording })
    };
    let mut result = replay.run_each(&stop, || {
        let outputs = Outputs::default().redacted_by(redactor.clone());
        Ok(outputs.with(recording()?).with(bar.output(&progress)))
    });
    drop(bar);
    if result.is_ok() && is_empty.get() && !stop.is_due() {
        tracing::warn!("none of the events are wanted: the recording is empty");
        result = recording().and_then(|mut it| it.finish(&stop)).and(result);
    }
    if result.is_ok() && stop.is_due() {
        result = Err(format!("stopped before the end: {} is not whole", args.output.display()).into());
    }
    target.finish(result)
}

/// The file that is written.
struct Target {
    file: File,
    /// What it is called until it is whole, and then. `None` for what has no end, such as a pipe.
    names: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn create(path: &Path, force: bool, replay: &Replay) -> Result<Self> {
        let found = fs::metadata(path).ok().filter(|_| path != Path::new("-"));
        if path == Path::new("-") || found.as_ref().is_some_and(|it| !it.is_file()) {
            return Ok(Self { file: new_file(path)?, names: None });
        }
        let name = path.display();
        if found.as_ref().is_some_and(|found| replay.reads(found)) {
            return Err(format!("{name} is one of the recordings to cut: name another file").into());
        }
        if found.is_some() && !force {
            return Err(format!("{name} exists already: --force replaces it, or name another file").into());
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        let unfinished = PathBuf::from(unfinished);
        let file = new_file(&unfinished)?;
        Ok(Self { file, names: Some((unfinished, path.to_owned())) })
    }

    /// Gives the file its name. It also has it if recordings are damaged, which the inner result says: it has what is whole.
    fn finish(self, written: Result<Result<()>>) -> Result<()> {
        let Some((unfinished, name)) = self.names else { return written? };
        let named = || self.file.sync_all().and_then(|()| fs::rename(&unfinished, &name));
        let cannot = |error| format!("cannot write the recording {}: {error}", name.display()).into();
        let result = written.and_then(|result| named().map_err(cannot).map(|()| result));
        if result.is_err() {
            // Whoever is told of the error looks for no file.
            let _ = fs::remove_file(&unfinished);
        }
        result?
    }
}
