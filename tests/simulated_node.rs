//! What the simulated node fired equals what was counted plus what was lost: in metrics and in JSON, for each scenario
//! and each release's layout. In: the scenarios of the simulated node. Out: the comparison; here of the whole and of
//! what is attached; coins, peers, lines of JSON and limits in files of their own.

mod coins;
mod limits;
mod lines;
mod peers;
mod tally;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use bitcointap::tracepoint::{Tracepoint, Tracepoints};
use serde_json::Value;

use self::tally::{assert_exchanges_equal_tally, assert_families_equal_tally, assert_fired_is_counted};
use crate::{
    exposition::Exposition,
    node::{Simnode, Tally},
    tool::Exporter,
};

const LAYOUTS: [&str; 6] = ["v23", "v25", "v26", "v27-patched", "v29", "v31"];

/// Actions with their tracepoints.
const COINS: [(&str, &str); 3] =
    [("add", "utxocache:add"), ("spent", "utxocache:spent"), ("uncache", "utxocache:uncache")];

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

fn read_lines(path: &Path) -> Vec<Value> {
    let parse = |line: std::io::Result<String>| serde_json::from_str(&line.unwrap()).expect("a line is JSON");
    BufReader::new(File::open(path).unwrap()).lines().map(parse).collect()
}
