//! What all metrics must be together. The file of each group tests what each family counts.

mod core_reasons;
mod migration;
mod reference;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use prometheus::proto::MetricType;

use super::{
    testing::{
        EVERYTHING, OPTIONS, Told, added, block, conn, message, misbehaving, only, rejected, text_of, version,
        with_peer,
    },
    *,
};
use crate::{
    event::{
        Kind,
        mempool::Mempool,
        net::{Connection, ConnectionType, Message, Meta},
        utxocache::Utxocache,
        validation::Validation,
    },
    json::{Bytes, Hash},
    p2p,
};

/// Names, without their prefix, of the families that events feed.
fn fed(metrics: &Metrics) -> BTreeSet<String> {
    let families = metrics.registry().gather().into_iter().map(|family| family.name().to_owned());
    let named = families.filter_map(|name| name.strip_prefix("bitcointap_").map(str::to_owned));
    named
        .filter(|name| {
            ["p2p_", "mempool_", "validation_", "utxocache_", "coin_selection_"].iter().any(|fed| name.starts_with(fed))
        })
        .collect()
}

#[test]
fn a_family_is_there_only_while_something_feeds_it() {
    let fed_by = |words: &str| fed(&only(words).metrics).into_iter().collect::<Vec<_>>();
    assert!(fed(&Metrics::new(Tracepoints::default(), &OPTIONS)).is_empty());
    assert!(fed_by("coin_selection:attempting_aps_create_tx").is_empty());
    assert_eq!(fed_by("utxocache:add"), ["utxocache_coins_total", "utxocache_value_satoshis_total"]);
    assert_eq!(fed_by("utxocache:flush"), ["utxocache_flushed_bytes", "utxocache_flushed_coins"]);
    assert_eq!(fed_by("coin_selection:selected_coins"), ["coin_selection_total"]);
    assert_eq!(fed_by("coin_selection:aps_create_tx_internal"), ["coin_selection_transactions_total"]);
    assert_eq!(fed_by("net:misbehaving_connection"), ["p2p_misbehaving_total"]);
    assert_eq!(fed_by("net:inbound_connection"), ["p2p_connections_opened_total"]);
    assert_eq!(fed_by("mempool:rejected"), ["mempool_rejections_total", "mempool_transactions_total"]);
    // The same holds for single series: a zero means that nothing happened.
    let text = text_of(&only("mempool:rejected,net:inbound_connection").metrics.registry());
    assert!(text.contains("bitcointap_mempool_transactions_total{action=\"rejected\"} 0\n"));
    assert!(!text.contains("action=\"added\""));
    assert!(!text.contains("connection_type=\"manual\""));

    let mut metrics = only("all").metrics;
    let all = fed(&metrics);
    metrics.tapped(Tracepoints::default());
    assert!(fed(&metrics).is_empty());
    metrics.tapped("all".parse().unwrap());
    assert_eq!(fed(&metrics), all);
}

/// Metrics that have seen an event of each kind.
fn busy() -> Metrics {
    let mut told = only("all");
    let own = version("/Satoshi:31.0.0/");
    told.metrics.attached(1.5);
    told.metrics.ring_buffer(1, 0);
    told.tell(message(false, "version", 102, p2p::decode("version", &own)))
        .tell(message(true, "ping", 1, p2p::decode("ping", &[1])))
        .tell(misbehaving("a \"quoted\"\nreason\\"))
        .tell(added(100, 100))
        .tell(block(1));
    told.metrics
}

/// The largest number of series that Prometheus stores of one scrape; docs/metrics.md has it by family.
#[test]
fn there_are_bounds_on_series() {
    let metrics = Metrics::new(Tracepoint::all().collect(), &EVERYTHING);
    let families = &metrics.registered.defined;
    let total: usize = families.values().map(|family| family.lines).sum();
    assert!(total < 5_200, "{total} in the worst case");
    for family in busy().registry().gather() {
        let is_defined = |name: &str| families.contains_key(name);
        assert!(
            family.name().strip_prefix("bitcointap_").is_some_and(is_defined) || family.name().starts_with("process_"),
            "{}",
            family.name()
        );
    }
}

/// Resident memory of this process, in KiB.
fn memory() -> u64 {
    let process = procfs::process::Process::myself().unwrap();
    process.statm().unwrap().resident * procfs::page_size() / 1024
}

/// Values that a peer chooses, different for each number. All are long, and some are no UTF-8 in the node.
fn tell_made_up(told: &mut Told, number: u32) {
    let letters: String = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    let long = format!("{letters} \u{fffd}\"\n\\{}", "x".repeat(100));
    // Peers of three groups name each.
    let user_agent = version(&format!("/{} {}/", number / 3, "x".repeat(100)));
    let [_, _, a, b] = number.to_be_bytes();
    let (addr, peer_id) = (format!("[2a01:{a:x}{b:02x}::1]:1"), i64::from(number * 2));
    let meta = Meta::new(peer_id, addr, ConnectionType::Inbound, "version", true, 1);
    told.tell(Kind::Msg(Message { meta, msg: p2p::decode("version", &user_agent), payload: None }));
    let release = version(&format!("/Satoshi:{}.{}.{}/", number % 36, number / 36 % 22, number / 792 % 7));
    told.tell(message(true, &letters, 1, p2p::Message::Unknown { command: &letters, payload: Bytes(b"x") }))
        .tell(with_peer(i64::from(number * 2 + 1), true, "version", &release))
        .tell(rejected(&long))
        .tell(misbehaving(&long));
}

/// In a process of its own, since memory is that of a process.
#[test]
fn a_million_made_up_values_move_neither_series_nor_memory() {
    const CHILD: &str = "BITCOINTAP_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let name = "metrics::tests::a_million_made_up_values_move_neither_series_nor_memory";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").status();
        assert!(child.unwrap().success());
        return;
    }
    let mut told = Told::new(Metrics::new(Tracepoint::all().collect(), &EVERYTHING));
    let lines = |told: &Told| text_of(&told.metrics.registry()).lines().filter(|line| !line.starts_with('#')).count();
    (0..10_000).for_each(|number| tell_made_up(&mut told, number));
    let (series, before) = (lines(&told), memory());
    (10_000..1_000_000).for_each(|number| tell_made_up(&mut told, number));
    assert_eq!(lines(&told), series);
    assert!(series < 5_000, "{series} series");
    let after = memory();
    println!("{series} series; resident memory {before} KiB, then {after} KiB");
    assert!(after < before + 1024, "{before} KiB grew to {after} KiB");
}

/// What may never fall, by name and labels: counters; buckets, count and sum of histograms, except the sum of those
/// that have buckets below 0.
fn rising(metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut rising = BTreeMap::new();
    for family in metrics.registry().gather() {
        for metric in family.get_metric() {
            let mut enter = |part: &str, value| {
                let labels: Vec<_> = metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
                rising.insert(format!("{}{part} {labels:?}", family.name()), value);
            };
            match family.get_field_type() {
                MetricType::COUNTER => enter("", metric.get_counter().get_value()),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    for bucket in histogram.get_bucket() {
                        enter(&format!("_bucket {}", bucket.upper_bound()), bucket.cumulative_count() as f64);
                    }
                    enter("_count", histogram.get_sample_count() as f64);
                    if histogram.get_bucket()[0].upper_bound() >= 0.0 {
                        enter("_sum", histogram.get_sample_sum());
                    }
                }
                MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    rising
}

#[test]
fn nothing_falls_by_numbers_below_zero() {
    let mut told = Told::new(Metrics::new(Tracepoint::all().collect(), &EVERYTHING));
    let mut before = rising(&told.metrics);
    for signed in [7, 2_100_000_000_000_000, 0, -1, i64::MIN, 3] {
        let unsigned = signed as u64;
        let hash = Hash([signed as u8; 32]);
        let conn = || conn(signed, ConnectionType::Inbound, 1);
        let mempool = |event| Kind::Mempool { event };
        let mut payload = version("");
        payload[4..20].copy_from_slice(&[unsigned.to_le_bytes(), unsigned.to_le_bytes()].concat());
        let fee = unsigned.to_le_bytes();
        let kinds = [
            with_peer(signed, true, "version", &payload),
            with_peer(signed, true, "feefilter", &fee),
            with_peer(signed, false, "ping", &fee),
            with_peer(signed, true, "pong", &fee),
            Kind::Conn { event: Connection::Inbound { conn: conn(), existing_connections: unsigned } },
            Kind::Conn { event: Connection::InboundEvicted { conn: conn(), time_established: unsigned } },
            Kind::Conn { event: Connection::Closed { conn: conn(), time_established: unsigned } },
            mempool(Mempool::Added { txid: hash, vsize: signed, fee: signed }),
            mempool(Mempool::Added { txid: hash, vsize: 100, fee: signed }),
            mempool(Mempool::Replaced {
                replaced_txid: hash,
                replaced_vsize: signed,
                replaced_fee: signed,
                replaced_entry_time: unsigned,
                replacement_txid: hash,
                replacement_vsize: signed,
                replacement_fee: 0,
                replacement_is_txid: true,
            }),
            mempool(Mempool::Removed {
                txid: hash,
                reason: "".into(),
                vsize: signed,
                fee: signed,
                entry_time: unsigned,
            }),
            Kind::Validation {
                event: Validation::BlockConnected {
                    hash,
                    height: signed,
                    transactions: unsigned,
                    inputs: signed,
                    sigops: unsigned,
                    connection_time: unsigned,
                },
            },
            Kind::Utxocache {
                event: Utxocache::Flush {
                    duration: signed,
                    mode: unsigned as u32,
                    coins: unsigned,
                    memory: unsigned,
                    for_prune: true,
                },
            },
        ];
        for kind in kinds {
            let said = format!("{kind:?}");
            told.tell(kind);
            let after = rising(&told.metrics);
            for (series, before) in before {
                assert!(after[&series] >= before, "{series} fell from {before} to {} with {said}", after[&series]);
            }
            before = after;
        }
    }
    assert!(before.values().any(|&value| value > 0.0));
}
