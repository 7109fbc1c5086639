//! Makes what groups consist of. In: runs of a node, batches or parts of them, ends. Out: openings, entries, and the blocks that hold
//! them. Where these go, and when a block or a group ends, is the caller's matter.

use std::io::{self, Cursor};

use memchr::memmem;
use serde::Serialize;
use serde_bytes::Bytes;

use super::{
    BLOCK_HEADER, MARK, opening,
    stored::{AtMost, Changed, Loss, PlacedLoss, Stored, StoredBatch},
};
use crate::{
    capture::{Batch, Counters, Run},
    event::{Kind, Lost, Moment, tracepoint_of},
    kernel_side::{
        self,
        types::{event_header, message_record},
    },
    tracepoint::Tracepoint,
};

/// A batch of larger messages than this does not keep its memory.
const KEPT: usize = 1 << 20;

/// What a recording knows when it writes an entry.
pub(crate) struct Entries {
    compressor: zstd::bulk::Compressor<'static>,
    /// The run whose entries come, if one has begun.
    pub(super) run: Option<Run>,
    /// What was counted in the run, and the counters that the last entries had.
    sums: Sums,
    told: [Counters; Tracepoint::COUNT],
    /// The records of a batch, one after another.
    records: Vec<u8>,
    /// A random number, the same in all groups.
    recording: u64,
    /// The number of the next group.
    next: u64,
}

/// What was counted in a run, by [`Tracepoint::index`].
#[derive(Clone, Default)]
pub(crate) struct Sums {
    pub(crate) counters: [Counters; Tracepoint::COUNT],
    /// How many events the entries have.
    pub(crate) delivered: [u64; Tracepoint::COUNT],
}

/// What an entry has of a batch.
pub(crate) struct Chosen<'a> {
    /// Whether it has the record with this index.
    pub(crate) record: &'a dyn Fn(usize) -> bool,
    /// Whether it has gaps of this tracepoint.
    pub(crate) gaps: &'a dyn Fn(Tracepoint) -> bool,
    /// What is missing before the batch.
    pub(crate) before: &'a [Lost],
}

impl Chosen<'_> {
    /// All of it.
    pub(super) const ALL: Self = Self { record: &|_| true, gaps: &|_| true, before: &[] };
}

impl Entries {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
            run: None,
            sums: Sums::default(),
            told: Default::default(),
            records: Vec::new(),
            recording: opening::recording(),
            next: 0,
        })
    }

    /// A run begins.
    pub(crate) fn run_begins(&mut self, run: &Run) {
        (self.sums, self.told) = Default::default();
        self.run = Some(run.clone());
    }

    /// The first block of the next group. `continues` says that the run of the group before goes on.
    pub(crate) fn opening(&mut self, continues: bool) -> io::Result<Vec<u8>> {
        let before = self.sums.clone();
        self.opening_at(continues, &before)
    }

    /// The same for a group that begins where this was counted.
    pub(crate) fn opening_at(&mut self, continues: bool, before: &Sums) -> io::Result<Vec<u8>> {
        let opening = opening::of(self.recording, self.next, continues, self.run.as_ref(), &before.counters);
        let mut plain = Vec::new();
        serialize(&opening, &mut plain)?;
        serialize(&opening::delivered(&before.delivered), &mut plain)?;
        let mut block = Vec::new();
        frame(&mut self.compressor, &plain, &mut block)?;
        self.next += 1;
        Ok(block)
    }

    /// The number of the group that was opened last.
    #[cfg(feature = "nats")]
    pub(crate) fn group(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Counts, before the entry that tells it.
    pub(crate) fn count(&mut self, added: &[Counters; Tracepoint::COUNT]) {
        for (counters, added) in self.sums.counters.iter_mut().zip(added) {
            *counters = counters.plus(added);
        }
    }

    /// What was counted in the run.
    #[cfg(feature = "nats")]
    pub(crate) fn sums_mut(&mut self) -> &mut Sums {
        &mut self.sums
    }

    /// The next entry tells all counters, since entries that told them are lost.
    #[cfg(feature = "nats")]
    pub(crate) fn tell_all(&mut self) {
        self.told = Default::default();
    }

    /// Appends an entry with what is `chosen` of a batch, and the counters that have changed. Appends nothing if there is none of these.
    pub(crate) fn batch(&mut self, batch: &Batch, chosen: &Chosen<'_>, block: &mut Vec<u8>) -> io::Result<()> {
        let (time, moment) = batch.drained();
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let mut lengths = Vec::with_capacity(batch.len());
        let mut losses = Vec::new();
        let mut first = None;
        for (index, record) in batch.records().enumerate() {
            match tracepoint_of(record) {
                Some(tracepoint) if (chosen.record)(index) => {
                    first = first.or_else(|| fired(record));
                    records.extend_from_slice(record);
                    lengths.push(record.len() as u32);
                    self.sums.delivered[tracepoint.index()] += 1;
                    if tracepoint == Tracepoint::NetOutboundMessage {
                        self.look_for_user_agent(batch, index, record);
                    }
                }
                Some(_) => {}
                // It is a record of losses.
                None => batch.event_or_gaps(index, false, |event| {
                    if let Kind::Lost(lost) = event.kind
                        && (chosen.gaps)(lost.tracepoint)
                    {
                        let (before, moment) = (lengths.len() as u32, event.moment.0);
                        losses.push(PlacedLoss { before, moment, loss: loss(&lost) });
                    }
                }),
            }
        }
        let at = first.unwrap_or(moment).0;
        let before = chosen.before.iter().map(|lost| PlacedLoss { before: 0, moment: at, loss: loss(lost) });
        losses.splice(0..0, before);
        let changed = self.changed();
        if !(lengths.is_empty() && losses.is_empty() && changed.0.is_empty()) {
            let entry = Stored::Batch(StoredBatch {
                drained: (time.0, moment.0),
                unix_offset_ns: batch.decoder.unix_offset_ns,
                block_duration_unit_ns: batch.decoder.block_duration_unit_ns,
                ring_buffer: batch.ring_buffer(),
                changed,
                losses: AtMost(losses),
                lengths: AtMost(lengths),
                records: Bytes::new(&records),
            });
            serialize(&entry, block)?;
            self.told = self.sums.counters;
        }
        self.records = records;
        // A batch of large messages shall not take its memory for ever.
        self.records.shrink_to(KEPT);
        Ok(())
    }

    /// Appends the end of the run, with losses after its last record.
    pub(crate) fn end(&mut self, untold: &[Lost], block: &mut Vec<u8>) -> io::Result<()> {
        let changed = self.changed();
        serialize(&Stored::End { changed, untold: untold.iter().map(loss).collect() }, block)?;
        self.told = self.sums.counters;
        Ok(())
    }

    /// The counters that entries have not told yet.
    fn changed(&self) -> Changed {
        let counters = &self.sums.counters;
        opening::counters(counters, |index| counters[index] != self.told[index])
    }

    /// Makes a block of these entries. It replaces what is in `block`.
    pub(crate) fn frame(&mut self, entries: &[u8], block: &mut Vec<u8>) -> io::Result<()> {
        frame(&mut self.compressor, entries, block)
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
}

fn fired(record: &[u8]) -> Option<Moment> {
    kernel_side::split::<event_header>(record).map(|(header, _)| Moment(header.boot_ns))
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
