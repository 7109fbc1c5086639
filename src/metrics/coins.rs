//! Coins in UTXO caches. In: what the kernel side has counted and summed up, whether it sent events or not. Out:
//! families that exist only on request, since the tracepoints fire thousands of times for a block.

use super::{
    Options,
    family::{Counters, Registered, families},
    group::{Group, Shared},
    labels::Label,
};
use crate::{
    capture::Counters as KernelCounters,
    event::Event,
    tracepoint::{
        Tracepoint::{self, UtxocacheAdd, UtxocacheSpent, UtxocacheUncache},
        Tracepoints,
    },
};

/// In the order of [`action`].
const COINS: &[Tracepoint] = &[UtxocacheAdd, UtxocacheSpent, UtxocacheUncache];

families! {
    struct Families with _options {
        /// Coins added to a UTXO cache, spent from one, or dropped from one on purpose (uncache), from the tracepoints
        /// utxocache:add, utxocache:spent and utxocache:uncache. Counts operations on any cache, temporary ones
        /// included, not changes of the UTXO set. The kernel counts them, so none is missing, even if events are lost.
        utxocache_coins_total: Counters<1> = [action()], from COINS;

        /// The total value of the coins in bitcointap_utxocache_coins_total, in satoshis. Sums operations on any cache,
        /// temporary ones included, not changes of the supply.
        utxocache_value_satoshis_total: Counters<1> = [action()], from COINS;
    }
}

fn action() -> Label {
    Label::fed("action", [("add", UtxocacheAdd), ("spent", UtxocacheSpent), ("uncache", UtxocacheUncache)])
}

/// `None` unless requested.
pub(super) struct Coins(Option<Families>);

impl Group for Coins {
    fn new(options: &Options) -> Self {
        Self(options.utxocache_coins.then(|| Families::new(options)))
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.0.iter_mut().for_each(|families| families.attach(attached, registered));
    }

    /// The kernel side has already counted the coin of this event.
    fn observe(&mut self, _: &Event<'_>, _: &Shared) {}

    fn counted(&mut self, added: &[KernelCounters; Tracepoint::COUNT]) {
        let Some(families) = &self.0 else { return };
        for (place, tracepoint) in COINS.iter().enumerate() {
            let KernelCounters { fired, value, filtered: _, lost: _ } = added[tracepoint.index()];
            // A series of a tracepoint that is not attached would say nothing. The kernel side counts a hit before its
            // value, so one may be read without the other.
            if (fired, value) != (0, 0) {
                families.utxocache_coins_total.at([place]).inc_by(fired);
                families.utxocache_value_satoshis_total.at([place]).inc_by(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            Kind,
            utxocache::{Coin, Utxocache},
        },
        json::Hash,
        metrics::{
            Metrics, Options,
            testing::{OPTIONS, Told, only, text_of},
        },
    };

    fn counted(of: &[(Tracepoint, u64, u64)]) -> [KernelCounters; Tracepoint::COUNT] {
        let mut counters = [KernelCounters::default(); Tracepoint::COUNT];
        for &(tracepoint, fired, value) in of {
            counters[tracepoint.index()] = KernelCounters { fired, value, ..Default::default() };
        }
        counters
    }

    #[test]
    fn coins_and_their_values_advance_by_what_the_kernel_side_has_added() {
        let mut told = only("utxocache");
        told.assert("utxocache_coins_total", &[]).assert("utxocache_value_satoshis_total", &[]);
        let first = counted(&[(UtxocacheAdd, 3, 625_000_000), (UtxocacheSpent, 2, 7_000), (UtxocacheUncache, 1, 0)]);
        told.metrics.counted(&first);
        let coins = ["{action=\"add\"} 3", "{action=\"spent\"} 2", "{action=\"uncache\"} 1"];
        told.assert("utxocache_coins_total", &coins)
            .assert("utxocache_value_satoshis_total", &["{action=\"add\"} 625000000", "{action=\"spent\"} 7000"]);
        // Read between a hit and its value.
        told.metrics.counted(&counted(&[(UtxocacheUncache, 0, 30)]));
        told.assert("utxocache_coins_total", &coins);
        // A new tap: the families go on.
        told.metrics.tapped("utxocache".parse().unwrap());
        told.metrics.counted(&counted(&[(UtxocacheAdd, 1, 5), (UtxocacheUncache, 10, 60)]));
        let coins = ["{action=\"add\"} 4", "{action=\"spent\"} 2", "{action=\"uncache\"} 11"];
        let values = ["{action=\"add\"} 625000005", "{action=\"spent\"} 7000", "{action=\"uncache\"} 90"];
        told.assert("utxocache_coins_total", &coins).assert("utxocache_value_satoshis_total", &values);
    }

    #[test]
    fn events_of_coins_are_not_counted_a_second_time() {
        let mut told = only("all");
        let coin = Coin { txid: Hash([0; 32]), vout: 0, height: 1, value: 50, is_coinbase: false };
        told.tell(Kind::Utxocache { event: Utxocache::Add(coin) }).assert("utxocache_coins_total", &[]);
        told.metrics.counted(&counted(&[(UtxocacheAdd, 1, 50)]));
        told.assert("utxocache_coins_total", &["{action=\"add\"} 1"])
            .assert("utxocache_value_satoshis_total", &["{action=\"add\"} 50"]);
    }

    #[test]
    fn an_action_is_there_only_while_its_tracepoint_is_attached_and_only_if_asked_for() {
        let mut told = only("utxocache:spent,net");
        let text = text_of(&told.metrics.registry());
        for family in ["utxocache_coins_total", "utxocache_value_satoshis_total"] {
            for (action, is_there) in [("add", false), ("spent", true), ("uncache", false)] {
                let line = format!("bitcointap_{family}{{action=\"{action}\"}} 0\n");
                assert_eq!(text.contains(&line), is_there, "{line}");
            }
        }
        told.metrics.tapped("utxocache:flush,net".parse().unwrap());
        assert_eq!(told.family("utxocache_coins_total"), None);

        let not_asked_for = Options { utxocache_coins: false, ..OPTIONS.clone() };
        let mut told = Told::new(Metrics::new("all".parse().unwrap(), &not_asked_for));
        told.metrics.counted(&counted(&[(UtxocacheAdd, 1, 5)]));
        assert_eq!((told.family("utxocache_coins_total"), told.family("utxocache_value_satoshis_total")), (None, None));
    }
}
