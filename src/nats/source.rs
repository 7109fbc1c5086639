//! Reads over NATS what another bitcointap publishes as a recording. In: messages of one node, from a server or from a stream of
//! JetStream. Out, to [outputs](crate::output): runs, batches and ends, as from the node. A connection that breaks is made again.

mod messages;
mod subscription;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{Event, ServerError};

#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) use self::messages::fuzzing;

use self::{
    messages::Messages,
    subscription::{Subscription, next},
};
use super::{Server, Subjects};
use crate::{
    capture::{Counted, End, Run},
    event::Time,
    follow::IDLE_INTERVAL,
    output::{Outputs, Result, Waiting},
    recording::{Entry, log_run, run_ends},
    selection::Selection,
    stop::Stop,
};

/// How long to wait before a server is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most nodes that are read at once.
const MOST_NODES: usize = 1000;

/// A node, as another bitcointap publishes it with [`NatsFormat::Recording`](super::NatsFormat::Recording).
#[derive(Clone, Debug)]
pub struct NatsSource {
    /// The servers.
    pub server: Server,
    /// The prefix of subjects.
    pub prefix: String,
    /// The node's name, or `*` for [all](NatsSource::run_each).
    pub node: String,
    /// A stream of JetStream, and where to begin in it. Without it, what is published from now on is read.
    pub stored: Option<Stored>,
    /// Which events are wanted.
    pub wanted: Selection,
    /// Whether to go on when the node's run has ended.
    pub over_restarts: bool,
}

/// What JetStream has stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The name of the stream.
    pub stream: String,
    /// Where to begin.
    pub start: Start,
}

/// Where to begin in a stream. What comes before the next group is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What was stored at this time or later.
    Time(Time),
    /// The number of a message in the stream.
    Sequence(u64),
}

impl NatsSource {
    /// Whether a name is that of several nodes, in NATS' way: `*`.
    pub fn is_of_many(node: &str) -> bool {
        node == "*"
    }

    fn subject(&self) -> String {
        format!("{}.{}.recording", self.prefix, self.node)
    }

    /// Gives everything to `outputs`. Returns when it is time to stop, when a required output wants no more, or when the run has ended
    /// and the next is not wanted.
    ///
    /// # Errors
    /// The error of a required output. A server that cannot be reached is no error.
    pub fn run(&self, stop: &Stop, outputs: &mut Outputs<'_>) -> Result {
        let mut one = One { reading: Reading::new(self), outputs };
        let end = self.feed(stop, &mut one)?;
        one.reading.end(end, one.outputs)
    }

    /// The same for several nodes. `make` gives the outputs of a node when its first message comes.
    ///
    /// # Errors
    /// The first error of a required output, or of `make`.
    pub fn run_each<'a>(&self, stop: &Stop, make: impl FnMut(&str) -> Result<Outputs<'a>>) -> Result {
        let mut each = Each { source: self, make, nodes: BTreeMap::new() };
        let mut result = self.feed(stop, &mut each).map(drop);
        for (mut reading, mut outputs) in each.nodes.into_values() {
            let ended = reading.end(End::Requested, &mut outputs);
            result = result.and(ended).and(outputs.finish(stop));
        }
        result
    }

    /// Gives each message to `readers`.
    fn feed(&self, stop: &Stop, readers: &mut impl Readers) -> Result<End> {
        // On another thread than that of the outputs, the connection takes what comes, and answers pings.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("nats").enable_all().build()?;
        let handle = runtime.handle().clone();
        // A subscription must end within the runtime.
        let within = handle.enter();
        let mut connection = Connection::new(self);
        let mut end = Ok(End::Requested);
        while !stop.is_due() {
            if readers.are_done() {
                end = Ok(End::Done);
                break;
            }
            let Some((subscription, trouble)) = &mut connection.subscription else {
                connection.connect(&runtime, readers);
                if connection.subscription.is_none() {
                    idle(RETRY_INTERVAL, stop, readers);
                }
                continue;
            };
            match runtime.block_on(next(subscription, IDLE_INTERVAL)) {
                Ok(Some((message, sequence))) => {
                    connection.sequence = sequence.or(connection.sequence);
                    match readers.take(&message) {
                        Ok(true) => break,
                        Ok(false) => {}
                        Err(error) => {
                            end = Err(error);
                            break;
                        }
                    }
                }
                Ok(None) => match trouble.take() {
                    Some(words) => connection.disconnected(&words, readers),
                    None => readers.idle(),
                },
                Err(words) => connection.disconnected(&words, readers),
            }
        }
        drop(connection);
        drop(within);
        runtime.shutdown_background();
        end
    }
}

/// Who gets messages.
trait Readers {
    /// Takes a message. Gives whether nothing more is wanted.
    fn take(&mut self, message: &async_nats::Message) -> Result<bool>;
    fn are_done(&self) -> bool;
    fn idle(&mut self);
    /// Nothing comes, for this reason.
    fn waits(&mut self, why: &str);
}

/// A node.
struct One<'a, 'b, 'c> {
    reading: Reading<'a>,
    outputs: &'b mut Outputs<'c>,
}

impl Readers for One<'_, '_, '_> {
    fn take(&mut self, message: &async_nats::Message) -> Result<bool> {
        self.reading.take(message, self.outputs)
    }

    fn are_done(&self) -> bool {
        self.outputs.are_done()
    }

    fn idle(&mut self) {
        self.outputs.idle();
    }

    fn waits(&mut self, why: &str) {
        if !self.reading.is_in_run {
            self.outputs.waits(&Waiting { why, has_failed: false });
        }
    }
}

/// All nodes, each with its outputs.
struct Each<'a, 'b, M> {
    source: &'a NatsSource,
    make: M,
    nodes: BTreeMap<String, (Reading<'a>, Outputs<'b>)>,
}

impl<'b, M: FnMut(&str) -> Result<Outputs<'b>>> Readers for Each<'_, 'b, M> {
    fn take(&mut self, message: &async_nats::Message) -> Result<bool> {
        let node = message.subject.strip_suffix(".recording").and_then(|it| it.rsplit('.').next()).unwrap_or_default();
        let is_known = self.nodes.contains_key(node);
        // Whoever publishes chooses the name.
        if !is_known && (self.nodes.len() >= MOST_NODES || Subjects::new(&self.source.prefix, Some(node)).is_err()) {
            return Ok(false);
        }
        if !is_known {
            let outputs = (self.make)(node)?;
            self.nodes.insert(node.to_owned(), (Reading::new(self.source), outputs));
        }
        let (reading, outputs) = self.nodes.get_mut(node).expect("it is there");
        reading.take(message, outputs).map(|_| false)
    }

    fn are_done(&self) -> bool {
        false
    }

    fn idle(&mut self) {
        self.nodes.values_mut().for_each(|(_, outputs)| outputs.idle());
    }

    fn waits(&mut self, _: &str) {}
}

/// The connection, which is made again when it breaks.
struct Connection<'a> {
    source: &'a NatsSource,
    /// It, and what the connection says of itself.
    subscription: Option<(Subscription, Trouble)>,
    /// Whether the log has said that the server is gone.
    is_told: bool,
    has_connected: bool,
    /// The last message of the stream.
    sequence: Option<u64>,
}

/// Why nothing more comes, once it is known.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn is(&self, words: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<'a> Connection<'a> {
    fn new(source: &'a NatsSource) -> Self {
        Self { source, subscription: None, is_told: false, has_connected: false, sequence: None }
    }

    fn connect(&mut self, runtime: &tokio::runtime::Runtime, readers: &mut impl Readers) {
        let trouble = Trouble::default();
        let heard = trouble.clone();
        let told = move |event| match event {
            Event::Disconnected | Event::Closed => heard.is("the connection has broken".into()),
            // The user may not subscribe to the subject.
            Event::ServerError(ServerError::Other(words)) => heard.is(format!("the server says: {words}")),
            _ => {}
        };
        let NatsSource { server, stored, .. } = self.source;
        // What was read is not read again.
        let stored = stored.as_ref().map(|stored| Stored {
            stream: stored.stream.clone(),
            start: self.sequence.map_or(stored.start, |last| Start::Sequence(last + 1)),
        });
        let opened = runtime.block_on(async {
            let client = server.connect("bitcointap", &[], told).await?;
            Subscription::open(client, self.source.subject(), stored.as_ref()).await
        });
        match opened {
            Ok(subscription) => {
                self.subscription = Some((subscription, trouble));
                let again = if self.has_connected { " again" } else { "" };
                tracing::info!("reading {} from NATS at {server}{again}", self.source.subject());
                (self.has_connected, self.is_told) = (true, false);
                readers.waits("the node publishes nothing yet");
            }
            Err(words) => self.disconnected(&words, readers),
        }
    }

    fn disconnected(&mut self, words: &str, readers: &mut impl Readers) {
        self.subscription = None;
        let words = format!("cannot read from NATS at {}: {words}", self.source.server);
        readers.waits(&words);
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::error!("{words}; bitcointap tries again every second");
        }
    }
}

/// A node, as far as its messages have come.
struct Reading<'a> {
    source: &'a NatsSource,
    messages: Messages,
    is_in_run: bool,
}

impl<'a> Reading<'a> {
    fn new(source: &'a NatsSource) -> Self {
        Self { source, messages: Messages::new(&source.wanted), is_in_run: false }
    }

    /// Takes a message. Gives whether nothing more is wanted.
    fn take(&mut self, message: &async_nats::Message, outputs: &mut Outputs<'_>) -> Result<bool> {
        let before = self.messages.missed();
        if self.messages.put(message) && std::mem::take(&mut self.is_in_run) {
            // Whoever published it has begun anew.
            run_ends(&Counted::default(), End::NodeEnded, outputs)?;
        }
        while let Some(entry) = self.messages.next() {
            match entry {
                Ok(Entry::Run(run)) => self.begin(&run, outputs)?,
                Ok(Entry::Batch(batch)) => {
                    outputs.batch(&batch)?;
                    // Payloads are as they were published. Nobody shall wait for whole ones.
                    outputs.payloads_are_whole();
                }
                Ok(Entry::End(counted)) => {
                    if std::mem::take(&mut self.is_in_run) {
                        run_ends(&counted, End::NodeEnded, outputs)?;
                        outputs.waits(&Waiting { why: End::NodeEnded.why_not_attached(), has_failed: false });
                        if !self.source.over_restarts {
                            return Ok(true);
                        }
                    }
                }
                Err(error) => tracing::warn!("a message of {} is left out: {error}", self.source.subject()),
            }
            if outputs.are_done() {
                break;
            }
        }
        let missed = self.messages.missed().saturating_sub(before);
        if missed > 0 {
            tracing::warn!("{missed} events were published and did not come: they count as lost");
        }
        Ok(false)
    }

    fn begin(&mut self, run: &Run, outputs: &mut Outputs<'_>) -> Result {
        if std::mem::replace(&mut self.is_in_run, true) {
            run_ends(&Counted::default(), End::NodeEnded, outputs)?;
        }
        log_run(run, "reading");
        outputs.run_begins(run)
    }

    /// Nothing more comes.
    fn end(&mut self, end: End, outputs: &mut Outputs<'_>) -> Result {
        if std::mem::take(&mut self.is_in_run) { run_ends(&Counted::default(), end, outputs) } else { Ok(()) }
    }
}

fn idle(time: Duration, stop: &Stop, readers: &mut impl Readers) {
    let until = Instant::now() + time;
    while !stop.is_due() && Instant::now() < until {
        readers.idle();
        stop.wait(stop.at_most(IDLE_INTERVAL));
    }
}
