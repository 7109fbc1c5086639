//! With a real Bitcoin Core, in regtest: counts equal what the node itself says and what was done with it. BITCOIND_EXE
//! names a bitcoind with tracepoints; without it these tests say that they were skipped.
//!
//! In: what nodes do here, to each other and by themselves. Out: what the exporter counts; here of all that a node tells, of restarts
//! and of a flood; exchanges, the chain, rejections and what goes over NATS in files of their own.

mod chain;
mod exchanges;
mod over_nats;
mod rejections;
mod story;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use bitcoind::{BitcoinD, Conf, P2P};
use bitcointap::tracepoint::Tracepoint;
use serde_json::{Value, json};

use crate::{
    exposition::Exposition,
    tool::{Exporter, eventually},
};

/// Header of each message, in the transport's first version (BIP 324 calls it v1).
const HEADER_BYTES: f64 = 24.0;

fn executable() -> Option<PathBuf> {
    let found = std::env::var_os("BITCOIND_EXE").map(PathBuf::from);
    if found.is_none() {
        println!("skipped: BITCOIND_EXE names no bitcoind with tracepoints");
    }
    found
}

/// Releases before v26 do not know it, and refuse the option.
fn knows_v2_transport(executable: &Path) -> bool {
    let help = Command::new(executable).arg("-help").output().expect("bitcoind tells its options");
    String::from_utf8_lossy(&help.stdout).contains("-v2transport")
}

fn start(executable: &Path) -> BitcoinD {
    start_with(executable, &[])
}

fn start_with(executable: &Path, arguments: &[&str]) -> BitcoinD {
    let mut conf = Conf::default();
    // The node includes headers only in the first version of the transport.
    conf.args = vec!["-regtest", "-fallbackfee=0.0001", "-debug=cmpctblock"];
    if knows_v2_transport(executable) {
        conf.args.push("-v2transport=0");
    }
    conf.args.extend(arguments);
    conf.p2p = P2P::Yes;
    // Created below, since the typed call of one release does not understand another's answer.
    conf.wallet = None;
    let node = BitcoinD::with_conf(executable, &conf).expect("bitcoind starts");
    call(&node, "createwallet", &[json!("test")]);
    println!("node: {}", call(&node, "getnetworkinfo", &[])["subversion"]);
    node
}

fn call(node: &BitcoinD, method: &str, arguments: &[Value]) -> Value {
    try_call(node, method, arguments).unwrap_or_else(|error| panic!("{method}: {error}"))
}

fn try_call(node: &BitcoinD, method: &str, arguments: &[Value]) -> Result<Value, String> {
    node.client.call(method, arguments).map_err(|error| error.to_string())
}

fn export(node: &BitcoinD, arguments: &str) -> Exporter {
    let pid_file = node.workdir().join("regtest/bitcoind.pid");
    Exporter::start(&format!("--pid-file {} {arguments}", pid_file.display()))
}

fn connect(from: &BitcoinD, to: &BitcoinD) {
    let address = to.params.p2p_socket.expect("it listens").to_string();
    call(from, "addnode", &[json!(address), json!("onetry")]);
}

fn new_address(node: &BitcoinD) -> Value {
    call(node, "getnewaddress", &[])
}

fn mine(node: &BitcoinD, blocks: u32) {
    let address = new_address(node);
    call(node, "generatetoaddress", &[json!(blocks), address]);
}

fn wait_for_same_tip(nodes: &[&BitcoinD]) {
    eventually("the same tip", || {
        let tips: Vec<Value> = nodes.iter().map(|node| call(node, "getbestblockhash", &[])).collect();
        tips.iter().all(|tip| *tip == tips[0]).then_some(())
    });
}

fn wait_for_mempool(node: &BitcoinD, txid: &Value) {
    eventually("a transaction in the mempool", || {
        call(node, "getrawmempool", &[]).as_array().unwrap().contains(txid).then_some(())
    });
}

/// Bytes by command as the node counts them, over all its peers, including headers.
fn bytes_by_command(node: &BitcoinD, field: &str) -> BTreeMap<String, f64> {
    let mut bytes = BTreeMap::new();
    for peer in call(node, "getpeerinfo", &[]).as_array().unwrap() {
        for (command, count) in peer[field].as_object().unwrap() {
            *bytes.entry(command.clone()).or_default() += count.as_f64().unwrap();
        }
    }
    bytes
}

/// The same from our metrics, for the commands that the node tells apart; the rest as `*other*`.
fn counted_by_command(
    metrics: &Exposition,
    direction: &str,
    told_apart: &BTreeMap<String, f64>,
) -> BTreeMap<String, f64> {
    let count = |labels: &[(&str, &str)]| {
        metrics.sum("p2p_message_bytes_total", labels) + HEADER_BYTES * metrics.sum("p2p_messages_total", labels)
    };
    let mut counted = BTreeMap::new();
    for command in told_apart.keys().filter(|command| *command != "*other*") {
        counted.insert(command.clone(), count(&[("direction", direction), ("command", command)]));
    }
    let rest = count(&[("direction", direction)]) - counted.values().sum::<f64>();
    if rest > 0.0 || told_apart.contains_key("*other*") {
        counted.insert("*other*".into(), rest);
    }
    counted
}

/// Metrics and the node's own counts at a quiet moment: the node's counts are the same two seconds later.
fn quiet(node: &BitcoinD, exporter: &Exporter) -> (Exposition, [BTreeMap<String, f64>; 2]) {
    let counts = || ["bytesrecv_per_msg", "bytessent_per_msg"].map(|field| bytes_by_command(node, field));
    eventually("two quiet seconds", || {
        let before = counts();
        thread::sleep(Duration::from_secs(2));
        let metrics = exporter.scrape();
        (counts() == before).then_some((metrics, before))
    })
}

/// Whether it has the five tracepoints of connections.
fn tells_connections(node: &BitcoinD) -> bool {
    call(node, "getnetworkinfo", &[])["version"].as_u64().expect("a number") >= 290_000
}

#[test]
fn what_is_counted_is_what_the_node_says_and_what_was_done() {
    let Some(executable) = executable() else { return };
    let [tapped, first, second] = [(); 3].map(|()| start(&executable));
    let tells_connections = tells_connections(&tapped);
    let exporter = export(&tapped, "--events all");
    let attached = exporter.scrape().sum("tracepoint_attached", &[]);
    let has = |it: &Tracepoint| tells_connections || it.since() != "v29";
    assert_eq!(attached, Tracepoint::all().filter(has).count() as f64, "{}", exporter.process.log);

    mine(&tapped, 101);
    connect(&tapped, &first);
    connect(&second, &tapped);
    eventually("two peers", || {
        let peers = call(&tapped, "getpeerinfo", &[]);
        (peers.as_array().unwrap().iter().filter(|peer| peer["bytesrecv_per_msg"].get("verack").is_some()).count() == 2)
            .then_some(())
    });
    wait_for_same_tip(&[&tapped, &first, &second]);

    // Sent, replaced, and the replaced one offered again, which the node must reject.
    let to_first = new_address(&first);
    let sent = call(&tapped, "sendtoaddress", &[to_first, json!(1)]);
    let raw = call(&tapped, "gettransaction", std::slice::from_ref(&sent))["hex"].clone();
    let replacement = call(&tapped, "bumpfee", &[sent])["txid"].clone();
    let refusal = try_call(&tapped, "sendrawtransaction", &[raw]).expect_err("a conflict that pays less is refused");
    println!("refused: {refusal}");
    wait_for_mempool(&second, &replacement);
    mine(&tapped, 1);
    wait_for_same_tip(&[&tapped, &first, &second]);
    // One that comes from a peer, and stays.
    let to_tapped = new_address(&tapped);
    let received = call(&first, "sendtoaddress", &[to_tapped, json!(0.5)]);
    wait_for_mempool(&tapped, &received);
    wait_for_mempool(&second, &received);

    let (metrics, [received_bytes, sent_bytes]) = quiet(&tapped, &exporter);
    assert_eq!(counted_by_command(&metrics, "inbound", &received_bytes), received_bytes);
    assert_eq!(counted_by_command(&metrics, "outbound", &sent_bytes), sent_bytes);
    assert!(received_bytes.len() > 8 && sent_bytes.len() > 8, "{received_bytes:?} {sent_bytes:?}");
    assert_eq!(metrics.sum("p2p_undecodable_messages_total", &[]), 0.0);

    let action = |action| metrics.sum("mempool_transactions_total", &[("action", action)]);
    assert_eq!(action("added"), 3.0, "sent, its replacement, received");
    assert_eq!(action("replaced"), 1.0);
    assert_eq!(action("removed"), 2.0, "replaced, mined");
    assert_eq!(action("rejected"), 1.0);
    for (reason, count) in [("replaced", 1.0), ("block", 1.0), ("expiry", 0.0)] {
        assert_eq!(metrics.sum("mempool_removals_total", &[("reason", reason)]), count, "{reason}");
    }
    assert_eq!(metrics.sum("validation_blocks_connected_total", &[]), 102.0);
    assert_eq!(metrics.sum("validation_block_height", &[]), 102.0);
    assert_eq!(metrics.sum("validation_block_transactions_sum", &[]), 103.0);

    assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);

    if tells_connections {
        assert_eq!(metrics.sum("p2p_connections", &[]), 2.0);
        assert_eq!(metrics.sum("p2p_connections", &[("connection_type", "inbound")]), 1.0);
        assert_eq!(metrics.sum("p2p_connections_opened_total", &[]), 2.0);
        assert_eq!(metrics.sum("p2p_connections_closed_total", &[]), 0.0);

        let address = call(&tapped, "getpeerinfo", &[])
            .as_array()
            .unwrap()
            .iter()
            .find_map(|peer| (peer["inbound"] == true).then(|| peer["addr"].clone()));
        call(&tapped, "disconnectnode", &[address.expect("one peer is inbound")]);
        eventually("the closing", || {
            let metrics = exporter.scrape();
            (metrics.sum("p2p_connections", &[]) == 1.0).then_some(metrics)
        });
        assert_eq!(exporter.scrape().sum("p2p_connections_closed_total", &[("connection_type", "inbound")]), 1.0);
    } else {
        assert!(!metrics.has("p2p_connections") && !metrics.has("p2p_connections_opened_total"));
    }

    drop(tapped);
    exporter.last_scrape();
    exporter.stop();
}

/// The only connection of `node` has shaken hands, and its first ping is answered.
fn wait_for_handshake(node: &BitcoinD) -> Value {
    eventually("a peer that has answered a ping", || {
        let peers = call(node, "getpeerinfo", &[]);
        let [peer] = peers.as_array().unwrap().as_slice() else { return None };
        peer.get("minping").is_some().then(|| peer.clone())
    })
}

#[test]
fn ten_restarts_are_followed() {
    let Some(executable) = executable() else { return };
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("bitcoind.pid");
    let exporter = Exporter::start_waiting(&format!("--pid-file {} --events all", pid_file.display()));
    let argument = format!("-pid={}", pid_file.display());
    let mut node_start_times = BTreeSet::new();
    for run in 1..=10u32 {
        let node = start_with(&executable, &[&argument]);
        let metrics = eventually("an attachment", || {
            let metrics = exporter.scrape();
            let is_attached = metrics.sum("attachments_total", &[]) == f64::from(run) && metrics.sum("up", &[]) == 1.0;
            is_attached.then_some(metrics)
        });
        node_start_times.insert(metrics.sum("node_start_time_seconds", &[]).to_bits());
        // Each run has a chain of its own; the metrics cover all.
        mine(&node, run);
        let blocks = f64::from((1..=run).sum::<u32>());
        eventually("the blocks", || {
            (exporter.scrape().sum("validation_blocks_connected_total", &[]) == blocks).then_some(())
        });
        assert_eq!(exporter.scrape().sum("validation_block_height", &[]), f64::from(run));
        // Stopped or killed.
        if run % 2 == 0 {
            let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
            crate::tool::signal(pid, rustix::process::Signal::KILL);
        }
        drop(node);
        eventually("the end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
    }
    assert_eq!(node_start_times.len(), 10);
    assert_eq!(exporter.scrape().sum("events_lost_total", &[]), 0.0);
    exporter.stop();
}

/// The load generator, which is beside the project where it is developed.
fn flood(node: &BitcoinD, pings: u32) -> Option<Output> {
    let tool = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tools/p2p_flood.py"));
    if !tool.exists() {
        println!("skipped: there is no p2p_flood.py");
        return None;
    }
    let port = node.params.p2p_socket.expect("it listens").port();
    let arguments = ["-n".to_owned(), pings.to_string(), "--port".to_owned(), port.to_string()];
    Some(Command::new("python3").arg(tool).args(arguments).output().expect("python3 is there"))
}

#[test]
fn a_flood_of_pings_is_counted_whole_in_little_memory() {
    let Some(executable) = executable() else { return };
    let node = start(&executable);
    let exporter = export(&node, "");
    for round in 1..=3 {
        let Some(output) = flood(&node, 100_000) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pings = |metrics: &Exposition, direction, command| {
            metrics.sum("p2p_messages_total", &[("direction", direction), ("command", command)])
        };
        let expected = f64::from(round) * 100_000.0;
        let metrics = eventually("all pings", || {
            let metrics = exporter.scrape();
            (pings(&metrics, "outbound", "pong") >= expected).then_some(metrics)
        });
        assert_eq!(pings(&metrics, "inbound", "ping"), expected);
        assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);
    }
    let peak = exporter.process.peak_memory();
    println!("peak resident memory: {peak} KiB");
    assert!(peak < 64 << 10, "{peak} KiB");
    exporter.stop();
}
