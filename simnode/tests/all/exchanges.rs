//! What several events say together: its tally is right, all of it comes soon, and answers take their time.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{
    hashes::Hash,
    p2p::{message::NetworkMessage, message_blockdata::Inventory},
};
use serde_json::{Value, json};

use crate::{
    payloads::decode,
    recorder::{Event, play},
};

const TYPES: [&str; 7] =
    ["inbound", "outbound-full-relay", "block-relay-only", "manual", "feeler", "addr-fetch", "private-broadcast"];

/// What is asked for: a hash of a transaction or a block.
type Asked = (&'static str, [u8; 32]);

/// The request for an item of getdata.
fn asked_for(item: &Inventory) -> Option<Asked> {
    let tx = |hash| Some(("getdata_tx", hash));
    let block = |hash| Some(("getdata_block", hash));
    match *item {
        Inventory::Transaction(id) | Inventory::WitnessTransaction(id) => tx(id.to_byte_array()),
        Inventory::WTx(id) => tx(id.to_byte_array()),
        Inventory::Block(id) | Inventory::WitnessBlock(id) | Inventory::CompactBlock(id) => block(id.to_byte_array()),
        Inventory::Unknown { inv_type: 3, hash } => block(hash),
        _ => None,
    }
}

/// Takes the events one by one, as a reader of the definitions would.
#[derive(Default)]
struct Reader {
    /// By peer, responder and what is asked.
    open: BTreeSet<(i64, &'static str, Asked)>,
    locators: BTreeMap<(i64, &'static str), BTreeSet<[u8; 32]>>,
    outcomes: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    pings: BTreeSet<(i64, u64)>,
    pongs: u64,
    without_verack: BTreeSet<i64>,
    handshakes: BTreeMap<String, u64>,
    silent: BTreeSet<i64>,
    closed_hosts: BTreeSet<String>,
    /// Address and type of the last closing, and whether it was silent.
    closed: BTreeMap<(String, String), bool>,
    reconnections: BTreeMap<String, u64>,
    retries: u64,
    announced: BTreeSet<[u8; 32]>,
    compact: BTreeSet<[u8; 32]>,
    whole: BTreeSet<[u8; 32]>,
    transactions_requested: BTreeSet<[u8; 32]>,
    connected: BTreeSet<[u8; 32]>,
    announced_connected: u64,
    heights: BTreeSet<i32>,
    reorganised: u64,
    results: BTreeMap<&'static str, u64>,
}

impl Reader {
    fn ends(&mut self, request: &'static str, responder: &'static str, outcome: &'static str) {
        *self.outcomes.entry((request, responder, outcome)).or_default() += 1;
    }

    /// Whether it was open.
    fn settle(&mut self, id: i64, responder: &'static str, asked: Asked, outcome: &'static str) -> bool {
        let was_open = self.open.remove(&(id, responder, asked));
        if was_open {
            self.ends(asked.0, responder, outcome);
        }
        was_open
    }

    fn message(&mut self, inbound: bool, id: i64, connection_type: &str, message: &NetworkMessage) {
        let (asks, answers) = if inbound { ("node", "peer") } else { ("peer", "node") };
        match message {
            NetworkMessage::Ping(nonce) if !inbound => _ = self.pings.insert((id, *nonce)),
            NetworkMessage::Pong(nonce) if inbound => self.pongs += u64::from(self.pings.remove(&(id, *nonce))),
            NetworkMessage::Verack if inbound && self.without_verack.remove(&id) => {
                *self.handshakes.entry(connection_type.to_owned()).or_default() += 1;
            }
            NetworkMessage::GetData(items) => {
                self.open.extend(items.iter().filter_map(asked_for).map(|asked| (id, asks, asked)));
            }
            NetworkMessage::NotFound(items) => {
                for asked in items.iter().filter_map(asked_for) {
                    self.settle(id, answers, asked, "notfound");
                }
            }
            NetworkMessage::Tx(tx) => {
                self.settle(id, answers, ("getdata_tx", tx.compute_txid().to_byte_array()), "answered");
                self.settle(id, answers, ("getdata_tx", tx.compute_wtxid().to_byte_array()), "answered");
            }
            NetworkMessage::Inv(items) if inbound => {
                let blocks = items.iter().filter_map(|item| match item {
                    Inventory::Block(hash) => Some(hash.to_byte_array()),
                    _ => None,
                });
                self.announced.extend(blocks);
            }
            NetworkMessage::GetHeaders(request) => {
                let locator = request.locator_hashes.iter().map(|hash| hash.to_byte_array()).collect();
                if self.locators.insert((id, asks), locator).is_some() {
                    self.ends("getheaders", asks, "repeated");
                }
            }
            NetworkMessage::Headers(headers) => {
                let first = headers.first().map(|first| first.prev_blockhash.to_byte_array());
                let locator = self.locators.get(&(id, answers));
                if locator.is_some_and(|locator| first.is_none_or(|first| locator.contains(&first))) {
                    self.locators.remove(&(id, answers));
                    self.ends("getheaders", answers, "answered");
                } else if inbound {
                    self.announced.extend(headers.iter().map(|header| header.block_hash().to_byte_array()));
                }
            }
            NetworkMessage::GetBlockTxn(request) => {
                let hash = request.txs_request.block_hash.to_byte_array();
                self.open.insert((id, asks, ("getblocktxn", hash)));
                if !inbound {
                    self.transactions_requested.insert(hash);
                }
            }
            NetworkMessage::BlockTxn(answer) => {
                let hash = answer.transactions.block_hash.to_byte_array();
                self.settle(id, answers, ("getblocktxn", hash), "answered");
            }
            NetworkMessage::Block(block) => {
                let hash = block.block_hash().to_byte_array();
                self.settle(id, answers, ("getdata_block", hash), "answered");
                self.settle(id, answers, ("getblocktxn", hash), "answered");
                if inbound {
                    self.whole.insert(hash);
                }
            }
            NetworkMessage::MerkleBlock(part) => {
                let hash = part.header.block_hash().to_byte_array();
                self.settle(id, answers, ("getdata_block", hash), "answered");
            }
            NetworkMessage::CmpctBlock(block) => {
                let hash = block.compact_block.header.block_hash().to_byte_array();
                let solicited = self.settle(id, answers, ("getdata_block", hash), "answered");
                if inbound && !solicited {
                    self.announced.insert(hash);
                }
                if inbound && !self.connected.contains(&hash) {
                    self.compact.insert(hash);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, event: &Event) {
        match event {
            Event::Message { inbound, id, connection_type, command, payload, .. } => {
                if *inbound {
                    self.silent.remove(id);
                }
                if let Some(message) = decode(command, payload) {
                    self.message(*inbound, *id, connection_type, &message);
                }
            }
            Event::Opened { inbound, id, address, connection_type, network, .. } => {
                self.without_verack.insert(*id);
                if host(address, connection_type, *network).is_some_and(|it| self.closed_hosts.contains(&it)) {
                    *self.reconnections.entry(connection_type.clone()).or_default() += 1;
                }
                if !inbound {
                    self.silent.insert(*id);
                    let silently = self.closed.remove(&(address.clone(), connection_type.clone()));
                    self.retries += u64::from(silently == Some(true));
                }
            }
            Event::Closed { id, address, connection_type, network, .. } => {
                self.without_verack.remove(id);
                self.closed_hosts.extend(host(address, connection_type, *network));
                self.closed.insert((address.clone(), connection_type.clone()), self.silent.remove(id));
                let open: Vec<_> = self.open.iter().filter(|open| open.0 == *id).copied().collect();
                for (id, responder, asked) in open {
                    self.settle(id, responder, asked, "closed");
                }
                for responder in ["peer", "node"] {
                    if self.locators.remove(&(*id, responder)).is_some() {
                        self.ends("getheaders", responder, "closed");
                    }
                }
                self.pings.retain(|ping| ping.0 != *id);
            }
            Event::Block { hash, height, .. } => {
                self.connected.insert(*hash);
                // Only a reorganisation connects a height twice.
                let is_new = self.heights.insert(*height);
                self.announced_connected += u64::from(is_new && self.announced.contains(hash));
                self.reorganised += u64::from(!is_new);
                if self.compact.remove(hash) {
                    let result = match (self.whole.contains(hash), self.transactions_requested.contains(hash)) {
                        (true, _) => "full_block",
                        (false, true) => "requested_transactions",
                        (false, false) => "from_mempool",
                    };
                    *self.results.entry(result).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// As the report has it.
    fn report(mut self) -> Value {
        for (_, responder, asked) in std::mem::take(&mut self.open) {
            self.ends(asked.0, responder, "open");
        }
        for (_, responder) in std::mem::take(&mut self.locators).into_keys() {
            self.ends("getheaders", responder, "open");
        }
        let mut rows = Vec::new();
        for request in ["getdata_tx", "getdata_block", "getheaders", "getblocktxn"] {
            for responder in ["peer", "node"] {
                let number = |outcome| self.outcomes.get(&(request, responder, outcome)).copied().unwrap_or(0);
                rows.push(json!({
                    "request": request, "responder": responder, "answered": number("answered"),
                    "notfound": number("notfound"), "closed": number("closed"), "repeated": number("repeated"),
                    "open": number("open"),
                }));
            }
        }
        let result = |name| self.results.get(name).copied().unwrap_or(0);
        json!({
            "pings_answered": self.pongs,
            "handshakes_completed": self.handshakes,
            "requests": rows,
            "compact_blocks": {
                "from_mempool": result("from_mempool"),
                "requested_transactions": result("requested_transactions"),
                "full_block": result("full_block"),
                "unfinished": self.compact.len(),
            },
            "announced_blocks_connected": self.announced_connected,
            "reorganised_blocks": self.reorganised,
            "reconnections": self.reconnections,
            "transport_retries": self.retries,
        })
    }
}

/// Without the port, if hosts differ without it.
fn host(address: &str, connection_type: &str, network: u32) -> Option<String> {
    const UNROUTABLE: u32 = 0;
    const ONION: u32 = 3;
    const INTERNAL: u32 = 6;
    let shares = [UNROUTABLE, INTERNAL].contains(&network) || (network == ONION && connection_type == "inbound");
    (!shares).then(|| address.rsplit_once(':').unwrap().0.to_owned())
}

#[test]
fn the_tally_of_exchanges_is_what_was_fired() {
    for (scenario, count) in [("mix", 40_000), ("churn", 20_000), ("blocks", 300), ("flood", 1_000)] {
        for seed in [1, 2] {
            let (events, report) = play(scenario, seed, count);
            let mut reader = Reader::default();
            for event in &events {
                reader.read(event);
            }
            let tallied = serde_json::to_value(&report.exchanges).unwrap();
            assert_eq!(tallied, reader.report(), "{scenario} of seed {seed}");
        }
    }
}

#[test]
fn the_first_20_000_events_of_the_mix_have_every_kind_of_exchange() {
    // Chance may leave the rarest out of one.
    let mut seeds_with = BTreeMap::<_, u32>::new();
    for seed in 1..5 {
        let (_, report) = play("mix", seed, 20_000);
        let exchanges = serde_json::to_value(&report.exchanges).unwrap();
        let number = |path: &str| exchanges.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        assert!(number("/pings_answered") > 100, "seed {seed}");
        // Bitcoin Core closes a feeler once it has the peer's version.
        for name in TYPES.iter().filter(|name| **name != "feeler") {
            assert!(number(&format!("/handshakes_completed/{name}")) > 0, "{name} in seed {seed}");
        }
        for result in ["from_mempool", "requested_transactions", "full_block", "unfinished"] {
            assert!(number(&format!("/compact_blocks/{result}")) > 0, "{result} in seed {seed}");
        }
        assert!(number("/announced_blocks_connected") >= 6, "seed {seed}");
        for name in ["inbound", "outbound-full-relay"] {
            assert!(number(&format!("/reconnections/{name}")) > 0, "{name} in seed {seed}");
        }
        assert!(number("/transport_retries") > 0, "seed {seed}");
        for (request, responder, outcomes) in [
            ("getdata_tx", "peer", &["answered", "notfound", "closed"][..]),
            ("getdata_tx", "node", &["answered", "notfound"]),
            ("getdata_block", "peer", &["answered", "closed"]),
            ("getdata_block", "node", &["answered", "closed"]),
            ("getheaders", "peer", &["answered", "closed", "repeated"]),
            ("getheaders", "node", &["answered"]),
            ("getblocktxn", "peer", &["answered", "closed"]),
            ("getblocktxn", "node", &["answered", "closed"]),
        ] {
            let rows = exchanges["requests"].as_array().unwrap();
            let row = rows.iter().find(|row| row["request"] == request && row["responder"] == responder).unwrap();
            for outcome in outcomes {
                let is_there = row[outcome].as_u64().unwrap() > 0;
                *seeds_with.entry((request, responder, *outcome)).or_default() += u32::from(is_there);
                // What other tests need, too, is there in their seed.
                assert!(is_there || seed > 1, "{request} by {responder} {outcome}");
            }
        }
    }
    assert!(seeds_with.values().all(|&seeds| seeds >= 3), "{seeds_with:?}");
}

/// For each pong and each transaction of a peer, how many events after its request it comes, by peer.
fn delays(events: &[Event]) -> Vec<(i64, usize)> {
    let mut asked = BTreeMap::new();
    let mut delays = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let Event::Message { inbound, id, command, payload, .. } = event else { continue };
        match (inbound, decode(command, payload)) {
            (false, Some(NetworkMessage::Ping(nonce))) => _ = asked.insert((*id, nonce.to_le_bytes().to_vec()), at),
            (false, Some(NetworkMessage::GetData(items))) => {
                let hashes = items.iter().filter_map(asked_for);
                asked.extend(hashes.map(|(_, hash)| ((*id, hash.to_vec()), at)));
            }
            (true, Some(NetworkMessage::Pong(nonce))) => {
                delays.extend(asked.remove(&(*id, nonce.to_le_bytes().to_vec())).map(|then| (*id, at - then)));
            }
            (true, Some(NetworkMessage::Tx(tx))) => {
                let hash = tx.compute_wtxid().to_byte_array().to_vec();
                delays.extend(asked.remove(&(*id, hash)).map(|then| (*id, at - then)));
            }
            _ => {}
        }
    }
    delays
}

#[test]
fn peers_answer_after_20_to_300_events_but_while_a_block_is_connected() {
    let (events, _) = play("mix", 3, 30_000);
    let delays = delays(&events);
    assert!(delays.len() > 1_000);
    assert!(delays.iter().all(|(_, delay)| *delay >= 20));
    let slow = delays.iter().filter(|(_, delay)| *delay > 300).count();
    assert!(slow * 20 < delays.len(), "{slow} of {}", delays.len());
    let mut fastest = BTreeMap::new();
    for (id, delay) in delays {
        let fastest = fastest.entry(id).or_insert(delay);
        *fastest = delay.min(*fastest);
    }
    let (near, far) = (fastest.values().min().unwrap(), fastest.values().max().unwrap());
    assert!(far - near > 100, "peers are as far as each other");
}

#[test]
fn a_peer_has_one_ping_to_answer_at_most() {
    let (events, _) = play("mix", 4, 40_000);
    let mut open = BTreeSet::new();
    for event in &events {
        match event {
            Event::Message { inbound: false, id, command, .. } if command == "ping" => assert!(open.insert(*id)),
            Event::Message { inbound: true, id, command, .. } if command == "pong" => assert!(open.remove(id)),
            Event::Closed { id, .. } => _ = open.remove(id),
            _ => {}
        }
    }
}

#[test]
fn nothing_but_the_handshake_comes_before_the_verack() {
    for scenario in ["mix", "churn"] {
        let (events, _) = play(scenario, 5, 20_000);
        let mut ready = BTreeSet::new();
        let mut early = BTreeSet::new();
        for event in &events {
            if let Event::Message { inbound, id, command, .. } = event {
                if *inbound && command == "verack" {
                    ready.insert(*id);
                } else if !ready.contains(id) {
                    early.insert(command.as_str());
                }
            }
        }
        let handshake = ["feature", "getaddr", "sendaddrv2", "sendtxrcncl", "verack", "version", "wtxidrelay"];
        assert!(early.iter().copied().eq(handshake), "{scenario}: {early:?}");
    }
}

#[test]
fn the_node_connects_once_to_an_address() {
    for scenario in ["mix", "churn"] {
        let (events, _) = play(scenario, 6, 20_000);
        let mut connected = BTreeMap::new();
        for event in &events {
            match event {
                Event::Opened { inbound: false, id, address, .. } => {
                    assert!(!connected.values().any(|other| *other == address), "{address} in {scenario}");
                    connected.insert(*id, address);
                }
                Event::Closed { id, .. } => _ = connected.remove(id),
                _ => {}
            }
        }
    }
}

#[test]
fn blocks_are_announced_by_several_peers_with_a_time_that_is_near() {
    const NOW: u32 = 1_750_000_000;
    let (events, report) = play("mix", 7, 40_000);
    let mut announcers: BTreeMap<[u8; 32], BTreeSet<i64>> = BTreeMap::new();
    for event in &events {
        let Event::Message { inbound: true, id, command, payload, .. } = event else { continue };
        let header = match decode(command, payload) {
            Some(NetworkMessage::CmpctBlock(block)) => block.compact_block.header,
            Some(NetworkMessage::Headers(headers)) if headers.len() == 1 => headers[0],
            _ => continue,
        };
        announcers.entry(header.block_hash().to_byte_array()).or_default().insert(*id);
        if command == "cmpctblock" {
            assert!(header.time.abs_diff(NOW) < 7_200);
        }
    }
    let connected: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Block { hash, .. } => Some(*hash),
            _ => None,
        })
        .collect();
    let heights: BTreeSet<i32> = events
        .iter()
        .filter_map(|event| match event {
            Event::Block { height, .. } => Some(*height),
            _ => None,
        })
        .collect();
    let by_several = connected.iter().filter(|hash| announcers.get(*hash).is_some_and(|ids| ids.len() > 1)).count();
    assert!(by_several * 2 > connected.len(), "{by_several} of {}", connected.len());
    assert_eq!(report.exchanges.announced_blocks_connected, heights.len() as u64);
}
