//! Rejections that were reversed. In: transactions that are rejected and added. Out: the reason of the rejection of a
//! transaction that is added a moment later.
//!
//! Since v28 Bitcoin Core tries a parent that pays too little alone again as a package with its child.

use std::time::Duration;

use crate::metrics::{
    labels::Label,
    state::{Cause, Of, State},
};
use crate::{event::Moment, json::Hash, table::Table};

/// How long a rejection can be reversed.
const LASTS: Duration = Duration::from_secs(1);

/// How many to remember: a flood of transactions has some thousands a second.
const MOST: usize = 8192;

/// Bitcoin Core's reasons after which it tries a transaction again.
const REASONS: [&str; 3] = ["bad-txns-inputs-missingorspent", "mempool min fee not met", "min relay fee not met"];

/// The reason of the rejection, if transactions with it are often accepted later.
pub(super) fn reason() -> Label {
    Label::new("reason", REASONS.into_iter().chain(["other"]))
}

fn place(reason: &str) -> usize {
    REASONS.iter().position(|&known| known == reason).unwrap_or(REASONS.len())
}

/// The last rejection of each transaction, by its txid.
pub(super) struct Rejections(Table<[u8; 32], usize>);

impl Rejections {
    pub(super) fn new() -> Self {
        Self(Table::new(MOST, LASTS))
    }

    pub(super) fn rejected(&mut self, now: Moment, txid: Hash, reason: &str, state: &State) {
        while self.0.pop_old(now).is_some() {}
        if self.0.insert(now, txid.0, place(reason)).is_some() {
            state.dropped(Of::Rejections, Cause::Full);
        }
    }

    /// If this reverses a rejection: the place of its reason in [`reason`].
    pub(super) fn added(&mut self, now: Moment, txid: Hash) -> Option<usize> {
        let (rejected, reason) = self.0.remove(&txid.0)?;
        (now.since(rejected) < LASTS).then_some(reason)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        event::{Kind, mempool::Mempool},
        metrics::testing::{moment, told},
    };

    const SOON: Duration = Duration::from_millis(300);

    fn txid(number: u32) -> Hash {
        let mut txid = [0; 32];
        txid[..4].copy_from_slice(&number.to_le_bytes());
        Hash(txid)
    }

    fn rejected(number: u32, reason: &str) -> Kind<'_> {
        Kind::Mempool { event: Mempool::Rejected { txid: txid(number), reason: reason.into() } }
    }

    fn added(number: u32) -> Kind<'static> {
        Kind::Mempool { event: Mempool::Added { txid: txid(number), vsize: 141, fee: 200 } }
    }

    #[test]
    fn what_is_added_within_a_second_of_its_rejection_counts_by_reason() {
        let name = "mempool_rejections_reversed_total";
        let mut told = told();
        // A child before its parent, which pays too little alone.
        told.tell(rejected(1, "bad-txns-inputs-missingorspent"))
            .tell_after(SOON, rejected(2, "min relay fee not met"))
            .tell_after(SOON, added(2))
            .tell_after(Duration::ZERO, added(1));
        let package = ["{reason=\"bad-txns-inputs-missingorspent\"} 1", "{reason=\"min relay fee not met\"} 1"];
        told.assert(name, &package)
            .assert("mempool_transactions_total", &["{action=\"added\"} 2", "{action=\"rejected\"} 2"]);
        // Another one, the same one a second time, one that comes too late, and one of the node's previous run.
        told.tell(rejected(3, "dust")).tell_after(SOON, added(4)).tell_after(SOON, added(1));
        told.tell(rejected(5, "dust")).tell_after(LASTS, added(5));
        told.tell(rejected(6, "dust"));
        told.metrics.node_gone();
        told.tell_after(SOON, added(6)).assert(name, &package);
        told.tell(rejected(7, "dust")).tell_after(SOON, added(7));
        told.assert(name, &[package[0], package[1], "{reason=\"other\"} 1"]);
    }

    #[test]
    fn a_flood_of_rejections_takes_bounded_memory() {
        let mut told = told();
        for number in 0..MOST as u32 + 5 {
            told.tell_after(Duration::ZERO, rejected(number, "dust"));
        }
        told.assert("state_dropped_total", &["{cause=\"full\",table=\"rejections\"} 5"]);
        // Those that are too old make room.
        let mut rejections = Rejections::new();
        let state = State::new(&crate::metrics::testing::OPTIONS);
        for number in 0..3 * MOST as u32 {
            rejections.rejected(moment(u64::from(number)), txid(number), "dust", &state);
            assert_eq!(rejections.0.len(), 1);
        }
    }
}
