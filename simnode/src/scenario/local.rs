//! What happens in the node without a peer: the UTXO cache is flushed, a wallet makes a transaction.

use std::ffi::CStr;

use crate::{
    cli::Layout,
    emit::Stop,
    names::{CoinSelection, FlushMode},
    node::{Node, Step},
};

const WALLETS: [&CStr; 3] = [c"", c"savings", c"hot wallet"];
impl Node<'_, '_> {
    pub(super) fn flush(&mut self) -> Step {
        let modes: &[FlushMode] = if self.layout >= Layout::V31 {
            &[FlushMode::Periodic, FlushMode::IfNeeded, FlushMode::ForceFlush, FlushMode::ForceSync]
        } else {
            &[FlushMode::Periodic, FlushMode::IfNeeded, FlushMode::Always]
        };
        let mode = modes[self.rng.usize(..modes.len())];
        let coins = self.rng.u64(1_000..3_000_000);
        let microseconds = 500 + self.rng.i64(0..2) * self.rng.i64(0..1_000_000);
        let for_prune = self.rng.u8(..6) == 0;
        self.emitter.flush(microseconds, mode, coins, coins * 176, for_prune)
    }

    /// A wallet makes a transaction. Every other time it tries again without partial spends. Some attempts fail.
    pub(super) fn wallet_spends(&mut self) -> Step {
        let wallet = WALLETS[self.rng.usize(..WALLETS.len())];
        let target = self.rng.i64(10_000..500_000_000);
        let number = self.done.spends;
        self.done.spends += 1;
        if number % 10 == 9 {
            return self.emitter.normal_create_tx(wallet, None);
        }
        let fee = self.select_coins(wallet, target)?;
        let change = self.change();
        self.emitter.normal_create_tx(wallet, Some((fee, change)))?;
        if number % 2 == 1 {
            return Ok(());
        }
        self.emitter.attempting_aps(wallet)?;
        if number % 8 == 6 {
            return self.emitter.aps_create_tx(wallet, false, None);
        }
        let grouped_fee = self.select_coins(wallet, target)?;
        let change = self.change();
        self.emitter.aps_create_tx(wallet, grouped_fee <= fee, Some((grouped_fee, change)))
    }

    /// Returns a fee.
    fn select_coins(&mut self, wallet: &CStr, target: i64) -> Result<i64, Stop> {
        // CoinGrinder came with v28.
        let algorithms: &[CoinSelection] = if self.layout >= Layout::V29 {
            CoinSelection::ALL
        } else {
            &[CoinSelection::BranchAndBound, CoinSelection::Knapsack, CoinSelection::SingleRandomDraw]
        };
        let algorithm = algorithms[self.rng.usize(..algorithms.len())];
        let waste = self.rng.i64(-5_000..5_000);
        let more = match algorithm {
            CoinSelection::BranchAndBound => self.rng.i64(0..500),
            _ => self.rng.i64(0..50_000_000),
        };
        self.emitter.selected_coins(wallet, algorithm, target, waste, target + more)?;
        Ok(self.rng.i64(141..20_000))
    }

    /// Where the change is, if there is any.
    fn change(&mut self) -> Option<u16> {
        (self.rng.u8(..5) > 0).then(|| self.rng.u16(..2))
    }
}
