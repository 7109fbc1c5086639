//! The story of a transaction or block is that of the node's debug.log. In: transactions and blocks that one node gets from another. Out:
//! for each, the rows of `trace` and the lines of the log that have its hash.

use std::fs;

use serde_json::{Value, json};

use super::{
    call, connect, executable, mine, new_address, start_with, wait_for_handshake, wait_for_mempool, wait_for_same_tip,
};
use crate::tool::{Attached, bitcointap, eventually, output};

/// What the log says of a hash: the event, and the peer if it is of one.
fn logged(log: &str, txid: &str, wtxid: &str) -> Vec<(&'static str, Option<u64>)> {
    let peer = |line: &str| line.split_once("peer=")?.1.split([' ', ':', ',']).next()?.parse().ok();
    let said = |line: &str| {
        let is_of = |words: &str, hash: &str| line.contains(&format!("{words}{hash}"));
        Some(match line {
            _ if is_of("got inv: wtx ", wtxid) => ("announced", peer(line)),
            _ if is_of("Requesting wtx ", wtxid) => ("requested", peer(line)),
            _ if is_of("accepted ", txid) && line.contains("AcceptToMemoryPool") => ("added", None),
            _ if is_of("Requesting block ", txid) => ("requested", peer(line)),
            _ if is_of("Initialized PartiallyDownloadedBlock for block ", txid) => ("sent_as_compact_block", None),
            _ if is_of("UpdateTip: new best=", txid) => ("connected", None),
            _ => return None,
        })
    };
    log.lines().filter_map(said).collect()
}

/// The same of the story, as far as the log has it.
fn told(hash: &str, recording: &str) -> Vec<(&'static str, Option<u64>)> {
    let story = output(&format!("trace {hash} --replay {recording} --format json"));
    assert!(story.status.success(), "{story:?}");
    let said = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let (is_inbound, peer) = (row["peer"]["direction"] == "inbound", row["peer"]["id"].as_u64());
        match row["what"].as_str().unwrap() {
            "announced" if is_inbound => Some(("announced", peer)),
            "requested" if !is_inbound && row["command"] == "getdata" => Some(("requested", peer)),
            "sent_as_compact_block" if is_inbound => Some(("sent_as_compact_block", None)),
            "added" => Some(("added", None)),
            "connected" => Some(("connected", None)),
            _ => None,
        }
    };
    String::from_utf8(story.stdout).unwrap().lines().filter_map(said).collect()
}

#[test]
fn a_story_is_that_of_the_debug_log() {
    let Some(executable) = executable() else { return };
    let [tapped, other] = [(); 2].map(|()| start_with(&executable, &["-debug=net", "-debug=mempool"]));
    mine(&other, 101);
    connect(&other, &tapped);
    wait_for_same_tip(&[&tapped, &other]);
    wait_for_handshake(&tapped);

    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("recording").display().to_string();
    let pid_file = tapped.workdir().join("regtest/bitcoind.pid");
    let mut recorder = Attached::spawn(bitcointap(&format!("record {recording} --pid-file {}", pid_file.display())));
    let (mut transactions, mut blocks) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for _ in 0..if round == 0 { 4 } else { 3 } {
            let sent = call(&other, "sendtoaddress", &[new_address(&tapped), json!(0.01)]);
            wait_for_mempool(&tapped, &sent);
            let entry = call(&tapped, "getmempoolentry", std::slice::from_ref(&sent));
            transactions.push((sent.as_str().unwrap().to_owned(), entry["wtxid"].as_str().unwrap().to_owned()));
        }
        mine(&other, 1);
        wait_for_same_tip(&[&tapped, &other]);
        blocks.push(call(&tapped, "getbestblockhash", &[]).as_str().unwrap().to_owned());
    }
    let log = || fs::read_to_string(tapped.workdir().join("regtest/debug.log")).unwrap();
    eventually("the last block in the log", || log().contains(&format!("new best={}", blocks[2])).then_some(()));
    recorder.terminate();
    assert!(recorder.wait().success(), "{}", recorder.log);

    let log = log();
    assert_eq!((transactions.len(), blocks.len()), (10, 3));
    for (txid, wtxid) in &transactions {
        let logged = logged(&log, txid, wtxid);
        assert!(logged.iter().any(|(what, _)| *what == "requested"), "{txid}: {logged:?}");
        assert_eq!(told(txid, &recording), logged, "{txid}");
        assert_eq!(told(wtxid, &recording), logged, "{wtxid}");
    }
    for block in &blocks {
        let logged = logged(&log, block, block);
        assert!(logged.iter().any(|(what, _)| *what == "connected"), "{block}: {logged:?}");
        assert_eq!(told(block, &recording), logged, "{block}");
    }
}
