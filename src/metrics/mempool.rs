//! What becomes of transactions in the mempool. In: mempool events. Out: families by action, and how much more
//! replacements pay.

mod reversals;

use prometheus::{Histogram, IntCounter};

use self::reversals::Rejections;
use super::{
    Options,
    clock::Clock,
    family::{Counters, Histograms, Registered, families},
    free_form::Reasons,
    group::{Group, Shared},
    labels::{ADDED, REJECTED, REMOVED, REPLACED, action, removal_reason, removal_reason_place, sized_action},
    state::State,
};
use crate::{
    event::{self, Kind, Moment, mempool::Mempool as Event},
    json::Hash,
    tracepoint::{Tracepoint, Tracepoints},
};

const SIZED: &[Tracepoint] = &[Tracepoint::MempoolAdded, Tracepoint::MempoolRemoved, Tracepoint::MempoolReplaced];
const ANY: &[Tracepoint] =
    &[Tracepoint::MempoolAdded, Tracepoint::MempoolRemoved, Tracepoint::MempoolReplaced, Tracepoint::MempoolRejected];
const ADDITIONS: &[Tracepoint] = &[Tracepoint::MempoolAdded];
const REMOVALS: &[Tracepoint] = &[Tracepoint::MempoolRemoved];
const REPLACEMENTS: &[Tracepoint] = &[Tracepoint::MempoolReplaced];
const REJECTIONS: &[Tracepoint] = &[Tracepoint::MempoolRejected];

/// Upper bounds in virtual bytes, up to the largest standard transaction.
const SIZES: &[f64] = &[100.0, 150.0, 200.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0, 100000.0];
/// Upper bounds in satoshis for each virtual byte.
const FEERATES: &[f64] = &[0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// Upper bounds in seconds, up to the two weeks after which a transaction expires.
const RESIDENCES: &[f64] = &[
    1.0, 10.0, 60.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0, 259200.0, 604800.0,
    1209600.0,
];
/// Upper bounds in satoshis.
const FEE_INCREASES: &[f64] = &[10.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7];

families! {
    struct Families with options {
        /// Transactions by what became of them in the mempool, from the tracepoints mempool:added, removed, replaced
        /// and rejected. Do not sum actions, they overlap: a replacement is replaced and removed, a full mempool adds,
        /// removes and rejects. The mempool grows by added minus removed. Rejected includes orphans, transactions that
        /// are accepted in a package a moment later (bitcointap_mempool_rejections_reversed_total), and
        /// testmempoolaccept of one transaction. It does not include what testmempoolaccept of several transactions and
        /// submitpackage reject, since no tracepoint reports that. Added includes transactions from mempool.dat and
        /// from reorganisations.
        mempool_transactions_total: Counters<1> = [action()], from ANY;

        /// Virtual bytes of the transactions in bitcointap_mempool_transactions_total. Rejections do not have them.
        mempool_vbytes_total: Counters<1> = [sized_action()], from SIZED;

        /// Fees of the transactions in bitcointap_mempool_transactions_total. Rejections do not have them.
        mempool_fees_satoshis_total: Counters<1> = [sized_action()], from SIZED;

        /// Transactions that left the mempool, by Bitcoin Core's reason, from the tracepoint mempool:removed. block: it
        /// is in a connected block. conflict: a transaction in a block spends the same coin as it, or as a transaction
        /// that it needs. replaced: a transaction that pays more replaced it, or one that it needs. expiry: it, or one
        /// that it needs, was there for longer than -mempoolexpiry (two weeks). sizelimit: the mempool was full and it
        /// paid least, or a reorganisation made a cluster of transactions too large (before v31 a chain of unconfirmed
        /// ones). reorg: after a reorganisation it is not valid any more, or depends on one that is not.
        mempool_removals_total: Counters<1> = [removal_reason()], from REMOVALS;

        /// Transactions that the node did not let into the mempool, by Bitcoin Core's reason, from the tracepoint
        /// mempool:rejected. Includes orphans (bad-txns-inputs-missingorspent), the two transactions of a package from
        /// a peer (v28 and later), which the node first tries alone, and testmempoolaccept of one transaction. Does not
        /// include what testmempoolaccept of several transactions and submitpackage reject. An empty reason counts as
        /// none, and a number that stands alone in a reason becomes N. bitcointap keeps twice as many reasons as
        /// --max-free-form-values says; the others count as other. By default all reasons of a release of Bitcoin Core
        /// have a place.
        mempool_rejections_total: Reasons = ("reason", 2 * options.max_free_form_values), from REJECTIONS;

        /// Rejections of transactions that were added to the mempool within a second after all, by the reason of the
        /// last rejection. An example is a parent that pays too little alone and comes with its child (v28 and later).
        /// An orphan, such as that child, mostly waits for two seconds or more, and then does not count. Matched by
        /// txid.
        mempool_rejections_reversed_total: Counters<1> = [reversals::reason()], from REJECTIONS, ADDITIONS;

        /// Virtual bytes of single transactions by what became of them. Rejections do not have them.
        mempool_transaction_size_vbytes: Histograms<1> = ([sized_action()], SIZES), from SIZED;

        /// Fee of single transactions for each of their virtual bytes, by what became of them. Rejections do not have
        /// it. This is not the feerate of the package by which a miner would choose them.
        mempool_feerate_satoshis_per_vbyte: Histograms<1> = ([sized_action()], FEERATES), from SIZED;

        /// How long transactions that left the mempool were in it, to the second, by reason of removal, from the
        /// tracepoint mempool:removed.
        mempool_residence_seconds: Histograms<1> = ([removal_reason()], RESIDENCES), from REMOVALS;

        /// How much more each replacement pays than all the transactions together that it replaced, from the tracepoint
        /// mempool:replaced, which fires once for each replaced transaction. A replacement counts when the next other
        /// event of the mempool comes. It does not count if events of the tracepoint were lost next to it. Replacements
        /// that pay less count in bitcointap_mempool_replacement_fee_decreases_total instead.
        mempool_replacement_fee_increase_satoshis: Histogram = FEE_INCREASES, from REPLACEMENTS;

        /// Replacements that pay less than all the transactions together that they replaced. Bitcoin Core accepts these
        /// only where the operator changed what a transaction counts for (prioritisetransaction). The fees of the
        /// tracepoint mempool:replaced do not include that change.
        mempool_replacement_fee_decreases_total: IntCounter = (), from REPLACEMENTS;
    }
}

/// The families, the current replacement, and recent rejections.
pub(super) struct Mempool {
    families: Families,
    replacement: Option<Replacement>,
    /// An event of mempool:replaced is missing since the last other event, so the current replacement is incomplete.
    has_gap: bool,
    rejections: Rejections,
}

/// Consecutive replaced events that name the same replacement.
struct Replacement {
    id: Hash,
    fee: i64,
    replaced_fees: i64,
}

impl Group for Mempool {
    fn new(options: &Options) -> Self {
        Self { families: Families::new(options), replacement: None, has_gap: false, rejections: Rejections::new() }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    fn observe(&mut self, event: &event::Event<'_>, shared: &Shared) {
        match &event.kind {
            Kind::Mempool { event: mempool } => {
                self.take(event.moment, mempool, &shared.clock, &shared.state);
            }
            // Events are missing before the next one.
            Kind::Lost(lost) if lost.tracepoint == Tracepoint::MempoolReplaced => {
                self.replacement = None;
                self.has_gap = true;
            }
            _ => {}
        }
    }

    fn node_gone(&mut self) {
        self.replacement = None;
        self.has_gap = false;
        self.rejections.clear();
    }
}

impl Mempool {
    fn take(&mut self, now: Moment, event: &Event<'_>, clock: &Clock, state: &State) {
        match *event {
            Event::Added { txid, vsize, fee } => {
                self.transaction(ADDED, vsize, fee);
                if let Some(reason) = self.rejections.added(now, txid) {
                    self.families.mempool_rejections_reversed_total.at([reason]).inc();
                }
                self.replaced_all();
            }
            Event::Removed { txid: _, ref reason, vsize, fee, entry_time } => {
                self.transaction(REMOVED, vsize, fee);
                let stayed = clock.since(entry_time).as_secs_f64();
                let reason = removal_reason_place(reason);
                self.families.mempool_removals_total.at([reason]).inc();
                self.families.mempool_residence_seconds.at([reason]).observe(stayed);
                self.replaced_all();
            }
            Event::Replaced {
                replaced_txid: _,
                replaced_vsize,
                replaced_fee,
                replaced_entry_time: _,
                replacement_txid,
                replacement_vsize: _,
                replacement_fee,
                replacement_is_txid: _,
            } => {
                self.transaction(REPLACED, replaced_vsize, replaced_fee);
                self.replaced(replacement_txid, replacement_fee, replaced_fee);
            }
            Event::Rejected { txid, ref reason } => {
                self.families.mempool_transactions_total.at([REJECTED]).inc();
                self.families.mempool_rejections_total.count(reason);
                self.rejections.rejected(now, txid, reason, state);
                self.replaced_all();
            }
        }
    }

    fn transaction(&self, action: usize, vsize: i64, fee: i64) {
        // Neither is ever below 0, and a sum must not fall.
        let [vsize, fee] = [vsize, fee].map(|number| u64::try_from(number).unwrap_or(0));
        self.families.mempool_transactions_total.at([action]).inc();
        self.families.mempool_vbytes_total.at([action]).inc_by(vsize);
        self.families.mempool_fees_satoshis_total.at([action]).inc_by(fee);
        self.families.mempool_transaction_size_vbytes.at([action]).observe(vsize as f64);
        if vsize > 0 {
            self.families.mempool_feerate_satoshis_per_vbyte.at([action]).observe(fee as f64 / vsize as f64);
        }
    }

    fn replaced(&mut self, id: Hash, fee: i64, replaced_fee: i64) {
        match &mut self.replacement {
            Some(replacement) if replacement.id == id => {
                replacement.replaced_fees = replacement.replaced_fees.saturating_add(replaced_fee);
            }
            _ => {
                self.count_replacement();
                self.replacement = Some(Replacement { id, fee, replaced_fees: replaced_fee });
            }
        }
    }

    /// Another event came: the replacement is complete.
    fn replaced_all(&mut self) {
        self.count_replacement();
        self.has_gap = false;
    }

    fn count_replacement(&mut self) {
        if let Some(Replacement { id: _, fee, replaced_fees }) = self.replacement.take()
            && !self.has_gap
        {
            let increase = fee.saturating_sub(replaced_fees);
            if increase < 0 {
                self.families.mempool_replacement_fee_decreases_total.inc();
            } else {
                self.families.mempool_replacement_fee_increase_satoshis.observe(increase as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::{Kind, Lost},
        metrics::{
            labels::removal_reason,
            testing::{added, assert_histogram_of_one, only, rejected, removed, replaced, text_of, told},
        },
        tracepoint::{LossReason, Tracepoint},
    };

    #[test]
    fn the_mempool_counts_by_action() {
        let mut told = told();
        let entry_time = told.second - 599;
        told.tell(added(141, 282))
            .tell(removed("block", entry_time + 1))
            .tell(rejected("bad-txns-inputs-missingorspent"))
            .tell(replaced(1, 500, 400))
            .assert(
                "mempool_transactions_total",
                &[
                    "{action=\"added\"} 1",
                    "{action=\"rejected\"} 1",
                    "{action=\"removed\"} 1",
                    "{action=\"replaced\"} 1",
                ],
            )
            .assert(
                "mempool_vbytes_total",
                &["{action=\"added\"} 141", "{action=\"removed\"} 150", "{action=\"replaced\"} 200"],
            )
            .assert(
                "mempool_fees_satoshis_total",
                &["{action=\"added\"} 282", "{action=\"removed\"} 300", "{action=\"replaced\"} 400"],
            )
            .assert("mempool_removals_total", &["{reason=\"block\"} 1"])
            .assert("mempool_rejections_total", &["{reason=\"bad-txns-inputs-missingorspent\"} 1"]);
        let later =
            ["600", "1200", "1800", "3600", "7200", "21600", "43200", "86400", "259200", "604800", "1209600", "+Inf"];
        assert_histogram_of_one(&told, "mempool_residence_seconds", "reason=\"block\",", &later, 599.0);

        let mut told = only("mempool:added");
        told.tell(added(141, 282));
        let larger = ["150", "200", "250", "500", "1000", "2000", "5000", "10000", "20000", "50000", "100000", "+Inf"];
        assert_histogram_of_one(&told, "mempool_transaction_size_vbytes", "action=\"added\",", &larger, 141.0);
        let dearer = ["2", "3", "5", "10", "20", "50", "100", "200", "500", "1000", "+Inf"];
        assert_histogram_of_one(&told, "mempool_feerate_satoshis_per_vbyte", "action=\"added\",", &dearer, 2.0);
    }

    #[test]
    fn each_reason_of_removal_is_explained() {
        let told = told();
        let text = text_of(&told.metrics.registry());
        let help = text.lines().find(|line| line.starts_with("# HELP bitcointap_mempool_removals_total ")).unwrap();
        for value in removal_reason().values.iter().filter(|value| value.text != "other") {
            assert!(help.contains(&format!(" {}: ", value.text)), "{}", value.text);
        }
    }

    #[test]
    fn removals_for_reasons_that_are_not_bitcoin_cores_are_other() {
        let mut told = told();
        told.tell(removed("made up", 1)).tell(removed("sizelimit", 1));
        told.assert("mempool_removals_total", &["{reason=\"other\"} 1", "{reason=\"sizelimit\"} 1"]);
    }

    #[test]
    fn a_transaction_without_a_size_has_no_feerate() {
        let mut told = only("mempool:added");
        told.tell(added(0, -5))
            .assert("mempool_fees_satoshis_total", &[])
            .assert("mempool_feerate_satoshis_per_vbyte", &[]);
    }

    #[test]
    fn a_replacement_is_complete_with_the_next_other_event() {
        let name = "mempool_replacement_fee_increase_satoshis";
        let mut told = told();
        told.tell(replaced(1, 1_000, 300)).tell(replaced(1, 1_000, 250)).assert(name, &[]);
        told.tell(removed("replaced", 1));
        let dearer =
            ["500", "1000", "2000", "5000", "10000", "20000", "50000", "100000", "200000", "500000", "1000000"];
        let dearer = [&dearer[..], &["10000000", "+Inf"]].concat();
        assert_histogram_of_one(&told, name, "", &dearer, 450.0);
        // Another replacement is another event.
        told.tell(replaced(2, 10, 5)).tell(replaced(3, 10, 5)).tell(rejected("x"));
        assert_eq!(told.family(name).unwrap().last().unwrap(), "_count 3");
    }

    #[test]
    fn a_replacement_that_pays_less_lets_no_sum_fall() {
        let (increase, decreases) =
            ("mempool_replacement_fee_increase_satoshis", "mempool_replacement_fee_decreases_total");
        let mut told = told();
        told.tell(replaced(1, 60_000, 10_000)).tell(removed("replaced", 1)).assert(decreases, &[]);
        // Its replaced transactions had a priority lowered by 80,000 satoshis.
        told.tell(replaced(2, 20_000, 100_000)).tell(removed("replaced", 1)).assert(decreases, &["1"]);
        let lines = told.family(increase).unwrap();
        assert_eq!(lines.last_chunk(), Some(&["_sum 50000", "_count 1"].map(String::from)));
        // An equal fee is no increase, and no decrease.
        told.tell(replaced(3, 5, 5)).tell(removed("replaced", 1)).assert(decreases, &["1"]);
        assert_eq!(told.family(increase).unwrap().last().unwrap(), "_count 2");
    }

    #[test]
    fn a_replacement_with_a_gap_does_not_count() {
        let name = "mempool_replacement_fee_increase_satoshis";
        let lost = |tracepoint| Kind::Lost(Lost { tracepoint, reason: LossReason::RingFull, count: 1 });
        let mut told = told();
        told.tell(replaced(1, 1_000, 300))
            .tell(lost(Tracepoint::MempoolReplaced))
            .tell(replaced(1, 1_000, 300))
            .tell(removed("replaced", 1))
            .assert(name, &[]);
        told.tell(replaced(2, 1_000, 300)).tell(lost(Tracepoint::NetInboundMessage)).tell(removed("replaced", 1));
        assert_eq!(told.family(name).unwrap().last().unwrap(), "_count 1");
        told.tell(replaced(3, 1_000, 300));
        told.metrics.node_gone();
        told.tell(removed("replaced", 1));
        assert_eq!(told.family(name).unwrap().last().unwrap(), "_count 1");
    }
}
