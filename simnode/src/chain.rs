//! The simulated chain. In: transactions. Out: blocks on top of each other with right merkle roots, in the forms in
//! which they are sent. No proof of work.

use std::collections::VecDeque;

use bitcoin::{
    BlockHash, CompactTarget, Transaction, TxMerkleNode, Txid, VarInt,
    bip152::{HeaderAndShortIds, PrefilledTransaction, ShortId},
    block::{Header, Version},
    consensus::{Encodable, serialize},
    hashes::Hash,
    merkle_tree,
    p2p::message_compact_blocks::CmpctBlock,
};
use fastrand::Rng;

use crate::{
    mempool::Entry,
    transactions::{Transactions, coinbase, hash},
};

/// Where the simulation begins.
const START_HEIGHT: u32 = 900_000;
/// A block of ten minutes.
const SPACING: u32 = 600;
/// How many headers to remember.
const HEADERS: usize = 300;

/// The newest headers.
pub(crate) struct Chain {
    headers: VecDeque<Header>,
    pub(crate) height: u32,
}

impl Chain {
    /// A chain with a last block of `now`.
    pub(crate) fn new(rng: &mut Rng, now: u32) -> Self {
        let mut headers = VecDeque::with_capacity(HEADERS + 1);
        let mut previous = BlockHash::from_byte_array(hash(rng));
        for age in (0..HEADERS as u32).rev() {
            let root = TxMerkleNode::from_byte_array(hash(rng));
            let header = header(rng, previous, root, now.saturating_sub(age * SPACING));
            previous = header.block_hash();
            headers.push_back(header);
        }
        Self { headers, height: START_HEIGHT }
    }

    pub(crate) fn tip(&self) -> BlockHash {
        self.headers.back().map_or(BlockHash::all_zeros(), Header::block_hash)
    }

    /// The last `count` headers, oldest first.
    pub(crate) fn last_headers(&self, count: usize) -> Vec<Header> {
        let skip = self.headers.len().saturating_sub(count);
        self.headers.iter().skip(skip).copied().collect()
    }

    /// The headers after the one with the hash `after`, oldest first; none if that is not remembered.
    pub(crate) fn headers_after(&self, after: BlockHash) -> Vec<Header> {
        let count = self.headers.iter().rev().position(|header| header.block_hash() == after);
        self.last_headers(count.unwrap_or(0))
    }

    /// A locator as nodes make it: the block `skip` below the tip first, then sparser and sparser.
    pub(crate) fn locator(&self, skip: usize) -> Vec<BlockHash> {
        let back = |distance: usize| self.headers.iter().rev().nth(skip + distance);
        (0..10).chain((4..8).map(|power| 1 << power)).filter_map(back).map(Header::block_hash).collect()
    }

    /// The header of a block on the tip.
    pub(crate) fn next_header(&self, rng: &mut Rng, root: TxMerkleNode, now: u32) -> Header {
        header(rng, self.tip(), root, now)
    }

    /// Removes the tip.
    pub(crate) fn pop(&mut self) {
        self.headers.pop_back();
        self.height -= 1;
    }

    /// Makes `header` the tip.
    pub(crate) fn push(&mut self, header: Header) {
        self.headers.push_back(header);
        if self.headers.len() > HEADERS {
            self.headers.pop_front();
        }
        self.height += 1;
    }
}

fn header(rng: &mut Rng, prev_blockhash: BlockHash, merkle_root: TxMerkleNode, time: u32) -> Header {
    Header {
        version: Version::from_consensus(0x2000_0000 | rng.i32(..) & 0x1fff_e000),
        prev_blockhash,
        merkle_root,
        time,
        bits: CompactTarget::from_consensus(0x1702_3d30),
        nonce: rng.u32(..),
    }
}

/// A block of simulated transactions.
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) hash: BlockHash,
    pub(crate) height: u32,
    pub(crate) coinbase: Transaction,
    /// Without the coinbase.
    pub(crate) transactions: Vec<Entry>,
}

impl Block {
    /// The next block of `chain`; it is not connected yet.
    pub(crate) fn new(chain: &Chain, rng: &mut Rng, now: u32, transactions: Vec<Entry>) -> Self {
        Self::on(chain.tip(), chain.height + 1, rng, now, transactions)
    }

    /// The block of `height` on `previous`.
    pub(crate) fn on(previous: BlockHash, height: u32, rng: &mut Rng, now: u32, transactions: Vec<Entry>) -> Self {
        let coinbase = coinbase(height);
        let ids = transactions.iter().map(|entry| Txid::from_byte_array(entry.txid));
        let ids: Vec<Txid> = std::iter::once(coinbase.compute_txid()).chain(ids).collect();
        let root = merkle_tree::calculate_root(ids.into_iter()).expect("there is a coinbase");
        let header = header(rng, previous, root.into(), now);
        Self { hash: header.block_hash(), header, height, coinbase, transactions }
    }

    /// Transactions, the coinbase included.
    pub(crate) fn len(&self) -> usize {
        self.transactions.len() + 1
    }

    /// The payload of its `block` message.
    pub(crate) fn write(&self, supply: &mut Transactions, payload: &mut Vec<u8>) {
        payload.clear();
        payload.extend(serialize(&self.header));
        payload.extend(serialize(&VarInt::from(self.len())));
        payload.extend(serialize(&self.coinbase));
        for entry in &self.transactions {
            payload.extend_from_slice(supply.bytes(entry));
        }
    }

    /// Its `cmpctblock` message, with nothing but the coinbase in full.
    pub(crate) fn compact(&self, rng: &mut Rng) -> CmpctBlock {
        let nonce = rng.u64(..);
        let keys = ShortId::calculate_siphash_keys(&self.header, nonce);
        let ids = self.transactions.iter();
        CmpctBlock {
            compact_block: HeaderAndShortIds {
                header: self.header,
                nonce,
                short_ids: ids.map(|entry| ShortId::with_siphash_keys(&entry.wtxid, keys)).collect(),
                prefilled_txs: vec![PrefilledTransaction { idx: 0, tx: self.coinbase.clone() }],
            },
        }
    }

    /// The payload of the `blocktxn` message with the transactions at `indexes`, the coinbase being at 0.
    pub(crate) fn write_transactions(&self, supply: &mut Transactions, indexes: &[u64], payload: &mut Vec<u8>) {
        payload.clear();
        payload.extend(self.hash.to_byte_array());
        let count = VarInt::from(indexes.len());
        count.consensus_encode(payload).expect("a Vec takes any bytes");
        for &index in indexes {
            payload.extend_from_slice(supply.bytes(&self.transactions[index as usize - 1]));
        }
    }
}
