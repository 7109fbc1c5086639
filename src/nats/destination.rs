//! NATS as a destination of a spool. In: records, each a subject and a payload. Out: messages, of which the server has confirmed each
//! one, or which count as lost.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use memchr::memchr;

use super::{
    connection::{Connection, Outgoing, Unstored},
    format::MaxPayload,
    heartbeat::Heartbeat,
    server::Server,
};
use crate::spool::{Destination, Line, Records};

/// So many bytes of records are confirmed together: those of some 40 ms of a very busy node, so that lines of one subject meet.
const CHUNK_BYTES: usize = 512 << 10;
/// A message has at most so many bytes of lines, unless one line is longer.
const MESSAGE_BYTES: usize = 64 << 10;
/// How long one call waits for the server.
const WAIT: Duration = Duration::from_millis(50);
/// When to try again what JetStream has not stored.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What to publish, and how.
pub(super) struct Publishing {
    pub(super) server: Server,
    /// The random number of this publisher.
    pub(super) run: String,
    /// The subject of questions to the server.
    pub(super) confirm: String,
    /// Whether JetStream must store each message.
    pub(super) jetstream: bool,
    /// Whether it must store them in their order, as those of a recording.
    pub(super) in_order: bool,
    pub(super) max_payload: MaxPayload,
    /// How many connections there were.
    pub(super) connections: Arc<AtomicU64>,
    pub(super) heartbeat: Arc<Heartbeat>,
}

pub(super) struct NatsDestination {
    publishing: Publishing,
    connection: Option<Connection>,
    /// Servers of the cluster that were met.
    met: Vec<String>,
    /// What is being published.
    chunk: Option<Chunk>,
    /// The number of the last event.
    events: u64,
    /// Gaps that were told, since they have no number of an event.
    gaps: u64,
    /// All subjects so far by their names, each with the number of its last message; 0 if its messages have no numbers. They are few.
    subjects: HashMap<Box<[u8]>, (Subject, u64)>,
    /// Subjects that this user may not publish on, as the server said.
    refused: BTreeSet<String>,
    dropped: u64,
    has_warned_of_size: bool,
    is_stalled: bool,
}

/// Messages that are confirmed together.
struct Chunk {
    /// Bytes of the records that they were made of.
    bytes: usize,
    /// Each message, and how many events it has.
    messages: Vec<(Outgoing, u64)>,
    state: Progress,
}

/// A message to which lines may be added.
struct Draft {
    subject: Subject,
    headers: Option<HeaderMap>,
    /// Where its parts are in the bytes of the chunk, and how many bytes they have.
    parts: Vec<Range<usize>>,
    bytes: usize,
    events: u64,
}

impl Draft {
    fn new((subject, headers): (Subject, Option<HeaderMap>), payload: Range<usize>, is_event: bool) -> Self {
        Self { subject, headers, bytes: payload.len(), parts: vec![payload], events: is_event.into() }
    }

    /// With further headers: `NAME=VALUE NAME=VALUE…`.
    fn with_headers(mut self, more: &[u8]) -> Self {
        let headers = self.headers.get_or_insert_default();
        for (name, value) in String::from_utf8_lossy(more).split(' ').filter_map(|header| header.split_once('=')) {
            headers.insert(name, value);
        }
        self
    }

    fn finish(self, chunk: &Bytes) -> (Outgoing, u64) {
        let Self { subject, headers, parts, bytes, events } = self;
        let payload = match &*parts {
            [part] => chunk.slice(part.clone()),
            parts => {
                let mut payload = Vec::with_capacity(bytes);
                parts.iter().for_each(|part| payload.extend_from_slice(&chunk[part.clone()]));
                payload.into()
            }
        };
        (Outgoing { subject, headers, payload }, events)
    }
}

enum Progress {
    Sending(BoxFuture<'static, io::Result<Unstored>>),
    /// Not all are stored. They are tried again then.
    Waiting(Instant),
}

impl NatsDestination {
    pub(super) fn new(publishing: Publishing) -> Self {
        Self {
            publishing,
            connection: None,
            met: Vec::new(),
            chunk: None,
            events: 0,
            gaps: 0,
            subjects: HashMap::new(),
            refused: BTreeSet::new(),
            dropped: 0,
            has_warned_of_size: false,
            is_stalled: false,
        }
    }

    fn connect(&mut self) -> io::Result<()> {
        self.connection = None;
        let Publishing { server, confirm, jetstream, max_payload, heartbeat, .. } = &self.publishing;
        let connection = Connection::open(server, &self.met, confirm, *jetstream, heartbeat)?;
        max_payload.store(connection.max_payload(), Relaxed);
        self.publishing.connections.fetch_add(1, Relaxed);
        self.met = connection.others();
        // Another server may have other rules.
        self.refused.clear();
        self.connection = Some(connection);
        Ok(())
    }

    /// Makes messages of records, in the order of their first records.
    fn messages(&mut self, records: &Records) -> Vec<(Outgoing, u64)> {
        let mut messages: Vec<Draft> = Vec::new();
        // The last message of each subject that gathers lines.
        let mut open: HashMap<&[u8], usize> = HashMap::new();
        let mut end = 0;
        for record in records.iter() {
            let begin = end;
            end += record.bytes.len();
            let is_event = matches!(record.line, Line::Event(_));
            self.events += u64::from(is_event);
            if record.bytes.is_empty()
                && let Some(draft) = messages.last_mut()
            {
                // A further event of a block.
                draft.events += u64::from(is_event);
                continue;
            }
            let Some(newline) = memchr(b'\n', record.bytes) else { continue };
            let (name, payload) = (&record.bytes[..newline], begin + newline + 1..end);
            if let Some(space) = memchr(b' ', name) {
                let head = self.head(&name[..space], true, is_event);
                messages.push(Draft::new(head, payload, is_event).with_headers(&name[space + 1..]));
                continue;
            }
            // The subjects of peer-observer have one token. Its tools expect one event in a message.
            let gathers = memchr(b'.', name).is_some();
            let last = if gathers { open.get(name).copied() } else { None };
            if let Some(draft) = last.map(|place| &mut messages[place])
                && draft.bytes + payload.len() <= MESSAGE_BYTES
            {
                draft.bytes += payload.len();
                draft.parts.push(payload);
                draft.events += u64::from(is_event);
                continue;
            }
            if gathers {
                open.insert(name, messages.len());
            }
            let head = self.head(name, gathers || self.publishing.jetstream, is_event);
            messages.push(Draft::new(head, payload, is_event));
        }
        let chunk = Bytes::copy_from_slice(records.bytes());
        messages.into_iter().map(|draft| draft.finish(&chunk)).collect()
    }

    /// The subject with this name, and headers if they are wanted.
    fn head(&mut self, name: &[u8], wants_headers: bool, is_event: bool) -> (Subject, Option<HeaderMap>) {
        let (subject, number) = match self.subjects.get_mut(name) {
            Some(known) => known,
            None => {
                let subject = Subject::from(String::from_utf8_lossy(name).into_owned());
                self.subjects.entry(name.into()).or_insert((subject, 0))
            }
        };
        if !wants_headers {
            return (subject.clone(), None);
        }
        *number += 1;
        let run = &*self.publishing.run;
        let mut headers = HeaderMap::new();
        headers.insert("Bitcointap-Run", run);
        headers.insert("Bitcointap-Number", number.to_string());
        let id = if is_event {
            headers.insert("Bitcointap-Event", self.events.to_string());
            format!("{run}-{}", self.events)
        } else {
            self.gaps += 1;
            headers.insert("Bitcointap-Event", (self.events + 1).to_string());
            format!("{run}-gap-{}", self.gaps)
        };
        headers.insert("Nats-Msg-Id", id);
        (subject.clone(), Some(headers))
    }

    /// Drops messages that this server never takes.
    fn drop_impossible(&mut self, messages: &mut Vec<(Outgoing, u64)>) {
        let most = self.publishing.max_payload.load(Relaxed);
        messages.retain(|(outgoing, events)| {
            let headers = outgoing.headers.as_ref().map_or(0, |_| super::format::HEADERS);
            let size = outgoing.payload.len() + headers;
            if size > most && !std::mem::replace(&mut self.has_warned_of_size, true) {
                tracing::warn!(
                    "a message of {size} bytes on {} is lost, since the server takes {most} bytes: raise max_payload in its configuration. \
                     Other such messages are only counted",
                    outgoing.subject
                );
            }
            let is_possible = size <= most && !self.refused.contains(outgoing.subject.as_str());
            if !is_possible {
                self.dropped += events;
            }
            is_possible
        });
    }

    /// Takes note of what the server has complained about.
    fn hear(&mut self) -> io::Result<()> {
        let complaints = self.connection.as_ref().map(Connection::take_complaints).unwrap_or_default();
        for words in complaints {
            let subject = words.split('"').nth(1).unwrap_or_default().to_owned();
            if !words.to_ascii_lowercase().contains("permissions violation") || subject.is_empty() {
                tracing::warn!("the NATS server says: {words}");
                continue;
            }
            if subject == self.publishing.confirm {
                return Err(io::Error::other(format!(
                    "the server does not let this user publish and subscribe to {subject}, by which it confirms what it has"
                )));
            }
            if self.refused.insert(subject.clone()) {
                tracing::error!(
                    "the NATS server does not let this user publish on {subject}: its events are counted as lost until the next connection"
                );
                let chunk = self.chunk.iter().flat_map(|chunk| &chunk.messages);
                self.dropped += chunk.filter(|(it, _)| *it.subject == *subject).map(|(_, events)| events).sum::<u64>();
            }
        }
        Ok(())
    }

    /// Publishes the messages of the chunk, once more if not all were stored.
    fn publish(&mut self) -> io::Result<()> {
        let Some(chunk) = &mut self.chunk else { return Ok(()) };
        let Some(connection) = &mut self.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let messages = chunk.messages.iter().map(|(outgoing, _)| outgoing.clone()).collect();
        chunk.state = Progress::Sending(connection.publish(messages, self.publishing.in_order));
        Ok(())
    }

    /// Says once why nothing is stored, and once that it is stored again.
    fn stalls(&mut self, why: Option<&str>) {
        match why {
            Some(why) if !std::mem::replace(&mut self.is_stalled, true) => {
                tracing::error!(
                    "JetStream does not store what is published: {why}; bitcointap tries again every second"
                );
            }
            None if std::mem::take(&mut self.is_stalled) => tracing::info!("JetStream stores what is published again"),
            Some(_) | None => {}
        }
    }

    /// Not all of the chunk is stored. It will be tried again.
    fn retries_later(&mut self, why: &str) {
        self.stalls(Some(why));
        if let Some(chunk) = &mut self.chunk {
            chunk.state = Progress::Waiting(Instant::now() + RETRY_INTERVAL);
        }
    }

    /// Waits for the chunk. Gives whether all of it is confirmed.
    fn wait(&mut self) -> io::Result<bool> {
        let jetstream = self.publishing.jetstream;
        let Some(chunk) = &mut self.chunk else { return Ok(true) };
        let sending = match &mut chunk.state {
            Progress::Waiting(until) => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    std::thread::sleep(left.min(WAIT));
                    return Ok(false);
                }
                if self.connection.as_ref().is_none_or(Connection::is_broken)
                    && let Err(error) = self.connect()
                {
                    self.retries_later(&error.to_string());
                    return Ok(false);
                }
                self.publish()?;
                return Ok(false);
            }
            Progress::Sending(sending) => sending,
        };
        let Some(connection) = &self.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let Some(result) = connection.wait(sending, WAIT) else {
            self.hear()?;
            return Ok(false);
        };
        self.hear()?;
        match result {
            Ok(unstored) if unstored.is_empty() => {
                self.stalls(None);
                Ok(true)
            }
            Ok(unstored) => {
                let why = unstored[0].1.clone();
                let places: Vec<_> = unstored.into_iter().map(|(place, _)| place).collect();
                let mut place = 0;
                self.chunk.as_mut().expect("it is there").messages.retain(|_| {
                    place += 1;
                    places.contains(&(place - 1))
                });
                self.retries_later(&why);
                Ok(false)
            }
            // JetStream drops doubles, so all of the chunk can be sent again.
            Err(error) if jetstream => {
                self.retries_later(&error.to_string());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Destination for NatsDestination {
    fn name(&self) -> String {
        format!("NATS at {}", self.publishing.server)
    }

    fn wants_whole_records(&self) -> bool {
        true
    }

    fn buffer_bytes(&self) -> usize {
        CHUNK_BYTES
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        if self.chunk.is_none() {
            let mut messages = self.messages(records);
            self.drop_impossible(&mut messages);
            let state = Progress::Waiting(Instant::now());
            self.chunk = Some(Chunk { bytes: records.bytes().len(), messages, state });
            if !self.publishing.jetstream {
                self.publish()?;
            }
        }
        if !self.wait()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.chunk.take().map_or(0, |chunk| chunk.bytes);
        let numbered = self.subjects.values().filter(|(_, number)| *number > 0);
        self.publishing.heartbeat.published(self.events, numbered.map(|(subject, number)| (subject.as_str(), *number)));
        Ok(bytes)
    }

    fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn look_after(&mut self) -> io::Result<()> {
        match &self.connection {
            Some(connection) if !connection.is_broken() => Ok(()),
            // Nothing of what waits is lost: JetStream's chunk is tried again.
            _ if self.publishing.jetstream && self.chunk.is_some() => Ok(()),
            _ => self.connect(),
        }
    }

    fn has_failed(&mut self) -> bool {
        (self.chunk, self.connection) = (None, None);
        true
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.connect()
    }
}
