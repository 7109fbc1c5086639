//! Events as the messages that peer-observer's tools read, from NATS or from an archive.
//!
//! In: decoded [`Event`]s. Out: for each the bytes of one message, and the [`Subject`] on which it is published.
//!
//! The format is `event.proto` of [peer-observer](https://github.com/peer-observer/peer-observer/tree/0cda18ca719e8f873e2ae7aaec34c892a992dbaa/protobuf)
//! at 0cda18c of 2025-12-30, and what it imports: Protocol Buffers, version 2. Before 2025-12-12 the same numbers meant other things.
//! Hashes are in internal byte order, repeated numbers are not packed. Fields are in the order of their numbers, as other encoders write
//! them.
//!
//! The schema has no place for some events, so they are not written:
//!
//! | event | why |
//! |---|---|
//! | a message that does not decode, or whose payload was not copied whole | The tools expect a message's content. peer-observer's own extractor does not publish such messages either. |
//! | `filterload` with flags above 2 | The flags are an enumeration. |
//! | `utxocache`, `coin_selection`, gaps ([`Kind::Lost`]) | The schema has no such events. |
//!
//! Other events lose a part:
//!
//! | event | what is written |
//! |---|---|
//! | `feature`, `sendtxrcncl` | They are `unknown`, which has command and payload. |
//! | connections of the types manual, addr-fetch and private-broadcast | Their type is `Unknown`. |
//! | `sendcmpct` with a byte that is neither 0 nor 1 | The byte is `true`. |
//! | an item of type 0 in `inv`, `getdata` and `notfound` | It is `error`, which has no hash. |
//! | misbehaving peers | Number and reason, no scores. |
//!
//! peer-observer's own extractor writes the type of feelers as outbound-full-relay, and onion names of version 3 without checksum and version.
//! Here both are right.

mod events;
mod messages;
mod primitives;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use std::fmt;

use crate::event::{Event, Kind};

/// What to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Leave out the bytes of transactions (`raw`). Their hashes stay. peer-observer's archives call this low data.
    pub low_data: bool,
}

/// Where peer-observer publishes an event in NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// P2P messages.
    Netmsg,
    /// Connections.
    Netconn,
    /// The mempool.
    Mempool,
    /// Connected blocks.
    Validation,
}

impl Subject {
    /// All.
    pub const ALL: [Subject; 4] = [Subject::Netmsg, Subject::Netconn, Subject::Mempool, Subject::Validation];

    /// The subject's name.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Netmsg => "netmsg",
            Subject::Netconn => "netconn",
            Subject::Mempool => "mempool",
            Subject::Validation => "validation",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Appends the message for an event to `out`. `None` if the schema has no place for the event: then `out` is as before.
///
/// The message's length is not written, since NATS and records of an archive have their own.
///
/// ```
/// use bitcointap::{
///     event::{Event, Kind, Moment, Time, mempool::Mempool},
///     json::Hash,
///     peer_observer::{Options, Subject, encode},
/// };
///
/// let event = Mempool::Added { txid: Hash([7; 32]), vsize: 141, fee: 500 };
/// let event = Event { time: Time(1_747_158_913_356_600_000), moment: Moment(0), kind: Kind::Mempool { event } };
/// let mut message = Vec::new();
/// assert_eq!(encode(&event, Options::default(), &mut message), Some(Subject::Mempool));
/// assert_eq!(message.len(), 53);
/// ```
pub fn encode(event: &Event<'_>, options: Options, out: &mut Vec<u8>) -> Option<Subject> {
    let begin = out.len();
    let expected = expected(&event.kind);
    out.reserve(expected);
    let mut message = wire::Message(out);
    // `ebpf_extractor` in `event.proto`, and what it is about in `ebpf_extractor.proto`.
    let subject = message.nested(1, expected, |out| match &event.kind {
        Kind::Msg(message) => {
            let is_said = out.nested(1, expected, |out| messages::message(message, options, out));
            is_said.then_some(Subject::Netmsg)
        }
        Kind::Conn { event } => {
            out.nested(2, expected, |out| events::connection(event, out));
            Some(Subject::Netconn)
        }
        Kind::Mempool { event } => {
            out.nested(4, expected, |out| events::mempool(event, out));
            Some(Subject::Mempool)
        }
        Kind::Validation { event } => {
            out.nested(5, expected, |out| events::validation(event, out));
            Some(Subject::Validation)
        }
        Kind::Utxocache { .. } | Kind::CoinSelection { .. } | Kind::Lost(_) => None,
    });
    if subject.is_some() {
        message.uint(10, event.time.0 / 1_000_000);
    } else {
        out.truncate(begin);
    }
    subject
}

/// About how many bytes an event will take.
fn expected(kind: &Kind<'_>) -> usize {
    match kind {
        Kind::Msg(message) => {
            let meta = 24 + message.meta.addr.len() + message.meta.command.len();
            meta + message.payload.map_or(0, <[u8]>::len)
        }
        _ => wire::SHORT,
    }
}
