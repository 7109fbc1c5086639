//! Transactions with the bytes that they were decoded from.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, Wtxid};
use serde::{Serialize, Serializer};

use super::reader::{Error, Reader, Result};
use crate::json::{Bytes, Hash};

/// A transaction. It is decoded, and its hashes are computed, only on request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tx<'a>(Content<'a>);

/// What there is of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content<'a> {
    Whole {
        raw: &'a [u8],
        /// Where in `raw` its witness begins, if it has one.
        witness: Option<usize>,
    },
    /// Its hashes alone, the rest was taken out.
    Ids { txid: [u8; 32], wtxid: [u8; 32] },
}

impl<'a> Tx<'a> {
    /// The bytes of the shortest transaction: version, no input, no output, lock time.
    pub(super) const SHORTEST: usize = 4 + 1 + 1 + 4;

    /// The transaction as it was on the wire, with its witness. `None` if only its hashes are there.
    pub fn raw(&self) -> Option<&'a [u8]> {
        match self.0 {
            Content::Whole { raw, .. } => Some(raw),
            Content::Ids { .. } => None,
        }
    }

    /// Finds its end without allocating for each input and output: a block has thousands. Accepts what Bitcoin Core
    /// decodes (BIP 144): everything that rust-bitcoin does, and transactions without inputs and outputs.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Tx<'a>> {
        if reader.has_only_ids() {
            return Ok(Tx(Content::Ids { txid: reader.array()?, wtxid: reader.array()? }));
        }
        let start = reader.rest();
        let read = |reader: &Reader<'_>| start.len() - reader.rest().len();
        reader.take(VERSION)?;
        let has_witness = match reader.rest() {
            [0, 0, ..] => false,
            [0, 1, ..] => true,
            [0, flag, ..] => return Err(Error::UnknownFlag(*flag)),
            _ => false,
        };
        if has_witness {
            reader.take(MARKER_AND_FLAG)?;
        }
        let inputs = reader.count(INPUT)?;
        for _ in 0..inputs {
            reader.take(OUTPOINT)?;
            reader.bytes()?;
            reader.take(SEQUENCE)?;
        }
        for _ in 0..reader.count(OUTPUT)? {
            reader.take(VALUE)?;
            reader.bytes()?;
        }
        let witness = has_witness.then(|| read(reader));
        if has_witness {
            let mut items = 0;
            for _ in 0..inputs {
                let of_input = reader.count(1)?;
                for _ in 0..of_input {
                    reader.bytes()?;
                }
                items += of_input;
            }
            if items == 0 {
                return Err(Error::SuperfluousWitness);
            }
        }
        reader.take(LOCK_TIME)?;
        Ok(Tx(Content::Whole { raw: &start[..read(reader)], witness }))
    }

    /// The transaction, decoded. `None` if only its hashes are there.
    pub fn transaction(&self) -> Option<Transaction> {
        match self.0 {
            Content::Whole { raw, witness } => Some(decoded(raw, witness).expect("it was read to its end before")),
            Content::Ids { .. } => None,
        }
    }

    /// Hash of the transaction without its witness.
    pub fn txid(&self) -> Txid {
        let (raw, witness) = match self.0 {
            Content::Ids { txid, .. } => return Txid::from_byte_array(txid),
            Content::Whole { raw, witness: None } => return Txid::from_raw_hash(sha256d::Hash::hash(raw)),
            Content::Whole { raw, witness: Some(witness) } => (raw, witness),
        };
        let mut engine = sha256d::Hash::engine();
        engine.input(&raw[..VERSION]);
        engine.input(&raw[VERSION + MARKER_AND_FLAG..witness]);
        engine.input(&raw[raw.len() - LOCK_TIME..]);
        Txid::from_engine(engine)
    }

    /// Hash of the transaction with its witness.
    pub fn wtxid(&self) -> Wtxid {
        match self.0 {
            Content::Whole { raw, .. } => Wtxid::from_raw_hash(sha256d::Hash::hash(raw)),
            Content::Ids { wtxid, .. } => Wtxid::from_byte_array(wtxid),
        }
    }

    /// Both hashes. Without a witness they are the same, and cost only one.
    pub fn ids(&self) -> (Txid, Wtxid) {
        let wtxid = self.wtxid();
        let txid = match self.0 {
            Content::Whole { witness: None, .. } => Txid::from_raw_hash(wtxid.to_raw_hash()),
            Content::Whole { .. } | Content::Ids { .. } => self.txid(),
        };
        (txid, wtxid)
    }
}

fn decoded(raw: &[u8], witness: Option<usize>) -> Result<Transaction> {
    let reader = &mut Reader::new(raw);
    let version = Version(reader.decode()?);
    if witness.is_some() {
        reader.take(MARKER_AND_FLAG)?;
    }
    let mut input = reader.list(INPUT, |reader| {
        Ok(TxIn {
            previous_output: OutPoint { txid: reader.decode()?, vout: reader.decode()? },
            script_sig: script(reader)?,
            sequence: Sequence(reader.decode()?),
            witness: Witness::new(),
        })
    })?;
    let output = reader.list(OUTPUT, |reader| {
        Ok(TxOut { value: Amount::from_sat(reader.decode()?), script_pubkey: script(reader)? })
    })?;
    if witness.is_some() {
        for input in &mut input {
            input.witness = Witness::from_slice(&reader.list(1, Reader::bytes)?);
        }
    }
    let lock_time = LockTime::from_consensus(reader.decode()?);
    Ok(Transaction { version, lock_time, input, output })
}

fn script(reader: &mut Reader<'_>) -> Result<ScriptBuf> {
    reader.bytes().map(|bytes| ScriptBuf::from_bytes(bytes.to_vec()))
}

/// Bytes of the parts that have a size.
const VERSION: usize = 4;
const MARKER_AND_FLAG: usize = 2;
const LOCK_TIME: usize = 4;

/// The bytes of the shortest input: outpoint, empty script, sequence.
const INPUT: usize = OUTPOINT + 1 + SEQUENCE;
const OUTPOINT: usize = 32 + 4;
const SEQUENCE: usize = 4;

/// The bytes of the shortest output: value, empty script.
const OUTPUT: usize = VALUE + 1;
const VALUE: usize = 8;

impl Serialize for Tx<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (txid, wtxid) = self.ids();
        let [txid, wtxid] = [txid.to_byte_array(), wtxid.to_byte_array()].map(Hash);
        Written { txid, wtxid, raw: self.raw().map(Bytes) }.serialize(serializer)
    }
}

/// A transaction, as it is written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Tx"))]
pub(crate) struct Written<'a> {
    /// Hash of the transaction without its witness.
    txid: Hash,
    /// Hash of the transaction with its witness.
    wtxid: Hash,
    /// The transaction as it was on the wire, with its witness. Missing if it was taken out (`--txids-only`).
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Bytes<'a>>,
}

/// A transaction that a `cmpctblock` carries whole (BIP 152).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PrefilledTx<'a> {
    /// How many transactions of the block are between the previous one in this list and this one.
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
