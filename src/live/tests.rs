//! What snapshots show after given events and counters, at seconds that the test sets. Here: rates, the history and what happened. Peers
//! and runs have files of their own.

mod peers;
mod runs;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    event::net::ConnectionType,
    metrics::testing::{
        added, block, closed, closing, conn, conn_at, message, misbehaving, opened, opening, ping, rejected, removed,
        replaced, version, with_peer,
    },
    node::process::Chain,
    p2p,
    tracepoint::LossReason,
};

const SECOND: u64 = 1_000_000_000;
/// When the clock begins, by both clocks.
const START: u64 = 1_000;

/// A state and its clock.
struct Seen {
    live: Live,
    second: u64,
}

fn seen() -> Seen {
    hiding(false)
}

fn hiding(hides_addresses: bool) -> Seen {
    let mut seen = Seen { live: Live::new(Tracepoints::default_set(), hides_addresses), second: START };
    seen.at(START);
    seen
}

impl Seen {
    fn at(&mut self, second: u64) -> &mut Self {
        self.second = second;
        self.live.at(Time(second * SECOND), Moment(second * SECOND));
        self
    }

    fn tell(&mut self, kind: Kind<'_>) -> &mut Self {
        self.tell_after(Duration::ZERO, kind)
    }

    fn tell_after(&mut self, after: Duration, kind: Kind<'_>) -> &mut Self {
        let now = self.second * SECOND + after.as_nanos() as u64;
        self.live.observe(&Event { time: Time(now), moment: Moment(now), kind });
        self
    }

    fn peers(&self) -> Vec<i64> {
        self.live.snapshot().peers.iter().map(|peer| peer.id).collect()
    }

    fn attached(&mut self, words: &str) -> &mut Self {
        let run = Run {
            data_directory: Some("/data".into()),
            chain: Some(Chain::Signet),
            host: Some("host".into()),
            ..Run::new(7, "/usr/bin/bitcoind".into(), 900.5, words.parse().unwrap())
        };
        self.live.attached(&run);
        // As with the first batch.
        self.at(self.second)
    }

    fn detached(&mut self, added: &[Counters; Tracepoint::COUNT]) -> &mut Self {
        self.live.detached(&Counted { added: *added, untold: Vec::new() }, "the node has ended");
        self
    }
}

/// Counters in which each tracepoint fired `fired` times, and the first lost `lost` events.
fn counters(fired: u64, lost: u64) -> [Counters; Tracepoint::COUNT] {
    let mut counters = [Counters { fired, ..Counters::default() }; Tracepoint::COUNT];
    counters[0].lost[LossReason::RingFull as usize] = lost;
    counters
}

#[test]
fn commands_have_totals_and_rates_and_made_up_ones_are_one() {
    let mut seen = seen();
    for second in START..START + 20 {
        seen.at(second);
        for (inbound, command, size) in [(true, "inv", 37), (true, "inv", 73), (false, "inv", 5), (true, "zzz", 1)] {
            seen.tell(message(inbound, command, size, p2p::Message::Ping { value: 1 }));
        }
        seen.tell(message(true, "yyy", 2, p2p::Message::Ping { value: 1 }));
    }
    let rates = |messages: u32, bytes: u32| Rates {
        messages: u64::from(messages) * 20,
        bytes: u64::from(bytes) * 20,
        messages_per_second: messages.into(),
        bytes_per_second: bytes.into(),
    };
    seen.at(START + 20);
    assert_eq!(
        seen.live.snapshot().commands,
        [
            CommandRow { command: "inv", inbound: rates(2, 110), outbound: rates(1, 5) },
            CommandRow { command: "other", inbound: rates(2, 3), outbound: rates(0, 0) },
        ]
    );
}

#[test]
fn the_history_has_each_whole_second_and_no_more_than_three_minutes() {
    let mut seen = seen();
    seen.tell(message(true, "ping", 8, p2p::Message::Ping { value: 1 }))
        .tell(message(false, "tx", 300, p2p::Message::Ping { value: 1 }))
        .tell(opened(1))
        .tell(Kind::Conn {
            event: Connection::InboundEvicted { conn: conn(1, ConnectionType::Inbound, 1), time_established: 1 },
        })
        .tell(closed(1))
        .tell(added(1, 1))
        .tell(removed("block", 1))
        .tell(replaced(1, 500, 200))
        .tell(rejected("min relay fee not met"));
    seen.live.added(&counters(9, 0));
    assert_eq!(seen.live.snapshot().history, History::default(), "this second is not over");
    let history = seen.at(1_003).live.snapshot().history;
    let once = || vec![1, 0, 0];
    let expected = History {
        events_fired: vec![9 * Tracepoint::COUNT as u64, 0, 0],
        inbound_messages: once(),
        outbound_messages: once(),
        inbound_bytes: vec![8, 0, 0],
        outbound_bytes: vec![300, 0, 0],
        connections_opened: once(),
        connections_closed: once(),
        connections_evicted: once(),
        mempool_added: once(),
        mempool_removed: once(),
        mempool_replaced: once(),
        mempool_rejected: once(),
        events_lost: vec![0, 0, 0],
    };
    assert_eq!(history, expected);
    // The machine slept for a year.
    assert_eq!(seen.at(30_000_000).live.snapshot().history.inbound_messages, vec![0; 180]);
}

#[test]
fn another_machines_clock_in_a_recording_begins_anew() {
    let mut seen = seen();
    seen.tell(message(true, "ping", 8, p2p::Message::Ping { value: 1 })).at(1_001).at(5);
    seen.tell(message(true, "ping", 8, p2p::Message::Ping { value: 1 })).at(6);
    assert_eq!(seen.live.snapshot().history.inbound_messages, [1, 1]);
    assert_eq!(seen.live.snapshot().time, 6.0);
}

#[test]
fn what_happens_is_told_newest_first() {
    let mut seen = seen();
    seen.attached("default").tell(opened(1)).tell(block(900_000)).at(1_001);
    seen.tell(closed(1)).tell(rejected("dust")).tell(replaced(1, 500, 200)).detached(&counters(0, 0));
    let snapshot = seen.live.snapshot();
    let connection = |number, time, what: &str| {
        json!({"number": number, "time": time, "what": what, "id": 1, "address": "8.8.8.8:8333",
            "connection_type": "outbound-full-relay", "network": "ipv4"})
    };
    let mut closed = connection(4, 1_001.0, "closed");
    closed["lasted"] = 1.into();
    closed["user_agent"] = json!(null);
    assert_eq!(
        serde_json::to_value(&snapshot.connections).unwrap(),
        json!([
            {"number": 7, "time": 1_001.0, "what": "node_detached", "why": "the node has ended"},
            closed,
            connection(2, 1_000.0, "opened"),
            {"number": 1, "time": 1_000.0, "what": "node_attached", "pid": 7},
        ])
    );
    assert_eq!(
        serde_json::to_value(&snapshot.blocks).unwrap(),
        json!([{"number": 3, "time": 1_000.0, "what": "block_connected", "height": 900_000, "hash": "00".repeat(32),
            "transactions": 2_600, "connection_seconds": 0.15}])
    );
    assert_eq!(
        serde_json::to_value(&snapshot.mempool).unwrap(),
        json!([
            {"number": 6, "time": 1_001.0, "what": "replaced", "txid": "09".repeat(32), "fee": 200,
                "replacement": "01".repeat(32), "replacement_fee": 500},
            {"number": 5, "time": 1_001.0, "what": "rejected", "txid": "00".repeat(32), "reason": "dust"},
        ])
    );
    let expected = Totals {
        connections_opened: 1,
        connections_closed: 1,
        mempool_replaced: 1,
        mempool_rejected: 1,
        blocks_connected: 1,
        ..Totals::default()
    };
    assert_eq!(snapshot.totals, expected);
}

#[test]
fn the_tip_is_not_what_background_validation_connects() {
    let mut seen = seen();
    let tip = |seen: &Seen| seen.live.snapshot().tip.map(|tip| (tip.height, tip.time));
    seen.attached("default");
    assert_eq!(tip(&seen), None);
    seen.tell(block(900_000)).at(1_001).tell(block(229)).tell(block(230));
    assert_eq!(tip(&seen), Some((900_000, 1_000.0)));
    let newest = serde_json::to_value(&seen.live.snapshot().blocks[0]).unwrap();
    assert_eq!(newest["height"], 230);
    // Another run may be of another chain.
    seen.detached(&counters(0, 0));
    assert_eq!(tip(&seen), None);
}

#[test]
fn hidden_addresses_are_nowhere() {
    let told = |hides| {
        let mut seen = hiding(hides);
        seen.tell(opening(conn_at(1, ConnectionType::Inbound, 1, "8.8.8.8:1")))
            .tell(misbehaving("bad"))
            .tell(Kind::Conn {
                event: Connection::InboundEvicted { conn: conn(1, ConnectionType::Inbound, 1), time_established: 1 },
            })
            .tell(ping(true, 2, ConnectionType::Inbound, "8.8.8.8:2"))
            .tell(closed(3));
        serde_json::to_string(&seen.live.snapshot()).unwrap().matches("8.8.8.8").count()
    };
    assert_eq!((told(false), told(true)), (6, 0));
}

#[test]
fn counts_of_a_made_up_recording_end_at_the_largest_number() {
    let mut seen = seen();
    seen.attached("net");
    for _ in 0..2 {
        seen.live.added(&counters(u64::MAX, u64::MAX));
        seen.detached(&counters(u64::MAX, u64::MAX)).at(1_001).attached("net");
    }
    let events = seen.live.snapshot().events;
    assert_eq!((events.fired, events.lost), (u64::MAX, u64::MAX));
}

#[test]
fn peers_and_happenings_are_bounded() {
    let mut seen = seen();
    for peer_id in 0..10_000 {
        seen.tell(opened(peer_id)).tell(block(peer_id)).tell(rejected("dust"));
    }
    let snapshot = seen.live.snapshot();
    assert_eq!((snapshot.peers.len(), snapshot.peers_dropped, snapshot.peers[0].id), (4_096, 5_904, 5_904));
    assert_eq!((snapshot.connections.len(), snapshot.blocks.len(), snapshot.mempool.len()), (100, 20, 50));
    assert_eq!(snapshot.connections[0].number, 29_998);
}
