//! A spool writes events to a destination, by a thread of its own: a slow or stopped reader delays nothing else. In: [`Batch`]es, in a
//! queue that is bounded in bytes; when it is full, the oldest batches make room for new ones. Out, in some [`Format`]: each wanted
//! event, and each gap before the event that follows it. A destination that has failed may work again later. Then the thread
//! writes what is still in the queue.
//!
//! This file has the handle. It puts batches into `queue`; `writing` takes them out and formats them; `gathering` hands the text to
//! the destination.

mod destination;
mod directory;
mod file;
mod format;
mod gathering;
mod mend;
mod outage;
mod output;
mod queue;
mod records;
mod rotation;
mod socket;
#[cfg(test)]
mod tests;
mod whole;
mod writing;

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

#[cfg(test)]
pub(crate) use self::format::Source;
use self::{destination::Plain, queue::Shared, writing::Writing};
pub use self::{
    destination::{Destination, DestinationName},
    format::{Format, JsonLines},
    output::{Room, SpoolOutput},
    records::{Line, Record, Records},
    rotation::{ByTime, Renamed, Rotation},
    whole::{Part, Sink},
};
pub(crate) use self::{format::Lines, queue::Untold};
use crate::{
    archive::{Files, Tally},
    capture::{Batch, Counters, Run},
    event::Lost,
    privileges,
    selection::Selection,
    tracepoint::{LossReason, Tracepoint},
};

/// How often the handle looks whether the thread has ended.
pub(crate) const FINISH_INTERVAL: Duration = Duration::from_millis(1);
/// How long an abandoned thread that can still write may take to end with a whole line.
pub(crate) const LAST_LINE_PATIENCE: Duration = Duration::from_millis(100);

/// The handle of a spool. Once it is dropped, the spool writes nothing more, and its thread ends as soon as the destination allows.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
    /// What its format writes.
    records: &'static str,
    /// As the destination says.
    tally: Option<Arc<Tally>>,
    goes_on: bool,
    /// How many bytes were written, and when that number was first seen.
    progress: (u64, Instant),
}

/// How far a [`Spool`] is, for others than its owner.
#[cfg(feature = "http")]
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Shared>);

#[cfg(feature = "http")]
impl Progress {
    /// How many batches were put into the queue.
    pub(crate) fn pushed(&self) -> u64 {
        self.0.queue().pushed
    }

    /// Whether the first so many batches are written or lost.
    pub(crate) fn is_past(&self, pushed: u64) -> bool {
        self.0.ended.load(Relaxed) || self.0.queue().past >= pushed
    }
}

/// How a [`Spool`] ended.
#[derive(Debug)]
pub struct Outcome {
    /// Lines or packets written.
    pub written: u64,
    /// Events that should have been written and could not be.
    pub lost: u64,
    /// Why writing failed, unless [`Spool::take_failure`] gave it before.
    pub failure: Option<io::Error>,
}

impl Spool {
    /// Starts the thread, which has no capabilities. It writes the `wanted` events until it has written `count` of them, if that is
    /// given, or until writing fails.
    pub fn start(
        writer: impl Write + Send + 'static,
        format: impl Format,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        Self::start_any(Plain(writer), format, wanted, count)
    }

    /// The same for a destination that may work again after a failure. The thread retries it about every second, and logs the failure
    /// once until it works again.
    pub fn start_to(
        destination: impl Destination,
        lines: JsonLines,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        Self::start_any(destination, Lines::from(lines), wanted, count)
    }

    /// The same in any format.
    pub fn start_any<F: Format>(
        destination: impl Destination,
        format: F,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        let shared = Arc::new(Shared::new(wanted.compile(), format.takes_parts()));
        let (tally, goes_on) = (destination.tally(), destination.goes_on());
        let writing = Writing::new(destination, format, count, Arc::clone(&shared));
        let thread = thread::Builder::new().name("output".into()).spawn(move || {
            privileges::drop_all_of_thread();
            writing.run();
        })?;
        Ok(Spool { shared, thread, records: F::RECORDS, tally, goes_on, progress: (0, Instant::now()) })
    }

    /// Whether the queue has room for a batch of this many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.shared.queue().has_room(bytes)
    }

    /// Puts a batch into the queue. If the queue is full, its oldest events are counted as lost. If writing has failed for good, the
    /// events of this batch are.
    pub fn push(&self, batch: &Arc<Batch>) {
        if self.shared.satisfied.load(Relaxed) {
            return;
        }
        if batch.concerns(&self.shared.filter) {
            self.shared.push(batch);
        } else if self.shared.counts() {
            self.shared.set_aside(batch);
        }
    }

    /// Counts the events of a batch as lost. The next event that is written is preceded by that gap.
    pub fn lose(&self, batch: &Batch, reason: LossReason) {
        if !self.shared.satisfied.load(Relaxed) {
            let mut queue = self.shared.queue();
            self.shared.lose(&mut queue.untold, batch, reason);
            if self.shared.counts() {
                self.shared.count_aside(&mut queue.aside, batch);
            }
        }
    }

    /// What comes next is of this run of the node. Gaps before it stay gaps of the run before.
    pub fn run_begins(&mut self, run: &Arc<Run>) {
        // A format that takes parts of batches tells them with the counters.
        let has_gaps = !self.shared.counts() && !self.shared.queue().untold.is_empty();
        if has_gaps {
            self.shared.push(&Arc::default());
        }
        let mut queue = self.shared.queue();
        queue.next_run = Some(Arc::clone(run));
        if std::mem::take(&mut self.goes_on) {
            let those = run.attached.iter().filter(|&tracepoint| self.shared.filter.wants(tracepoint));
            those.for_each(|tracepoint| queue.untold.add_gap(Lost::not_recorded(tracepoint)));
        }
    }

    /// A run of the node has ended. Tells before the next event that is written what the kernel side has lost at its end.
    pub fn run_ended(&self, gaps: &[Lost]) {
        let wanted = gaps.iter().filter(|gap| self.shared.filter.wants(gap.tracepoint));
        let mut queue = self.shared.queue();
        wanted.for_each(|&gap| queue.untold.add_gap(gap));
    }

    /// The same for a format that gets all counters: these were counted after the last batch.
    pub(crate) fn run_counted(&self, added: &[Counters; Tracepoint::COUNT]) {
        if self.shared.counts() && !self.shared.satisfied.load(Relaxed) {
            self.shared.push_end(added);
        }
    }

    /// How far it is.
    #[cfg(feature = "http")]
    pub(crate) fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.shared))
    }

    /// Lines or packets written so far.
    pub fn lines_written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// Events that should have been written and could not be.
    pub fn lines_lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// The files of the directory that it writes into, if it does.
    pub fn files(&self) -> Option<Files> {
        self.tally.as_ref().map(|tally| tally.files())
    }

    /// Whether nothing more will be written: the count is reached, the reader has closed, or writing has failed for good.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Relaxed)
    }

    /// Whether writing fails at the moment, and is retried.
    pub fn is_interrupted(&self) -> bool {
        self.shared.interrupted.load(Relaxed)
    }

    /// How long nothing has been written. It knows only of times since the first call.
    pub fn stalled_for(&mut self) -> Duration {
        let written = self.shared.written_bytes.load(Relaxed);
        if self.progress.0 != written {
            self.progress = (written, Instant::now());
        }
        self.progress.1.elapsed()
    }

    /// Why writing failed; later calls give `None`. A closed pipe is a failure, too.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.shared.take_failure()
    }

    /// Writes what is in the queue, and then the gaps that no event follows. Once `hurry` gives true, everything that is not written
    /// by then is counted as lost: so a reader that has stopped reading cannot delay the end.
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
        // A stuck thread has not counted what is still in the queue.
        let Shared { filter, events, written_events, .. } = &*self.shared;
        let queued: usize = self.shared.queue().items.iter().map(|item| item.batch.tracepoints(filter).count()).sum();
        let lost = events.load(Relaxed) + queued as u64 - written_events.load(Relaxed);
        let satisfied = self.shared.satisfied.load(Relaxed);
        Outcome { written: self.lines_written(), lost: if satisfied { 0 } else { lost }, failure: self.take_failure() }
    }

    /// Nothing more will be pushed. The thread ends when it has written what is in the queue.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    /// What is not written by now is lost. A thread that can still write ends with a whole line.
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
