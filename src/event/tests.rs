//! Each record becomes the right line of JSON. No kernel is involved. Each field has its own value, so that swapped fields are found.

use super::*;
use crate::{
    json::{self, BytesStyle, Style},
    kernel_side::{
        types::{
            added_record, attempting_aps_record, block_connected_record, coin_record, connection_record,
            create_tx_record, event_header, flush_record, losses_record, message_record, misbehaving_record,
            payload_state, rejected_record, removed_record, replaced_record, selected_coins_record,
        },
        write,
    },
};

const DECODER: Decoder = Decoder { unix_offset_ns: 1_747_158_913_356_588_654, block_duration_unit_ns: 1 };

/// At 1747158913.356600999.
fn header(tracepoint: Tracepoint, text: &str) -> event_header {
    event_header {
        boot_ns: 12_345,
        tracepoint: tracepoint.index() as u8,
        text_length: text.len() as u16,
        ..Default::default()
    }
}

/// The events of a record, each as the part of its line after `"event":`.
fn events(decoder: &Decoder, record: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let known = decoder.decode(record, true, |event| {
        assert_eq!(event.moment, Moment(12_345));
        let mut line = Vec::new();
        json::write_line(&mut line, &event, Style { bytes: BytesStyle::Hex, ..Style::default() }).unwrap();
        let line = String::from_utf8(line).unwrap();
        let time = r#"{"timestamp":1747158913,"timestamp_subsec_micros":356600,"event":"#;
        lines.push(line.strip_prefix(time).expect("its time").trim_end().strip_suffix('}').unwrap().to_owned());
    });
    assert_eq!(known, !lines.is_empty());
    lines
}

#[track_caller]
fn assert_event(record: &[u8], expected: &str) {
    assert_eq!(events(&DECODER, record), [expected]);
    // Any shorter record must not panic.
    for short in 0..record.len() {
        events(&DECODER, &record[..short]);
    }
}

fn hash(first: u8) -> ([u8; 32], String) {
    let bytes: [u8; 32] = std::array::from_fn(|index| first.wrapping_add(index as u8));
    (bytes, bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect())
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    let mut array = [0; N];
    array[..text.len()].copy_from_slice(text.as_bytes());
    array
}

fn payload<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    match &event.kind {
        Kind::Msg(message) => message.payload,
        other => panic!("{other:?} is no message"),
    }
}

#[test]
fn messages() {
    for (tracepoint, inbound) in [(Tracepoint::NetInboundMessage, true), (Tracepoint::NetOutboundMessage, false)] {
        let address = "1.2.3.4:8333";
        let fixed = message_record {
            header: header(tracepoint, address),
            peer_id: 11,
            size: 8,
            command: array("ping"),
            connection_type: 2,
            ..Default::default()
        };
        let record = |fixed, payload: &[u8]| write(fixed, &[address.as_bytes(), payload].concat());
        let event = |msg: &str| {
            format!(
                r#"{{"Msg":{{"meta":{{"peer_id":11,"addr":"1.2.3.4:8333","conn_type":2,"command":"ping","inbound":{inbound},"size":8}},"msg":{msg}}}}}"#
            )
        };
        let whole = record(fixed, &7u64.to_le_bytes());
        assert_event(&whole, &event(r#"{"Ping":{"value":7}}"#));
        let without = |state: payload_state| record(message_record { payload: state.0 as u8, ..fixed }, b"");
        let unreadable = event(r#"{"Unavailable":{"command":"ping","reason":"unreadable"}}"#);
        assert_event(&without(payload_state::PAYLOAD_UNREADABLE), &unreadable);
        let too_large = event(r#"{"Unavailable":{"command":"ping","reason":"too_large"}}"#);
        assert_event(&without(payload_state::PAYLOAD_TOO_LARGE), &too_large);
        assert!(events(&DECODER, &record(fixed, &[0; 7])).is_empty(), "a payload is whole or is not there");
        for (record, expected) in [
            (&whole, Some(7u64.to_le_bytes().as_slice())),
            (&without(payload_state::PAYLOAD_UNREADABLE), None),
            (&without(payload_state::PAYLOAD_TOO_LARGE), None),
        ] {
            let mut given = Vec::new();
            DECODER.decode(record, true, |event| given.extend(payload(&event)));
            assert_eq!(given, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_command_can_fill_its_place_and_be_no_text() {
    let command = |bytes: [u8; 16]| {
        let fixed =
            message_record { header: header(Tracepoint::NetInboundMessage, ""), command: bytes, ..Default::default() };
        events(&DECODER, &write(fixed, b"")).remove(0)
    };
    assert!(command(*b"0123456789abcdef").contains(r#""command":"0123456789abcdef""#));
    assert!(command(array("getcfcheckpt")).contains(r#""command":"getcfcheckpt""#));
    assert!(command([b'a', 0xff, b'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).contains(r#""command":"a""#));
}

#[test]
fn connections() {
    let address = "[2001:db8::1]:8333";
    let conn = r#"{"peer_id":7,"addr":"[2001:db8::1]:8333","conn_type":6,"network":2}"#;
    for (tracepoint, event) in [
        (Tracepoint::NetInboundConnection, format!(r#"{{"Inbound":{{"conn":{conn},"existing_connections":12}}}}"#)),
        (Tracepoint::NetOutboundConnection, format!(r#"{{"Outbound":{{"conn":{conn},"existing_connections":12}}}}"#)),
        (Tracepoint::NetClosedConnection, format!(r#"{{"Closed":{{"conn":{conn},"time_established":12}}}}"#)),
        (
            Tracepoint::NetEvictedInboundConnection,
            format!(r#"{{"InboundEvicted":{{"conn":{conn},"time_established":12}}}}"#),
        ),
    ] {
        let fixed = connection_record {
            header: header(tracepoint, address),
            peer_id: 7,
            detail: 12,
            network: 2,
            connection_type: 6,
            ..Default::default()
        };
        assert_event(&write(fixed, address.as_bytes()), &format!(r#"{{"Conn":{{"event":{event}}}}}"#));
    }
    let reason = "headers message size = 2001";
    let fixed = misbehaving_record {
        header: header(Tracepoint::NetMisbehavingConnection, reason),
        peer_id: 7,
        score_before: 1,
        score_increase: 100,
        threshold_exceeded: 1,
        ..Default::default()
    };
    let event = r#"{"Conn":{"event":{"Misbehaving":{"id":7,"score_before":1,"score_increase":100,"xmessage":"headers message size = 2001","threshold_exceeded":true}}}}"#;
    assert_event(&write(fixed, reason.as_bytes()), event);
}

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

#[test]
fn utxo_cache() {
    let fixed = flush_record {
        header: header(Tracepoint::UtxocacheFlush, ""),
        duration_us: 1500,
        coins: 100_000,
        memory: 52_428_800,
        mode: 2,
        for_prune: 1,
        ..Default::default()
    };
    let event = r#"{"Utxocache":{"event":{"Flush":{"duration":1500,"mode":2,"coins":100000,"memory":52428800,"for_prune":true}}}}"#;
    assert_event(&write(fixed, b""), event);

    let (txid, hex) = hash(1);
    for (tracepoint, name) in [
        (Tracepoint::UtxocacheAdd, "Add"),
        (Tracepoint::UtxocacheSpent, "Spent"),
        (Tracepoint::UtxocacheUncache, "Uncache"),
    ] {
        let fixed = coin_record {
            header: header(tracepoint, ""),
            txid,
            value: 5_000_000_000,
            vout: 3,
            height: 896_001,
            is_coinbase: 1,
            ..Default::default()
        };
        let event = format!(
            r#"{{"Utxocache":{{"event":{{"{name}":{{"txid":"{hex}","vout":3,"height":896001,"value":5000000000,"is_coinbase":true}}}}}}}}"#
        );
        assert_event(&write(fixed, b""), &event);
    }
}

#[test]
fn coin_selection() {
    let fixed = selected_coins_record {
        header: header(Tracepoint::CoinSelectionSelectedCoins, "w"),
        algorithm: array("bnb"),
        target: 100_000,
        waste: -250,
        selected: 100_321,
    };
    let event = r#"{"CoinSelection":{"event":{"SelectedCoins":{"wallet":"w","algorithm":"bnb","target":100000,"waste":-250,"selected":100321}}}}"#;
    assert_event(&write(fixed, b"w"), event);

    let fixed = |tracepoint| create_tx_record {
        header: header(tracepoint, "w"),
        fee: 450,
        change_position: -1,
        use_aps: 0,
        success: 1,
        ..Default::default()
    };
    let event = r#"{"CoinSelection":{"event":{"NormalCreateTxInternal":{"wallet":"w","success":true,"fee":450,"change_position":-1}}}}"#;
    assert_event(&write(fixed(Tracepoint::CoinSelectionNormalCreateTxInternal), b"w"), event);
    let event = r#"{"CoinSelection":{"event":{"ApsCreateTxInternal":{"wallet":"w","use_aps":false,"success":true,"fee":450,"change_position":-1}}}}"#;
    assert_event(&write(fixed(Tracepoint::CoinSelectionApsCreateTxInternal), b"w"), event);

    let fixed = attempting_aps_record { header: header(Tracepoint::CoinSelectionAttemptingApsCreateTx, "w") };
    assert_event(&write(fixed, b"w"), r#"{"CoinSelection":{"event":{"AttemptingApsCreateTx":{"wallet":"w"}}}}"#);
}

#[test]
fn each_tracepoint_has_events() {
    for tracepoint in Tracepoint::all() {
        let fixed = message_record { header: header(tracepoint, ""), ..Default::default() };
        // A message has its text and payload after the struct. For other records, bytes after the struct are ignored.
        let after = if tracepoint.name().ends_with("_message") { &[][..] } else { &[0; 256] };
        assert_eq!(events(&DECODER, &write(fixed, after)).len(), 1, "{tracepoint}");
    }
}

#[test]
fn losses_are_one_event_for_each_tracepoint_and_reason() {
    let mut losses = losses_record { header: header(Tracepoint::NetInboundMessage, ""), ..Default::default() };
    losses.header.tracepoint = types::tracepoint::LOSSES.0 as u8;
    losses.counts[Tracepoint::NetInboundMessage.index()][LossReason::RingFull as usize] = 12;
    losses.counts[Tracepoint::MempoolAdded.index()][LossReason::Unreadable as usize] = 3;
    let expected = [
        r#"{"Lost":{"tracepoint":"net:inbound_message","reason":"ring_full","count":12}}"#,
        r#"{"Lost":{"tracepoint":"mempool:added","reason":"unreadable","count":3}}"#,
    ];
    assert_eq!(events(&DECODER, &write(losses, b"")), expected);
}

#[test]
fn any_bytes_are_an_event_or_none() {
    let mut random = fastrand::Rng::with_seed(0x9e37_79b9_7f4a_7c15);
    let mut next = || random.u64(..);
    for _ in 0..20_000 {
        let mut record: Vec<u8> = (0..next() % 200).map(|_| next() as u8).collect();
        if let Some(tracepoint) = record.get_mut(std::mem::offset_of!(event_header, tracepoint)) {
            *tracepoint %= Tracepoint::COUNT as u8 + 2;
        }
        DECODER.decode(&record, true, |event| {
            json::write_line(&mut std::io::sink(), &event, Style::default()).unwrap();
        });
    }
}

/// What the table says is what is decoded.
#[test]
fn each_tracepoint_has_the_record_of_its_row() {
    for tracepoint in Tracepoint::all() {
        let mut record = write(header(tracepoint, ""), b"");
        record.resize(tracepoint.layout().size.into(), 0);
        assert_eq!(events(&DECODER, &record).len(), 1, "{tracepoint}");
        record.pop();
        assert_eq!(events(&DECODER, &record).len(), 0, "{tracepoint}");
    }
}
