//! Transactions are read where rust-bitcoin reads them, to the same end.

use bitcoin::Transaction;
use bitcoin::consensus::{deserialize_partial, serialize};

use super::decode;
use super::samples::transaction;
use crate::p2p::Message;

/// Compares the two decoders. Returns whether both accepted it.
fn compare(payload: &[u8]) -> bool {
    let theirs = deserialize_partial::<Transaction>(payload);
    let ours = decode("tx", payload);
    match (&ours, theirs) {
        (Message::Tx { tx }, Ok((transaction, length))) => {
            assert_eq!(tx.raw(), Some(&payload[..length]));
            assert_eq!(tx.transaction().as_ref(), Some(&transaction));
            assert_eq!(tx.txid(), transaction.compute_txid(), "{transaction:?}");
            assert_eq!(tx.wtxid(), transaction.compute_wtxid(), "{transaction:?}");
            true
        }
        // Of transactions without inputs and outputs, Bitcoin Core accepts those without a witness, rust-bitcoin those
        // with a flag for one.
        (Message::Tx { tx }, Err(_)) => {
            assert_eq!((tx.raw().map(<[u8]>::len), &payload[4..6]), (Some(10), &[0, 0][..]));
            let transaction = tx.transaction().unwrap();
            assert_eq!((transaction.input, transaction.output), (vec![], vec![]));
            assert_eq!(tx.txid().as_raw_hash(), tx.wtxid().as_raw_hash());
            false
        }
        (Message::Undecodable { .. }, Ok((transaction, _))) => {
            assert!(transaction.input.is_empty(), "{transaction:?}");
            false
        }
        (Message::Undecodable { .. }, Err(_)) => false,
        (other, _) => panic!("{other:?}"),
    }
}

/// With and without witnesses, with several inputs where not all have one, with nothing at all.
fn payloads() -> Vec<Vec<u8>> {
    let mut mixed = transaction(3, true);
    mixed.input.extend([transaction(4, false), transaction(5, true)].map(|other| other.input[0].clone()));
    mixed.output.push(transaction(6, false).output[0].clone());
    let of_nothing = [0; 10].to_vec();
    [transaction(1, false), transaction(2, true), mixed].iter().map(serialize).chain([of_nothing]).collect()
}

#[test]
fn what_is_whole_is_read_and_what_is_cut_is_not() {
    for payload in payloads() {
        for length in 0..payload.len() {
            assert!(!compare(&payload[..length]), "{length} bytes of {payload:?}");
        }
        assert_eq!(compare(&payload), payload != [0; 10]);
        assert_eq!(compare(&[&payload[..], &[1, 2]].concat()), payload != [0; 10], "bytes after it are not of it");
    }
}

#[test]
fn any_byte_can_be_another() {
    let mut taken = 0;
    for payload in payloads() {
        for place in 0..payload.len() {
            for byte in (0..=0xff).filter(|&byte| byte != payload[place]) {
                let mut changed = payload.clone();
                changed[place] = byte;
                taken += usize::from(compare(&changed));
            }
        }
    }
    assert!(taken > 10_000, "{taken}: most bytes are of hashes, values and scripts");
}
