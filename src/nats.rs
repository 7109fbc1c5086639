//! Publishes events over NATS. In: batches, from a spool. Out: NATS messages, each on a subject that says what is in it.
//!
//! A subject is `PREFIX.NODE.CONTEXT.EVENT`, and for P2P messages `.COMMAND` after that, as in
//! `bitcointap.alice.net.inbound_message.inv`. Subscribers select by NATS' own wildcards. bitcointap also uses these subjects:
//!
//! | subject | what |
//! |---|---|
//! | `PREFIX.NODE.lost.CONTEXT.EVENT` | gaps: events that are missing |
//! | `PREFIX.NODE.heartbeat` | each second: the last numbers, and what was counted |
//! | `PREFIX.NODE.confirm.RUN` | bitcointap asks the server by it what has arrived; it is also subscribed to |
//!
//! In peer-observer's format, messages are on the subjects of [`peer_observer`](crate::peer_observer) and have one event each. Gaps,
//! and events that its schema has no place for, go as JSON to the subjects above. peer-observer's tools read only subjects of one token.
//!
//! A message of the JSON format has the lines of one subject, up to 64 KiB. These headers tell a reader what it misses:
//!
//! | header | value |
//! |---|---|
//! | `Bitcointap-Run` | a random number of the publisher, the same until it ends |
//! | `Bitcointap-Event` | the number of the first event in it; all events of the publisher are counted, from 1 |
//! | `Bitcointap-Number` | the number of the message on its subject, from 1 |
//! | `Nats-Msg-Id` | run and number of the first event, by which JetStream drops doubles |
//!
//! Core NATS delivers a message at most once, and tells the publisher nothing. So bitcointap sends a question after each handful of
//! messages, on a subject that it has subscribed to. A server handles what comes on a connection in order: the answer says that it has
//! all that was sent before. What is not answered when a connection breaks counts as lost.

mod connection;
mod destination;
mod format;
mod heartbeat;
mod output;
mod server;
mod source;
mod subjects;

pub use self::{
    format::NatsFormat,
    output::{NatsOptions, start},
    server::{Identity, Server, TlsFiles},
    source::{NatsSource, Start, Stored},
    subjects::Subjects,
};
#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) use self::{format::longest_line, source::fuzzing as reading};
