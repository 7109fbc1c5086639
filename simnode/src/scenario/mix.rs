//! `mix`: a node on mainnet in its steady state. First its peers connect, then what happens is drawn by weight; what is
//! seldom comes once each soon.

use std::convert::Infallible;

use super::new_block::Arrival;
use crate::{
    emit::Stop,
    names::{Command, ConnectionType, Direction, Misbehaviour, Network, RemovalReason},
    node::{MOST_INBOUND, Node, Step},
    payload,
    peers::Place,
};

/// Outbound peers as Bitcoin Core wants them, and one that the operator added.
const OUTBOUND: [ConnectionType; 11] = {
    let mut types = [ConnectionType::OutboundFullRelay; 11];
    types[3] = ConnectionType::BlockRelayOnly;
    types[6] = ConnectionType::BlockRelayOnly;
    types[10] = ConnectionType::Manual;
    types
};
/// Inbound peers at the start; half as many stay at least.
const INBOUND: usize = 40;
/// Events to the first block and from it to the second, then on average from block to block.
const FIRST_BLOCKS: u64 = 400;
const BLOCK_EVERY: u64 = 5_000;
/// What happens seldom comes once each at first, so many events apart.
const RARE_EVERY: u64 = 60;

/// `blocks` says whether blocks come; only one thread has them, as there is one chain.
pub(super) fn play(node: &mut Node, blocks: bool) -> Result<Infallible, Stop> {
    node.connect_outbound()?;
    let mut next_rare = (node.emitter.fired() + RARE_EVERY, 0);
    let mut next_block = (node.emitter.fired() + FIRST_BLOCKS, 0);
    let mut inbound = 0;
    loop {
        node.answer_due_pings()?;
        if inbound < INBOUND {
            inbound += 1;
            node.inbound_connects()?;
        }
        let fired = node.emitter.fired();
        if blocks && fired >= next_block.0 {
            let number = next_block.1;
            let gap = if number == 0 { FIRST_BLOCKS } else { node.rng.u64(BLOCK_EVERY / 2..BLOCK_EVERY * 3 / 2) };
            next_block = (fired + gap, number + 1);
            node.any_block(number)?;
        }
        if next_rare.1 < Node::SELDOM && fired >= next_rare.0 {
            node.seldom(next_rare.1)?;
            next_rare = (fired + RARE_EVERY, next_rare.1 + 1);
        }
        node.anything()?;
    }
}

impl Node<'_, '_> {
    fn connect_outbound(&mut self) -> Step {
        for connection_type in OUTBOUND {
            let place = self.any_place();
            let peer = self.open(connection_type, place)?;
            self.shake_hands(peer)?;
        }
        Ok(())
    }

    fn inbound_connects(&mut self) -> Step {
        let place = self.any_place();
        let peer = self.open(ConnectionType::Inbound, place)?;
        self.shake_hands(peer)
    }

    /// The first block misses transactions, the second comes whole; then they come as they do.
    fn any_block(&mut self, number: u64) -> Step {
        let missing = if self.rng.u8(..3) == 0 { 1 + self.rng.usize(..8) } else { 0 };
        match (number, self.rng.u8(..10)) {
            (0, _) => self.block_arrives(Arrival::HighBandwidth, 3),
            (1, _) | (_, 0) => self.block_arrives(Arrival::Whole, 0),
            (2, _) | (_, 1..4) => self.block_arrives(Arrival::LowBandwidth, missing),
            _ => self.block_arrives(Arrival::HighBandwidth, missing),
        }
    }

    /// How many things happen seldom.
    const SELDOM: usize = Self::RARE + 8;

    /// What has this number, up to [`Self::SELDOM`], of that which happens seldom.
    fn seldom(&mut self, number: usize) -> Step {
        match number.checked_sub(Self::RARE) {
            None => self.rare(number),
            Some(0) => {
                let place = self.any_place();
                let peer = self.evict_for(place)?;
                self.shake_hands(peer)
            }
            Some(1) => self.inbound_misbehaves(),
            Some(2) => self.outbound_rotates(),
            Some(3) => self.feeler(),
            Some(4) => self.addr_fetch(),
            Some(5) => self.private_broadcast(),
            Some(6) => {
                self.wallet_spends()?;
                self.wallet_spends()
            }
            Some(_) => self.flush(),
        }
    }

    /// One exchange, drawn by weight in thousandths.
    fn anything(&mut self) -> Step {
        match self.rng.u16(..1_000) {
            0..250 => self.transactions_arrive(),
            250..520 => self.known_transactions_announced(),
            520..870 => self.announce_transactions(),
            870..900 => {
                let peer = self.any_peer();
                self.ping(peer)
            }
            900..930 => {
                let peer = self.any_peer();
                self.answer_ping(peer)
            }
            930..965 => {
                let direction = [Direction::Inbound, Direction::Outbound][self.rng.usize(..2)];
                let (peer, count) = (self.relay_peer(), 1 + self.rng.usize(..5));
                self.gossip(direction, peer, count)
            }
            965..970 => self.rare(3),
            970..975 => self.feefilters_change(),
            975..977 => {
                let reason = [RemovalReason::Expiry, RemovalReason::SizeLimit][self.rng.usize(..2)];
                let count = 1 + self.rng.usize(..5);
                self.remove_some(reason, count)
            }
            977..981 => self.inbound_leaves(),
            981..987 => self.inbound_arrives(),
            _ => {
                let number = self.rng.usize(..Self::SELDOM);
                self.seldom(number)
            }
        }
    }

    fn feefilters_change(&mut self) -> Step {
        let fee = payload::feefilter(&mut self.rng);
        let peer = self.relay_peer();
        self.hear(peer, Command::Feefilter, &fee)?;
        let peer = self.relay_peer();
        self.send(peer, Command::Feefilter, &fee)
    }

    fn inbound_leaves(&mut self) -> Step {
        if self.connections(Direction::Inbound) <= INBOUND / 2 {
            return Ok(());
        }
        match self.peer_of(ConnectionType::Inbound) {
            Some(peer) => self.close(peer),
            None => Ok(()),
        }
    }

    /// A new inbound peer, for which another is evicted when the node is full.
    fn inbound_arrives(&mut self) -> Step {
        let place = self.any_place();
        let peer = if self.connections(Direction::Inbound) >= MOST_INBOUND {
            self.evict_for(place)?
        } else {
            self.open(ConnectionType::Inbound, place)?
        };
        self.shake_hands(peer)
    }

    /// An inbound peer misbehaves and is dropped.
    pub(super) fn inbound_misbehaves(&mut self) -> Step {
        let Some(peer) = self.peer_of(ConnectionType::Inbound) else {
            return Ok(());
        };
        let reason = Misbehaviour::ALL[self.rng.usize(..Misbehaviour::ALL.len())];
        self.emitter.misbehaving(&self.peers[peer], reason)?;
        self.close(peer)
    }

    /// An outbound peer is given up for another, with or without falling back to the old transport.
    pub(super) fn outbound_rotates(&mut self) -> Step {
        if let Some(peer) = self.peer_of(ConnectionType::OutboundFullRelay) {
            self.close(peer)?;
        }
        if self.rng.bool() {
            return self.transport_falls_back();
        }
        let network = [Network::Ipv4, Network::Ipv6, Network::Onion][self.rng.usize(..3)];
        let place = Place::random(&mut self.rng, network);
        let peer = self.open(ConnectionType::OutboundFullRelay, place)?;
        self.shake_hands(peer)
    }
}
