//! `record`. In: runs of a node, batches, ends. Out: a recording in a file, or on standard output.

use std::{
    fs::File,
    io::{self, Seek, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use bitcointap::{
    capture::{Batch, Counted, Run},
    privileges,
    recording::Writer,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::destinations::{new_file, warn_of_commands};
use crate::{
    arguments::RecordArgs,
    follow::{self, End, Sink},
    result::Result,
    stop::Stop,
};

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

/// Writes a recording.
pub struct Recorder<'a> {
    path: PathBuf,
    writer: Writer<Target<'a>>,
    /// A copy of its file's handle, to take back what is half written; none of a pipe.
    file: Option<File>,
}

impl<'a> Recorder<'a> {
    /// `-` is standard output. A file that is there already is left alone.
    pub fn create(path: &Path, stop: &'a Stop) -> Result<Self> {
        let cannot = |error| failure(path, &error);
        let target = new_file(path)?;
        let is_file = target.metadata().map_err(cannot)?.is_file();
        let file = is_file.then(|| target.try_clone()).transpose().map_err(cannot)?;
        let target = Target { file: target, waits: (!is_file).then_some(stop) };
        Ok(Self { path: path.to_owned(), writer: Writer::new(target).map_err(cannot)?, file })
    }

    /// Ends the recording with what is whole.
    pub fn finish(mut self, result: Result<()>) -> Result<()> {
        let Err(error) = result else {
            let written = self.writer.finish();
            return written.map_err(|error| failure(&self.path, &error).into());
        };
        let written = self.writer.written();
        let ended = match &mut self.file {
            Some(file) => file
                .set_len(written)
                .and_then(|()| file.seek(io::SeekFrom::Start(written)))
                .and_then(|_| self.writer.finish_early()),
            None => Ok(()),
        };
        if let Err(error) = ended {
            tracing::warn!("{}", failure(&self.path, &error));
        }
        match error.downcast_ref::<io::Error>() {
            // A reader that has gone wants no more.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(failure(&self.path, error).into()),
            None => Err(error),
        }
    }
}

fn failure(path: &Path, error: &io::Error) -> String {
    let name = if path == Path::new("-") { "to standard output".into() } else { path.display().to_string() };
    format!("cannot write the recording {name}: {error}; it holds what came before")
}

impl Sink for Recorder<'_> {
    fn attached(&mut self, run: &Run) -> Result<()> {
        Ok(self.writer.run(run)?)
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        self.writer.batch(batch)?;
        Ok(ControlFlow::Continue(()))
    }

    fn unread(&mut self, _: &Batch) {
        // Counted as unread in the log.
    }

    fn ended(&mut self, counted: &Counted, _: End) -> Result<()> {
        Ok(self.writer.end(counted)?)
    }

    fn idle(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Where a recording goes.
struct Target<'a> {
    file: File,
    /// The reader of a pipe may stand still, which must not hold up the end.
    waits: Option<&'a Stop>,
}

/// What is still given to a reader that stands still when it is time to stop.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 400_000_000 };
/// What a pipe that is ready to be written to takes without blocking.
const PIPE_PIECE: usize = 4096;

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stop) = self.waits else { return self.file.write(bytes) };
        loop {
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&PATIENCE)) {
                Ok(0) if stop.requested() => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader stands still"));
                }
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.file.write(&bytes[..bytes.len().min(PIPE_PIECE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
