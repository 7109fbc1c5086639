//! Messages that Bitcoin Core accepts are decoded, where rust-bitcoin or a stricter reading would refuse them.

use bitcoin::consensus::serialize;

use super::samples::{IPV6, MAPPED, addrv2, counted, header, samples, transaction, transaction_json, version};
use super::{hash, hash_ints, ints, json};

fn assert_undecodable(command: &str, payload: &[u8], error: &str) {
    let expected =
        format!(r#"{{"Undecodable":{{"command":"{command}","payload":{},"error":"{error}"}}}}"#, ints(payload));
    assert_eq!(json(command, payload), expected);
}

const TRUNCATED: &str = "the payload ends before the message does";

#[test]
fn bytes_after_a_message_are_ignored() {
    for sample in samples() {
        // The last is the only message that nothing may follow.
        if ["Unknown", "Undecodable", "Oldping", "Emptyaddrv2", "Feature"].iter().any(|name| sample.json.contains(name))
        {
            continue;
        }
        let payload = [&sample.payload[..], &[1, 2, 3]].concat();
        assert_eq!(json(sample.command, &payload), sample.json);
    }
}

#[test]
fn a_version_may_end_after_each_of_its_older_parts() {
    let payload = version();
    let whole = json("version", &payload);
    let sender = r#"{"timestamp":0,"services":9,"port":18333,"address":{"Ipv6":"2001:db8::5"}}"#;
    let nowhere = r#"{"timestamp":0,"services":0,"port":0,"address":{"Ipv6":"::"}}"#;
    let nonce = "1234605616436508552";

    let without_relay = whole.replace(r#""relay":false"#, r#""relay":true"#);
    let without_height = without_relay.replace("896000", "-1");
    let without_agent = without_height.replace("/core/", "");
    let without_sender = without_agent.replace(sender, nowhere).replace(nonce, "1");
    for (length, expected) in [
        (payload.len() - 1, without_relay),
        (payload.len() - 5, without_height),
        (payload.len() - 12, without_agent),
        (46, without_sender),
    ] {
        assert_eq!(json("version", &payload[..length]), expected, "{length} bytes");
        assert_undecodable("version", &payload[..length - 1], TRUNCATED);
    }
    let with_odd_relay = [&payload[..payload.len() - 1], &[2]].concat();
    assert_eq!(json("version", &with_odd_relay), json("version", &payload[..payload.len() - 1]));
    for length in [0, 1, 45, 47, 79, payload.len() - 11, payload.len() - 2] {
        assert_undecodable("version", &payload[..length], TRUNCATED);
    }
}

#[test]
fn strings_are_made_utf8() {
    let payload = [&version()[..80], b"\x04a\xff\"\xc3", &[0; 5]].concat();
    assert!(json("version", &payload).contains("\"user_agent\":\"a\u{fffd}\\\"\u{fffd}\""));
    let payload = b"\x01\xfe\x10\x01\xfd";
    assert_eq!(
        json("reject", payload),
        format!(
            "{{\"Reject\":{{\"rejected_command\":\"\u{fffd}\",\"reason\":1,\"reason_details\":\"\u{fffd}\",\"hash\":{}}}}}",
            ints(&[0; 32])
        )
    );
}

#[test]
fn headers_may_claim_transactions() {
    let headers = |count: &[u8]| {
        let header = serialize(&header(1));
        json("headers", &counted(&[&[&header[..], count].concat(), &[&header[..], &[0]].concat()]))
    };
    assert_eq!(headers(&[253, 1, 1]), headers(&[0]));
}

#[test]
fn addrv2_passes_over_what_it_does_not_like() {
    let onioncat = [&[0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43], &hash(1)[..10]].concat();
    for (network, address, expected) in [
        (2, &MAPPED[..], r#"{"Ipv6":"::ffff:1.2.3.4"}"#.to_owned()),
        (2, &onioncat, r#"{"Ipv6":"fd87:d87e:eb43:102:304:506:708:90a"}"#.to_owned()),
        (6, &IPV6, r#"{"Cjdns":"2001:db8::5"}"#.to_owned()),
        (3, &hash(1)[..11], format!(r#"{{"Unknown":{{"id":3,"address":{}}}}}"#, ints(&hash(1)[..11]))),
        (0, &[], r#"{"Unknown":{"id":0,"address":[]}}"#.to_owned()),
        (7, &[1], r#"{"Unknown":{"id":7,"address":[1]}}"#.to_owned()),
    ] {
        let all_services = [0xff; 9];
        let payload = counted(&[&addrv2(&all_services, network, address)]);
        let expected = format!(
            r#"{{"Addrv2":{{"addresses":[{{"timestamp":1747150000,"services":{},"port":8333,"address":{expected}}}]}}}}"#,
            u64::MAX
        );
        assert_eq!(json("addrv2", &payload), expected);
    }
}

#[test]
fn addrv2_fails_at_wrong_lengths_in_known_networks() {
    for (network, name, expected) in
        [(1, "IPv4", 4), (2, "IPv6", 16), (4, "Tor v3", 32), (5, "I2P", 32), (6, "CJDNS", 16)]
    {
        for length in [0, expected - 1, expected + 1] {
            let payload = counted(&[&addrv2(&[1], network, &vec![1; length])]);
            assert_undecodable("addrv2", &payload, &format!("{name} address of {length} bytes, not {expected}"));
        }
    }
    let longest = |length: u16| {
        let [low, high] = length.to_le_bytes();
        [&[1, 0, 0, 0, 0, 0, 99, 253, low, high], &vec![0; usize::from(length)][..], &[0, 0]].concat()
    };
    assert!(json("addrv2", &longest(512)).starts_with(r#"{"Addrv2""#));
    assert_undecodable("addrv2", &longest(513), "address of 513 bytes, more than the 512 that BIP 155 allows");
}

#[test]
fn every_reject_code_has_its_index() {
    for (index, code) in [0x01, 0x10, 0x11, 0x12, 0x40, 0x41, 0x42, 0x43].into_iter().enumerate() {
        let payload = [&[1, b'a', code, 1, b'b'], &hash(9)[..]].concat();
        assert_eq!(
            json("reject", &payload),
            format!(
                r#"{{"Reject":{{"rejected_command":"a","reason":{index},"reason_details":"b","hash":{}}}}}"#,
                hash_ints(9)
            )
        );
    }
    assert_undecodable("reject", &[1, b'a', 2, 0], "parse failed: unknown reject code");
}

#[test]
fn filterload_takes_any_flags() {
    let payload = [0, 1, 0, 0, 0, 2, 0, 0, 0, 255];
    assert_eq!(json("filterload", &payload), r#"{"Filterload":{"filter":[],"hash_funcs":1,"tweak":2,"flags":255}}"#);
}

#[test]
fn fees_may_be_negative() {
    assert_eq!(json("feefilter", &(-5i64).to_le_bytes()), r#"{"Feefilter":{"fee":-5}}"#);
}

/// Releases up to v31 take any byte but 0 for true; the master of June 2026 accepts only 0 and 1.
#[test]
fn sendcmpct_is_decoded_whatever_its_first_byte() {
    for (byte, expected) in [
        (0, r#""send_compact":false"#),
        (1, r#""send_compact":true"#),
        (2, r#""send_compact":true,"send_compact_byte":2"#),
        (255, r#""send_compact":true,"send_compact_byte":255"#),
    ] {
        let payload = [byte, 2, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(json("sendcmpct", &payload), format!(r#"{{"Sendcompact":{{{expected},"version":2}}}}"#));
    }
}

#[test]
fn a_feature_is_as_bip_434_has_it() {
    let feature = |name: usize, data: u16, after: &[u8]| {
        let [low, high] = data.to_le_bytes();
        let data_length = if data < 253 { vec![low] } else { vec![253, low, high] };
        [&[name as u8], &vec![b'f'; name][..], &data_length, &vec![7; data.into()], after].concat()
    };
    for (name, data) in [(4, 0), (4, 512), (80, 0), (80, 512)] {
        let decoded = json("feature", &feature(name, data, &[]));
        assert!(decoded.starts_with(r#"{"Feature":{"feature":"ffff"#), "{name} {data}: {decoded}");
    }
    for (name, data, after, error) in [
        (3, 0, &[][..], "name of a feature of 3 bytes, not 4 to 80 (BIP 434)"),
        (81, 0, &[], "name of a feature of 81 bytes, not 4 to 80 (BIP 434)"),
        (4, 513, &[], "data of a feature of 513 bytes, not 0 to 512 (BIP 434)"),
        (4, 1, &[1, 2], "2 bytes after a message that must end before them"),
    ] {
        assert_undecodable("feature", &feature(name, data, after), error);
    }
    assert_undecodable("feature", &[4, 1, 2, 3, 4], TRUNCATED);
}

#[test]
fn transactions_without_inputs_are_as_bitcoin_core_has_them() {
    let empty = [2, 0, 0, 0, 0, 0, 9, 0, 0, 0];
    let mut transaction = transaction(1, false);
    transaction.input.clear();
    transaction.output.clear();
    transaction.lock_time = bitcoin::absolute::LockTime::from_consensus(9);
    let txid = ints(transaction.compute_txid().as_ref());
    let expected = format!(r#"{{"txid":{txid},"wtxid":{txid},"raw":{}}}"#, ints(&empty));
    assert_eq!(json("tx", &empty), format!(r#"{{"Tx":{{"tx":{expected}}}}}"#));

    let superfluous = [2, 0, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0];
    assert_undecodable("tx", &superfluous, "transaction with a witness flag and no witness");
    assert_undecodable("tx", &[2, 0, 0, 0, 0, 2, 9, 0, 0, 0], "unsupported segwit version: 2");
}

#[test]
fn a_transaction_ends_where_the_next_begins() {
    let all = [transaction(1, true), transaction(2, false), transaction(3, true)];
    let bytes = all.each_ref().map(serialize);
    let payload = [&hash(7)[..], &counted(&[&bytes[0], &bytes[1], &bytes[2]]), &bytes[0]].concat();
    assert_eq!(
        json("blocktxn", &payload),
        format!(
            r#"{{"Blocktxn":{{"block_hash":{},"transactions":[{}]}}}}"#,
            hash_ints(7),
            all.each_ref().map(transaction_json).join(",")
        )
    );
}

#[test]
fn indexes_that_overflow_are_undecodable() {
    let indexes = |distances: &[&[u8]]| [&hash(1)[..], &counted(distances)].concat();
    assert_undecodable("getblocktxn", &indexes(&[&[255; 9], &[0]]), "index of a transaction does not fit 64 bits");
    let prefilled = [&serialize(&header(1))[..], &[0; 9], &[1, 254, 0, 0, 1, 0], &serialize(&transaction(1, false))];
    assert_undecodable(
        "cmpctblock",
        &prefilled.concat(),
        "index 65536 of a prefilled transaction does not fit 16 bits",
    );
}
