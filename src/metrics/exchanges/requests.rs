//! Requests and their responses. In: messages of requests and responses of a node and its peers; both sides ask. Out:
//! how long responses took, and what became of requests without one.

use std::{collections::BTreeMap, time::Duration};

use bitcoin::{BlockHash, block::Header, hashes::Hash as _, p2p::message_blockdata::Inventory};

use super::relay::MOST_ANNOUNCED;
use crate::metrics::{
    Options,
    family::{Counters, Histograms, families},
    labels::{INBOUND_MESSAGES, Label, OUTBOUND_MESSAGES},
    messages::FILTERED_BLOCK,
};
use crate::{
    event::Moment,
    p2p::{Items, Tx},
    table::Table,
};

/// Upper bounds in seconds: the node answers in a millisecond what it has in memory, peers after a round trip or more.
const RESPONSES: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

families! {
    struct Families with options {
        /// From a request to its response, by request and by who responds: a peer to the node, or the node to a peer.
        /// Where a peer responds, from when the node queues the request until it processes the response; where the node
        /// responds, from when it processes the request until it queues the response. A getdata is a request for each
        /// block or transaction that it names. Asking again in the meantime is the same request. Transactions count
        /// only with --tx-response.
        p2p_response_seconds: Histograms<2> = ([request(options), responder()], RESPONSES), from OUTBOUND_MESSAGES, INBOUND_MESSAGES;

        /// Requests of bitcointap_p2p_response_seconds that had no response, by what ended the wait: it took too long,
        /// or a getheaders was sent again (timeout); the connection closed (closed); notfound came (notfound); there
        /// were too many to follow, of all peers or of one (table_full). A request counts here, too, if its response
        /// was lost: see bitcointap_events_lost_total.
        p2p_requests_unanswered_total: Counters<3> = [request(options), responder(), cause()], from OUTBOUND_MESSAGES, INBOUND_MESSAGES;
    }
}

/// The kind of request: places in the label `request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    GetdataBlock,
    Getheaders,
    Getblocktxn,
    /// Followed only if the options say so: it needs the hash of each transaction.
    GetdataTx,
}

const KINDS: [Kind; 4] = [Kind::GetdataBlock, Kind::Getheaders, Kind::Getblocktxn, Kind::GetdataTx];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::GetdataBlock => "getdata_block",
            Kind::Getheaders => "getheaders",
            Kind::Getblocktxn => "getblocktxn",
            Kind::GetdataTx => "getdata_tx",
        }
    }

    /// After this time Bitcoin Core asks others, or is about to close the connection.
    fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Kind::GetdataBlock | Kind::Getblocktxn => 600,
            Kind::Getheaders => 120,
            Kind::GetdataTx => 60,
        })
    }

    /// How many to follow at once for each responder. Requests of one peer to the node take at most a sixteenth of
    /// them, so that no peer can remove the requests of others: one getdata may name 50,000.
    fn most(self) -> usize {
        match self {
            Kind::GetdataTx => 16_384,
            Kind::GetdataBlock | Kind::Getheaders | Kind::Getblocktxn => 4_096,
        }
    }
}

/// The kinds that are followed.
fn request(options: &Options) -> Label {
    let followed = KINDS.into_iter().filter(|&kind| kind != Kind::GetdataTx || options.tx_response);
    Label::new("request", followed.map(Kind::name))
}

/// Who responds: places in the label `responder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Responder {
    Peer,
    Node,
}

fn responder() -> Label {
    Label::new("responder", ["peer", "node"])
}

/// Places in the label `cause`.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Timeout,
    Closed,
    TableFull,
    Notfound,
}

fn cause() -> Label {
    Label::new("cause", ["timeout", "closed", "table_full", "notfound"])
}

/// The peer, and what is asked for; zeros for headers.
type Key = (i64, [u8; 32]);

/// What identifies a response, besides the key. Hashes are shortened.
#[derive(Clone, Debug)]
enum Known {
    ByKey,
    /// Headers after one of these, a locator.
    After(Box<[u64]>),
    /// Headers that begin with this one, which a getheaders without a locator asks for.
    From(u64),
}

/// MAX_LOCATOR_SZ in Bitcoin Core, which closes the connection if there are more.
const MOST_LOCATOR: usize = 101;

/// Its beginning. In internal byte order that is as good as random.
fn shortened(hash: BlockHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.to_byte_array();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

pub(super) struct Requests {
    pub(super) families: Families,
    follows_transactions: bool,
    /// By responder and kind: requests of peers cannot remove those of the node.
    open: [[Open; KINDS.len()]; 2],
}

/// Requests that wait for their response.
struct Open {
    table: Table<Key, Known>,
    /// How many of them each peer has.
    of_peer: BTreeMap<i64, usize>,
    most_of_peer: usize,
}

impl Open {
    fn new(kind: Kind, responder: Responder) -> Self {
        // The node itself decides what it asks for.
        let most_of_peer = if responder == Responder::Node { kind.most() / 16 } else { kind.most() };
        Self { table: Table::new(kind.most(), kind.patience()), of_peer: BTreeMap::new(), most_of_peer }
    }

    /// Enters one that does not wait yet. Returns whether there was room for it and for all that wait.
    fn insert(&mut self, now: Moment, key: Key, known: Known) -> bool {
        let of_peer = self.of_peer.entry(key.0).or_default();
        if *of_peer >= self.most_of_peer {
            return false;
        }
        *of_peer += 1;
        let fallen_out = self.table.insert(now, key, known);
        if let Some(((peer, _), _)) = &fallen_out {
            self.forget(*peer);
        }
        fallen_out.is_none()
    }

    /// Removes one, and returns when it was asked.
    fn remove(&mut self, key: &Key) -> Option<Moment> {
        let (asked, _) = self.table.remove(key)?;
        self.forget(key.0);
        Some(asked)
    }

    /// Removes those of a peer, and returns how many.
    fn remove_all(&mut self, peer: i64) -> usize {
        self.of_peer.remove(&peer);
        self.table.remove_all((peer, [0; 32])..=(peer, [0xff; 32]))
    }

    /// Removes the oldest, if it is too old.
    fn pop_old(&mut self, now: Moment) -> bool {
        let old = self.table.pop_old(now);
        if let Some(((peer, _), _)) = &old {
            self.forget(*peer);
        }
        old.is_some()
    }

    fn clear(&mut self) {
        self.table.clear();
        self.of_peer.clear();
    }

    fn forget(&mut self, peer: i64) {
        if let Some(of_peer) = self.of_peer.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.of_peer.remove(&peer);
            }
        }
    }
}

impl Requests {
    pub(super) fn new(options: &Options) -> Self {
        let open = [Responder::Peer, Responder::Node].map(|responder| KINDS.map(|kind| Open::new(kind, responder)));
        let families = Families::new(options);
        Self { families, follows_transactions: options.tx_response, open }
    }

    pub(super) fn getdata(&mut self, now: Moment, responder: Responder, peer: i64, items: Items<'_>) {
        for item in items.iter() {
            if let Some((kind, hash)) = self.followed(&item) {
                self.ask(now, kind, responder, (peer, hash));
            }
        }
    }

    pub(super) fn notfound(&mut self, responder: Responder, peer: i64, items: Items<'_>) {
        for item in items.iter() {
            if let Some((kind, hash)) = self.followed(&item)
                && self.open(kind, responder).remove(&(peer, hash)).is_some()
            {
                self.unanswered(kind, responder, Cause::Notfound, 1);
            }
        }
    }

    /// A block or transaction that a getdata can ask for.
    fn followed(&self, item: &Inventory) -> Option<(Kind, [u8; 32])> {
        match *item {
            Inventory::Block(hash) | Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => {
                Some((Kind::GetdataBlock, hash.to_byte_array()))
            }
            Inventory::Unknown { inv_type: FILTERED_BLOCK, hash } => Some((Kind::GetdataBlock, hash)),
            _ if !self.follows_transactions => None,
            Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => {
                Some((Kind::GetdataTx, txid.to_byte_array()))
            }
            Inventory::WTx(wtxid) => Some((Kind::GetdataTx, wtxid.to_byte_array())),
            Inventory::Unknown { .. } | Inventory::Error => None,
        }
    }

    /// A response to a getdata of transactions, if one was sent.
    pub(super) fn tx(&mut self, now: Moment, responder: Responder, peer: i64, tx: &Tx<'_>) {
        if self.follows_transactions && !self.open(Kind::GetdataTx, responder).table.is_empty() {
            let by_wtxid = self.answer(now, Kind::GetdataTx, responder, (peer, tx.wtxid().to_byte_array()));
            if !by_wtxid {
                self.answer(now, Kind::GetdataTx, responder, (peer, tx.txid().to_byte_array()));
            }
        }
    }

    /// A whole block: the response to a getdata of it, and Bitcoin Core's answer to a getblocktxn of an old block.
    pub(super) fn block(&mut self, now: Moment, responder: Responder, peer: i64, hash: BlockHash) {
        self.answered(now, Kind::GetdataBlock, responder, peer, hash);
        self.answered(now, Kind::Getblocktxn, responder, peer, hash);
    }

    pub(super) fn getheaders(
        &mut self,
        now: Moment,
        responder: Responder,
        peer: i64,
        locator: &[BlockHash],
        stop: BlockHash,
    ) {
        let key = (peer, [0; 32]);
        if self.open(Kind::Getheaders, responder).remove(&key).is_some() {
            // It no longer waited for the last one.
            self.unanswered(Kind::Getheaders, responder, Cause::Timeout, 1);
        }
        let known = match locator {
            [] => Known::From(shortened(stop)),
            _ => Known::After(locator.iter().take(MOST_LOCATOR).copied().map(shortened).collect()),
        };
        self.insert(now, Kind::Getheaders, responder, key, known);
    }

    /// Returns whether these headers are the response to a getheaders. A response begins after a block of the locator,
    /// or after the first block of all if the other side knows none of them. Other headers announce blocks, but few at
    /// once.
    pub(super) fn headers(&mut self, now: Moment, responder: Responder, peer: i64, headers: &[Header]) -> bool {
        let key = (peer, [0; 32]);
        let Some(known) = self.open(Kind::Getheaders, responder).table.get(&key) else { return false };
        let fits = |first: &Header| match known {
            Known::ByKey => true,
            Known::After(locator) => locator.contains(&shortened(first.prev_blockhash)),
            Known::From(hash) => shortened(first.block_hash()) == *hash,
        };
        let is_response = headers.len() > MOST_ANNOUNCED || headers.first().is_none_or(fits);
        is_response && self.answer(now, Kind::Getheaders, responder, key)
    }

    /// A request for something of a block.
    pub(super) fn asked(&mut self, now: Moment, kind: Kind, responder: Responder, peer: i64, hash: BlockHash) {
        self.ask(now, kind, responder, (peer, hash.to_byte_array()));
    }

    /// The response to [`Requests::asked`]. Returns whether it was asked for.
    pub(super) fn answered(
        &mut self,
        now: Moment,
        kind: Kind,
        responder: Responder,
        peer: i64,
        hash: BlockHash,
    ) -> bool {
        self.answer(now, kind, responder, (peer, hash.to_byte_array()))
    }

    pub(super) fn closed(&mut self, peer: i64) {
        for responder in [Responder::Peer, Responder::Node] {
            for kind in KINDS {
                let open = self.open(kind, responder).remove_all(peer);
                self.unanswered(kind, responder, Cause::Closed, open);
            }
        }
    }

    /// Its end closes all connections.
    pub(super) fn node_gone(&mut self) {
        for responder in [Responder::Peer, Responder::Node] {
            for kind in KINDS {
                let open = self.open(kind, responder).table.len();
                self.open(kind, responder).clear();
                self.unanswered(kind, responder, Cause::Closed, open);
            }
        }
    }

    pub(super) fn sweep(&mut self, now: Moment) {
        for responder in [Responder::Peer, Responder::Node] {
            for kind in KINDS {
                while self.open(kind, responder).pop_old(now) {
                    self.unanswered(kind, responder, Cause::Timeout, 1);
                }
            }
        }
    }

    /// Asking again while the request waits is the same request.
    fn ask(&mut self, now: Moment, kind: Kind, responder: Responder, key: Key) {
        if self.open(kind, responder).table.get(&key).is_none() {
            self.insert(now, kind, responder, key, Known::ByKey);
        }
    }

    fn insert(&mut self, now: Moment, kind: Kind, responder: Responder, key: Key, known: Known) {
        if !self.open(kind, responder).insert(now, key, known) {
            self.unanswered(kind, responder, Cause::TableFull, 1);
        }
    }

    /// Returns whether it was asked for.
    fn answer(&mut self, now: Moment, kind: Kind, responder: Responder, key: Key) -> bool {
        let Some(asked) = self.open(kind, responder).remove(&key) else { return false };
        let took = now.since(asked).as_secs_f64();
        self.families.p2p_response_seconds.at([kind as usize, responder as usize]).observe(took);
        true
    }

    fn unanswered(&self, kind: Kind, responder: Responder, cause: Cause, count: usize) {
        if count > 0 {
            let places = [kind as usize, responder as usize, cause as usize];
            self.families.p2p_requests_unanswered_total.at(places).inc_by(count as u64);
        }
    }

    fn open(&mut self, kind: Kind, responder: Responder) -> &mut Open {
        &mut self.open[responder as usize][kind as usize]
    }
}

#[cfg(test)]
mod tests {
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
        let mut without =
            Told::new(crate::metrics::Metrics::new(crate::tracepoint::Tracepoints::default_set(), &options));
        let question = getdata(&[Inventory::WTx(wtxid)]);
        without
            .tell(with_peer(1, false, "getdata", &question))
            .tell(with_peer(1, true, "tx", &payload))
            .tell(closed(1));
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
        found
            .tell(ask())
            .tell(with_peer(2, true, "notfound", &question))
            .tell(with_peer(1, true, "notfound", &question));
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
}
