//! Events as lines of JSON. In: a node of each layout, and a tap of it. Out: lines that have what the node's tally and its trace say, up
//! to the largest payload.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{LAYOUTS, arguments, read_lines};
use crate::{
    node::{Simnode, Tally},
    tool::{Attached, bitcointap, tracepoint_of},
};

/// The events of a tap of `node`, as lines of JSON, up to the node's end.
fn tapped(layout: &str, simnode: &str, tap: &str) -> (Tally, Vec<Value>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut node = Simnode::start(layout, simnode);
    let mut command = bitcointap(&format!("tap --pid {} {tap}", node.pid()));
    command.stdout(file.reopen().unwrap());
    let mut tap = Attached::spawn(command);
    node.fire();
    let tally = node.tally();
    let status = tap.wait();
    assert!(status.success(), "{}", tap.log);
    (tally, read_lines(file.path()))
}

#[test]
fn json_lines_equal_the_tally_in_each_layout() {
    for layout in LAYOUTS {
        println!("{layout}");
        let (tally, events) = tapped(layout, arguments("mix"), "--events all");
        let mut by_tracepoint: BTreeMap<String, u64> =
            tally.tracepoints().into_keys().map(|tracepoint| (tracepoint, 0)).collect();
        let mut messages = BTreeMap::<(&str, &str, &str), (u64, u64, u64)>::new();
        for event in &events {
            *by_tracepoint.entry(tracepoint_of(event)).or_default() += 1;
            let Value::Object(message) = &event["event"]["Msg"] else { continue };
            let meta = &message["meta"];
            let key = (
                if meta["inbound"] == true { "inbound" } else { "outbound" },
                meta["command"].as_str().unwrap(),
                CONNECTION_TYPES[meta["conn_type"].as_u64().unwrap() as usize],
            );
            let row = messages.entry(key).or_default();
            row.0 += 1;
            row.1 += meta["size"].as_u64().unwrap();
            row.2 += u64::from(message["msg"].get("Undecodable").is_some());
        }
        assert_eq!(by_tracepoint, tally.tracepoints(), "{layout}");
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        let fired: BTreeMap<_, _> = tally
            .rows("messages")
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap();
                let key = (text("direction"), text("command"), text("connection_type"));
                (key, (number(row, "count"), number(row, "bytes"), number(row, "undecodable")))
            })
            .collect();
        assert_eq!(messages, fired, "{layout}");

        for (action, variant) in [("add", "Add"), ("spent", "Spent"), ("uncache", "Uncache")] {
            let value = format!("/event/Utxocache/event/{variant}/value");
            let values = events.iter().filter_map(|event| event.pointer(&value).and_then(Value::as_u64));
            assert_eq!(values.sum::<u64>(), tally.number(&format!("/utxocache/{action}_value")), "{layout} {action}");
        }

        let replaced = events.iter().filter_map(|event| event.pointer("/event/Mempool/event/Replaced"));
        let flags: Vec<bool> = replaced.map(|it| it["replacement_is_txid"].as_bool().unwrap()).collect();
        assert!(layout == "v23" || !flags.is_empty(), "{layout} replaces transactions");
        if ["v25", "v26", "v27-patched"].contains(&layout) {
            assert!(flags.iter().all(|&is_txid| is_txid), "before v29 it cannot be told");
        }
        let scored = events.iter().filter_map(|event| event.pointer("/event/Conn/event/Misbehaving"));
        let scores: Vec<i64> = scored.map(|it| it["score_increase"].as_i64().unwrap()).collect();
        assert_eq!(layout == "v27-patched", scores.iter().any(|&score| score > 0), "{layout}");
    }
}

/// By their numbers.
const CONNECTION_TYPES: [&str; 8] = [
    "unknown",
    "inbound",
    "outbound-full-relay",
    "block-relay-only",
    "feeler",
    "manual",
    "addr-fetch",
    "private-broadcast",
];
const NETWORKS: [&str; 7] = ["unroutable", "ipv4", "ipv6", "onion", "i2p", "cjdns", "internal"];

/// What an event says of its peer and message, in the words of the simulated node's trace.
fn attributes(event: &Value) -> Value {
    let number = |of: &Value, name: &str| of[name].as_u64().unwrap() as usize;
    if let Some(meta) = event.pointer("/event/Msg/meta") {
        return json!({
            "peer": meta["peer_id"],
            "address": meta["addr"],
            "connection_type": CONNECTION_TYPES[number(meta, "conn_type")],
            "direction": if meta["inbound"] == true { "inbound" } else { "outbound" },
            "command": meta["command"],
            "size": meta["size"],
        });
    }
    let Some(event) = event.pointer("/event/Conn/event") else { return json!({}) };
    let (_, event) = event.as_object().unwrap().iter().next().unwrap();
    let Some(conn) = event.get("conn") else { return json!({ "peer": event["id"] }) };
    let connection_type = CONNECTION_TYPES[number(conn, "conn_type")];
    json!({
        "peer": conn["peer_id"],
        "address": conn["addr"],
        "connection_type": connection_type,
        "network": NETWORKS[number(conn, "network")],
        "direction": if connection_type == "inbound" { "inbound" } else { "outbound" },
        "command": null,
        "size": null,
    })
}

#[test]
fn events_tell_when_and_of_whom_they_were_fired() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let simnode = format!("--count 3000 --rate 3000 --trace {}", trace.path().display());
    let (_, events) = tapped("v31", &simnode, "--events all");
    let fired = read_lines(trace.path());
    assert_eq!(events.len(), fired.len());
    let mut named = 0;
    for (event, fired) in events.iter().zip(&fired) {
        assert_eq!(tracepoint_of(event), fired["tracepoint"]);
        let attributes = attributes(event);
        for (name, value) in attributes.as_object().unwrap() {
            assert_eq!(*value, fired[name], "{name} of {event}");
        }
        named += usize::from(!attributes["peer"].is_null());
        let micros =
            event["timestamp"].as_u64().unwrap() * 1_000_000 + event["timestamp_subsec_micros"].as_u64().unwrap();
        let (before, after) = (fired["before"].as_u64().unwrap() / 1000, fired["after"].as_u64().unwrap() / 1000);
        assert!((before..=after).contains(&micros), "{micros} is not from {before} to {after}");
    }
    assert_eq!(named, fired.iter().filter(|fired| !fired["peer"].is_null()).count());
}

#[test]
fn a_payload_of_four_million_bytes_arrives_whole() {
    let (_, events) = tapped("v31", "--scenario blocks --rate 50 --count 12", "--bytes hex");
    let sizes = events.iter().filter_map(|event| event.pointer("/event/Msg/meta/size")).map(|it| it.as_u64().unwrap());
    let at = sizes.clone().position(|size| size == 4_000_000).expect("the scenario has one of that size");
    let messages: Vec<&Value> = events.iter().filter_map(|event| event.pointer("/event/Msg/msg/Block")).collect();
    assert!(at < 10);
    let bytes = |block: &Value| -> usize {
        let transactions = block["transactions"].as_array().unwrap();
        let raw = transactions.iter().map(|it| it["raw"].as_str().unwrap().len() / 2).sum::<usize>();
        let count = if transactions.len() < 0xfd { 1 } else { 3 };
        80 + count + raw
    };
    assert!(messages.iter().any(|block| bytes(block) == 4_000_000), "its transactions add up to it");
}
