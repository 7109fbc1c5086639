//! Streams of events to many readers. In: [`Batch`]es, from the thread that drains, and what each reader asks for. Out: bodies
//! of answers, which go on until the reader leaves.
//!
//! Each reader has a [`Spool`] of its own, and so a slow one loses its own oldest events, which it is told, and holds up nobody.
//! What waits for readers is shared by them: 8 MiB of batches, however many there are. A reader that has stopped holds the batch
//! besides that was being written for it, of up to 2 MiB, or 5 MB with a message of the largest size, what the message was decoded
//! to, 13 MB at most, and 320 KiB of text: a line that is larger than 64 KiB, of up to 105 MB, comes in parts.

mod body;
mod query;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(super) use self::body::Events;
use crate::{
    capture::Batch,
    event::{Event, Lost},
    selection::Selection,
    spool::{FINISH_INTERVAL, Format, JsonLines, LAST_LINE_PATIENCE, Spool},
    tracepoint::{LossReason, Tracepoints},
};

/// How long nothing comes before a reader of server-sent events is told that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What the last lines are given to get into the hands of the kernel.
const LAST_CHUNKS_PATIENCE: Duration = Duration::from_millis(100);

/// All streams. Its clones are one.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Those whose events can come.
    tapped: Tracepoints,
    most: usize,
    /// Why nobody gets one, if there are none: a line.
    why_off: &'static str,
    /// One for each connection with a stream.
    places: Arc<Semaphore>,
    keep_alive: Duration,
    has_limited_payloads: AtomicBool,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    /// By number, in the order in which they came.
    streams: BTreeMap<u64, Stream>,
    next: u64,
    /// Of those who have left.
    lines: u64,
    lost: u64,
    ended: bool,
}

impl Readers {
    fn outputs(&self) -> impl Iterator<Item = &Spool> {
        self.streams.values().map(|stream| &stream.output)
    }

    /// Those that get events.
    fn begun(&self) -> impl Iterator<Item = &Spool> {
        self.streams.values().filter(|stream| stream.begins.is_none()).map(|stream| &stream.output)
    }
}

/// That of one reader.
#[derive(Debug)]
struct Stream {
    output: Spool,
    has_payloads: bool,
    /// Until it begins.
    begins: Option<watch::Sender<bool>>,
}

impl Stream {
    fn begin(&mut self) {
        if let Some(begins) = self.begins.take() {
            // Nobody may wait for it any more.
            let _ = begins.send(true);
        }
    }
}

/// True from the beginning of a stream on.
#[derive(Clone, Debug)]
pub(super) struct Beginning(watch::Receiver<bool>);

impl Beginning {
    /// Also ends when the stream does.
    pub(super) async fn wait(mut self) {
        let _ = self.0.wait_for(|has_begun| *has_begun).await;
    }
}

/// What [`Streams`] tell of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Readers that are there.
    pub open: usize,
    /// Lines written to all of them so far, also to those who have left.
    pub lines: u64,
    /// Events that they missed, since they were too slow.
    pub lost: u64,
}

/// How events are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// [NDJSON](https://github.com/ndjson/ndjson-spec).
    Lines,
    /// [Server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).
    ServerSentEvents,
}

/// Why there is no stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are none, for a reason in a line.
    Off(&'static str),
    /// What is asked for is wrong, as a line says.
    Wrong(String),
    /// There are so many.
    Full(usize),
    /// The process ends.
    Ending,
    /// The log says why.
    Failed,
}

/// That of a stream, until its connection has ended. Then its last bytes are out of our hands.
#[derive(Clone, Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>);

impl Streams {
    /// To at most `most` readers at once; 0 turns them off. `tapped` are the tracepoints whose events are handed over.
    ///
    /// # Panics
    /// If there are to be more than [`MAX_STREAMS`](super::MAX_STREAMS).
    pub fn new(tapped: Tracepoints, most: usize) -> Self {
        Self::with_keep_alive(tapped, most, KEEP_ALIVE)
    }

    /// To nobody, as they would tell the addresses of peers.
    pub fn hiding_addresses() -> Self {
        Self::with(
            Tracepoints::default(),
            0,
            KEEP_ALIVE,
            "events are not streamed: they tell addresses, which --web.hide-addresses hides",
        )
    }

    pub(super) fn with_keep_alive(tapped: Tracepoints, most: usize, keep_alive: Duration) -> Self {
        Self::with(tapped, most, keep_alive, "events are not streamed: start export with --web.max-streams above 0")
    }

    fn with(tapped: Tracepoints, most: usize, keep_alive: Duration, why_off: &'static str) -> Self {
        assert!(most <= super::MAX_STREAMS, "scrapes need connections too");
        let places = Arc::new(Semaphore::new(most));
        let (has_limited_payloads, readers) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Shared { tapped, most, why_off, places, keep_alive, has_limited_payloads, readers }))
    }

    /// From now on a stream with payloads begins at [`Streams::begin`]: until somebody wants payloads, they are not copied.
    #[must_use]
    pub fn with_limited_payloads(self) -> Self {
        self.0.has_limited_payloads.store(true, Relaxed);
        self
    }

    /// Whether some reader wants payloads.
    pub fn want_payloads(&self) -> bool {
        self.0.readers().streams.values().any(|stream| stream.has_payloads)
    }

    /// Whether somebody waits for events.
    pub fn have_readers(&self) -> bool {
        !self.0.readers().streams.is_empty()
    }

    /// Payloads are whole by now: who waits for that gets the next events.
    pub fn begin(&self) {
        self.0.readers().streams.values_mut().for_each(Stream::begin);
    }

    /// Hands a batch over to each reader.
    pub fn push(&self, batch: &Arc<Batch>) {
        self.0.readers().begun().for_each(|output| output.push(batch));
    }

    /// The readers will not see the events of this batch.
    pub fn lose(&self, batch: &Batch, reason: LossReason) {
        self.0.readers().begun().for_each(|output| output.lose(batch, reason));
    }

    /// A run of the node has ended, and the kernel side has lost these at its end.
    pub fn run_ended(&self, gaps: &[Lost]) {
        self.0.readers().begun().for_each(|output| output.run_ended(gaps));
    }

    /// How they go.
    pub fn told(&self) -> Told {
        let readers = self.0.readers();
        let told = Told { open: readers.streams.len(), lines: readers.lines, lost: readers.lost };
        readers.outputs().fold(told, |told, output| Told {
            lines: told.lines + output.lines_written(),
            lost: told.lost + output.lines_lost(),
            ..told
        })
    }

    /// Ends them: with what is queued, as far as readers take it until `hurry`.
    pub fn finish(&self, hurry: impl Fn() -> bool) {
        let done = || self.0.readers().outputs().all(Spool::is_done);
        {
            let mut readers = self.0.readers();
            readers.ended = true;
            // Who still waits for the beginning gets an answer that is empty.
            readers.streams.values_mut().for_each(Stream::begin);
            readers.outputs().for_each(Spool::close);
        }
        while !done() && !hurry() {
            thread::sleep(FINISH_INTERVAL);
        }
        self.0.readers().outputs().for_each(Spool::abandon);
        wait_at_most(LAST_LINE_PATIENCE, done);
        wait_at_most(LAST_CHUNKS_PATIENCE, || self.0.places.available_permits() == self.0.most);
    }

    /// Whether anybody gets one.
    pub(super) fn are_on(&self) -> bool {
        self.0.most > 0
    }

    /// What a reader gets who asks for this, and is to be told of it in lines.
    pub(super) fn open(
        &self,
        query: &str,
        framing: Framing,
    ) -> Result<(Events, Place, Beginning, Vec<String>), Refusal> {
        let wanted = self.wanted(query)?;
        let doubts: Vec<String> = wanted.selection.doubts().collect();
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else {
            return Err(Refusal::Full(self.0.most));
        };
        let (chunks, received) = body::channel();
        let has_payloads = wanted.lines.decodes();
        let output = match framing {
            Framing::Lines => Spool::start_any(chunks, wanted.lines, &wanted.selection, None),
            Framing::ServerSentEvents => {
                let events = ServerSentEvents { lines: wanted.lines, doubts: doubts.clone() };
                Spool::start_any(chunks, events, &wanted.selection, None)
            }
        };
        let output = output.map_err(|error| {
            tracing::error!(%error, "cannot start the thread of a stream of events");
            Refusal::Failed
        })?;
        let (begins, beginning) = watch::channel(false);
        let mut stream = Stream { output, has_payloads, begins: Some(begins) };
        if !(has_payloads && self.0.has_limited_payloads.load(Relaxed)) {
            stream.begin();
        }
        let reader = Reader::enter(&self.0, stream)?;
        let keep_alive = (framing == Framing::ServerSentEvents).then_some(self.0.keep_alive);
        Ok((Events::new(reader, received, keep_alive), Place(Arc::new(place)), Beginning(beginning), doubts))
    }

    /// Whether there would be a stream for who asks for this, and what would be told of it.
    pub(super) fn check(&self, query: &str) -> Result<Vec<String>, Refusal> {
        let doubts = self.wanted(query)?.selection.doubts().collect();
        if self.0.places.available_permits() == 0 { Err(Refusal::Full(self.0.most)) } else { Ok(doubts) }
    }

    fn wanted(&self, query: &str) -> Result<Wanted, Refusal> {
        if !self.are_on() {
            return Err(Refusal::Off(self.0.why_off));
        }
        query::parse(query, self.0.tapped).map_err(Refusal::Wrong)
    }
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_at_most(patience: Duration, is_over: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_over() && Instant::now() < deadline {
        thread::sleep(FINISH_INTERVAL);
    }
}

/// What a reader asks for.
#[derive(Debug)]
struct Wanted {
    selection: Selection,
    lines: JsonLines,
}

/// A reader that is there, until it is dropped.
#[derive(Debug)]
struct Reader {
    shared: Arc<Shared>,
    number: u64,
}

impl Reader {
    fn enter(shared: &Arc<Shared>, stream: Stream) -> Result<Self, Refusal> {
        let mut readers = shared.readers();
        if readers.ended {
            return Err(Refusal::Ending);
        }
        let number = readers.next;
        readers.next += 1;
        readers.streams.insert(number, stream);
        Ok(Self { shared: Arc::clone(shared), number })
    }
}

impl Drop for Reader {
    /// What was not written yet when it left is not lost: nobody wanted it any more.
    fn drop(&mut self) {
        let mut readers = self.shared.readers();
        let Some(Stream { output, .. }) = readers.streams.remove(&self.number) else { return };
        readers.lines += output.lines_written();
        readers.lost += output.lines_lost();
    }
}

/// An event of the stream for each line, of no type but the default one: so a browser gives all to `onmessage`.
struct ServerSentEvents {
    lines: JsonLines,
    /// Told in comments, which readers skip.
    doubts: Vec<String>,
}

impl Format for ServerSentEvents {
    fn decodes(&self) -> bool {
        self.lines.decodes()
    }

    /// Milliseconds until a reader is to come again.
    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.doubts.iter().try_for_each(|doubt| writeln!(out, ": {doubt}"))?;
        out.write_all(b"retry: 1000\n\n")
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>) -> io::Result<()> {
        out.write_all(b"data: ")?;
        self.lines.event(out, event)?;
        out.write_all(b"\n")
    }
}

#[cfg(any(fuzzing, test))]
pub(super) fn fuzzing_query(text: &str, tapped: Tracepoints) -> Result<(), String> {
    query::parse(text, tapped).map(drop)
}
