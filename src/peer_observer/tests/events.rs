//! Events that are no messages.

use serde_json::{Value, json};

use super::{event, said};
use crate::{
    event::{
        Kind, Lost,
        coin_selection::CoinSelection,
        mempool::Mempool,
        net::{Conn, Connection, ConnectionType},
        utxocache::Utxocache,
        validation::Validation,
    },
    json::Hash,
    tracepoint::{LossReason, Tracepoint},
};

fn conn(peer_id: i64, conn_type: ConnectionType) -> Conn<'static> {
    Conn { peer_id, addr: "[2001:db8::1]:8333".into(), conn_type, network: 2 }
}

fn extreme() -> Conn<'static> {
    Conn { peer_id: i64::MIN, addr: "x".repeat(300).into(), conn_type: ConnectionType::Manual, network: u32::MAX }
}

#[track_caller]
fn said_of(kind: Kind<'_>) -> Value {
    said(&event(kind)).expect("the schema can say it")
}

#[test]
fn connections() {
    let said_of = |event| said_of(Kind::Conn { event })["Conn"]["event"].take();
    let inbound = Connection::Inbound { conn: conn(7, ConnectionType::Inbound), existing_connections: 12 };
    let conn_json = json!({"peer_id": 7, "addr": "[2001:db8::1]:8333", "conn_type": 1, "network": 2});
    assert_eq!(said_of(inbound), json!({"Inbound": {"conn": conn_json, "existing_connections": 12}}));
    for kind in [
        |conn| Connection::Inbound { conn, existing_connections: u64::MAX },
        |conn| Connection::Outbound { conn, existing_connections: 0 },
        |conn| Connection::Closed { conn, time_established: u64::MAX },
        |conn| Connection::InboundEvicted { conn, time_established: 1_747_158_913 },
    ] {
        for connection_type in ConnectionType::ALL {
            said_of(kind(conn(0, connection_type)));
        }
        said_of(kind(extreme()));
    }
}

#[test]
fn misbehaving_peers() {
    let misbehaving = |id, message: &str| {
        let event = Connection::Misbehaving {
            id,
            score_before: 1,
            score_increase: 2,
            xmessage: message.to_owned().into(),
            threshold_exceeded: true,
        };
        said_of(Kind::Conn { event })["Conn"]["event"]["Misbehaving"].take()
    };
    assert_eq!(misbehaving(7, "inv of 50001"), json!({"id": 7, "xmessage": "inv of 50001"}));
    assert_eq!(misbehaving(-1, ""), json!({"id": u64::MAX, "xmessage": ""}));
}

#[test]
fn the_mempool() {
    let said_of = |event| said_of(Kind::Mempool { event })["Mempool"]["event"].take();
    let added = said_of(Mempool::Added { txid: Hash([1; 32]), vsize: 141, fee: 500 });
    assert_eq!(added, json!({"Added": {"txid": vec![1; 32], "vsize": 141, "fee": 500}}));
    for (vsize, fee, entry_time) in [
        (141, 500, 1_747_158_913),
        (0, 0, 0),
        (-1, -1, 1),
        (i32::MAX.into(), i64::MAX, u64::MAX),
        (i64::MAX, i64::MIN, 2),
        (i64::MIN, 3, 4),
    ] {
        let (one, other) = (Hash([1; 32]), Hash([2; 32]));
        said_of(Mempool::Added { txid: one, vsize, fee });
        said_of(Mempool::Removed { txid: one, reason: "sizelimit".into(), vsize, fee, entry_time });
        said_of(Mempool::Replaced {
            replaced_txid: one,
            replaced_vsize: vsize,
            replaced_fee: fee,
            replaced_entry_time: entry_time,
            replacement_txid: other,
            replacement_vsize: vsize.wrapping_add(1),
            replacement_fee: fee.wrapping_add(2),
            replacement_is_txid: vsize > 0,
        });
    }
    for reason in ["", "min relay fee not met, 0 < 141", &"\u{20ac}".repeat(6000)] {
        said_of(Mempool::Rejected { txid: Hash([3; 32]), reason: reason.to_owned().into() });
    }
}

#[test]
fn connected_blocks() {
    for (height, transactions, inputs, sigops, connection_time) in [
        (896_001, 2_600, 6_500, 9_000, 150_000_000),
        (0, 0, 0, 0, 0),
        (-1, 1, -2, 2, 3),
        (i64::MAX, u64::MAX, i64::MIN, i64::MAX as u64 + 1, u64::MAX),
    ] {
        let hash = Hash([4; 32]);
        let event = Validation::BlockConnected { hash, height, transactions, inputs, sigops, connection_time };
        said_of(Kind::Validation { event });
    }
}

#[test]
fn what_has_no_place_is_not_written() {
    for kind in [
        Kind::Lost(Lost { tracepoint: Tracepoint::NetInboundMessage, reason: LossReason::RingFull, count: 12 }),
        Kind::Utxocache { event: Utxocache::Flush { duration: 1500, mode: 2, coins: 1, memory: 2, for_prune: true } },
        Kind::CoinSelection { event: CoinSelection::AttemptingApsCreateTx { wallet: "w".into() } },
    ] {
        assert_eq!(said(&event(kind)), None);
    }
}
