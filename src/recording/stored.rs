//! The types of what is stored in blocks, in postcard's format. Sequences have bounds, whatever a recording claims.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};
use serde_bytes::Bytes;

use crate::kernel_side::Field;

/// The most tracepoints, and the most reasons for losses: their numbers are bytes.
const NUMBERS: usize = 255;
/// The most records of a batch, and the most losses among them. A tap gives far fewer at once.
const ENTRIES: usize = 1 << 16;

/// The first entry of a group: all that it takes to read the group alone. Later versions of bitcointap may add to its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening<'a> {
    /// A random number, the same in all groups of a recording.
    pub recording: u64,
    /// The number of the group in the recording, from 0.
    pub group: u64,
    /// Whether the run of the group before goes on.
    pub continues: bool,
    /// The struct that each record begins with.
    #[serde(borrow)]
    pub header: StoredLayout<'a>,
    /// In the order of their numbers in records.
    #[serde(borrow)]
    pub tracepoints: AtMost<StoredTracepoint<'a>, NUMBERS>,
    /// The names of reasons for losses, in the order of their numbers.
    #[serde(borrow)]
    pub reasons: AtMost<&'a str, NUMBERS>,
    #[serde(borrow)]
    pub run: Option<StoredRun<'a>>,
    /// The run's counters at the end of the group before.
    pub counters: Changed,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredTracepoint<'a> {
    pub name: &'a str,
    #[serde(borrow)]
    pub record: StoredLayout<'a>,
}

/// A [`Layout`](crate::kernel_side::Layout).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredLayout<'a> {
    pub size: u16,
    #[serde(borrow)]
    pub fields: AtMost<Field<'a>, 64>,
}

/// A run of a node. A set of tracepoints is a list of their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRun<'a> {
    pub pid: i32,
    #[serde(borrow)]
    pub program: Cow<'a, str>,
    /// UNIX time in seconds.
    pub start_time: f64,
    pub attached: AtMost<u8, NUMBERS>,
    pub failed: AtMost<u8, NUMBERS>,
    pub data_directory: Option<Cow<'a, str>>,
    pub chain: Option<&'a str>,
    pub host: Option<&'a str>,
    /// The operator's name for the node, and labels with their values.
    pub node: Option<&'a str>,
    #[serde(borrow)]
    pub labels: AtMost<(&'a str, &'a str), 64>,
    /// The node's own user agent.
    pub user_agent: Option<&'a str>,
}

/// The run's counters that have changed, by the tracepoint's number.
pub(super) type Changed = AtMost<(u8, StoredCounters), NUMBERS>;

/// What follows an opening: how many events of each tracepoint the groups of the run before it have. Early builds of version 3 lack it.
pub(super) type Delivered = AtMost<(u8, u64), NUMBERS>;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct StoredCounters {
    pub fired: u64,
    pub filtered: u64,
    pub value: u64,
    /// Lost events, by the reason's number.
    pub lost: AtMost<u64, NUMBERS>,
}

/// An entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stored<'a> {
    Batch(#[serde(borrow)] StoredBatch<'a>),
    End {
        changed: Changed,
        /// Losses after the last record.
        untold: AtMost<Loss, ENTRIES>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredBatch<'a> {
    /// When it was drained: UNIX time and boot clock, in nanoseconds.
    pub drained: (u64, u64),
    pub unix_offset_ns: i64,
    pub block_duration_unit_ns: u64,
    pub ring_buffer: (u64, u64),
    pub changed: Changed,
    /// In the order of their places.
    pub losses: AtMost<PlacedLoss, ENTRIES>,
    /// The length of each record in bytes.
    pub lengths: AtMost<u32, ENTRIES>,
    /// All records, one after another.
    #[serde(borrow)]
    pub records: &'a Bytes,
}

/// Events that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Loss {
    pub tracepoint: u8,
    pub reason: u8,
    pub count: u64,
}

/// A loss, and its place among the records.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PlacedLoss {
    /// The number of the next record in the batch. After the last record it is the number of records.
    pub before: u32,
    /// The boot clock in nanoseconds.
    pub moment: u64,
    pub loss: Loss,
}

/// A sequence of at most `N` items. A longer one is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AtMost<T, const N: usize>(pub Vec<T>);

impl<T, const N: usize> Default for AtMost<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> FromIterator<T> for AtMost<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T: Serialize, const N: usize> Serialize for AtMost<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

struct Bounded<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Bounded<T, N> {
    type Value = AtMost<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {N}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // The claimed length reserves no memory, since it may be false.
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            if all.len() == N {
                return Err(de::Error::invalid_length(N + 1, &self));
            }
            all.push(item);
        }
        Ok(AtMost(all))
    }
}
