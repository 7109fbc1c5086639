//! Recordings keep what a tap gave, so that it can be replayed. In: runs of a node, batches, ends. Out: a file. Or in: a file. Out:
//! the same runs, batches and ends. So metrics and JSON of a recording are those of the node.
//!
//! A recording is a sequence of groups. Each group is a recording of its own: a recording can be cut before any group, and recordings
//! can be joined one after another.
//!
//! | part | bytes |
//! |---|---|
//! | group | a header, blocks, and a block header of zeros, which ends the group |
//! | header | `bitcointap recording`, a zero byte, the version as u32 |
//! | block | a block header, then a zstd frame, or the part of one that has the block's contents |
//! | block header | three u32: the bytes of the frame, the bytes of its contents, the CRC-32 (IEEE) of the frame |
//!
//! Numbers are little-endian. Bit 31 of the bytes of contents says that the frame may go on in the next block, and bit 30 that it goes on with that
//! of the block before. Such frames have a window of at most 8 MiB, and no more contents than that. Each group begins another one.
//!
//! If a frame has the bytes `bitcointap recording`, a byte 1 is put after them. So nothing within a frame
//! looks like the header of a group. The length and the CRC-32 are of the frame with these bytes.
//!
//! A block is written at least every second: after a crash, all blocks before it can be read. If something is damaged, the reader
//! goes on at the next group.
//!
//! The contents of a block are in postcard's format. The first block of a group has an `Opening`. It names the tracepoints, the fields
//! of their records and the reasons for losses, so that another build can read the group. It also has the run and the run's counters
//! by then. Each other block has a sequence of entries: batches and ends.
//!
//! An opening does not say who is connected. It need not: each message has the address and the network of its peer. So a group that
//! is read alone gives what a tap gives that attached at that moment. It gives more about the network of peers: that of peers who
//! connected earlier, too.
//!
//! New tracepoints, fields and reasons do not change this format. Version 2 had only one header; it can still be read.

mod archive;
mod blocks;
mod compression;
mod dialect;
mod entries;
mod error;
mod info;
mod items;
mod mend;
mod merge;
mod missed;
mod opening;
mod outline;
mod output;
#[cfg(any(feature = "http", feature = "nats"))]
mod parts;
mod reader;
mod received;
mod replay;
mod source;
mod stored;
mod strand;
mod survey;
#[cfg(test)]
mod tests;
mod version2;
mod waiting;
mod window;
mod writer;

#[cfg(feature = "http")]
pub(crate) use self::entries::Entries;
pub use self::{
    archive::RecordingArchive,
    dialect::Unknown,
    error::Error,
    info::{Bytes, CommandInfo, Counts, Damage, Info, Inspection, RunInfo},
    output::RecordingOutput,
    reader::{Entry, Reader},
    replay::{Replay, Speed},
    source::Progress,
    window::{Limit, Limits, Window},
    writer::Writer,
};
#[cfg(feature = "nats")]
pub(crate) use self::{
    entries::Sums,
    replay::{log_run, run_ends},
};
#[cfg(any(feature = "http", feature = "nats"))]
pub(crate) use self::{opening::beginning, parts::Parts};

const MAGIC: &[u8; 21] = b"bitcointap recording\0";
const VERSION: u32 = 3;
/// The first bytes of a group's header. In a frame, a byte 1 follows these bytes, not a zero.
const MARK: &[u8] = MAGIC.split_at(MAGIC.len() - 1).0;

/// The most bytes of a block's contents. A batch with the largest message has fewer.
const MAX_BLOCK: usize = 16 << 20;

/// Bytes of a block header.
const BLOCK_HEADER: usize = 12;
/// In the bytes of contents: the frame may go on in the next block, and it goes on with that of the block before.
const MAY_GO_ON: u32 = 1 << 31;
const GOES_ON: u32 = 1 << 30;
/// What ends a group.
pub(crate) const END_OF_GROUP: [u8; BLOCK_HEADER] = [0; BLOCK_HEADER];

#[cfg(any(fuzzing, all(test, feature = "http", feature = "nats")))]
pub(crate) mod fuzzing {
    pub(crate) use super::survey::fuzzing::survey;
    use super::{GOES_ON, MAGIC, MAY_GO_ON, VERSION, entries::serialize, opening, version2};

    /// Which parts of a made-up recording are right. Bit 0: the blocks are whole. Bit 1: it has version 3. Bit 2: it has this build's
    /// opening. Bit 3: it has its block twice, and these may go on with each other. Bit 4: the second does.
    #[derive(Clone, Copy)]
    pub(crate) struct Form(pub u8);

    impl Form {
        fn has(self, bit: u8) -> bool {
            self.0 >> bit & 1 == 1
        }
    }

    /// A recording of these bytes. If they also make up the opening, its length comes first.
    pub(crate) fn recording(data: &[u8], form: Form) -> Vec<u8> {
        let version = if form.has(1) { VERSION } else { version2::VERSION };
        let mut bytes = [MAGIC.as_slice(), &version.to_le_bytes()].concat();
        let mut data = data;
        if version == VERSION && form.has(2) {
            let mut opening = Vec::new();
            serialize(&opening::of(1, 0, false, None, &Default::default()), &mut opening).expect("memory takes all");
            frame(&opening, 0, &mut bytes);
        } else if version == VERSION && form.has(0) {
            let Some((length, rest)) = data.split_first_chunk() else { return bytes };
            let opening;
            (opening, data) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
            frame(opening, 0, &mut bytes);
        }
        if form.has(0) && form.has(3) {
            frame(data, MAY_GO_ON, &mut bytes);
            frame(data, MAY_GO_ON | if form.has(4) { GOES_ON } else { 0 }, &mut bytes);
        } else if form.has(0) {
            frame(data, 0, &mut bytes);
        } else {
            bytes.extend_from_slice(data);
        }
        bytes
    }

    /// Appends a block with these flags.
    fn frame(data: &[u8], flags: u32, bytes: &mut Vec<u8>) {
        // Its blocks are not compressed, since compressing takes longer than all else (RFC 8878, section 3.1.1).
        let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0], &(data.len() as u32).to_le_bytes()[..]].concat();
        let mut blocks = data.chunks(128 << 10).peekable();
        while let Some(block) = blocks.next() {
            let is_last = u32::from(blocks.peek().is_none());
            frame.extend_from_slice(&(is_last | (block.len() as u32) << 3).to_le_bytes()[..3]);
            frame.extend_from_slice(block);
        }
        let numbers = [frame.len() as u32, data.len() as u32 | flags, crc32fast::hash(&frame)];
        bytes.extend_from_slice(&numbers.map(u32::to_le_bytes).concat());
        bytes.extend_from_slice(&frame);
    }
}
