//! The queue before the thread that writes, and what handle and thread share. In: [`Batch`]es, and gaps between them. Out: [`Item`]s.
//! The queue is bounded in bytes: the oldest items make room for new ones, and become gaps.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::whole::Aside;
use crate::{
    capture::{Batch, Run},
    event::Lost,
    selection::Filter,
    tracepoint::{LossReason, Tracepoint},
};

/// How much may wait, in bytes of memory. A single larger batch may wait, too.
const QUEUE_BYTES: usize = 8 << 20;

/// What the handle and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub filter: Filter,
    /// Whether the format gets all counters.
    counts: bool,
    queue: Mutex<Queue>,
    /// Notified when an item is added, or the queue is closed.
    queued: Condvar,
    pub written: AtomicU64,
    pub written_events: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Wanted events of batches that have left the queue, to be written or as lost.
    pub events: AtomicU64,
    /// Events that are lost: the queue had no room, or writing failed.
    pub lost: AtomicU64,
    /// Writing fails at the moment, and is retried.
    pub interrupted: AtomicBool,
    /// Nothing more will be written.
    pub ended: AtomicBool,
    /// The requested number of events is written.
    pub satisfied: AtomicBool,
    /// Whatever is not written yet is to be counted as lost.
    pub abandoned: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// Items that wait for the thread.
#[derive(Debug)]
pub(super) struct Queue {
    pub items: VecDeque<Item>,
    /// Memory of all items, including the one that the thread is writing.
    pub bytes: usize,
    /// How many items were put in, and how many of these are written or lost.
    pub pushed: u64,
    pub past: u64,
    /// The gaps after the last item.
    pub untold: Untold,
    /// What was counted after the last item, if the format gets counters; and when that came.
    pub aside: Aside,
    pub has_pushed: Instant,
    /// The run that has begun after the last item.
    pub next_run: Option<Arc<Run>>,
    pub closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            pushed: 0,
            past: 0,
            untold: Untold::default(),
            aside: Aside::default(),
            has_pushed: Instant::now(),
            next_run: None,
            closed: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Item {
    /// Its run, if it is the first of that.
    pub next_run: Option<Arc<Run>>,
    /// What is missing before it.
    pub lost: Untold,
    /// What was counted before it and is in no item.
    pub aside: Aside,
    pub batch: Arc<Batch>,
    /// Whether the run has ended with it.
    pub ends: bool,
}

impl Shared {
    pub(super) fn new(filter: Filter, counts: bool) -> Self {
        Self {
            filter,
            counts,
            queue: Mutex::default(),
            queued: Condvar::new(),
            written: AtomicU64::new(0),
            written_events: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            events: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            satisfied: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an item is added, the queue is closed, or the time is over.
    pub(super) fn wait<'a>(&self, queue: MutexGuard<'a, Queue>, timeout: Option<Duration>) -> MutexGuard<'a, Queue> {
        match timeout {
            None => self.queued.wait(queue).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => self.queued.wait_timeout(queue, timeout).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Puts a batch into the queue. If the queue is full, its oldest events are lost. If nothing more will be written, the events of this
    /// batch are.
    pub(super) fn push(&self, batch: &Arc<Batch>) {
        self.push_item(batch, false);
    }

    pub(super) fn push_item(&self, batch: &Arc<Batch>, ends: bool) {
        let bytes = batch.bytes();
        let mut queue = self.queue();
        // Read while holding the lock: the thread sets it before it empties the queue.
        if self.ended.load(Relaxed) {
            return self.lose(&mut queue.untold, batch, LossReason::QueueFull);
        }
        while !queue.has_room(bytes) {
            let Some(oldest) = queue.items.pop_front() else { break };
            queue.leaves(&oldest.batch);
            let mut missing = oldest.lost;
            self.lose(&mut missing, &oldest.batch, LossReason::QueueFull);
            if self.counts {
                let mut aside = oldest.aside;
                self.count_aside(&mut aside, &oldest.batch);
                queue.aside_at_front().merge(aside);
            }
            queue.gap_at_front().merge(missing);
            match queue.items.front_mut() {
                Some(next) => next.next_run = next.next_run.take().or(oldest.next_run),
                None => queue.next_run = queue.next_run.take().or(oldest.next_run),
            }
        }
        let lost = std::mem::take(&mut queue.untold);
        let next_run = queue.next_run.take();
        queue.bytes += bytes;
        queue.pushed += 1;
        let aside = std::mem::take(&mut queue.aside);
        if self.counts {
            queue.has_pushed = Instant::now();
        }
        queue.items.push_back(Item { next_run, lost, aside, batch: Arc::clone(batch), ends });
        drop(queue);
        self.queued.notify_one();
    }

    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.queued.notify_one();
    }

    /// Counts the events of a batch as lost. The batch was not taken out of the queue to be written.
    pub(super) fn lose(&self, untold: &mut Untold, batch: &Batch, reason: LossReason) {
        let events = untold.add(&self.filter, batch, reason);
        self.events.fetch_add(events, Relaxed);
        self.lost.fetch_add(events, Relaxed);
    }

    /// Counts a batch whose wanted events are lost.
    pub(super) fn count_aside(&self, aside: &mut Aside, batch: &Batch) {
        let mut wanted = [0; Tracepoint::COUNT];
        batch.tracepoints(&self.filter).for_each(|tracepoint| wanted[tracepoint.index()] += 1);
        aside.add(batch, |tracepoint| wanted[tracepoint.index()]);
    }

    /// Whether the format gets all counters.
    pub(super) fn counts(&self) -> bool {
        self.counts
    }

    pub(super) fn set_failure(&self, failure: Option<io::Error>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Queue {
    /// A batch is written or lost.
    pub(super) fn leaves(&mut self, batch: &Batch) {
        self.bytes -= batch.bytes();
        self.past += 1;
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= QUEUE_BYTES
    }

    /// The gaps before the first item.
    fn gap_at_front(&mut self) -> &mut Untold {
        match self.items.front_mut() {
            Some(item) => &mut item.lost,
            None => &mut self.untold,
        }
    }

    fn aside_at_front(&mut self) -> &mut Aside {
        match self.items.front_mut() {
            Some(item) => &mut item.aside,
            None => &mut self.aside,
        }
    }
}

/// Gaps that are not written yet, summed up.
#[derive(Debug, Default)]
pub(crate) struct Untold(BTreeMap<(Tracepoint, LossReason), u64>);

impl Untold {
    /// Adds the events and gaps of a batch that is not written. Gives how many events these are.
    pub(crate) fn add(&mut self, filter: &Filter, batch: &Batch, reason: LossReason) -> u64 {
        let mut events = 0;
        batch.as_lost(filter, reason, |lost| {
            events += if lost.reason == reason { lost.count } else { 0 };
            self.add_gap(lost);
        });
        events
    }

    pub(crate) fn add_gap(&mut self, lost: Lost) {
        *self.0.entry((lost.tracepoint, lost.reason)).or_default() += lost.count;
    }

    pub(super) fn merge(&mut self, other: Untold) {
        other.gaps().for_each(|gap| self.add_gap(gap));
    }

    pub(super) fn first(&self) -> Option<Lost> {
        self.0.first_key_value().map(|(&(tracepoint, reason), &count)| Lost { tracepoint, reason, count })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the first gap, after it was written.
    pub(super) fn remove_first(&mut self) {
        self.0.pop_first();
    }

    /// Each gap, which stays.
    pub(crate) fn each(&self) -> impl Iterator<Item = Lost> {
        self.0.iter().map(|(&(tracepoint, reason), &count)| Lost { tracepoint, reason, count })
    }

    fn gaps(self) -> impl Iterator<Item = Lost> {
        self.0.into_iter().map(|((tracepoint, reason), count)| Lost { tracepoint, reason, count })
    }
}
