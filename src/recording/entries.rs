//! Makes what groups consist of. In: runs of a node, batches or parts of them, ends. Out: openings, entries, and the blocks that hold
//! them. Where these go, and when a block or a group ends, is the caller's matter.

use std::io::{self, Cursor};

use memchr::memmem;
use serde::Serialize;
use serde_bytes::Bytes;

use super::{
    BLOCK_HEADER, GOES_ON, MARK, MAY_GO_ON,
    compression::{Compressor, LARGEST_WINDOW, most_compressed},
    opening,
    stored::{AtMost, Changed, Loss, PlacedLoss, Stored, StoredBatch},
};
use crate::{
    capture::{Batch, Counters, Run},
    event::{Decoder, Kind, Lost, Moment, tracepoint_of},
    kernel_side::{
        self,
        types::{event_header, message_record},
    },
    tracepoint::{LossReason, Tracepoint},
};

/// What a recording knows when it writes an entry.
pub(crate) struct Entries {
    compressor: zstd::bulk::Compressor<'static>,
    /// For blocks that go on with each other.
    stream: Compressor,
    /// The run whose entries come, if one has begun.
    pub(super) run: Option<Run>,
    /// What was counted in the run, and the counters that the last entries had.
    sums: Sums,
    told: [Counters; Tracepoint::COUNT],
    /// The gaps that the entries have, if counters follow the entries.
    gaps: Option<Box<[[u64; LossReason::ALL.len()]; Tracepoint::COUNT]>>,
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
        Self::with_window(LARGEST_WINDOW)
    }

    fn with_window(window: u32) -> io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
            stream: Compressor::new(window)?,
            run: None,
            sums: Sums::default(),
            told: Default::default(),
            gaps: None,
            recording: opening::recording(),
            next: 0,
        })
    }

    /// The same for where memory is short.
    #[cfg(any(feature = "http", feature = "nats"))]
    pub(crate) fn small() -> io::Result<Self> {
        Self::with_window(super::compression::SMALL_WINDOW)
    }

    /// Counters follow the entries: what fired, but is in no entry yet, is not counted yet. So a recording that begins with any group and
    /// ends anywhere has fired = delivered + filtered + lost.
    #[cfg(feature = "http")]
    pub(crate) fn counted_by_entries(self) -> Self {
        Self { gaps: Some(Box::default()), ..self }
    }

    /// A run begins.
    pub(crate) fn run_begins(&mut self, run: &Run) {
        (self.sums, self.told) = Default::default();
        self.gaps.iter_mut().for_each(|gaps| **gaps = Default::default());
        self.run = Some(run.clone());
    }

    /// The first block of the next group. `continues` says that the run of the group before goes on.
    pub(crate) fn opening(&mut self, continues: bool) -> io::Result<Vec<u8>> {
        let before = Sums { counters: self.counters(), delivered: self.sums.delivered };
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
        self.stream.begin();
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
    #[cfg(any(feature = "http", feature = "nats"))]
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
        let mut lengths = Vec::with_capacity(batch.len());
        let mut losses = Vec::new();
        let mut first = None;
        for (index, record) in batch.records().enumerate() {
            match tracepoint_of(record) {
                Some(tracepoint) if (chosen.record)(index) => {
                    first = first.or_else(|| fired(record));
                    lengths.push(record.len() as u32);
                    self.sums.delivered[tracepoint.index()] += 1;
                    if tracepoint == Tracepoint::NetOutboundMessage {
                        self.look_for_user_agent(record);
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
        for PlacedLoss { loss, .. } in &losses {
            if let Some(gaps) = &mut self.gaps {
                let sum = &mut gaps[usize::from(loss.tracepoint)][usize::from(loss.reason)];
                *sum = sum.saturating_add(loss.count);
            }
        }
        let counters = self.counters();
        let changed = self.changed(&counters);
        if !(lengths.is_empty() && losses.is_empty() && changed.0.is_empty()) {
            let bytes = lengths.iter().map(|&length| u64::from(length)).sum::<u64>();
            let entry = Stored::Batch(StoredBatch {
                drained: (time.0, moment.0),
                unix_offset_ns: batch.decoder.unix_offset_ns,
                block_duration_unit_ns: batch.decoder.block_duration_unit_ns,
                ring_buffer: batch.ring_buffer(),
                changed,
                losses: AtMost(losses),
                lengths: AtMost(lengths),
                records: Bytes::new(&[]),
            });
            serialize(&entry, block)?;
            // Records come last, after their length in bytes. They are copied once, since a batch can have 4 MB of them.
            block.pop();
            serialize(&bytes, block)?;
            block.reserve(usize::try_from(bytes).unwrap_or_default());
            for (index, record) in batch.records().enumerate() {
                if tracepoint_of(record).is_some() && (chosen.record)(index) {
                    block.extend_from_slice(record);
                }
            }
            self.told = counters;
        }
        Ok(())
    }

    /// Appends the end of the run, with losses after its last record.
    pub(crate) fn end(&mut self, untold: &[Lost], block: &mut Vec<u8>) -> io::Result<()> {
        let changed = self.changed(&self.sums.counters);
        serialize(&Stored::End { changed, untold: untold.iter().map(loss).collect() }, block)?;
        self.told = self.sums.counters;
        Ok(())
    }

    /// What is counted by now, before the run has ended.
    fn counters(&self) -> [Counters; Tracepoint::COUNT] {
        let mut counters = self.sums.counters;
        let gaps = self.gaps.iter().flat_map(|gaps| gaps.iter());
        for ((counters, gaps), delivered) in counters.iter_mut().zip(gaps).zip(self.sums.delivered) {
            counters.lost = *gaps;
            let lost = counters.lost_in_all();
            counters.fired = delivered.saturating_add(counters.filtered).saturating_add(lost);
        }
        counters
    }

    /// Those of them that entries have not told yet.
    fn changed(&self, counters: &[Counters; Tracepoint::COUNT]) -> Changed {
        opening::counters(counters, |index| counters[index] != self.told[index])
    }

    /// The same for entries that can only be read after those of the blocks before in the group. This makes them much smaller.
    pub(crate) fn frame_that_goes_on(&mut self, entries: &[u8], block: &mut Vec<u8>) -> io::Result<()> {
        begin(entries.len(), block);
        let goes_on = self.stream.compress(entries, block)?;
        end(entries.len() as u32 | MAY_GO_ON | if goes_on { GOES_ON } else { 0 }, block);
        Ok(())
    }

    /// The next block does not go on with those before, since they are lost.
    pub(super) fn begin_anew(&mut self) {
        self.stream.begin();
    }

    /// Makes a block of these entries, which can be read alone. It replaces what is in `block`.
    #[cfg(any(feature = "http", feature = "nats"))]
    pub(crate) fn frame(&mut self, entries: &[u8], block: &mut Vec<u8>) -> io::Result<()> {
        frame(&mut self.compressor, entries, block)
    }

    /// The most bytes that a block has whose entries have this many.
    #[cfg(feature = "http")]
    pub(crate) fn most_framed(entries: usize) -> usize {
        BLOCK_HEADER + most_compressed(entries)
    }

    /// Keeps the node's user agent if this record has it, so that the next groups have it.
    fn look_for_user_agent(&mut self, record: &[u8]) {
        if let Some(run) = self.run.as_mut().filter(|run| run.user_agent.is_none()) {
            run.user_agent = own_user_agent(record);
        }
    }
}

/// The node's user agent, if this is the record of a message with which the node tells it.
pub(super) fn own_user_agent(record: &[u8]) -> Option<String> {
    let is_outbound = tracepoint_of(record) == Some(Tracepoint::NetOutboundMessage);
    let (fixed, _) = kernel_side::split::<message_record>(record).filter(|_| is_outbound)?;
    if !fixed.command.starts_with(b"version\0") {
        return None;
    }
    let mut user_agent = None;
    Decoder { unix_offset_ns: 0, block_duration_unit_ns: 1 }.decode(record, true, |event| {
        if let Kind::Msg(message) = event.kind {
            user_agent = message.own_user_agent().map(str::to_owned);
        }
    });
    user_agent
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
    begin(entries.len(), block);
    // The frame comes after the block header. Memory that the frame does not need is never touched.
    let mut room = Cursor::new(std::mem::take(block));
    room.set_position(BLOCK_HEADER as u64);
    compressor.compress_to_buffer(entries, &mut room)?;
    *block = room.into_inner();
    end(entries.len() as u32, block);
    Ok(())
}

/// Begins a block with so many bytes of contents, in place of what is there.
fn begin(contents: usize, block: &mut Vec<u8>) {
    block.clear();
    block.resize(BLOCK_HEADER, 0);
    block.reserve(most_compressed(contents));
}

/// Completes a block, whose frame is there.
fn end(contents: u32, block: &mut Vec<u8>) {
    // What peers send may be in the frame unchanged. It must not look like the header of a group.
    let marks = memmem::find_iter(&block[BLOCK_HEADER..], MARK).map(|at| BLOCK_HEADER + at + MARK.len());
    let marks: Vec<_> = marks.collect();
    marks.into_iter().rev().for_each(|end| block.insert(end, 1));
    let frame = &block[BLOCK_HEADER..];
    let numbers = [frame.len() as u32, contents, crc32fast::hash(frame)];
    block[..BLOCK_HEADER].copy_from_slice(&numbers.map(u32::to_le_bytes).concat());
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
