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

mod output;
mod reader;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

pub use self::{
    output::RecordingOutput,
    reader::{Entry, Error, Reader},
    replay::{Replay, Speed},
    writer::Writer,
};
use crate::capture::Counters;

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

#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) mod fuzzing {
    use super::{MAGIC, VERSION};

    /// A recording of these bytes; as a block that is whole if they are to be `framed`.
    pub(crate) fn after_header(data: &[u8], framed: bool) -> Vec<u8> {
        let header = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
        if !framed {
            return [&header, data].concat();
        }
        // Of blocks that are not compressed, since compressing takes longer than all else (RFC 8878, section 3.1.1).
        let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0], &(data.len() as u32).to_le_bytes()[..]].concat();
        let mut blocks = data.chunks(128 << 10).peekable();
        while let Some(block) = blocks.next() {
            let is_last = u32::from(blocks.peek().is_none());
            frame.extend_from_slice(&(is_last | (block.len() as u32) << 3).to_le_bytes()[..3]);
            frame.extend_from_slice(block);
        }
        let numbers = [frame.len() as u32, data.len() as u32, crc32fast::hash(&frame)];
        [&header, &numbers.map(u32::to_le_bytes).concat()[..], &frame].concat()
    }
}
