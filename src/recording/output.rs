//! Writes a recording to a file or a pipe, as an [`Output`]. In: runs, batches and ends. Out: a recording, which has its end even if
//! writing fails.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::Writer;
use crate::{
    capture::{Batch, Counted, End, Run},
    output::{Output, Result},
    stop::Stop,
};

/// Writes a recording.
pub struct RecordingOutput<'a> {
    path: PathBuf,
    /// Where the recording begins in the file.
    start: u64,
    /// Whether it stays if it fails.
    is_kept: bool,
    /// `None` once it is finished.
    writer: Option<Writer<Target<'a>>>,
    /// A second handle of the file, to remove a block that was written in part. A pipe has none.
    file: Option<File>,
    failure: Option<io::Error>,
}

impl<'a> RecordingOutput<'a> {
    /// Writes to an open file or pipe. A pipe must be non-blocking: the output waits for its reader until it is time to stop. Errors
    /// name `path`; `-` is standard output.
    ///
    /// # Errors
    /// A line that names the path.
    pub fn new(path: &Path, target: File, stop: &'a Stop) -> Result<Self> {
        let cannot = |error| failure(path, true, &error);
        let is_file = target.metadata().map_err(cannot)?.is_file();
        let mut file = is_file.then(|| target.try_clone()).transpose().map_err(cannot)?;
        let start = file.as_mut().map_or(Ok(0), Seek::stream_position).map_err(cannot)?;
        let target = Target { file: target, waits: (!is_file).then_some(stop) };
        let writer = Writer::new(target).map_err(cannot)?;
        Ok(Self { path: path.to_owned(), start, is_kept: true, writer: Some(writer), file, failure: None })
    }

    /// Somebody removes it if it fails.
    #[must_use]
    pub fn removed_if_it_fails(self) -> Self {
        Self { is_kept: false, ..self }
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<Target<'a>>) -> io::Result<()>) -> Result {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let Err(error) = write(writer) else { return Ok(()) };
        let words = failure(&self.path, self.is_kept, &error);
        // The reader of the pipe has gone: that is no error.
        let is_gone = error.kind() == io::ErrorKind::BrokenPipe;
        self.failure = Some(error);
        if is_gone { Ok(()) } else { Err(words.into()) }
    }
}

fn failure(path: &Path, is_kept: bool, error: &io::Error) -> String {
    let name = if path == Path::new("-") { "to standard output".into() } else { path.display().to_string() };
    let rest = if is_kept { "; it holds what came before" } else { "" };
    format!("cannot write the recording {name}: {error}{rest}")
}

impl Output for RecordingOutput<'_> {
    fn name(&self) -> &str {
        "recording"
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        self.write(|writer| writer.run(run))
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.write(|writer| writer.batch(batch))
    }

    fn run_ends(&mut self, counted: &Counted, _: End) -> Result {
        self.write(|writer| writer.end(counted))
    }

    fn is_done(&self) -> bool {
        self.failure.is_some()
    }

    fn finish(&mut self, _: &Stop) -> Result {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        if self.failure.is_none() {
            return writer.finish().map_err(|error| failure(&self.path, self.is_kept, &error).into());
        }
        let written = self.start + writer.written();
        let ended = match &mut self.file {
            Some(file) => file
                .set_len(written)
                .and_then(|()| file.seek(io::SeekFrom::Start(written)))
                .and_then(|_| writer.finish_early()),
            None => Ok(()),
        };
        if let Err(error) = ended {
            tracing::warn!("{}", failure(&self.path, self.is_kept, &error));
        }
        Ok(())
    }
}

/// Where a recording goes.
struct Target<'a> {
    file: File,
    /// For a pipe: its reader may stand still, and must not hold up the end.
    waits: Option<&'a Stop>,
}

/// How long a reader may stand still once it is time to stop.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 400_000_000 };
/// Bytes that a pipe takes without blocking once poll says that it is ready.
const PIPE_PIECE: usize = 4096;

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stop) = self.waits else { return self.file.write(bytes) };
        loop {
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&PATIENCE)) {
                Ok(0) if stop.is_due() => {
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
