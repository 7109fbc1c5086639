//! With a real Bitcoin Core, in regtest: counts equal what the node itself says and what was done with it. BITCOIND_EXE
//! names a bitcoind with tracepoints; without it these tests say that they were skipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use bitcoin::{
    Amount, Block, BlockHash, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    absolute::LockTime,
    block,
    consensus::encode::serialize_hex,
    constants::genesis_block,
    opcodes::all::{OP_PUSHBYTES_0, OP_PUSHNUM_1},
    script::Builder,
    transaction,
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

/// The chain of 200 blocks for which regtest knows the hash of the coins (`CreateBlockChain` in Bitcoin Core's
/// src/test/util).
fn chain_with_a_known_snapshot() -> Vec<Block> {
    let genesis = genesis_block(bitcoin::Network::Regtest);
    let anyone_can_spend = Builder::new().push_opcode(OP_PUSHNUM_1).into_script().to_p2wsh();
    let (mut last, mut time, mut chain) = (genesis.block_hash(), genesis.header.time, Vec::new());
    for height in 1..=200u32 {
        time += 1;
        let input = TxIn {
            script_sig: Builder::new().push_int(height.into()).push_opcode(OP_PUSHBYTES_0).into_script(),
            sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
            witness: Witness::new(),
            ..TxIn::default()
        };
        let value = Amount::from_int_btc(50) / if height < 150 { 1 } else { 2 };
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::from_consensus(height - 1),
            input: vec![input],
            output: vec![TxOut { value, script_pubkey: ScriptBuf::clone(&anyone_can_spend) }],
        };
        let merkle_root = TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash());
        let (bits, version) = (genesis.header.bits, block::Version::from_consensus(4));
        let mut header = block::Header { version, prev_blockhash: last, merkle_root, time, bits, nonce: 0 };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        last = header.block_hash();
        chain.push(Block { header, txdata: vec![coinbase] });
    }
    chain
}

fn submit<'a>(node: &BitcoinD, blocks: impl IntoIterator<Item = &'a str>) {
    for block in blocks {
        let refused = call(node, "submitblock", &[json!(block)]);
        assert!(refused.is_null() || refused == "inconclusive", "{refused}");
    }
}

#[test]
fn background_validation_and_verifychain_are_not_where_the_chain_is() {
    let Some(executable) = executable() else { return };
    let old = chain_with_a_known_snapshot();
    let known: BlockHash = "385901ccbd69dff6bbd00065d01fb8a9e464dede7cfe0372443884f9b1dcf6b9".parse().unwrap();
    assert_eq!(old.last().unwrap().block_hash(), known);
    let headers: Vec<String> = old.iter().map(|block| serialize_hex(&block.header)).collect();
    let old: Vec<String> = old.iter().map(serialize_hex).collect();

    // One node has all blocks, and a snapshot of its coins at height 200.
    let [source, tapped] = [(); 2].map(|()| start(&executable));
    submit(&source, old.iter().map(String::as_str));
    let snapshot = json!(source.workdir().join("coins.dat"));
    if let Err(why) = try_call(&source, "dumptxoutset", &[snapshot.clone(), json!("latest")]) {
        println!("skipped: this release has no snapshots of regtest's height 200: {why}");
        return;
    }
    mine(&source, 30);
    let new: Vec<Value> = (201..=230)
        .map(|height| call(&source, "getblockhash", &[json!(height)]))
        .map(|hash| call(&source, "getblock", &[hash, json!(0)]))
        .collect();

    // The other one begins with the snapshot, and gets the old blocks last.
    let exporter = export(&tapped, "");
    headers.iter().for_each(|header| drop(call(&tapped, "submitheader", &[json!(header)])));
    if let Err(why) = try_call(&tapped, "loadtxoutset", &[snapshot]) {
        println!("skipped: this release knows no snapshot of regtest's height 200: {why}");
        return;
    }
    let connected = |blocks: f64| {
        eventually("the blocks", || {
            let metrics = exporter.scrape();
            (metrics.sum("validation_blocks_connected_total", &[]) == blocks).then_some(metrics)
        })
    };
    let tip = |metrics: &Exposition| {
        let families = [
            "validation_block_height",
            "validation_last_block_connected_timestamp_seconds",
            "validation_reorganised_blocks_total",
        ];
        families.map(|family| metrics.sum(family, &[]))
    };
    submit(&tapped, new.iter().map(|block| block.as_str().unwrap()));
    let of_snapshot = tip(&connected(30.0));
    assert_eq!((of_snapshot[0], of_snapshot[2]), (230.0, 0.0));
    submit(&tapped, old.iter().map(String::as_str));
    assert_eq!(tip(&connected(230.0)), of_snapshot);
    assert_eq!(call(&tapped, "verifychain", &[json!(4), json!(6)]), true);
    assert_eq!(tip(&connected(236.0)), of_snapshot);

    // The node leaves two blocks, comes back to them, and leaves them for three others.
    let left = call(&tapped, "getblockhash", &[json!(229)]);
    call(&tapped, "invalidateblock", std::slice::from_ref(&left));
    call(&tapped, "reconsiderblock", std::slice::from_ref(&left));
    assert_eq!(tip(&connected(238.0)), of_snapshot);
    call(&tapped, "invalidateblock", &[left]);
    mine(&tapped, 3);
    let [height, time, reorganised] = tip(&connected(241.0));
    assert_eq!((height, reorganised), (231.0, 2.0));
    assert!(time > of_snapshot[1], "{time}");
    exporter.stop();
}

/// A signed transaction of this wallet that pays everything that it spends, except the fee, to itself.
fn spend(node: &BitcoinD, spent: &Value, fee: f64) -> Result<Value, String> {
    let value = (spent["amount"].as_f64().unwrap() - fee).to_string();
    let to = new_address(node).as_str().unwrap().to_owned();
    // Version 3 (TRUC) may pay nothing, if a child pays for it; releases before v29 cannot make it.
    let arguments = [json!([spent]), json!([{ to: value }]), json!(0), json!(true), json!(3)];
    let raw = try_call(node, "createrawtransaction", &arguments)?;
    Ok(call(node, "signrawtransactionwithwallet", &[raw, json!([spent])])["hex"].clone())
}

#[test]
fn a_parent_that_is_taken_with_its_child_is_a_rejection_reversed() {
    let Some(executable) = executable() else { return };
    let [tapped, other] = [(); 2].map(|()| start(&executable));
    let exporter = export(&tapped, "");
    mine(&other, 101);
    let mut coin = call(&other, "listunspent", &[])[0].clone();
    coin["sequence"] = json!(0xffff_fffdu32);
    let parent = match spend(&other, &coin, 0.0) {
        Ok(parent) => parent,
        Err(why) => return println!("skipped: {why}"),
    };
    let decoded = call(&other, "decoderawtransaction", std::slice::from_ref(&parent));
    let output = &decoded["vout"][0];
    let coin = json!({ "txid": decoded["txid"], "vout": 0, "amount": output["value"],
        "scriptPubKey": output["scriptPubKey"]["hex"] });
    let child = spend(&other, &coin, 0.001).unwrap();
    let without_value = spend(&other, &coin, -1.0).unwrap();

    // The child comes alone, since peers do not announce what pays nothing, and requests its parent.
    connect(&tapped, &other);
    wait_for_same_tip(&[&tapped, &other]);
    wait_for_handshake(&tapped);
    let accepted = call(&other, "submitpackage", &[json!([parent, child])]);
    assert_eq!(accepted["package_msg"], "success", "{accepted}");
    wait_for_mempool(&tapped, &decoded["txid"]);
    let rejections = |family, labels: &[_]| exporter.scrape().sum(family, labels);
    let by = |reason| rejections("mempool_rejections_total", &[("reason", reason)]);
    let reversed = |reason| rejections("mempool_rejections_reversed_total", &[("reason", reason)]);
    let added = || rejections("mempool_transactions_total", &[("action", "added")]);
    eventually("both", || (added() == 2.0).then_some(()));
    let (orphan, poor) = ("bad-txns-inputs-missingorspent", "min relay fee not met");
    assert_eq!((by(orphan), by(poor), rejections("mempool_rejections_total", &[])), (1.0, 1.0, 2.0));
    // The child has waited for two seconds before the node requested its parent.
    assert_eq!((reversed(orphan), reversed(poor)), (0.0, 1.0));

    // No tracepoint reports packages that are submitted here.
    mine(&other, 1);
    wait_for_same_tip(&[&tapped, &other]);
    let package = json!([parent, without_value]);
    println!("refused: {:?}", try_call(&tapped, "submitpackage", std::slice::from_ref(&package)));
    println!("refused: {}", call(&tapped, "testmempoolaccept", &[package]));
    call(&tapped, "testmempoolaccept", &[json!([without_value])]);
    eventually("a rejection", || (rejections("mempool_rejections_total", &[]) == 3.0).then_some(()));
    exporter.stop();
}
