//! Single coins of the UTXO cache. In: nodes that add, spend and uncache coins. Out: their sums, made in the kernel, and the coins
//! themselves where JSON has them.

use std::collections::BTreeMap;

use super::{COINS, LAYOUTS, arguments, assert_fired_is_counted, exported, read_lines};
use crate::{
    exposition::Exposition,
    node::{Simnode, Tally},
    tool::{Exporter, tracepoint_of},
};

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
