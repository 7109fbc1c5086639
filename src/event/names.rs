//! What events name: transactions and blocks. In: an event. Out: each hash in it, and what the event says of it.

use std::collections::HashSet;

use bitcoin::{BlockHash, Wtxid, bip152::ShortId, block, hashes::Hash as _};

use super::{Event, Kind, mempool::Mempool, utxocache::Utxocache, validation::Validation};
use crate::{
    json::Hash,
    p2p::{Items, Message, Tx},
    tracepoint::Tracepoint,
};

/// A transaction or block that an event names.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Name<'a> {
    /// Which one.
    pub named: Named<'a>,
    /// What it is there.
    pub role: Role,
}

/// By what an event names a transaction or block.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Named<'a> {
    /// By a hash: a txid, a wtxid or that of a block.
    Hash(Hash),
    /// By the whole transaction, so that both of its hashes are known.
    Transaction {
        /// Its hash without the witness.
        txid: Hash,
        /// Its hash with the witness.
        wtxid: Hash,
    },
    /// By a list of short ids, each of another transaction.
    ShortIds(ShortIds<'a>),
}

/// What is named is this to the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// What the event is about.
    Subject,
    /// A transaction in the block that the event is about.
    Within(Hash),
    /// A block that the sender has (`getheaders`, `getblocks`).
    Locator,
    /// The last block of those that the sender wants or sends.
    Stop,
    /// The transaction that another one replaces.
    Replaced,
    /// The transaction, or the package, that replaces another one.
    Replacement,
}

/// The short ids of a compact block (BIP 152).
#[derive(Clone, Copy, Debug)]
pub struct ShortIds<'a> {
    keys: (u64, u64),
    ids: &'a [ShortId],
}

impl<'a> ShortIds<'a> {
    fn new(header: &block::Header, nonce: u64, ids: &'a [ShortId]) -> Self {
        Self { keys: ShortId::calculate_siphash_keys(header, nonce), ids }
    }

    /// Whether the short id of a transaction with one of these wtxids is among them. One in 2^48 short ids is that of another transaction.
    pub fn contain_any<'b>(&self, wtxids: impl IntoIterator<Item = &'b Hash>) -> bool {
        let ids =
            wtxids.into_iter().map(|wtxid| ShortId::with_siphash_keys(&Wtxid::from_byte_array(wtxid.0), self.keys));
        let mut ids = ids.peekable();
        let Some(first) = ids.next() else { return false };
        if ids.peek().is_none() {
            return self.ids.contains(&first);
        }
        let all: HashSet<&ShortId> = self.ids.iter().collect();
        all.contains(&first) || ids.any(|id| all.contains(&id))
    }
}

impl Event<'_> {
    /// Gives each transaction and block that the event names. Those that it names only as the origin of others are left out: the block
    /// before another, and the transactions whose coins another spends.
    pub fn names(&self, give: impl FnMut(Name<'_>)) {
        self.kind.names(give);
    }
}

impl Kind<'_> {
    pub(crate) fn names(&self, mut give: impl FnMut(Name<'_>)) {
        let mut hash = |hash: Hash, role: Role| give(Name { named: Named::Hash(hash), role });
        match self {
            Kind::Msg(message) => of_message(&message.msg, &mut give),
            Kind::Mempool { event } => match event {
                Mempool::Added { txid, .. } | Mempool::Removed { txid, .. } | Mempool::Rejected { txid, .. } => {
                    hash(*txid, Role::Subject);
                }
                Mempool::Replaced { replaced_txid, replacement_txid, .. } => {
                    hash(*replaced_txid, Role::Replaced);
                    hash(*replacement_txid, Role::Replacement);
                }
            },
            Kind::Validation { event: Validation::BlockConnected { hash: block, .. } } => hash(*block, Role::Subject),
            Kind::Utxocache { event } => match event {
                Utxocache::Add(coin) | Utxocache::Spent(coin) | Utxocache::Uncache(coin) => {
                    hash(coin.txid, Role::Subject);
                }
                Utxocache::Flush { .. } => {}
            },
            Kind::Conn { .. } | Kind::CoinSelection { .. } | Kind::Lost(_) => {}
        }
    }
}

/// Whether events of a tracepoint may name something.
pub(crate) fn may_name(tracepoint: Tracepoint) -> bool {
    match tracepoint {
        Tracepoint::NetInboundMessage
        | Tracepoint::NetOutboundMessage
        | Tracepoint::MempoolAdded
        | Tracepoint::MempoolRemoved
        | Tracepoint::MempoolReplaced
        | Tracepoint::MempoolRejected
        | Tracepoint::ValidationBlockConnected
        | Tracepoint::UtxocacheAdd
        | Tracepoint::UtxocacheSpent
        | Tracepoint::UtxocacheUncache => true,
        Tracepoint::NetInboundConnection
        | Tracepoint::NetOutboundConnection
        | Tracepoint::NetEvictedInboundConnection
        | Tracepoint::NetClosedConnection
        | Tracepoint::NetMisbehavingConnection
        | Tracepoint::UtxocacheFlush
        | Tracepoint::CoinSelectionSelectedCoins
        | Tracepoint::CoinSelectionNormalCreateTxInternal
        | Tracepoint::CoinSelectionAttemptingApsCreateTx
        | Tracepoint::CoinSelectionApsCreateTxInternal => false,
    }
}

/// The commands of the messages that name something. Others never do.
pub(crate) const COMMANDS_WITH_NAMES: [&str; 19] = [
    "block",
    "blocktxn",
    "cfcheckpt",
    "cfheaders",
    "cfilter",
    "cmpctblock",
    "getblocks",
    "getblocktxn",
    "getcfcheckpt",
    "getcfheaders",
    "getcfilters",
    "getdata",
    "getheaders",
    "headers",
    "inv",
    "merkleblock",
    "notfound",
    "reject",
    "tx",
];

/// Whether messages of this command may name something.
pub(crate) fn is_command_with_names(command: &str) -> bool {
    COMMANDS_WITH_NAMES.contains(&command)
}

fn of_message(message: &Message<'_>, give: &mut impl FnMut(Name<'_>)) {
    match message {
        Message::Inv { items } | Message::Getdata { items } | Message::Notfound { items } => of_items(items, give),
        Message::Getblocks { locator_hashes, stop_hash, .. }
        | Message::Getheaders { locator_hashes, stop_hash, .. } => {
            locator_hashes.iter().for_each(|block| give(of_hash(*block, Role::Locator)));
            give(of_hash(*stop_hash, Role::Stop));
        }
        Message::Headers { headers } => headers.iter().for_each(|header| give(of_header(header))),
        Message::Tx { tx } => give(of_transaction(tx, Role::Subject)),
        Message::Block { header, transactions } => {
            let block = header.block_hash();
            give(of_hash(block, Role::Subject));
            transactions.iter().for_each(|tx| give(of_transaction(tx, within(block))));
        }
        Message::Compactblock { header, nonce, short_ids, transactions } => {
            let block = header.block_hash();
            give(of_hash(block, Role::Subject));
            transactions.iter().for_each(|prefilled| give(of_transaction(&prefilled.tx, within(block))));
            give(Name { named: Named::ShortIds(ShortIds::new(header, *nonce, short_ids)), role: within(block) });
        }
        Message::Blocktxn { block_hash, transactions } => {
            give(of_hash(*block_hash, Role::Subject));
            transactions.iter().for_each(|tx| give(of_transaction(tx, within(*block_hash))));
        }
        Message::Merkleblock { header, hashes, .. } => {
            let block = header.block_hash();
            give(of_hash(block, Role::Subject));
            hashes.iter().for_each(|node| give(of_hash(*node, within(block))));
        }
        Message::HeaderOnly { header, .. } => give(of_header(header)),
        Message::Getblocktxn { block_hash, .. }
        | Message::BlockHashOnly { block_hash, .. }
        | Message::Cfilter { block_hash, .. } => give(of_hash(*block_hash, Role::Subject)),
        Message::Reject { hash, .. } => give(of_hash(*hash, Role::Subject)),
        Message::Getcfilter { stop_hash, .. }
        | Message::Getcfheaders { stop_hash, .. }
        | Message::Getcfcheckpt { stop_hash, .. }
        | Message::Cfheaders { stop_hash, .. }
        | Message::Cfcheckpt { stop_hash, .. } => give(of_hash(*stop_hash, Role::Stop)),
        Message::Version { .. }
        | Message::Verack(_)
        | Message::Sendheaders(_)
        | Message::Getaddr(_)
        | Message::Mempool(_)
        | Message::Wtxidrelay(_)
        | Message::Sendaddrv2(_)
        | Message::Filterclear(_)
        | Message::Emptyaddrv2(_)
        | Message::Oldping(_)
        | Message::Addr { .. }
        | Message::Addrv2 { .. }
        | Message::Ping { .. }
        | Message::Pong { .. }
        | Message::Feefilter { .. }
        | Message::Alert { .. }
        | Message::Sendcompact { .. }
        | Message::Feature { .. }
        | Message::Sendtxrcncl { .. }
        | Message::Filteradd { .. }
        | Message::Filterload { .. }
        | Message::Unknown { .. }
        | Message::Undecodable { .. }
        | Message::Unavailable { .. } => {}
    }
}

fn of_items(items: &Items<'_>, give: &mut impl FnMut(Name<'_>)) {
    items.raw().for_each(|(_, hash)| give(Name { named: Named::Hash(Hash(*hash)), role: Role::Subject }));
}

fn of_header(header: &block::Header) -> Name<'static> {
    of_hash(header.block_hash(), Role::Subject)
}

fn of_hash(hash: impl bitcoin::hashes::Hash<Bytes = [u8; 32]>, role: Role) -> Name<'static> {
    Name { named: Named::Hash(Hash(hash.to_byte_array())), role }
}

fn of_transaction(tx: &Tx<'_>, role: Role) -> Name<'static> {
    let (txid, wtxid) = tx.ids();
    let named = Named::Transaction { txid: Hash(txid.to_byte_array()), wtxid: Hash(wtxid.to_byte_array()) };
    Name { named, role }
}

fn within(block: BlockHash) -> Role {
    Role::Within(Hash(block.to_byte_array()))
}
