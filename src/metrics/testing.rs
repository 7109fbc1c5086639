//! For tests: events to feed, and metrics as lines.

use std::{sync::LazyLock, time::Duration};

use bitcoin::{
    Amount, BlockHash, CompactTarget, ScriptBuf, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    absolute::LockTime,
    block::{Header, Version},
    consensus::serialize,
    hashes::Hash as _,
    transaction,
};
use prometheus::{Registry, TextEncoder, core::Collector};

use super::{AddressList, Metrics, Options};
use crate::{
    address_set::AddressSet,
    event::{
        Event, Kind, Moment, Time,
        mempool::Mempool,
        net::{Conn, Connection, ConnectionType, Message, Meta},
        validation::Validation,
    },
    json::Hash,
    p2p,
    tracepoint::Tracepoints,
};

pub(crate) static OPTIONS: LazyLock<Options> = LazyLock::new(|| Options {
    max_free_form_values: 3,
    tx_response: true,
    json_sinks: ["file", "socket", "stdout"].map(String::from).into(),
    utxocache_coins: true,
    address_lists: Vec::new(),
});

/// The defaults with all that can be asked for, but for lists of addresses.
pub(crate) static EVERYTHING: LazyLock<Options> = LazyLock::new(|| Options {
    max_free_form_values: 100,
    tx_response: true,
    json_sinks: ["file", "http"].map(String::from).into(),
    utxocache_coins: true,
    address_lists: Vec::new(),
});

/// The same with one list.
pub(crate) fn everything_and_a_list() -> Options {
    let list = AddressList { name: "example".into(), addresses: AddressSet::default() };
    Options { address_lists: vec![list], ..EVERYTHING.clone() }
}

/// In nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// A moment of the clock of durations.
pub(crate) fn moment(second: u64) -> Moment {
    Moment(second * SECOND)
}

pub(crate) fn text_of(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

/// The series of one family.
pub(crate) fn lines_of(family: Box<dyn Collector>) -> Vec<String> {
    let registry = Registry::new();
    registry.register(family).unwrap();
    series(&text_of(&registry))
}

fn series(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Metrics that receive one event after another, each a second later.
pub(crate) struct Told {
    pub(crate) metrics: Metrics,
    pub(crate) second: u64,
    /// When the last one came, in nanoseconds.
    last: u64,
    /// By how much the wall clock was set forwards, in seconds.
    set_forwards: u64,
}

impl Told {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, second: 1_000, last: 0, set_forwards: 0 }
    }

    pub(crate) fn tell(&mut self, kind: Kind<'_>) -> &mut Self {
        self.last = self.second * SECOND;
        self.tell_now(kind)
    }

    /// This long after the one before.
    pub(crate) fn tell_after(&mut self, after: Duration, kind: Kind<'_>) -> &mut Self {
        self.last += after.as_nanos() as u64;
        self.tell_now(kind)
    }

    /// From now on the wall clock shows this much more.
    pub(crate) fn set_clock_forwards(&mut self, seconds: u64) -> &mut Self {
        self.set_forwards += seconds;
        self
    }

    fn tell_now(&mut self, kind: Kind<'_>) -> &mut Self {
        self.metrics.observe(&Event {
            time: Time(self.last + self.set_forwards * SECOND),
            moment: Moment(self.last),
            kind,
        });
        self.second = self.last / SECOND + 1;
        self
    }

    /// An event at a second of its own.
    pub(crate) fn tell_at(&mut self, second: u64, kind: Kind<'_>) -> &mut Self {
        self.second = second;
        self.tell(kind)
    }

    /// The series of a family that are not 0, without its name; `None` if the family is absent.
    pub(crate) fn family(&self, name: &str) -> Option<Vec<String>> {
        let text = text_of(&self.metrics.registry());
        text.contains(&format!("# TYPE bitcointap_{name} ")).then(|| {
            let ends = |rest: &str| ["{", " ", "_bucket{", "_sum", "_count"].iter().any(|end| rest.starts_with(end));
            let named = series(&text).into_iter().filter_map(|line| {
                let rest = line.strip_prefix("bitcointap_")?.strip_prefix(name)?;
                (ends(rest) && !rest.ends_with(" 0")).then(|| rest.trim_start().to_owned())
            });
            named.collect()
        })
    }

    #[track_caller]
    pub(crate) fn assert(&self, name: &str, expected: &[&str]) -> &Self {
        assert_eq!(self.family(name).expect("the family is there"), expected, "{name}");
        self
    }
}

/// All families that events feed by default.
pub(crate) fn told() -> Told {
    told_with(&OPTIONS)
}

/// The same with other options.
pub(crate) fn told_with(options: &Options) -> Told {
    Told::new(Metrics::new(Tracepoints::default_set(), options))
}

/// The families that these tracepoints feed.
pub(crate) fn only(words: &str) -> Told {
    Told::new(Metrics::new(words.parse().unwrap(), &OPTIONS))
}

pub(crate) fn message<'a>(inbound: bool, command: &'a str, size: u64, msg: p2p::Message<'a>) -> Kind<'a> {
    let conn_type = ConnectionType::OutboundFullRelay;
    Kind::Msg(Message { meta: Meta::new(1, "8.8.8.8:8333", conn_type, command, inbound, size), msg, payload: None })
}

/// A message with this peer.
pub(crate) fn with_peer<'a>(peer_id: i64, inbound: bool, command: &'a str, payload: &'a [u8]) -> Kind<'a> {
    let conn_type = ConnectionType::OutboundFullRelay;
    let (addr, size) = ("8.8.8.8:8333", payload.len() as u64);
    let meta = Meta::new(peer_id, addr, conn_type, command, inbound, size);
    Kind::Msg(Message { meta, msg: p2p::decode(command, payload), payload: Some(payload) })
}

pub(crate) fn opened(peer_id: i64) -> Kind<'static> {
    let conn = conn(peer_id, ConnectionType::OutboundFullRelay, 1);
    Kind::Conn { event: Connection::Outbound { conn, existing_connections: 1 } }
}

pub(crate) fn closed(peer_id: i64) -> Kind<'static> {
    let conn = conn(peer_id, ConnectionType::OutboundFullRelay, 1);
    Kind::Conn { event: Connection::Closed { conn, time_established: 1_000 } }
}

pub(crate) fn version(user_agent: &str) -> Vec<u8> {
    let mut payload = vec![0; 4 + 8 + 8 + 26 + 26 + 8];
    payload.push(user_agent.len() as u8);
    payload.extend_from_slice(user_agent.as_bytes());
    payload.extend_from_slice(&[0; 5]);
    payload
}

pub(crate) fn conn(peer_id: i64, conn_type: ConnectionType, network: u32) -> Conn<'static> {
    Conn { peer_id, addr: "8.8.8.8:8333".into(), conn_type, network }
}

/// A connection with a peer at that address.
pub(crate) fn conn_at(peer_id: i64, conn_type: ConnectionType, network: u32, addr: &str) -> Conn<'_> {
    Conn { peer_id, addr: addr.into(), conn_type, network }
}

/// An opening, inbound or outbound as its type says; the node has 9 of them.
pub(crate) fn opening(conn: Conn<'_>) -> Kind<'_> {
    let event = match conn.conn_type {
        ConnectionType::Inbound => Connection::Inbound { conn, existing_connections: 9 },
        _ => Connection::Outbound { conn, existing_connections: 9 },
    };
    Kind::Conn { event }
}

pub(crate) fn closing(conn: Conn<'_>) -> Kind<'_> {
    Kind::Conn { event: Connection::Closed { conn, time_established: 1 } }
}

/// A ping from or to a peer.
pub(crate) fn ping(inbound: bool, peer_id: i64, conn_type: ConnectionType, addr: &str) -> Kind<'_> {
    let meta = Meta::new(peer_id, addr, conn_type, "ping", inbound, 8);
    Kind::Msg(Message { meta, msg: p2p::Message::Ping { value: 1 }, payload: None })
}

pub(crate) fn replaced(by: u8, replacement_fee: i64, replaced_fee: i64) -> Kind<'static> {
    Kind::Mempool {
        event: Mempool::Replaced {
            replaced_txid: Hash([9; 32]),
            replaced_vsize: 200,
            replaced_fee,
            replaced_entry_time: 1,
            replacement_txid: Hash([by; 32]),
            replacement_vsize: 100,
            replacement_fee,
            replacement_is_txid: true,
        },
    }
}

pub(crate) fn added(vsize: i64, fee: i64) -> Kind<'static> {
    Kind::Mempool { event: Mempool::Added { txid: Hash([0; 32]), vsize, fee } }
}

pub(crate) fn removed(reason: &str, entry_time: u64) -> Kind<'_> {
    Kind::Mempool {
        event: Mempool::Removed { txid: Hash([0; 32]), reason: reason.into(), vsize: 150, fee: 300, entry_time },
    }
}

pub(crate) fn rejected(reason: &str) -> Kind<'_> {
    Kind::Mempool { event: Mempool::Rejected { txid: Hash([0; 32]), reason: reason.into() } }
}

pub(crate) fn misbehaving(reason: &str) -> Kind<'_> {
    Kind::Conn {
        event: Connection::Misbehaving {
            id: 1,
            score_before: 0,
            score_increase: 0,
            xmessage: reason.into(),
            threshold_exceeded: false,
        },
    }
}

pub(crate) fn block(height: i64) -> Kind<'static> {
    connected([0; 32], height)
}

pub(crate) fn connected(hash: [u8; 32], height: i64) -> Kind<'static> {
    Kind::Validation {
        event: Validation::BlockConnected {
            hash: Hash(hash),
            height,
            transactions: 2_600,
            inputs: 6_500,
            sigops: 9_000,
            connection_time: 150_000_000,
        },
    }
}

/// A histogram's buckets from the first that is not empty on.
fn buckets(label: &str, bounds: &[&str]) -> Vec<String> {
    bounds.iter().map(|bound| format!("_bucket{{{label}le=\"{bound}\"}} 1")).collect()
}

#[track_caller]
pub(crate) fn assert_histogram_of_one(told: &Told, name: &str, label: &str, bounds: &[&str], sum: f64) {
    let mut expected = buckets(label, bounds);
    let labels = label.trim_end_matches(',');
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    expected.extend([format!("_sum{labels} {sum}"), format!("_count{labels} 1")]);
    told.assert(name, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A made-up header, different for each time.
pub(crate) fn header_after(prev_blockhash: BlockHash, time: u32) -> Header {
    Header {
        version: Version::TWO,
        prev_blockhash,
        merkle_root: TxMerkleNode::all_zeros(),
        time,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    }
}

/// A payload with these headers.
pub(crate) fn headers_of(headers: &[Header]) -> Vec<u8> {
    let mut payload = vec![headers.len() as u8];
    for header in headers {
        payload.extend(serialize(header));
        payload.push(0);
    }
    payload
}

pub(crate) fn block_of(header: Header) -> Vec<u8> {
    [serialize(&header), vec![0]].concat()
}

pub(crate) fn compact_of(header: Header) -> Vec<u8> {
    [serialize(&header), vec![0; 8 + 1 + 1]].concat()
}

pub(crate) fn segwit_transaction() -> Transaction {
    let input = TxIn { witness: Witness::from_slice(&[[7; 64]]), ..TxIn::default() };
    let output = TxOut { value: Amount::from_sat(7), script_pubkey: ScriptBuf::new() };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}
