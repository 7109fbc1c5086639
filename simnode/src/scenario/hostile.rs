//! `hostile`: honest peers connect and talk. Then one of them, which has shaken hands like the others, sends whatever
//! it may, and nobody else sends anything. The difference between a scrape after [`HONEST`] events and one at the end
//! is the work of that peer.

use std::convert::Infallible;

use bitcoin::{
    BlockHash, Txid, Wtxid,
    bip152::{BlockTransactions, BlockTransactionsRequest},
    hashes::{Hash, sha256d},
    p2p::{
        ServiceFlags,
        message::NetworkMessage,
        message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory},
        message_bloom::FilterAdd,
        message_compact_blocks::{BlockTxn, GetBlockTxn, SendCmpct},
        message_network::{Reject, RejectReason, VersionMessage},
    },
};

use crate::{
    chain::Block,
    emit::Stop,
    names::{Command, ConnectionType, Direction, Network},
    node::{Node, Step},
    payload,
    peers::Place,
    transactions::{bytes, hash},
};

/// After this many events the hostile peer begins.
const HONEST: u64 = 1_000;

/// Where the honest peers are: many groups of addresses.
const PEERS: [Network; 9] = [
    Network::Ipv4,
    Network::Ipv4,
    Network::Ipv4,
    Network::Ipv4,
    Network::Ipv4,
    Network::Ipv6,
    Network::Ipv6,
    Network::Onion,
    Network::I2p,
];

pub(super) fn play(node: &mut Node) -> Result<Infallible, Stop> {
    for network in PEERS {
        let place = Place::random(&mut node.rng, network);
        let peer = node.open(ConnectionType::Inbound, place)?;
        node.shake_hands(peer)?;
    }
    let place = Place::random(&mut node.rng, Network::Ipv4);
    let hostile = node.open(ConnectionType::Inbound, place)?;
    node.shake_hands(hostile)?;
    for peer in 0..PEERS.len() {
        node.talk(peer)?;
    }
    assert!(node.emitter.fired() <= HONEST, "the honest ones have said too much");
    while node.emitter.fired() < HONEST {
        let nonce = node.rng.u64(..);
        node.hear(0, Command::Ping, &nonce)?;
    }
    loop {
        for number in 0..Node::WAYS {
            node.offend(hostile, number)?;
        }
    }
}

impl Node<'_, '_> {
    /// An honest peer announces addresses, and requests a block, which comes.
    fn talk(&mut self, peer: usize) -> Step {
        self.gossip(Direction::Inbound, peer, 3)?;
        let block = Block::new(&self.chain, &mut self.rng, self.emitter.now(), Vec::new());
        self.items.clear();
        self.items.push(Inventory::WitnessBlock(block.hash));
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        self.say_block(Direction::Outbound, peer, &block)
    }

    fn say_block(&mut self, direction: Direction, peer: usize, block: &Block) -> Step {
        self.payload.clear();
        block.write(&mut self.supply, &mut self.payload);
        self.emitter.message(direction, &self.peers[peer], Command::Block, &self.payload)
    }

    /// How many ways to offend there are.
    const WAYS: usize = 24;

    /// One of them, by its number.
    fn offend(&mut self, peer: usize, number: usize) -> Step {
        use Direction::Inbound;
        let (now, any) = (self.emitter.now(), self.rng.u64(..));
        let mut random = || hash(&mut self.rng);
        let [one, other] = [random(), random()];
        let block_hash = BlockHash::from_byte_array(one);
        match number {
            0 => {
                let version = self.made_up_version();
                self.hear(peer, Command::Version, &version)
            }
            1 => self.hear(peer, Command::Ping, &(any >> (any % 64))),
            2 => self.say_empty(Inbound, peer, Command::Ping),
            3 => self.hear(peer, Command::Pong, &any),
            4 => self.say_empty(Inbound, peer, Command::Verack),
            5..8 => {
                let count = self.rng.usize(..if number == 6 { 3_000 } else { 9 });
                self.items.clear();
                for _ in 0..count {
                    let hash = hash(&mut self.rng);
                    self.items.push(match self.rng.u8(..6) {
                        0 => Inventory::Block(BlockHash::from_byte_array(hash)),
                        1 => Inventory::WitnessBlock(BlockHash::from_byte_array(hash)),
                        2 => Inventory::CompactBlock(BlockHash::from_byte_array(hash)),
                        3 => Inventory::WitnessTransaction(Txid::from_byte_array(hash)),
                        4 => Inventory::WTx(Wtxid::from_byte_array(hash)),
                        _ => Inventory::Unknown { inv_type: any as u32, hash },
                    });
                }
                let command = [Command::Inv, Command::Getdata, Command::Notfound][number - 5];
                self.say_items(Inbound, peer, command)
            }
            8..11 => {
                let block = Block::new(&self.chain, &mut self.rng, now, Vec::new());
                match number {
                    8 => {
                        let mut header = block.header;
                        let headers = (0..self.rng.u32(..200)).map(|nonce| {
                            header.nonce = nonce;
                            header
                        });
                        let headers = NetworkMessage::Headers(headers.collect());
                        self.hear(peer, Command::Headers, &headers)
                    }
                    9 => {
                        let compact = block.compact(&mut self.rng);
                        self.hear(peer, Command::Cmpctblock, &compact)
                    }
                    _ => self.say_block(Inbound, peer, &block),
                }
            }
            11 => {
                let request = GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash, indexes: vec![1, 2] } };
                self.hear(peer, Command::Getblocktxn, &request)
            }
            12 => {
                let answer = BlockTxn { transactions: BlockTransactions { block_hash, transactions: Vec::new() } };
                self.hear(peer, Command::Blocktxn, &answer)
            }
            13 => {
                let getheaders = GetHeadersMessage::new(vec![block_hash], BlockHash::from_byte_array(other));
                self.hear(peer, Command::Getheaders, &getheaders)
            }
            14 => {
                let getblocks = GetBlocksMessage::new(vec![block_hash], BlockHash::from_byte_array(other));
                self.hear(peer, Command::Getblocks, &getblocks)
            }
            15 => self.gossip(Inbound, peer, 1_000),
            16 => self.gossip_old(Inbound, peer, 1_000),
            17 => self.hear(peer, Command::Feefilter, &(any % 1_000_000_000)),
            18 => {
                let (ccode, reason) = (RejectReason::Malformed, "made up".into());
                let reject = Reject { message: "tx".into(), ccode, reason, hash: sha256d::Hash::from_byte_array(one) };
                self.hear(peer, Command::Reject, &reject)
            }
            19 => self.hear(peer, Command::Sendcmpct, &SendCmpct { send_compact: true, version: any }),
            20 => {
                for command in [
                    Command::Wtxidrelay,
                    Command::Sendaddrv2,
                    Command::Sendheaders,
                    Command::Getaddr,
                    Command::Mempool,
                    Command::Filterclear,
                ] {
                    self.say_empty(Inbound, peer, command)?;
                }
                Ok(())
            }
            21 => {
                let entry = self.supply.create(&mut self.rng, now);
                self.say_transaction(Inbound, peer, &entry)
            }
            22 => {
                let add = FilterAdd { data: bytes(&mut self.rng, 520) };
                self.hear(peer, Command::Filteradd, &add)?;
                self.unknown_commands(peer)
            }
            _ => self.undecodable(peer),
        }
    }

    /// Any numbers, and a new user agent.
    fn made_up_version(&mut self) -> VersionMessage {
        let services = ServiceFlags::from(self.rng.u64(..));
        let release = format!("/Satoshi:{}.{}.0/", self.rng.u8(..100), self.rng.u8(..100));
        VersionMessage {
            version: self.rng.u32(..),
            services,
            timestamp: self.rng.i64(..),
            receiver: payload::nowhere(ServiceFlags::NONE),
            sender: payload::nowhere(services),
            nonce: self.rng.u64(..),
            user_agent: if self.rng.bool() { release } else { format!("/{:x}/", self.rng.u64(..)) },
            start_height: self.rng.i32(..),
            relay: true,
        }
    }
}
