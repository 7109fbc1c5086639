//! Events of the context `validation`.

use serde::Serialize;

use super::parts;
use crate::{json::Hash, record::types::block_connected_record};

/// What was validated.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub enum Validation {
    /// `validation:block_connected`: a block was connected to a chain; also while reindexing, in background validation
    /// and in `verifychain` at level 4.
    BlockConnected {
        /// Its hash.
        hash: Hash,
        /// Its height.
        height: i64,
        /// Its transactions.
        transactions: u64,
        /// Inputs that it spends.
        inputs: i64,
        /// Signature operations, without the coinbase's.
        sigops: u64,
        /// What connecting took, in ns whatever the release.
        connection_time: u64,
    },
}

impl Validation {
    pub(super) fn decode(record: &[u8], duration_unit_ns: u64) -> Option<Self> {
        let (fixed, ..) = parts::<block_connected_record>(record)?;
        Some(Validation::BlockConnected {
            hash: Hash(fixed.hash),
            height: fixed.height,
            transactions: fixed.transactions,
            inputs: fixed.inputs,
            sigops: fixed.sigops,
            connection_time: fixed.duration.saturating_mul(duration_unit_ns),
        })
    }
}
