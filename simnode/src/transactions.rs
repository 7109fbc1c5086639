//! Transactions of realistic kinds and sizes. A few hundred templates are made at the start. A template and a serial
//! number, which becomes the lock time, are a distinct transaction. Its ids cost two short hashes and no allocation.

use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute::LockTime,
    consensus::{Encodable, serialize},
    hashes::{Hash, HashEngine, sha256, sha256d},
    transaction::Version,
};
use fastrand::Rng;

use crate::mempool::Entry;

const TEMPLATES: usize = 256;
/// The bytes of a lock time, with which a transaction ends.
const LOCK_TIME: usize = 4;

struct Template {
    /// With witnesses.
    bytes: Vec<u8>,
    /// The hash of everything except the lock time, without witnesses and with them.
    stripped: sha256::HashEngine,
    whole: sha256::HashEngine,
    vsize: i32,
    inputs: Vec<(OutPoint, i64)>,
    /// Values in satoshis.
    outputs: Vec<i64>,
}

/// A supply of transactions.
pub(crate) struct Transactions {
    templates: Vec<Template>,
    next_serial: u32,
}

impl Transactions {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { templates: (0..TEMPLATES).map(|_| template(rng)).collect(), next_serial: 1 }
    }

    /// A new transaction, with a fee of 1 to 60 satoshis per virtual byte.
    pub(crate) fn create(&mut self, rng: &mut Rng, now: u32) -> Entry {
        let index = rng.usize(..self.templates.len());
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        let template = &self.templates[index];
        let feerate = 1 + i64::from(rng.u8(..60)) * i64::from(rng.bool());
        Entry {
            template: index as u32,
            serial,
            txid: finish(&template.stripped, serial),
            wtxid: finish(&template.whole, serial),
            vsize: template.vsize,
            fee: i64::from(template.vsize) * feerate + i64::from(rng.u8(..50)),
            entered: now,
        }
    }

    /// The payload of its `tx` message.
    pub(crate) fn bytes(&mut self, entry: &Entry) -> &[u8] {
        let bytes = &mut self.templates[entry.template as usize].bytes;
        let lock_time = bytes.len() - LOCK_TIME;
        bytes[lock_time..].copy_from_slice(&entry.serial.to_le_bytes());
        bytes
    }

    /// The coins that it spends, with their values in satoshis.
    pub(crate) fn inputs(&self, entry: &Entry) -> &[(OutPoint, i64)] {
        &self.templates[entry.template as usize].inputs
    }

    /// The values of its outputs in satoshis.
    pub(crate) fn outputs(&self, entry: &Entry) -> &[i64] {
        &self.templates[entry.template as usize].outputs
    }
}

fn finish(engine: &sha256::HashEngine, serial: u32) -> [u8; 32] {
    let mut engine = engine.clone();
    engine.input(&serial.to_le_bytes());
    sha256d::Hash::from_engine(engine).to_byte_array()
}

/// How a coin is locked, which decides the sizes.
#[derive(Clone, Copy)]
enum Kind {
    PubkeyHash,
    WitnessPubkeyHash,
    Taproot,
}

fn template(rng: &mut Rng) -> Template {
    let kind = match rng.u8(..10) {
        0..2 => Kind::PubkeyHash,
        2..7 => Kind::WitnessPubkeyHash,
        _ => Kind::Taproot,
    };
    let inputs: Vec<(OutPoint, i64)> = (0..1 + rng.u8(..4))
        .map(|_| (OutPoint::new(Txid::from_byte_array(hash(rng)), rng.u32(..4)), value(rng)))
        .collect();
    let outputs: Vec<i64> = (0..1 + rng.u8(..4)).map(|_| value(rng)).collect();
    let transaction = Transaction {
        version: Version::TWO,
        // The serial number replaces it; final sequence numbers make nodes ignore it.
        lock_time: LockTime::ZERO,
        input: inputs.iter().map(|(coin, _)| input(rng, kind, *coin)).collect(),
        output: outputs.iter().map(|value| output(rng, *value)).collect(),
    };
    let bytes = serialize(&transaction);
    let mut whole = sha256::Hash::engine();
    whole.input(&bytes[..bytes.len() - LOCK_TIME]);
    let mut stripped = sha256::Hash::engine();
    let encoded = transaction
        .version
        .consensus_encode(&mut stripped)
        .and_then(|_| transaction.input.consensus_encode(&mut stripped))
        .and_then(|_| transaction.output.consensus_encode(&mut stripped));
    encoded.expect("a hash takes any bytes");
    Template {
        vsize: i32::try_from(transaction.vsize()).expect("templates are small"),
        bytes,
        stripped,
        whole,
        inputs,
        outputs,
    }
}

fn input(rng: &mut Rng, kind: Kind, previous_output: OutPoint) -> TxIn {
    let (script_sig, witness) = match kind {
        Kind::PubkeyHash => {
            let mut script = vec![71];
            script.extend(bytes(rng, 71));
            script.push(33);
            script.extend(bytes(rng, 33));
            (ScriptBuf::from_bytes(script), Witness::new())
        }
        Kind::WitnessPubkeyHash => {
            let stack = [bytes(rng, 71), bytes(rng, 33)];
            (ScriptBuf::new(), Witness::from_slice(&stack))
        }
        Kind::Taproot => (ScriptBuf::new(), Witness::from_slice(&[bytes(rng, 64)])),
    };
    TxIn { previous_output, script_sig, sequence: Sequence::MAX, witness }
}

fn output(rng: &mut Rng, value: i64) -> TxOut {
    let (version, length) = if rng.bool() { (0x00, 20) } else { (0x51, 32) };
    let mut script = vec![version, length];
    script.extend(bytes(rng, usize::from(length)));
    TxOut { value: Amount::from_sat(value.unsigned_abs()), script_pubkey: ScriptBuf::from_bytes(script) }
}

/// A transaction of exactly `size` bytes, most of them in a witness. Sizes from 1,000 to 60,000 will do.
pub(crate) fn padding(rng: &mut Rng, size: usize) -> Transaction {
    let coin = OutPoint::new(Txid::from_byte_array(hash(rng)), 0);
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input(rng, Kind::Taproot, coin)],
        output: vec![TxOut {
            value: Amount::from_sat(546),
            script_pubkey: ScriptBuf::from_bytes([&[0x51, 32][..], &bytes(rng, 32)].concat()),
        }],
    };
    // Any two lengths from 253 on take the same number of bytes.
    let trial = 500;
    transaction.input[0].witness = Witness::from_slice(&[vec![0x42; trial]]);
    let length = size + trial - transaction.total_size();
    transaction.input[0].witness = Witness::from_slice(&[vec![0x42; length]]);
    transaction
}

/// The coinbase of the block at `height`.
pub(crate) fn coinbase(height: u32) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // BIP 34: the height, then what the miner likes.
            script_sig: bitcoin::script::Builder::new()
                .push_int(i64::from(height))
                .push_slice(b"simulated node")
                .into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(312_500_000),
            script_pubkey: ScriptBuf::from_bytes([&[0x00, 20][..], &[7; 20]].concat()),
        }],
    }
}

pub(crate) fn hash(rng: &mut Rng) -> [u8; 32] {
    let mut hash = [0; 32];
    rng.fill(&mut hash);
    hash
}

pub(crate) fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes
}

/// From 1,000 satoshis to some bitcoins, small ones more often.
fn value(rng: &mut Rng) -> i64 {
    let bits = rng.u32(8..30);
    1_000 + rng.i64(0..1 << bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::consensus::deserialize;

    #[test]
    fn a_template_with_a_serial_number_has_the_ids_that_were_said() {
        let mut rng = Rng::with_seed(7);
        let mut transactions = Transactions::new(&mut rng);
        for _ in 0..1000 {
            let entry = transactions.create(&mut rng, 0);
            let decoded: Transaction = deserialize(transactions.bytes(&entry)).unwrap();
            assert_eq!(decoded.compute_txid().to_byte_array(), entry.txid);
            assert_eq!(decoded.compute_wtxid().to_byte_array(), entry.wtxid);
            assert_eq!(decoded.vsize() as i32, entry.vsize);
            assert_eq!(decoded.input.len(), transactions.inputs(&entry).len());
            assert_eq!(decoded.output.len(), transactions.outputs(&entry).len());
        }
    }

    #[test]
    fn padding_has_its_size() {
        let mut rng = Rng::with_seed(7);
        for size in [1_000, 1_001, 4_567, 60_000] {
            assert_eq!(serialize(&padding(&mut rng, size)).len(), size);
        }
    }
}
