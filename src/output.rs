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
    tap::Batch,
    tracepoint::{LossReason, Tracepoint},
};

/// What may wait for the writer, in bytes of records; a single larger batch may too.
const QUEUE_BYTES: usize = 8 << 20;

const FINISH_INTERVAL: Duration = Duration::from_millis(1);
const LAST_LINE_PATIENCE: Duration = Duration::from_millis(100);

/// Where JSON lines go.
#[derive(Debug)]
pub struct Output {
    queue: Option<mpsc::Sender<Item>>,
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
    /// Events that found the queue full and are not told yet.
    dropped: BTreeMap<Tracepoint, u64>,
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
        let mut lines = Lines {
            out: BufWriter::with_capacity(64 << 10, writer),
            style,
            left: count.unwrap_or(u64::MAX),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("json".into()).spawn(move || lines.run(&items))?;
        Ok(Output { queue: Some(queue), shared, thread, dropped: BTreeMap::new() })
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
            self.shared.lost.fetch_add(batch.tracepoints().count() as u64, Relaxed);
            for tracepoint in batch.tracepoints() {
                *self.dropped.entry(tracepoint).or_default() += 1;
            }
            return;
        };
        let lost = queue_full(std::mem::take(&mut self.dropped));
        self.shared.queued_bytes.fetch_add(bytes, Relaxed);
        // It can only fail after the thread has ended, which has_ended tells the next time.
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
        let mut lost = queue_full(std::mem::take(&mut self.dropped));
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

fn queue_full(dropped: BTreeMap<Tracepoint, u64>) -> Vec<Lost> {
    let lost = |(tracepoint, count)| Lost { tracepoint, reason: LossReason::QueueFull, count };
    dropped.into_iter().map(lost).collect()
}

struct Lines<W: Write> {
    out: BufWriter<W>,
    style: Style,
    left: u64,
    shared: Arc<Shared>,
}

impl<W: Write> Lines<W> {
    fn run(&mut self, items: &mpsc::Receiver<Item>) {
        if let Err(error) = self.write_all(items) {
            self.shared.lost.fetch_add(1, Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
        self.shared.ended.store(true, Relaxed);
        // What was queued meanwhile counts as well.
        for item in items.try_iter() {
            self.shared.lost.fetch_add(item.batch.tracepoints().count() as u64, Relaxed);
        }
    }

    fn write_all(&mut self, items: &mpsc::Receiver<Item>) -> io::Result<()> {
        while let Some(item) = self.next(items)? {
            let bytes = item.batch.bytes();
            let result = self.write(item);
            self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            result?;
            if self.left == 0 {
                break;
            }
        }
        self.out.flush()
    }

    /// Flushes before it waits: a line is seen when it is there.
    fn next(&mut self, items: &mpsc::Receiver<Item>) -> io::Result<Option<Item>> {
        match items.try_recv() {
            Ok(item) => Ok(Some(item)),
            Err(_) => {
                self.out.flush()?;
                Ok(items.recv().ok())
            }
        }
    }

    fn write(&mut self, item: Item) -> io::Result<()> {
        let Item { mut lost, batch } = item;
        let mut result = Ok(());
        let mut unwritten = 0;
        batch.each(|event| {
            if result.is_err() || self.shared.abandoned.load(Relaxed) {
                unwritten += u64::from(!matches!(event.kind, Kind::Lost(_)));
            } else if self.left > 0 {
                result = self.lines(event, &mut lost);
            }
        });
        self.shared.lost.fetch_add(unwritten, Relaxed);
        result?;
        if self.left > 0 {
            self.gaps(crate::tap::now(), &mut lost)?;
        }
        Ok(())
    }

    fn lines(&mut self, event: Event<'_>, lost: &mut Vec<Lost>) -> io::Result<()> {
        self.gaps(event.time, lost)?;
        json::write_line(&mut self.out, &event, self.style)?;
        self.shared.written.fetch_add(1, Relaxed);
        if !matches!(event.kind, Kind::Lost(_)) {
            self.left -= 1;
        }
        Ok(())
    }

    fn gaps(&mut self, time: Time, lost: &mut Vec<Lost>) -> io::Result<()> {
        for lost in lost.drain(..) {
            json::write_line(&mut self.out, &Event { time, kind: Kind::Lost(lost) }, self.style)?;
            self.shared.written.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}
