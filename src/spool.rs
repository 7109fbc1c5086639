//! Events to a destination, by a thread of its own, so that a slow or stopped reader holds up nothing else. In: [`Batch`]es, bounded
//! in bytes; those that wait longest make room for new ones. Out, in some [`Format`]: each event that is wanted, and each gap
//! before the event that it precedes. A destination that fails may work again later: what waits is written then, as far as it
//! still waits.
//!
//! Here is the handle. What it is handed waits in `queue`, `writing` takes it from there, and `gathering` hands it over.

mod destination;
mod file;
mod format;
mod gathering;
mod outage;
mod output;
mod queue;
mod records;
mod rotation;
mod socket;
#[cfg(test)]
mod tests;
mod writing;

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use self::{destination::Plain, format::SourcedLines, queue::Shared, writing::Writing};
pub use self::{
    destination::{Destination, DestinationName},
    format::{Format, JsonLines},
    output::{Room, SpoolOutput},
    records::{Line, Record, Records},
    rotation::{Limits, Rotation},
};
use crate::{
    capture::{Batch, Run},
    event::Lost,
    privileges,
    selection::Selection,
    tracepoint::LossReason,
};

/// How often the end of the thread is looked for.
pub(crate) const FINISH_INTERVAL: Duration = Duration::from_millis(1);
/// What an abandoned thread that can still write takes to write what is missing.
pub(crate) const LAST_LINE_PATIENCE: Duration = Duration::from_millis(100);

/// Where events go. Dropped, it writes nothing more, and its thread ends as soon as the writer lets it.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
    /// Bytes that had left, and when that was seen.
    progress: (u64, Instant),
}

/// How a [`Spool`] ended.
#[derive(Debug)]
pub struct Outcome {
    /// Lines written.
    pub written: u64,
    /// Events that were to be written and could not be.
    pub lost: u64,
    /// Why writing failed, unless that was told before.
    pub failure: Option<io::Error>,
}

impl Spool {
    /// Starts the thread, which has no capabilities. It writes what is `wanted` until `count` events are written, if that is
    /// given, or writing fails.
    pub fn start(
        writer: impl Write + Send + 'static,
        format: impl Format,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        Self::start_any(Plain(writer), format, wanted, count)
    }

    /// The same for a destination that may be able to go on after a failure, which is then tried about every second, and logged
    /// once until it works again.
    pub fn start_to(
        destination: impl Destination,
        lines: JsonLines,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        match lines.with_source {
            true => Self::start_any(destination, SourcedLines::from(lines), wanted, count),
            false => Self::start_any(destination, lines, wanted, count),
        }
    }

    /// Such a destination, in any format. What is logged of its failures calls what is written JSON lines.
    pub(crate) fn start_any(
        destination: impl Destination,
        format: impl Format,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        let shared = Arc::new(Shared::new(wanted.compile()));
        let writing = Writing::new(destination, format, count, Arc::clone(&shared));
        let thread = thread::Builder::new().name("output".into()).spawn(move || {
            privileges::drop_all_of_thread();
            writing.run();
        })?;
        Ok(Spool { shared, thread, progress: (0, Instant::now()) })
    }

    /// Whether the queue has room for a batch that takes so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.shared.queue().has_room(bytes)
    }

    /// Hands a batch over. If the queue is full, the events that wait longest in it are counted as lost, and if the writer has
    /// failed, those of the batch.
    pub fn push(&self, batch: &Arc<Batch>) {
        if !batch.concerns(&self.shared.filter) || self.shared.satisfied.load(Relaxed) {
            return;
        }
        self.shared.push(batch);
    }

    /// Counts the events of a batch as lost, and tells so before the next that is written.
    pub fn lose(&self, batch: &Batch, reason: LossReason) {
        if !self.shared.satisfied.load(Relaxed) {
            self.shared.lose(&mut self.shared.queue().untold, batch, reason);
        }
    }

    /// What comes next is of this run of the node.
    pub fn run_begins(&self, run: &Run) {
        self.shared.queue().next_run = Some(Arc::new(run.clone()));
    }

    /// A run of the node has ended. Tells before the next event that is written what the kernel side has lost at its end.
    pub fn run_ended(&self, gaps: &[Lost]) {
        let wanted = gaps.iter().filter(|gap| self.shared.filter.wants(gap.tracepoint));
        let mut queue = self.shared.queue();
        wanted.for_each(|&gap| queue.untold.add_gap(gap));
    }

    /// Lines or packets written so far.
    pub fn lines_written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// Events that were to be written and could not be.
    pub fn lines_lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// Whether nothing more will be written: the count is reached, the reader has closed, or writing failed.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Relaxed)
    }

    /// Whether writing fails at the moment, and is tried again.
    pub fn is_interrupted(&self) -> bool {
        self.shared.interrupted.load(Relaxed)
    }

    /// How long nothing has been written, as far as this was asked before.
    pub fn stalled_for(&mut self) -> Duration {
        let written = self.shared.written_bytes.load(Relaxed);
        if self.progress.0 != written {
            self.progress = (written, Instant::now());
        }
        self.progress.1.elapsed()
    }

    /// Why writing failed, once. A closed pipe is told as such.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.shared.take_failure()
    }

    /// Writes what is queued, and last the gaps that no event will tell. When `hurry` says so, what is not written by
    /// then is counted as lost: a reader that has stopped reading cannot hold up the end.
    pub fn finish(mut self, hurry: impl Fn(&mut Spool) -> bool) -> Outcome {
        self.close();
        while !self.is_done() && !hurry(&mut self) {
            thread::sleep(FINISH_INTERVAL);
        }
        self.abandon();
        let deadline = Instant::now() + LAST_LINE_PATIENCE;
        while !self.is_done() && Instant::now() < deadline {
            thread::sleep(FINISH_INTERVAL);
        }
        // A thread that is stuck has not counted what is still queued.
        let Shared { filter, events, written_events, .. } = &*self.shared;
        let queued: usize = self.shared.queue().items.iter().map(|item| item.batch.tracepoints(filter).count()).sum();
        let lost = events.load(Relaxed) + queued as u64 - written_events.load(Relaxed);
        let satisfied = self.shared.satisfied.load(Relaxed);
        Outcome { written: self.lines_written(), lost: if satisfied { 0 } else { lost }, failure: self.take_failure() }
    }

    /// Nothing more will be handed over: the thread ends when it has written what is queued.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    /// What is not written by now is lost; a thread that can still write ends with a whole line.
    pub(crate) fn abandon(&self) {
        self.shared.abandoned.store(true, Relaxed);
    }

    /// Whether the thread has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.abandon();
        self.close();
    }
}
