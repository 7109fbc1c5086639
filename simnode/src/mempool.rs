//! The simulated mempool: what was added and not yet removed. Fires nothing itself.

use fastrand::Rng;

/// A transaction, in the mempool or about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Together with `serial`, what [`crate::transactions::Transactions`] makes the transaction from.
    pub(crate) template: u32,
    pub(crate) serial: u32,
    pub(crate) txid: [u8; 32],
    pub(crate) wtxid: [u8; 32],
    pub(crate) vsize: i32,
    /// In satoshis.
    pub(crate) fee: i64,
    /// UNIX seconds.
    pub(crate) entered: u32,
}

/// Newest last, as far as removals keep the order.
#[derive(Default)]
pub(crate) struct Mempool {
    entries: Vec<Entry>,
}

impl Mempool {
    /// With more transactions the mempool is full.
    pub(crate) const CAPACITY: usize = 5_000;
    /// How far back the recent ones go.
    const RECENT: usize = 200;

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// One of the newest, as nodes announce and ask for them.
    pub(crate) fn recent(&self, rng: &mut Rng) -> Option<Entry> {
        let len = self.entries.len();
        (len > 0).then(|| self.entries[len - 1 - rng.usize(..len.min(Self::RECENT))])
    }

    /// Removes any transaction.
    pub(crate) fn take(&mut self, rng: &mut Rng) -> Option<Entry> {
        let len = self.entries.len();
        (len > 0).then(|| self.entries.swap_remove(rng.usize(..len)))
    }
}
