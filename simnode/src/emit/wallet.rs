//! The wallet's events: coin selection and the transactions made from it.

use std::ffi::CStr;

use super::{Emitter, Stop};
use crate::names::{CoinSelection, Tracepoint};

impl Emitter<'_> {
    pub(crate) fn selected_coins(
        &mut self,
        wallet: &CStr,
        algorithm: CoinSelection,
        target: i64,
        waste: i64,
        selected: i64,
    ) -> Result<(), Stop> {
        let Some(probe) = self.probes.selected_coins else {
            return Ok(());
        };
        self.fire(Tracepoint::SelectedCoins, || {
            // SAFETY: the texts end with a zero byte and outlive the call.
            unsafe { probe(wallet.as_ptr(), algorithm.c_name().as_ptr(), target, waste, selected) }
        })?;
        let tally = &mut self.tally.coin_selection.selected_coins;
        tally.count += 1;
        tally.target += target;
        tally.waste += waste;
        tally.selected += selected;
        *tally.algorithms.entry(algorithm.name()).or_default() += 1;
        Ok(())
    }

    /// The first attempt at a transaction: its fee and the place of its change, if it succeeded.
    pub(crate) fn normal_create_tx(&mut self, wallet: &CStr, result: Option<(i64, Option<u16>)>) -> Result<(), Stop> {
        let Some(probe) = self.probes.normal_create_tx else {
            return Ok(());
        };
        let (fee, change) = flatten(result);
        self.fire(Tracepoint::NormalCreateTx, || {
            // SAFETY: the text ends with a zero byte and outlives the call.
            unsafe { probe(wallet.as_ptr(), result.is_some(), fee, change) }
        })?;
        let tally = &mut self.tally.coin_selection.normal_create_tx_internal;
        tally.count += 1;
        tally.success += u64::from(result.is_some());
        tally.fees += fee;
        Ok(())
    }

    pub(crate) fn attempting_aps(&mut self, wallet: &CStr) -> Result<(), Stop> {
        let Some(probe) = self.probes.attempting_aps else {
            return Ok(());
        };
        self.fire(Tracepoint::AttemptingAps, || {
            // SAFETY: the text ends with a zero byte and outlives the call.
            unsafe { probe(wallet.as_ptr()) }
        })?;
        self.tally.coin_selection.attempting_aps_create_tx += 1;
        Ok(())
    }

    /// The second attempt, which avoids partial spends, and whether it is used.
    pub(crate) fn aps_create_tx(
        &mut self,
        wallet: &CStr,
        used: bool,
        result: Option<(i64, Option<u16>)>,
    ) -> Result<(), Stop> {
        let Some(probe) = self.probes.aps_create_tx else {
            return Ok(());
        };
        let (fee, change) = flatten(result);
        self.fire(Tracepoint::ApsCreateTx, || {
            // SAFETY: the text ends with a zero byte and outlives the call.
            unsafe { probe(wallet.as_ptr(), used, result.is_some(), fee, change) }
        })?;
        let tally = &mut self.tally.coin_selection.aps_create_tx_internal;
        tally.count += 1;
        tally.used += u64::from(used);
        tally.success += u64::from(result.is_some());
        tally.fees += fee;
        Ok(())
    }
}

/// Fee and place of the change as the tracepoints have them: 0 and -1 where there is none.
fn flatten(result: Option<(i64, Option<u16>)>) -> (i64, i32) {
    let (fee, change) = result.unwrap_or((0, None));
    (fee, change.map_or(-1, i32::from))
}
