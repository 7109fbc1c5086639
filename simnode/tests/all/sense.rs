//! What several events say together makes sense. Metrics are computed from it.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::Hash;

use crate::recorder::{Event, play};

#[test]
fn events_belong_to_open_connections_which_are_counted_right() {
    for scenario in ["mix", "churn", "blocks", "flood"] {
        let count = if scenario == "blocks" { 200 } else { 40_000 };
        let (events, _) = play(scenario, 9, count);
        let mut open = BTreeMap::new();
        let mut evicted = BTreeSet::new();
        for event in &events {
            match event {
                Event::Opened { inbound, id, connection_type, existing, .. } => {
                    assert_eq!(*inbound, connection_type == "inbound");
                    assert!(open.insert(*id, *inbound).is_none(), "{id} is opened twice");
                    assert_eq!(open.values().filter(|direction| *direction == inbound).count(), *existing);
                }
                Event::Closed { id, .. } => {
                    assert!(open.remove(id).is_some(), "{id} is closed without being open");
                    evicted.remove(id);
                }
                Event::Evicted { id } => {
                    assert_eq!(open.get(id), Some(&true));
                    assert!(evicted.insert(*id));
                }
                Event::Message { id, .. } | Event::Misbehaving { id, .. } => {
                    assert!(open.contains_key(id), "{id} is not open");
                }
                _ => {}
            }
        }
        assert!(evicted.is_empty(), "who is evicted is closed");
        assert!(open.values().filter(|inbound| **inbound).count() <= 115);
    }
}

#[test]
fn peers_come_by_every_network_and_by_onion_from_a_local_proxy() {
    const NETWORKS: [&str; 6] = ["unroutable", "ipv4", "ipv6", "onion", "i2p", "cjdns"];
    for seed in 1..=10 {
        let (events, _) = play("mix", seed, 1_000);
        let mut come = BTreeSet::new();
        for event in &events {
            let Event::Opened { inbound, address, network, .. } = event else { continue };
            let network = NETWORKS[*network as usize];
            let looks_so = match (network, inbound) {
                ("unroutable", _) => ["127.0.0.1:", "192.168.1.", "[fe80::"].iter().any(|it| address.starts_with(it)),
                ("ipv4", _) => address.starts_with("24") || address.starts_with("25") || address.starts_with("a-node-"),
                ("ipv6", _) => address.starts_with("[3fff:"),
                // As behind a Tor on the same machine: the address alone does not show it.
                ("onion", true) => address.starts_with("127.0.0.1:"),
                ("onion", false) => address.ends_with(".onion:8333"),
                ("i2p", _) => address.ends_with(".b32.i2p:0"),
                ("cjdns", _) => address.starts_with("[fc"),
                other => panic!("{other:?}"),
            };
            assert!(looks_so, "{address} is on {network}");
            if *inbound {
                come.insert(network);
            }
        }
        assert_eq!(come, NETWORKS.into(), "seed {seed}");
    }
}

#[test]
fn pings_have_their_pongs() {
    let (events, _) = play("mix", 4, 20_000);
    let mut asked = BTreeMap::new();
    let (mut answered, mut own) = (0, 0);
    for (index, event) in events.iter().enumerate() {
        if let Event::Message { inbound, id, command, payload, .. } = event {
            match (command.as_str(), inbound) {
                ("ping", false) => {
                    own += 1;
                    asked.insert((*id, payload.clone()), index);
                }
                ("pong", true) => {
                    let asked_at = asked.remove(&(*id, payload.clone())).expect("a pong follows its ping");
                    assert!(index > asked_at);
                    answered += 1;
                }
                _ => {}
            }
        }
    }
    assert!(own > 50 && answered * 10 > own * 8, "{answered} of {own}");
}

#[test]
fn transactions_leave_the_mempool_only_after_they_came() {
    let (events, report) = play("mix", 6, 60_000);
    let mut mempool = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut in_blocks = BTreeSet::new();
    for event in &events {
        match event {
            Event::Added { txid, vsize, fee } => {
                assert!(seen.insert(*txid) || in_blocks.remove(txid), "it comes once, or again from a block");
                mempool.insert(*txid, (*vsize, *fee));
            }
            Event::Removed { txid, reason, vsize, fee, .. } => {
                assert_eq!(mempool.remove(txid), Some((*vsize, *fee)));
                if reason == "block" {
                    in_blocks.insert(*txid);
                }
            }
            Event::Replaced { txid, .. } => assert!(mempool.contains_key(txid)),
            Event::Rejected { txid, .. } => assert!(!mempool.contains_key(txid)),
            _ => {}
        }
    }
    let reasons: Vec<_> = report.mempool.removed.reasons.keys().copied().collect();
    assert_eq!(reasons, ["block", "conflict", "expiry", "reorg", "replaced", "sizelimit"]);
}

#[test]
fn blocks_follow_each_other_and_were_received_before() {
    let (events, report) = play("mix", 8, 60_000);
    let mut received = BTreeMap::new();
    let mut heights: BTreeMap<[u8; 32], i32> = BTreeMap::new();
    let mut height = None;
    let mut reorganisations = 0;
    for event in &events {
        match event {
            Event::Message { inbound: true, command, payload, .. } if command == "cmpctblock" || command == "block" => {
                let header: bitcoin::block::Header =
                    bitcoin::consensus::deserialize_partial(payload).map(|(header, _)| header).unwrap();
                received.insert(header.block_hash().to_byte_array(), header.prev_blockhash.to_byte_array());
            }
            Event::Block { hash, height: next, .. } => {
                let previous = received.get(hash).expect("it was received");
                if let Some(below) = heights.get(previous) {
                    assert_eq!(below + 1, *next);
                }
                let from = height.unwrap_or(*next - 1);
                reorganisations += usize::from(from == *next);
                assert!(from == *next || from + 1 == *next, "{next} after {from}");
                heights.insert(*hash, *next);
                height = Some(*next);
            }
            _ => {}
        }
    }
    assert!(report.validation.blocks > 5);
    assert!(reorganisations > 0, "one block loses against another");
    assert_eq!(report.validation.last_height, height);
}

#[test]
fn the_churn_evicts_and_falls_back() {
    let (events, report) = play("churn", 1, 20_000);
    assert!(report.tracepoints["net:evicted_inbound_connection"] > 0);
    let mut heard = BTreeSet::new();
    let mut unheard_closings = 0;
    for event in &events {
        match event {
            Event::Message { inbound: true, id, .. } => {
                heard.insert(*id);
            }
            Event::Closed { id, connection_type, .. } if connection_type == "outbound-full-relay" => {
                unheard_closings += usize::from(!heard.contains(id));
            }
            _ => {}
        }
    }
    assert!(unheard_closings > 5);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for scenario in ["mix", "churn"] {
        let (first, report) = play(scenario, 11, 20_000);
        let (second, again) = play(scenario, 11, 20_000);
        assert!(first == second, "{scenario}");
        assert_eq!(serde_json::to_string(&report).unwrap(), serde_json::to_string(&again).unwrap());
        let (other, _) = play(scenario, 12, 20_000);
        assert!(first != other, "{scenario}");
    }
}

#[test]
fn the_tally_is_what_was_fired() {
    for scenario in ["mix", "churn", "blocks", "flood"] {
        let (events, report) = play(scenario, 2, 5_000);
        assert_eq!(events.len(), 5_000);
        assert_eq!(report.events, 5_000);
        assert_eq!(report.tracepoints.values().sum::<u64>(), 5_000);
        let mut messages: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for event in &events {
            if let Event::Message { inbound, command, connection_type, payload, .. } = event {
                let direction = if *inbound { "inbound" } else { "outbound" };
                let row = messages.entry((direction, command.as_str(), connection_type.as_str())).or_default();
                row.0 += 1;
                row.1 += payload.len() as u64;
            }
        }
        let tallied = report.messages.iter();
        let tallied: BTreeMap<_, _> =
            tallied.map(|row| ((row.direction, row.command, row.connection_type), (row.count, row.bytes))).collect();
        assert_eq!(messages, tallied, "{scenario}");
        let coins = events.iter().filter(|event| matches!(event, Event::Coin { .. })).count() as u64;
        let utxo = &report.utxocache;
        assert_eq!(coins, utxo.add + utxo.spent + utxo.uncache);
    }
}
