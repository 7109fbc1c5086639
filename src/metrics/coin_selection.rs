//! How the node's own wallets fund transactions. In: events of coin selection. Out: families of algorithms and results.

use super::{
    Options,
    family::{Counters, Registered, families},
    group::{Group, Shared},
    labels::Label,
};
use crate::{
    event::{self, Kind, coin_selection::CoinSelection as Event},
    tracepoint::{Tracepoint, Tracepoints},
};

const SELECTIONS: &[Tracepoint] = &[Tracepoint::CoinSelectionSelectedCoins];

/// The tracepoints of attempts, in the order of [`attempt`].
const ATTEMPTS: [Tracepoint; 2] =
    [Tracepoint::CoinSelectionNormalCreateTxInternal, Tracepoint::CoinSelectionApsCreateTxInternal];

families! {
    struct Families with _options {
        /// Choices of coins by the node's wallets, by Bitcoin Core's algorithm, from the tracepoint
        /// coin_selection:selected_coins. These are not transactions: each of two attempts chooses coins, and a choice
        /// may stay unused.
        coin_selection_total: Counters<1> = [algorithm()], from SELECTIONS;

        /// Attempts of the node's wallets to create a transaction, by result, from the tracepoints
        /// coin_selection:normal_create_tx_internal and aps_create_tx_internal. The first attempt is normal; after its
        /// success another may avoid partial spends (aps). The wallet uses at most one of the two, and does not send
        /// every transaction that it creates.
        coin_selection_transactions_total: Counters<2> = [attempt(), Label::new("result", ["success", "failure"])], from &ATTEMPTS;
    }
}

/// GetAlgorithmName in Bitcoin Core.
const ALGORITHMS: [&str; 5] = ["bnb", "knapsack", "srd", "cg", "manual"];

fn algorithm() -> Label {
    Label::new("algorithm", ALGORITHMS.into_iter().chain(["other"]))
}

fn algorithm_place(algorithm: &str) -> usize {
    ALGORITHMS.iter().position(|&known| known == algorithm).unwrap_or(ALGORITHMS.len())
}

/// Places in [`attempt`].
const NORMAL: usize = 0;
const APS: usize = 1;

fn attempt() -> Label {
    let [normal, aps] = ATTEMPTS;
    Label::fed("attempt", [("normal", normal), ("aps", aps)])
}

pub(super) struct CoinSelection {
    families: Families,
}

impl Group for CoinSelection {
    fn new(options: &Options) -> Self {
        Self { families: Families::new(options) }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    fn observe(&mut self, event: &event::Event<'_>, _: &Shared) {
        let Kind::CoinSelection { event } = &event.kind else { return };
        match *event {
            Event::SelectedCoins { wallet: _, algorithm, target: _, waste: _, selected: _ } => {
                self.families.coin_selection_total.at([algorithm_place(algorithm)]).inc();
            }
            Event::NormalCreateTxInternal { wallet: _, success, fee: _, change_position: _ } => {
                self.created(NORMAL, success);
            }
            Event::ApsCreateTxInternal { wallet: _, use_aps: _, success, fee: _, change_position: _ } => {
                self.created(APS, success);
            }
            // Its end is counted.
            Event::AttemptingApsCreateTx { wallet: _ } => {}
        }
    }
}

impl CoinSelection {
    fn created(&self, attempt: usize, success: bool) {
        self.families.coin_selection_transactions_total.at([attempt, usize::from(!success)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Kind,
        metrics::testing::{only, text_of, told},
    };

    fn selected(algorithm: &str) -> Kind<'_> {
        let event = Event::SelectedCoins { wallet: "w".into(), algorithm, target: 5, waste: -1, selected: 6 };
        Kind::CoinSelection { event }
    }

    #[test]
    fn selections_count_by_algorithm() {
        let mut told = told();
        for algorithm in ["bnb", "knapsack", "srd", "cg", "manual", "made-up", "", "bnb"] {
            told.tell(selected(algorithm));
        }
        told.assert(
            "coin_selection_total",
            &[
                "{algorithm=\"bnb\"} 2",
                "{algorithm=\"cg\"} 1",
                "{algorithm=\"knapsack\"} 1",
                "{algorithm=\"manual\"} 1",
                "{algorithm=\"other\"} 2",
                "{algorithm=\"srd\"} 1",
            ],
        );
    }

    #[test]
    fn attempts_count_by_result() {
        let normal = |success| Kind::CoinSelection {
            event: Event::NormalCreateTxInternal { wallet: "w".into(), success, fee: 1, change_position: -1 },
        };
        let aps = |success, use_aps| Kind::CoinSelection {
            event: Event::ApsCreateTxInternal { wallet: "w".into(), use_aps, success, fee: 1, change_position: -1 },
        };
        let mut told = told();
        told.tell(normal(true)).tell(normal(true)).tell(normal(false)).tell(aps(true, false)).tell(aps(false, false));
        told.tell(Kind::CoinSelection { event: Event::AttemptingApsCreateTx { wallet: "w".into() } });
        told.assert(
            "coin_selection_transactions_total",
            &[
                "{attempt=\"aps\",result=\"failure\"} 1",
                "{attempt=\"aps\",result=\"success\"} 1",
                "{attempt=\"normal\",result=\"failure\"} 1",
                "{attempt=\"normal\",result=\"success\"} 2",
            ],
        );
        let text = text_of(&only("coin_selection:normal_create_tx_internal").metrics.registry());
        assert!(text.contains("{attempt=\"normal\",result=\"failure\"} 0\n"));
        assert!(!text.contains("attempt=\"aps\""), "blind, not zero");
    }
}
