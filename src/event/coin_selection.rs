//! Events of the context `coin_selection`: the node's own wallets. Values in satoshis.

use std::{borrow::Cow, mem::offset_of};

use serde::Serialize;

use super::{parts, text_in_place};
use crate::{
    kernel_side::types::{attempting_aps_record, create_tx_record, selected_coins_record},
    tracepoint::Tracepoint,
};

/// What a wallet did to fund a transaction.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum CoinSelection<'a> {
    /// `coin_selection:selected_coins`: coins were chosen.
    SelectedCoins {
        /// The wallet's name.
        wallet: Cow<'a, str>,
        /// The algorithm: bnb, knapsack, srd, cg, manual.
        algorithm: &'a str,
        /// The value to reach.
        target: i64,
        /// The waste metric; negative is better.
        waste: i64,
        /// The total value of the chosen coins.
        selected: i64,
    },
    /// `coin_selection:normal_create_tx_internal`: the first attempt ended.
    NormalCreateTxInternal {
        /// The wallet's name.
        wallet: Cow<'a, str>,
        /// Whether it gave a transaction.
        success: bool,
        /// The expected fee.
        fee: i64,
        /// Where the change is; -1 if there is none.
        change_position: i32,
    },
    /// `coin_selection:attempting_aps_create_tx`: a second attempt, avoiding partial spends, begins.
    AttemptingApsCreateTx {
        /// The wallet's name.
        wallet: Cow<'a, str>,
    },
    /// `coin_selection:aps_create_tx_internal`: the second attempt ended.
    ApsCreateTxInternal {
        /// The wallet's name.
        wallet: Cow<'a, str>,
        /// Whether its result will be used.
        use_aps: bool,
        /// Whether it gave a transaction.
        success: bool,
        /// The expected fee.
        fee: i64,
        /// Where the change is; -1 if there is none.
        change_position: i32,
    },
}

impl<'a> CoinSelection<'a> {
    pub(super) fn decode(tracepoint: Tracepoint, record: &'a [u8]) -> Option<Self> {
        Some(match tracepoint {
            Tracepoint::CoinSelectionSelectedCoins => {
                let (fixed, wallet, _) = parts::<selected_coins_record>(record)?;
                CoinSelection::SelectedCoins {
                    wallet,
                    algorithm: text_in_place(
                        record.get(offset_of!(selected_coins_record, algorithm)..)?,
                        fixed.algorithm.len(),
                    ),
                    target: fixed.target,
                    waste: fixed.waste,
                    selected: fixed.selected,
                }
            }
            Tracepoint::CoinSelectionNormalCreateTxInternal => {
                let (fixed, wallet, _) = parts::<create_tx_record>(record)?;
                CoinSelection::NormalCreateTxInternal {
                    wallet,
                    success: fixed.success != 0,
                    fee: fixed.fee,
                    change_position: fixed.change_position,
                }
            }
            Tracepoint::CoinSelectionAttemptingApsCreateTx => {
                let (_, wallet, _) = parts::<attempting_aps_record>(record)?;
                CoinSelection::AttemptingApsCreateTx { wallet }
            }
            Tracepoint::CoinSelectionApsCreateTxInternal => {
                let (fixed, wallet, _) = parts::<create_tx_record>(record)?;
                CoinSelection::ApsCreateTxInternal {
                    wallet,
                    use_aps: fixed.use_aps != 0,
                    success: fixed.success != 0,
                    fee: fixed.fee,
                    change_position: fixed.change_position,
                }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::tests::{array, assert_event, header},
        kernel_side::write,
    };

    #[test]
    fn coin_selection() {
        let fixed = selected_coins_record {
            header: header(Tracepoint::CoinSelectionSelectedCoins, "w"),
            algorithm: array("bnb"),
            target: 100_000,
            waste: -250,
            selected: 100_321,
        };
        let event = r#"{"CoinSelection":{"event":{"SelectedCoins":{"wallet":"w","algorithm":"bnb","target":100000,"waste":-250,"selected":100321}}}}"#;
        assert_event(&write(fixed, b"w"), event);

        let fixed = |tracepoint| create_tx_record {
            header: header(tracepoint, "w"),
            fee: 450,
            change_position: -1,
            use_aps: 0,
            success: 1,
            ..Default::default()
        };
        let event = r#"{"CoinSelection":{"event":{"NormalCreateTxInternal":{"wallet":"w","success":true,"fee":450,"change_position":-1}}}}"#;
        assert_event(&write(fixed(Tracepoint::CoinSelectionNormalCreateTxInternal), b"w"), event);
        let event = r#"{"CoinSelection":{"event":{"ApsCreateTxInternal":{"wallet":"w","use_aps":false,"success":true,"fee":450,"change_position":-1}}}}"#;
        assert_event(&write(fixed(Tracepoint::CoinSelectionApsCreateTxInternal), b"w"), event);

        let fixed = attempting_aps_record { header: header(Tracepoint::CoinSelectionAttemptingApsCreateTx, "w") };
        assert_event(&write(fixed, b"w"), r#"{"CoinSelection":{"event":{"AttemptingApsCreateTx":{"wallet":"w"}}}}"#);
    }
}
