//! The format of peer-observer's tools. In: what a simulated node fires. Out: messages that say the same by the schema's numbers, as the
//! node's own tally shows.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use serde_json::Value;

use super::{
    lines, published,
    server::{Message, Server, Subscriber, servers},
};
use crate::{
    node::{Simnode, Tally},
    tool::{Attached, bitcointap},
};

#[path = "../../src/peer_observer/tests/schema.rs"]
mod schema;

use schema::{Connection, Extractor, Kind, Mempool, Validation};

/// What peer-observer's tools see: all subjects of one token.
fn decoded(messages: &[Message]) -> Vec<(&str, Kind)> {
    let theirs = messages.iter().filter(|message| !message.subject.contains('.'));
    let decode = |message: &Message| match schema::Event::decode(&*message.payload).unwrap().kind {
        Some(Extractor::Ebpf(ebpf)) => ebpf.event.unwrap(),
        None => panic!("{message:?} is of no extractor"),
    };
    theirs.map(|message| (&*message.subject, decode(message))).collect()
}

/// The schema's number of a connection type.
fn number_of(connection_type: &str) -> i32 {
    match connection_type {
        "inbound" => 1,
        "outbound-full-relay" => 2,
        "block-relay-only" => 3,
        "feeler" => 4,
        _ => 0,
    }
}

/// Counts and bytes of messages by direction, command and type.
type Messages = BTreeMap<(bool, String, i32), (u64, u64)>;

/// Messages that decode, as the node has counted them.
fn expected(tally: &Tally) -> Messages {
    let mut all = Messages::new();
    for row in tally.rows("messages") {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let count = row["count"].as_u64().unwrap() - row["undecodable"].as_u64().unwrap();
        // Payloads of both share the bytes of a row: then only the count is known.
        let bytes = if row["undecodable"] == 0 { row["bytes"].as_u64().unwrap() } else { u64::MAX };
        let sum = all
            .entry((row["direction"] == "inbound", text("command"), number_of(&text("connection_type"))))
            .or_default();
        *sum = (sum.0 + count, sum.1.saturating_add(bytes));
    }
    all.retain(|_, (count, _)| *count > 0);
    all
}

#[test]
fn what_peer_observers_tools_read_is_what_the_node_fired() {
    for program in servers() {
        let server = Server::start(&program, "");
        let subscriber = Subscriber::start(&server, ">");
        let mut node = Simnode::start("v31", "--scenario mix --rate 5000 --count 20000");
        let options = format!("--nats {} --node-name alice --nats.format peer-observer", server.url());
        let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {} {options}", node.pid())));
        node.fire();
        let tally = node.tally();
        assert!(tap.wait().success(), "{}", tap.log);
        let fired = published(&tally);
        let all = |messages: &[Message]| (decoded(messages).len() + lines(messages).len()) as u64;
        let messages = subscriber.until(|messages| all(messages) >= fired);
        assert_eq!(all(&messages), fired);

        let mut sums = Messages::new();
        let mut counts = BTreeMap::<String, u64>::new();
        let (mut vsizes, mut fees, mut replaced_fees, mut reasons) = (0, 0, 0, BTreeMap::<String, u64>::new());
        let mut blocks = Vec::new();
        for (subject, kind) in decoded(&messages) {
            let (expected_subject, tracepoint) = match kind {
                Kind::Msg(event) => {
                    let meta = event.meta;
                    assert!(event.msg.is_some() && !meta.addr.is_empty());
                    let sum = sums.entry((meta.inbound, meta.command, meta.conn_type)).or_default();
                    *sum = (sum.0 + 1, sum.1.saturating_add(meta.size));
                    ("netmsg", "messages")
                }
                Kind::Conn(event) => (
                    "netconn",
                    match event.event.unwrap() {
                        Connection::Closed(_) => "net:closed_connection",
                        Connection::InboundEvicted(_) => "net:evicted_inbound_connection",
                        Connection::Inbound(_) => "net:inbound_connection",
                        Connection::Outbound(_) => "net:outbound_connection",
                        Connection::Misbehaving(_) => "net:misbehaving_connection",
                    },
                ),
                Kind::Mempool(event) => (
                    "mempool",
                    match event.event.unwrap() {
                        Mempool::Added(added) => {
                            (vsizes, fees) = (vsizes + u64::try_from(added.vsize).unwrap(), fees + added.fee as u64);
                            "mempool:added"
                        }
                        Mempool::Removed(removed) => {
                            *reasons.entry(removed.reason).or_default() += 1;
                            "mempool:removed"
                        }
                        Mempool::Replaced(replaced) => {
                            replaced_fees += replaced.replaced_fee as u64;
                            "mempool:replaced"
                        }
                        Mempool::Rejected(_) => "mempool:rejected",
                    },
                ),
                Kind::Validation(event) => {
                    let Validation::BlockConnected(block) = event.event.unwrap();
                    blocks.push(block);
                    ("validation", "validation:block_connected")
                }
            };
            assert_eq!(subject, expected_subject);
            *counts.entry(tracepoint.to_owned()).or_default() += 1;
        }
        let mut expected = expected(&tally);
        for (key, (_, bytes)) in expected.iter_mut().filter(|(_, (_, bytes))| *bytes == u64::MAX) {
            *bytes = sums.get(key).map_or(0, |sum| sum.1);
        }
        assert_eq!(sums, expected);
        for (tracepoint, count) in tally.tracepoints() {
            let is_message = tracepoint.ends_with("bound_message");
            if !is_message && ["net:", "mempool:", "validation:"].iter().any(|context| tracepoint.starts_with(context))
            {
                assert_eq!(counts.get(&tracepoint).copied().unwrap_or(0), count, "{tracepoint}");
            }
        }
        assert_eq!(vsizes, tally.number("/mempool/added/vbytes"));
        assert_eq!(fees, tally.number("/mempool/added/fees"));
        assert_eq!(replaced_fees, tally.number("/mempool/replaced/fees"));
        assert_eq!(serde_json::to_value(&reasons).unwrap(), tally.0["mempool"]["removed"]["reasons"]);
        assert_eq!(
            blocks.iter().map(|block| block.transactions as u64).sum::<u64>(),
            tally.number("/validation/transactions")
        );
        assert_eq!(blocks.iter().map(|block| block.inputs as u64).sum::<u64>(), tally.number("/validation/inputs"));
        assert_eq!(blocks.iter().map(|block| block.sigops as u64).sum::<u64>(), tally.number("/validation/sigops"));
        assert_eq!(
            blocks.iter().map(|block| block.connection_time).sum::<u64>(),
            tally.number("/validation/duration_ns")
        );

        // What the schema cannot say is not lost.
        let others = lines(&messages);
        let undecodable = |(_, line): &(&Message, Value)| line["event"]["Msg"]["msg"]["Undecodable"].is_object();
        assert!(!others.is_empty() && others.iter().all(undecodable), "{others:?}");
        let subjects: BTreeSet<_> = others.iter().map(|(message, _)| &*message.subject).collect();
        assert!(subjects.iter().all(|subject| subject.starts_with("bitcointap.alice.net.")), "{subjects:?}");
    }
}
