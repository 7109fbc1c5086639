//! What the encoder writes is what prost reads and writes by the schema, and says what our JSON says.

mod events;
mod messages;
mod schema;

use std::collections::BTreeSet;

use prost::Message as _;
use serde_json::{Value, json};

use super::{Options, Subject, encode};
use crate::{
    event::{Event, Kind, Moment, Time},
    p2p,
    recording::{Entry, Reader},
    selection::Selection,
};

const TIME: Time = Time(1_747_158_913_356_999_999);

fn event(kind: Kind<'_>) -> Event<'_> {
    Event { time: TIME, moment: Moment(7), kind }
}

/// Encodes an event after other bytes, and decodes it.
fn decoded(event: &Event<'_>, options: Options) -> Option<(Subject, schema::Event)> {
    let mut out = b"before".to_vec();
    let subject = encode(event, options, &mut out);
    let message = out.strip_prefix(b"before").expect("what was there stays");
    assert_eq!(subject.is_none(), message.is_empty());
    let subject = subject?;
    let decoded = schema::Event::decode(message).expect("it is a message of the schema");
    // Decoding takes any order, long forms of numbers and missing fields.
    assert!(decoded.encode_to_vec() == message, "prost writes other bytes: {event:?}");
    Some((subject, decoded))
}

/// What an event says by the schema, in the form of JSON. It must be what its JSON says. `None` if the schema cannot say it.
#[track_caller]
pub(crate) fn said(event: &Event<'_>) -> Option<Value> {
    let expected = expected(event);
    let Some((subject, decoded)) = decoded(event, Options::default()) else {
        assert_eq!(expected, None);
        return None;
    };
    assert_eq!(decoded.timestamp, event.time.0 / 1_000_000);
    let Some(schema::Extractor::Ebpf(ebpf)) = decoded.kind else { panic!("{event:?} has no extractor") };
    let said = serde_json::to_value(ebpf.event).unwrap();
    let about = said.as_object().unwrap().keys().next().unwrap();
    let subjects = [("Msg", "netmsg"), ("Conn", "netconn"), ("Mempool", "mempool"), ("Validation", "validation")];
    assert!(subjects.contains(&(about, subject.name())), "{about} {subject}");
    assert_eq!(Some(&said), expected.as_ref());
    Some(said)
}

/// The event's JSON, less what the schema cannot say.
fn expected(event: &Event<'_>) -> Option<Value> {
    let mut json = serde_json::to_value(&event.kind).unwrap();
    let narrow = |value: &mut Value| *value = value.as_i64().unwrap().clamp(i32::MIN.into(), i32::MAX.into()).into();
    let unsigned = |value: &mut Value| *value = value.as_i64().unwrap().cast_unsigned().into();
    let known_type = |value: &mut Value| {
        if value.as_u64() > Some(4) {
            *value = 0.into();
        }
    };
    match &event.kind {
        Kind::Msg(message) => {
            let json = &mut json["Msg"];
            unsigned(&mut json["meta"]["peer_id"]);
            known_type(&mut json["meta"]["conn_type"]);
            match &message.msg {
                p2p::Message::Undecodable { .. }
                | p2p::Message::HeaderOnly { .. }
                | p2p::Message::BlockHashOnly { .. }
                | p2p::Message::Unavailable { .. }
                | p2p::Message::Filterload { flags: 3.., .. } => return None,
                p2p::Message::Feature { .. } | p2p::Message::Sendtxrcncl { .. } => {
                    json["msg"] = json!({"Unknown": {"command": message.meta.command, "payload": message.payload?}});
                }
                p2p::Message::Sendcompact { .. } => {
                    json["msg"]["Sendcompact"].as_object_mut().unwrap().remove("send_compact_byte");
                }
                _ => {}
            }
        }
        Kind::Conn { .. } => {
            let (name, event) = json["Conn"]["event"].as_object_mut().unwrap().iter_mut().next().unwrap();
            if name == "Misbehaving" {
                unsigned(&mut event["id"]);
                event.as_object_mut().unwrap().retain(|name, _| ["id", "xmessage"].contains(&&**name));
            } else {
                unsigned(&mut event["conn"]["peer_id"]);
                known_type(&mut event["conn"]["conn_type"]);
            }
        }
        Kind::Mempool { .. } => {
            for event in json["Mempool"]["event"].as_object_mut().unwrap().values_mut() {
                let fields = event.as_object_mut().unwrap().iter_mut();
                fields.filter(|(name, _)| name.ends_with("vsize")).for_each(|(_, value)| narrow(value));
            }
        }
        Kind::Validation { .. } => {
            let event = &mut json["Validation"]["event"]["BlockConnected"];
            ["height", "inputs"].iter().for_each(|name| narrow(&mut event[*name]));
            for name in ["transactions", "sigops"] {
                event[name] = event[name].as_u64().unwrap().min(i64::MAX as u64).into();
            }
        }
        Kind::Utxocache { .. } | Kind::CoinSelection { .. } | Kind::Lost(_) => return None,
    }
    Some(json)
}

#[test]
fn a_recording_says_what_its_json_says() {
    let recording = include_bytes!("../../tests/golden/version-2.recording");
    let (mut subjects, mut commands, mut unsaid) = (BTreeSet::new(), BTreeSet::new(), 0);
    for entry in Reader::new(recording.as_slice(), &Selection::default()).unwrap() {
        let Entry::Batch(batch) = entry.unwrap() else { continue };
        batch.each(|event| match said(&event) {
            Some(said) => {
                subjects.insert(said.as_object().unwrap().keys().next().unwrap().clone());
                if let Some(message) = said["Msg"]["msg"].as_object() {
                    commands.extend(message.keys().cloned());
                }
            }
            None => unsaid += 1,
        });
    }
    assert_eq!(subjects.into_iter().collect::<Vec<_>>(), ["Conn", "Mempool", "Msg", "Validation"]);
    assert!(commands.len() > 10 && unsaid > 0, "{commands:?} {unsaid}");
}

#[test]
fn the_subjects_are_those_of_peer_observer() {
    assert_eq!(Subject::ALL.map(|subject| subject.to_string()), ["netmsg", "netconn", "mempool", "validation"]);
}
