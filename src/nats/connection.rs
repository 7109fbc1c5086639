//! A connection to a server. In: messages. Out: all of them are confirmed, or an error; and what the server refuses.
//!
//! The connection has a thread of its own, which sends, receives, and answers the server's pings.

use std::{
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, Event, HeaderMap, ServerError, Subject, Subscriber,
    jetstream::{
        self,
        context::{PublishAckFuture, PublishError},
    },
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{BoxFuture, Either, join_all, select},
};
use tokio::{runtime::Runtime, sync::watch, time::timeout};

use super::{
    heartbeat::Heartbeat,
    server::{Server, words},
};

/// How long a server may take to confirm. A slow subscriber can hold up a server for some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message to be published.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) subject: Subject,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

/// Messages that were not stored, by their places, and why.
pub(super) type Unstored = Vec<(usize, String)>;

pub(super) struct Connection {
    /// Has the connection's thread. `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    jetstream: Option<jetstream::Context>,
    confirm: Subject,
    /// How many questions were asked, and answered.
    asked: u64,
    answered: watch::Receiver<u64>,
    broken: watch::Receiver<bool>,
    /// What the server has said about us, unless it was taken.
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    /// Connects. `more` are servers of the cluster that were met before.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub(super) fn open(
        server: &Server,
        more: &[String],
        confirm: &str,
        jetstream: bool,
        heartbeat: &Arc<Heartbeat>,
    ) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("nats").enable_all().build()?;
        let (breaks, broken) = watch::channel(false);
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        let told = move |event| match event {
            Event::Disconnected | Event::Closed => drop(breaks.send(true)),
            Event::ServerError(ServerError::Other(words)) => {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(words);
            }
            _ => {}
        };
        let opened = runtime.block_on(async {
            let client = server.connect("bitcointap", more, told).await.map_err(io::Error::other)?;
            let answers =
                client.subscribe(Subject::from(confirm)).await.map_err(|error| io::Error::other(words(&error)))?;
            // It starts a task, and so must be made within the runtime.
            let jetstream = jetstream.then(|| jetstream::new(client.clone()));
            io::Result::Ok((client, answers, jetstream))
        });
        let (client, answers, jetstream) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (answer, answered) = watch::channel(0);
        // The subscriber must live and end within the runtime.
        runtime.spawn(hear(answers, answer));
        runtime.spawn(Arc::clone(heartbeat).beat(client.clone()));
        Ok(Self {
            jetstream,
            runtime: Some(runtime),
            client,
            confirm: confirm.into(),
            asked: 0,
            answered,
            broken,
            complaints,
        })
    }

    /// The most bytes of a message, with its headers.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Servers of the cluster, as this one told them.
    pub(super) fn others(&self) -> Vec<String> {
        self.client.server_info().connect_urls
    }

    /// Whether it has broken.
    pub(super) fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }

    /// What the server has complained about since the last call.
    pub(super) fn take_complaints(&self) -> Vec<String> {
        std::mem::take(&mut *self.complaints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes messages. The future ends when the server has confirmed that it has them; then it gives those that JetStream has not
    /// stored; `in_order` makes it store none before those that come first. It fails if the connection breaks or the server does not
    /// answer.
    pub(super) fn publish(
        &mut self,
        messages: Vec<Outgoing>,
        in_order: bool,
    ) -> BoxFuture<'static, io::Result<Unstored>> {
        let mut broken = self.broken.clone();
        let publishing: BoxFuture<'static, io::Result<Unstored>> = match &self.jetstream {
            Some(jetstream) if in_order => Box::pin(store_in_order(jetstream.clone(), messages)),
            Some(jetstream) => Box::pin(store(jetstream.clone(), messages)),
            None => {
                self.asked += 1;
                Box::pin(send(self.client.clone(), messages, self.confirm.clone(), self.asked, self.answered.clone()))
            }
        };
        let published = async move {
            let breaks = pin!(broken.wait_for(|&is_broken| is_broken));
            match select(pin!(timeout(PATIENCE, publishing)), breaks).await {
                Either::Left((Ok(result), _)) => result,
                Either::Left((Err(_), _)) => {
                    Err(io::Error::other(format!("the server has not confirmed within {} s", PATIENCE.as_secs())))
                }
                Either::Right(_) => {
                    Err(io::Error::other("the connection has broken, and what was not confirmed is lost"))
                }
            }
        };
        // In the connection's thread, which then sends all messages at once: here, each message would wake that thread.
        let task = self.runtime.as_ref().expect("it is not dropped yet").spawn(published);
        Box::pin(async { task.await.unwrap_or_else(|error| Err(io::Error::other(error))) })
    }

    /// Waits for a future, but not longer than `most`.
    pub(super) fn wait<T>(&self, future: &mut BoxFuture<'static, T>, most: Duration) -> Option<T> {
        let runtime = self.runtime.as_ref().expect("it is not dropped yet");
        runtime.block_on(async { timeout(most, future).await.ok() })
    }
}

/// Sends messages, and then a question. The server handles them in order, so its answer confirms them.
async fn send(
    client: Client,
    messages: Vec<Outgoing>,
    confirm: Subject,
    asked: u64,
    mut answered: watch::Receiver<u64>,
) -> io::Result<Unstored> {
    let cannot = |error: async_nats::PublishError| io::Error::other(words(&error));
    for Outgoing { subject, headers, payload } in messages {
        match headers {
            Some(headers) => client.publish_with_headers(subject, headers, payload).await.map_err(cannot)?,
            None => client.publish(subject, payload).await.map_err(cannot)?,
        }
    }
    client.publish(confirm, asked.to_string().into()).await.map_err(cannot)?;
    let answer = answered.wait_for(|&answered| answered >= asked).await;
    answer.map(|_| Vec::new()).map_err(|_| io::Error::other("the connection was closed"))
}

/// Takes answers, each of which has the number of its question.
async fn hear(mut answers: Subscriber, told: watch::Sender<u64>) {
    while let Some(answer) = answers.next().await {
        if let Some(number) = std::str::from_utf8(&answer.payload).ok().and_then(|text| text.parse().ok()) {
            told.send_replace(number);
        }
    }
}

/// Publishes to JetStream, and waits for all acknowledgements.
async fn store(jetstream: jetstream::Context, messages: Vec<Outgoing>) -> io::Result<Unstored> {
    let mut acknowledgements = Vec::with_capacity(messages.len());
    for message in messages {
        acknowledgements.push(sent(&jetstream, message).await);
    }
    let acknowledged = acknowledgements.into_iter().map(|sent| async { sent?.await });
    let results = join_all(acknowledged).await;
    let failed = |(place, result): (usize, Result<_, PublishError>)| Some((place, words(&result.err()?)));
    Ok(results.into_iter().enumerate().filter_map(failed).collect())
}

/// Publishes to JetStream, each message when the one before is stored.
async fn store_in_order(jetstream: jetstream::Context, messages: Vec<Outgoing>) -> io::Result<Unstored> {
    let count = messages.len();
    for (place, message) in messages.into_iter().enumerate() {
        let acknowledged = async { sent(&jetstream, message).await?.await };
        if let Err(error) = acknowledged.await {
            return Ok((place..count).map(|place| (place, words(&error))).collect());
        }
    }
    Ok(Unstored::new())
}

async fn sent(jetstream: &jetstream::Context, message: Outgoing) -> Result<PublishAckFuture, PublishError> {
    let Outgoing { subject, headers, payload } = message;
    match headers {
        Some(headers) => jetstream.publish_with_headers(subject, headers, payload).await,
        None => jetstream.publish(subject, payload).await,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
