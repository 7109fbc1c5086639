use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    event::net::ConnectionType,
    metrics::testing::{
        added, block, closed, closing, conn, conn_at, message, misbehaving, opened, opening, ping, rejected, removed,
        replaced, version, with_peer,
    },
    p2p,
};

const SECOND: u64 = 1_000_000_000;
/// When it begins, by both clocks.
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
            pid: 7,
            program: "/usr/bin/bitcoind".into(),
            data_directory: Some("/data".into()),
            chain: Some(Chain::Signet),
            host: Some("host".into()),
            start_time: 900.5,
            attached: words.parse().unwrap(),
            failed: Tracepoints::default(),
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

/// In which each tracepoint fired so often, and the first lost so many.
fn counters(fired: u64, lost: u64) -> [Counters; Tracepoint::COUNT] {
    let mut counters = [Counters { fired, ..Counters::default() }; Tracepoint::COUNT];
    counters[0].lost[LossReason::RingFull as usize] = lost;
    counters
}

#[test]
fn a_peer_is_there_from_its_opening_to_its_closing() {
    let mut seen = seen();
    seen.tell(opening(conn_at(3, ConnectionType::Inbound, 2, "[2001:db8::1]:5"))).at(1_005);
    seen.tell(ping(true, 3, ConnectionType::Inbound, "[2001:db8::1]:5"));
    let [peer] = &seen.live.snapshot().peers[..] else { panic!("one peer") };
    let ping = Rates { messages: 1, bytes: 8, ..Rates::default() };
    let expected = Row {
        id: 3,
        address: Some("[2001:db8::1]:5".into()),
        connection_type: "inbound",
        network: "ipv6",
        opened: Some(1_000.0),
        seen: 1_000.0,
        inbound: ping,
        outbound: Rates::default(),
        ping: None,
        min_ping: None,
        user_agent: None,
        offences: 0,
    };
    assert_eq!(*peer, expected);
    seen.tell(closing(conn(3, ConnectionType::Inbound, 2)));
    assert!(seen.peers().is_empty());
}

#[test]
fn messages_make_peers_known_from_before_the_attachment_and_openings_say_more() {
    let mut seen = seen();
    seen.tell(ping(true, 5, ConnectionType::Inbound, "127.0.0.1:7")).at(1_002);
    let before = seen.live.snapshot().peers.remove(0);
    assert_eq!((before.network, before.opened, before.seen), ("unknown", None, 1_000.0));
    seen.tell(opening(conn_at(5, ConnectionType::Inbound, 3, "127.0.0.1:7")));
    let after = seen.live.snapshot().peers.remove(0);
    assert_eq!((after.network, after.opened, after.inbound.messages), ("onion", Some(1_002.0), 1));
}

#[test]
fn what_a_closed_peer_still_says_does_not_bring_it_back() {
    let mut seen = seen();
    seen.tell(opened(1)).tell(closed(1)).tell(with_peer(1, true, "verack", &[])).tell(opened(1));
    assert!(seen.peers().is_empty());
    seen.at(1_060).tell(with_peer(1, true, "verack", &[]));
    assert_eq!(seen.peers(), [1], "numbers are not used twice, but losses make anything possible");
}

#[test]
fn a_row_has_user_agent_pings_and_offences() {
    let [nonce, other] = [7u64, 8].map(u64::to_le_bytes);
    let ms = Duration::from_millis;
    let mut seen = seen();
    seen.tell(opened(1))
        .tell(with_peer(1, false, "version", &version("/ours/")))
        .tell(with_peer(1, true, "version", &version("/Satoshi:31.0.0/<b>")))
        .tell(with_peer(1, true, "version", &version("/a further one is ignored/")))
        .tell(with_peer(1, false, "ping", &nonce))
        .tell_after(ms(80), with_peer(1, true, "pong", &other))
        .tell_after(ms(80), with_peer(1, true, "pong", &nonce))
        .tell_after(ms(90), with_peer(1, true, "pong", &nonce));
    let peer = seen.live.snapshot().peers.remove(0);
    assert_eq!(peer.user_agent.as_deref(), Some("/Satoshi:31.0.0/<b>"));
    assert_eq!((peer.ping, peer.min_ping), (Some(0.08), Some(0.08)));
    seen.at(1_001)
        .tell(with_peer(1, false, "ping", &other))
        .tell_after(ms(250), with_peer(1, true, "pong", &other))
        .tell(misbehaving("bad"));
    let peer = seen.live.snapshot().peers.remove(0);
    assert_eq!((peer.ping, peer.min_ping, peer.offences), (Some(0.25), Some(0.08), 1));
}

#[test]
fn a_long_user_agent_is_cut_between_characters() {
    let mut seen = seen();
    let long = "ü".repeat(200);
    let payload = [&[0; 80][..], &[253, 144, 1], long.as_bytes(), &[0; 5]].concat();
    seen.tell(with_peer(1, true, "version", &payload));
    assert_eq!(seen.live.snapshot().peers[0].user_agent.as_deref(), Some(&long[..256]));
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
    // A machine that slept for a year.
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
fn the_nodes_end_is_the_end_of_its_peers_and_not_of_what_was_counted() {
    let mut seen = seen();
    let waiting = |seen: &Seen| seen.live.snapshot().waiting;
    assert_eq!(waiting(&seen).as_deref(), Some("looking for the node"));
    seen.live.waits("two run");
    assert_eq!(waiting(&seen).as_deref(), Some("two run"));
    seen.attached("net").tell(opened(1));
    let node = seen.live.snapshot().node.unwrap();
    assert_eq!((node.pid, node.start_time, node.attached.len()), (7, 900.5, 7));
    let of = [node.data_directory.as_deref(), node.chain, node.host.as_deref()];
    assert_eq!(of, ["/data", "signet", "host"].map(Some));
    let missing = (Tracepoints::default_set().iter().count()) - 7;
    assert_eq!((node.attached[0], node.missing.len()), ("net:inbound_message", missing));

    seen.live.added(&counters(5, 2));
    seen.detached(&counters(1, 1)).at(1_001);
    let snapshot = seen.live.snapshot();
    assert_eq!((&snapshot.node, snapshot.waiting.as_deref()), (&None, Some("the node has ended")));
    assert_eq!(snapshot.peers, []);
    let loss = |count| vec![Loss { tracepoint: "net:inbound_message", reason: "ring_full", count }];
    let all = Tracepoint::COUNT as u64;
    assert_eq!((snapshot.events.fired, snapshot.events.lost, snapshot.events.losses), (6 * all, 3, loss(3)));

    // The numbers of the next run's peers begin anew.
    seen.attached("net").tell(opened(1)).live.added(&counters(1, 1));
    let snapshot = seen.at(1_002).live.snapshot();
    assert_eq!((snapshot.events.fired, snapshot.events.lost, snapshot.events.losses), (7 * all, 4, loss(4)));
    assert_eq!(seen.peers(), [1]);
    assert_eq!(snapshot.history.events_lost, [3, 1]);
}

#[test]
fn the_node_says_its_version_to_its_peers() {
    let mut seen = seen();
    let agent = |seen: &Seen| seen.live.snapshot().node.and_then(|node| node.user_agent);
    seen.attached("net");
    let mut says = |inbound: bool, connection_type, user_agent: &str| {
        let payload = version(user_agent);
        let mut kind = with_peer(1, inbound, "version", &payload);
        if let Kind::Msg(message) = &mut kind {
            message.meta.conn_type = connection_type;
        }
        agent(seen.tell(kind))
    };
    // What a peer says, and what is said in its place to remain unknown.
    assert_eq!(says(true, ConnectionType::Inbound, "/Satoshi:0.1.0/"), None);
    assert_eq!(says(false, ConnectionType::PrivateBroadcast, "/pynode:0.0.1/"), None);
    assert_eq!(says(false, ConnectionType::Inbound, "/Satoshi:31.0.0/").as_deref(), Some("/Satoshi:31.0.0/"));
    // It belongs to the run.
    seen.detached(&counters(1, 0)).attached("net");
    assert_eq!(agent(&seen), None);
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

#[test]
fn a_peer_that_is_silent_for_half_an_hour_has_gone_where_messages_are_heard() {
    for (words, left) in [("net", vec![2]), ("net:inbound_message,net:closed_connection", vec![1, 2])] {
        let mut seen = seen();
        seen.attached(words).tell(opened(1));
        for minute in 0..=31 {
            seen.at(START + 60 * minute).tell(with_peer(2, true, "verack", &[]));
        }
        assert_eq!(seen.peers(), left, "{words}");
        assert_eq!(seen.live.snapshot().peers_dropped, 2 - left.len() as u64);
    }
}

#[test]
fn an_attachment_is_of_the_time_that_is_told_after_it() {
    let mut live = Live::new(Tracepoints::default_set(), false);
    live.attached(&Run::new(7, "/bitcoind".into(), 900.0, "net".parse().unwrap()));
    let snapshot = live.snapshot();
    assert_eq!((snapshot.node, snapshot.connections, snapshot.waiting.as_deref()), (None, vec![], Some("attaching")));
    live.at(Time(2_000 * SECOND), Moment(5 * SECOND));
    let snapshot = live.snapshot();
    let [attached] = &snapshot.connections[..] else { panic!("it is told once") };
    assert_eq!((attached.time, &attached.what), (2_000.0, &Happened::NodeAttached { pid: 7 }));
    assert_eq!(snapshot.node.map(|node| node.attached_time), Some(2_000.0));
    live.at(Time(2_001 * SECOND), Moment(6 * SECOND));
    assert_eq!(live.snapshot().connections.len(), 1);
}

/// What is said of tracepoints, and of peers.
fn unseen(live: &Live, names: &[&str]) -> Vec<Option<String>> {
    let sight = live.snapshot().sight;
    names.iter().map(|&name| sight.unseen.get(name).cloned()).collect()
}

#[test]
fn what_cannot_be_seen_says_why() {
    let names = ["net:inbound_message", "net:closed_connection", "mempool:added", "validation:block_connected"];
    let words = |words: [Option<&str>; 4]| words.map(|it| it.map(str::to_owned)).to_vec();
    let mut seen = seen();
    assert_eq!(unseen(&seen.live, &names), words([Some("not attached"); 4]));
    seen.attached("net:inbound_message,net:outbound_message,mempool");
    assert_eq!(unseen(&seen.live, &names), words([None, Some("needs v29"), None, Some("needs v23")]));
    seen.detached(&counters(1, 0));
    assert_eq!(unseen(&seen.live, &names), words([Some("not attached"); 4]));

    let mut live = Live::new("net".parse().unwrap(), false).of_recording();
    let attached = "net:inbound_message,net:inbound_connection".parse().unwrap();
    live.attached(&Run { failed: Tracepoints::default(), ..Run::new(7, "/bitcoind".into(), 0.0, attached) });
    live.at(Time(SECOND), Moment(SECOND));
    let expected = [None, Some("not recorded"), Some("not selected (--events)"), Some("not selected (--events)")];
    assert_eq!(unseen(&live, &names), words(expected));
    assert!(live.snapshot().replay);

    let mut live = Live::new(Tracepoints::default_set(), false);
    let failed = "mempool:added".parse().unwrap();
    live.attached(&Run { failed, ..Run::new(7, "/bitcoind".into(), 0.0, "net".parse().unwrap()) });
    assert_eq!(unseen(&live, &names[2..3]), [Some("could not be attached to: see the log".to_owned())]);
}

#[test]
fn it_is_said_why_there_may_be_other_peers() {
    let notes = |events: &str, passed: u64| {
        let mut seen = seen();
        seen.attached(events).at(START + passed);
        seen.live.snapshot().sight.peers
    };
    let older = "older peers appear with their first message, about two minutes";
    assert_eq!(notes("net", 100), [older]);
    assert_eq!(notes("net", 151), [""; 0]);
    let messages = "net:inbound_message,net:outbound_message";
    let stay = "who left stays for up to 30 minutes (closings: needs v29)";
    assert_eq!(notes(messages, 100), [older, stay]);
    assert_eq!(notes("mempool", 100), ["needs v23"]);
    assert_eq!(notes("net:inbound_connection,net:closed_connection", 0), ["none from before (messages: needs v23)"]);
    // A node that was started a moment before has none from before.
    let mut live = Live::new(Tracepoints::default_set(), false);
    live.attached(&Run::new(7, "/bitcoind".into(), 999.0, "net".parse().unwrap()));
    live.at(Time(START * SECOND), Moment(START * SECOND));
    assert_eq!(live.snapshot().sight.peers, [""; 0]);
}

#[test]
fn peers_are_counted_by_network_and_direction() {
    let mut seen = seen();
    for (peer, connection_type, network) in [
        (1, ConnectionType::Inbound, 1),
        (2, ConnectionType::Inbound, 3),
        (3, ConnectionType::BlockRelayOnly, 1),
        (4, ConnectionType::Manual, 0),
        (5, ConnectionType::OutboundFullRelay, 5),
    ] {
        seen.tell(opening(conn(peer, connection_type, network)));
    }
    let networks = seen.live.snapshot().networks;
    let counted: Vec<_> = networks.networks.iter().map(|it| (it.network, it.inbound, it.outbound)).collect();
    let expected = [("ipv4", 1, 1), ("ipv6", 0, 0), ("onion", 1, 0), ("i2p", 0, 0), ("cjdns", 0, 1), ("npr", 0, 1)];
    assert_eq!(counted, expected);
    assert_eq!((networks.block_relay, networks.manual), (1, 1));
}

#[test]
fn what_a_run_of_a_recording_ends_with_is_there_until_the_next_begins() {
    let mut live = Live::new(Tracepoints::default_set(), false).of_recording();
    let mut seen = {
        live.attached(&Run::new(7, "/bitcoind".into(), 900.0, "net".parse().unwrap()));
        live.at(Time(START * SECOND), Moment(START * SECOND));
        Seen { live, second: START }
    };
    seen.tell(opened(1)).detached(&counters(5, 0));
    seen.live.over();
    let snapshot = seen.live.snapshot();
    assert_eq!((snapshot.over, snapshot.node.map(|node| node.pid), seen.peers()), (true, Some(7), vec![1]));
    assert_eq!(snapshot.events.fired, 5 * Tracepoint::COUNT as u64);
    assert_eq!(unseen(&seen.live, &["net:inbound_message", "mempool:added"]), [None, Some("not recorded".to_owned())]);
    seen.attached("net");
    let snapshot = seen.live.snapshot();
    let happened: Vec<_> = snapshot.connections.iter().map(|it| &it.what).collect();
    assert!(matches!(happened[..2], [Happened::NodeAttached { .. }, Happened::NodeDetached { .. }]), "{happened:?}");
    assert_eq!(seen.peers(), [0; 0]);
}
