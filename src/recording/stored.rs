//! What stands in blocks, in postcard's format. In: nothing. Out: types, whose sequences have bounds whatever a recording claims.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};
use serde_bytes::Bytes;

use crate::kernel_side::Field;

/// Tracepoints, and reasons of losses: a byte is their number.
const NUMBERS: usize = 255;
/// Records of a batch, and losses among them: many times what a tap gives at once.
const ENTRIES: usize = 1 << 16;

/// What a group opens with: all that it takes to read it alone. Later versions of bitcointap may add to its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening<'a> {
    /// By which the groups of a recording are known, in whatever file they stand.
    pub recording: u64,
    /// The place of the group in it.
    pub group: u64,
    /// Whether the run goes on that the group before had.
    pub continues: bool,
    /// What each record begins with.
    #[serde(borrow)]
    pub header: StoredLayout<'a>,
    /// By their numbers in the records.
    #[serde(borrow)]
    pub tracepoints: AtMost<StoredTracepoint<'a>, NUMBERS>,
    /// Of losses, by name.
    #[serde(borrow)]
    pub reasons: AtMost<&'a str, NUMBERS>,
    #[serde(borrow)]
    pub run: Option<StoredRun<'a>>,
    /// Of the run, by the end of the group before.
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

/// A run of a node. Sets of tracepoints are their numbers.
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
    /// What the operator calls it, and labels by name.
    pub node: Option<&'a str>,
    #[serde(borrow)]
    pub labels: AtMost<(&'a str, &'a str), 64>,
    /// Its own.
    pub user_agent: Option<&'a str>,
}

/// Counters of the run that are not what they were before, by the tracepoint's number.
pub(super) type Changed = AtMost<(u8, StoredCounters), NUMBERS>;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct StoredCounters {
    pub fired: u64,
    pub filtered: u64,
    pub value: u64,
    /// By the reason's number.
    pub lost: AtMost<u64, NUMBERS>,
}

/// An entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stored<'a> {
    Batch(#[serde(borrow)] StoredBatch<'a>),
    End {
        changed: Changed,
        /// After the last record.
        untold: AtMost<Loss, ENTRIES>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredBatch<'a> {
    /// UNIX time and boot clock, in nanoseconds.
    pub drained: (u64, u64),
    pub unix_offset_ns: i64,
    pub block_duration_unit_ns: u64,
    pub ring_buffer: (u64, u64),
    pub changed: Changed,
    /// In order.
    pub losses: AtMost<PlacedLoss, ENTRIES>,
    /// Bytes of each record.
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

/// Before a record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PlacedLoss {
    /// That record's place; the number of records if it is after all of them.
    pub before: u32,
    /// By the boot clock, in nanoseconds.
    pub moment: u64,
    pub loss: Loss,
}

/// A sequence, which is refused if it is longer.
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
        // Not reserved by what the recording says that comes.
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
