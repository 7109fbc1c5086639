//! Writes recordings into a directory, one after another, as an [`Output`]. In: runs, batches and ends. Out: files that each can be
//! replayed alone, and that together have what one recording would have.
//!
//! Bytes wait in memory while they cannot be written, as on a full disk. Once too many wait, events are lost. The recording says so where
//! they are missing.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Writer, mend, missed::Missed, waiting::Waiting};
use crate::{
    archive::{Archive, Files, Limits, Options, Part},
    capture::{Batch, Counted, End, Run},
    output::{Output, Result},
    stop::Stop,
    tracepoint::LossReason,
};

/// How long to wait after a failure before trying to write again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Once so many bytes wait in memory, events are lost.
const MOST_WAITING: usize = 8 << 20;

/// Writes recordings into a directory.
pub struct RecordingArchive {
    path: PathBuf,
    archive: Archive,
    limits: Limits,
    /// Writes into memory.
    writer: Writer<Waiting>,
    /// The file that is written. `None` while there is nothing to write.
    part: Option<Part>,
    /// Whether the file has more than openings.
    has_entries: bool,
    /// The run, and whether the recording has it. It may not, if its beginning did not fit into memory.
    run: Option<(Run, bool)>,
    missed: Missed,
    /// Whether there is a gap before the first run.
    begins_with_gap: bool,
    outage: Option<Outage>,
    /// Events that were given to the writer; those of them that are in whole blocks; and those that are in files.
    taken: u64,
    in_blocks: u64,
    written: u64,
    lost: u64,
}

/// Writing fails.
struct Outage {
    tried: Instant,
    lost_before: u64,
}

impl RecordingArchive {
    /// Opens a directory, which is made if it is missing. The calling thread must lack the capabilities that it will lack later.
    ///
    /// # Errors
    /// A line that names the directory.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let cannot = |words: &dyn fmt::Display| format!("cannot record into {}: {words}", path.display());
        let archive = Archive::open(path, mend::RECORDING, options.keep).map_err(|words| cannot(&words))?;
        Ok(Self {
            path: path.to_owned(),
            begins_with_gap: archive.has_earlier(),
            archive,
            limits: options.limits,
            writer: Writer::without_header(Waiting::default()).map_err(|error| cannot(&error))?,
            part: None,
            has_entries: false,
            run: None,
            missed: Missed::default(),
            outage: None,
            taken: 0,
            in_blocks: 0,
            written: 0,
            lost: 0,
        })
    }

    fn has_room(&mut self) -> bool {
        self.writer.out_mut().bytes() + self.writer.holds() < MOST_WAITING
    }

    /// Begins the run, if the recording does not have it yet and there is room.
    fn be_in_run(&mut self) -> io::Result<()> {
        if self.has_room()
            && let Some((run, has_begun @ false)) = &mut self.run
        {
            *has_begun = true;
            self.writer.run(run)?;
        }
        Ok(())
    }

    fn is_in_run(&self) -> bool {
        self.run.as_ref().is_some_and(|&(_, has_begun)| has_begun)
    }

    /// Writes what waits, and goes on with another file if it is time. A failure is told in the log.
    fn work(&mut self) -> io::Result<()> {
        self.stamp();
        if self.outage.as_ref().is_some_and(|outage| outage.tried.elapsed() < RETRY_INTERVAL) {
            return Ok(());
        }
        let is_due = |part: &Part| self.limits.are_reached(part.length(), part.age());
        let is_due = self.has_entries && self.part.as_ref().is_some_and(is_due) && !self.archive.is_storing();
        if !self.write() || !is_due {
            return Ok(());
        }
        self.writer.end_group()?;
        // If this fails, the file goes on with another group.
        if self.write() {
            self.archive.finish(self.part.take().expect("it is due"));
            self.has_entries = false;
            if self.is_in_run() {
                self.writer.begin_group()?;
                self.write();
            }
        }
        Ok(())
    }

    /// Writes what waits, and tells failures in the log. Gives whether it is written.
    fn write(&mut self) -> bool {
        let result = self.write_waiting();
        let (is_written, path) = (result.is_ok(), self.path.display());
        match (result, &mut self.outage) {
            (Ok(()), None) => {}
            (Ok(()), outage) => {
                let lost = outage.take().map_or(0, |outage| self.lost - outage.lost_before);
                tracing::info!(lost, "recordings are written to {path} again");
            }
            (Err(_), Some(outage)) => outage.tried = Instant::now(),
            (Err(error), outage) => {
                tracing::error!(
                    "cannot write recordings to {path}: {error}; bitcointap tries again every second, and events that do not fit into memory are lost"
                );
                *outage = Some(Outage { tried: Instant::now(), lost_before: self.lost });
            }
        }
        is_written
    }

    /// Writes what waits. Begins a file for it if there is none.
    fn write_waiting(&mut self) -> io::Result<()> {
        self.stamp();
        let Self { writer, part, archive, written, .. } = self;
        writer.out_mut().give(written, |piece| {
            let begun = match part {
                Some(part) => part,
                None => part.insert(archive.begin()?),
            };
            let result = begun.append(piece);
            if result.is_err() && begun.length() == 0 {
                archive.discard(begun);
                *part = None;
            }
            result
        })
    }

    /// Notes which events are in the pieces that wait.
    fn stamp(&mut self) {
        if self.writer.holds() == 0 {
            self.in_blocks = self.taken;
        }
        self.writer.out_mut().have(self.in_blocks);
    }
}

impl Output for RecordingArchive {
    fn name(&self) -> &str {
        "recording"
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        if std::mem::take(&mut self.begins_with_gap) {
            self.missed.not_recorded(run.attached);
        }
        self.run = Some((run.clone(), false));
        self.be_in_run()?;
        Ok(self.work()?)
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.be_in_run()?;
        if self.is_in_run() && self.has_room() {
            self.writer.batch_after(&std::mem::take(&mut self.missed), batch)?;
            let events: u64 = batch.events().map(|(_, events)| events).sum();
            self.taken += events;
            self.has_entries |= events > 0;
        } else {
            self.lost += self.missed.batch(batch, LossReason::WriteFailed);
        }
        Ok(self.work()?)
    }

    fn unread(&mut self, batch: &Batch) {
        self.lost += self.missed.batch(batch, LossReason::Stopped);
    }

    fn run_ends(&mut self, counted: &Counted, _: End) -> Result {
        if self.is_in_run() {
            self.writer.end_after(&std::mem::take(&mut self.missed), counted)?;
            self.has_entries = true;
        } else {
            self.missed.end(counted);
        }
        self.run = None;
        Ok(self.work()?)
    }

    fn idle(&mut self) {
        if let Err(error) = self.work() {
            tracing::error!("cannot write recordings to {}: {error}", self.path.display());
        }
    }

    fn finish(&mut self, _: &Stop) -> Result {
        self.writer.end_group()?;
        let result = self.write_waiting();
        if result.is_ok()
            && let Some(part) = self.part.take()
        {
            self.archive.finish(part);
        }
        self.archive.wait();
        let unwritten = self.taken - self.written;
        self.lost += unwritten;
        let (Files { kept, bytes, removed, .. }, lost, path) =
            (self.archive.tally().files(), self.lost, self.path.display());
        tracing::info!(files = kept, bytes, removed, lost, "the end of recordings in {path}");
        match result {
            Err(error) if unwritten > 0 => {
                Err(format!("cannot write recordings to {path}: {error}; {unwritten} events are lost").into())
            }
            // The next start completes the file.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
