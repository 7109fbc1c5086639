//! A new block: how it arrives, step by step as peers answer, what it does to the UTXO set and the mempool, and how the
//! node relays it.

use bitcoin::{
    bip152::BlockTransactionsRequest,
    hashes::Hash,
    p2p::{
        message::NetworkMessage,
        message_blockdata::Inventory,
        message_compact_blocks::{GetBlockTxn, SendCmpct},
    },
};

use crate::{
    chain::Block,
    due::{BlockStep, OfNode, OfPeer, Rival},
    names::{Command, ConnectionType, Direction, RemovalReason, Tracepoint},
    node::{Arriving, Node, Step},
    payload,
};

/// How a block arrives.
#[derive(Clone, Copy)]
pub(super) enum Arrival {
    /// As a compact block, unasked.
    HighBandwidth,
    /// Announced by its header, fetched as a compact block.
    LowBandwidth,
    /// Announced by its hash, fetched whole.
    Whole,
}

/// What is special about a block that arrives.
#[derive(Clone, Copy, Default)]
pub(super) struct Special {
    /// The node lacks this many of its transactions.
    pub(super) missing: usize,
    /// It cannot be reconstructed from its parts, as short ids collide.
    pub(super) fails: bool,
    /// The peer that sends it leaves in the middle.
    pub(super) source_leaves: bool,
    /// Another block of its height comes later.
    pub(super) has_rival: bool,
    /// So does another, and the next block is on that one.
    pub(super) is_overtaken: bool,
}

impl Node<'_, '_> {
    /// A block of mempool transactions, and of some that the node does not have, begins to arrive.
    pub(super) fn block_arrives(&mut self, arrival: Arrival, special: Special) -> Step {
        let len = self.mempool.len();
        let share = if self.rng.u8(..12) == 0 { len } else { len / 3 };
        let mut transactions = Vec::with_capacity(share + special.missing);
        for _ in 0..share.min(2_000) {
            transactions.extend(self.mempool.take(&mut self.rng));
        }
        let known = transactions.len();
        for _ in 0..special.missing {
            transactions.push(self.supply.create(&mut self.rng, self.emitter.now()));
        }
        let rival = (special.has_rival || special.is_overtaken).then(|| {
            let same = transactions[..transactions.len() / 2].to_vec();
            let block = Block::new(&self.chain, &mut self.rng, self.emitter.now(), same);
            Box::new(Rival { block, wins: special.is_overtaken })
        });
        let block = Block::new(&self.chain, &mut self.rng, self.emitter.now(), transactions);
        let (header, hash) = (NetworkMessage::Headers(vec![block.header]), block.hash);
        let peer = if special.source_leaves { self.ready_peer_of(ConnectionType::Inbound) } else { None };
        let peer = peer.unwrap_or_else(|| self.announcer());
        let source = self.peers[peer].id;
        self.arriving = Some(Arriving { block, known, source, fails: special.fails, rival });
        match arrival {
            Arrival::HighBandwidth => self.compact_block_comes(peer)?,
            Arrival::LowBandwidth => {
                self.hear(peer, Command::Headers, &header)?;
                self.ask_for_block(peer, Inventory::CompactBlock(hash), BlockStep::Compact)?;
            }
            Arrival::Whole => {
                self.items.clear();
                self.items.push(Inventory::Block(hash));
                self.say_items(Direction::Inbound, peer, Command::Inv)?;
                let getheaders = payload::getheaders(&self.chain, 0);
                self.send(peer, Command::Getheaders, &getheaders)?;
                self.peers[peer].headers_asked = true;
                self.expect_block(peer, BlockStep::Header);
            }
        }
        if special.source_leaves && self.peers[peer].connection_type == ConnectionType::Inbound {
            self.expect_in(1, peer, OfPeer::Leaves);
        }
        // Peers that got it elsewhere announce it while it comes, or later.
        for _ in 0..3 {
            let later = self.rng.u64(10..400);
            self.plan(later, OfNode::HearsOfBlock);
        }
        Ok(())
    }

    fn ask_for_block(&mut self, peer: usize, item: Inventory, answer: BlockStep) -> Step {
        self.items.clear();
        self.items.push(item);
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        self.expect_block(peer, answer);
        Ok(())
    }

    /// The next expected step of the block.
    pub(super) fn block_goes_on(&mut self, peer: usize, step: BlockStep) -> Step {
        let Some(arriving) = &self.arriving else { return Ok(()) };
        let (block, hash) = (&arriving.block, arriving.block.hash);
        match step {
            BlockStep::Header => {
                let header = NetworkMessage::Headers(vec![block.header]);
                self.peers[peer].headers_asked = false;
                self.hear(peer, Command::Headers, &header)?;
                self.ask_for_block(peer, Inventory::WitnessBlock(hash), BlockStep::Whole)
            }
            BlockStep::Compact => self.compact_block_comes(peer),
            BlockStep::Transactions => {
                let (indexes, fails) = (arriving.missing(), arriving.fails);
                block.write_transactions(&mut self.supply, &indexes, &mut self.payload);
                self.emitter.inbound(&self.peers[peer], Command::Blocktxn, &self.payload)?;
                if fails {
                    return self.ask_for_block(peer, Inventory::WitnessBlock(hash), BlockStep::Whole);
                }
                self.block_is_there();
                Ok(())
            }
            BlockStep::Whole => {
                block.write(&mut self.supply, &mut self.payload);
                self.emitter.inbound(&self.peers[peer], Command::Block, &self.payload)?;
                self.block_is_there();
                Ok(())
            }
        }
    }

    /// The compact block, after which the node requests what it lacks.
    fn compact_block_comes(&mut self, peer: usize) -> Step {
        let Some(arriving) = &self.arriving else { return Ok(()) };
        let compact = arriving.block.compact(&mut self.rng);
        let (block_hash, indexes, fails) = (arriving.block.hash, arriving.missing(), arriving.fails);
        self.hear(peer, Command::Cmpctblock, &compact)?;
        if !indexes.is_empty() {
            let request = GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash, indexes } };
            self.send(peer, Command::Getblocktxn, &request)?;
            self.expect_block(peer, BlockStep::Transactions);
            return Ok(());
        }
        if fails {
            return self.ask_for_block(peer, Inventory::WitnessBlock(block_hash), BlockStep::Whole);
        }
        self.block_is_there();
        Ok(())
    }

    /// The peer that sent the block has left: another peer sends it whole.
    pub(super) fn fetch_block_elsewhere(&mut self) -> Step {
        let Some(arriving) = &self.arriving else { return Ok(()) };
        let hash = arriving.block.hash;
        let peer = self.announcer();
        self.ask_for_block(peer, Inventory::WitnessBlock(hash), BlockStep::Whole)
    }

    fn block_is_there(&mut self) {
        let check = self.rng.u64(5..60);
        self.plan(check, OfNode::Connects);
    }

    /// The arrived block is connected, and relayed.
    pub(super) fn block_connects(&mut self) -> Step {
        let Some(Arriving { block, known, source, fails: _, rival }) = self.arriving.take() else { return Ok(()) };
        self.connect(&block, known)?;
        self.announce_block(source, &block)?;
        self.last_block = Some(block);
        if let Some(rival) = rival {
            let later = self.rng.u64(10..300);
            self.plan(later, OfNode::HearsOfRival(rival));
        }
        Ok(())
    }

    /// One more peer announces the block that arrives or has just arrived.
    pub(super) fn hear_of_block(&mut self) -> Step {
        let arriving = self.arriving.as_ref().map(|arriving| &arriving.block);
        let Some(block) = arriving.or(self.last_block.as_ref()) else { return Ok(()) };
        match self.rng.u8(..5) {
            0 => {
                self.items.clear();
                self.items.push(Inventory::Block(block.hash));
                let peer = self.announcer();
                self.say_items(Direction::Inbound, peer, Command::Inv)
            }
            1 => {
                let compact = block.compact(&mut self.rng);
                let peer = self.announcer();
                self.hear(peer, Command::Cmpctblock, &compact)
            }
            _ => {
                let header = NetworkMessage::Headers(vec![block.header]);
                let peer = self.announcer();
                self.hear(peer, Command::Headers, &header)
            }
        }
    }

    /// Connects `block`: coins, the block itself, then the mempool, as Bitcoin Core does. The events of some dozens to
    /// hundreds of coins stand for all.
    pub(super) fn connect(&mut self, block: &Block, known: usize) -> Step {
        let mut coins = 60 + self.rng.usize(..300);
        let coinbase = block.coinbase.compute_txid().to_byte_array();
        let (add, spent) = (Tracepoint::UtxocacheAdd, Tracepoint::UtxocacheSpent);
        let height = block.height;
        for (output, txout) in (0..).zip(&block.coinbase.output) {
            let value = txout.value.to_sat() as i64;
            self.emitter.coin(add, &coinbase, output, height, value, true)?;
        }
        let (mut inputs, mut sigops) = (0, 0);
        for entry in &block.transactions {
            let (spends, makes) = (self.supply.inputs(entry), self.supply.outputs(entry));
            inputs += spends.len();
            sigops += 2 * spends.len() + makes.len();
            let fires = coins > 0;
            coins = coins.saturating_sub(spends.len() + makes.len());
            if !fires {
                continue;
            }
            for &(coin, value) in spends {
                let made = height - 1 - self.rng.u32(..100_000);
                let from_coinbase = self.rng.u8(..100) == 0;
                let txid = coin.txid.to_byte_array();
                self.emitter.coin(spent, &txid, coin.vout, made, value, from_coinbase)?;
            }
            for (output, &value) in (0..).zip(makes) {
                self.emitter.coin(add, &entry.txid, output, height, value, false)?;
            }
        }
        let duration = (2_000 + self.rng.i64(0..400) * block.len() as i64) * 1_000;
        self.emitter.block_connected(
            &block.hash.to_byte_array(),
            height as i32,
            block.len() as u64,
            inputs as i32,
            sigops as i64,
            duration,
        )?;
        self.chain.push(block.header);
        if self.rng.u8(..4) == 0 {
            self.flush()?;
        }
        for entry in &block.transactions[..known] {
            self.emitter.removed(entry, RemovalReason::Block)?;
        }
        if self.rng.u8(..4) == 0 {
            self.remove_some(RemovalReason::Conflict, 1)?;
        }
        Ok(())
    }

    /// The node relays the block to others than `from`, which request it or parts of it.
    pub(super) fn announce_block(&mut self, from: i64, block: &Block) -> Step {
        let header = NetworkMessage::Headers(vec![block.header]);
        let compact = block.compact(&mut self.rng);
        for _ in 0..3 {
            let other = self.any_peer();
            self.send(other, Command::Cmpctblock, &compact)?;
            if !block.transactions.is_empty() && self.rng.u8(..3) == 0 {
                let last = block.transactions.len() as u64;
                let indexes = vec![1 + self.rng.u64(..last)];
                let request = GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash: block.hash, indexes } };
                self.hear(other, Command::Getblocktxn, &request)?;
                block.write_transactions(&mut self.supply, &request.txs_request.indexes, &mut self.payload);
                self.emitter.outbound(&self.peers[other], Command::Blocktxn, &self.payload)?;
            }
        }
        for _ in 0..4 {
            let other = self.any_peer();
            if self.peers[other].id == from {
                continue;
            }
            self.send(other, Command::Headers, &header)?;
            if self.rng.bool() {
                self.items.clear();
                self.items.push(Inventory::CompactBlock(block.hash));
                self.say_items(Direction::Inbound, other, Command::Getdata)?;
                self.send(other, Command::Cmpctblock, &compact)?;
            }
        }
        // The node asks peers that serve blocks well to send compact ones unasked.
        if self.rng.u8(..4) == 0
            && let Some(full) = self.ready_peer_of(ConnectionType::OutboundFullRelay)
        {
            let high_bandwidth = SendCmpct { send_compact: true, version: 2 };
            self.send(full, Command::Sendcmpct, &high_bandwidth)?;
        }
        if self.rng.u8(..2) == 0 {
            let other = self.any_peer();
            self.serve_block(other, block)?;
        }
        Ok(())
    }

    /// `peer` gets `block` whole. Software without witnesses requests it in the old way.
    fn serve_block(&mut self, peer: usize, block: &Block) -> Step {
        self.items.clear();
        let old = self.rng.u8(..4) == 0;
        self.items.push(if old { Inventory::Block(block.hash) } else { Inventory::WitnessBlock(block.hash) });
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        block.write(&mut self.supply, &mut self.payload);
        self.emitter.outbound(&self.peers[peer], Command::Block, &self.payload)
    }
}
