//! What is taken of the records as they come. In: each record, in order. Out: those that are wanted, in a [`Batch`], and how
//! many were not.

use super::{Batch, peers::Peers};
use crate::{
    selection::{Filter, Selection},
    tracepoint::Tracepoint,
};

/// Takes records.
#[derive(Debug)]
pub(crate) struct Intake {
    batch: Batch,
    peers: Peers,
    filter: Filter,
    /// By [`Tracepoint::index`].
    filtered: [u64; Tracepoint::COUNT],
    /// Records since the batch was begun.
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

    /// Puts `batch`, to be filled, in the place of the one that is filled.
    pub(crate) fn swap(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut self.batch, batch);
        self.seen = 0;
    }

    /// True if that is enough for a batch.
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

    /// Whether events of it may be wanted, and are not only noted.
    pub(crate) fn wants(&self, tracepoint: Tracepoint) -> bool {
        self.filter.wants(tracepoint)
    }

    /// Those that were not wanted, by [`Tracepoint::index`].
    pub(crate) fn filtered(&self) -> &[u64; Tracepoint::COUNT] {
        &self.filtered
    }
}
