//! Requests and responses of a node and its peers. In: messages, both ways, and ends of connections. Out: what the two families say.

use bitcoin::{
    BlockHash,
    consensus::serialize,
    p2p::{
        message_blockdata::GetHeadersMessage,
        message_compact_blocks::{BlockTxn, GetBlockTxn},
    },
};

use super::*;
use crate::metrics::testing::{Told, block_of, closed, compact_of, header_after, headers_of, told, with_peer};

const EIGHTY: Duration = Duration::from_millis(80);
const ALL: u64 = 60_000;

fn getdata(items: &[Inventory]) -> Vec<u8> {
    serialize(&items.to_vec())
}

fn getheaders(locator: &[BlockHash]) -> Vec<u8> {
    serialize(&GetHeadersMessage::new(locator.to_vec(), BlockHash::all_zeros()))
}

fn getblocktxn(block_hash: BlockHash) -> Vec<u8> {
    use bitcoin::bip152::BlockTransactionsRequest;
    serialize(&GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash, indexes: vec![1] } })
}

fn blocktxn(block_hash: BlockHash) -> Vec<u8> {
    use bitcoin::bip152::BlockTransactions;
    serialize(&BlockTxn { transactions: BlockTransactions { block_hash, transactions: vec![] } })
}

/// Requests answered: request, responder, how many, and the sum of seconds.
fn answered(told: &Told) -> Vec<(String, u64, f64)> {
    let lines = told.family("p2p_response_seconds").unwrap();
    let number = |line: &str, start: &str| {
        let (labels, value) = line.strip_prefix(start)?.split_once("} ")?;
        Some((labels.to_owned(), value.parse::<f64>().unwrap()))
    };
    let sums: Vec<_> = lines.iter().filter_map(|line| number(line, "_sum{")).collect();
    let counts = lines.iter().filter_map(|line| number(line, "_count{"));
    let sum = |labels: &str| sums.iter().find(|(of, _)| of == labels).map_or(0.0, |(_, sum)| *sum);
    counts.map(|(labels, count)| (labels.clone(), count as u64, sum(&labels))).collect()
}

fn labels(request: &str, responder: &str) -> String {
    format!("request=\"{request}\",responder=\"{responder}\"")
}

#[track_caller]
fn assert_unanswered(told: &Told, request: &str, responder: &str, cause: &str, count: u64) {
    let line = format!("{{cause=\"{cause}\",{}}} {count}", labels(request, responder));
    told.assert("p2p_requests_unanswered_total", &[&line]);
}

#[test]
fn each_request_is_answered_by_its_response_whoever_asks() {
    let header = header_after(BlockHash::all_zeros(), 1);
    let hash = header.block_hash();
    let (wanted, compact) = (getdata(&[Inventory::WitnessBlock(hash)]), getdata(&[Inventory::CompactBlock(hash)]));
    let (block, compact_block) = (block_of(header), compact_of(header));
    let (missing, parts) = (getblocktxn(hash), blocktxn(hash));
    let (locator, headers) = (getheaders(&[hash]), headers_of(&[header_after(hash, 2)]));
    for (request, question, answers) in [
        ("getdata_block", ("getdata", &wanted), vec![("block", &block)]),
        ("getdata_block", ("getdata", &compact), vec![("cmpctblock", &compact_block), ("block", &block)]),
        ("getblocktxn", ("getblocktxn", &missing), vec![("blocktxn", &parts), ("block", &block)]),
        ("getheaders", ("getheaders", &locator), vec![("headers", &headers), ("headers", &headers_of(&[]))]),
    ] {
        for (command, payload) in answers {
            for (responder, asks) in [("peer", false), ("node", true)] {
                let mut told = told();
                told.tell(with_peer(1, asks, question.0, question.1))
                    // Of another peer, and in the wrong direction.
                    .tell_after(Duration::ZERO, with_peer(2, !asks, command, payload))
                    .tell_after(Duration::ZERO, with_peer(1, asks, command, payload))
                    .tell_after(EIGHTY, with_peer(1, !asks, command, payload))
                    .tell_after(EIGHTY, with_peer(1, !asks, command, payload));
                assert_eq!(answered(&told), [(labels(request, responder), 1, 0.08)], "{request} {command}");
                told.assert("p2p_requests_unanswered_total", &[]);
            }
        }
    }
}

#[test]
fn eighty_milliseconds_stand_in_their_bucket() {
    let header = header_after(BlockHash::all_zeros(), 1);
    let (question, answer) = (getdata(&[Inventory::Block(header.block_hash())]), block_of(header));
    let mut told = told();
    told.tell(with_peer(1, false, "getdata", &question)).tell_after(EIGHTY, with_peer(1, true, "block", &answer));
    let bounds = ["0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "+Inf"];
    let label = format!("{},", labels("getdata_block", "peer"));
    // Labels are in the order of their names, `le` among them.
    let lines = told.family("p2p_response_seconds").unwrap();
    let buckets: Vec<_> = lines.iter().filter(|line| line.starts_with("_bucket")).collect();
    assert_eq!(buckets.len(), bounds.len(), "{buckets:?}");
    for (bucket, bound) in buckets.iter().zip(bounds) {
        assert_eq!(**bucket, format!("_bucket{{{label}le=\"{bound}\"}} 1"));
    }
}

#[test]
fn transactions_are_followed_by_either_id_if_that_is_wanted() {
    let tx = crate::metrics::testing::segwit_transaction();
    let (txid, wtxid, payload) = (tx.compute_txid(), tx.compute_wtxid(), serialize(&tx));
    assert_ne!(txid.to_raw_hash(), wtxid.to_raw_hash());
    for item in [Inventory::WTx(wtxid), Inventory::WitnessTransaction(txid), Inventory::Transaction(txid)] {
        let question = getdata(&[item]);
        let mut told = told();
        told.tell(with_peer(1, false, "getdata", &question)).tell_after(EIGHTY, with_peer(1, true, "tx", &payload));
        assert_eq!(answered(&told), [(labels("getdata_tx", "peer"), 1, 0.08)]);
    }
    let options = Options { tx_response: false, ..crate::metrics::testing::OPTIONS.clone() };
    let mut without = Told::new(crate::metrics::Metrics::new(crate::tracepoint::Tracepoints::default_set(), &options));
    let question = getdata(&[Inventory::WTx(wtxid)]);
    without.tell(with_peer(1, false, "getdata", &question)).tell(with_peer(1, true, "tx", &payload)).tell(closed(1));
    assert_eq!(answered(&without), []);
    without.assert("p2p_requests_unanswered_total", &[]);
    let text = crate::metrics::testing::text_of(&without.metrics.registry());
    assert!(text.contains("getdata_block") && !text.contains("getdata_tx"));
}

#[test]
fn a_request_repeated_is_one_but_headers_are_asked_for_anew() {
    let header = header_after(BlockHash::all_zeros(), 1);
    let (question, answer) = (getdata(&[Inventory::Block(header.block_hash()); 2]), block_of(header));
    let mut told = told();
    told.tell(with_peer(1, true, "getdata", &question))
        .tell_after(EIGHTY, with_peer(1, true, "getdata", &question))
        .tell_after(EIGHTY, with_peer(1, false, "block", &answer));
    assert_eq!(answered(&told), [(labels("getdata_block", "node"), 1, 0.16)]);

    let question = getheaders(&[header.prev_blockhash]);
    let answer = headers_of(&[header]);
    let mut told = crate::metrics::testing::told();
    told.tell(with_peer(1, false, "getheaders", &question))
        .tell_after(EIGHTY, with_peer(1, false, "getheaders", &question))
        .tell_after(EIGHTY, with_peer(1, true, "headers", &answer));
    assert_eq!(answered(&told), [(labels("getheaders", "peer"), 1, 0.08)]);
    assert_unanswered(&told, "getheaders", "peer", "timeout", 1);
}

#[test]
fn headers_after_no_block_of_the_locator_are_no_response() {
    let first = header_after(BlockHash::all_zeros(), 1);
    let second = header_after(first.block_hash(), 2);
    let (question, announcement) = (getheaders(&[first.prev_blockhash]), headers_of(&[second]));
    let mut told = told();
    told.tell(with_peer(1, false, "getheaders", &question)).tell(with_peer(1, true, "headers", &announcement));
    assert_eq!(answered(&told), []);
    // Without a locator it asks for a header by its hash.
    let question = serialize(&GetHeadersMessage::new(vec![], second.block_hash()));
    let (other, answer) = (headers_of(&[first]), headers_of(&[second]));
    told.tell(with_peer(2, false, "getheaders", &question))
        .tell_after(Duration::ZERO, with_peer(2, true, "headers", &other))
        .tell_after(EIGHTY, with_peer(2, true, "headers", &answer));
    assert_eq!(answered(&told), [(labels("getheaders", "peer"), 1, 0.08)]);
}

#[test]
fn more_headers_than_announcements_have_are_a_response_to_any_locator() {
    // Bitcoin Core knows no block of it, and begins after the first block of all.
    let question = getheaders(&[BlockHash::from_byte_array([7; 32])]);
    let headers: Vec<Header> = (0..9).map(|time| header_after(BlockHash::all_zeros(), time)).collect();
    let (announcement, answer) = (headers_of(&headers[1..]), headers_of(&headers));
    let mut told = told();
    told.tell(with_peer(1, true, "getheaders", &question)).tell(with_peer(1, false, "headers", &announcement));
    assert_eq!(answered(&told), []);
    told.tell(with_peer(1, true, "getheaders", &question));
    assert_unanswered(&told, "getheaders", "node", "timeout", 1);
    told.tell_after(EIGHTY, with_peer(1, false, "headers", &answer)).tell(closed(1));
    assert_eq!(answered(&told), [(labels("getheaders", "node"), 1, 0.08)]);
    assert_unanswered(&told, "getheaders", "node", "timeout", 1);
}

#[test]
fn what_has_no_response_is_told_by_cause() {
    let hash = header_after(BlockHash::all_zeros(), 1).block_hash();
    let question = getdata(&[Inventory::WitnessBlock(hash)]);
    let ask = || with_peer(1, false, "getdata", &question);
    let mut found = told();
    found.tell(ask()).tell(with_peer(2, true, "notfound", &question)).tell(with_peer(1, true, "notfound", &question));
    assert_unanswered(&found, "getdata_block", "peer", "notfound", 1);

    let mut left = told();
    left.tell(ask()).tell(closed(2)).assert("p2p_requests_unanswered_total", &[]);
    left.tell(closed(1)).tell(closed(1));
    assert_unanswered(&left, "getdata_block", "peer", "closed", 1);

    let mut ended = told();
    ended.tell(ask());
    ended.metrics.node_gone();
    assert_unanswered(&ended, "getdata_block", "peer", "closed", 1);

    let mut late = told();
    late.tell(ask()).tell_after(Duration::from_millis(ALL * 10 - 1), with_peer(2, true, "verack", &[]));
    late.assert("p2p_requests_unanswered_total", &[]);
    late.tell_after(SWEEP, with_peer(2, true, "verack", &[]));
    assert_unanswered(&late, "getdata_block", "peer", "timeout", 1);
    late.tell(with_peer(1, true, "block", &block_of(header_after(BlockHash::all_zeros(), 1))));
    assert_eq!(answered(&late), []);
}

const SWEEP: Duration = Duration::from_secs(1);

#[test]
fn what_one_peer_asks_cannot_drive_out_what_another_asks() {
    let header = header_after(BlockHash::all_zeros(), 1);
    let asked = getdata(&[Inventory::WitnessBlock(header.block_hash())]);
    let flood = |start: u32| {
        let hash = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            BlockHash::from_byte_array(bytes)
        };
        getdata(&(start..start + 40_000).map(|number| Inventory::WitnessBlock(hash(number))).collect::<Vec<_>>())
    };
    let mut told = told();
    told.tell(with_peer(1, true, "getdata", &asked))
        .tell(with_peer(2, true, "getdata", &flood(1)))
        .tell_after(EIGHTY, with_peer(1, false, "block", &block_of(header)));
    assert_eq!(answered(&told).len(), 1);
    assert_unanswered(&told, "getdata_block", "node", "table_full", 40_000 - 256);
    // What was answered, and what ended, makes room.
    told.tell(closed(2)).tell(with_peer(3, true, "getdata", &flood(1)));
    let labels = labels("getdata_block", "node");
    let unanswered = [
        format!("{{cause=\"closed\",{labels}}} 256"),
        format!("{{cause=\"table_full\",{labels}}} {}", 2 * (40_000 - 256)),
    ];
    told.assert("p2p_requests_unanswered_total", &unanswered.each_ref().map(String::as_str));
    told.tell(with_peer(4, true, "getdata", &asked))
        .tell_after(EIGHTY, with_peer(4, false, "block", &block_of(header)));
    assert_eq!(answered(&told)[0].1, 2);
}

#[test]
fn what_peers_ask_cannot_drive_out_what_the_node_asks() {
    let hash = |number: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        BlockHash::from_byte_array(bytes)
    };
    let asked = getdata(&[Inventory::WitnessBlock(hash(7))]);
    let many: Vec<_> = (0..50_000).map(|number| Inventory::WitnessBlock(hash(number))).collect();
    let flood = getdata(&many);
    let mut told = told();
    told.tell(with_peer(1, false, "getdata", &asked)).tell(with_peer(2, true, "getdata", &flood));
    assert_unanswered(&told, "getdata_block", "node", "table_full", 50_000 - 256);
    told.tell(with_peer(1, true, "notfound", &asked));
    let line = format!("{{cause=\"notfound\",{}}} 1", labels("getdata_block", "peer"));
    assert!(told.family("p2p_requests_unanswered_total").unwrap().contains(&line));
}
