//! A new block: how it arrives, what it does to the UTXO set and the mempool, and how it goes on.

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
    names::{Command, ConnectionType, Direction, RemovalReason, Tracepoint},
    node::{Node, Step},
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

impl Node<'_, '_> {
    /// A block of mempool transactions and of `missing` that the node does not have arrives and is connected.
    pub(super) fn block_arrives(&mut self, arrival: Arrival, missing: usize) -> Step {
        let len = self.mempool.len();
        let share = if self.rng.u8(..12) == 0 { len } else { len / 3 };
        let mut transactions = Vec::with_capacity(share + missing);
        for _ in 0..share.min(2_000) {
            transactions.extend(self.mempool.take(&mut self.rng));
        }
        let known = transactions.len();
        for _ in 0..missing {
            transactions.push(self.supply.create(&mut self.rng, self.emitter.now()));
        }
        let block = Block::new(&self.chain, &mut self.rng, self.emitter.now(), transactions);
        let peer = self.relay_peer();
        match arrival {
            Arrival::HighBandwidth => self.compact_block_arrives(peer, &block, known)?,
            Arrival::LowBandwidth => {
                let header = NetworkMessage::Headers(vec![block.header]);
                self.hear(peer, Command::Headers, &header)?;
                self.items.clear();
                self.items.push(Inventory::CompactBlock(block.hash));
                self.say_items(Direction::Outbound, peer, Command::Getdata)?;
                self.compact_block_arrives(peer, &block, known)?;
            }
            Arrival::Whole => {
                self.items.clear();
                self.items.push(Inventory::Block(block.hash));
                self.say_items(Direction::Inbound, peer, Command::Inv)?;
                let getheaders = payload::getheaders(&self.chain);
                self.send(peer, Command::Getheaders, &getheaders)?;
                let header = NetworkMessage::Headers(vec![block.header]);
                self.hear(peer, Command::Headers, &header)?;
                self.items[0] = Inventory::WitnessBlock(block.hash);
                self.say_items(Direction::Outbound, peer, Command::Getdata)?;
                block.write(&mut self.supply, &mut self.payload);
                self.emitter.inbound(&self.peers[peer], Command::Block, &self.payload)?;
            }
        }
        self.connect(&block, known)?;
        self.announce_block(peer, &block)?;
        self.last_block = Some(block);
        Ok(())
    }

    /// The compact block, and what had to be asked for: all transactions from position `known` on.
    fn compact_block_arrives(&mut self, peer: usize, block: &Block, known: usize) -> Step {
        let compact = block.compact(&mut self.rng);
        self.hear(peer, Command::Cmpctblock, &compact)?;
        if known == block.transactions.len() {
            return Ok(());
        }
        // The coinbase is at 0.
        let indexes: Vec<u64> = (known as u64 + 1..block.len() as u64).collect();
        let request = GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash: block.hash, indexes } };
        self.send(peer, Command::Getblocktxn, &request)?;
        block.write_transactions(&mut self.supply, &request.txs_request.indexes, &mut self.payload);
        self.emitter.inbound(&self.peers[peer], Command::Blocktxn, &self.payload)
    }

    /// Connects `block`: coins, the block itself, then the mempool, as Bitcoin Core does. The events of some dozens to
    /// hundreds of coins stand for all.
    fn connect(&mut self, block: &Block, known: usize) -> Step {
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

    /// Others announce the block too; the node passes it on, and is asked for it or for parts of it.
    fn announce_block(&mut self, from: usize, block: &Block) -> Step {
        let header = NetworkMessage::Headers(vec![block.header]);
        let compact = block.compact(&mut self.rng);
        for _ in 0..3 {
            let other = self.any_peer();
            if other != from {
                self.hear(other, Command::Headers, &header)?;
            }
        }
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
            self.send(other, Command::Headers, &header)?;
        }
        // Peers that serve blocks well are asked to send compact ones unasked.
        if self.rng.u8(..4) == 0
            && let Some(full) = self.peer_of(ConnectionType::OutboundFullRelay)
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

    /// `peer` gets `block` whole.
    fn serve_block(&mut self, peer: usize, block: &Block) -> Step {
        self.items.clear();
        self.items.push(Inventory::WitnessBlock(block.hash));
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        block.write(&mut self.supply, &mut self.payload);
        self.emitter.outbound(&self.peers[peer], Command::Block, &self.payload)
    }
}
