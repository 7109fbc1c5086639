//! docs/events.schema.json is the schema of what is written, no more and no less. In: a line of each type, and the vectors. Out: these
//! claims; with BLESS=1 the file itself.

use std::{env, fs, path::Path};

use serde_json::{Map, Value, json};

use super::{Checker, View, assert_line, schema};
use crate::{
    event::{Event, Kind, Lost, Moment, Time, net, tests::DECODER},
    json::{BytesStyle, IntegersStyle, Style, write_line},
    kernel_side::{self, types::event_header},
    p2p::{
        self,
        tests::samples::{Sample, samples},
    },
    tracepoint::{LossReason, Tracepoint},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.schema.json");

/// A line of each type, in this style.
fn lines(style: Style) -> Vec<String> {
    let line = |kind: Kind<'_>| {
        let event = Event { time: Time(1_747_158_913_356_600_999), moment: Moment(1), kind };
        let mut line = Vec::new();
        write_line(&mut line, &event, style).unwrap();
        String::from_utf8(line).unwrap()
    };
    let message = |msg: p2p::Message<'_>, payload: Option<&[u8]>| {
        let meta = net::Meta::new(7, "192.0.2.1:8333", net::ConnectionType::Inbound, "inv", true, 3);
        line(Kind::Msg(net::Message { meta, msg, payload }))
    };
    let lost = Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: u64::MAX };
    let not_wanted = p2p::Message::Unavailable { command: "inv", reason: "not_wanted" };
    let odd_sendcmpct = p2p::decode("sendcmpct", &[2; 9]);
    let not_recorded = Lost::not_recorded(Tracepoint::MempoolAdded);
    let mut lines = vec![
        line(Kind::Lost(lost)),
        line(Kind::Lost(not_recorded)),
        message(not_wanted, None),
        message(odd_sendcmpct, None),
    ];
    for Sample { command, payload, .. } in samples() {
        lines.push(message(p2p::decode(command, &payload), Some(&payload)));
        lines.extend(p2p::decode_beginning(command, &payload).map(|beginning| message(beginning, None)));
    }
    for tracepoint in Tracepoint::all().filter(|it| !it.name().ends_with("_message")) {
        let header = event_header { tracepoint: tracepoint.index() as u8, ..Default::default() };
        let record = kernel_side::write(header, &[0; 256]);
        DECODER.decode(&record, true, |event| lines.push(line(event.kind)));
    }
    lines
}

/// All fields of a line, also those of objects in it: paths, in which `/` stands before each name.
fn fields(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                fields(value, &format!("{path}/{at}"), found);
            }
        }
        Value::Object(values) => {
            for (name, value) in values {
                found.push((path.into(), name.clone()));
                fields(value, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_file_is_made_from_the_types() {
    let schema = schema();
    if env::var_os("BLESS").is_some() {
        fs::write(FILE, format!("{schema:#}\n")).unwrap();
    }
    let file: Value = serde_json::from_str(&fs::read_to_string(FILE).unwrap_or_default()).unwrap_or_default();
    assert!(file == schema, "docs/events.schema.json is old: BLESS=1 cargo test --lib schema");
}

#[test]
fn each_type_is_written_as_it_says_in_each_style() {
    for (bytes, hex) in [(BytesStyle::Array, false), (BytesStyle::Hex, true)] {
        for (integers, strings) in [(IntegersStyle::Number, false), (IntegersStyle::String, true)] {
            for max_bytes in [None, Some(0), Some(3)] {
                for line in lines(Style { bytes, integers, max_bytes, raw: true, pretty: false }) {
                    assert_line(&line, View { hex, strings });
                }
            }
        }
    }
}

#[test]
fn a_field_more_or_less_or_of_another_type_is_noticed() {
    let style = Style { bytes: BytesStyle::Hex, raw: true, max_bytes: Some(3), ..Style::default() };
    let closed = Checker::closed(schema(), View { hex: true, strings: false });
    let open = Checker::open(schema());
    let optional = ["/cut", "/event/Msg/msg/Sendcompact/send_compact_byte"];
    for line in lines(style) {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(closed.check(&line), Ok(()));
        let mut all = Vec::new();
        fields(&line, "", &mut all);
        for (path, name) in all {
            let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
                let mut line = line.clone();
                change(line.pointer_mut(&path).unwrap().as_object_mut().unwrap());
                line
            };
            let removed = changed(&|fields| drop(fields.remove(&name)));
            let is_optional = ["raw", "count"].contains(&&*name) || optional.contains(&&*format!("{path}/{name}"));
            let are_lines = [&closed, &open].map(|it| it.check(&removed).is_ok());
            assert_eq!(are_lines, [is_optional; 2], "without {path}/{name}: {line}");
            let null = changed(&|fields| drop(fields.insert(name.clone(), Value::Null)));
            assert!(closed.check(&null).is_err() && open.check(&null).is_err(), "null as {path}/{name}: {line}");
            let renamed = changed(&|fields| {
                let value = fields.remove(&name).unwrap();
                fields.insert("another".into(), value);
            });
            assert!(closed.check(&renamed).is_err(), "another name for {path}/{name}: {line}");
            let added = changed(&|fields| drop(fields.insert("another".into(), true.into())));
            assert!(closed.check(&added).is_err(), "another field in {path}: {line}");
        }
    }
}

/// What later releases may do, as docs/events.md promises.
#[test]
fn readers_that_know_the_schema_take_what_may_be_added() {
    let open = Checker::open(schema());
    let line = |event: Value| json!({"timestamp": 1, "timestamp_subsec_micros": 2, "event": event, "added": 3});
    let meta = |added: u8| json!({"peer_id": 7, "addr": "", "conn_type": added, "command": "new", "inbound": true, "size": "8", "added": 1});
    for event in [
        json!({"New": {"event": {}}}),
        json!({"Msg": {"meta": meta(200), "msg": {"New": {"field": 1}}, "added": []}}),
        json!({"Msg": {"meta": meta(1), "msg": {"Inv": {"items": [{"item": {"New": ""}}]}}}}),
        json!({"Lost": {"tracepoint": "net:new", "reason": "new", "count": 1}}),
    ] {
        assert_eq!(open.check(&line(event)), Ok(()));
    }
    assert!(open.check(&line(json!({"Lost": {"tracepoint": 1, "reason": "new", "count": 1}}))).is_err());
}

#[test]
fn it_has_no_field_that_is_never_written() {
    let style = Style { raw: true, max_bytes: Some(3), ..Style::default() };
    let lines = lines(style).concat();
    let mut all = Vec::new();
    fields(&schema(), "", &mut all);
    let names = all.iter().filter(|(path, _)| path.ends_with("/properties"));
    // Another test writes the source.
    let unwritten: Vec<_> = names
        .filter(|(path, name)| {
            name != "source" && path != "/$defs/Source/properties" && !lines.contains(&format!("\"{name}\":"))
        })
        .collect();
    assert!(unwritten.is_empty(), "{unwritten:?}");
}

/// The vectors are kept outside of this repository, so that what they test has not made them.
#[test]
fn vectors_are_lines_of_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors.ndjson");
    let Ok(vectors) = fs::read_to_string(&path) else {
        println!("skipped: no vectors at {}", path.display());
        return;
    };
    for vector in vectors.lines() {
        let vector: Value = serde_json::from_str(vector).unwrap();
        let line = json!({"timestamp": 1, "timestamp_subsec_micros": 2, "event": vector["event"]});
        assert_line(&line.to_string(), View { hex: false, strings: false });
    }
}
