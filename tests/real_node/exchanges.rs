//! What messages say together. In: pings, blocks and transactions between two nodes. Out: round trips, responses and compact blocks,
//! as the nodes say that they were.

use std::fs;

use bitcoind::BitcoinD;
use serde_json::json;

use super::{
    call, connect, executable, export, mine, new_address, quiet, start, tells_connections, wait_for_handshake,
    wait_for_mempool, wait_for_same_tip,
};
use crate::tool::eventually;

fn disconnect(from: &BitcoinD, to: &BitcoinD) {
    for peer in call(from, "getpeerinfo", &[]).as_array().unwrap() {
        call(from, "disconnectnode", &[json!(""), peer["id"].clone()]);
    }
    eventually("no peers", || {
        let counts = [from, to].map(|node| call(node, "getconnectioncount", &[]));
        counts.iter().all(|count| *count == 0).then_some(())
    });
}

/// Blocks that the node says it reconstructed: without requesting transactions, and with.
fn reconstructed(node: &BitcoinD) -> (f64, f64) {
    let log = fs::read_to_string(node.workdir().join("regtest/debug.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("Successfully reconstructed block"));
    let asked = lines.map(|line| !line.contains(" and 0 txn"));
    let (mut plain, mut requested) = (0.0, 0.0);
    asked.for_each(|asked| if asked { requested += 1.0 } else { plain += 1.0 });
    (plain, requested)
}

#[test]
fn round_trips_and_relay_are_counted_as_they_were_made() {
    let Some(executable) = executable() else { return };
    let [tapped, other] = [(); 2].map(|()| start(&executable));
    let exporter = export(&tapped, "--tx-response");
    mine(&other, 101);
    connect(&other, &tapped);
    wait_for_same_tip(&[&tapped, &other]);
    let peer = wait_for_handshake(&tapped);
    // The node has pinged once, so the sum is that round trip.
    let sample = |name: &str| exporter.scrape().sum(name, &[]);
    eventually("the pong", || (sample("p2p_ping_round_trip_seconds_count") == 1.0).then_some(()));
    let mut least = sample("p2p_ping_round_trip_seconds_sum");
    println!("first round trip {least} s, minping {}", peer["minping"]);
    for pings in 2..=10 {
        let before = sample("p2p_ping_round_trip_seconds_sum");
        call(&tapped, "ping", &[]);
        eventually("the pong", || (sample("p2p_ping_round_trip_seconds_count") == f64::from(pings)).then_some(()));
        least = least.min(sample("p2p_ping_round_trip_seconds_sum") - before);
    }
    let said = wait_for_handshake(&tapped)["minping"].as_f64().unwrap();
    println!("least round trip {least} s, minping {said} s");
    // The node's clock starts before it sends the ping, and stops before it processes the pong.
    assert!((least - said).abs() < 0.1, "{least} s, the node says {said} s");

    // Announced blocks, one after the other, with transactions that the node has.
    let announced = "p2p_block_announcement_to_connected_seconds_count";
    let before = sample(announced);
    for block in 1..=5 {
        let to_tapped = new_address(&tapped);
        let sent = call(&other, "sendtoaddress", &[to_tapped, json!(0.1)]);
        wait_for_mempool(&tapped, &sent);
        mine(&other, 1);
        eventually("the block", || (sample(announced) == before + f64::from(block)).then_some(()));
    }
    // And with transactions that it does not have, since nobody sends them when a connection begins.
    disconnect(&other, &tapped);
    let to_tapped = new_address(&tapped);
    call(&other, "sendtoaddress", &[to_tapped, json!(0.1)]);
    connect(&tapped, &other);
    wait_for_handshake(&tapped);
    mine(&other, 1);
    wait_for_same_tip(&[&tapped, &other]);
    eventually("the block", || (sample(announced) == before + 6.0).then_some(()));
    // Nobody announces one of its own.
    mine(&tapped, 1);
    wait_for_same_tip(&[&tapped, &other]);

    let metrics = quiet(&tapped, &exporter).0;
    let count = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    assert_eq!(count(announced, &[]), before + 6.0);
    let made = |result| count("p2p_compact_block_reconstructions_total", &[("result", result)]);
    println!(
        "reconstructed: {} from the mempool, {} after asking",
        made("from_mempool"),
        made("requested_transactions")
    );
    assert_eq!((made("from_mempool"), made("requested_transactions")), reconstructed(&tapped));
    assert_eq!(made("requested_transactions"), 1.0);
    assert!(made("from_mempool") >= 4.0, "high-bandwidth mode begins with the second block at the latest");
    assert_eq!((made("full_block"), made("unfinished")), (0.0, 0.0));
    // From the opening on.
    let handshakes = if tells_connections(&tapped) { 1.0 } else { 0.0 };
    assert_eq!(count("p2p_handshake_seconds_count", &[("connection_type", "inbound")]), handshakes);
    assert_eq!(count("p2p_handshake_seconds_count", &[("connection_type", "manual")]), handshakes);

    let responses =
        |request, responder| count("p2p_response_seconds_count", &[("request", request), ("responder", responder)]);
    assert_eq!(responses("getblocktxn", "peer"), 1.0);
    assert_eq!(responses("getblocktxn", "node"), 0.0);
    // The node requested five transactions; the sixth came in a block.
    assert_eq!(responses("getdata_tx", "peer"), 5.0);
    assert!(responses("getheaders", "peer") >= 1.0 && responses("getheaders", "node") >= 1.0);
    // 101 blocks in the beginning.
    assert!(responses("getdata_block", "peer") >= 101.0, "{}", responses("getdata_block", "peer"));
    assert_eq!(count("p2p_requests_unanswered_total", &[]), 0.0);
    assert_eq!(count("state_dropped_total", &[]), 0.0);
    exporter.stop();
}
