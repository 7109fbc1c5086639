//! Transactions with the bytes they were decoded from.

use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Transaction, Txid, Wtxid};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::reader::{Error, Reader, Result};
use crate::json::{Bytes, Hash};

/// A transaction. Its hashes are computed when they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tx<'a> {
    /// The transaction, decoded.
    pub transaction: Transaction,
    /// The transaction as it was on the wire, with its witness.
    pub raw: &'a [u8],
}

impl<'a> Tx<'a> {
    /// The bytes of the shortest transaction: version, no input, no output, lock time.
    pub(super) const SHORTEST: usize = 4 + 1 + 1 + 4;

    /// What Bitcoin Core decodes (BIP 144), which for transactions without inputs is not what rust-bitcoin does.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Tx<'a>> {
        let start = reader.rest();
        let transaction = match start.get(4..6) {
            Some([0, 0]) => read_empty(reader)?,
            _ => reader.decode()?,
        };
        let raw = &start[..start.len() - reader.rest().len()];
        let tx = Tx { transaction, raw };
        if tx.has_witness() && tx.transaction.input.is_empty() {
            return Err(Error::SuperfluousWitness);
        }
        Ok(tx)
    }

    /// Hash of the transaction without its witness.
    pub fn txid(&self) -> Txid {
        if self.has_witness() { self.transaction.compute_txid() } else { Txid::from_raw_hash(self.hash()) }
    }

    /// Hash of the transaction with its witness.
    pub fn wtxid(&self) -> Wtxid {
        Wtxid::from_raw_hash(self.hash())
    }

    fn hash(&self) -> sha256d::Hash {
        sha256d::Hash::hash(self.raw)
    }

    /// Whether BIP 144's marker and flag follow the version.
    fn has_witness(&self) -> bool {
        matches!(self.raw, [_, _, _, _, 0, 1, ..])
    }
}

/// A transaction of no inputs and no outputs, whose two counts rust-bitcoin takes for a marker and an unknown flag.
fn read_empty(reader: &mut Reader<'_>) -> Result<Transaction> {
    let version = reader.decode()?;
    reader.take(2)?;
    let lock_time = reader.decode()?;
    Ok(Transaction { version, lock_time, input: Vec::new(), output: Vec::new() })
}

impl Serialize for Tx<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let wtxid = self.wtxid().to_byte_array();
        // Without a witness the two are one: no need to hash twice.
        let txid = if self.has_witness() { self.txid().to_byte_array() } else { wtxid };
        let mut tx = serializer.serialize_struct("Tx", 3)?;
        tx.serialize_field("txid", &Hash(txid))?;
        tx.serialize_field("wtxid", &Hash(wtxid))?;
        tx.serialize_field("raw", &Bytes(self.raw))?;
        tx.end()
    }
}

/// A transaction that a `cmpctblock` carries whole (BIP 152).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrefilledTx<'a> {
    /// How many transactions of the block lie between the one before in this list and this one.
    pub diff_index: u16,
    /// The transaction.
    pub tx: Tx<'a>,
}

impl<'a> PrefilledTx<'a> {
    /// The bytes of the shortest one.
    pub(super) const SHORTEST: usize = 1 + Tx::SHORTEST;

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<PrefilledTx<'a>> {
        let index = reader.compact_size()?;
        let diff_index = u16::try_from(index).map_err(|_| Error::PrefilledIndex(index))?;
        Ok(PrefilledTx { diff_index, tx: Tx::read(reader)? })
    }
}
