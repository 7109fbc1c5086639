//! One peer sends whatever it may. Only what it sent differs then, and nothing that describes other peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{golden::without_time, node::Simnode, tool::Exporter};

/// After this many events of the scenario the hostile peer begins.
const HONEST: u32 = 1_000;

/// The series after this many events.
fn series_after(count: u32, now: u64) -> BTreeMap<String, String> {
    let simnode = format!("--scenario hostile --count {count} --rate 20000 --fixed-time {now} --linger");
    let mut node = Simnode::start("v31", &simnode);
    // On a busy machine all of it may wait in the ring buffer.
    let room = "--ring-buffer-size 128MiB";
    let arguments = format!("--pid {} --events all --tx-response --web.max-streams 0 {room}", node.pid());
    let exporter = Exporter::start(&arguments);
    node.fire();
    let metrics = without_time(&exporter.settled(&node.read_tally()));
    exporter.stop();
    let samples = metrics.lines().filter_map(|line| line.strip_prefix("bitcointap_"));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(series, value)| (series.into(), value.into())).collect()
}

/// Families that count messages and their contents, with the labels of the sender where the family has any.
const OF_WHAT_IT_SENT: [(&str, &str); 26] = [
    ("event_delay_seconds", ""),
    ("events_total", "tracepoint=\"net:inbound_message\""),
    ("p2p_address_age_seconds", "direction=\"inbound\""),
    ("p2p_address_announcements_total", ""),
    ("p2p_address_message_addresses", "direction=\"inbound\""),
    ("p2p_address_services_total", "direction=\"inbound\""),
    ("p2p_addresses_from_future_total", "direction=\"inbound\""),
    ("p2p_addresses_total", "direction=\"inbound\""),
    ("p2p_block_transactions_requested_total", "direction=\"inbound\""),
    ("p2p_compact_block_transactions_total", "direction=\"inbound\""),
    ("p2p_feefilter_satoshis_per_kvbyte", "direction=\"inbound\""),
    ("p2p_headers_total", "direction=\"inbound\""),
    ("p2p_inv_messages_total", "direction=\"inbound\""),
    ("p2p_inventory_items_total", "direction=\"inbound\""),
    ("p2p_inventory_message_items", "direction=\"inbound\""),
    ("p2p_message_bytes_total", "connection_type=\"inbound\",direction=\"inbound\""),
    ("p2p_message_size_bytes", "direction=\"inbound\""),
    ("p2p_messages_total", "connection_type=\"inbound\",direction=\"inbound\""),
    ("p2p_ping_nonces_total", ""),
    ("p2p_rejects_total", "direction=\"inbound\""),
    // What it requested, and requested again.
    ("p2p_requests_unanswered_total", "cause=\"table_full\",request=\"getblocktxn\",responder=\"node\""),
    ("p2p_requests_unanswered_total", "cause=\"table_full\",request=\"getdata_block\",responder=\"node\""),
    ("p2p_requests_unanswered_total", "cause=\"table_full\",request=\"getdata_tx\",responder=\"node\""),
    ("p2p_requests_unanswered_total", "cause=\"timeout\",request=\"getheaders\",responder=\"node\""),
    ("p2p_undecodable_messages_total", "direction=\"inbound\""),
    // Blocks that it alone announced, and that were not followed.
    ("state_dropped_total", "cause=\"full\",table=\"announcements\""),
];

fn is_of(series: &str, family: &str, labels: &str) -> bool {
    let rest = series.strip_prefix(family);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', '_'])) && series.contains(labels)
}

#[test]
fn what_a_hostile_peer_moves_is_what_it_sent() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let [before, after] = [HONEST, HONEST + 20_000].map(|count| series_after(count, now));
    assert!(before.keys().all(|series| after.contains_key(series)), "none goes");
    let is_changed = |(series, value): &(&String, &String)| before.get(*series) != Some(*value);
    let changed: BTreeSet<_> = after.iter().filter(is_changed).map(|(series, _)| series.as_str()).collect();
    let of_others: Vec<_> = changed
        .iter()
        .filter(|series| !OF_WHAT_IT_SENT.iter().any(|(family, labels)| is_of(series, family, labels)))
        .collect();
    assert!(of_others.is_empty(), "{of_others:#?}");
    // It sent all of that.
    let unsent: Vec<_> = OF_WHAT_IT_SENT
        .iter()
        .filter(|(family, labels)| !changed.iter().any(|series| is_of(series, family, labels)))
        .collect();
    assert!(unsent.is_empty(), "{unsent:#?}");
    // Others were described before, and still are.
    for family in ["p2p_user_agents_total", "p2p_peer_protocol_versions_total", "p2p_response_seconds_count"] {
        let of_family = |series: &&String| series.starts_with(family) && after[*series] != "0";
        assert!(before.keys().any(|series| of_family(&series)), "{family}");
    }
}
