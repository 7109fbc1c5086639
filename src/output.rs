//! JSON lines to a writer, by a thread of their own, so that a slow or stopped reader holds up nothing else. In:
//! [`Batch`]es, bounded in bytes. Out: a line for each event, and for each gap before the event that it precedes.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    event::{Event, Kind, Lost, Moment, Time},
    json::{self, Style},
    privileges,
    tap::{self, Batch},
    tracepoint::{LossReason, Tracepoint},
};

/// What may wait for the writer, in bytes of memory; a single larger batch may too.
const QUEUE_BYTES: usize = 8 << 20;
const BUFFER_BYTES: usize = 64 << 10;
/// How often the end of the thread is looked for.
const FINISH_INTERVAL: Duration = Duration::from_millis(1);
/// How long a writer that does not block is left alone when it can take no more.
const WRITER_INTERVAL: Duration = Duration::from_millis(1);
/// What an abandoned thread that can still write takes to write what is missing.
const LAST_LINE_PATIENCE: Duration = Duration::from_millis(100);

/// Where JSON lines go.
#[derive(Debug)]
pub struct Output {
    queue: Option<mpsc::Sender<Item>>,
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
    /// What is missing before the next batch.
    untold: Untold,
    /// Events that were to be written.
    events: u64,
    /// Bytes that had left, and when that was seen.
    progress: (u64, Instant),
}

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    written: AtomicU64,
    written_events: AtomicU64,
    written_bytes: AtomicU64,
    /// Events that found the queue full, or that writing failed for.
    lost: AtomicU64,
    /// Nothing more will be written.
    ended: AtomicBool,
    /// As many events as were asked for are written.
    satisfied: AtomicBool,
    /// What is not written yet is to be lost.
    abandoned: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

struct Item {
    lost: Untold,
    batch: Arc<Batch>,
}

/// How an [`Output`] ended.
#[derive(Debug)]
pub struct Outcome {
    /// Lines written.
    pub written: u64,
    /// Events that were to be written and could not be.
    pub lost: u64,
    /// Why writing failed, unless that was told before.
    pub failure: Option<io::Error>,
}

impl Output {
    /// Starts the thread, which has no capabilities. It writes until `count` events are written, if that is given, or writing fails.
    pub fn start(writer: impl Write + Send + 'static, style: Style, count: Option<u64>) -> io::Result<Output> {
        let (queue, items) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let counted = Counted { writer, bytes: 0, shared: Arc::clone(&shared) };
        let lines = Lines {
            out: BufWriter::with_capacity(BUFFER_BYTES, counted),
            style,
            left: count.unwrap_or(u64::MAX),
            untold: Untold::default(),
            unwritten: VecDeque::new(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("json".into()).spawn(move || {
            privileges::drop_all_of_thread();
            lines.run(&items);
        })?;
        Ok(Output {
            queue: Some(queue),
            shared,
            thread,
            untold: Untold::default(),
            events: 0,
            progress: (0, Instant::now()),
        })
    }

    /// Whether the queue has room for a batch that takes so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        let queued = self.shared.queued_bytes.load(Relaxed);
        queued == 0 || queued + bytes <= QUEUE_BYTES
    }

    /// Hands a batch over. If the queue is full, or the writer has failed, its events are counted as lost.
    pub fn push(&mut self, batch: &Arc<Batch>) {
        if batch.is_empty() || self.shared.satisfied.load(Relaxed) {
            return;
        }
        let bytes = batch.bytes();
        let Some(queue) = self.queue.as_ref().filter(|_| !self.has_ended() && self.has_room(bytes)) else {
            return self.lose(batch, LossReason::QueueFull);
        };
        self.events += batch.tracepoints().count() as u64;
        let lost = std::mem::take(&mut self.untold);
        self.shared.queued_bytes.fetch_add(bytes, Relaxed);
        // The thread receives until the queue is closed.
        let _ = queue.send(Item { lost, batch: Arc::clone(batch) });
    }

    /// Counts the events of a batch as lost, and tells so before the next that is written.
    pub fn lose(&mut self, batch: &Batch, reason: LossReason) {
        if !self.shared.satisfied.load(Relaxed) {
            let events = self.untold.add(batch, reason);
            self.events += events;
            self.shared.lost.fetch_add(events, Relaxed);
        }
    }

    /// Tells before the next event that is written what the kernel side has lost.
    pub fn miss(&mut self, gaps: Vec<Lost>) {
        gaps.into_iter().for_each(|gap| self.untold.add_gap(gap));
    }

    /// Lines written so far.
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
    pub fn finish(mut self, hurry: impl Fn(&mut Output) -> bool) -> Outcome {
        let lost = std::mem::take(&mut self.untold);
        if let Some(queue) = self.queue.take() {
            let _ = queue.send(Item { lost, batch: Arc::default() });
        }
        while !self.thread.is_finished() && !hurry(&mut self) {
            thread::sleep(FINISH_INTERVAL);
        }
        // A thread that can still write ends with a whole line.
        self.shared.abandoned.store(true, Relaxed);
        let deadline = Instant::now() + LAST_LINE_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(FINISH_INTERVAL);
        }
        let satisfied = self.shared.satisfied.load(Relaxed);
        // A thread that is stuck has not counted what is still queued.
        let lost = self.events - self.shared.written_events.load(Relaxed);
        Outcome { written: self.lines_written(), lost: if satisfied { 0 } else { lost }, failure: self.take_failure() }
    }
}

/// What a stream is missing, summed up.
#[derive(Debug, Default)]
struct Untold(BTreeMap<(Tracepoint, LossReason), u64>);

impl Untold {
    /// Adds what is missing without a batch; gives how many events that are.
    fn add(&mut self, batch: &Batch, reason: LossReason) -> u64 {
        let mut events = 0;
        batch.as_lost(reason, |lost| {
            events += u64::from(lost.reason == reason);
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

    fn gaps(self) -> impl Iterator<Item = Lost> {
        self.0.into_iter().map(|((tracepoint, reason), count)| Lost { tracepoint, reason, count })
    }
}

/// The thread's side.
struct Lines<W: Write> {
    out: BufWriter<Counted<W>>,
    style: Style,
    /// Events until the end.
    left: u64,
    /// What is missing before the next event.
    untold: Untold,
    /// Lines that have not left the buffer: where each ends, and whether it is an event.
    unwritten: VecDeque<(u64, bool)>,
    shared: Arc<Shared>,
}

impl<W: Write> Lines<W> {
    fn run(mut self, items: &mpsc::Receiver<Item>) {
        if let Err(error) = self.write_all(items) {
            self.account();
            let unwritten = self.unwritten.iter().filter(|&&(_, is_event)| is_event).count();
            self.shared.lost.fetch_add(unwritten as u64, Relaxed);
            *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        self.shared.satisfied.store(self.left == 0, Relaxed);
        self.shared.ended.store(true, Relaxed);
        // Not dropped, which would try to write the buffer once more.
        let _ = self.out.into_parts();
        for item in items {
            if self.left > 0 {
                self.shared.lost.fetch_add(Untold::default().add(&item.batch, LossReason::QueueFull), Relaxed);
            }
        }
    }

    fn write_all(&mut self, items: &mpsc::Receiver<Item>) -> io::Result<()> {
        while let Some(Item { lost, batch }) = self.next(items)? {
            self.untold.merge(lost);
            if self.shared.abandoned.load(Relaxed) {
                self.shared.lost.fetch_add(self.untold.add(&batch, LossReason::QueueFull), Relaxed);
                continue;
            }
            let result = self.write(&batch);
            self.account();
            self.shared.queued_bytes.fetch_sub(batch.bytes(), Relaxed);
            result?;
            if self.left == 0 {
                return self.flush();
            }
        }
        self.gaps(tap::now())?;
        self.flush()
    }

    /// Flushes before it waits: a line is seen when it is there.
    fn next(&mut self, items: &mpsc::Receiver<Item>) -> io::Result<Option<Item>> {
        match items.try_recv() {
            Ok(item) => Ok(Some(item)),
            Err(_) => {
                self.flush()?;
                Ok(items.recv().ok())
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut result = Ok(());
        let (mut lost, mut events, mut end) = (0, 0, None);
        batch.each(|event| {
            if let Kind::Lost(gap) = event.kind {
                // Told before the event that follows, with that one's time.
                self.untold.add_gap(gap);
                return;
            }
            // Time may be up in the middle of a batch.
            if end.is_none() && self.shared.abandoned.load(Relaxed) {
                end = Some(events);
            }
            events += 1;
            if result.is_err() {
                lost += 1;
            } else if self.left > 0 && end.is_none() {
                result = self.gaps((event.time, event.moment)).and_then(|()| self.line(&event, true));
                match result {
                    Ok(()) => self.left -= 1,
                    Err(_) => lost += 1,
                }
            }
        });
        if let (Some(end), Ok(())) = (end, &result) {
            for tracepoint in batch.tracepoints().skip(end) {
                self.untold.add_gap(Lost { tracepoint, reason: LossReason::QueueFull, count: 1 });
                lost += 1;
            }
        }
        self.shared.lost.fetch_add(lost, Relaxed);
        result
    }

    fn gaps(&mut self, (time, moment): (Time, Moment)) -> io::Result<()> {
        if self.untold.0.is_empty() {
            return Ok(());
        }
        let mut gaps = std::mem::take(&mut self.untold).gaps();
        gaps.try_for_each(|gap| self.line(&Event { time, moment, kind: Kind::Lost(gap) }, false))
    }

    fn line(&mut self, event: &Event<'_>, is_event: bool) -> io::Result<()> {
        json::write_line(&mut self.out, event, self.style)?;
        let end = self.out.get_ref().bytes + self.out.buffer().len() as u64;
        self.unwritten.push_back((end, is_event));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.account();
        result
    }

    /// A line counts as written when it has left the buffer.
    fn account(&mut self) {
        let written = self.unwritten.partition_point(|&(end, _)| end <= self.out.get_ref().bytes);
        let events = self.unwritten.drain(..written).filter(|&(_, is_event)| is_event).count();
        self.shared.written.fetch_add(written as u64, Relaxed);
        self.shared.written_events.fetch_add(events as u64, Relaxed);
    }
}

/// A writer that knows how much it has taken, and that waits where the one inside, set not to block, would fail.
#[derive(Debug)]
struct Counted<W> {
    writer: W,
    bytes: u64,
    shared: Arc<Shared>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
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
        self.writer.flush()
    }
}
