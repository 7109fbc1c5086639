//! Requests and their responses. In: messages of requests and responses of a node and its peers; both sides ask. Out:
//! how long responses took, and what became of requests without one.

mod open;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bitcoin::{BlockHash, block::Header, hashes::Hash as _, p2p::message_blockdata::Inventory};

use self::open::{Key, Known, MOST_LOCATOR, Open, shortened};
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

pub(super) struct Requests {
    pub(super) families: Families,
    follows_transactions: bool,
    /// By responder and kind: requests of peers cannot remove those of the node.
    open: [[Open; KINDS.len()]; 2],
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
        if self.follows_transactions && !self.open(Kind::GetdataTx, responder).is_empty() {
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
        let Some(known) = self.open(Kind::Getheaders, responder).get(&key) else { return false };
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
                let open = self.open(kind, responder).clear();
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
        if self.open(kind, responder).get(&key).is_none() {
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
