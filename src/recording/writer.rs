//! Writes a recording. In: runs of a node, batches, ends. Out: groups, each of which can be read alone.

use std::{
    io::{self, Cursor, Write},
    time::{Duration, Instant},
};

use memchr::memmem;
use serde::Serialize;
use serde_bytes::Bytes;

use super::{
    BLOCK_HEADER, MARK, opening,
    stored::{AtMost, Changed, Loss, PlacedLoss, Stored, StoredBatch},
};
use crate::{
    capture::{Batch, Counted, Counters, Run},
    event::{Kind, Lost, tracepoint_of},
    kernel_side::{self, types::message_record},
    tracepoint::Tracepoint,
};

/// A block is written once its contents have this many bytes,
const FULL_BLOCK: usize = 1 << 20;
/// or once it is this old.
const BLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// A new group begins once the contents of its blocks have this many bytes,
const FULL_GROUP: u64 = 64 << 20;
/// or once it is this old and its bytes are at least this many times those of its opening.
const GROUP_INTERVAL: Duration = Duration::from_secs(60);
const GROUP_TO_OPENING: u64 = 100;

/// Writes a recording. Without [`Writer::finish`] the recording lacks its end, and readers report that.
pub struct Writer<W: Write> {
    out: W,
    compressor: zstd::bulk::Compressor<'static>,
    /// Entries that are not written yet, and when the first of them came.
    block: Vec<u8>,
    begun: Instant,
    /// The bytes of the block that is written, kept to be used again.
    framed: Vec<u8>,
    run: Option<Run>,
    counters: [Counters; Tracepoint::COUNT],
    /// The records of a batch, one after another.
    records: Vec<u8>,
    written: u64,
    /// A random number, the same in all groups.
    recording: u64,
    /// The number of the next group.
    next: u64,
    /// `None` before the first group.
    group: Option<Group>,
}

/// The group that is written.
struct Group {
    begun: Instant,
    /// Bytes of its opening; bytes written so far; and bytes of the contents of its blocks.
    opening: u64,
    written: u64,
    entries: u64,
}

impl Group {
    fn is_due(&self) -> bool {
        let is_old = || self.begun.elapsed() >= GROUP_INTERVAL;
        self.entries >= FULL_GROUP || self.written >= GROUP_TO_OPENING * self.opening && is_old()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the first header. The writer writes in large pieces: `out` needs no buffer.
    pub fn new(mut out: W) -> io::Result<Self> {
        let beginning = opening::beginning();
        out.write_all(&beginning)?;
        out.flush()?;
        Ok(Self {
            out,
            compressor: zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
            block: Vec::new(),
            begun: Instant::now(),
            framed: Vec::new(),
            run: None,
            counters: Default::default(),
            records: Vec::new(),
            written: beginning.len() as u64,
            recording: opening::recording(),
            next: 0,
            group: None,
        })
    }

    /// Begins a run of a node, and with it a group.
    pub fn run(&mut self, run: &Run) -> io::Result<()> {
        self.flush()?;
        self.counters = Default::default();
        self.run = Some(run.clone());
        self.open(false)
    }

    /// Adds a batch. Writes the block if it is time.
    pub fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        self.be_in_group()?;
        let changed = self.changed(batch.added());
        if batch.is_empty() && changed.0.is_empty() {
            return self.flush_in_time();
        }
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let mut lengths = Vec::with_capacity(batch.len());
        let mut losses = Vec::new();
        for (index, record) in batch.records().enumerate() {
            match tracepoint_of(record) {
                Some(tracepoint) => {
                    records.extend_from_slice(record);
                    lengths.push(record.len() as u32);
                    if tracepoint == Tracepoint::NetOutboundMessage {
                        self.look_for_user_agent(batch, index, record);
                    }
                }
                // It is a record of losses.
                None => batch.event_or_gaps(index, false, |event| {
                    if let Kind::Lost(lost) = event.kind {
                        let (before, moment) = (lengths.len() as u32, event.moment.0);
                        losses.push(PlacedLoss { before, moment, loss: loss(&lost) });
                    }
                }),
            }
        }
        let (time, moment) = batch.drained();
        self.entry(&Stored::Batch(StoredBatch {
            drained: (time.0, moment.0),
            unix_offset_ns: batch.decoder.unix_offset_ns,
            block_duration_unit_ns: batch.decoder.block_duration_unit_ns,
            ring_buffer: batch.ring_buffer(),
            changed,
            losses: AtMost(losses),
            lengths: AtMost(lengths),
            records: Bytes::new(&records),
        }))?;
        self.records = records;
        // A batch of large messages shall not take its memory for ever.
        self.records.shrink_to(FULL_BLOCK);
        self.flush_in_time()
    }

    /// Ends the run. Writes all at once, since nothing may follow for a long time.
    pub fn end(&mut self, counted: &Counted) -> io::Result<()> {
        self.be_in_group()?;
        let changed = self.changed(&counted.added);
        self.entry(&Stored::End { changed, untold: counted.untold.iter().map(loss).collect() })?;
        self.run = None;
        self.flush()
    }

    /// Begins another group, at which the recording can be cut. The writer also does so by itself from time to time.
    pub fn begin_group(&mut self) -> io::Result<()> {
        self.flush()?;
        self.open(self.run.is_some())
    }

    /// Makes sure that a group has begun, and begins another one if it is time.
    fn be_in_group(&mut self) -> io::Result<()> {
        match &self.group {
            None => self.open(false),
            Some(group) if self.block.is_empty() && group.is_due() => self.open(self.run.is_some()),
            Some(_) => Ok(()),
        }
    }

    /// Ends the group, if there is one, and opens the next.
    fn open(&mut self, continues: bool) -> io::Result<()> {
        let opening = opening::of(self.recording, self.next, continues, self.run.as_ref(), &self.counters);
        let mut plain = Vec::new();
        serialize(&opening, &mut plain)?;
        let mut opening = Vec::new();
        frame(&mut self.compressor, &plain, &mut opening)?;
        let before = match &self.group {
            // One write has the end and the next header. So a recording that stops between them was not cut off by a crash.
            Some(_) => [&[0; BLOCK_HEADER][..], &opening::beginning()].concat(),
            None => Vec::new(),
        };
        let bytes = [before, opening].concat();
        self.write(&bytes)?;
        let length = bytes.len() as u64;
        self.group = Some(Group { begun: Instant::now(), opening: length, written: length, entries: 0 });
        self.next += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes all that waits, and the end.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.end_mark()
    }

    /// Writes only the end. For use after writing has failed and `out` was set back to [`Writer::written`].
    pub fn finish_early(mut self) -> io::Result<()> {
        self.end_mark()
    }

    /// How many bytes of whole blocks and headers are written.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn end_mark(&mut self) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK_HEADER])?;
        self.out.flush()
    }

    /// Keeps the node's user agent if this record has it, so that the next groups have it.
    fn look_for_user_agent(&mut self, batch: &Batch, index: usize, record: &[u8]) {
        let Some(run) = self.run.as_mut().filter(|run| run.user_agent.is_none()) else { return };
        if kernel_side::split::<message_record>(record)
            .is_none_or(|(fixed, _)| !fixed.command.starts_with(b"version\0"))
        {
            return;
        }
        batch.event_or_gaps(index, true, |event| {
            if let Kind::Msg(message) = event.kind {
                run.user_agent = message.own_user_agent().map(str::to_owned);
            }
        });
    }

    fn changed(&mut self, added: &[Counters; Tracepoint::COUNT]) -> Changed {
        for (counters, added) in self.counters.iter_mut().zip(added) {
            *counters = counters.plus(added);
        }
        opening::counters(&self.counters, |index| added[index] != Counters::default())
    }

    fn entry(&mut self, entry: &Stored<'_>) -> io::Result<()> {
        if self.block.is_empty() {
            self.begun = Instant::now();
        }
        serialize(entry, &mut self.block)
    }

    fn flush_in_time(&mut self) -> io::Result<()> {
        if self.block.len() >= FULL_BLOCK || !self.block.is_empty() && self.begun.elapsed() >= BLOCK_INTERVAL {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut framed = std::mem::take(&mut self.framed);
        frame(&mut self.compressor, &self.block, &mut framed)?;
        self.write(&framed)?;
        if let Some(group) = &mut self.group {
            group.written += framed.len() as u64;
            group.entries += self.block.len() as u64;
        }
        framed.clear();
        framed.shrink_to(2 * FULL_BLOCK);
        self.framed = framed;
        self.block.clear();
        self.block.shrink_to(2 * FULL_BLOCK);
        Ok(())
    }
}

fn loss(lost: &Lost) -> Loss {
    Loss { tracepoint: lost.tracepoint as u8, reason: lost.reason as u8, count: lost.count }
}

/// Makes a block of these entries. It replaces what is in `block`.
pub(super) fn frame(
    compressor: &mut zstd::bulk::Compressor<'_>,
    entries: &[u8],
    block: &mut Vec<u8>,
) -> io::Result<()> {
    block.clear();
    block.resize(BLOCK_HEADER, 0);
    block.reserve(zstd::zstd_safe::compress_bound(entries.len()));
    // The frame comes after the block header. Memory that the frame does not need is never touched.
    let mut room = Cursor::new(std::mem::take(block));
    room.set_position(BLOCK_HEADER as u64);
    compressor.compress_to_buffer(entries, &mut room)?;
    *block = room.into_inner();
    // What peers send may be in the frame unchanged. It must not look like the header of a group.
    let marks = memmem::find_iter(&block[BLOCK_HEADER..], MARK).map(|at| BLOCK_HEADER + at + MARK.len());
    let marks: Vec<_> = marks.collect();
    marks.into_iter().rev().for_each(|end| block.insert(end, 1));
    let frame = &block[BLOCK_HEADER..];
    let numbers = [frame.len() as u32, entries.len() as u32, crc32fast::hash(frame)];
    block[..BLOCK_HEADER].copy_from_slice(&numbers.map(u32::to_le_bytes).concat());
    Ok(())
}

pub(super) fn serialize(value: &impl Serialize, bytes: &mut Vec<u8>) -> io::Result<()> {
    value.serialize(&mut postcard::Serializer { output: Tail(bytes) }).map_err(io::Error::other)
}

/// Appends what postcard writes.
struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
