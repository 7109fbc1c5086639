//! `mix`: a node on mainnet in its steady state. First its peers connect, then events are drawn by weight. Each rare
//! event comes once, soon.

use std::convert::Infallible;

use super::new_block::{Arrival, Special};
use crate::{
    emit::Stop,
    names::{Command, ConnectionType, Direction, Misbehaviour, Network, RemovalReason},
    node::{MOST_INBOUND, Node, Step},
    payload,
    peers::Place,
};

/// Outbound peers as Bitcoin Core wants them, besides the one that the operator added.
const OUTBOUND: [ConnectionType; 10] = {
    let mut types = [ConnectionType::OutboundFullRelay; 10];
    types[3] = ConnectionType::BlockRelayOnly;
    types[6] = ConnectionType::BlockRelayOnly;
    types
};
/// Inbound peers at the start; half as many stay at least.
const INBOUND: usize = 40;
/// Networks of the first inbound peers, so that with every seed each network soon has one. Later peers come from
/// anywhere.
const FIRST_INBOUND: [Network; 6] =
    [Network::Onion, Network::Ipv4, Network::Ipv6, Network::I2p, Network::Cjdns, Network::Unroutable];
/// Events until each of the first blocks, which show the ways in which blocks arrive; then the mean between blocks.
const FIRST_BLOCKS: u64 = 400;
const BLOCK_EVERY: u64 = 5_000;
/// Each rare event comes once at first, this many events apart.
const RARE_EVERY: u64 = 60;

/// `blocks` says whether blocks come. Only one thread has them, since there is one chain.
pub(super) fn play(node: &mut Node, blocks: bool) -> Result<Infallible, Stop> {
    node.connect_outbound()?;
    let mut next_rare = (node.emitter.fired() + RARE_EVERY, 0);
    let mut next_block = (node.emitter.fired() + FIRST_BLOCKS, 0);
    let mut inbound = 0;
    loop {
        node.do_what_is_due()?;
        if inbound < INBOUND {
            node.inbound_connects(FIRST_INBOUND.get(inbound).copied())?;
            inbound += 1;
        }
        let fired = node.emitter.fired();
        if blocks && fired >= next_block.0 && node.arriving.is_none() {
            let number = next_block.1;
            let first = number < Node::FIRST_ARRIVALS - 1;
            let gap = if first { FIRST_BLOCKS } else { node.rng.u64(BLOCK_EVERY / 2..BLOCK_EVERY * 3 / 2) };
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
    /// The peer that the operator added is ready at once and stays, so that there is always one to talk to.
    fn connect_outbound(&mut self) -> Step {
        let place = Place::named(&mut self.rng);
        let peer = self.open(ConnectionType::Manual, place)?;
        self.shake_hands(peer)?;
        for connection_type in OUTBOUND {
            self.connect_to_any(connection_type)?;
        }
        Ok(())
    }

    fn inbound_connects(&mut self, network: Option<Network>) -> Step {
        let place = match network {
            Some(network) => Place::random(&mut self.rng, network),
            None => self.visiting_place(),
        };
        let peer = self.open(ConnectionType::Inbound, place)?;
        self.meet(peer)
    }

    /// Where an inbound peer comes from: now and then from the operator's own machines.
    fn visiting_place(&mut self) -> Place {
        if self.rng.u8(..25) == 0 {
            return Place::random(&mut self.rng, Network::Unroutable);
        }
        self.any_place()
    }

    /// How many of the first blocks each arrive in their own way.
    const FIRST_ARRIVALS: u64 = 7;

    /// The first ones arrive in every way there is; later ones at random.
    fn any_block(&mut self, number: u64) -> Step {
        use Arrival::{HighBandwidth, LowBandwidth, Whole};
        let usual = Special::default();
        let missing = if self.rng.u8(..3) == 0 { 1 + self.rng.usize(..8) } else { 0 };
        let (arrival, special) = match (number, self.rng.u8(..20)) {
            (0, _) => (HighBandwidth, Special { missing: 3, ..usual }),
            (1, _) => (Whole, usual),
            (2, _) => (LowBandwidth, Special { has_rival: true, ..usual }),
            (3, _) => (HighBandwidth, Special { missing: 2, fails: true, ..usual }),
            (4, _) => (HighBandwidth, Special { missing: 4, source_leaves: true, ..usual }),
            (5, _) => (LowBandwidth, Special { missing: 1, source_leaves: true, ..usual }),
            (6, _) => (HighBandwidth, Special { is_overtaken: true, ..usual }),
            (_, 0) => (Whole, usual),
            (_, 1) => (HighBandwidth, Special { fails: true, ..usual }),
            (_, 2) => (LowBandwidth, Special { missing, source_leaves: true, ..usual }),
            (_, 3) => (HighBandwidth, Special { missing, has_rival: true, ..usual }),
            (_, 4) => (HighBandwidth, Special { is_overtaken: true, ..usual }),
            (_, 5..8) => (LowBandwidth, Special { missing, ..usual }),
            _ => (HighBandwidth, Special { missing, ..usual }),
        };
        self.block_arrives(arrival, special)
    }

    /// How many things happen seldom.
    const SELDOM: usize = Self::RARE + 12;

    /// The rare event with this number, up to [`Self::SELDOM`].
    fn seldom(&mut self, number: usize) -> Step {
        match number.checked_sub(Self::RARE) {
            None => self.rare(number),
            Some(0) => {
                let place = self.visiting_place();
                let peer = self.evict_for(place)?;
                self.meet(peer)
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
            Some(7) => self.flush(),
            Some(8) => {
                self.give_up_outbound()?;
                self.transport_falls_back()
            }
            Some(9) => self.block_relay_rotates(),
            Some(10) => self.manual_comes_or_goes(),
            // Late, since it requests the last block.
            Some(_) => {
                let peer = self.relay_peer();
                self.bloom_filter(peer)
            }
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
            965..969 => self.rare(3),
            969..971 => self.outbound_checked(),
            971..975 => self.feefilters_change(),
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

    /// An inbound peer, often a former one. If the node is full, it evicts another.
    fn inbound_arrives(&mut self) -> Step {
        let back = if self.rng.u8(..3) == 0 { self.gone_place(Direction::Inbound) } else { None };
        let place = back.unwrap_or_else(|| self.visiting_place());
        let peer = if self.connections(Direction::Inbound) >= MOST_INBOUND {
            self.evict_for(place)?
        } else {
            self.open(ConnectionType::Inbound, place)?
        };
        self.meet(peer)
    }

    /// Now and then the node makes one more connection for blocks, and gives up a former one.
    fn block_relay_rotates(&mut self) -> Step {
        self.connect_to_any(ConnectionType::BlockRelayOnly)?;
        match self.ready_peer_of(ConnectionType::BlockRelayOnly) {
            Some(peer) if self.count_of(ConnectionType::BlockRelayOnly) > 3 => self.close(peer),
            _ => Ok(()),
        }
    }

    /// The operator adds another node, or removes it.
    fn manual_comes_or_goes(&mut self) -> Step {
        match self.unnamed_peer_of(ConnectionType::Manual) {
            Some(peer) => self.close(peer),
            None => self.connect_to_any(ConnectionType::Manual),
        }
    }

    /// The node asks an outbound peer for headers to see whether it keeps up.
    fn outbound_checked(&mut self) -> Step {
        let types = [ConnectionType::OutboundFullRelay, ConnectionType::BlockRelayOnly];
        let connection_type = types[self.rng.usize(..2)];
        match self.ready_peer_of(connection_type) {
            Some(peer) => self.ask_for_headers(peer),
            None => Ok(()),
        }
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

    pub(super) fn give_up_outbound(&mut self) -> Step {
        match self.ready_peer_of(ConnectionType::OutboundFullRelay) {
            Some(peer) => self.close(peer),
            None => Ok(()),
        }
    }

    /// The node gives up an outbound peer for another, with or without falling back to the old transport, or for a
    /// former one.
    pub(super) fn outbound_rotates(&mut self) -> Step {
        let back = self.gone_place(Direction::Outbound);
        self.give_up_outbound()?;
        match back {
            Some(place) if !self.has_connected_to(&place) => {
                let peer = self.open(ConnectionType::OutboundFullRelay, place)?;
                self.meet(peer)
            }
            _ if self.rng.bool() => self.transport_falls_back(),
            _ => self.connect_to_any(ConnectionType::OutboundFullRelay),
        }
    }
}
