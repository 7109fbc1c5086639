//! Recordings: all that a tap gave, to be given again. In: runs of a node, batches, ends, as they come. Out: a file; and from
//! a file the same, so that metrics and JSON of a recording are those of the node.
//!
//! A recording is a sequence of groups, each of which is a recording of its own: it can be cut before any of them, and recordings
//! can be put one after another. A group is a header, blocks, and a block of zeros, which ends it. The header is `bitcointap recording`,
//! a zero byte, and the version as a little-endian u32. A block is three little-endian u32 and bytes: how many bytes, how many
//! these are when decompressed, their CRC-32 (IEEE, of the bytes as they stand there), and a zstd frame, in which a byte 1 is put after
//! each `bitcointap recording`: so nothing in it looks like a group. Blocks are written at least every second, so that what a
//! crash leaves can be read up to that; after what is damaged it goes on with the next group.
//!
//! A decompressed block is in postcard's format. The first of a group is an `Opening`: it names the tracepoints, the fields of their
//! records and the reasons of losses, by which another build can read what follows, and says of which run that is and what was
//! counted of it by then. The others are sequences of entries: a batch, an end.
//!
//! Who is connected when a group begins is not told. Messages have address and network of their peer, so that a group that is read alone
//! gives what a tap gives that was attached then, and more: the network also of those whose opening came before.
//!
//! A tracepoint, a field or a reason that is added changes nothing of that. Version 2, which had but one header, is read too.

mod blocks;
mod dialect;
mod error;
mod opening;
mod output;
mod reader;
mod replay;
mod stored;
#[cfg(test)]
mod tests;
mod version2;
mod writer;

pub use self::{
    dialect::Unknown,
    error::Error,
    output::RecordingOutput,
    reader::{Entry, Reader},
    replay::{Replay, Speed, Window},
    writer::Writer,
};

const MAGIC: &[u8; 21] = b"bitcointap recording\0";
const VERSION: u32 = 3;
/// What the header of a group begins with. Wherever else it stands, another byte than zero follows.
const MARK: &[u8] = MAGIC.split_at(MAGIC.len() - 1).0;

/// The most that a block has, decompressed: more than a batch with the largest message.
const MAX_BLOCK: usize = 16 << 20;

/// A block's three numbers.
const BLOCK_HEADER: usize = 12;

#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) mod fuzzing {
    use super::{MAGIC, VERSION, opening, version2, writer::serialize};

    /// What a recording is made of, by the bits of a byte: version 3, blocks that are whole, and the opening of this build.
    #[derive(Clone, Copy)]
    pub(crate) struct Form(pub u8);

    impl Form {
        fn has(self, bit: u8) -> bool {
            self.0 >> bit & 1 == 1
        }
    }

    /// A recording of these bytes. Where they make up what opens a group, too, its length stands before it.
    pub(crate) fn recording(data: &[u8], form: Form) -> Vec<u8> {
        let version = if form.has(1) { VERSION } else { version2::VERSION };
        let mut bytes = [MAGIC.as_slice(), &version.to_le_bytes()].concat();
        let mut data = data;
        if version == VERSION && form.has(2) {
            let mut opening = Vec::new();
            serialize(&opening::of(1, 0, false, None, &Default::default()), &mut opening).expect("memory takes all");
            frame(&opening, &mut bytes);
        } else if version == VERSION && form.has(0) {
            let Some((length, rest)) = data.split_first_chunk() else { return bytes };
            let opening;
            (opening, data) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
            frame(opening, &mut bytes);
        }
        if form.has(0) {
            frame(data, &mut bytes);
        } else {
            bytes.extend_from_slice(data);
        }
        bytes
    }

    /// Appends a block.
    fn frame(data: &[u8], bytes: &mut Vec<u8>) {
        // Of blocks that are not compressed, since compressing takes longer than all else (RFC 8878, section 3.1.1).
        let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0], &(data.len() as u32).to_le_bytes()[..]].concat();
        let mut blocks = data.chunks(128 << 10).peekable();
        while let Some(block) = blocks.next() {
            let is_last = u32::from(blocks.peek().is_none());
            frame.extend_from_slice(&(is_last | (block.len() as u32) << 3).to_le_bytes()[..3]);
            frame.extend_from_slice(block);
        }
        let numbers = [frame.len() as u32, data.len() as u32, crc32fast::hash(&frame)];
        bytes.extend_from_slice(&numbers.map(u32::to_le_bytes).concat());
        bytes.extend_from_slice(&frame);
    }
}
