//! Messages that a node on mainnet sees rarely or no more, and messages that are not what they should be.

use bitcoin::{
    BlockHash, FilterHash, FilterHeader, Txid,
    bip152::BlockTransactionsRequest,
    hashes::{Hash, sha256d},
    merkle_tree::MerkleBlock,
    p2p::{
        message::NetworkMessage,
        message_blockdata::{GetBlocksMessage, Inventory},
        message_bloom::{BloomFlags, FilterAdd, FilterLoad},
        message_compact_blocks::GetBlockTxn,
        message_filter::{CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters},
        message_network::{Reject, RejectReason},
    },
};

use crate::{
    due::OfPeer,
    names::{Command, ConnectionType, Direction},
    node::{Node, Step},
    payload,
    transactions::{bytes, hash},
};

/// BIP 158's only type of filter.
const BASIC: u8 = 0;
/// What BIP 37 adds to inventory: a block by its part that matches a filter.
const FILTERED_BLOCK: u32 = 3;

impl Node<'_, '_> {
    /// How many rare exchanges there are.
    pub(super) const RARE: usize = 12;

    /// The rare exchange with this number, up to [`Self::RARE`].
    pub(super) fn rare(&mut self, number: usize) -> Step {
        let peer = self.relay_peer();
        match number {
            0 => self.many_addresses(peer),
            1 => self.compact_filters(peer),
            2 => self.blocks_asked_for(peer),
            3 => self.headers_asked_for(peer),
            4 => self.old_addresses(peer),
            5 => self.obsolete(peer),
            6 => self.reconciliation_offered(peer),
            7 => self.unknown_commands(peer),
            8 => self.undecodable(peer),
            9 => self.empty_messages(peer),
            10 => self.unknown_inventory(peer),
            _ => self.unknown_block_asked_for(peer),
        }
    }

    /// BIP 35 and BIP 37: a light client loads a filter and asks for what matches.
    pub(super) fn bloom_filter(&mut self, peer: usize) -> Step {
        use Direction::{Inbound, Outbound};
        let load = FilterLoad {
            filter: bytes(&mut self.rng, 200),
            hash_funcs: 11,
            tweak: self.rng.u32(..),
            flags: [BloomFlags::None, BloomFlags::All, BloomFlags::PubkeyOnly][self.rng.usize(..3)],
        };
        self.hear(peer, Command::Filterload, &load)?;
        let add = FilterAdd { data: bytes(&mut self.rng, 32) };
        self.hear(peer, Command::Filteradd, &add)?;
        self.say_empty(Inbound, peer, Command::Mempool)?;
        self.items.clear();
        for _ in 0..3 {
            let entry = self.mempool.recent(&mut self.rng);
            self.items.extend(entry.map(|entry| Inventory::Transaction(Txid::from_byte_array(entry.txid))));
        }
        self.say_items(Outbound, peer, Command::Inv)?;
        if let Some(block) = &self.last_block {
            self.items.clear();
            self.items.push(Inventory::Unknown { inv_type: FILTERED_BLOCK, hash: block.hash.to_byte_array() });
            let txids = block.transactions.iter().map(|entry| Txid::from_byte_array(entry.txid));
            let txids: Vec<_> = std::iter::once(block.coinbase.compute_txid()).chain(txids).collect();
            let matching = txids[txids.len() / 2];
            let part = MerkleBlock::from_header_txids_with_predicate(&block.header, &txids, |&txid| txid == matching);
            self.say_items(Inbound, peer, Command::Getdata)?;
            self.send(peer, Command::Merkleblock, &part)?;
        }
        self.say_empty(Inbound, peer, Command::Filterclear)
    }

    /// BIP 157: filters, their headers, and checkpoints of these.
    fn compact_filters(&mut self, peer: usize) -> Step {
        let stop_hash = self.chain.tip();
        let start_height = self.chain.height - 1;
        self.hear(peer, Command::Getcfilters, &GetCFilters { filter_type: BASIC, start_height, stop_hash })?;
        for header in self.chain.last_headers(2) {
            let filter = bytes(&mut self.rng, 2_000);
            let answer = CFilter { filter_type: BASIC, block_hash: header.block_hash(), filter };
            self.send(peer, Command::Cfilter, &answer)?;
        }
        self.hear(peer, Command::Getcfheaders, &GetCFHeaders { filter_type: BASIC, start_height, stop_hash })?;
        let headers = CFHeaders {
            filter_type: BASIC,
            stop_hash,
            previous_filter_header: FilterHeader::from_byte_array(hash(&mut self.rng)),
            filter_hashes: (0..2).map(|_| FilterHash::from_byte_array(hash(&mut self.rng))).collect(),
        };
        self.send(peer, Command::Cfheaders, &headers)?;
        self.hear(peer, Command::Getcfcheckpt, &GetCFCheckpt { filter_type: BASIC, stop_hash })?;
        let checkpoints = CFCheckpt {
            filter_type: BASIC,
            stop_hash,
            // One for every thousand blocks.
            filter_headers: (0..self.chain.height / 1_000)
                .map(|_| FilterHeader::from_byte_array(hash(&mut self.rng)))
                .collect(),
        };
        self.send(peer, Command::Cfcheckpt, &checkpoints)
    }

    fn blocks_asked_for(&mut self, peer: usize) -> Step {
        let stop_hash = BlockHash::all_zeros();
        let getblocks = GetBlocksMessage { version: 70016, locator_hashes: self.chain.locator(0), stop_hash };
        self.hear(peer, Command::Getblocks, &getblocks)?;
        self.items.clear();
        self.items.extend(self.chain.last_headers(20).iter().map(|header| Inventory::Block(header.block_hash())));
        self.say_items(Direction::Outbound, peer, Command::Inv)
    }

    /// A peer that lags behind.
    fn headers_asked_for(&mut self, peer: usize) -> Step {
        let count = 1 + self.rng.usize(..200);
        let getheaders = payload::getheaders(&self.chain, count);
        self.hear(peer, Command::Getheaders, &getheaders)?;
        let headers = NetworkMessage::Headers(self.chain.last_headers(count));
        self.send(peer, Command::Headers, &headers)
    }

    /// A peer requests a block that the node does not have. Bitcoin Core does not answer; the peer leaves in the end.
    fn unknown_block_asked_for(&mut self, peer: usize) -> Step {
        let peer = self.ready_peer_of(ConnectionType::Inbound).unwrap_or(peer);
        let block_hash = BlockHash::from_byte_array(hash(&mut self.rng));
        self.items.clear();
        self.items.push(Inventory::WitnessBlock(block_hash));
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        let request = GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash, indexes: vec![1, 2] } };
        self.hear(peer, Command::Getblocktxn, &request)?;
        if self.peers[peer].connection_type == ConnectionType::Inbound {
            let later = self.rng.u64(300..900);
            self.expect_in(later, peer, OfPeer::Leaves);
        }
        Ok(())
    }

    fn old_addresses(&mut self, peer: usize) -> Step {
        let count = 1 + self.rng.usize(..10);
        self.gossip_old(Direction::Inbound, peer, count)?;
        self.gossip_old(Direction::Outbound, peer, 2)
    }

    /// What Bitcoin Core no longer sends.
    fn obsolete(&mut self, peer: usize) -> Step {
        let alert = NetworkMessage::Alert(bytes(&mut self.rng, 60));
        self.hear(peer, Command::Alert, &alert)?;
        let (message, ccode, reason) = [
            ("tx", RejectReason::Fee, "insufficient priority"),
            ("tx", RejectReason::Dust, "dust"),
            ("tx", RejectReason::NonStandard, "non-final"),
            ("tx", RejectReason::Duplicate, "txn-already-known"),
            ("tx", RejectReason::Invalid, "bad-txns-vin-empty"),
            ("block", RejectReason::Invalid, "bad-txnmrklroot"),
            ("block", RejectReason::Checkpoint, "checkpoint mismatch"),
        ][self.rng.usize(..7)];
        let reject = Reject {
            message: message.into(),
            ccode,
            reason: reason.into(),
            hash: sha256d::Hash::from_byte_array(hash(&mut self.rng)),
        };
        self.hear(peer, Command::Reject, &reject)
    }

    /// BIP 330: version and salt.
    fn reconciliation_offered(&mut self, peer: usize) -> Step {
        let salt = self.rng.u64(..);
        self.hear(peer, Command::Sendtxrcncl, &(1_u32, salt))
    }

    pub(super) fn unknown_commands(&mut self, peer: usize) -> Step {
        for command in [Command::UnknownTwelve, Command::UnknownProtoconf, Command::UnknownShort] {
            let length = self.rng.usize(..60);
            let payload = bytes(&mut self.rng, length);
            self.emitter.inbound(&self.peers[peer], command, &payload)?;
        }
        Ok(())
    }

    /// Payloads that end too early, or that claim more than there can be.
    pub(super) fn undecodable(&mut self, peer: usize) -> Step {
        let mut inv = vec![3];
        inv.extend(bytes(&mut self.rng, 40));
        let headers = bytes(&mut self.rng, 3).repeat(20);
        let cut: [(Command, &[u8]); 5] = [
            (Command::Inv, &inv),
            (Command::Headers, &[[2].as_slice(), &headers].concat()),
            (Command::Tx, &[2, 0, 0, 0, 1, 7]),
            (Command::Addrv2, &[0xff; 9]),
            (Command::Ping, &[1, 2, 3]),
        ];
        for (command, payload) in cut {
            self.emitter.undecodable(&self.peers[peer], command, payload)?;
        }
        Ok(())
    }

    /// A ping as before BIP 31, an addrv2 of no bytes, and lists with nothing in them.
    fn empty_messages(&mut self, peer: usize) -> Step {
        self.say_empty(Direction::Inbound, peer, Command::Ping)?;
        self.say_empty(Direction::Inbound, peer, Command::Addrv2)?;
        self.items.clear();
        self.say_items(Direction::Inbound, peer, Command::Inv)?;
        self.say_items(Direction::Inbound, peer, Command::Getdata)
    }

    /// Transactions and blocks in one message, with unknown types, and an answer that none is there.
    fn unknown_inventory(&mut self, peer: usize) -> Step {
        self.items.clear();
        let mut random = || hash(&mut self.rng);
        self.items.extend([
            Inventory::Transaction(Txid::from_byte_array(random())),
            Inventory::Block(BlockHash::from_byte_array(random())),
            Inventory::Unknown { inv_type: 0, hash: [0; 32] },
            Inventory::Unknown { inv_type: 77, hash: random() },
        ]);
        self.say_items(Direction::Inbound, peer, Command::Inv)?;
        self.items.truncate(1);
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        self.say_items(Direction::Outbound, peer, Command::Notfound)
    }

    /// The most that fit into one message.
    fn many_addresses(&mut self, peer: usize) -> Step {
        self.say_empty(Direction::Inbound, peer, Command::Getaddr)?;
        self.gossip(Direction::Outbound, peer, 1_000)
    }
}
