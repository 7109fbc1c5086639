//! For tests: what a made-up node does.

use std::borrow::Cow;

use bitcointap::{
    capture::{Counted, Run},
    event::{
        Event, Kind, Moment, Time,
        mempool::Mempool,
        net::{Conn, Connection, ConnectionType, Message, Meta},
        validation::Validation,
    },
    json::Hash,
    live::{Live, Snapshot},
    p2p,
    tracepoint::Tracepoints,
};

const SECOND: u64 = 1_000_000_000;
/// 16:18:59 UTC.
pub const START: u64 = 1_795_364_339;

pub struct Node {
    live: Live,
    second: u64,
}

impl Node {
    pub fn new() -> Self {
        Self::with(Tracepoints::default_set())
    }

    /// A node with these tracepoints, of the default ones.
    pub fn with(attached: Tracepoints) -> Self {
        let mut live = Live::new(Tracepoints::default_set(), false);
        live.attached(&Run::new(7, "/bitcoind".into(), START as f64 - 60.0, attached));
        let mut node = Self { live, second: START };
        node.pass(0);
        node
    }

    /// It ends, and no other is found.
    pub fn wait_for(&mut self, why: &str) {
        self.live.detached(&Counted::default(), "the node has ended");
        self.live.waits(why);
    }

    pub fn pass(&mut self, seconds: u64) {
        self.second += seconds;
        self.live.at(Time(self.second * SECOND), Moment(self.second * SECOND));
    }

    pub fn tell(&mut self, kind: Kind<'_>) {
        let (time, moment) = (Time(self.second * SECOND), Moment(self.second * SECOND));
        self.live.observe(&Event { time, moment, kind });
    }

    pub fn open(&mut self, peer_id: i64, addr: &str, conn_type: ConnectionType, network: u32) {
        let conn = Conn { peer_id, addr: Cow::Borrowed(addr), conn_type, network };
        self.tell(Kind::Conn { event: Connection::Inbound { conn, existing_connections: 0 } });
    }

    pub fn message(&mut self, peer_id: i64, command: &str, inbound: bool, size: u64, msg: p2p::Message<'_>) {
        let addr = Cow::Borrowed("");
        let meta = Meta::new(peer_id, addr, ConnectionType::Inbound, command, inbound, size);
        self.tell(Kind::Msg(Message { meta, msg, payload: None }));
    }

    pub fn says_to_be(&mut self, peer_id: i64, user_agent: &str) {
        let mut payload = vec![0; 80];
        payload.push(user_agent.len() as u8);
        payload.extend(user_agent.as_bytes());
        payload.extend([0; 5]);
        self.message(peer_id, "version", true, 100, p2p::decode("version", &payload));
    }

    pub fn snapshot(&self) -> Snapshot {
        self.live.snapshot()
    }
}

/// Four peers: the first is the oldest and of Tor, the second floods, the third announces blocks, and the fourth sends
/// nothing.
pub fn busy() -> Snapshot {
    let onion = "xa4r2iadxm55fbnqgwwi5mymqdcofiu3w6rpbtqn7b2dyn7mgwj64jyd.onion:8333";
    let mut node = Node::new();
    node.open(0, onion, ConnectionType::Inbound, 3);
    node.says_to_be(0, "/Satoshi:29.0.0/");
    node.pass(60);
    node.open(1, "192.0.2.1:50333", ConnectionType::OutboundFullRelay, 1);
    node.says_to_be(1, "/\x1b[31mred\u{202e}/");
    node.pass(30);
    node.open(2, "[2001:db8::2]:8333", ConnectionType::BlockRelayOnly, 2);
    node.pass(20);
    node.open(3, "[2001:db8::3]:8333", ConnectionType::OutboundFullRelay, 2);
    for number in 0..40 {
        node.message(1, "ping", true, 8, p2p::Message::Ping { value: number });
        node.message(1, "inv", true, 3_700, p2p::Message::Ping { value: number });
    }
    for value in 0..3 {
        node.message(0, "ping", true, 8, p2p::Message::Ping { value });
        node.message(0, "pong", false, 8, p2p::Message::Pong { value });
        node.message(0, "tx", false, 300, p2p::Message::Ping { value });
    }
    node.message(2, "cmpctblock", false, 12_000, p2p::Message::Ping { value: 1 });
    let conn = Conn { peer_id: 9, addr: Cow::Borrowed("192.0.2.9:1"), conn_type: ConnectionType::Inbound, network: 1 };
    node.tell(Kind::Conn { event: Connection::InboundEvicted { conn, time_established: START } });
    for number in 0..25 {
        node.tell(Kind::Mempool { event: Mempool::Added { txid: Hash([number; 32]), vsize: 141, fee: 500 } });
    }
    let reason = Cow::Borrowed("min relay fee not met\x1b[2J");
    node.tell(Kind::Mempool { event: Mempool::Rejected { txid: Hash([7; 32]), reason } });
    let block = Validation::BlockConnected {
        hash: Hash([0; 32]),
        height: 896_001,
        transactions: 2_931,
        inputs: 7_000,
        sigops: 9_000,
        connection_time: 48_000_000,
    };
    node.tell(Kind::Validation { event: block });
    node.pass(2);
    node.snapshot()
}
