//! Streams of events to many readers. In: [`Batch`]es, from the thread that drains, and what each reader asks for. Out:
//! bodies of answers, which go on until the reader leaves.
//!
//! Each reader has a [`Spool`] of its own. So a slow reader loses its own oldest events, is told so, and delays nobody. All
//! readers share the waiting batches: 8 MiB of them, however many readers there are. A reader that has stopped also holds the
//! batch that was being written for it: up to 2 MiB, or 5 MB with a message of the largest size, the decoded message (13 MB at
//! most), and 320 KiB of text. A line of more than 64 KiB comes in parts; a line can have up to 200 MB.

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
    spool::{FINISH_INTERVAL, Format, JsonLines, LAST_LINE_PATIENCE, Line, Spool},
    tracepoint::{LossReason, Tracepoints},
};

/// After this time without events a comment tells a reader of server-sent events that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the last lines may take to reach the kernel.
const LAST_CHUNKS_PATIENCE: Duration = Duration::from_millis(100);

/// All streams. Clones share them.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The tracepoints that can give events.
    tapped: Tracepoints,
    most: usize,
    /// Why there are no streams, if there are none: a line.
    why_off: &'static str,
    /// One for each connection with a stream.
    places: Arc<Semaphore>,
    keep_alive: Duration,
    has_limited_payloads: AtomicBool,
    redacts_addresses: AtomicBool,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    /// By number, in the order in which they came.
    streams: BTreeMap<u64, Stream>,
    next: u64,
    /// The lines of readers that have left.
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

/// The stream of one reader.
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
            // Perhaps nobody waits for it any more.
            let _ = begins.send(true);
        }
    }
}

/// True once a stream has begun.
#[derive(Clone, Debug)]
pub(super) struct Beginning(watch::Receiver<bool>);

impl Beginning {
    /// Also ends when the stream does.
    pub(super) async fn wait(mut self) {
        let _ = self.0.wait_for(|has_begun| *has_begun).await;
    }
}

/// What [`Streams`] report of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Connected readers.
    pub open: usize,
    /// Lines written to all readers so far, including those that have left.
    pub lines: u64,
    /// Events that readers missed because they were too slow.
    pub lost: u64,
}

/// How to frame events.
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
    /// There are no streams, for a reason in a line.
    Off(&'static str),
    /// The request is wrong, for a reason in a line.
    Wrong(String),
    /// There are this many streams already.
    Full(usize),
    /// The process ends.
    Ending,
    /// The log says why.
    Failed,
}

/// The place of a stream, until its connection has ended and its last bytes are sent.
#[derive(Clone, Debug)]
pub(super) struct Slot(#[expect(dead_code, reason = "it is held")] Arc<OwnedSemaphorePermit>);

impl Streams {
    /// Serves at most `most` readers at once; 0 turns streams off. `tapped` are the tracepoints of the events to come.
    ///
    /// # Panics
    /// If `most` is above [`MAX_STREAMS`](super::MAX_STREAMS).
    pub fn new(tapped: Tracepoints, most: usize) -> Self {
        Self::with_keep_alive(tapped, most, KEEP_ALIVE)
    }

    /// Serves nobody, since streams would show the addresses of peers.
    pub fn hiding_addresses() -> Self {
        Self::with(
            Tracepoints::default(),
            0,
            KEEP_ALIVE,
            "events are not given: they show addresses, which --web.hide-addresses hides",
        )
    }

    pub(super) fn with_keep_alive(tapped: Tracepoints, most: usize, keep_alive: Duration) -> Self {
        Self::with(tapped, most, keep_alive, "events are not given: start export with --web.max-streams above 0")
    }

    fn with(tapped: Tracepoints, most: usize, keep_alive: Duration, why_off: &'static str) -> Self {
        assert!(most <= super::MAX_STREAMS, "scrapes need connections too");
        let places = Arc::new(Semaphore::new(most));
        let (has_limited_payloads, redacts_addresses) = Default::default();
        let readers = Mutex::default();
        Self(Arc::new(Shared {
            tapped,
            most,
            why_off,
            places,
            keep_alive,
            has_limited_payloads,
            redacts_addresses,
            readers,
        }))
    }

    /// From now on a stream with payloads begins at [`Streams::begin`]: until somebody wants payloads, the kernel side
    /// does not copy them.
    #[must_use]
    pub fn with_limited_payloads(self) -> Self {
        self.0.has_limited_payloads.store(true, Relaxed);
        self
    }

    /// Events have pseudonyms in place of addresses. Nobody may ask for the events of an address: that would tell whose a pseudonym is.
    #[must_use]
    pub fn without_address_conditions(self) -> Self {
        self.0.redacts_addresses.store(true, Relaxed);
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

    /// Payloads are whole from now on: readers that waited for that get the next events.
    pub fn begin(&self) {
        self.0.readers().streams.values_mut().for_each(Stream::begin);
    }

    /// Gives a batch to each reader.
    pub fn push(&self, batch: &Arc<Batch>) {
        self.0.readers().begun().for_each(|output| output.push(batch));
    }

    /// The readers will not see the events of this batch.
    pub fn lose(&self, batch: &Batch, reason: LossReason) {
        self.0.readers().begun().for_each(|output| output.lose(batch, reason));
    }

    /// A run of the node has ended, and the kernel side lost these events at its end.
    pub fn run_ended(&self, gaps: &[Lost]) {
        self.0.readers().begun().for_each(|output| output.run_ended(gaps));
    }

    /// Their counts.
    pub fn told(&self) -> Told {
        let readers = self.0.readers();
        let told = Told { open: readers.streams.len(), lines: readers.lines, lost: readers.lost };
        readers.outputs().fold(told, |told, output| Told {
            lines: told.lines + output.lines_written(),
            lost: told.lost + output.lines_lost(),
            ..told
        })
    }

    /// Ends them. Readers get what is queued, if they read it before `hurry`.
    pub fn finish(&self, hurry: impl Fn() -> bool) {
        let done = || self.0.readers().outputs().all(Spool::is_done);
        {
            let mut readers = self.0.readers();
            readers.ended = true;
            // A reader that still waits for the beginning gets an empty answer.
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

    /// Whether there are streams.
    pub(super) fn are_on(&self) -> bool {
        self.0.most > 0
    }

    /// The stream for this request, and the lines with warnings.
    pub(super) fn open(
        &self,
        query: &str,
        framing: Framing,
    ) -> Result<(Events, Slot, Beginning, Vec<String>), Refusal> {
        let wanted = self.wanted(query)?;
        let doubts: Vec<String> = wanted.selection.doubts().collect();
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else {
            return Err(Refusal::Full(self.0.most));
        };
        let (chunks, received) = body::channel();
        let has_payloads = wanted.lines.decodes() || wanted.selection.needs_payloads();
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
        Ok((Events::new(reader, received, keep_alive), Slot(Arc::new(place)), Beginning(beginning), doubts))
    }

    /// A place for the download of a recording, which counts as a stream. Gives how far back the recording shall go, and which events it
    /// shall have if not all.
    pub(super) fn download(&self, query: &str) -> Result<(Slot, Option<Duration>, Option<Selection>), Refusal> {
        if !self.are_on() {
            return Err(Refusal::Off(self.0.why_off));
        }
        let (last, selection) = query::parse_of_recording(query, self.0.tapped).map_err(Refusal::Wrong)?;
        selection.iter().try_for_each(|selection| self.admit(selection))?;
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| Refusal::Full(self.0.most))?;
        Ok((Slot(Arc::new(place)), last, selection))
    }

    /// Whether there would be a stream for this request, and its warnings.
    pub(super) fn check(&self, query: &str) -> Result<Vec<String>, Refusal> {
        let doubts = self.wanted(query)?.selection.doubts().collect();
        if self.0.places.available_permits() == 0 { Err(Refusal::Full(self.0.most)) } else { Ok(doubts) }
    }

    fn wanted(&self, query: &str) -> Result<Wanted, Refusal> {
        if !self.are_on() {
            return Err(Refusal::Off(self.0.why_off));
        }
        let wanted = query::parse(query, self.0.tapped).map_err(Refusal::Wrong)?;
        self.admit(&wanted.selection).map(|()| wanted)
    }

    fn admit(&self, selection: &Selection) -> Result<(), Refusal> {
        if self.0.redacts_addresses.load(Relaxed) && selection.has_conditions_on_addresses() {
            let words = "addresses are redacted: leave out address and not-address";
            return Err(Refusal::Wrong(words.into()));
        }
        Ok(())
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

/// A connected reader, until it is dropped.
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
    /// Lines that were not written when the reader left are not lost: nobody wanted them any more.
    fn drop(&mut self) {
        let mut readers = self.shared.readers();
        let Some(Stream { output, .. }) = readers.streams.remove(&self.number) else { return };
        readers.lines += output.lines_written();
        readers.lost += output.lines_lost();
    }
}

/// Each line is an event of the stream, of the default type: so a browser gives all to `onmessage`.
struct ServerSentEvents {
    lines: JsonLines,
    /// Written as comments, which readers skip.
    doubts: Vec<String>,
}

impl Format for ServerSentEvents {
    const RECORDS: &'static str = JsonLines::RECORDS;

    fn decodes(&self) -> bool {
        self.lines.decodes()
    }

    /// Milliseconds until a reader is to come again.
    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.doubts.iter().try_for_each(|doubt| writeln!(out, ": {doubt}"))?;
        out.write_all(b"retry: 1000\n\n")
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, line: Line) -> io::Result<()> {
        out.write_all(b"data: ")?;
        self.lines.event(out, event, line)?;
        out.write_all(b"\n")
    }
}

#[cfg(any(fuzzing, test))]
pub(super) fn fuzzing_query(text: &str, tapped: Tracepoints) -> impl Iterator<Item = String> {
    let told = [query::parse(text, tapped).map(drop), query::parse_of_recording(text, tapped).map(drop)];
    told.into_iter().filter_map(Result::err)
}
