//! What the simulated node fired equals what was counted plus what was lost: in metrics and in JSON, for each scenario
//! and each release's layout.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use bitcointap::{
    p2p,
    tracepoint::{Tracepoint, Tracepoints},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    exposition::Exposition,
    node::{Simnode, Tally},
    tool::{Attached, Exporter, bitcointap, eventually, tracepoint_of},
};

const LAYOUTS: [&str; 6] = ["v23", "v25", "v26", "v27-patched", "v29", "v31"];

/// Enough events for each scenario to do everything.
fn arguments(scenario: &str) -> &'static str {
    match scenario {
        "mix" => "--scenario mix --rate 50000 --count 40000",
        "churn" => "--scenario churn --rate 50000 --count 20000",
        "flood" => "--scenario flood --rate max --count 100000",
        "blocks" => "--scenario blocks --rate 100 --count 150",
        _ => unreachable!("no such scenario"),
    }
}

fn exported(layout: &str, simnode: &str, export: &str) -> (Tally, Exposition) {
    let mut node = Simnode::start(layout, simnode);
    let exporter = Exporter::start(&format!("--pid {} {export}", node.pid()));
    node.fire();
    let tally = node.tally();
    let metrics = exporter.last_scrape();
    exporter.stop();
    (tally, metrics)
}

/// The tracepoints of a node of this layout that are attached.
fn attached(layout: &str, export: &str) -> BTreeSet<String> {
    let node = Simnode::start(layout, "");
    let exporter = Exporter::start(&format!("--pid {} {export}", node.pid()));
    let metrics = exporter.scrape();
    exporter.stop();
    let is_attached = |name: &&str| metrics.sum("tracepoint_attached", &[("tracepoint", name)]) == 1.0;
    Tracepoint::all().map(Tracepoint::name).filter(is_attached).map(str::to_owned).collect()
}

#[test]
fn everything_fired_is_counted_in_each_scenario_and_layout() {
    for layout in LAYOUTS {
        for scenario in ["mix", "churn", "flood", "blocks"] {
            println!("{layout} {scenario}");
            let (tally, metrics) =
                exported(layout, arguments(scenario), "--events all --tx-response --web.max-streams 0");
            assert_fired_is_counted(&tally, &metrics);
            assert_families_equal_tally(&tally, &metrics);
            assert_exchanges_equal_tally(&tally, &metrics);
        }
    }
}

/// For runs with everything attached and without JSON. Only JSON would get single coins.
fn assert_fired_is_counted(tally: &Tally, metrics: &Exposition) {
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

/// Actions with their tracepoints.
const COINS: [(&str, &str); 3] =
    [("add", "utxocache:add"), ("spent", "utxocache:spent"), ("uncache", "utxocache:uncache")];

/// Coins and values of each action equal the tally, and there are some of each.
fn assert_coins_equal_tally(tally: &Tally, metrics: &Exposition) {
    for (action, _) in COINS {
        let labels = [("action", action)];
        let coins = tally.number(&format!("/utxocache/{action}"));
        let value = tally.number(&format!("/utxocache/{action}_value"));
        assert!(coins > 0 && value > 0, "{action}");
        assert_eq!(metrics.sum("utxocache_coins_total", &labels), coins as f64, "{action}");
        assert_eq!(metrics.sum("utxocache_value_satoshis_total", &labels), value as f64, "{action}");
    }
}

#[test]
fn coins_are_summed_up_without_being_delivered() {
    for layout in LAYOUTS {
        println!("{layout}");
        let (tally, metrics) = exported(layout, arguments("mix"), "--utxocache-coins");
        assert_fired_is_counted(&tally, &metrics);
        assert_coins_equal_tally(&tally, &metrics);
    }
    let simnode = "--scenario mix --threads 4 --rate 40000 --count 40000";
    let (tally, metrics) = exported("v31", simnode, "--utxocache-coins --events utxocache:spent --web.max-streams 0");
    assert_coins_equal_tally(&tally, &metrics);
    assert_eq!(metrics.sum("event_delay_seconds_count", &[]), 0.0);

    let (_, metrics) = exported("v31", arguments("mix"), "--events all");
    assert!(!metrics.has("utxocache_coins_total") && !metrics.has("utxocache_value_satoshis_total"), "not asked for");
}

#[test]
fn coins_are_delivered_for_json_and_summed_up_all_the_same() {
    for (events, wanted) in [("all", &COINS[..]), ("utxocache:add", &COINS[..1])] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut node = Simnode::start("v31", arguments("mix"));
        let export = format!("--utxocache-coins --events {events} --json {}", file.path().display());
        let exporter = Exporter::start(&format!("--pid {} {export}", node.pid()));
        node.fire();
        let tally = node.tally();
        let metrics = exporter.last_line("file");
        exporter.stop();
        assert_coins_equal_tally(&tally, &metrics);
        assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);

        let mut told = BTreeMap::<String, u64>::new();
        for event in read_lines(file.path()) {
            // What a slow machine did not write is reported.
            let (tracepoint, count) = match event["event"].get("Lost") {
                Some(gap) => (gap["tracepoint"].as_str().unwrap().to_owned(), gap["count"].as_u64().unwrap()),
                None => (tracepoint_of(&event), 1),
            };
            *told.entry(tracepoint).or_default() += count;
        }
        for coin in COINS {
            let (_, tracepoint) = coin;
            let fired = tally.tracepoints()[tracepoint];
            let (told_of, filtered) = if wanted.contains(&coin) { (fired, 0) } else { (0, fired) };
            let labels = [("tracepoint", tracepoint)];
            assert_eq!(told.get(tracepoint).copied().unwrap_or_default(), told_of, "{events} {tracepoint}");
            assert_eq!(metrics.sum("events_total", &labels), fired as f64, "{events} {tracepoint}");
            assert_eq!(metrics.sum("events_filtered_total", &labels), filtered as f64, "{events} {tracepoint}");
        }
    }
}

fn assert_families_equal_tally(tally: &Tally, metrics: &Exposition) {
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
fn assert_exchanges_equal_tally(tally: &Tally, metrics: &Exposition) {
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

#[test]
fn several_threads_lose_nothing() {
    let simnode = "--scenario mix --threads 4 --rate 40000 --count 40000";
    let (tally, metrics) = exported("v31", simnode, "--events all --web.max-streams 0");
    assert_fired_is_counted(&tally, &metrics);
    let messages: f64 = tally.rows("messages").iter().map(|row| row["count"].as_f64().unwrap()).sum();
    assert_eq!(metrics.sum("p2p_messages_total", &[]), messages);
}

#[test]
fn only_what_is_chosen_is_attached() {
    let (tally, metrics) = exported("v31", arguments("mix"), "--events mempool:added,validation");
    let fired = tally.tracepoints();
    for (tracepoint, &count) in &fired {
        let labels = [("tracepoint", tracepoint.as_str())];
        let wanted = ["mempool:added", "validation:block_connected"].contains(&tracepoint.as_str());
        let expected = if wanted { count as f64 } else { 0.0 };
        assert_eq!(metrics.sum("events_total", &labels), expected, "{tracepoint}");
    }
    for family in ["p2p_messages_total", "p2p_connections", "mempool_rejections_total", "mempool_removals_total"] {
        assert!(!metrics.has(family), "{family} would be blind");
    }

    assert_eq!(attached("v31", "--events mempool:added,validation").len(), 2);
    let default: BTreeSet<String> = Tracepoints::default_set().iter().map(|it| it.name().to_owned()).collect();
    assert_eq!(attached("v31", ""), default);
    for layout in LAYOUTS {
        let mut node = Simnode::start(layout, "--count 1");
        node.fire();
        assert!(node.tally().tracepoints().keys().eq(&attached(layout, "--events all")), "{layout}");
    }
}

/// The events of a tap of `node`, as lines of JSON, up to the node's end.
fn tapped(layout: &str, simnode: &str, tap: &str) -> (Tally, Vec<Value>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut node = Simnode::start(layout, simnode);
    let mut command = bitcointap(&format!("tap --pid {} {tap}", node.pid()));
    command.stdout(file.reopen().unwrap());
    let mut tap = Attached::spawn(command);
    node.fire();
    let tally = node.tally();
    let status = tap.wait();
    assert!(status.success(), "{}", tap.log);
    (tally, read_lines(file.path()))
}

fn read_lines(path: &Path) -> Vec<Value> {
    let parse = |line: std::io::Result<String>| serde_json::from_str(&line.unwrap()).expect("a line is JSON");
    BufReader::new(File::open(path).unwrap()).lines().map(parse).collect()
}

#[test]
fn json_lines_equal_the_tally_in_each_layout() {
    for layout in LAYOUTS {
        println!("{layout}");
        let (tally, events) = tapped(layout, arguments("mix"), "--events all");
        let mut by_tracepoint: BTreeMap<String, u64> =
            tally.tracepoints().into_keys().map(|tracepoint| (tracepoint, 0)).collect();
        let mut messages = BTreeMap::<(&str, &str, &str), (u64, u64, u64)>::new();
        for event in &events {
            *by_tracepoint.entry(tracepoint_of(event)).or_default() += 1;
            let Value::Object(message) = &event["event"]["Msg"] else { continue };
            let meta = &message["meta"];
            let key = (
                if meta["inbound"] == true { "inbound" } else { "outbound" },
                meta["command"].as_str().unwrap(),
                CONNECTION_TYPES[meta["conn_type"].as_u64().unwrap() as usize],
            );
            let row = messages.entry(key).or_default();
            row.0 += 1;
            row.1 += meta["size"].as_u64().unwrap();
            row.2 += u64::from(message["msg"].get("Undecodable").is_some());
        }
        assert_eq!(by_tracepoint, tally.tracepoints(), "{layout}");
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        let fired: BTreeMap<_, _> = tally
            .rows("messages")
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap();
                let key = (text("direction"), text("command"), text("connection_type"));
                (key, (number(row, "count"), number(row, "bytes"), number(row, "undecodable")))
            })
            .collect();
        assert_eq!(messages, fired, "{layout}");

        for (action, variant) in [("add", "Add"), ("spent", "Spent"), ("uncache", "Uncache")] {
            let value = format!("/event/Utxocache/event/{variant}/value");
            let values = events.iter().filter_map(|event| event.pointer(&value).and_then(Value::as_u64));
            assert_eq!(values.sum::<u64>(), tally.number(&format!("/utxocache/{action}_value")), "{layout} {action}");
        }

        let replaced = events.iter().filter_map(|event| event.pointer("/event/Mempool/event/Replaced"));
        let flags: Vec<bool> = replaced.map(|it| it["replacement_is_txid"].as_bool().unwrap()).collect();
        assert!(layout == "v23" || !flags.is_empty(), "{layout} replaces transactions");
        if ["v25", "v26", "v27-patched"].contains(&layout) {
            assert!(flags.iter().all(|&is_txid| is_txid), "before v29 it cannot be told");
        }
        let scored = events.iter().filter_map(|event| event.pointer("/event/Conn/event/Misbehaving"));
        let scores: Vec<i64> = scored.map(|it| it["score_increase"].as_i64().unwrap()).collect();
        assert_eq!(layout == "v27-patched", scores.iter().any(|&score| score > 0), "{layout}");
    }
}

/// By their numbers.
const CONNECTION_TYPES: [&str; 8] = [
    "unknown",
    "inbound",
    "outbound-full-relay",
    "block-relay-only",
    "feeler",
    "manual",
    "addr-fetch",
    "private-broadcast",
];
const NETWORKS: [&str; 7] = ["unroutable", "ipv4", "ipv6", "onion", "i2p", "cjdns", "internal"];

/// What an event says of its peer and message, in the words of the simulated node's trace.
fn attributes(event: &Value) -> Value {
    let number = |of: &Value, name: &str| of[name].as_u64().unwrap() as usize;
    if let Some(meta) = event.pointer("/event/Msg/meta") {
        return json!({
            "peer": meta["peer_id"],
            "address": meta["addr"],
            "connection_type": CONNECTION_TYPES[number(meta, "conn_type")],
            "direction": if meta["inbound"] == true { "inbound" } else { "outbound" },
            "command": meta["command"],
            "size": meta["size"],
        });
    }
    let Some(event) = event.pointer("/event/Conn/event") else { return json!({}) };
    let (_, event) = event.as_object().unwrap().iter().next().unwrap();
    let Some(conn) = event.get("conn") else { return json!({ "peer": event["id"] }) };
    let connection_type = CONNECTION_TYPES[number(conn, "conn_type")];
    json!({
        "peer": conn["peer_id"],
        "address": conn["addr"],
        "connection_type": connection_type,
        "network": NETWORKS[number(conn, "network")],
        "direction": if connection_type == "inbound" { "inbound" } else { "outbound" },
        "command": null,
        "size": null,
    })
}

#[test]
fn events_tell_when_and_of_whom_they_were_fired() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let simnode = format!("--count 3000 --rate 3000 --trace {}", trace.path().display());
    let (_, events) = tapped("v31", &simnode, "--events all");
    let fired = read_lines(trace.path());
    assert_eq!(events.len(), fired.len());
    let mut named = 0;
    for (event, fired) in events.iter().zip(&fired) {
        assert_eq!(tracepoint_of(event), fired["tracepoint"]);
        let attributes = attributes(event);
        for (name, value) in attributes.as_object().unwrap() {
            assert_eq!(*value, fired[name], "{name} of {event}");
        }
        named += usize::from(!attributes["peer"].is_null());
        let micros =
            event["timestamp"].as_u64().unwrap() * 1_000_000 + event["timestamp_subsec_micros"].as_u64().unwrap();
        let (before, after) = (fired["before"].as_u64().unwrap() / 1000, fired["after"].as_u64().unwrap() / 1000);
        assert!((before..=after).contains(&micros), "{micros} is not from {before} to {after}");
    }
    assert_eq!(named, fired.iter().filter(|fired| !fired["peer"].is_null()).count());
}

#[test]
fn a_payload_of_four_million_bytes_arrives_whole() {
    let (_, events) = tapped("v31", "--scenario blocks --rate 50 --count 12", "--bytes hex");
    let sizes = events.iter().filter_map(|event| event.pointer("/event/Msg/meta/size")).map(|it| it.as_u64().unwrap());
    let at = sizes.clone().position(|size| size == 4_000_000).expect("the scenario has one of that size");
    let messages: Vec<&Value> = events.iter().filter_map(|event| event.pointer("/event/Msg/msg/Block")).collect();
    assert!(at < 10);
    let bytes = |block: &Value| -> usize {
        let transactions = block["transactions"].as_array().unwrap();
        let raw = transactions.iter().map(|it| it["raw"].as_str().unwrap().len() / 2).sum::<usize>();
        let count = if transactions.len() < 0xfd { 1 } else { 3 };
        80 + count + raw
    };
    assert!(messages.iter().any(|block| bytes(block) == 4_000_000), "its transactions add up to it");
}

#[test]
fn what_is_lost_is_told_in_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut node = Simnode::start("v31", "--scenario flood --rate max");
    let export = format!("--pid {} --ring-buffer-size 8MiB --json {}", node.pid(), file.path().display());
    let exporter = Exporter::start(&export);
    node.fire();
    // While nobody drains, the ring buffer fills; later events get through again.
    let delivered = || exporter.scrape().sum("event_delay_seconds_count", &[]);
    eventually("events", || (delivered() > 1000.0).then_some(()));
    super::tool::pause_until_lost(&exporter);
    let paused = delivered();
    eventually("it goes on", || (delivered() > paused + 1000.0).then_some(()));
    node.signal(Signal::TERM);
    let tally = node.tally();
    let metrics = exporter.last_line("file");
    let lost = metrics.sum("events_lost_total", &[("reason", "ring_full")]);
    let delivered = metrics.sum("event_delay_seconds_count", &[]);
    let fired = tally.number("/tracepoints/net:inbound_message");
    assert!(lost > 0.0, "the ring was filled");
    assert_eq!(metrics.sum("events_total", &[("tracepoint", "net:inbound_message")]), fired as f64);
    let others: u64 = tally.tracepoints().values().sum::<u64>() - fired;
    assert_eq!(delivered + lost, (fired + others) as f64);
    exporter.stop();

    // The stream has the same gap: nonces rise by one, and over a gap by its count.
    let (mut told, mut written, mut expected) = (0, 0, None);
    for event in read_lines(file.path()) {
        if let Some(gap) = event["event"].get("Lost") {
            assert_eq!(gap["tracepoint"], "net:inbound_message");
            let count = gap["count"].as_u64().unwrap();
            told += count;
            expected = expected.map(|nonce: u64| nonce + count);
            continue;
        }
        written += 1;
        let Some(nonce) = event.pointer("/event/Msg/msg/Ping/value").and_then(Value::as_u64) else { continue };
        // The flood counts from 0; pings of the handshake before it do not.
        if nonce == 0 || expected.is_some() {
            assert_eq!(expected.unwrap_or(0), nonce);
            expected = Some(nonce + 1);
        }
    }
    assert_eq!(told + written, fired + others);
}

#[test]
fn a_reader_that_stops_reading_holds_up_neither_metrics_nor_the_end() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 50000 --count 150000");
    let address = super::tool::free_address();
    // The ring buffer holds all of it, however slow the machine is.
    let words = format!("export --web.listen-address {address} --pid {} --ring-buffer-size 64MiB --json -", node.pid());
    let mut command = bitcointap(&words);
    // Nobody reads this pipe.
    command.stdout(Stdio::piped());
    let mut process = Attached::spawn(command);
    node.fire();
    let tally = node.tally();
    let scrape = || Exposition::scrape(&address).expect("it serves");
    eventually("the node's end", || (scrape().sum("up", &[]) == 0.0).then_some(()));
    let metrics = scrape();
    let tracepoints: Tracepoints = Tracepoints::default_set();
    let fired: u64 = tracepoints.iter().map(|it| tally.tracepoints()[it.name()]).sum();
    assert_eq!(metrics.sum("event_delay_seconds_count", &[]), fired as f64);
    let lost = metrics.sum("json_lines_lost_total", &[("sink", "stdout")]);
    assert!(lost > 0.0, "150,000 events do not fit in the queue");
    process.terminate();
    let status = process.wait();
    assert!(status.success(), "{}", process.log);
}

#[test]
fn a_flood_does_not_keep_it_from_ending() {
    let mut node = Simnode::start("v31", "--scenario flood --rate max");
    let mut command = bitcointap(&format!("tap --pid {}", node.pid()));
    command.stdout(File::create("/dev/null").unwrap());
    let mut tap = Attached::spawn(command);
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    node.fire();
    eventually("the flood", || (exporter.scrape().sum("events_total", &[]) > 1000.0).then_some(()));
    tap.terminate();
    let status = tap.wait();
    assert!(status.success(), "{}", tap.log);
    exporter.stop();
    node.signal(Signal::TERM);
    node.tally();
}

#[test]
fn resident_memory_stays_small() {
    // The ring buffer counts as 32 MiB, the program without optimisation as 17.
    const LIMIT_KIB: u64 = 72 << 10;
    for simnode in ["--scenario flood --rate max --duration 3", "--scenario blocks --rate 20 --duration 3"] {
        let mut node = Simnode::start("v31", simnode);
        let exporter = Exporter::start(&format!("--pid {}", node.pid()));
        node.fire();
        node.tally();
        exporter.last_scrape();
        let peak = exporter.process.peak_memory();
        assert!(peak < LIMIT_KIB, "{simnode}: {peak} KiB");
        exporter.stop();
    }
}

#[test]
fn count_and_duration_end_a_tap() {
    let mut node = Simnode::start("v31", "--rate 2000");
    node.fire();
    let output = super::tool::output(&format!("tap --pid {} --count 25", node.pid()));
    assert!(output.status.success());
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 25);
    assert!(super::tool::output(&format!("--pid {} --duration 0.5", node.pid())).status.success());
    let output = super::tool::output(&format!("--pid {} --count 1 --pretty", node.pid()));
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("{\n  \"timestamp\": "));
}
