//! P2P messages.

use std::{borrow::Cow, collections::BTreeSet, fs, net::Ipv6Addr, path::Path};

use bitcoin::{
    BlockHash,
    block::{Header, Version},
    hashes::Hash as _,
    p2p::message_network::RejectReason,
};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{decoded, event, said, schema};
use crate::{
    event::{
        Event, Kind,
        net::{self, ConnectionType, Meta},
    },
    json::Bytes,
    p2p::{
        self, Address, COMMANDS, NetAddress, decode,
        tests::samples::{header, samples},
    },
    peer_observer::Options,
};

fn message<'a>(command: &'a str, msg: p2p::Message<'a>, payload: Option<&'a [u8]>) -> Event<'a> {
    let meta = Meta {
        peer_id: 11,
        size: 300 + payload.map_or(0, <[u8]>::len) as u64,
        ..Meta::new(0, "1.2.3.4:8333", ConnectionType::BlockRelayOnly, command, true, 0)
    };
    event(Kind::Msg(net::Message { meta, msg, payload }))
}

fn sent<'a>(command: &'a str, payload: &'a [u8]) -> Event<'a> {
    message(command, decode(command, payload), Some(payload))
}

/// What a message says, without what is said about it.
#[track_caller]
fn said_by(event: &Event<'_>) -> Option<Value> {
    said(event).map(|mut said| said["Msg"]["msg"].take())
}

#[test]
fn each_message_of_the_schema_is_written_and_has_its_values() {
    let samples = samples();
    let mut names = BTreeSet::new();
    for sample in &samples {
        let Some(said) = said_by(&sent(sample.command, &sample.payload)) else {
            assert!(sample.json.contains("Undecodable"), "{}", sample.json);
            continue;
        };
        names.extend(said.as_object().unwrap().keys().cloned());
        if !["feature", "sendtxrcncl"].contains(&sample.command) {
            assert_eq!(said, serde_json::from_str::<Value>(&sample.json).unwrap());
        }
    }
    assert_eq!(names.len(), 39, "{names:?}");
}

#[test]
fn zeros_and_empty_lists_are_written() {
    for command in COMMANDS.iter().filter(|command| !["reject", "feature"].contains(command)) {
        let payload = [0; 300];
        assert!(said(&sent(command, &payload)).is_some(), "{command}");
    }
    assert_eq!(said_by(&sent("inv", &[0])).unwrap(), json!({"Inv": {"items": []}}));
}

/// The vectors are kept outside of this repository, so that what they test has not made them.
#[test]
fn vectors_are_said() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors.ndjson");
    let Ok(vectors) = fs::read_to_string(&path) else {
        println!("skipped: no vectors at {}", path.display());
        return;
    };
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let payload = HEXLOWER.decode(vector["payload"].as_str().unwrap().as_bytes()).unwrap();
        let mut expected = vector["event"].clone();
        let meta = &mut expected["Msg"]["meta"];
        let (peer_id, address) = (meta["peer_id"].as_i64().unwrap(), meta["addr"].as_str().unwrap().to_owned());
        let connection_type = ConnectionType::from_number(meta["conn_type"].as_u64().unwrap() as u8);
        if connection_type as u8 > 4 {
            meta["conn_type"] = 0.into();
        }
        let (command, inbound) = (meta["command"].as_str().unwrap().to_owned(), meta["inbound"] == true);
        let msg = decode(&command, &payload);
        let meta = Meta::new(peer_id, address, connection_type, &command, inbound, payload.len() as u64);
        let said = said(&event(Kind::Msg(net::Message { meta, msg, payload: Some(&payload) })));
        assert_eq!(said, Some(expected), "{command}");
    }
}

#[test]
fn the_largest_and_the_most_negative_values_fit() {
    let address = |address| NetAddress { timestamp: u32::MAX, services: u64::MAX, port: u16::MAX, address };
    let all_ones = Ipv6Addr::from([0xff; 16]);
    let head = Header { version: Version::from_consensus(i32::MIN), time: u32::MAX, nonce: u32::MAX, ..header(1) };
    let hash = BlockHash::from_byte_array([0xff; 32]);
    const UNKNOWN: &[u8] = &[0xff; 512];
    for msg in [
        p2p::Message::Ping { value: u64::MAX },
        p2p::Message::Feefilter { fee: i64::MAX },
        p2p::Message::Feefilter { fee: i64::MIN },
        p2p::Message::Feefilter { fee: -1 },
        p2p::Message::Sendcompact { send_compact: true, send_compact_byte: Some(7), version: u64::MAX },
        p2p::Message::Version {
            version: u32::MAX,
            services: u64::MAX,
            timestamp: i64::MIN,
            receiver: address(Address::Ipv6(all_ones)),
            sender: address(Address::Ipv4([255; 4].into())),
            nonce: u64::MAX,
            user_agent: "\u{10ffff}".repeat(300).into(),
            start_height: i32::MIN,
            relay: true,
        },
        p2p::Message::Headers { headers: vec![head; 2000] },
        p2p::Message::Addrv2 {
            addresses: vec![
                address(Address::Cjdns(all_ones)),
                address(Address::Torv2([0xff; 10])),
                address(Address::Torv3([0xff; 32])),
                address(Address::I2p([0xff; 32])),
                address(Address::Unknown { id: u8::MAX, address: Bytes(UNKNOWN) }),
                address(Address::Unknown { id: 0, address: Bytes(&[]) }),
            ],
        },
        p2p::Message::Getheaders { version: u32::MAX, locator_hashes: vec![hash; 2000], stop_hash: hash },
        p2p::Message::Getblocktxn { block_hash: hash, tx_indexes: vec![u64::MAX; 2000] },
        p2p::Message::Merkleblock { header: head, num_transactions: u32::MAX, bits: &[0xff; 40], hashes: vec![] },
        p2p::Message::Filterload { filter: Bytes(UNKNOWN), hash_funcs: u32::MAX, tweak: u32::MAX, flags: 2 },
        p2p::Message::Getcfilter { filter_type: u8::MAX, start_height: u32::MAX, stop_hash: hash },
        p2p::Message::Reject {
            rejected_command: "x".repeat(200).into(),
            reason: RejectReason::Checkpoint,
            reason_details: Cow::default(),
            hash: bitcoin::hashes::sha256d::Hash::all_zeros(),
        },
        p2p::Message::Unknown { command: "", payload: Bytes(UNKNOWN) },
    ] {
        let mut event = message("made-up", msg, None);
        // Whatever the payload lets expect of the length.
        for payload in [&[][..], &[0; 200], &[0; 20_000], &[0; 3_000_000]] {
            let Kind::Msg(message) = &mut event.kind else { unreachable!() };
            message.payload = Some(payload);
            assert!(said(&event).is_some());
        }
    }
}

#[test]
fn what_is_no_text_is_made_text() {
    let reject = [b"\x02\xff\xfe\x01\x01\xc3".as_slice(), &[0; 32]].concat();
    let said = said_by(&sent("reject", &reject)).unwrap();
    assert_eq!(said["Reject"]["rejected_command"], "\u{fffd}\u{fffd}");
    assert_eq!(said["Reject"]["reason_details"], "\u{fffd}");
}

#[test]
fn a_type_of_connection_that_the_schema_lacks_is_unknown() {
    for connection_type in ConnectionType::ALL {
        let mut event = sent("verack", &[]);
        let Kind::Msg(message) = &mut event.kind else { unreachable!() };
        (message.meta.conn_type, message.meta.peer_id, message.meta.inbound) = (connection_type, -1, false);
        let said = said(&event).unwrap();
        let expected = if connection_type as u8 <= 4 { connection_type as u8 } else { 0 };
        assert_eq!(said["Msg"]["meta"]["conn_type"], expected, "{connection_type:?}");
        assert_eq!(said["Msg"]["meta"]["peer_id"], u64::MAX);
    }
}

#[test]
fn messages_that_came_after_the_schema_are_unknown_to_it() {
    let payload = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 9];
    let expected = json!({"Unknown": {"command": "sendtxrcncl", "payload": payload}});
    assert_eq!(said_by(&sent("sendtxrcncl", &payload)).unwrap(), expected);
    let feature = b"\x04name\x01\xff";
    let expected = json!({"Unknown": {"command": "feature", "payload": feature}});
    assert_eq!(said_by(&sent("feature", feature)).unwrap(), expected);
    assert_eq!(said(&message("feature", decode("feature", feature), None)), None);
}

#[test]
fn nothing_is_written_for_a_message_whose_content_the_schema_cannot_say() {
    let filterload = |flags| [&[1, 7, 2, 0, 0, 0, 3, 0, 0, 0], &[flags][..]].concat();
    assert!(said(&sent("filterload", &filterload(2))).is_some());
    assert_eq!(said(&sent("filterload", &filterload(3))), None);
    assert_eq!(said(&sent("ping", &[1])), None);
    let command = "block";
    let hash = BlockHash::from_byte_array([1; 32]);
    for msg in [
        p2p::Message::HeaderOnly { command, header: header(1) },
        p2p::Message::BlockHashOnly { command, block_hash: hash },
        p2p::Message::Unavailable { command, reason: "too_large" },
    ] {
        assert_eq!(said(&message(command, msg, None)), None);
    }
}

fn transactions(event: &mut schema::Event) -> Vec<&mut schema::Transaction> {
    let Some(schema::Extractor::Ebpf(schema::Ebpf { event: Some(schema::Kind::Msg(message)) })) = &mut event.kind
    else {
        return vec![];
    };
    match message.msg.as_mut().unwrap() {
        schema::Msg::Tx(it) => vec![&mut it.tx],
        schema::Msg::Block(it) => it.transactions.iter_mut().collect(),
        schema::Msg::Blocktxn(it) => it.transactions.iter_mut().collect(),
        schema::Msg::Compactblock(it) => it.transactions.iter_mut().map(|prefilled| &mut prefilled.tx).collect(),
        _ => vec![],
    }
}

#[test]
fn low_data_is_the_same_without_the_bytes_of_transactions() {
    let mut count = 0;
    for sample in samples() {
        let event = sent(sample.command, &sample.payload);
        let [whole, low] = [false, true].map(|low_data| decoded(&event, Options { low_data }));
        let Some((subject, mut whole)) = whole else {
            assert_eq!(low, None);
            continue;
        };
        for transaction in transactions(&mut whole) {
            assert!(transaction.raw.take().is_some());
            count += 1;
        }
        assert_eq!(low, Some((subject, whole)));
    }
    assert_eq!(count, 8);
}
