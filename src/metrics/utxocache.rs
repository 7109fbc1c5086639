//! The UTXO cache. In: its events. Out: families of flushes.

use prometheus::Histogram;

use super::{
    Options,
    family::{Histograms, Registered, families},
    group::{Group, Shared},
    labels::Label,
};
use crate::{
    event::{self, Kind, utxocache::Utxocache as Event},
    tracepoint::{Tracepoint, Tracepoints},
};

const FLUSHES: &[Tracepoint] = &[Tracepoint::UtxocacheFlush];

/// Upper bounds in seconds.
const DURATIONS: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const COINS: &[f64] = &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8];
/// 1 MiB to 32 GiB.
const BYTES: &[f64] = &[
    1048576.0,
    4194304.0,
    16777216.0,
    67108864.0,
    134217728.0,
    268435456.0,
    536870912.0,
    1073741824.0,
    2147483648.0,
    4294967296.0,
    8589934592.0,
    17179869184.0,
    34359738368.0,
];

families! {
    struct Families with _options {
        /// How long the node took to write the UTXO cache to disk, by Bitcoin Core's mode and whether pruning was the
        /// cause, from the tracepoint utxocache:flush. Releases before v31 call force_flush ALWAYS.
        utxocache_flush_seconds: Histograms<2> = ([mode(), for_prune()], DURATIONS), from FLUSHES;

        /// Coins in the UTXO cache before the node wrote it to disk, from the tracepoint utxocache:flush. The node
        /// writes only those that changed.
        utxocache_flushed_coins: Histogram = COINS, from FLUSHES;

        /// Memory of the UTXO cache in bytes before the node wrote it to disk, from the tracepoint utxocache:flush.
        /// These are not the bytes written.
        utxocache_flushed_bytes: Histogram = BYTES, from FLUSHES;
    }
}

/// FlushStateMode in Bitcoin Core, each at its number.
const MODES: [&str; 5] = ["none", "if_needed", "periodic", "force_flush", "force_sync"];

fn mode() -> Label {
    Label::new("mode", MODES.into_iter().chain(["other"]))
}

fn for_prune() -> Label {
    Label::new("for_prune", ["false", "true"])
}

pub(super) struct Utxocache {
    families: Families,
}

impl Group for Utxocache {
    fn new(options: &Options) -> Self {
        Self { families: Families::new(options) }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    fn observe(&mut self, event: &event::Event<'_>, _: &Shared) {
        let Kind::Utxocache { event } = &event.kind else { return };
        match *event {
            Event::Flush { duration, mode, coins, memory, for_prune } => {
                let mode = usize::try_from(mode).map_or(MODES.len(), |mode| mode.min(MODES.len()));
                let seconds = duration.max(0) as f64 / 1e6;
                self.families.utxocache_flush_seconds.at([mode, usize::from(for_prune)]).observe(seconds);
                self.families.utxocache_flushed_coins.observe(coins as f64);
                self.families.utxocache_flushed_bytes.observe(memory as f64);
            }
            // The kernel side has already counted them, lost ones included: see coins.rs.
            Event::Add(_) | Event::Spent(_) | Event::Uncache(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Kind, utxocache::Coin},
        json::Hash,
        metrics::testing::{assert_histogram_of_one, told},
    };

    fn flush(duration: i64, mode: u32, for_prune: bool) -> Kind<'static> {
        Kind::Utxocache { event: Event::Flush { duration, mode, coins: 1_000, memory: 300 << 20, for_prune } }
    }

    #[test]
    fn flushes_tell_what_they_took_and_what_was_there() {
        let mut told = told();
        told.tell(flush(1_500_000, 3, true));
        let label = "for_prune=\"true\",mode=\"force_flush\",";
        let bounds = ["5", "10", "30", "60", "120", "300", "600", "+Inf"];
        assert_histogram_of_one(&told, "utxocache_flush_seconds", label, &bounds, 1.5);
        let bounds = [
            "1000",
            "10000",
            "100000",
            "500000",
            "1000000",
            "2000000",
            "5000000",
            "10000000",
            "20000000",
            "50000000",
            "100000000",
            "+Inf",
        ];
        assert_histogram_of_one(&told, "utxocache_flushed_coins", "", &bounds, 1_000.0);
        let bounds =
            ["536870912", "1073741824", "2147483648", "4294967296", "8589934592", "17179869184", "34359738368", "+Inf"];
        assert_histogram_of_one(&told, "utxocache_flushed_bytes", "", &bounds, 314_572_800.0);
    }

    #[test]
    fn modes_are_bitcoin_cores() {
        let mut told = told();
        for mode in [0, 1, 2, 3, 4, 5, u32::MAX] {
            told.tell(flush(0, mode, false));
        }
        let lines = told.family("utxocache_flush_seconds").unwrap();
        let counts: Vec<_> =
            lines.iter().filter_map(|line| line.strip_prefix("_count{for_prune=\"false\",mode=")).collect();
        let expected = [
            "\"force_flush\"} 1",
            "\"force_sync\"} 1",
            "\"if_needed\"} 1",
            "\"none\"} 1",
            "\"other\"} 2",
            "\"periodic\"} 1",
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn single_coins_are_no_flushes() {
        let coin = Coin { txid: Hash([0; 32]), vout: 0, height: 1, value: 1, is_coinbase: false };
        let mut told = told();
        told.tell(Kind::Utxocache { event: Event::Add(coin) }).assert("utxocache_flushed_coins", &[]);
    }
}
