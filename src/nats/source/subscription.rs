//! A subscription. In: a subject, or a place in a stream of JetStream. Out: messages.

use std::time::Duration;

use async_nats::{
    Client, Message, Subscriber,
    jetstream::{
        self,
        consumer::{DeliverPolicy, pull},
    },
};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Start, Stored};
use crate::nats::server::words;

/// Where messages come from.
pub(super) enum Subscription {
    Core(Subscriber),
    Stream(Box<pull::Ordered>),
}

impl Subscription {
    /// Subscribes.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub(super) async fn open(client: Client, subject: String, stored: Option<&Stored>) -> Result<Self, String> {
        let Some(Stored { stream, start }) = stored else {
            let subscriber = client.subscribe(subject).await.map_err(|error| words(&error))?;
            // The server has it within moments: the client does not wait for an answer. From then on it sends what comes.
            client.flush().await.map_err(|error| words(&error))?;
            return Ok(Self::Core(subscriber));
        };
        let deliver_policy = match start {
            Start::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence: *start_sequence },
            Start::Time(time) => {
                let nanoseconds = i128::from(time.0);
                let start_time = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
                    .map_err(|error| format!("--start: {error}"))?;
                DeliverPolicy::ByStartTime { start_time }
            }
        };
        let context = jetstream::new(client);
        let stream = context.get_stream(stream).await.map_err(|error| words(&error))?;
        let config = pull::OrderedConfig { filter_subject: subject, deliver_policy, ..Default::default() };
        let consumer = stream.create_consumer(config).await.map_err(|error| words(&error))?;
        Ok(Self::Stream(Box::new(consumer.messages().await.map_err(|error| words(&error))?)))
    }
}

/// The next message, with its number in its stream. `None` if none has come within this time.
///
/// # Errors
/// A line that says what is wrong. Nothing more comes.
pub(super) async fn next(
    subscription: &mut Subscription,
    most: Duration,
) -> Result<Option<(Message, Option<u64>)>, String> {
    let message = match subscription {
        Subscription::Core(subscriber) => {
            timeout(most, subscriber.next()).await.map(|message| message.map(|message| Ok((message, None))))
        }
        Subscription::Stream(messages) => timeout(most, messages.next()).await.map(|message| {
            let numbered = |message: jetstream::Message| {
                let number = message.info().ok().map(|info| info.stream_sequence);
                (message.message, number)
            };
            message.map(|message| message.map(numbered).map_err(|error| words(&error)))
        }),
    };
    match message {
        Err(_) => Ok(None),
        Ok(Some(message)) => message.map(Some),
        Ok(None) => Err("the connection was closed".into()),
    }
}
