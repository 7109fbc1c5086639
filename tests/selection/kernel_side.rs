//! What the kernel side decides. In: taps of this process, which nothing drains, and one that writes payloads. Out: what of events
//! and payloads the ring buffer has.

use std::fs::{self, File};

use bitcointap::{
    capture::{Batch, Counters},
    json::{BytesStyle, Style, write_line},
    process::Which,
    tap::{Options, Payloads, Tap},
    tracepoint::Tracepoint,
};
use serde_json::json;

use super::{NODE, conditions::Conditions, lines};
use crate::{
    node::Simnode,
    tool::{Attached, bitcointap},
};

/// Attached in this process, where nothing drains it.
fn attached(node: &Simnode, conditions: &str, payloads: Payloads) -> Tap {
    let node = Which::Pid(node.pid() as i32).find().unwrap();
    let selection = Conditions(conditions.to_owned()).selection();
    let tap = Tap::attach(&node, &Options { selection, payloads, ..Options::default() }).unwrap();
    assert!(tap.failures().is_empty(), "{conditions}: {:?}", tap.failures());
    tap
}

#[test]
fn what_the_kernel_side_can_decide_never_reaches_the_ring_buffer() {
    let mut node = Simnode::start("v31", "--scenario flood --rate max --count 100000");
    let ring_buffer_stays_empty = [
        "command=inv,addr",
        "not-command=ping,version,verack,wtxidrelay,sendaddrv2,sendcmpct,sendheaders,feefilter,getaddr,getheaders,sendtxrcncl,\
         feature",
        "peer=1,2",
        "not-peer=0",
        "min-size=1000",
        "min-size=1 max-size=7",
        "hash=000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f not-command=getheaders",
        "connection-type=manual,unknown",
        "not-connection-type=inbound",
    ];
    let taps: Vec<(&str, Tap)> = ring_buffer_stays_empty
        .into_iter()
        .map(|conditions| {
            (conditions, attached(&node, &format!("events=net:inbound_message {conditions}"), Payloads::Whole))
        })
        .collect();
    let messages = "events=net:inbound_message,net:outbound_message";
    let outbound = attached(&node, &format!("{messages} direction=outbound"), Payloads::Whole);
    assert_eq!(outbound.attached(), "net:outbound_message".parse().unwrap(), "others cost the node nothing");
    node.fire();
    let fired = node.tally().tracepoints()["net:inbound_message"];
    assert!(fired > 99_000);
    let expected = Counters { fired, filtered: fired, ..Counters::default() };
    let inbound_message = Tracepoint::NetInboundMessage.index();
    for (conditions, tap) in taps {
        assert_eq!(tap.counters().unwrap()[inbound_message], expected, "{conditions}");
        assert_eq!(tap.ring_buffer().1, 0, "{conditions}");
    }
    assert_eq!(outbound.counters().unwrap()[inbound_message], Counters::default());
}

#[test]
fn payloads_that_are_not_wanted_are_not_copied() {
    let mut node = Simnode::start("v31", "--scenario blocks --rate max --count 300");
    let mut tap = attached(&node, "events=net", Payloads::None);
    node.fire();
    let tally = node.tally();
    let fired: u64 = tally.tracepoints().iter().filter(|(name, _)| name.starts_with("net:")).map(|(_, it)| it).sum();
    let used = tap.ring_buffer().1;
    assert!((1..=fired * 200).contains(&used), "{used} bytes of {fired} events");

    let (mut batch, mut text) = (Batch::default(), Vec::new());
    while tap.drain(&mut batch).unwrap() || !batch.is_empty() {
        let style = Style { bytes: BytesStyle::Hex, raw: true, ..Style::default() };
        batch.each(|event| write_line(&mut text, &event, style).unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(lines(&text).count() as u64, fired);
    let mut sizes = Vec::new();
    for (line, _) in lines(&text).filter(|(line, _)| line["event"]["Msg"].is_object()) {
        let message = &line["event"]["Msg"];
        let (command, size) = (&message["meta"]["command"], message["meta"]["size"].as_u64().unwrap());
        sizes.push(size);
        if size == 0 {
            assert_eq!(message["raw"], "");
        } else {
            assert_eq!(message["msg"], json!({"Unavailable": {"command": command, "reason": "not_wanted"}}));
            assert!(message.get("raw").is_none(), "{message}");
        }
    }
    assert_eq!(sizes.iter().max(), Some(&4_000_000));
}

#[test]
fn raw_payloads_are_what_is_decoded_beside_them() {
    let mut node = Simnode::start("v31", NODE);
    let tap = bitcointap(&format!("tap --pid {} --direction inbound,outbound --payload raw --bytes hex", node.pid()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let mut tap = Attached::spawn({
        let mut tap = tap;
        tap.stdout(File::create(&path).unwrap());
        tap
    });
    node.fire();
    node.tally();
    assert!(tap.wait().success(), "{}", tap.log);
    let text = fs::read_to_string(path).unwrap();
    let (mut numbers, mut transactions) = (0, 0);
    for (line, _) in lines(&text).filter(|(line, _)| line["event"]["Msg"].is_object()) {
        let message = &line["event"]["Msg"];
        let raw = message["raw"].as_str().unwrap();
        assert_eq!(raw.len() as u64, 2 * message["meta"]["size"].as_u64().unwrap(), "{message}");
        let (kind, decoded) = message["msg"].as_object().unwrap().iter().next().unwrap();
        let number = match kind.as_str() {
            "Ping" | "Pong" => decoded["value"].as_u64(),
            "Feefilter" => decoded["fee"].as_u64(),
            _ => None,
        };
        if let Some(number) = number {
            let bytes: String = number.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(raw, bytes, "{message}");
            numbers += 1;
        }
        if kind == "Tx" {
            assert_eq!(decoded["tx"]["raw"], raw);
            transactions += 1;
        }
    }
    assert!(numbers > 100 && transactions > 100, "{numbers}, {transactions}");
}

#[test]
fn the_kernel_takes_all_programs_whatever_they_are_to_decide() {
    let node = Simnode::start("v31", "");
    for peers in ["", " peer=1", " not-peer=1,2"] {
        for commands in ["", " command=inv", " not-command=inv,tx"] {
            for others in ["", " min-size=1 max-size=9 not-connection-type=manual"] {
                for payloads in [Payloads::Whole, Payloads::None, Payloads::Limited(&[("block", 80)])] {
                    let conditions = format!("events=all{peers}{commands}{others}");
                    let tap = attached(&node, &conditions, payloads);
                    assert_eq!(tap.attached(), Conditions(conditions).selection().tracepoints());
                }
            }
        }
    }
}
