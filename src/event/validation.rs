//! Events of the context `validation`.

use serde::Serialize;

use super::parts;
use crate::{json::Hash, kernel_side::types::block_connected_record};

/// What was validated.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Validation {
    /// `validation:block_connected`: a block was connected to a chain; also while reindexing, in background validation
    /// and in `verifychain` at level 4.
    BlockConnected {
        /// Its hash.
        hash: Hash,
        /// Its height.
        height: i64,
        /// How many transactions it has.
        transactions: u64,
        /// How many inputs it spends.
        inputs: i64,
        /// How many signature operations it has, without those of the coinbase.
        sigops: u64,
        /// How long connecting took, in ns for all releases.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            Decoder,
            tests::{DECODER, assert_event, events, hash, header},
        },
        kernel_side::write,
        tracepoint::Tracepoint,
    };

    #[test]
    fn blocks() {
        let (bytes, hex) = hash(1);
        let fixed = block_connected_record {
            header: header(Tracepoint::ValidationBlockConnected, ""),
            hash: bytes,
            height: 800_000,
            transactions: 3000,
            inputs: 7000,
            sigops: 9000,
            duration: 123,
        };
        let event = |nanoseconds: u64| {
            format!(
                r#"{{"Validation":{{"event":{{"BlockConnected":{{"hash":"{hex}","height":800000,"transactions":3000,"inputs":7000,"sigops":9000,"connection_time":{nanoseconds}}}}}}}}}"#
            )
        };
        assert_event(&write(fixed, b""), &event(123));
        let before_v25 = Decoder { block_duration_unit_ns: 1000, ..DECODER };
        assert_eq!(events(&before_v25, &write(fixed, b"")), [event(123_000)]);
    }
}
