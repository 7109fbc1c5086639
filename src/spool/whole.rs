//! Formats that take the wanted part of a batch at once, and all counters. In: items of the queue. Out: a [`Part`] for the format, with
//! what is missing before it. A record of such a format has many events: its text is the first of as many records as it has lines, and
//! the others have no text. So each event is counted as with other formats.

use std::{
    io::{self, Write},
    sync::atomic::Ordering::Relaxed,
};

use super::{
    destination::Destination, format::Format, gathering::Gathering, queue::Shared, records::Line, writing::Writing,
};
use crate::{
    capture::{Asked, Batch, Counters},
    event::{Kind, Lost, Moment, Time},
    selection::Filter,
    tracepoint::{LossReason, Tracepoint},
};

/// The part of a batch that a format gets at once. A run's last part has no records.
pub struct Part<'a> {
    pub(crate) batch: &'a Batch,
    /// The filter's answer about each record.
    pub(crate) asked: &'a [Asked],
    pub(crate) filter: &'a Filter,
    /// What is missing before it.
    pub(crate) gaps: &'a [Lost],
    /// What was counted in batches before it that the format did not get.
    pub(crate) aside: &'a Aside,
    /// Whether the run ends with it.
    pub(crate) ends: bool,
}

impl Part<'_> {
    /// Gives each line that is in it, in order: gaps, and events.
    pub(crate) fn lines(&self, mut give: impl FnMut(Line)) {
        self.gaps.iter().for_each(|&gap| give(Line::Gap(gap)));
        for (index, asked) in self.asked.iter().enumerate() {
            match asked {
                Asked::Wanted(tracepoint) => give(Line::Event(*tracepoint)),
                Asked::Unwanted => {}
                Asked::Gaps => self.batch.event_or_gaps(index, false, |event| match event.kind {
                    Kind::Lost(gap) if self.filter.wants(gap.tracepoint) => give(Line::Gap(gap)),
                    _ => {}
                }),
            }
        }
    }

    /// Whether it has the record with this index of its batch.
    pub fn is_wanted(&self, index: usize) -> bool {
        matches!(self.asked.get(index), Some(Asked::Wanted(_)))
    }

    /// Whether the run ends with it.
    pub fn ends(&self) -> bool {
        self.ends
    }

    /// What was counted in it and before it, without what its entries count themselves. Events that are not wanted count as filtered.
    pub fn counted(&self, mut give: impl FnMut(&[Counters; Tracepoint::COUNT])) {
        self.aside.0.iter().for_each(|counted| give(counted));
        let mut added = *self.batch.added();
        for (record, asked) in self.batch.records().zip(self.asked) {
            if let (Asked::Unwanted, Some(tracepoint)) = (asked, crate::event::tracepoint_of(record)) {
                added[tracepoint.index()].filtered += 1;
            }
        }
        give(&added);
    }
}

/// Takes what a format writes, and where each record ends.
pub trait Sink: Write {
    /// Ends a record: the text since the last one, or none.
    fn end(&mut self, line: Line);
}

impl<D: Destination> Sink for Gathering<D> {
    fn end(&mut self, line: Line) {
        Self::end(self, line);
    }
}

/// What was counted in batches that a format does not get.
#[derive(Debug, Default)]
pub(crate) struct Aside(Option<Box<[Counters; Tracepoint::COUNT]>>);

impl Aside {
    /// Adds a batch, of whose wanted events so many are `lost`.
    pub(super) fn add(&mut self, batch: &Batch, lost: impl Fn(Tracepoint) -> u64) {
        let sums = self.0.get_or_insert_default();
        for (tracepoint, events) in batch.events() {
            sums[tracepoint.index()].filtered += events - lost(tracepoint).min(events);
        }
        self.merge_counters(batch.added());
    }

    pub(super) fn merge(&mut self, other: Self) {
        other.0.iter().for_each(|counters| self.merge_counters(counters));
    }

    pub(super) fn merge_counters(&mut self, added: &[Counters; Tracepoint::COUNT]) {
        let sums = self.0.get_or_insert_default();
        for (sum, added) in sums.iter_mut().zip(added) {
            *sum = sum.plus(added);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|counters| counters.iter().all(|it| *it == Counters::default()))
    }
}

impl<D: Destination, F: Format> Writing<D, F> {
    /// Writes the wanted part of a batch, and all gaps before it.
    pub(super) fn write_part(
        &mut self,
        batch: &Batch,
        asked: &mut [Asked],
        aside: &Aside,
        ends: bool,
    ) -> io::Result<()> {
        let is_wanted = |asked: &Asked| matches!(asked, Asked::Wanted(_));
        let beyond = usize::try_from(self.left).unwrap_or(usize::MAX);
        asked.iter_mut().filter(|asked| is_wanted(asked)).skip(beyond).for_each(|asked| *asked = Asked::Unwanted);
        let gaps: Vec<Lost> = self.untold.each().collect();
        let part = Part { batch, asked, filter: &self.shared.filter, gaps: &gaps, aside, ends };
        let result = self.format.part(&mut self.out, &part);
        let mut lost = 0;
        part.lines(|line| match (&result, line) {
            (Ok(()), Line::Event(_)) => self.left -= 1,
            (Err(_), Line::Event(tracepoint)) => {
                self.untold.add_gap(Lost { tracepoint, reason: LossReason::WriteFailed, count: 1 });
                lost += 1;
            }
            // Those before the batch are still among the untold ones.
            (Ok(()) | Err(_), _) => {}
        });
        match result {
            Ok(()) => self.untold = Default::default(),
            Err(_) => {
                let all = part.gaps.len();
                let mut place = 0;
                part.lines(|line| {
                    self.format.given_up(line);
                    if let Line::Gap(gap) = line {
                        place += 1;
                        if place > all {
                            self.untold.add_gap(gap);
                        }
                    }
                });
                self.shared.lost.fetch_add(lost, Relaxed);
            }
        }
        result
    }

    /// Tells gaps that no batch follows.
    pub(super) fn gaps_alone(&mut self, drained: (Time, Moment)) -> io::Result<()> {
        let batch = Batch::of_counters(drained, Default::default());
        self.write_part(&batch, &mut [], &Aside::default(), false)
    }
}

impl Shared {
    /// Counts a batch that the thread does not get, since it has no wanted event. Tells of it each second.
    pub(super) fn set_aside(&self, batch: &Batch) {
        let mut queue = self.queue();
        queue.aside.add(batch, |_| 0);
        if queue.has_pushed.elapsed() >= super::writing::LOOK_INTERVAL && !queue.aside.is_empty() {
            let mut counts = Batch::of_counters(batch.drained(), Default::default());
            counts.ring_buffer = batch.ring_buffer();
            drop(queue);
            self.push(&std::sync::Arc::new(counts));
        }
    }

    /// The run has ended.
    pub(super) fn push_end(&self, added: &[Counters; Tracepoint::COUNT]) {
        let counts = Batch::of_counters(crate::capture::now(), *added);
        self.push_item(&std::sync::Arc::new(counts), true);
    }
}
