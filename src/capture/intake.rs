//! Takes records as they come. In: each record, in order. Out: the wanted ones, in a [`Batch`], and how many were not wanted.

use super::{Batch, peers::Peers};
use crate::{
    selection::{Filter, Selection},
    tracepoint::Tracepoint,
};

/// Puts the wanted records into a batch.
#[derive(Debug)]
pub(crate) struct Intake {
    batch: Batch,
    peers: Peers,
    filter: Filter,
    /// By [`Tracepoint::index`].
    filtered: [u64; Tracepoint::COUNT],
    /// Records since this batch began.
    seen: usize,
}

impl Intake {
    pub(crate) fn new(selection: &Selection) -> Self {
        Self {
            batch: Batch::default(),
            peers: Peers::default(),
            filter: selection.compile(),
            filtered: Default::default(),
            seen: 0,
        }
    }

    /// Swaps the current batch with `batch`, which is filled from now on.
    pub(crate) fn swap(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut self.batch, batch);
        self.seen = 0;
    }

    /// Takes a record. True if the batch has enough now.
    pub(crate) fn take(&mut self, record: &[u8]) -> bool {
        self.seen += 1;
        if let Some(tracepoint) = self.peers.push(record, &mut self.batch)
            && !self.filter.admits(tracepoint, self.batch.last_mut())
        {
            self.batch.pop();
            self.filtered[tracepoint.index()] += 1;
        }
        self.batch.is_full() || self.seen >= Batch::RECORDS
    }

    /// Whether its events may be wanted. If not, the intake only learns about peers from them.
    pub(crate) fn wants(&self, tracepoint: Tracepoint) -> bool {
        self.filter.wants(tracepoint)
    }

    /// How many records were not wanted, by [`Tracepoint::index`].
    pub(crate) fn filtered(&self) -> &[u64; Tracepoint::COUNT] {
        &self.filtered
    }
}
