//! Where the chain is. In: a snapshot of its coins, old blocks that are validated after newer ones, blocks that are left. Out: height and
//! time of the tip, and reorganised blocks.

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
use bitcoind::BitcoinD;
use serde_json::{Value, json};

use super::{call, executable, export, mine, start, try_call};
use crate::{exposition::Exposition, tool::eventually};

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
