//! Events to a writer, by a thread of its own, so that a slow or stopped reader holds up nothing else. In: [`Batch`]es, bounded
//! in bytes; those that wait longest make room for new ones. Out, in some [`Format`]: each event that is wanted, and each gap
//! before the event that it precedes. A destination that fails may work again later: what waits is written then, as far as it
//! still waits.

mod destination;
mod file;
mod rotation;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufWriter, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use destination::Plain;
pub use destination::{Destination, Place};
pub use rotation::{Limits, Rotation};

use crate::{
    capture::{self, Asked, Batch},
    event::{Event, Kind, Lost, Moment, Time},
    json::{self, BytesStyle, PayloadStyle, Style},
    privileges,
    selection::{Filter, Selection},
    tracepoint::{LossReason, Tracepoint},
};

/// What may wait for the writer, in bytes of memory; a single larger batch may too.
const QUEUE_BYTES: usize = 8 << 20;
const BUFFER_BYTES: usize = 64 << 10;
/// How often the end of the thread is looked for.
pub(crate) const FINISH_INTERVAL: Duration = Duration::from_millis(1);
/// How long a writer that does not block is left alone when it can take no more.
const WRITER_INTERVAL: Duration = Duration::from_millis(1);
/// How often a destination is flushed and looked after, and how long one that fails is left alone.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What an abandoned thread that can still write takes to write what is missing.
pub(crate) const LAST_LINE_PATIENCE: Duration = Duration::from_millis(100);

/// How events are written.
pub trait Format: Send + 'static {
    /// Whether it needs the payloads of messages decoded.
    fn decodes(&self) -> bool {
        true
    }

    /// Writes what comes before all events.
    fn begin(&mut self, _out: &mut impl Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes an event, or a gap.
    fn event(&mut self, out: &mut impl Write, event: &Event<'_>) -> io::Result<()>;

    /// What comes next is of another run of the node, whose numbers of peers start anew.
    fn next_run(&mut self) {}

    /// Writes what comes after all events.
    fn end(&mut self, _out: &mut impl Write, _time: Time) -> io::Result<()> {
        Ok(())
    }
}

/// A line of JSON for each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonLines {
    /// How they are written.
    pub style: Style,
    /// Whether messages are written without their payload, which is then not decoded.
    pub without_payload: bool,
}

impl JsonLines {
    /// Not indented.
    pub fn new(bytes: BytesStyle, payload: PayloadStyle) -> Self {
        let style = Style { bytes, pretty: false, raw: payload == PayloadStyle::Raw };
        Self { style, without_payload: payload == PayloadStyle::None }
    }
}

impl Format for JsonLines {
    fn decodes(&self) -> bool {
        !self.without_payload
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>) -> io::Result<()> {
        json::write_line(out, event, self.style)
    }
}

/// Where events go. Dropped, it writes nothing more, and its thread ends as soon as the writer lets it.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
    /// Bytes that had left, and when that was seen.
    progress: (u64, Instant),
}

#[derive(Debug)]
struct Shared {
    filter: Filter,
    queue: Mutex<Queue>,
    /// There is more in the queue, or it is closed.
    queued: Condvar,
    written: AtomicU64,
    written_events: AtomicU64,
    written_bytes: AtomicU64,
    /// Events that are to be written and were taken from the queue, or out of it.
    events: AtomicU64,
    /// Events that found no room, or that writing failed for.
    lost: AtomicU64,
    /// Writing fails at the moment, and is tried again.
    interrupted: AtomicBool,
    /// Nothing more will be written.
    ended: AtomicBool,
    /// As many events as were asked for are written.
    satisfied: AtomicBool,
    /// What is not written yet is to be lost.
    abandoned: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Of memory, those in the hands of the thread too.
    bytes: usize,
    /// What is missing after the last item.
    untold: Untold,
    /// Whether a run has ended after the last item.
    run_ended: bool,
    closed: bool,
}

#[derive(Debug)]
struct Item {
    /// Whether it is the first of its run.
    next_run: bool,
    lost: Untold,
    batch: Arc<Batch>,
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
        Self::start_any(destination, lines, wanted, count)
    }

    fn start_any(
        writer: impl Destination,
        format: impl Format,
        wanted: &Selection,
        count: Option<u64>,
    ) -> io::Result<Spool> {
        let shared = Arc::new(Shared {
            filter: wanted.compile(),
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
        });
        let counted = Counted { writer, bytes: 0, discards: false, shared: Arc::clone(&shared) };
        let writing = Writing {
            out: BufWriter::with_capacity(BUFFER_BYTES, counted),
            format,
            left: count.unwrap_or(u64::MAX),
            untold: Untold::default(),
            unwritten: VecDeque::new(),
            whole: 0,
            looked_after: None,
            lost_before: 0,
            outage: None,
            shared: Arc::clone(&shared),
        };
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
        let bytes = batch.bytes();
        let mut queue = self.shared.queue();
        // Asked with the queue in hand, which the thread empties after it has ended.
        if self.has_ended() {
            return self.shared.lose(&mut queue.untold, batch, LossReason::QueueFull);
        }
        while !queue.has_room(bytes) {
            let Some(oldest) = queue.items.pop_front() else { break };
            queue.bytes -= oldest.batch.bytes();
            let mut missing = oldest.lost;
            self.shared.lose(&mut missing, &oldest.batch, LossReason::QueueFull);
            queue.gap_at_front().merge(missing);
            match queue.items.front_mut() {
                Some(next) => next.next_run |= oldest.next_run,
                None => queue.run_ended |= oldest.next_run,
            }
        }
        let lost = std::mem::take(&mut queue.untold);
        let next_run = std::mem::take(&mut queue.run_ended);
        queue.bytes += bytes;
        queue.items.push_back(Item { next_run, lost, batch: Arc::clone(batch) });
        drop(queue);
        self.shared.queued.notify_one();
    }

    /// Counts the events of a batch as lost, and tells so before the next that is written.
    pub fn lose(&self, batch: &Batch, reason: LossReason) {
        if !self.shared.satisfied.load(Relaxed) {
            self.shared.lose(&mut self.shared.queue().untold, batch, reason);
        }
    }

    /// A run of the node has ended. Tells before the next event that is written what the kernel side has lost at its end.
    pub fn run_ended(&self, gaps: &[Lost]) {
        let wanted = gaps.iter().filter(|gap| self.shared.filter.wants(gap.tracepoint));
        let mut queue = self.shared.queue();
        wanted.for_each(|&gap| queue.untold.add_gap(gap));
        queue.run_ended = true;
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
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
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
        self.shared.queue().closed = true;
        self.shared.queued.notify_one();
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

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>, timeout: Duration) -> MutexGuard<'a, Queue> {
        self.queued.wait_timeout(queue, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Counts the events of a batch as lost that was not taken from the queue.
    fn lose(&self, untold: &mut Untold, batch: &Batch, reason: LossReason) {
        let events = untold.add(&self.filter, batch, reason);
        self.events.fetch_add(events, Relaxed);
        self.lost.fetch_add(events, Relaxed);
    }
}

impl Queue {
    fn has_room(&self, bytes: usize) -> bool {
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
struct Untold(BTreeMap<(Tracepoint, LossReason), u64>);

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

    fn add_gap(&mut self, lost: Lost) {
        *self.0.entry((lost.tracepoint, lost.reason)).or_default() += lost.count;
    }

    fn merge(&mut self, other: Untold) {
        other.gaps().for_each(|gap| self.add_gap(gap));
    }

    fn first(&self) -> Option<Lost> {
        self.0.first_key_value().map(|(&(tracepoint, reason), &count)| Lost { tracepoint, reason, count })
    }

    fn gaps(self) -> impl Iterator<Item = Lost> {
        self.0.into_iter().map(|((tracepoint, reason), count)| Lost { tracepoint, reason, count })
    }
}

/// The thread's side.
struct Writing<D: Destination, F> {
    out: BufWriter<Counted<D>>,
    format: F,
    /// Events until the end.
    left: u64,
    /// What is missing before the next event.
    untold: Untold,
    /// Lines that have not left the buffer, and where each ends.
    unwritten: VecDeque<(u64, Line)>,
    /// Where the last line ends that has.
    whole: u64,
    /// When the destination was flushed and looked after.
    looked_after: Option<Instant>,
    /// What was lost before the last batch that was begun.
    lost_before: u64,
    outage: Option<Outage>,
    shared: Arc<Shared>,
}

/// What a line tells.
#[derive(Clone, Copy, Debug)]
enum Line {
    Event(Tracepoint),
    Gap(Lost),
}

/// A destination has failed, and it is not known for long enough that it works again.
#[derive(Debug)]
struct Outage {
    /// What was lost before it.
    lost_before: u64,
    /// Since when it seems to work again.
    works_since: Option<Instant>,
}

impl<D: Destination, F: Format> Writing<D, F> {
    fn run(mut self) {
        // What is not there yet is told at once, and not with the first event.
        let mut result = self.format.begin(&mut self.out).and_then(|()| self.look_after());
        while let Err(error) = result.and_then(|()| self.write_all()) {
            result = self.recover(error);
            if let Err(error) = result {
                // One that would block was waited for as long as there was time.
                let failure = Some(error).filter(|error| error.kind() != io::ErrorKind::WouldBlock);
                *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
                break;
            }
        }
        self.shared.satisfied.store(self.left == 0, Relaxed);
        self.shared.ended.store(true, Relaxed);
        // Not dropped, which would try to write the buffer once more.
        let _ = self.out.into_parts();
        let left_over = std::mem::take(&mut *self.shared.queue());
        for item in left_over.items.iter().filter(|_| self.left > 0) {
            self.shared.lose(&mut Untold::default(), &item.batch, LossReason::QueueFull);
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        while let Some(Item { next_run, lost, batch }) = self.next()? {
            if next_run {
                self.format.next_run();
            }
            self.untold.merge(lost);
            if self.shared.abandoned.load(Relaxed) {
                self.shared.lose(&mut self.untold, &batch, LossReason::QueueFull);
                continue;
            }
            let result = self.write(&batch);
            self.account();
            self.shared.queue().bytes -= batch.bytes();
            result?;
            if self.left == 0 {
                break;
            }
        }
        let (time, moment) = capture::now();
        if self.left > 0 {
            self.gaps((time, moment))?;
        }
        self.format.end(&mut self.out, time)?;
        self.flush()?;
        self.end_outage();
        Ok(())
    }

    /// Flushes before it waits: a line is seen when it is there. None when the queue is closed.
    fn next(&mut self) -> io::Result<Option<Item>> {
        let mut flushed = false;
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        loop {
            // Also when there is always more; and before anything is taken, which would be lost if that fails.
            if !queue.items.is_empty() && self.looked_after.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
                drop(queue);
                self.look_after()?;
                queue = shared.queue();
            }
            if let Some(item) = queue.items.pop_front() {
                return Ok(Some(item));
            }
            if queue.closed {
                self.untold.merge(std::mem::take(&mut queue.untold));
                return Ok(None);
            }
            if !flushed {
                drop(queue);
                self.flush()?;
                flushed = true;
                queue = shared.queue();
                continue;
            }
            queue = match self.outage {
                None => shared.queued.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(_) => shared.wait(queue, LOOK_INTERVAL),
            };
            self.end_outage_if_over();
        }
    }

    /// Writes the events of a batch.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // Asked once, and before any is written: a thread that is stuck with one has counted them all.
        let asked: Vec<Asked> = batch.asked(&shared.filter).collect();
        let wanted = asked.iter().filter(|asked| matches!(asked, Asked::Wanted(_))).count();
        shared.events.fetch_add(wanted as u64, Relaxed);
        self.lost_before = shared.lost.load(Relaxed);
        let mut result = Ok(());
        // Why no more are written.
        let mut end = None;
        for (index, asked) in asked.into_iter().enumerate() {
            match asked {
                Asked::Unwanted => {}
                // Told before the event that follows, with that one's time.
                Asked::Gaps => batch.event_or_gaps(index, false, |event| match event.kind {
                    Kind::Lost(gap) if shared.filter.wants(gap.tracepoint) => self.untold.add_gap(gap),
                    _ => {}
                }),
                Asked::Wanted(_) if self.left == 0 => {}
                Asked::Wanted(tracepoint) => {
                    // Time may be up in the middle of a batch.
                    if end.is_none() && shared.abandoned.load(Relaxed) {
                        end = Some(LossReason::QueueFull);
                    }
                    if end.is_none() {
                        batch.event_or_gaps(index, self.format.decodes(), |event| {
                            result = self.event(&event, Line::Event(tracepoint));
                        });
                        end = result.as_ref().err().map(|_| LossReason::WriteFailed);
                    }
                    if let Some(reason) = end {
                        self.untold.add_gap(Lost { tracepoint, reason, count: 1 });
                        shared.lost.fetch_add(1, Relaxed);
                    }
                }
            }
        }
        result
    }

    fn event(&mut self, event: &Event<'_>, line: Line) -> io::Result<()> {
        self.gaps((event.time, event.moment))?;
        self.line(event, line)?;
        self.left -= 1;
        Ok(())
    }

    fn gaps(&mut self, (time, moment): (Time, Moment)) -> io::Result<()> {
        while let Some(gap) = self.untold.first() {
            self.line(&Event { time, moment, kind: Kind::Lost(gap) }, Line::Gap(gap))?;
            self.untold.0.pop_first();
        }
        Ok(())
    }

    fn line(&mut self, event: &Event<'_>, line: Line) -> io::Result<()> {
        if self.destination().is_full(self.out.buffer().len()) {
            self.look_after()?;
        }
        self.format.event(&mut self.out, event)?;
        let end = self.out.get_ref().bytes + self.out.buffer().len() as u64;
        self.unwritten.push_back((end, line));
        Ok(())
    }

    fn destination(&self) -> &D {
        &self.out.get_ref().writer
    }

    fn destination_mut(&mut self) -> &mut D {
        &mut self.out.get_mut().writer
    }

    /// Between two lines.
    fn look_after(&mut self) -> io::Result<()> {
        self.looked_after = Some(Instant::now());
        self.flush()?;
        self.end_outage_if_over();
        self.destination_mut().look_after()
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.account();
        result
    }

    /// A line counts as written when it has left the buffer.
    fn account(&mut self) {
        let written = self.unwritten.partition_point(|&(end, _)| end <= self.out.get_ref().bytes);
        let mut events = 0;
        for (end, line) in self.unwritten.drain(..written) {
            self.whole = end;
            events += u64::from(matches!(line, Line::Event(_)));
        }
        self.shared.written.fetch_add(written as u64, Relaxed);
        self.shared.written_events.fetch_add(events, Relaxed);
    }

    /// After a failure: until it works again, or the end.
    fn recover(&mut self, mut error: io::Error) -> io::Result<()> {
        let mut may_work_again = self.give_up_unwritten();
        if may_work_again && !self.shared.abandoned.load(Relaxed) {
            self.begin_outage(&error);
        }
        while may_work_again && !self.shared.abandoned.load(Relaxed) {
            let is_last = self.wait_to_retry();
            match self.retry() {
                Ok(()) => {
                    self.outage.as_mut().expect("it has begun").works_since = Some(Instant::now());
                    self.shared.interrupted.store(false, Relaxed);
                    return Ok(());
                }
                Err(again) => error = again,
            }
            may_work_again = self.give_up_unwritten() && !is_last;
        }
        Err(error)
    }

    /// First of all what was lost, which shows whether it works without that anything is risked.
    fn retry(&mut self) -> io::Result<()> {
        self.destination_mut().reopen()?;
        let waits_longest = self.shared.queue().items.front().map(|item| item.batch.drained());
        self.gaps(waits_longest.unwrap_or_else(capture::now))?;
        self.flush()
    }

    /// What has not left the buffer is lost. Gives whether the destination may ever work again.
    fn give_up_unwritten(&mut self) -> bool {
        self.account();
        let torn = self.out.get_ref().bytes - self.whole;
        self.whole = self.out.get_ref().bytes;
        let mut events = 0;
        for (_, line) in std::mem::take(&mut self.unwritten) {
            match line {
                Line::Event(tracepoint) => {
                    events += 1;
                    self.untold.add_gap(Lost { tracepoint, reason: LossReason::WriteFailed, count: 1 });
                }
                Line::Gap(gap) => self.untold.add_gap(gap),
            }
        }
        self.left = self.left.saturating_add(events);
        self.shared.lost.fetch_add(events, Relaxed);
        self.out.get_mut().discards = true;
        let _ = self.out.flush();
        self.out.get_mut().discards = false;
        self.destination_mut().has_failed(torn)
    }

    fn begin_outage(&mut self, error: &io::Error) {
        self.shared.interrupted.store(true, Relaxed);
        match &mut self.outage {
            // It did not work for long.
            Some(outage) => outage.works_since = None,
            None => {
                let name = self.destination().name();
                tracing::error!(
                    "cannot write JSON lines to {name}: {error}; it is tried again every second, and what cannot wait is lost"
                );
                self.outage = Some(Outage { lost_before: self.lost_before, works_since: None });
            }
        }
    }

    fn end_outage_if_over(&mut self) {
        let works_since = self.outage.as_ref().and_then(|outage| outage.works_since);
        if works_since.is_some_and(|since| since.elapsed() >= LOOK_INTERVAL) {
            self.end_outage();
        }
    }

    fn end_outage(&mut self) {
        if let Some(Outage { lost_before, .. }) = self.outage.take() {
            let lost = self.shared.lost.load(Relaxed) - lost_before;
            tracing::info!(lost, "JSON lines are written to {} again", self.destination().name());
        }
    }

    /// Leaves the destination alone for a while, if there is time: the end, which it tells, comes first.
    fn wait_to_retry(&self) -> bool {
        let deadline = Instant::now() + LOOK_INTERVAL;
        let mut queue = self.shared.queue();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if queue.closed || left.is_zero() {
                return queue.closed;
            }
            queue = self.shared.wait(queue, left);
        }
    }
}

/// A writer that knows how much it has taken, that gives up what is in a buffer before it, and that waits where the one inside, set not to block, would fail.
#[derive(Debug)]
struct Counted<W> {
    writer: W,
    bytes: u64,
    /// What comes is given up.
    discards: bool,
    shared: Arc<Shared>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.discards {
            return Ok(buffer.len());
        }
        loop {
            match self.writer.write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.shared.abandoned.load(Relaxed) => {
                    thread::sleep(WRITER_INTERVAL);
                }
                result => {
                    self.bytes += *result.as_ref().unwrap_or(&0) as u64;
                    self.shared.written_bytes.store(self.bytes, Relaxed);
                    return result;
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.discards { Ok(()) } else { self.writer.flush() }
    }
}
