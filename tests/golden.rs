//! The whole of /metrics after a run of the simulated node with events that depend only on its seed:
//! tests/golden/metrics.txt, without what depends on the time. `BLESS=1` writes the file anew.

use std::{
    env, fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{node::Simnode, prometheus::assert_promtool_is_silent, tool::Exporter};

/// Histograms with counts that depend only on the events, and other values that do not.
const OF_TIME: [&str; 9] = [
    "event_delay_seconds",
    "mempool_residence_seconds",
    "p2p_address_age_seconds",
    "p2p_block_announcement_to_connected_seconds",
    "p2p_connection_duration_seconds",
    "p2p_handshake_seconds",
    "p2p_peer_clock_offset_seconds",
    "p2p_ping_round_trip_seconds",
    "p2p_response_seconds",
];

/// Values of the machine, the build or the moment.
const OF_THE_RUN: [&str; 5] = [
    "build_info",
    "http_requests_total",
    "node_start_time_seconds",
    "ring_buffer_used_bytes",
    "validation_last_block_connected_timestamp_seconds",
];

pub fn without_time(metrics: &str) -> String {
    let is_golden = |line: &&str| {
        let line = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        let Some(name) = line.split(['{', ' ']).next().and_then(|name| name.strip_prefix("bitcointap_")) else {
            return false;
        };
        let is_of_time =
            |family: &str| name.strip_prefix(family).is_some_and(|part| part == "_bucket" || part == "_sum");
        !OF_THE_RUN.contains(&name) && !OF_TIME.into_iter().any(is_of_time)
    };
    metrics.lines().filter(is_golden).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_seeded_run_gives_the_same_metrics() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Fast enough that nothing is forgotten by age.
    let mut node = Simnode::start(
        "v31",
        &format!("--scenario mix --seed 7 --count 30000 --rate 20000 --fixed-time {now} --linger"),
    );
    let exporter = Exporter::start(&format!(
        "--pid {} --events all --tx-response --utxocache-coins --web.max-streams 0",
        node.pid()
    ));
    node.fire();
    let metrics = exporter.settled(&node.read_tally());
    exporter.stop();
    assert_promtool_is_silent(&metrics);
    let metrics = without_time(&metrics);

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt");
    if env::var_os("BLESS").is_some() {
        fs::write(&file, &metrics).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    for (found, expected) in metrics.lines().zip(golden.lines()) {
        assert_eq!(found, expected, "or is the golden file old? Then: BLESS=1 cargo test golden");
    }
    assert_eq!(metrics.lines().count(), golden.lines().count());
}

#[test]
fn the_simulated_node_fills_every_family() {
    let mut node = Simnode::start("v31", "--scenario mix --count 60000 --rate 6000 --linger");
    let json = tempfile::NamedTempFile::new().unwrap();
    let exporter = Exporter::start(&format!(
        "--pid {} --tx-response --utxocache-coins --json {}",
        node.pid(),
        json.path().display()
    ));
    node.fire();
    let metrics = exporter.settled(&node.read_tally());
    exporter.stop();
    let is_filled = |family: &str| {
        metrics.lines().any(|line| {
            let of_family = line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
            of_family && !line.ends_with(" 0")
        })
    };
    let empty: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|family| family.starts_with("bitcointap_"))
        .filter(|family| !is_filled(family))
        .collect();
    // Families about failures, and families that are 0 when nothing happens.
    let may_be_empty = [
        "attach_failures_total",
        "events_lost_total",
        "flight_recorder_groups_dropped_total",
        "http_streams",
        "json_lines_lost_total",
        "ring_buffer_used_bytes",
        "state_dropped_total",
    ];
    let missing: Vec<_> =
        empty.iter().filter(|family| !may_be_empty.contains(&&family["bitcointap_".len()..])).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
