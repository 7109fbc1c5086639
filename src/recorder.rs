//! What `record` feeds. In: runs of a node, batches, ends. Out: a recording in a file, or on standard output.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    ops::ControlFlow,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bitcointap::{
    recording::Writer,
    tap::{Batch, Counted, Run},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    follow::{End, Sink},
    run::Result,
    stop::Stop,
};

/// Writes a recording.
pub struct Recorder<'a> {
    path: PathBuf,
    writer: Writer<Target<'a>>,
    /// A copy of its file's handle, to take back what is half written.
    file: Option<File>,
}

impl<'a> Recorder<'a> {
    /// `-` is standard output. A file that is there already is left alone.
    pub fn create(path: &Path, stop: &'a Stop) -> Result<Self> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{} is there already: remove it, or name another", path.display()),
            _ => format!("cannot create the recording {}: {error}", path.display()),
        };
        let (target, file) = if path == Path::new("-") {
            (Target::Stdout(io::stdout(), stop), None)
        } else {
            let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(cannot)?;
            (Target::File(file.try_clone().map_err(cannot)?), Some(file))
        };
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
        // A reader that has gone wants no more.
        match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe && self.file.is_none() => Ok(()),
            Some(error) => Err(failure(&self.path, error).into()),
            None => Err(error),
        }
    }
}

fn failure(path: &Path, error: &io::Error) -> String {
    format!("cannot write the recording {}: {error}; it holds what came before", path.display())
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
enum Target<'a> {
    File(File),
    /// Whose reader may stand still, which must not hold up the end.
    Stdout(io::Stdout, &'a Stop),
}

/// What is still given to a reader that stands still when it is time to stop.
const PATIENCE: Duration = Duration::from_millis(400);
/// What a pipe that is ready to be written to takes without blocking.
const PIPE_PIECE: usize = 4096;

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout, stop) => {
                let timeout = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
                while poll(&mut [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)], Some(&timeout)) == Ok(0) {
                    if stop.requested() {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader stands still"));
                    }
                }
                // Not by way of its buffer, which would wait for a whole line.
                Ok(rustix::io::write(stdout.as_fd(), &bytes[..bytes.len().min(PIPE_PIECE)])?)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
