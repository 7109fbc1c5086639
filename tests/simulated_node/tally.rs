//! The node's tally against metrics. In: both, of one run. Out: a panic at the first difference.

use std::collections::BTreeMap;

use bitcointap::p2p;

use super::COINS;
use crate::{exposition::Exposition, node::Tally};

/// For runs with everything attached and without JSON. Only JSON would get single coins.
pub(super) fn assert_fired_is_counted(tally: &Tally, metrics: &Exposition) {
    let mut delivered = 0.0;
    for (tracepoint, fired) in tally.tracepoints() {
        let labels = [("tracepoint", tracepoint.as_str())];
        let filtered = if COINS.map(|(_, coin)| coin).contains(&tracepoint.as_str()) { fired } else { 0 };
        assert_eq!(metrics.sum("events_total", &labels), fired as f64, "{tracepoint}");
        assert_eq!(metrics.sum("events_filtered_total", &labels), filtered as f64, "{tracepoint}");
        delivered += (fired - filtered) as f64;
    }
    assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);
    assert_eq!(metrics.sum("event_delay_seconds_count", &[]), delivered, "each is delivered");
    assert!(delivered > 0.0, "something was fired");
}

pub(super) fn assert_families_equal_tally(tally: &Tally, metrics: &Exposition) {
    let mut expected = BTreeMap::<[String; 4], f64>::new();
    for row in tally.rows("messages") {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let command = Some(text("command")).filter(|it| p2p::command_index(it).is_some()).unwrap_or("other".into());
        let mut add = |family: &str, connection_type: &str, number: &str| {
            let key = [family.to_owned(), text("direction"), command.clone(), connection_type.to_owned()];
            *expected.entry(key).or_default() += row[number].as_f64().unwrap();
        };
        add("p2p_messages_total", &text("connection_type"), "count");
        add("p2p_message_bytes_total", &text("connection_type"), "bytes");
        add("p2p_undecodable_messages_total", "", "undecodable");
    }
    for ([family, direction, command, connection_type], number) in expected {
        let mut labels = vec![("direction", direction.as_str()), ("command", &command)];
        if !connection_type.is_empty() {
            labels.push(("connection_type", &connection_type));
        }
        assert_eq!(metrics.sum(&family, &labels), number, "{family} {labels:?}");
    }

    let mut open = 0.0;
    for row in tally.rows("connections") {
        let labels = [
            ("connection_type", row["connection_type"].as_str().unwrap()),
            ("network", row["network"].as_str().unwrap()),
        ];
        let count = row["count"].as_f64().unwrap();
        match row["event"].as_str().unwrap() {
            "opened" => {
                assert_eq!(metrics.sum("p2p_connections_opened_total", &labels), count, "opened {labels:?}");
                open += count;
            }
            "closed" => {
                assert_eq!(metrics.sum("p2p_connections_closed_total", &labels), count, "closed {labels:?}");
                open -= count;
            }
            _ => {}
        }
    }
    if metrics.has("p2p_connections_opened_total") {
        assert!(open >= 0.0, "{open} connections are open");
        let all = |event: &str| {
            let rows = tally.rows("connections").iter().filter(|row| row["event"] == event);
            rows.map(|row| row["count"].as_f64().unwrap()).sum::<f64>()
        };
        assert_eq!(metrics.sum("p2p_connections_evicted_total", &[]), all("evicted"));
        assert_eq!(metrics.sum("p2p_connection_duration_seconds_count", &[]), all("closed"));
        let offences: f64 = tally.rows("misbehaving").iter().map(|row| row["count"].as_f64().unwrap()).sum();
        assert_eq!(metrics.sum("p2p_misbehaving_total", &[]), offences);
    }

    for action in ["added", "removed", "replaced", "rejected"] {
        let labels = [("action", action)];
        let number = |name: &str| tally.number(&format!("/mempool/{action}/{name}")) as f64;
        assert_eq!(metrics.sum("mempool_transactions_total", &labels), number("count"), "{action}");
        if action != "rejected" {
            assert_eq!(metrics.sum("mempool_vbytes_total", &labels), number("vbytes"), "{action}");
            assert_eq!(metrics.sum("mempool_fees_satoshis_total", &labels), number("fees"), "{action}");
            assert_eq!(metrics.sum("mempool_transaction_size_vbytes_count", &labels), number("count"), "{action}");
        }
    }
    for (reason, count) in tally.0["mempool"]["removed"]["reasons"].as_object().unwrap() {
        assert_eq!(metrics.sum("mempool_removals_total", &[("reason", reason)]), count.as_f64().unwrap(), "{reason}");
    }
    let rejected = tally.number("/mempool/rejected/count") as f64;
    assert_eq!(metrics.sum("mempool_rejections_total", &[]), rejected);

    let validation = |name: &str| tally.number(&format!("/validation/{name}")) as f64;
    assert_eq!(metrics.sum("validation_blocks_connected_total", &[]), validation("blocks"));
    assert_eq!(metrics.sum("validation_block_transactions_sum", &[]), validation("transactions"));
    assert_eq!(metrics.sum("validation_block_inputs_sum", &[]), validation("inputs"));
    assert_eq!(metrics.sum("validation_block_sigops_sum", &[]), validation("sigops"));
    // µs or ns in the layout; the tally and the metrics convert both.
    let seconds = metrics.sum("validation_block_connection_seconds_sum", &[]);
    assert!((seconds - validation("duration_ns") / 1e9).abs() < 1e-6, "{seconds} s");
}

/// What several messages say together, compared with the simulated node's own reading.
pub(super) fn assert_exchanges_equal_tally(tally: &Tally, metrics: &Exposition) {
    let exchanges = |name: &str| tally.number(&format!("/exchanges/{name}")) as f64;
    assert_eq!(metrics.sum("p2p_ping_round_trip_seconds_count", &[]), exchanges("pings_answered"));
    let handshakes = tally.0["exchanges"]["handshakes_completed"].as_object().unwrap();
    for (connection_type, count) in handshakes {
        let counted = metrics.sum("p2p_handshake_seconds_count", &[("connection_type", connection_type)]);
        assert_eq!(counted, count.as_f64().unwrap(), "{connection_type}");
    }
    for row in tally.0["exchanges"]["requests"].as_array().unwrap() {
        let (request, responder) = (row["request"].as_str().unwrap(), row["responder"].as_str().unwrap());
        let number = |outcome: &str| row[outcome].as_f64().unwrap();
        let labels = [("request", request), ("responder", responder)];
        let what = format!("{request} {responder}");
        assert_eq!(metrics.sum("p2p_response_seconds_count", &labels), number("answered"), "{what}");
        let unanswered = |cause| {
            let [request, responder] = labels;
            metrics.sum("p2p_requests_unanswered_total", &[request, responder, ("cause", cause)])
        };
        assert_eq!(unanswered("notfound"), number("notfound"), "{what}");
        assert_eq!(unanswered("timeout"), number("repeated"), "{what}");
        // The end of the node closes all connections.
        assert_eq!(unanswered("closed"), number("closed") + number("open"), "{what}");
    }
    for (result, count) in tally.0["exchanges"]["compact_blocks"].as_object().unwrap() {
        let counted = metrics.sum("p2p_compact_block_reconstructions_total", &[("result", result)]);
        assert_eq!(counted, count.as_f64().unwrap(), "{result}");
    }
    for (connection_type, count) in tally.0["exchanges"]["reconnections"].as_object().unwrap() {
        let counted = metrics.sum("p2p_reconnections_total", &[("connection_type", connection_type)]);
        assert_eq!(counted, count.as_f64().unwrap(), "{connection_type}");
    }
    assert_eq!(metrics.sum("p2p_transport_retries_total", &[]), exchanges("transport_retries"));
    let announced = metrics.sum("p2p_block_announcement_to_connected_seconds_count", &[]);
    assert_eq!(announced, exchanges("announced_blocks_connected"));
    assert_eq!(metrics.sum("validation_reorganised_blocks_total", &[]), exchanges("reorganised_blocks"));
}
