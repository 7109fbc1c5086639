//! `blocks`: big messages. A few blocks are made at the start. Each gets a new header whenever it is sent, so that its
//! hash is new and the chain grows. Merkle roots stay those of the blocks as they were made.

use std::convert::Infallible;

use bitcoin::{
    TxMerkleNode, Txid, VarInt, Wtxid,
    bip152::{BlockTransactionsRequest, HeaderAndShortIds, PrefilledTransaction, ShortId},
    block::Header,
    consensus::serialize,
    hashes::Hash,
    merkle_tree,
    p2p::{
        message::NetworkMessage,
        message_blockdata::Inventory,
        message_compact_blocks::{CmpctBlock, GetBlockTxn},
    },
};

use crate::{
    emit::Stop,
    mempool::Entry,
    names::{Command, ConnectionType, Direction, Network, Tracepoint},
    node::{Node, Step},
    payload,
    peers::Place,
    transactions::{coinbase, hash, padding},
};

/// Payload bytes of the blocks; the first is as long as a message may be.
const SIZES: [usize; 4] = [4_000_000, 1_800_000, 900_000, 300_000];
/// The last transaction fills up a block that lacks no more than this.
const LARGEST_PADDING: usize = 2_500;
/// The most headers and the most inventory in one message.
const MOST_HEADERS: usize = 2_000;
const MOST_INVENTORY: usize = 50_000;

/// Made before the first event.
pub(super) struct Supply {
    blocks: Vec<BigBlock>,
    headers: Vec<Header>,
    /// Transactions for compact blocks.
    entries: Vec<Entry>,
}

/// The payload of a `block` message.
struct BigBlock {
    payload: Vec<u8>,
    root: TxMerkleNode,
    transactions: u64,
}

impl Supply {
    pub(super) fn new(node: &mut Node) -> Self {
        let blocks = SIZES.iter().map(|&size| BigBlock::new(node, size)).collect();
        let now = node.emitter.now();
        let mut headers: Vec<Header> = Vec::with_capacity(MOST_HEADERS);
        for age in (0..MOST_HEADERS as u32).rev() {
            let root = TxMerkleNode::from_byte_array(hash(&mut node.rng));
            let mut header = node.chain.next_header(&mut node.rng, root, now.saturating_sub(600 * age));
            if let Some(previous) = headers.last() {
                header.prev_blockhash = previous.block_hash();
            }
            headers.push(header);
        }
        let entries = (0..4_000).map(|_| node.supply.create(&mut node.rng, now)).collect();
        Self { blocks, headers, entries }
    }
}

impl BigBlock {
    /// A block of exactly `size` bytes.
    fn new(node: &mut Node, size: usize) -> Self {
        let first = coinbase(node.chain.height + 1);
        let mut txids = vec![first.compute_txid()];
        let mut body = serialize(&first);
        // The header, and a count that takes three bytes.
        let rest = size - Header::SIZE - 3;
        while rest - body.len() > LARGEST_PADDING {
            let entry = node.supply.create(&mut node.rng, 0);
            txids.push(Txid::from_byte_array(entry.txid));
            body.extend_from_slice(node.supply.bytes(&entry));
        }
        let last = padding(&mut node.rng, rest - body.len());
        txids.push(last.compute_txid());
        body.extend(serialize(&last));
        let transactions = txids.len() as u64;
        let root = merkle_tree::calculate_root(txids.into_iter()).expect("there is a coinbase").into();
        let header = node.chain.next_header(&mut node.rng, root, 0);
        let mut payload = serialize(&header);
        payload.extend(serialize(&VarInt(transactions)));
        payload.extend(body);
        Self { payload, root, transactions }
    }

    /// Puts the block on the tip of the node's chain.
    fn renew(&mut self, node: &mut Node) -> Header {
        let header = node.chain.next_header(&mut node.rng, self.root, node.emitter.now());
        self.payload[..Header::SIZE].copy_from_slice(&serialize(&header));
        header
    }
}

pub(super) fn play(node: &mut Node, mut supply: Supply) -> Result<Infallible, Stop> {
    let place = Place::random(&mut node.rng, Network::Ipv4);
    let first = node.open(ConnectionType::OutboundFullRelay, place)?;
    node.exchange_versions(first)?;
    node.say_empty(Direction::Outbound, first, Command::Verack)?;
    node.say_empty(Direction::Inbound, first, Command::Verack)?;
    node.peers[first].ready = true;
    node.big_block_arrives(first, &mut supply.blocks[0])?;
    let inbound = [ConnectionType::Inbound; 6];
    for connection_type in [ConnectionType::OutboundFullRelay; 6].into_iter().chain(inbound) {
        let place = node.any_place();
        let peer = node.open(connection_type, place)?;
        node.shake_hands(peer)?;
    }
    loop {
        node.do_what_is_due()?;
        let peer = node.any_peer();
        let block = node.rng.usize(..SIZES.len());
        match node.rng.u8(..100) {
            0..25 => node.big_block_arrives(peer, &mut supply.blocks[block])?,
            25..45 => node.big_block_leaves(peer, &mut supply.blocks[block])?,
            45..65 => node.big_compact_block(peer, &supply.entries)?,
            65..80 => node.many_headers(peer, &supply.headers)?,
            80..90 => node.much_inventory(peer)?,
            90..95 => node.ping(peer)?,
            _ => node.answer_ping(peer)?,
        }
    }
}

impl Node<'_, '_> {
    fn ask_for(&mut self, direction: Direction, peer: usize, item: Inventory) -> Step {
        self.items.clear();
        self.items.push(item);
        self.say_items(direction, peer, Command::Getdata)
    }

    fn big_block_arrives(&mut self, peer: usize, block: &mut BigBlock) -> Step {
        let header = block.renew(self);
        let hash = header.block_hash();
        self.ask_for(Direction::Outbound, peer, Inventory::WitnessBlock(hash))?;
        self.emitter.inbound(&self.peers[peer], Command::Block, &block.payload)?;
        self.connect_big(header, block.transactions)
    }

    fn big_block_leaves(&mut self, peer: usize, block: &mut BigBlock) -> Step {
        let hash = block.renew(self).block_hash();
        self.ask_for(Direction::Inbound, peer, Inventory::WitnessBlock(hash))?;
        self.emitter.outbound(&self.peers[peer], Command::Block, &block.payload)
    }

    /// Connects the block of `header`; the coins of its coinbase stand for all.
    fn connect_big(&mut self, header: Header, transactions: u64) -> Step {
        let height = self.chain.height + 1;
        let coinbase = coinbase(height).compute_txid().to_byte_array();
        self.emitter.coin(Tracepoint::UtxocacheAdd, &coinbase, 0, height, 312_500_000, true)?;
        let inputs = 2 * transactions as i32;
        let hash = header.block_hash().to_byte_array();
        let duration = transactions as i64 * 50_000;
        self.emitter.block_connected(&hash, height as i32, transactions, inputs, 9_000, duration)?;
        self.chain.push(header);
        Ok(())
    }

    /// A compact block of 2,000 to 4,000 transactions. The node requests some of them.
    fn big_compact_block(&mut self, peer: usize, entries: &[Entry]) -> Step {
        let count = self.rng.usize(entries.len() / 2..entries.len());
        let ids = entries[..count].iter().map(|entry| Wtxid::from_byte_array(entry.wtxid));
        let root = TxMerkleNode::from_byte_array(hash(&mut self.rng));
        let header = self.chain.next_header(&mut self.rng, root, self.emitter.now());
        let nonce = self.rng.u64(..);
        let keys = ShortId::calculate_siphash_keys(&header, nonce);
        let compact = CmpctBlock {
            compact_block: HeaderAndShortIds {
                header,
                nonce,
                short_ids: ids.map(|id| ShortId::with_siphash_keys(&id, keys)).collect(),
                prefilled_txs: vec![PrefilledTransaction { idx: 0, tx: coinbase(self.chain.height + 1) }],
            },
        };
        self.hear(peer, Command::Cmpctblock, &compact)?;
        let missing = self.rng.usize(..1_000);
        if missing > 0 {
            let block_hash = header.block_hash();
            let indexes = (1..=missing as u64).collect();
            let request = GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash, indexes } };
            self.send(peer, Command::Getblocktxn, &request)?;
            self.payload.clear();
            self.payload.extend(block_hash.to_byte_array());
            self.payload.extend(serialize(&VarInt::from(missing)));
            for entry in &entries[..missing] {
                self.payload.extend_from_slice(self.supply.bytes(entry));
            }
            self.emitter.inbound(&self.peers[peer], Command::Blocktxn, &self.payload)?;
        }
        self.connect_big(header, count as u64 + 1)
    }

    fn many_headers(&mut self, peer: usize, headers: &[Header]) -> Step {
        let ways = [(Direction::Outbound, Direction::Inbound), (Direction::Inbound, Direction::Outbound)];
        let (asks, answers) = ways[self.rng.usize(..2)];
        let mut getheaders = payload::getheaders(&self.chain, 0);
        getheaders.locator_hashes.extend(headers.first().map(|first| first.prev_blockhash));
        self.say(asks, peer, Command::Getheaders, &getheaders)?;
        self.say(answers, peer, Command::Headers, &NetworkMessage::Headers(headers.to_vec()))
    }

    fn much_inventory(&mut self, peer: usize) -> Step {
        let count = if self.rng.u8(..4) == 0 { MOST_INVENTORY } else { self.rng.usize(100..10_000) };
        self.items.clear();
        for _ in 0..count {
            self.items.push(Inventory::WTx(Wtxid::from_byte_array(hash(&mut self.rng))));
        }
        self.say_items(Direction::Inbound, peer, Command::Inv)?;
        self.items.truncate(100);
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        self.say_items(Direction::Inbound, peer, Command::Notfound)
    }
}
