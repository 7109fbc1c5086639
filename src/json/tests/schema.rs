//! The schema of JSON lines. In: the types of events. Out: the schema of what they write, which `claims` compares with
//! docs/events.schema.json.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

mod claims;
#[path = "../../../tests/schema/closed.rs"]
mod closed;

pub(crate) use self::closed::{Checker, View};
use crate::{
    event::{Kind, net},
    json::{Bytes, Cut, Hash, Hex, Id},
    p2p,
    spool::Source,
    tracepoint::{LossReason, Tracepoint},
};

/// The schema, as the types have it.
fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let refer = |schema: Schema, description: &str| {
        let mut schema = schema;
        schema.insert("description".into(), description.into());
        schema
    };
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of bitcointap",
        "description": "An event of a Bitcoin Core node, as bitcointap writes it. Later releases may add fields, kinds and values: see \
            \"What may change\" in docs/events.md. `examples` lists all values of today.",
        "type": "object",
        "properties": {
            "timestamp": {
                "description": "When its tracepoint fired, UNIX time in seconds. A number also with `--integers string`.",
                "type": "integer", "minimum": 0, "maximum": u64::MAX / 1_000_000_000,
            },
            "timestamp_subsec_micros": {
                "description": "Microseconds since that second.",
                "type": "integer", "minimum": 0, "maximum": 999_999,
            },
            "event": refer(generator.subschema_for::<Kind<'static>>(), "What happened."),
            "cut": refer(
                generator.subschema_for::<Cut>(),
                "With `--max-bytes N`: byte strings of this line were cut to N bytes. Without this field, all are whole.",
            ),
            "source": refer(generator.subschema_for::<Source>(), "With `--json-source`: which node the event is of."),
        },
        "required": ["timestamp", "timestamp_subsec_micros", "event"],
    });
    let integer = |digits: &str, least: Value, most: Value| {
        json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "string", "pattern": digits},
        ]})
    };
    let mut types = generator.take_definitions(false);
    types.insert("uint64".into(), integer("^(0|[1-9][0-9]{0,19})$", 0.into(), u64::MAX.into()));
    types.insert("int64".into(), integer("^(0|-?[1-9][0-9]{0,18})$", i64::MIN.into(), i64::MAX.into()));
    types["uint64"]["description"] = "A 64-bit integer: a string with `--integers string`.".into();
    types["int64"]["description"] = "A 64-bit integer with a sign: a string with `--integers string`.".into();
    schema["$defs"] = types.into();
    ours(&mut schema);
    schema
}

/// Changes what schemars writes: choices stay open, and integers have their bounds.
fn ours(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(ours),
        Value::Object(fields) => {
            choice(fields);
            number(fields);
            // Nothing is ever null: it is left out.
            if let Some(Value::Array(types)) = fields.get("type") {
                let one = types.iter().find(|it| *it != "null").cloned();
                fields.insert("type".into(), one.expect("a type of its own"));
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf")
                && choices.pop_if(|it| it["type"] == "null").is_some()
            {
                let one = choices.pop().and_then(|it| it.as_object().cloned());
                fields.remove("anyOf");
                fields.extend(one.expect("a type of its own"));
            }
            fields.values_mut().for_each(ours);
        }
        _ => {}
    }
}

/// An object with one of many keys: with `oneOf` a key that is added later would be wrong.
fn choice(fields: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = fields.remove("oneOf") else { return };
    let mut properties = Map::new();
    for choice in choices {
        let (name, value) = choice["properties"].as_object().and_then(|it| it.iter().next()).expect("it has a key");
        let mut value = value.clone();
        if let (Some(description), Some(value)) = (choice.get("description"), value.as_object_mut()) {
            value.insert("description".into(), description.clone());
        }
        properties.insert(name.clone(), value);
    }
    fields.extend([
        ("type".into(), "object".into()),
        ("properties".into(), properties.into()),
        ("minProperties".into(), 1.into()),
        ("maxProperties".into(), 1.into()),
    ]);
}

fn number(fields: &mut Map<String, Value>) {
    let Some(format) = fields.get("format").and_then(Value::as_str).map(str::to_owned) else { return };
    let (least, most): (i64, i64) = match &*format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "uint64" | "int64" => {
            ["type", "format", "minimum"].into_iter().for_each(|it| drop(fields.remove(it)));
            fields.insert("$ref".into(), format!("#/$defs/{format}").into());
            return;
        }
        _ => return,
    };
    fields.remove("format");
    fields.extend([("minimum".into(), least.into()), ("maximum".into(), most.into())]);
}

/// The schema of a type that writes itself.
macro_rules! schemas {
    ($($type:ty, $name:literal, $is_inline:literal, $generator:ident => $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                $is_inline
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

schemas! {
    Hash, "hash", false, _generator => json_schema!({
        "description": "A hash: its 32 bytes in internal order, or with `--bytes hex` in hex as explorers show it.",
        "anyOf": [
            {"type": "array", "items": byte(), "minItems": 32, "maxItems": 32},
            {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        ],
    });
    Bytes<'_>, "bytes", false, _generator => json_schema!({
        "description": "A byte string: integers from 0 to 255, or with `--bytes hex` hex.",
        "anyOf": [{"type": "array", "items": byte()}, {"type": "string", "pattern": HEX}],
    });
    Id<'_>, "bytes", false, generator => Bytes::json_schema(generator);
    Hex<'_>, "hex", true, _generator => json_schema!({"type": "string", "pattern": HEX});
    p2p::True, "true", true, _generator => json_schema!({"const": true});
    net::ConnectionType, "connection_type", false, _generator => json_schema!({
        "description": net::ConnectionType::ALL.map(|it| format!("{} {}", it as u8, it.name())).join(", "),
        "type": "integer", "minimum": 0, "maximum": u8::MAX,
        "examples": net::ConnectionType::ALL.map(|it| it as u8),
    });
    Tracepoint, "tracepoint", false, _generator => json_schema!({
        "type": "string", "examples": Tracepoint::all().map(Tracepoint::name).collect::<Vec<_>>(),
    });
    LossReason, "loss_reason", false, _generator => json_schema!({
        "type": "string", "examples": LossReason::ALL.map(LossReason::name),
    });
    p2p::Items<'_>, "items", true, generator => Vec::<p2p::inventory::Entry>::json_schema(generator);
    p2p::Tx<'_>, "tx", true, generator => generator.subschema_for::<p2p::transaction::Written<'_>>();
    net::Message<'_>, "message", true, generator => generator.subschema_for::<net::Written<'_>>();
    p2p::serialize::AsHash, "hash", true, generator => generator.subschema_for::<Hash>();
    p2p::serialize::AsHashes, "hashes", true, generator => Vec::<Hash>::json_schema(generator);
    p2p::serialize::AsHeader, "header", true, generator => generator.subschema_for::<p2p::serialize::Header>();
    p2p::serialize::AsHeaders, "headers", true, generator => Vec::<p2p::serialize::Header>::json_schema(generator);
    p2p::serialize::AsShortIds, "short_ids", true, generator => Vec::<Id<'_>>::json_schema(generator);
    p2p::serialize::AsBits, "bits", true, generator => Vec::<bool>::json_schema(generator);
    p2p::serialize::AsRejectReason, "reject_reason", true, _generator => json_schema!({
        "type": "integer", "minimum": 0, "maximum": u8::MAX, "examples": [0, 1, 2, 3, 4, 5, 6, 7],
    });
    crate::json::AsNumber, "number", true, _generator => json_schema!({
        "type": "integer", "minimum": 0, "maximum": u64::MAX,
    });
}

const HEX: &str = "^([0-9a-f]{2})*$";

fn byte() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": 255})
}

/// Asserts that a line is as the schema of this release has it.
#[track_caller]
pub(crate) fn assert_line(line: &str, view: View) {
    thread_local! {
        static CLOSED: [Checker; 4] =
            std::array::from_fn(|at| Checker::closed(schema(), View { hex: at & 1 > 0, strings: at & 2 > 0 }));
    }
    let checked = |closed: &[Checker; 4]| {
        closed[usize::from(view.hex) + 2 * usize::from(view.strings)].check(&serde_json::from_str(line).unwrap())
    };
    if let Err(error) = CLOSED.with(checked) {
        panic!("{error}: {line}");
    }
}
