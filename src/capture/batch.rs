//! A batch: the bytes of records that were drained together, and what is needed to decode them. In: records. Out: events, which
//! borrow from the batch.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::Counters;
use crate::{
    event::{Decoder, Event, Kind, Lost, Moment, Time, tracepoint_of},
    kernel_side::{self, types},
    selection::Filter,
    tracepoint::{LossReason, Tracepoint},
};

/// Records that were drained together. Their events borrow from it.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<usize>,
    pub(crate) decoder: Decoder,
    pub(crate) drained: (Time, Moment),
    pub(crate) added: [Counters; Tracepoint::COUNT],
    pub(crate) ring_buffer: (u64, u64),
    /// The same records before they were changed: filters are asked about these.
    before: Option<Arc<Batch>>,
    /// Counted at the first use, after the last record was put in.
    tally: OnceLock<Tally>,
}

/// A filter's answer about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The filter admits this event.
    Wanted(Tracepoint),
    /// The filter does not admit this event.
    Unwanted,
    /// The record holds gaps. The filter may want some of them.
    Gaps,
}

/// How many events of each tracepoint a batch has, and its gaps.
#[derive(Debug, Default)]
struct Tally {
    /// By [`Tracepoint::index`].
    events: [u64; Tracepoint::COUNT],
    gaps: Vec<Lost>,
}

impl Tally {
    /// The counts of the tracepoints that a filter wants.
    fn events(&self, filter: &Filter) -> impl Iterator<Item = (Tracepoint, u64)> {
        let counted = Tracepoint::all().zip(self.events);
        counted.filter(|&(tracepoint, count)| count > 0 && filter.wants(tracepoint))
    }

    fn gaps(&self, filter: &Filter) -> impl Iterator<Item = Lost> {
        self.gaps.iter().copied().filter(|gap| filter.wants(gap.tracepoint))
    }
}

impl Batch {
    /// A drain ends when the batch has this many bytes. This bounds memory, and the time between readings of the clock.
    const FULL: usize = 256 << 10;
    pub(super) const RECORDS: usize = 4096;

    /// A batch that only counts.
    pub(crate) fn of_counters((time, moment): (Time, Moment), added: [Counters; Tracepoint::COUNT]) -> Self {
        let unix_offset_ns = time.0.wrapping_sub(moment.0) as i64;
        let decoder = Decoder { unix_offset_ns, block_duration_unit_ns: 1 };
        Self { drained: (time, moment), added, decoder, ..Self::default() }
    }

    /// Gives each event, in the order in which the node fired them.
    pub fn each(&self, mut give: impl FnMut(Event<'_>)) {
        self.records().for_each(|record| self.decode(record, true, &mut give));
    }

    /// Gives the event or the gaps of the record at `index`, which is less than [`Batch::len`].
    pub(crate) fn event_or_gaps<'a>(&'a self, index: usize, decodes: bool, give: impl FnMut(Event<'a>)) {
        self.decode(self.record(index), decodes, give);
    }

    fn decode<'a>(&'a self, record: &'a [u8], decodes: bool, give: impl FnMut(Event<'a>)) {
        if !self.decoder.decode(record, decodes, give) {
            // Cannot happen: kernel side and decoder come from one source. If it does, it must be noticed.
            tracing::error!(bytes = record.len(), "cannot decode a record of the kernel side");
        }
    }

    /// How many records it has: events, and records of gaps.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// When its last event fired.
    pub fn newest(&self) -> Option<Moment> {
        let start = self.ends.iter().rev().nth(1).copied().unwrap_or(0);
        let (header, _) = kernel_side::split::<types::event_header>(&self.bytes[start..])?;
        Some(Moment(header.boot_ns))
    }

    /// When its first event fired; if it only has gaps, when the first was noticed. `None` if it has neither.
    pub(crate) fn first(&self) -> Option<(Time, Moment)> {
        let event = self.records().position(|record| tracepoint_of(record).is_some());
        (!self.is_empty()).then(|| self.fired(event.unwrap_or(0)))
    }

    /// When the event of each record fired. For gaps it is when the next event did, if there is one: so they stay together.
    pub(crate) fn times(&self) -> Vec<Time> {
        let mut times: Vec<_> = (0..self.len()).map(|index| self.fired(index).0).collect();
        for index in (1..self.len()).rev() {
            if tracepoint_of(self.record(index - 1)).is_none() {
                times[index - 1] = times[index];
            }
        }
        times
    }

    fn fired(&self, index: usize) -> (Time, Moment) {
        let header = kernel_side::split::<types::event_header>(self.record(index));
        let boot_ns = header.map_or(0, |(header, _)| header.boot_ns);
        (Time(boot_ns.saturating_add_signed(self.decoder.unix_offset_ns)), Moment(boot_ns))
    }

    fn record(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index]]
    }

    /// Where the record at `index` starts in `bytes`.
    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// A batch of these records, as if it had been drained when the last of them fired. The first records have the counters, and the
    /// last ones the time at which all were drained.
    pub(crate) fn part(&self, records: Range<usize>) -> Self {
        let (start, end) = (self.start(records.start), self.start(records.end));
        let is_last = records.end == self.len();
        Self {
            bytes: self.bytes[start..end].to_vec(),
            ends: self.ends[records.clone()].iter().map(|end| end - start).collect(),
            decoder: self.decoder,
            drained: if is_last || records.is_empty() { self.drained } else { self.fired(records.end - 1) },
            added: if records.start == 0 { self.added } else { Default::default() },
            ring_buffer: self.ring_buffer,
            before: None,
            tally: OnceLock::new(),
        }
    }

    /// The same batch with each record changed, appended to the bytes. Filters are still asked about the records of this one.
    pub(crate) fn changed(self: &Arc<Self>, mut change: impl FnMut(&[u8], &mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let ends = self.records().map(|record| {
            change(record, &mut bytes);
            bytes.len()
        });
        Self {
            ends: ends.collect(),
            bytes,
            decoder: self.decoder,
            drained: self.drained,
            added: self.added,
            ring_buffer: self.ring_buffer,
            before: Some(Arc::clone(self)),
            tally: OnceLock::new(),
        }
    }

    /// When it was drained.
    pub fn drained(&self) -> (Time, Moment) {
        self.drained
    }

    /// What was counted since the previous batch, or since attaching to the run; by [`Tracepoint::index`].
    pub fn added(&self) -> &[Counters; Tracepoint::COUNT] {
        &self.added
    }

    /// The size of the ring buffer, and how many bytes were still waiting in it.
    pub fn ring_buffer(&self) -> (u64, u64) {
        self.ring_buffer
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        let own = size_of::<Self>() + self.bytes.capacity() + self.ends.capacity() * size_of::<usize>();
        own + self.before.as_ref().map_or(0, |before| before.bytes())
    }

    /// The filter's answer about each record, without decoding it.
    pub(crate) fn asked(&self, filter: &Filter) -> impl Iterator<Item = Asked> {
        self.asked_records().map(|record| match tracepoint_of(record) {
            Some(tracepoint) if filter.admits(tracepoint, record) => Asked::Wanted(tracepoint),
            Some(_) => Asked::Unwanted,
            None => Asked::Gaps,
        })
    }

    /// The tracepoint of each event that counts as lost if a reader does not get this batch: that a filter may admit.
    pub(crate) fn tracepoints(&self, filter: &Filter) -> impl Iterator<Item = Tracepoint> {
        self.asked_records().filter_map(|record| tracepoint_of(record).filter(|&it| filter.may_admit(it, record)))
    }

    /// How many events of each tracepoint it has.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Tracepoint, u64)> {
        Tracepoint::all().zip(self.tally().events).filter(|&(_, count)| count > 0)
    }

    /// Whether a filter may admit an event of it, or wants one of its gaps.
    pub(crate) fn concerns(&self, filter: &Filter) -> bool {
        let tally = self.tally();
        tally.events(filter).next().is_some() || tally.gaps(filter).next().is_some()
    }

    /// Gives the losses of an output that never sees this batch: the events that it wants, lost for `reason`, and the batch's gaps.
    pub(crate) fn as_lost(&self, filter: &Filter, reason: LossReason, mut give: impl FnMut(Lost)) {
        // Many outputs may lose the same batch, and the thread that drains calls this for each of them. So the tally is made once.
        let tally = self.tally();
        let mut events = tally.events(filter);
        if !filter.has_conditions() {
            events.for_each(|(tracepoint, count)| give(Lost { tracepoint, reason, count }));
        } else if events.next().is_some() {
            self.tracepoints(filter).for_each(|tracepoint| give(Lost { tracepoint, reason, count: 1 }));
        }
        tally.gaps(filter).for_each(give);
    }

    fn tally(&self) -> &Tally {
        self.tally.get_or_init(|| self.tallied())
    }

    fn tallied(&self) -> Tally {
        let mut tally = Tally::default();
        for record in self.records() {
            match tracepoint_of(record) {
                Some(tracepoint) => tally.events[tracepoint.index()] += 1,
                None => {
                    self.decoder.decode(record, false, |event| {
                        if let Kind::Lost(lost) = event.kind {
                            tally.gaps.push(lost);
                        }
                    });
                }
            }
        }
        tally
    }

    fn asked_records(&self) -> impl Iterator<Item = &[u8]> {
        self.before.as_deref().unwrap_or(self).records()
    }

    /// The records as the kernel side wrote them, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.tally.take();
        // One message of 4 MB must not keep that memory for ever.
        self.bytes.shrink_to(Self::FULL);
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        self.push_parts([record]);
    }

    /// Pushes a record that consists of these parts.
    pub(super) fn push_parts<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.bytes.len() + length > Self::FULL {
            // No record follows this one, so more room would be wasted.
            self.bytes.reserve_exact(length);
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
    }

    /// The record that was pushed last.
    pub(super) fn last_mut(&mut self) -> &mut [u8] {
        let start = self.ends.iter().rev().nth(1).copied().unwrap_or(0);
        &mut self.bytes[start..]
    }

    /// Removes the record that was pushed last.
    pub(super) fn pop(&mut self) {
        self.ends.pop();
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL || self.ends.len() >= Self::RECORDS
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            decoder: Decoder::default(),
            drained: Default::default(),
            added: Default::default(),
            ring_buffer: Default::default(),
            before: None,
            tally: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_records_apart() {
        let mut batch = Batch::default();
        batch.push(b"one");
        batch.push(b"");
        batch.push(b"three");
        assert_eq!(batch.records().collect::<Vec<_>>(), [b"one".as_slice(), b"", b"three"]);
        assert_eq!(batch.last_mut(), b"three");
        batch.pop();
        assert_eq!(batch.records().collect::<Vec<_>>(), [b"one".as_slice(), b""]);
        assert_eq!(batch.last_mut(), b"");
        assert!(!batch.is_full());
        batch.push(&vec![0; Batch::FULL]);
        assert!(batch.is_full());
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn what_is_lost_with_it_is_summed_up_for_each_filter() {
        use crate::{
            kernel_side::{
                types::{added_record, event_header, message_record},
                write,
            },
            selection::{Condition, Selection},
        };
        let header =
            |tracepoint: Tracepoint| event_header { tracepoint: tracepoint.index() as u8, ..Default::default() };
        let ping = |peer_id| {
            let header = header(Tracepoint::NetInboundMessage);
            write(message_record { header, peer_id, ..Default::default() }, b"")
        };
        let added = || write(added_record { header: header(Tracepoint::MempoolAdded), ..Default::default() }, b"");
        let lost = |batch: &Batch, selection: Selection| {
            let mut counts = std::collections::BTreeMap::new();
            batch.as_lost(&selection.compile(), LossReason::QueueFull, |lost| {
                assert_eq!(lost.reason, LossReason::QueueFull);
                *counts.entry(lost.tracepoint.name()).or_insert(0) += lost.count;
            });
            counts.into_iter().collect::<Vec<_>>()
        };
        let mut batch = Batch::default();
        for record in [ping(7), added(), ping(8), ping(7), added()] {
            batch.push(&record);
        }
        let all = || Selection::of(Tracepoint::all().collect());
        let (messages, mempool) = ("net:inbound_message", "mempool:added");
        assert_eq!(lost(&batch, all()), [(mempool, 2), (messages, 3)]);
        let of = |words: &str| Selection::of(words.parse().unwrap());
        assert_eq!(lost(&batch, of("mempool")), [(mempool, 2)]);
        assert!(batch.concerns(&of("mempool:added").compile()) && !batch.concerns(&of("mempool:removed").compile()));
        assert_eq!(lost(&batch, all().only(Condition::Peer(7))), [(messages, 2)]);
        assert_eq!(lost(&batch, all().not(Condition::Peer(7))), [(mempool, 2), (messages, 1)]);
        // The batch is used again.
        batch.clear();
        assert_eq!(batch.newest(), None);
        batch.push(&ping(7));
        assert_eq!(lost(&batch, all()), [(messages, 1)]);
        let header = event_header { boot_ns: 5, ..header(Tracepoint::MempoolAdded) };
        batch.push(&write(added_record { header, ..Default::default() }, b""));
        assert_eq!(batch.newest(), Some(Moment(5)));
    }
}
