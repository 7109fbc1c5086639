//! Makes entries of what a spool gives. In: runs, and parts of batches, with what is missing before them. Out: entries, whose counters say
//! that each event that fired is in an entry, was filtered or is lost.

use std::io;

use super::entries::{Chosen, Entries};
use crate::{
    capture::Run,
    event::Lost,
    selection::Selection,
    spool::Part,
    tracepoint::{Tracepoint, Tracepoints},
};

/// Entries of parts.
pub(crate) struct Parts {
    pub(crate) entries: Entries,
    wanted: Tracepoints,
    has_run: bool,
    has_ended: bool,
    /// The end of the run was written, and is lost.
    owes_end: bool,
}

impl Parts {
    pub(crate) fn new(wanted: &Selection) -> io::Result<Self> {
        let (entries, wanted) = (Entries::small()?, wanted.tracepoints());
        Ok(Self { entries, wanted, has_run: false, has_ended: false, owes_end: false })
    }

    /// See [`Entries::counted_by_entries`].
    #[cfg(feature = "http")]
    pub(crate) fn counted_by_entries(self) -> Self {
        Self { entries: self.entries.counted_by_entries(), ..self }
    }

    /// A run begins.
    pub(crate) fn run_begins(&mut self, run: &Run) {
        let those = |of: Tracepoints| of.iter().filter(|&it| self.wanted.contains(it)).collect();
        let run = Run { attached: those(run.attached), failed: those(run.failed), ..run.clone() };
        self.entries.run_begins(&run);
        (self.has_run, self.has_ended, self.owes_end) = (true, false, false);
    }

    /// Whether a run has begun.
    pub(crate) fn has_run(&self) -> bool {
        self.has_run
    }

    /// Counts a part, and appends its entries. Appends nothing if there is nothing to tell.
    pub(crate) fn add(&mut self, part: &Part<'_>, block: &mut Vec<u8>) -> io::Result<()> {
        part.counted(|counted| self.entries.count(counted));
        part.gaps.iter().for_each(|gap| self.change_lost(gap, |lost| lost.saturating_add(gap.count)));
        let is_in = |index: usize| part.is_wanted(index);
        let gaps = |of: Tracepoint| self.wanted.contains(of);
        let before = block.len();
        self.entries.batch(part.batch, &Chosen { record: &is_in, gaps: &gaps, before: part.gaps }, block)?;
        let tells = block.len() > before;
        // What is lost near the end of a run may be known only after it.
        if part.ends() || self.owes_end || self.has_ended && tells {
            self.entries.end(&[], block)?;
            (self.has_ended, self.owes_end) = (true, false);
        }
        Ok(())
    }

    /// Changes the count of a loss that the tap has not counted itself.
    pub(crate) fn change_lost(&mut self, gap: &Lost, change: impl FnOnce(u64) -> u64) {
        if !gap.reason.is_of_kernel() {
            let lost = &mut self.entries.sums_mut().counters[gap.tracepoint.index()].lost[gap.reason as usize];
            *lost = change(*lost);
        }
    }

    /// Some entries are lost. The next ones tell all counters, and the end of the run once more.
    #[cfg(feature = "nats")]
    pub(crate) fn tell_again(&mut self) {
        self.owes_end = self.has_ended;
        self.entries.tell_all();
    }
}
