//! Records of messages and connections become the right lines of JSON.

use crate::{
    event::{
        Event, Kind,
        tests::{DECODER, array, assert_event, events, header},
    },
    kernel_side::{
        types::{connection_record, message_record, misbehaving_record, payload_state},
        write,
    },
    tracepoint::Tracepoint,
};

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
