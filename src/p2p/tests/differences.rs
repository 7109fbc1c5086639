//! Where Bitcoin Core, rust-bitcoin and this decoder may differ: a list of cases at the edge of each, and what becomes
//! of them.
//!
//! Bitcoin Core is v23 to its master of June 2026, by `src/net_processing.cpp` and `src/serialize.h`. What a format
//! forbids is undecodable. What a node finds too much is decoded, so that it is seen.

use std::fs;
use std::path::Path;

use bitcoin::VarInt;
use bitcoin::consensus::serialize;

use super::samples::{addrv2, counted, header, transaction, version};
use super::{decode, hash};
use crate::p2p::Message;

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// Decoded, as Bitcoin Core does.
    Taken,
    /// Decoded, although Bitcoin Core ignores it: it has more of something than Bitcoin Core wants.
    TooMuch,
    /// Undecodable, as for Bitcoin Core.
    Refused,
}
use Is::{Refused, Taken, TooMuch};

fn list(count: u64, entry: &[u8]) -> Vec<u8> {
    [serialize(&VarInt(count)), entry.repeat(count as usize)].concat()
}

/// Command, payload, what becomes of it.
fn all() -> Vec<(&'static str, Vec<u8>, Is)> {
    let header = serialize(&header(1));
    let tx = serialize(&transaction(1, true));
    let with_flag = |flag: u8| [&tx[..4], &[0, flag], &tx[6..]].concat();
    let hash = hash(1);
    let agent = |length: u64| [&version()[..80], &list(length, b"a"), &[0; 5]].concat();
    let prefilled = |index: &[u8]| [&header[..], &[0; 8], &[0, 1], index, &serialize(&transaction(1, false))].concat();
    let negative_target = {
        let mut header = header.clone();
        header[72..76].copy_from_slice(&0x0480_0000_u32.to_le_bytes());
        header
    };
    vec![
        // Numbers that are not in their shortest form, and numbers larger than any message could hold (`MAX_SIZE`).
        ("inv", [&[253, 1, 0], &[1; 36][..]].concat(), Refused),
        ("inv", [&[254, 1, 0, 0, 0], &[1; 36][..]].concat(), Refused),
        ("inv", [&[255, 1, 0, 0, 0, 0, 0, 0, 0], &[1; 36][..]].concat(), Refused),
        ("filteradd", vec![253, 252, 0], Refused),
        ("addrv2", counted(&[&addrv2(&[253, 1, 0], 1, &[1; 4])]), Refused),
        ("inv", vec![254, 0, 0, 0, 2], Refused),
        ("addrv2", counted(&[&addrv2(&[255, 0, 0, 0, 0, 1, 0, 0, 0], 1, &[1; 4])]), Taken),
        // More of them than Bitcoin Core wants.
        ("inv", list(50_001, &[1; 36]), TooMuch),
        ("getdata", list(50_001, &[1; 36]), TooMuch),
        ("addr", list(1_001, &[9; 30]), TooMuch),
        ("addrv2", list(1_001, &addrv2(&[1], 1, &[1; 4])), TooMuch),
        ("headers", list(2_001, &[&header[..], &[0]].concat()), TooMuch),
        ("getheaders", [&[0; 4], &list(102, &hash)[..], &hash].concat(), TooMuch),
        ("cmpctblock", [&header[..], &[0; 8], &list(65_536, &[9; 6]), &[0]].concat(), TooMuch),
        ("getblocktxn", [&hash[..], &[1, 254, 0, 0, 1, 0]].concat(), TooMuch),
        ("getblocktxn", [&hash[..], &list(65_536, &[0])].concat(), TooMuch),
        ("filterload", [&list(36_001, &[1])[..], &[0; 9]].concat(), TooMuch),
        ("filteradd", list(521, &[1]), TooMuch),
        ("version", agent(256), Taken),
        ("version", agent(257), TooMuch),
        // Values for which rust-bitcoin's type has fewer.
        ("version", [&version()[..80], b"\x02\xff\xfe", &[0; 5]].concat(), Taken),
        ("version", [&version()[..version().len() - 1], &[7]].concat(), Taken),
        ("sendcmpct", [&[2], &[0; 8][..]].concat(), Taken),
        ("filterload", vec![0, 1, 0, 0, 0, 2, 0, 0, 0, 9], Taken),
        ("feefilter", (-1i64).to_le_bytes().to_vec(), Taken),
        ("inv", [&[1], &[0xff; 36][..]].concat(), Taken),
        ("headers", [&[1], &negative_target[..], &[0]].concat(), Taken),
        ("headers", [&[1], &header[..], &[253, 0, 1]].concat(), Taken),
        ("headers", [&[1], &header[..], &[253, 1, 0]].concat(), Refused),
        ("reject", vec![2, b't', b'x', 0x42, 1, 0xff], Taken),
        // These were all codes of BIP 61 as long as Bitcoin Core sent it.
        ("reject", vec![2, b't', b'x', 0x44, 0], Refused),
        // Networks, and lengths of addresses.
        ("addrv2", counted(&[&addrv2(&[1], 3, &[1; 10])]), Taken),
        ("addrv2", counted(&[&addrv2(&[1], 3, &[1; 9])]), Taken),
        ("addrv2", counted(&[&addrv2(&[1], 200, &[])]), Taken),
        ("addrv2", counted(&[&addrv2(&[1], 6, &[1; 16])]), Taken),
        ("addrv2", counted(&[&addrv2(&[1], 6, &[1; 15])]), Refused),
        // Transactions: without inputs, and with flags.
        ("tx", vec![2, 0, 0, 0, 0, 0, 9, 0, 0, 0], Taken),
        ("tx", vec![2, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0], Refused),
        ("tx", tx.clone(), Taken),
        ("tx", with_flag(2), Refused),
        ("tx", with_flag(3), Refused),
        (
            "tx",
            [&tx[..4], &[1], &[0; 36][..], &[0, 0, 0, 0, 0], &list(1, &[0xff; 8])[..], &[0, 0, 0, 0, 0]].concat(),
            Taken,
        ),
        ("cmpctblock", prefilled(&[253, 0xff, 0xff]), Taken),
        ("cmpctblock", prefilled(&[254, 0, 0, 1, 0]), Refused),
        // Messages of no bytes, and with bytes after them.
        ("ping", vec![], Taken),
        ("addrv2", vec![], Taken),
        ("pong", vec![], Refused),
        ("verack", vec![1], Taken),
        ("sendcmpct", [&[1], &[0; 9][..]].concat(), Taken),
        ("sendtxrcncl", [0; 13].to_vec(), Taken),
        ("sendtxrcncl", [0; 11].to_vec(), Refused),
        ("feature", b"\x04name\x00".to_vec(), Taken),
        ("feature", b"\x04name\x00\x00".to_vec(), Refused),
    ]
}

#[test]
fn what_is_decodable_is_a_list_of_this_file() {
    for (command, payload, is) in all() {
        let message = decode(command, &payload);
        let is_decoded = !matches!(message, Message::Undecodable { .. } | Message::Unknown { .. });
        let start = &payload[..payload.len().min(100)];
        assert_eq!(is_decoded, is != Refused, "{command} {start:?}: {is:?}");
        if let Message::Tx { tx } = message {
            // Decoding it further does not fail. rust-bitcoin writes a transaction without inputs in another way.
            let transaction = tx.transaction().unwrap();
            assert!(transaction.input.is_empty() || transaction.compute_wtxid() == tx.wtxid());
        }
    }
}

/// So that a patch release of a crate removes nothing. Tests may use them.
#[test]
fn no_decoder_of_a_crate_is_used() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = fs::read_dir(directory.join("p2p")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.chain([directory.join("p2p.rs")]).filter(|path| path.extension().is_some_and(|it| it == "rs"));
    let mut read = 0;
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for name in ["bitcoin::consensus", "Decodable", "deserialize"] {
            assert!(!text.contains(name) || path.ends_with("tests.rs"), "{} in {}", name, path.display());
        }
        read += 1;
    }
    assert!(read > 6);
}
