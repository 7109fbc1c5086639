//! Reads over NATS what another bitcointap publishes as a recording. In: messages of one node, from a server or from a stream of
//! JetStream. Out, to [outputs](crate::output): runs, batches and ends, as from the node. A connection that breaks is made again.

mod messages;
mod subscription;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::Event;

use self::{
    messages::Messages,
    subscription::{Subscription, next},
};
use super::{Server, Subjects};
use crate::{
    capture::{Counted, End, Run},
    event::Time,
    follow::{IDLE_INTERVAL, log_end},
    output::{Outputs, Result, Waiting},
    recording::{Entry, log_run},
    selection::Selection,
    stop::Stop,
};

/// How long to wait before a server is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A node, as another bitcointap publishes it with [`NatsFormat::Recording`](super::NatsFormat::Recording).
#[derive(Clone, Debug)]
pub struct NatsSource {
    /// The servers.
    pub server: Server,
    /// The prefix of subjects.
    pub prefix: String,
    /// The node's name.
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
    /// Checks the names that are part of the subject.
    ///
    /// # Errors
    /// A line that says which names are right.
    pub fn check(&self) -> std::result::Result<(), String> {
        Subjects::new(&self.prefix, Some(&self.node)).map(drop)
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
        // On another thread than that of the outputs, the connection takes what comes, and answers pings.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("nats").enable_all().build()?;
        let handle = runtime.handle().clone();
        // A subscription must end within the runtime.
        let within = handle.enter();
        let mut reading = Reading::new(self);
        let mut end = End::Requested;
        let mut result = Ok(());
        while !stop.is_due() && result.is_ok() {
            if outputs.are_done() {
                end = End::Done;
                break;
            }
            let Some((subscription, broken)) = &mut reading.subscription else {
                reading.connect(&runtime, outputs);
                if reading.subscription.is_none() {
                    idle(RETRY_INTERVAL, stop, outputs);
                }
                continue;
            };
            match runtime.block_on(next(subscription, IDLE_INTERVAL)) {
                Ok(Some((message, sequence))) => match reading.take(&message, sequence, outputs) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => result = Err(error),
                },
                Ok(None) if broken.load(Relaxed) => reading.disconnected("the connection has broken", outputs),
                Ok(None) => outputs.idle(),
                Err(words) => reading.disconnected(&words, outputs),
            }
        }
        reading.subscription = None;
        drop(within);
        runtime.shutdown_background();
        if result.is_ok() && reading.is_in_run {
            result = run_ends(&Counted::default(), end, outputs);
        }
        result
    }
}

/// What is known while messages come.
struct Reading<'a> {
    source: &'a NatsSource,
    messages: Messages,
    /// It, and whether the connection has broken.
    subscription: Option<(Subscription, Arc<AtomicBool>)>,
    is_in_run: bool,
    /// Whether the log has said that the server is gone.
    is_told: bool,
    has_connected: bool,
    /// The last message of the stream.
    sequence: Option<u64>,
}

impl<'a> Reading<'a> {
    fn new(source: &'a NatsSource) -> Self {
        Self {
            source,
            messages: Messages::new(&source.wanted),
            subscription: None,
            is_in_run: false,
            is_told: false,
            has_connected: false,
            sequence: None,
        }
    }

    fn connect(&mut self, runtime: &tokio::runtime::Runtime, outputs: &mut Outputs<'_>) {
        let broken = Arc::new(AtomicBool::new(false));
        let breaks = Arc::clone(&broken);
        let told = move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                breaks.store(true, Relaxed);
            }
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
                self.subscription = Some((subscription, broken));
                let again = if self.has_connected { " again" } else { "" };
                tracing::info!("reading {} from NATS at {server}{again}", self.source.subject());
                (self.has_connected, self.is_told) = (true, false);
                if !self.is_in_run {
                    outputs.waits(&Waiting { why: "the node publishes nothing yet", has_failed: false });
                }
            }
            Err(words) => self.disconnected(&words, outputs),
        }
    }

    fn disconnected(&mut self, words: &str, outputs: &mut Outputs<'_>) {
        self.subscription = None;
        let words = format!("cannot read from NATS at {}: {words}", self.source.server);
        if !self.is_in_run {
            outputs.waits(&Waiting { why: &words, has_failed: false });
        }
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::error!("{words}; bitcointap tries again every second");
        }
    }

    /// Takes a message. Gives whether nothing more is wanted.
    fn take(
        &mut self,
        message: &async_nats::Message,
        sequence: Option<u64>,
        outputs: &mut Outputs<'_>,
    ) -> Result<bool> {
        self.sequence = sequence.or(self.sequence);
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
}

fn run_ends(counted: &Counted, end: End, outputs: &mut Outputs<'_>) -> Result {
    outputs.run_ends(counted, end)?;
    log_end(outputs.counted(), end, "end of the run", 0);
    Ok(())
}

fn idle(time: Duration, stop: &Stop, outputs: &mut Outputs<'_>) {
    let until = Instant::now() + time;
    while !stop.is_due() && Instant::now() < until {
        outputs.idle();
        stop.wait(stop.at_most(IDLE_INTERVAL));
    }
}
