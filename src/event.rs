//! Typed events, and decoding them from records. Pure. In: bytes. Out: [`Event`]s.

pub mod coin_selection;
pub mod mempool;
pub mod names;
pub mod net;
#[cfg(test)]
pub(crate) mod tests;
pub mod utxocache;
pub mod validation;

use std::{borrow::Cow, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    json,
    kernel_side::{self, Plain, types},
    tracepoint::{About, LossReason, Tracepoint},
};

/// An event of the node. Borrows its texts and payloads from its batch.
#[derive(Debug)]
pub struct Event<'a> {
    /// When its tracepoint fired, as wall-clock time. The kernel stamps `moment`, which is converted when the event is drained.
    pub time: Time,
    /// When its tracepoint fired, by a clock that is never set: for durations between events.
    pub moment: Moment,
    /// What happened.
    pub kind: Kind<'a>,
}

/// What happened, by the group of its tracepoint.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Kind<'a> {
    /// `net`: a P2P message.
    Msg(net::Message<'a>),
    /// `net`: a connection.
    Conn {
        /// What became of it.
        event: net::Connection<'a>,
    },
    /// `mempool`.
    Mempool {
        /// What became of the transaction.
        event: mempool::Mempool<'a>,
    },
    /// `validation`.
    Validation {
        /// What was validated.
        event: validation::Validation,
    },
    /// `utxocache`.
    Utxocache {
        /// What was done to the cache or a coin.
        event: utxocache::Utxocache,
    },
    /// `coin_selection`.
    CoinSelection {
        /// What the wallet did.
        event: coin_selection::CoinSelection<'a>,
    },
    /// A gap: these events fired, but are lost.
    Lost(Lost),
}

/// A gap: events that are missing before the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lost {
    /// The tracepoint whose events are missing.
    pub tracepoint: Tracepoint,
    /// Why.
    pub reason: LossReason,
    /// How many. Nobody knows how many were not recorded: there it is 0, and missing in JSON.
    #[cfg_attr(test, schemars(with = "Option<u64>", skip_serializing_if = "Option::is_none"))]
    pub count: u64,
}

impl Lost {
    /// Events that nobody recorded.
    pub(crate) fn not_recorded(tracepoint: Tracepoint) -> Self {
        Self { tracepoint, reason: LossReason::NotRecorded, count: 0 }
    }
}

impl Serialize for Lost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_counted = self.reason.is_counted();
        let mut lost = serializer.serialize_struct("Lost", 2 + usize::from(is_counted))?;
        lost.serialize_field("tracepoint", &self.tracepoint)?;
        lost.serialize_field("reason", &self.reason)?;
        if is_counted {
            lost.serialize_field("count", &self.count)?;
        }
        lost.end()
    }
}

/// Nanoseconds since the machine started, including time asleep (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// UNIX time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_struct("Event", 3)?;
        self.serialize_fields(&mut event)?;
        event.end()
    }
}

impl Event<'_> {
    pub(crate) fn serialize_fields<S: SerializeStruct>(&self, event: &mut S) -> Result<(), S::Error> {
        event.serialize_field("timestamp", &Seconds(self.time.0 / 1_000_000_000))?;
        event.serialize_field("timestamp_subsec_micros", &((self.time.0 % 1_000_000_000 / 1_000) as u32))?;
        event.serialize_field("event", &self.kind)?;
        json::cut().map_or(Ok(()), |cut| event.serialize_field("cut", &cut))
    }
}

/// A number in each style, since it always fits.
#[derive(Serialize)]
struct Seconds(#[serde(with = "json::AsNumber")] u64);

/// Decodes the records of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    /// UNIX time minus CLOCK_BOOTTIME, in nanoseconds.
    pub unix_offset_ns: i64,
    /// The unit of the duration of `validation:block_connected`, in nanoseconds.
    pub block_duration_unit_ns: u64,
}

/// For those who do not look at times.
impl Default for Decoder {
    fn default() -> Self {
        Self { unix_offset_ns: 0, block_duration_unit_ns: 1 }
    }
}

impl Decoder {
    /// Gives the event of a record, or its gaps in order. False if the bytes are no record. With `decodes`, payloads of messages are
    /// decoded.
    pub fn decode<'a>(&self, record: &'a [u8], decodes: bool, mut give: impl FnMut(Event<'a>)) -> bool {
        let Some((header, _)) = kernel_side::split::<types::event_header>(record) else { return false };
        let time = Time(header.boot_ns.saturating_add_signed(self.unix_offset_ns));
        let moment = Moment(header.boot_ns);
        if u32::from(header.tracepoint) == types::tracepoint::LOSSES.0 {
            let Some((losses, others)) = kernel_side::split::<types::losses_record>(record) else { return false };
            let of_kernel = each_lost(|tracepoint, reason| losses.counts[tracepoint][reason].into());
            for lost in of_kernel.chain(others.chunks_exact(OTHER_LOSS).filter_map(other_loss)) {
                give(Event { time, moment, kind: Kind::Lost(lost) });
            }
            return true;
        }
        let kind = Tracepoint::from_id(header.tracepoint).and_then(|tracepoint| self.kind(tracepoint, record, decodes));
        let known = kind.is_some();
        if let Some(kind) = kind {
            give(Event { time, moment, kind });
        }
        known
    }

    fn kind<'a>(&self, tracepoint: Tracepoint, record: &'a [u8], decodes: bool) -> Option<Kind<'a>> {
        Some(match (tracepoint.about(), tracepoint.context()) {
            (About::MessageToNode, _) => Kind::Msg(net::Message::decode(record, true, decodes)?),
            (About::MessageToPeer, _) => Kind::Msg(net::Message::decode(record, false, decodes)?),
            (_, "net") => Kind::Conn { event: net::Connection::decode(tracepoint, record)? },
            (_, "mempool") => Kind::Mempool { event: mempool::Mempool::decode(tracepoint, record)? },
            (_, "validation") => {
                Kind::Validation { event: validation::Validation::decode(record, self.block_duration_unit_ns)? }
            }
            (_, "utxocache") => Kind::Utxocache { event: utxocache::Utxocache::decode(tracepoint, record)? },
            (_, "coin_selection") => {
                Kind::CoinSelection { event: coin_selection::CoinSelection::decode(tracepoint, record)? }
            }
            // Cannot happen: a test decodes an event of each tracepoint.
            _ => return None,
        })
    }
}

/// The losses that are not zero, from the kernel side's counts by tracepoint and reason.
pub(crate) fn each_lost(count: impl Fn(usize, usize) -> u64) -> impl Iterator<Item = Lost> {
    Tracepoint::all()
        .flat_map(|tracepoint| LossReason::KERNEL.into_iter().map(move |reason| (tracepoint, reason)))
        .map(move |(tracepoint, reason)| Lost { tracepoint, reason, count: count(tracepoint.index(), reason as usize) })
        .filter(|lost| lost.count > 0)
}

/// Bytes of a loss that the kernel side has no place for. Such losses may follow its struct in a record.
const OTHER_LOSS: usize = 16;

/// Appends a loss, for a reason that the kernel side does not have, to a record of losses.
pub(crate) fn push_other_loss(record: &mut Vec<u8>, lost: &Lost) {
    record.extend_from_slice(&[lost.tracepoint as u8, lost.reason as u8, 0, 0, 0, 0, 0, 0]);
    record.extend_from_slice(&lost.count.to_le_bytes());
}

fn other_loss(bytes: &[u8]) -> Option<Lost> {
    let (numbers, count) = bytes.split_first_chunk::<8>()?;
    let tracepoint = Tracepoint::from_id(numbers[0])?;
    let reason = *LossReason::ALL.get(usize::from(numbers[1]))?;
    Some(Lost { tracepoint, reason, count: u64::from_le_bytes(*count.first_chunk()?) })
}

/// The tracepoint of a record, without decoding it; `None` for the record of a gap.
pub(crate) fn tracepoint_of(record: &[u8]) -> Option<Tracepoint> {
    let (header, _) = kernel_side::split::<types::event_header>(record)?;
    Tracepoint::from_id(header.tracepoint)
}

/// A record's struct, its text and the bytes after both. In the text, bytes that are not UTF-8 are replaced.
fn parts<T: Plain>(record: &[u8]) -> Option<(T, Cow<'_, str>, &[u8])> {
    let (fixed, text, rest) = parts_in_bytes(record)?;
    Some((fixed, String::from_utf8_lossy(text), rest))
}

/// The same, with the text as it is.
pub(crate) fn parts_in_bytes<T: Plain>(record: &[u8]) -> Option<(T, &[u8], &[u8])> {
    let (header, _) = kernel_side::split::<types::event_header>(record)?;
    let (fixed, rest) = kernel_side::split::<T>(record)?;
    let (text, rest) = rest.split_at_checked(header.text_length.into())?;
    Some((fixed, text, rest))
}

/// The text in an array of `size` bytes at the start of `bytes`. A zero ends it unless it fills the array. Bitcoin Core's names are
/// ASCII; a text with bytes that are not UTF-8 is cut before them.
fn text_in_place(bytes: &[u8], size: usize) -> &str {
    let array = &bytes[..size.min(bytes.len())];
    let text = array.split(|&byte| byte == 0).next().unwrap_or_default();
    text.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}
