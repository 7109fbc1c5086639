//! JSON lines to a writer, by a thread of their own, so that a slow or stopped reader holds up nothing else. In:
//! [`Batch`]es, bounded in bytes. Out: a line for each event, and for each gap before the event that it precedes.

use std::{
    collections::BTreeMap,
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
    event::{Event, Kind, Lost, Time},
    json::{self, Style},
    tap::{self, Batch},
    tracepoint::{LossReason, Tracepoint},
};

/// What may wait for the writer, in bytes of records; a single larger batch may too.
const QUEUE_BYTES: usize = 8 << 20;

const BUFFER_BYTES: usize = 64 << 10;
const FINISH_INTERVAL: Duration = Duration::from_millis(1);
const LAST_LINE_PATIENCE: Duration = Duration::from_millis(100);

/// Where JSON lines go.
#[derive(Debug)]
pub struct Output {
    queue: Option<mpsc::Sender<Item>>,
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
    /// What the stream is missing and has not told yet.
    untold: Untold,
}

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    written: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
    abandoned: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

struct Item {
    /// What is missing before the batch.
    lost: Vec<Lost>,
    batch: Arc<Batch>,
}

impl Output {
    /// Starts the thread. It writes until `count` events are written, if that is given, or writing fails.
    pub fn start(writer: impl Write + Send + 'static, style: Style, count: Option<u64>) -> io::Result<Output> {
        let (queue, items) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let lines = Lines {
            out: BufWriter::with_capacity(BUFFER_BYTES, writer),
            style,
            left: count.unwrap_or(u64::MAX),
            lines: 0,
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("json".into()).spawn(move || lines.run(&items))?;
        Ok(Output { queue: Some(queue), shared, thread, untold: Untold::default() })
    }

    /// Whether the queue has room for a batch of so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        let queued = self.shared.queued_bytes.load(Relaxed);
        queued == 0 || queued + bytes <= QUEUE_BYTES
    }

    /// Hands a batch over. If the queue is full, or the writer has failed, its events are counted as lost.
    pub fn push(&mut self, batch: &Arc<Batch>) {
        let bytes = batch.bytes();
        let queue = self.queue.as_ref().filter(|_| !self.has_ended() && self.has_room(bytes));
        let Some(queue) = queue else {
            self.shared.lost.fetch_add(self.untold.add(batch), Relaxed);
            return;
        };
        let lost = self.untold.take();
        self.shared.queued_bytes.fetch_add(bytes, Relaxed);
        // The thread receives until the queue is closed.
        let _ = queue.send(Item { lost, batch: Arc::clone(batch) });
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

    /// Why writing failed, once; a closed pipe is no failure.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes what is queued, and last the gaps that no event will tell. When `hurry` says so, what is not written by
    /// then is counted as lost: a reader that has stopped reading cannot hold up the end.
    pub fn finish(mut self, untold: Vec<Lost>, hurry: impl Fn() -> bool) -> Outcome {
        let mut lost = self.untold.take();
        lost.extend(untold);
        if let Some(queue) = self.queue.take() {
            let _ = queue.send(Item { lost, batch: Arc::default() });
        }
        while !self.thread.is_finished() && !hurry() {
            thread::sleep(FINISH_INTERVAL);
        }
        // A thread that can still write ends with a whole line.
        self.shared.abandoned.store(true, Relaxed);
        let deadline = Instant::now() + LAST_LINE_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(FINISH_INTERVAL);
        }
        Outcome { written: self.lines_written(), lost: self.lines_lost(), failure: self.take_failure() }
    }
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

/// What a stream is missing, summed up.
#[derive(Debug, Default)]
struct Untold(BTreeMap<(Tracepoint, LossReason), u64>);

impl Untold {
    /// Adds what is missing without a batch; gives how many events that are.
    fn add(&mut self, batch: &Batch) -> u64 {
        let mut events = 0;
        batch.as_lost(LossReason::QueueFull, |lost| {
            events += u64::from(lost.reason == LossReason::QueueFull);
            *self.0.entry((lost.tracepoint, lost.reason)).or_default() += lost.count;
        });
        events
    }

    fn take(&mut self) -> Vec<Lost> {
        let lost = |((tracepoint, reason), count)| Lost { tracepoint, reason, count };
        std::mem::take(&mut self.0).into_iter().map(lost).collect()
    }
}

/// The thread's side.
struct Lines<W: Write> {
    out: BufWriter<W>,
    style: Style,
    /// Events until the end.
    left: u64,
    /// Lines given to `out`.
    lines: u64,
    shared: Arc<Shared>,
}

impl<W: Write> Lines<W> {
    fn run(mut self, items: &mpsc::Receiver<Item>) {
        if let Err(error) = self.write_all(items) {
            // The line that failed, and those before it that got no further than the buffer.
            self.account();
            self.shared.lost.fetch_add(1 + self.buffered(), Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
        self.shared.ended.store(true, Relaxed);
        // Not dropped, which would try to write the buffer once more.
        let _ = self.out.into_parts();
        for item in items {
            self.shared.lost.fetch_add(Untold::default().add(&item.batch), Relaxed);
        }
    }

    fn write_all(&mut self, items: &mpsc::Receiver<Item>) -> io::Result<()> {
        let mut abandoned = Untold::default();
        while let Some(item) = self.next(items)? {
            if self.shared.abandoned.load(Relaxed) {
                self.shared.lost.fetch_add(abandoned.add(&item.batch), Relaxed);
                continue;
            }
            let bytes = item.batch.bytes();
            let result = self.write(item);
            self.account();
            self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            result?;
            if self.left == 0 {
                break;
            }
        }
        self.gaps(tap::now(), &mut abandoned.take())?;
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

    fn write(&mut self, item: Item) -> io::Result<()> {
        let Item { mut lost, batch } = item;
        let mut result = Ok(());
        let mut unwritten = 0;
        batch.each(|event| {
            if result.is_err() {
                unwritten += u64::from(!matches!(event.kind, Kind::Lost(_)));
            } else if self.left > 0 {
                result = self.event(event, &mut lost);
            }
        });
        self.shared.lost.fetch_add(unwritten, Relaxed);
        result?;
        // Only the last item has gaps and no event after them.
        if self.left > 0 { self.gaps(tap::now(), &mut lost) } else { Ok(()) }
    }

    fn event(&mut self, event: Event<'_>, lost: &mut Vec<Lost>) -> io::Result<()> {
        self.gaps(event.time, lost)?;
        self.line(&event)?;
        self.left -= u64::from(!matches!(event.kind, Kind::Lost(_)));
        Ok(())
    }

    fn gaps(&mut self, time: Time, lost: &mut Vec<Lost>) -> io::Result<()> {
        lost.drain(..).try_for_each(|lost| self.line(&Event { time, kind: Kind::Lost(lost) }))
    }

    fn line(&mut self, event: &Event<'_>) -> io::Result<()> {
        json::write_line(&mut self.out, event, self.style)?;
        self.lines += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.account();
        result
    }

    /// A line counts as written when it has left the buffer.
    fn account(&self) {
        self.shared.written.store(self.lines - self.buffered().min(self.lines), Relaxed);
    }

    fn buffered(&self) -> u64 {
        self.out.buffer().iter().filter(|&&byte| byte == b'\n').count() as u64
    }
}
