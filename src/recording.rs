//! Recordings: all that a tap gave, to be given again. In: runs of a node, batches, ends, as they come. Out: a file; and from
//! a file the same, so that metrics and JSON of a recording are those of the node.
//!
//! A recording is a header and blocks. The header is `bitcointap recording`, a zero byte, and the version as a little-endian
//! u32. A block is three little-endian u32 and bytes: how many bytes, how many these are when decompressed, their CRC-32
//! (IEEE, of the bytes as they stand there), and a zstd frame. Decompressed it is a sequence of entries in postcard's format:
//! a run, a batch, an end. The last block is empty. Blocks are written at least every second, so that what a crash leaves
//! can be read up to that.
//!
//! The version changes with the entries and with the records in them, which are those of the kernel side.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

pub use self::{
    reader::{Entry, Error, Reader},
    writer::Writer,
};
use crate::tap::Counters;

const MAGIC: &[u8; 21] = b"bitcointap recording\0";
const VERSION: u32 = 2;

/// The most that a block has, decompressed: more than a batch with the largest message.
const MAX_BLOCK: usize = 16 << 20;

/// A block's three numbers.
const BLOCK_HEADER: usize = 12;

/// Counters that changed since the entry before, by the tracepoint's index.
type Changed = Vec<(u8, Counters)>;

/// An entry as it is stored. Tracepoints are the kernel side's numbers, sets of them a bit for each.
#[derive(Debug, Serialize, Deserialize)]
enum Stored<'a> {
    Run {
        pid: i32,
        program: String,
        start_time: f64,
        attached: u32,
        failed: u32,
    },
    Batch {
        /// UNIX time and boot clock, in nanoseconds.
        drained: (u64, u64),
        unix_offset_ns: i64,
        block_duration_unit_ns: u64,
        ring_buffer: (u64, u64),
        changed: Changed,
        /// Bytes of each record.
        lengths: Vec<u32>,
        /// All records, one after another.
        #[serde(borrow)]
        records: &'a Bytes,
    },
    End {
        changed: Changed,
        /// Tracepoint, reason, count.
        untold: Vec<(u8, u8, u64)>,
    },
}
