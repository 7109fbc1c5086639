//! Events of the context `mempool`. Sizes in virtual bytes, fees in satoshis, times in UNIX seconds.

use std::borrow::Cow;

use serde::Serialize;

use super::parts;
use crate::{
    json::Hash,
    kernel_side::types::{added_record, rejected_record, removed_record, replaced_record},
    tracepoint::Tracepoint,
};

/// What became of a transaction.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Mempool<'a> {
    /// `mempool:added`: it entered the mempool.
    Added {
        /// Its id.
        txid: Hash,
        /// Its size.
        vsize: i64,
        /// Its fee.
        fee: i64,
    },
    /// `mempool:removed`: it left the mempool.
    Removed {
        /// Its id.
        txid: Hash,
        /// Bitcoin Core's MemPoolRemovalReason: expiry, sizelimit, reorg, block, conflict, replaced.
        reason: Cow<'a, str>,
        /// Its size.
        vsize: i64,
        /// Its fee.
        fee: i64,
        /// When it had entered.
        entry_time: u64,
    },
    /// `mempool:replaced`: another transaction replaced it (BIP 125). There is one event for each replaced transaction.
    Replaced {
        /// The id of the replaced transaction.
        replaced_txid: Hash,
        /// Its size.
        replaced_vsize: i64,
        /// Its fee.
        replaced_fee: i64,
        /// When it had entered.
        replaced_entry_time: u64,
        /// The id of the transaction that replaces it; from v29 on, perhaps the hash of a package.
        replacement_txid: Hash,
        /// Its size.
        replacement_vsize: i64,
        /// Its fee.
        replacement_fee: i64,
        /// False if the id is the hash of a package.
        replacement_is_txid: bool,
    },
    /// `mempool:rejected`: it was not accepted.
    Rejected {
        /// Its id.
        txid: Hash,
        /// Why.
        reason: Cow<'a, str>,
    },
}

impl<'a> Mempool<'a> {
    pub(super) fn decode(tracepoint: Tracepoint, record: &'a [u8]) -> Option<Self> {
        Some(match tracepoint {
            Tracepoint::MempoolAdded => {
                let (fixed, ..) = parts::<added_record>(record)?;
                Mempool::Added { txid: Hash(fixed.txid), vsize: fixed.vsize, fee: fixed.fee }
            }
            Tracepoint::MempoolRemoved => {
                let (fixed, reason, _) = parts::<removed_record>(record)?;
                Mempool::Removed {
                    txid: Hash(fixed.txid),
                    reason,
                    vsize: fixed.vsize,
                    fee: fixed.fee,
                    entry_time: fixed.entry_time,
                }
            }
            Tracepoint::MempoolReplaced => {
                let (fixed, ..) = parts::<replaced_record>(record)?;
                Mempool::Replaced {
                    replaced_txid: Hash(fixed.replaced_txid),
                    replaced_vsize: fixed.replaced_vsize,
                    replaced_fee: fixed.replaced_fee,
                    replaced_entry_time: fixed.replaced_entry_time,
                    replacement_txid: Hash(fixed.replacement_txid),
                    replacement_vsize: fixed.replacement_vsize,
                    replacement_fee: fixed.replacement_fee,
                    replacement_is_txid: fixed.replacement_is_txid != 0,
                }
            }
            Tracepoint::MempoolRejected => {
                let (fixed, reason, _) = parts::<rejected_record>(record)?;
                Mempool::Rejected { txid: Hash(fixed.txid), reason }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::tests::{assert_event, hash, header},
        kernel_side::write,
    };

    #[test]
    fn mempool() {
        let (txid, hex) = hash(1);
        let fixed = added_record { header: header(Tracepoint::MempoolAdded, ""), txid, vsize: 141, fee: 500 };
        let event = format!(r#"{{"Mempool":{{"event":{{"Added":{{"txid":"{hex}","vsize":141,"fee":500}}}}}}}}"#);
        assert_event(&write(fixed, b""), &event);

        let header_of = |tracepoint| header(tracepoint, "block");
        let fixed =
            removed_record { header: header_of(Tracepoint::MempoolRemoved), txid, vsize: 141, fee: 500, entry_time: 9 };
        let event = format!(
            r#"{{"Mempool":{{"event":{{"Removed":{{"txid":"{hex}","reason":"block","vsize":141,"fee":500,"entry_time":9}}}}}}}}"#
        );
        assert_event(&write(fixed, b"block"), &event);

        let (replacement_txid, replacement_hex) = hash(101);
        let fixed = replaced_record {
            header: header(Tracepoint::MempoolReplaced, ""),
            replaced_txid: txid,
            replaced_vsize: 1,
            replaced_fee: 2,
            replaced_entry_time: 3,
            replacement_txid,
            replacement_vsize: 4,
            replacement_fee: 5,
            replacement_is_txid: 0,
            ..Default::default()
        };
        let event = format!(
            r#"{{"Mempool":{{"event":{{"Replaced":{{"replaced_txid":"{hex}","replaced_vsize":1,"replaced_fee":2,"replaced_entry_time":3,"replacement_txid":"{replacement_hex}","replacement_vsize":4,"replacement_fee":5,"replacement_is_txid":false}}}}}}}}"#
        );
        assert_event(&write(fixed, b""), &event);

        let fixed = rejected_record { header: header(Tracepoint::MempoolRejected, "?"), txid };
        // Bytes that are not UTF-8 are replaced.
        let event = format!(r#"{{"Mempool":{{"event":{{"Rejected":{{"txid":"{hex}","reason":"{}"}}}}}}}}"#, '\u{fffd}');
        assert_event(&write(fixed, b"\xff"), &event);
    }
}
