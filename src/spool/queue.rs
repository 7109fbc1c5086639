//! What waits for the thread that writes, and what both sides of it know. In: [`Batch`]es, bounded in bytes, and what is missing
//! between them. Out: [`Item`]s; those that wait longest make room for new ones, and are then missing.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    capture::{Batch, Run},
    event::Lost,
    selection::Filter,
    tracepoint::{LossReason, Tracepoint},
};

/// What may wait for the writer, in bytes of memory; a single larger batch may too.
const QUEUE_BYTES: usize = 8 << 20;

/// What the handle and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub filter: Filter,
    queue: Mutex<Queue>,
    /// There is more in the queue, or it is closed.
    queued: Condvar,
    pub written: AtomicU64,
    pub written_events: AtomicU64,
    pub written_bytes: AtomicU64,
    /// Events that are to be written and were taken from the queue, or out of it.
    pub events: AtomicU64,
    /// Events that found no room, or that writing failed for.
    pub lost: AtomicU64,
    /// Writing fails at the moment, and is tried again.
    pub interrupted: AtomicBool,
    /// Nothing more will be written.
    pub ended: AtomicBool,
    /// As many events as were asked for are written.
    pub satisfied: AtomicBool,
    /// What is not written yet is to be lost.
    pub abandoned: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// What waits for the thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub items: VecDeque<Item>,
    /// Of memory, those in the hands of the thread too.
    pub bytes: usize,
    /// What is missing after the last item.
    pub untold: Untold,
    /// The run that has begun after the last item.
    pub next_run: Option<Arc<Run>>,
    pub closed: bool,
}

#[derive(Debug)]
pub(super) struct Item {
    /// Its run, if it is the first of that.
    pub next_run: Option<Arc<Run>>,
    /// What is missing before it.
    pub lost: Untold,
    pub batch: Arc<Batch>,
}

impl Shared {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
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

    /// Until there is more in the queue, it is closed, or the time is up.
    pub(super) fn wait<'a>(&self, queue: MutexGuard<'a, Queue>, timeout: Option<Duration>) -> MutexGuard<'a, Queue> {
        match timeout {
            None => self.queued.wait(queue).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => self.queued.wait_timeout(queue, timeout).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Puts a batch into the queue. If that is full, the events that wait longest in it are lost, and if nothing more will be
    /// written, those of the batch.
    pub(super) fn push(&self, batch: &Arc<Batch>) {
        let bytes = batch.bytes();
        let mut queue = self.queue();
        // Asked with the queue in hand, which the thread empties after it has ended.
        if self.ended.load(Relaxed) {
            return self.lose(&mut queue.untold, batch, LossReason::QueueFull);
        }
        while !queue.has_room(bytes) {
            let Some(oldest) = queue.items.pop_front() else { break };
            queue.bytes -= oldest.batch.bytes();
            let mut missing = oldest.lost;
            self.lose(&mut missing, &oldest.batch, LossReason::QueueFull);
            queue.gap_at_front().merge(missing);
            match queue.items.front_mut() {
                Some(next) => next.next_run = next.next_run.take().or(oldest.next_run),
                None => queue.next_run = queue.next_run.take().or(oldest.next_run),
            }
        }
        let lost = std::mem::take(&mut queue.untold);
        let next_run = queue.next_run.take();
        queue.bytes += bytes;
        queue.items.push_back(Item { next_run, lost, batch: Arc::clone(batch) });
        drop(queue);
        self.queued.notify_one();
    }

    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.queued.notify_one();
    }

    /// Counts the events of a batch as lost that was not taken from the queue.
    pub(super) fn lose(&self, untold: &mut Untold, batch: &Batch, reason: LossReason) {
        let events = untold.add(&self.filter, batch, reason);
        self.events.fetch_add(events, Relaxed);
        self.lost.fetch_add(events, Relaxed);
    }

    pub(super) fn set_failure(&self, failure: Option<io::Error>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Queue {
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= QUEUE_BYTES
    }

    /// What is missing before the first item.
    fn gap_at_front(&mut self) -> &mut Untold {
        match self.items.front_mut() {
            Some(item) => &mut item.lost,
            None => &mut self.untold,
        }
    }
}

/// What a stream is missing, summed up.
#[derive(Debug, Default)]
pub(super) struct Untold(BTreeMap<(Tracepoint, LossReason), u64>);

impl Untold {
    /// Adds what is missing without a batch; gives how many events that are.
    fn add(&mut self, filter: &Filter, batch: &Batch, reason: LossReason) -> u64 {
        let mut events = 0;
        batch.as_lost(filter, reason, |lost| {
            events += if lost.reason == reason { lost.count } else { 0 };
            self.add_gap(lost);
        });
        events
    }

    pub(super) fn add_gap(&mut self, lost: Lost) {
        *self.0.entry((lost.tracepoint, lost.reason)).or_default() += lost.count;
    }

    pub(super) fn merge(&mut self, other: Untold) {
        other.gaps().for_each(|gap| self.add_gap(gap));
    }

    pub(super) fn first(&self) -> Option<Lost> {
        self.0.first_key_value().map(|(&(tracepoint, reason), &count)| Lost { tracepoint, reason, count })
    }

    /// The first one is told.
    pub(super) fn remove_first(&mut self) {
        self.0.pop_first();
    }

    fn gaps(self) -> impl Iterator<Item = Lost> {
        self.0.into_iter().map(|((tracepoint, reason), count)| Lost { tracepoint, reason, count })
    }
}
