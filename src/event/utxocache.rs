//! Events of the context `utxocache`. They are about all UTXO caches, temporary ones too. So they are not changes of the UTXO set.

use serde::Serialize;

use super::parts;
use crate::{
    json::Hash,
    kernel_side::types::{coin_record, flush_record},
    tracepoint::Tracepoint,
};

/// What was done to the cache or to a coin in it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Utxocache {
    /// `utxocache:flush`: the cache was written to disk.
    Flush {
        /// How long that took, in µs.
        duration: i64,
        /// 0 NONE, 1 IF_NEEDED, 2 PERIODIC; 3 is ALWAYS up to v30 and FORCE_FLUSH from v31 on, 4 FORCE_SYNC.
        mode: u32,
        /// How many coins the cache had before.
        coins: u64,
        /// How many bytes the cache took before.
        memory: u64,
        /// Whether pruning was the cause.
        for_prune: bool,
    },
    /// `utxocache:add`: a coin was added.
    Add(Coin),
    /// `utxocache:spent`: a coin was spent.
    Spent(Coin),
    /// `utxocache:uncache`: a coin was dropped on purpose.
    Uncache(Coin),
}

/// An unspent output.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Coin {
    /// The transaction that created it.
    pub txid: Hash,
    /// Its index among the transaction's outputs.
    pub vout: u32,
    /// The height of the block that created it.
    pub height: u32,
    /// Satoshis.
    pub value: i64,
    /// Whether a coinbase transaction created it.
    pub is_coinbase: bool,
}

impl Utxocache {
    pub(super) fn decode(tracepoint: Tracepoint, record: &[u8]) -> Option<Self> {
        if tracepoint == Tracepoint::UtxocacheFlush {
            let (fixed, ..) = parts::<flush_record>(record)?;
            return Some(Utxocache::Flush {
                duration: fixed.duration_us,
                mode: fixed.mode,
                coins: fixed.coins,
                memory: fixed.memory,
                for_prune: fixed.for_prune != 0,
            });
        }
        let (fixed, ..) = parts::<coin_record>(record)?;
        let coin = Coin {
            txid: Hash(fixed.txid),
            vout: fixed.vout,
            height: fixed.height,
            value: fixed.value,
            is_coinbase: fixed.is_coinbase != 0,
        };
        match tracepoint {
            Tracepoint::UtxocacheAdd => Some(Utxocache::Add(coin)),
            Tracepoint::UtxocacheSpent => Some(Utxocache::Spent(coin)),
            Tracepoint::UtxocacheUncache => Some(Utxocache::Uncache(coin)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::tests::{assert_event, hash, header},
        kernel_side::{types::flush_record, write},
    };

    #[test]
    fn utxo_cache() {
        let fixed = flush_record {
            header: header(Tracepoint::UtxocacheFlush, ""),
            duration_us: 1500,
            coins: 100_000,
            memory: 52_428_800,
            mode: 2,
            for_prune: 1,
            ..Default::default()
        };
        let event = r#"{"Utxocache":{"event":{"Flush":{"duration":1500,"mode":2,"coins":100000,"memory":52428800,"for_prune":true}}}}"#;
        assert_event(&write(fixed, b""), event);

        let (txid, hex) = hash(1);
        for (tracepoint, name) in [
            (Tracepoint::UtxocacheAdd, "Add"),
            (Tracepoint::UtxocacheSpent, "Spent"),
            (Tracepoint::UtxocacheUncache, "Uncache"),
        ] {
            let fixed = coin_record {
                header: header(tracepoint, ""),
                txid,
                value: 5_000_000_000,
                vout: 3,
                height: 896_001,
                is_coinbase: 1,
                ..Default::default()
            };
            let event = format!(
                r#"{{"Utxocache":{{"event":{{"{name}":{{"txid":"{hex}","vout":3,"height":896001,"value":5000000000,"is_coinbase":true}}}}}}}}"#
            );
            assert_event(&write(fixed, b""), &event);
        }
    }
}
