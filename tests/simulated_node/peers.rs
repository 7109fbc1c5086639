//! Peers that are listed, and peers that come back. In: churn, and lists of addresses that change. Out: what is counted of these peers,
//! as the events of the same run tell it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use bitcointap::tracepoint::Tracepoints;
use serde_json::Value;

use super::{arguments, read_lines};
use crate::{
    node::Simnode,
    tool::{Exporter, eventually},
};

#[test]
fn listed_peers_count_by_lists_that_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let list = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    list("visitors", "240.100.0.0/16 # where most of them come from\n");
    list("late", "");
    list("kept", "240.0.0.0/14\n127.0.0.0/8\n");
    let mut node = Simnode::start("v31", arguments("churn"));
    let lists = ["visitors", "late", "kept"].map(|name| format!("--address-list {name}={}", path(name).display()));
    let export = format!("--pid {} --json {} {}", node.pid(), path("events").display(), lists.join(" "));
    let mut exporter = Exporter::start(&export);

    list("late", "250.0.0.0/8\n3fff::/20\n250.1.2.3\n");
    list("kept", "240.0.0.0/14\n\n240.0.0.256\n");
    exporter.process.hang_up("the address list stays as it was");
    let log = &exporter.process.log;
    assert!(log.contains("list=late networks=0"), "{log}");
    assert!(log.contains("list=late networks=3"), "{log}");
    let wrong = format!("{}:3: ", path("kept").display());
    assert_eq!(log.matches(&wrong).count(), 1, "{log}");

    node.fire();
    let tally = node.tally();
    let metrics = exporter.last_scrape();
    let fired: u64 = Tracepoints::default_set().iter().map(|it| tally.tracepoints()[it.name()]).sum();
    eventually("all lines", || (exporter.scrape().sum("json_lines_total", &[]) == fired as f64).then_some(()));
    exporter.stop();

    // Inbound peers of Tor are at 127.0.0.1, as others can be; only openings tell them apart.
    let list_of = |address: &str, network: u64| match address.rsplit_once(':').unwrap().0 {
        host if host.starts_with("240.100.") => Some("visitors"),
        host if host.starts_with("250.") || host.starts_with("[3fff:") => Some("late"),
        host if ["240.0.", "240.1.", "240.2.", "240.3."].iter().any(|it| host.starts_with(it)) => Some("kept"),
        "127.0.0.1" if network != 3 => Some("kept"),
        _ => None,
    };
    let mut networks = BTreeMap::<i64, u64>::new();
    let mut opened = BTreeMap::<&str, f64>::new();
    let mut messages = BTreeMap::<(&str, &str, String), (f64, f64)>::new();
    let events = read_lines(&path("events"));
    for event in &events {
        let opening = ["Inbound", "Outbound"].map(|it| event.pointer(&format!("/event/Conn/event/{it}/conn")));
        for conn in opening.into_iter().flatten() {
            let network = conn["network"].as_u64().unwrap();
            networks.insert(conn["peer_id"].as_i64().unwrap(), network);
            if let Some(list) = list_of(conn["addr"].as_str().unwrap(), network) {
                *opened.entry(list).or_default() += 1.0;
            }
        }
        let Some(meta) = event.pointer("/event/Msg/meta") else { continue };
        let network = networks[&meta["peer_id"].as_i64().unwrap()];
        if let Some(list) = list_of(meta["addr"].as_str().unwrap(), network) {
            let direction = if meta["inbound"] == true { "inbound" } else { "outbound" };
            let row = messages.entry((list, direction, meta["command"].as_str().unwrap().to_owned())).or_default();
            row.0 += 1.0;
            row.1 += meta["size"].as_f64().unwrap();
        }
    }
    assert_eq!(opened.keys().collect::<Vec<_>>(), [&"kept", &"late", &"visitors"], "churn has peers of each");
    for (list, count) in &opened {
        assert_eq!(metrics.sum("p2p_listed_connections_opened_total", &[("list", list)]), *count, "{list}");
    }
    for ((list, direction, command), (count, bytes)) in &messages {
        let labels = [("list", *list), ("direction", direction), ("command", command)];
        assert_eq!(metrics.sum("p2p_listed_messages_total", &labels), *count, "{labels:?}");
        assert_eq!(metrics.sum("p2p_listed_message_bytes_total", &labels), *bytes, "{labels:?}");
    }
    let all: f64 = messages.values().map(|(count, _)| count).sum();
    assert_eq!(metrics.sum("p2p_listed_messages_total", &[]), all);
}

#[test]
fn peers_that_come_back_and_their_netgroups_are_those_of_the_events() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut node = Simnode::start("v31", arguments("churn"));
    let exporter = Exporter::start(&format!("--pid {} --json {}", node.pid(), file.path().display()));
    node.fire();
    let tally = node.tally();
    let fired: u64 = Tracepoints::default_set().iter().map(|it| tally.tracepoints()[it.name()]).sum();
    eventually("all lines", || (exporter.scrape().sum("json_lines_total", &[]) == fired as f64).then_some(()));
    let metrics = exporter.scrape();
    exporter.stop();

    // All of it happens within a minute.
    let (mut hosts, mut unheard, mut heard) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut reconnections, mut retries) = (0.0, 0.0);
    for event in read_lines(file.path()) {
        if let Some(meta) = event.pointer("/event/Msg/meta") {
            if meta["inbound"] == true {
                heard.insert(meta["peer_id"].as_i64().unwrap());
            }
            continue;
        }
        let Some(connection) = event.pointer("/event/Conn/event").and_then(Value::as_object) else { continue };
        let (what, connection) = connection.iter().next().unwrap();
        let conn = &connection["conn"];
        let address = || conn["addr"].as_str().unwrap().to_owned();
        let host = || address().rsplit_once(':').unwrap().0.to_owned();
        let is_inbound = conn["conn_type"] == 1;
        // Inbound peers of Tor, and the operator's own machines.
        let is_shared = is_inbound && conn["network"] == 3 || conn["network"] == 0;
        match what.as_str() {
            "Inbound" | "Outbound" => {
                reconnections += f64::from(!is_shared && hosts.contains(&host()));
                retries += f64::from(!is_inbound && unheard.remove(&address()));
            }
            "Closed" => {
                if !is_shared {
                    hosts.insert(host());
                }
                if !is_inbound && !heard.contains(&conn["peer_id"].as_i64().unwrap()) {
                    unheard.insert(address());
                }
            }
            _ => {}
        }
    }
    assert!(reconnections > 0.0 && retries > 0.0, "churn has both");
    assert_eq!(metrics.sum("p2p_reconnections_total", &[]), reconnections);
    assert_eq!(metrics.sum("p2p_transport_retries_total", &[]), retries);
    // The node is gone, and with it its peers.
    assert!(metrics.has("p2p_inbound_netgroups"), "some were known");
    assert_eq!(metrics.sum("p2p_inbound_netgroups", &[]), 0.0);
    assert!(!metrics.has("p2p_node_connections"));
}
