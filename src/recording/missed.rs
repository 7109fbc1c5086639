//! What a recording does not have and tells before its next entry. In: batches that were lost, and gaps. Out: gaps, and counters.

use crate::{
    capture::{Batch, Counted, Counters},
    event::Lost,
    selection::Selection,
    spool::Untold,
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};

/// What is missing.
#[derive(Default)]
pub(super) struct Missed {
    gaps: Untold,
    counted: [Counters; Tracepoint::COUNT],
}

impl Missed {
    /// Nobody has recorded before, and nobody knows how many events fired.
    pub(super) fn not_recorded(&mut self, attached: Tracepoints) {
        attached.iter().for_each(|tracepoint| self.gaps.add_gap(Lost::not_recorded(tracepoint)));
    }

    /// A batch is not in the recording. Gives how many events are lost with it.
    pub(super) fn batch(&mut self, batch: &Batch, reason: LossReason) -> u64 {
        self.count(batch.added());
        for (tracepoint, events) in batch.events() {
            let lost = &mut self.counted[tracepoint.index()].lost[reason as usize];
            *lost = lost.saturating_add(events);
        }
        let all = Selection::of(Tracepoint::all().collect()).compile();
        self.gaps.add(&all, batch, reason)
    }

    /// A run has ended of which nothing could be written.
    pub(super) fn end(&mut self, counted: &Counted) {
        self.count(&counted.added);
        counted.untold.iter().for_each(|&gap| self.gaps.add_gap(gap));
    }

    fn count(&mut self, added: &[Counters; Tracepoint::COUNT]) {
        for (counters, added) in self.counted.iter_mut().zip(added) {
            *counters = counters.plus(added);
        }
    }

    pub(super) fn gaps(&self) -> Vec<Lost> {
        self.gaps.each().collect()
    }

    pub(super) fn counted(&self) -> &[Counters; Tracepoint::COUNT] {
        &self.counted
    }
}
