//! What is selected from records that have a different value in each field, as the kernel side would write them.

use std::collections::BTreeSet;

use super::{compiled::InKernel, *};
use crate::{
    capture::{Batch, Intake},
    kernel_side::{
        types::{added_record, connection_record, event_header, message_record, misbehaving_record},
        write,
    },
};

/// A record and its tracepoint.
type Record = (Tracepoint, Vec<u8>);

fn header(tracepoint: Tracepoint, text: &str) -> event_header {
    event_header { tracepoint: tracepoint.index() as u8, text_length: text.len() as u16, ..Default::default() }
}

fn message(tracepoint: Tracepoint, peer_id: i64, address: &str, connection_type: u8, name: &str, size: u64) -> Record {
    let mut command = [0; 16];
    command[..name.len()].copy_from_slice(name.as_bytes());
    let header = header(tracepoint, address);
    let fixed = message_record { header, peer_id, size, command, connection_type, ..Default::default() };
    (tracepoint, write(fixed, address.as_bytes()))
}

fn connection(tracepoint: Tracepoint, peer_id: i64, address: &str, connection_type: u8, network: u32) -> Record {
    let header = header(tracepoint, address);
    let fixed = connection_record { header, peer_id, network, connection_type, ..Default::default() };
    (tracepoint, write(fixed, address.as_bytes()))
}

const HASH: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333";

/// Each has a letter.
fn records() -> Vec<(char, Record)> {
    use Tracepoint::*;
    let misbehaving =
        misbehaving_record { header: header(NetMisbehavingConnection, ""), peer_id: 3, ..Default::default() };
    let added = added_record { header: header(MempoolAdded, ""), ..Default::default() };
    let records = vec![
        ('a', connection(NetInboundConnection, 3, "127.0.0.1:50000", 1, 3)),
        ('b', connection(NetOutboundConnection, 4, "[2a01::4]:8333", 2, 2)),
        ('c', message(NetInboundMessage, 3, "127.0.0.1:50000", 1, "inv", 37)),
        ('d', message(NetOutboundMessage, 3, "127.0.0.1:50000", 1, "tx", 300)),
        ('e', message(NetInboundMessage, 4, "[2a01::4]:8333", 2, "ping", 8)),
        ('f', message(NetOutboundMessage, 5, ONION, 5, "version", 102)),
        ('g', message(NetInboundMessage, 6, "8.8.8.8:8333", 3, "inv", 0)),
        ('h', (NetMisbehavingConnection, write(misbehaving, b""))),
        ('i', connection(NetEvictedInboundConnection, 3, "127.0.0.1:50000", 1, 3)),
        ('j', connection(NetClosedConnection, 4, "[2a01::4]:8333", 2, 2)),
        ('k', (MempoolAdded, write(added, b""))),
    ];
    // As they are taken in: with the networks of peers.
    let mut intake = Intake::new(&Selection::of(Tracepoint::all().collect()));
    for (_, (_, record)) in &records {
        intake.take(record);
    }
    let mut batch = Batch::default();
    intake.swap(&mut batch);
    let taken = batch.records().map(<[u8]>::to_vec);
    records.into_iter().zip(taken).map(|((letter, (tracepoint, _)), record)| (letter, (tracepoint, record))).collect()
}

fn selection(words: &str) -> Selection {
    let mut selection = Selection::default();
    for word in words.split_whitespace() {
        let (word, values) = word.split_once('=').unwrap();
        selection.add(word, values).unwrap();
    }
    selection
}

#[test]
fn conditions_select_what_meets_them() {
    for (words, expected) in [
        ("", "abcdefghijk"),
        ("events=mempool", "k"),
        ("events=net:inbound_message,mempool:added", "cegk"),
        ("not-events=net", "k"),
        ("events=net not-events=net:inbound_message,net:outbound_message", "abhij"),
        ("command=inv", "cg"),
        ("command=inv,tx", "cdg"),
        ("command=inv command=tx", "cdg"),
        ("not-command=inv,ping", "abdfhijk"),
        ("command=inv,tx not-command=inv", "d"),
        ("direction=inbound", "acegi"),
        ("direction=outbound", "bdfj"),
        ("not-direction=inbound", "bdfhjk"),
        ("connection-type=inbound", "acdi"),
        ("connection-type=manual,block-relay-only", "fg"),
        ("not-connection-type=inbound", "befghjk"),
        ("network=onion", "acdfi"),
        ("network=ipv6,ipv4", "begj"),
        ("not-network=onion", "beghjk"),
        ("peer=3", "acdhi"),
        ("peer=5,6", "fg"),
        ("not-peer=3", "befgjk"),
        ("address=127.0.0.0/8", "acdi"),
        ("address=2a01::/16,8.8.8.8", "begj"),
        ("address=8.8.8.8:8333", "g"),
        ("address=8.8.8.8:8334", ""),
        ("address=pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion", "f"),
        ("not-address=0.0.0.0/0", "befhjk"),
        ("min-size=37", "cdf"),
        ("max-size=8", "eg"),
        ("min-size=8 max-size=102", "cef"),
        ("min-size=0", "cdefg"),
        ("direction=inbound command=inv connection-type=inbound", "c"),
        ("events=mempool:added,net not-peer=3 not-command=ping", "bfgjk"),
        ("events=mempool command=inv", ""),
    ] {
        let selection = selection(words);
        let (filter, tracepoints) = (selection.compile(), selection.tracepoints());
        let records = records();
        let admitted = records.iter().filter(|(_, (tracepoint, record))| filter.admits(*tracepoint, record));
        assert_eq!(admitted.map(|(letter, _)| letter).collect::<String>(), expected, "{words}");
        for (letter, (tracepoint, _)) in &records {
            assert!(!expected.contains(*letter) || tracepoints.contains(*tracepoint), "{words}: {tracepoint}");
        }
    }
}

#[test]
fn the_scope_of_an_address_is_left_out() {
    for address in ["[fe80::5%1]:53626", "[fe80::5%eth0]:53626", "[fe80::5]:53626"] {
        let records = [
            message(Tracepoint::NetInboundMessage, 1, address, 1, "inv", 37),
            connection(Tracepoint::NetInboundConnection, 1, address, 1, 0),
        ];
        for (words, expected) in [
            ("address=fe80::/10", true),
            ("not-address=fe80::/10", false),
            ("address=fe80::5%9", true),
            ("address=[fe80::5]:53626", true),
            ("not-address=fe80::6", true),
        ] {
            let filter = selection(words).compile();
            let admits = records.iter().map(|(tracepoint, record)| filter.admits(*tracepoint, record));
            assert_eq!(admits.collect::<Vec<_>>(), [expected; 2], "{words}: {address}");
        }
    }
}

#[test]
fn a_command_that_is_no_text_is_none_that_can_be_named() {
    let (tracepoint, mut record) = message(Tracepoint::NetInboundMessage, 1, "1.2.3.4:5", 1, "inv", 37);
    let after_name = std::mem::offset_of!(message_record, command) + "inv".len();
    for (next, is_inv) in [(0, true), (0xff, false), (b'x', false)] {
        record[after_name] = next;
        let admits = |words| selection(words).compile().admits(tracepoint, &record);
        assert_eq!((admits("command=inv"), admits("not-command=inv")), (is_inv, !is_inv), "{next}");
    }
}

#[test]
fn a_connection_of_an_unknown_type_has_the_direction_of_its_tracepoint() {
    for (tracepoint, inbound, outbound) in [
        (Tracepoint::NetInboundConnection, true, false),
        (Tracepoint::NetEvictedInboundConnection, true, false),
        (Tracepoint::NetOutboundConnection, false, true),
        (Tracepoint::NetClosedConnection, false, false),
    ] {
        let (_, record) = connection(tracepoint, 1, "1.2.3.4:5", 0, 1);
        let admits = |words| selection(words).compile().admits(tracepoint, &record);
        assert_eq!((admits("direction=inbound"), admits("direction=outbound")), (inbound, outbound), "{tracepoint}");
    }
}

#[test]
fn what_cannot_meet_the_conditions_is_not_attached() {
    for (words, expected) in [
        ("events=all", "all"),
        ("events=all command=inv", "net:inbound_message,net:outbound_message"),
        ("max-size=100 direction=outbound", "net:outbound_message"),
        (
            "not-direction=outbound events=net",
            "net:inbound_message,net:inbound_connection,\
           net:evicted_inbound_connection,net:closed_connection,net:misbehaving_connection",
        ),
        (
            "connection-type=inbound",
            "net:inbound_message,net:outbound_message,net:inbound_connection,\
           net:evicted_inbound_connection,net:closed_connection",
        ),
        // An outbound message to an inbound peer; no such connection was opened outbound.
        ("direction=outbound connection-type=inbound", "net:outbound_message"),
        ("connection-type=feeler events=net:inbound_connection,net:outbound_connection", "net:outbound_connection"),
        ("peer=1", "net"),
        (
            &format!("hash={HASH} events=all"),
            "net:inbound_message,net:outbound_message,mempool,validation,utxocache:add,utxocache:spent,utxocache:uncache",
        ),
        (&format!("hash={HASH} command=tx,ping"), "net:inbound_message,net:outbound_message"),
        (&format!("not-hash={HASH}"), "default"),
        ("not-peer=1 not-command=inv not-address=::1 not-network=ipv4 not-connection-type=manual", "default"),
    ] {
        assert_eq!(selection(words).tracepoints(), expected.parse().unwrap(), "{words}");
    }
    for contradiction in [
        "events=mempool command=inv",
        "not-events=all",
        "command=inv not-command=inv",
        "direction=inbound not-direction=inbound,outbound",
        "connection-type=manual not-connection-type=manual",
        "network=onion,i2p not-network=i2p,onion",
        "peer=7 not-peer=8,7",
        "min-size=2 max-size=1",
    ] {
        assert!(selection(contradiction).tracepoints().is_empty(), "{contradiction}");
    }
    // bitcointap also attaches to the tracepoint that reports which peers came through Tor.
    for (words, expected) in [
        ("network=onion", "net:inbound_connection,net:outbound_connection,net:closed_connection,net:inbound_message"),
        ("not-network=onion connection-type=inbound direction=inbound", "net:inbound_connection,net:closed_connection"),
        ("network=ipv4 connection-type=manual", "net:outbound_connection,net:closed_connection"),
        ("network=ipv4 connection-type=unknown", ""),
    ] {
        let selection = selection(&format!("events=net:inbound_message {words}"));
        let tracepoints: Vec<_> = selection.to_attach().iter().map(Tracepoint::name).collect();
        let expected = expected.split(',').chain(["net:inbound_message"]).filter(|name| !name.is_empty());
        assert_eq!(tracepoints.into_iter().collect::<BTreeSet<_>>(), expected.collect(), "{words}");
    }
    assert_eq!(selection("events=mempool not-network=onion").to_attach(), "mempool".parse().unwrap());
}

#[test]
fn the_kernel_is_told_what_it_can_decide() {
    let words = "peer=1,2 not-peer=2 not-command=inv,tx connection-type=inbound,feeler min-size=3 max-size=9";
    let selection = selection(words);
    let InKernel { peers, commands, connection_types, min_size, max_size } = selection.in_kernel();
    assert_eq!(peers, Listed::Only(vec![&1]));
    assert_eq!(commands, Listed::Not(vec!["inv", "tx"]));
    let bit = |connection_type| 1 << connection_type as u32;
    assert_eq!(connection_types, bit(ConnectionType::Inbound) | bit(ConnectionType::Feeler));
    assert_eq!((min_size, max_size), (3, 9));

    // Messages that can name nothing are not copied.
    let listed = |words: &str| match self::selection(words).in_kernel().commands {
        Listed::Only(list) => list.join(","),
        other => format!("{other:?}"),
    };
    assert!(
        listed(&format!("hash={HASH}")).starts_with("block,blocktxn,")
            && !listed(&format!("hash={HASH}")).contains("addr")
    );
    assert_eq!(listed(&format!("hash={HASH} command=tx,ping,inv")), "inv,tx");
    assert_eq!(listed(&format!("not-hash={HASH} command=tx,ping")), "ping,tx");
    assert_eq!(listed(&format!("not-hash={HASH}")), "All");

    let all = Selection::default();
    let InKernel { peers, commands, connection_types, min_size, max_size } = all.in_kernel();
    assert_eq!((peers, commands), (Listed::All, Listed::All));
    assert_eq!((connection_types, min_size, max_size), (0xff, 0, u64::MAX));
}

#[test]
fn a_record_that_cannot_be_read_is_not_left_out_in_silence() {
    let filter = selection("command=inv").compile();
    let (tracepoint, record) = message(Tracepoint::NetInboundMessage, 1, "1.2.3.4:5", 1, "tx", 3);
    assert!(!filter.admits(tracepoint, &record));
    assert!(filter.admits(tracepoint, &record[..20]));
}

#[test]
fn words_that_say_nothing_are_refused() {
    for (word, values, why) in [
        ("events", "nett", "no tracepoint or group is called 'nett'"),
        ("command", "inv,", "'' is no command"),
        ("command", "averylongcommand", "1 to 12 characters"),
        ("direction", "in", "'in' is not one of inbound, outbound"),
        ("connection-type", "tor", "'tor' is not one of unknown, inbound"),
        ("network", "ip", "'ip' is not one of unroutable, ipv4"),
        ("peer", "-1", "'-1' is no peer number"),
        ("address", "10.0.0.0/33", "'10.0.0.0/33' is no IP address"),
        ("hash", &HASH[2..], "is no hash of a transaction or block, such as 000000000019d6689c"),
        ("not-hash", "", "'' is no hash of a transaction or block"),
        ("hash", &HASH.replace('d', "g"), "64 hexadecimal digits, as explorers show it"),
        ("min-size", "1k", "'1k' is no size, such as 4096 (bytes), 64KiB"),
        ("not-min-size", "1", "no condition 'not-min-size'"),
        ("color", "red", "no condition 'color'"),
        ("not-", "x", "no condition"),
    ] {
        let error = Selection::default().add(word, values).unwrap_err();
        assert!(error.contains(why), "{word}: {error}");
    }
}

#[test]
fn payloads_are_needed_only_where_a_hash_is_looked_for_in_them() {
    for (words, needs) in [
        ("command=inv", false),
        (&*format!("hash={HASH}"), true),
        (&format!("not-hash={HASH}"), true),
        (&format!("hash={HASH} events=mempool"), false),
    ] {
        assert_eq!(selection(words).needs_payloads(), needs, "{words}");
    }
    assert!(selection(&format!("hash={HASH}")).has_conditions());
}

#[test]
fn a_command_that_bitcoin_core_does_not_have_is_doubted() {
    let doubts = |commands: &str| {
        let mut selection = Selection::default();
        selection.add("command", commands).unwrap();
        selection.doubts().collect::<Vec<_>>()
    };
    assert_eq!(doubts("inv,ping"), [""; 0]);
    let words = |name: &str| format!("Bitcoin Core has no message called {name}: is it misspelled?");
    assert_eq!(doubts("pign,inv,a\r\n\u{fc}"), [words("a\\r\\n\\u{fc}"), words("pign")]);
    assert_eq!(doubts("a,b,c,d,e,f,g").len(), COMMANDS_TOLD);
}
