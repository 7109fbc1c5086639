//! Reads a recording, which may be damaged or made up: whatever its bytes are, what is whole before the damage is given, and
//! memory is bounded.

use std::{
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use super::{BLOCK_HEADER, Changed, MAGIC, MAX_BLOCK, Stored, VERSION};
use crate::{
    capture::{Batch, Counted, Counters, Intake, Run},
    event::{Decoder, HEADER, Lost, Moment, Time},
    selection::Selection,
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};

/// Why a recording cannot be read on. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("{0}")]
    NotARecording(&'static str),
    /// Another version of bitcointap wrote it, in another way.
    #[error("it has version {0} of the format, and this bitcointap reads version {VERSION} only: use the {age} one that wrote it", age = age(.0))]
    Version(u32),
    /// It ends without an end, as after a crash or while it is still written.
    #[error("it breaks off after {0} bytes, as after a crash or while it is still written: all before that was given")]
    Truncated(u64),
    /// Its bytes are not what was written.
    #[error("it is damaged in the block at byte {at}, {what}: all before that was given")]
    Damaged {
        /// Where the block begins.
        at: u64,
        /// What shows that.
        what: &'static str,
    },
}

/// Of the bitcointap that writes this version of the format, to this one.
fn age(version: &u32) -> &'static str {
    if *version > VERSION { "newer" } else { "older" }
}

const HEADER_LENGTH: usize = MAGIC.len() + size_of::<u32>();

/// What begins so instead, and what to do.
fn instead(header: &[u8]) -> &'static str {
    const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"];
    const PCAPNG: &[u8] = b"\x0a\x0d\x0d\x0a";
    if header.is_empty() {
        "it is empty"
    } else if MAGIC.starts_with(header) || header.starts_with(MAGIC) {
        "it breaks off within its first bytes, before any event"
    } else if COMPRESSED.iter().any(|it| header.starts_with(it)) {
        "it is compressed: decompress it first"
    } else if header.starts_with(PCAPNG) {
        "it has packets for Wireshark (pcapng), not events: `bitcointap record` makes recordings"
    } else if header.starts_with(b"{\"") {
        "it has JSON, which is not replayed: `bitcointap record` makes recordings"
    } else {
        "it is no recording: `bitcointap record` makes them"
    }
}

/// What a recording has, in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Entry {
    /// A run of a node was attached to.
    Run(Run),
    /// What was drained of it.
    Batch(Arc<Batch>),
    /// It has ended, or was let go.
    End(Box<Counted>),
}

/// Reads a recording.
pub struct Reader<R> {
    input: R,
    decompressor: zstd::bulk::Decompressor<'static>,
    /// A block, decompressed, and what of it is not given yet.
    block: Vec<u8>,
    rest: Range<usize>,
    /// Where the block begins, and where the next one does.
    at: u64,
    next: u64,
    intake: Intake,
    selection: Selection,
    /// As recorded, and as given by now.
    counters: [Counters; Tracepoint::COUNT],
    given: [Counters; Tracepoint::COUNT],
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header. Only events that are `wanted` will be given. `input` is read in large pieces.
    pub fn new(mut input: R, wanted: &Selection) -> Result<Self, Error> {
        let mut header = Vec::new();
        (&mut input).take(HEADER_LENGTH as u64).read_to_end(&mut header)?;
        if header.len() < HEADER_LENGTH || !header.starts_with(MAGIC) {
            return Err(Error::NotARecording(instead(&header)));
        }
        let version = number(&header[MAGIC.len()..]);
        if version != VERSION {
            return Err(Error::Version(version));
        }
        Ok(Self {
            input,
            decompressor: zstd::bulk::Decompressor::new()?,
            block: Vec::new(),
            rest: 0..0,
            at: 0,
            next: header.len() as u64,
            intake: Intake::new(wanted),
            selection: wanted.clone(),
            counters: Default::default(),
            given: Default::default(),
            ended: false,
        })
    }

    fn read(&mut self) -> Result<Option<Entry>, Error> {
        if self.ended || self.rest.is_empty() && !self.read_block()? {
            return Ok(None);
        }
        let damaged = |at| Error::Damaged { at, what: "whose entries make no sense" };
        let block = std::mem::take(&mut self.block);
        let entry = postcard::take_from_bytes(&block[self.rest.clone()]).ok().and_then(|(stored, rest)| {
            self.rest.start = self.rest.end - rest.len();
            self.entry(stored)
        });
        self.block = block;
        entry.map(Some).ok_or(damaged(self.at))
    }

    /// False at the end.
    fn read_block(&mut self) -> Result<bool, Error> {
        self.at = self.next;
        let truncated = Error::Truncated(self.at);
        let mut header = [0; BLOCK_HEADER];
        if !fill(&mut self.input, &mut header)? {
            return Err(truncated);
        }
        let [length, whole, checksum] = [0, 4, 8].map(|offset| number(&header[offset..]));
        if header == [0; BLOCK_HEADER] {
            return Ok(false);
        }
        let at = self.at;
        let damaged = |what| Error::Damaged { at, what };
        let (length, whole) = (length as usize, whole as usize);
        if whole > MAX_BLOCK || length > zstd::zstd_safe::compress_bound(MAX_BLOCK) {
            return Err(damaged("whose size is impossible"));
        }
        let mut frame = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut frame)?;
        if frame.len() < length {
            return Err(truncated);
        }
        if crc32fast::hash(&frame) != checksum {
            return Err(damaged("whose checksum differs"));
        }
        self.block.clear();
        self.block.reserve_exact(whole);
        let read = self.decompressor.decompress_to_buffer(&frame, &mut self.block);
        if read.ok() != Some(whole) || whole == 0 {
            return Err(damaged("which cannot be decompressed"));
        }
        self.rest = 0..whole;
        self.next += (BLOCK_HEADER + length) as u64;
        Ok(true)
    }

    /// `None` if it makes no sense.
    fn entry(&mut self, stored: Stored<'_>) -> Option<Entry> {
        Some(match stored {
            Stored::Run { pid, program, start_time, attached, failed } => {
                (self.counters, self.given) = Default::default();
                self.intake = Intake::new(&self.selection);
                let wanted = self.selection.tracepoints();
                let those = |bits| Tracepoints::from_bits(bits).iter().filter(|&it| wanted.contains(it)).collect();
                let (attached, failed) = (those(attached), those(failed));
                Entry::Run(Run { failed, ..Run::new(pid, program.into(), start_time, attached) })
            }
            Stored::Batch {
                drained: (time, moment),
                unix_offset_ns,
                block_duration_unit_ns,
                ring_buffer,
                changed,
                lengths,
                records,
            } => {
                self.change(&changed)?;
                let mut records = &records[..];
                for length in lengths {
                    let record;
                    (record, records) = records.split_at_checked(length as usize)?;
                    // Of none there could be millions in a block, and the place of each takes memory.
                    if record.len() < HEADER {
                        return None;
                    }
                    self.intake.take(record);
                }
                let mut batch = Batch::default();
                self.intake.swap(&mut batch);
                batch.decoder = Decoder { unix_offset_ns, block_duration_unit_ns };
                batch.drained = (Time(time), Moment(moment));
                batch.ring_buffer = ring_buffer;
                batch.added = self.added();
                Entry::Batch(Arc::new(batch))
            }
            Stored::End { changed, untold } => {
                self.change(&changed)?;
                let lost = |(tracepoint, reason, count): (u8, u8, u64)| {
                    let tracepoint = Tracepoint::from_id(tracepoint)?;
                    let reason = LossReason::KERNEL.into_iter().find(|&it| it as u8 == reason)?;
                    Some(Lost { tracepoint, reason, count })
                };
                let untold = untold.into_iter().map(lost).collect::<Option<_>>()?;
                Entry::End(Box::new(Counted { added: self.added(), untold }))
            }
        })
    }

    fn change(&mut self, changed: &Changed) -> Option<()> {
        changed.iter().try_for_each(|&(index, counters)| {
            *self.counters.get_mut(usize::from(index))? = counters;
            Some(())
        })
    }

    /// As recorded, and with what was not wanted now.
    fn added(&mut self) -> [Counters; Tracepoint::COUNT] {
        let mut counters = self.counters;
        for (counters, filtered) in counters.iter_mut().zip(self.intake.filtered()) {
            counters.filtered = counters.filtered.saturating_add(*filtered);
        }
        let before = std::mem::replace(&mut self.given, counters);
        Counters::added(&counters, &before)
    }
}

/// Its entries; an error where it is cut off or damaged is the last.
impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read();
        self.ended |= !matches!(result, Ok(Some(_)));
        result.transpose()
    }
}

/// False at the end, or if that comes before all is filled.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The little-endian number at the start of some bytes, which are enough.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
