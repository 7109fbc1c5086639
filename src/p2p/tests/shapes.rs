//! Each variant is printed as the JSON contract says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::samples::{Sample, samples, transaction};
use super::{hash, json, styled};
use crate::json::{BytesStyle, Style, write_line};
use crate::p2p::{COMMANDS, Message};

#[test]
fn every_variant_has_its_fields_in_order() {
    for Sample { command, payload, json: expected } in samples() {
        assert_eq!(json(command, &payload), expected, "{command}");
    }
    let unavailable = Message::Unavailable { command: "tx", reason: "not resident" };
    let mut line = Vec::new();
    write_line(&mut line, &unavailable, Style::default()).unwrap();
    assert_eq!(line, b"{\"Unavailable\":{\"command\":\"tx\",\"reason\":\"not resident\"}}\n");
}

#[test]
fn every_command_is_decoded_but_these() {
    let sampled: BTreeSet<_> = samples().iter().map(|sample| sample.command).collect();
    let kept_as_they_are: Vec<_> = COMMANDS
        .iter()
        .filter(|command| json(command, &[]).starts_with(r#"{"Unknown":"#))
        .inspect(|command| assert!(**command == "getutxos" || !sampled.contains(**command)))
        .copied()
        .collect();
    assert_eq!(
        kept_as_they_are,
        [
            "checkorder",
            "getdetails",
            "getutxos",
            "pub-cancel",
            "publish",
            "reply",
            "review",
            "sub-cancel",
            "submitorder",
            "subscribe",
            "utxos",
        ]
    );
    for command in COMMANDS.iter().filter(|command| !kept_as_they_are.contains(command)) {
        assert!(sampled.contains(command), "no sample of {command}");
    }
}

#[test]
fn hex_style_reaches_every_field() {
    let hex = Style { bytes: BytesStyle::Hex, ..Style::default() };
    for Sample { command, payload, .. } in samples() {
        let line = styled(command, &payload, hex);
        let value: Value = serde_json::from_str(&line).unwrap();
        let bare = line.contains("tx_indexes") || line.contains("bits\":[");
        assert!(bare || !has_numbers_in_array(&value), "{line}");
    }

    let transaction = transaction(1, true);
    let raw = bitcoin::consensus::serialize(&transaction);
    assert_eq!(
        styled("tx", &raw, hex),
        format!(
            r#"{{"Tx":{{"tx":{{"txid":"{}","wtxid":"{}","raw":"{}"}}}}}}"#,
            transaction.compute_txid(),
            transaction.compute_wtxid(),
            HEXLOWER.encode(&raw)
        )
    );
    let mut reversed = hash(5);
    reversed.reverse();
    assert_eq!(
        styled("getcfcheckpt", &[&[0], &hash(5)[..]].concat(), hex),
        format!(r#"{{"Getcfcheckpt":{{"filter_type":0,"stop_hash":"{}"}}}}"#, HEXLOWER.encode(&reversed))
    );
}

fn has_numbers_in_array(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| item.is_number() || has_numbers_in_array(item)),
        Value::Object(fields) => fields.values().any(has_numbers_in_array),
        _ => false,
    }
}

#[test]
fn pretty_style_changes_nothing_but_white_space() {
    for Sample { command, payload, json: expected } in samples() {
        let pretty = styled(command, &payload, Style { pretty: true, ..Style::default() });
        let [pretty_value, value]: [Value; 2] = [&pretty, &expected].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(pretty_value, value);
    }
    assert_eq!(
        styled("filteradd", &[3, 1, 2, 3], Style { pretty: true, ..Style::default() }),
        "{\n  \"Filteradd\": {\n    \"filter\": [1,2,3]\n  }\n}"
    );
}

/// The vectors are kept outside of this repository, so that what they test has not made them.
#[test]
fn vectors_are_printed_exactly() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors.ndjson");
    let Ok(vectors) = fs::read_to_string(&path) else {
        println!("skipped: no vectors at {}", path.display());
        return;
    };
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let meta = &vector["event"]["Msg"]["meta"];
        let payload = HEXLOWER.decode(vector["payload"].as_str().unwrap().as_bytes()).unwrap();
        // Not through `Value`, which forgets the order of fields.
        let (_, msg) = line.split_once(r#""msg":"#).unwrap();
        let expected = unescape(msg.strip_suffix("}}}").unwrap());
        assert_eq!(json(meta["command"].as_str().unwrap(), &payload), expected);
        assert_eq!(meta["size"], payload.len());
    }
}

/// Replaces escapes by their characters: the vectors are ASCII, our output is UTF-8.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(4);
        unescaped.push(u32::from_str_radix(code, 16).ok().and_then(char::from_u32).expect("no surrogates"));
        unescaped.push_str(rest);
    }
    unescaped
}
