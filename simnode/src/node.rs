//! The simulated node's state, and the steps that all scenarios share: say a message, open and close a connection, shake
//! hands. Takes decisions of a scenario, gives events to the [`Emitter`].

use std::{collections::VecDeque, mem};

use bitcoin::{
    consensus::Encodable,
    p2p::{ServiceFlags, message::NetworkMessage, message_blockdata::Inventory},
};
use fastrand::Rng;

use crate::{
    chain::{Block, Chain},
    cli::{Layout, Options},
    emit::{Emitter, Stop},
    mempool::{Entry, Mempool},
    names::{Command, ConnectionType, Direction, Network},
    payload,
    peers::{Peer, Place},
    transactions::Transactions,
};

/// The most inbound peers that a node with default options takes.
pub(crate) const MOST_INBOUND: usize = 114;

/// How the result of each step is told: `Err` when it was the last.
pub(crate) type Step = Result<(), Stop>;

pub(crate) struct Node<'e, 'p> {
    pub(crate) emitter: &'e mut Emitter<'p>,
    pub(crate) rng: Rng,
    pub(crate) layout: Layout,
    next_id: i64,
    /// Threads share the ids among them, each taking every Nth.
    id_step: i64,
    pub(crate) peers: Vec<Peer>,
    pub(crate) supply: Transactions,
    pub(crate) mempool: Mempool,
    pub(crate) chain: Chain,
    /// The last block, as long as peers ask for it.
    pub(crate) last_block: Option<Block>,
    /// How often the wallet has made a transaction.
    pub(crate) spends: u64,
    /// Pings that the peers have not answered: when to, by whom, nonce.
    pings: VecDeque<(u64, i64, u64)>,
    /// Kept so that messages need no allocation.
    pub(crate) payload: Vec<u8>,
    pub(crate) items: Vec<Inventory>,
    pub(crate) picked: Vec<Entry>,
}

impl<'e, 'p> Node<'e, 'p> {
    /// The node of the thread numbered `thread`.
    pub(crate) fn new(emitter: &'e mut Emitter<'p>, options: &Options, layout: Layout, thread: u32) -> Self {
        let own = u64::from(thread).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Rng::with_seed(options.seed ^ own);
        let supply = Transactions::new(&mut rng);
        let chain = Chain::new(&mut rng, emitter.now());
        Self {
            emitter,
            layout,
            next_id: i64::from(thread),
            id_step: i64::from(options.threads),
            peers: Vec::new(),
            supply,
            mempool: Mempool::default(),
            chain,
            last_block: None,
            spends: 0,
            pings: VecDeque::new(),
            payload: Vec::new(),
            items: Vec::new(),
            picked: Vec::new(),
            rng,
        }
    }

    /// A message with `value` for payload, to or from the peer at `peer`.
    pub(crate) fn say<T: Encodable + ?Sized>(
        &mut self,
        direction: Direction,
        peer: usize,
        command: Command,
        value: &T,
    ) -> Step {
        self.payload.clear();
        value.consensus_encode(&mut self.payload).expect("a Vec takes any bytes");
        self.emitter.message(direction, &self.peers[peer], command, &self.payload)
    }

    pub(crate) fn hear<T: Encodable + ?Sized>(&mut self, peer: usize, command: Command, value: &T) -> Step {
        self.say(Direction::Inbound, peer, command, value)
    }

    pub(crate) fn send<T: Encodable + ?Sized>(&mut self, peer: usize, command: Command, value: &T) -> Step {
        self.say(Direction::Outbound, peer, command, value)
    }

    /// A message without payload.
    pub(crate) fn say_empty(&mut self, direction: Direction, peer: usize, command: Command) -> Step {
        self.emitter.message(direction, &self.peers[peer], command, &[])
    }

    /// A message with the inventory in `self.items`.
    pub(crate) fn say_items(&mut self, direction: Direction, peer: usize, command: Command) -> Step {
        let items = mem::take(&mut self.items);
        let result = self.say(direction, peer, command, &items);
        self.items = items;
        result
    }

    /// A message with a transaction.
    pub(crate) fn say_transaction(&mut self, direction: Direction, peer: usize, entry: &Entry) -> Step {
        let payload = self.supply.bytes(entry);
        self.emitter.transaction(direction, &self.peers[peer], entry, payload)
    }

    /// How many peers of this direction there are.
    pub(crate) fn connections(&self, direction: Direction) -> usize {
        let of_direction = |peer: &&Peer| peer.connection_type.direction() == direction;
        self.peers.iter().filter(of_direction).count()
    }

    /// Any peer, by position. There is always one.
    pub(crate) fn any_peer(&mut self) -> usize {
        self.rng.usize(..self.peers.len())
    }

    /// Any peer that transactions are exchanged with, by position.
    pub(crate) fn relay_peer(&mut self) -> usize {
        let start = self.any_peer();
        (start..self.peers.len())
            .chain(0..start)
            .find(|&index| self.peers[index].relays_transactions())
            .unwrap_or(start)
    }

    /// Any peer of `connection_type`, by position.
    pub(crate) fn peer_of(&mut self, connection_type: ConnectionType) -> Option<usize> {
        let start = self.any_peer();
        (start..self.peers.len()).chain(0..start).find(|&index| self.peers[index].connection_type == connection_type)
    }

    /// Ipv4 more often than others, as on mainnet.
    pub(crate) fn any_network(&mut self) -> Network {
        match self.rng.u8(..20) {
            0..9 => Network::Ipv4,
            9..12 => Network::Ipv6,
            12..17 => Network::Onion,
            17..19 => Network::I2p,
            _ => Network::Cjdns,
        }
    }

    /// A connection to or from `place`; gives the peer's position.
    pub(crate) fn open(&mut self, connection_type: ConnectionType, place: Place) -> Result<usize, Stop> {
        let peer = Peer {
            id: self.next_id,
            address: place.peer_address(&mut self.rng, connection_type),
            connection_type,
            network: place.network,
            established: self.emitter.now(),
            place,
        };
        self.next_id += self.id_step;
        self.peers.push(peer);
        let index = self.peers.len() - 1;
        let existing = self.connections(connection_type.direction());
        self.emitter.opened(&self.peers[index], existing)?;
        Ok(index)
    }

    /// Closes the connection of the peer at `peer`. Another peer takes its position.
    pub(crate) fn close(&mut self, peer: usize) -> Step {
        let peer = self.peers.swap_remove(peer);
        self.emitter.closed(&peer)
    }

    /// Evicts an inbound peer for a new one, as Bitcoin Core does when it is full.
    pub(crate) fn evict_for(&mut self, place: Place) -> Result<usize, Stop> {
        let Some(old) = self.peer_of(ConnectionType::Inbound) else {
            return self.open(ConnectionType::Inbound, place);
        };
        self.emitter.evicted(&self.peers[old])?;
        self.open(ConnectionType::Inbound, place)?;
        // The new peer, being the last, takes the position of the old.
        self.close(old)?;
        Ok(old)
    }

    /// A ping of the node, which the peer will answer after some more events.
    pub(crate) fn ping(&mut self, peer: usize) -> Step {
        let nonce = self.rng.u64(1..);
        self.send(peer, Command::Ping, &nonce)?;
        let due = self.emitter.fired() + 5 + self.rng.u64(..20);
        self.pings.push_back((due, self.peers[peer].id, nonce));
        Ok(())
    }

    /// A ping of the peer, with the node's answer.
    pub(crate) fn answer_ping(&mut self, peer: usize) -> Step {
        let nonce = self.rng.u64(1..);
        self.hear(peer, Command::Ping, &nonce)?;
        self.send(peer, Command::Pong, &nonce)
    }

    /// Lets peers answer pings whose time has come, unless they are gone.
    pub(crate) fn answer_due_pings(&mut self) -> Step {
        while let Some(&(due, id, nonce)) = self.pings.front() {
            if due > self.emitter.fired() {
                break;
            }
            self.pings.pop_front();
            if let Some(peer) = self.peers.iter().position(|peer| peer.id == id) {
                self.hear(peer, Command::Pong, &nonce)?;
            }
        }
        Ok(())
    }

    /// The version messages, in the order in which they come.
    pub(crate) fn exchange_versions(&mut self, peer: usize) -> Step {
        let inbound = self.peers[peer].connection_type == ConnectionType::Inbound;
        if inbound {
            self.peer_version(peer)?;
            self.own_version(peer)
        } else {
            self.own_version(peer)?;
            self.peer_version(peer)
        }
    }

    fn peer_version(&mut self, peer: usize) -> Step {
        let (now, height) = (self.emitter.now(), self.chain.height);
        let version = payload::peer_version(&mut self.rng, &self.peers[peer], now, height);
        self.hear(peer, Command::Version, &version)
    }

    pub(crate) fn own_version(&mut self, peer: usize) -> Step {
        let (now, height, agent) = (self.emitter.now(), self.chain.height, self.layout.user_agent());
        let version = payload::own_version(&mut self.rng, &self.peers[peer], now, height, agent);
        self.send(peer, Command::Version, &version)
    }

    /// All that two nodes say when they meet, in Bitcoin Core's order.
    pub(crate) fn shake_hands(&mut self, peer: usize) -> Step {
        use Direction::{Inbound, Outbound};
        let connection_type = self.peers[peer].connection_type;
        let inbound = connection_type == ConnectionType::Inbound;
        let relays = self.peers[peer].relays_transactions();
        self.exchange_versions(peer)?;
        self.say_empty(Outbound, peer, Command::Wtxidrelay)?;
        self.say_empty(Outbound, peer, Command::Sendaddrv2)?;
        self.say_empty(Outbound, peer, Command::Verack)?;
        if !inbound && relays {
            self.say_empty(Outbound, peer, Command::Getaddr)?;
        }
        self.say_empty(Inbound, peer, Command::Wtxidrelay)?;
        self.say_empty(Inbound, peer, Command::Sendaddrv2)?;
        self.say_empty(Inbound, peer, Command::Verack)?;
        self.send(peer, Command::Sendcmpct, &payload::low_bandwidth())?;
        self.ping(peer)?;
        if !inbound {
            let getheaders = payload::getheaders(&self.chain);
            self.send(peer, Command::Getheaders, &getheaders)?;
        }
        if relays {
            self.send(peer, Command::Feefilter, &100_i64)?;
        }
        self.hear(peer, Command::Sendcmpct, &payload::low_bandwidth())?;
        self.answer_ping(peer)?;
        let getheaders = payload::getheaders(&self.chain);
        self.hear(peer, Command::Getheaders, &getheaders)?;
        self.send(peer, Command::Headers, &NetworkMessage::Headers(Vec::new()))?;
        if relays {
            let fee = payload::feefilter(&mut self.rng);
            self.hear(peer, Command::Feefilter, &fee)?;
        }
        self.say_empty(Outbound, peer, Command::Sendheaders)?;
        self.say_empty(Inbound, peer, Command::Sendheaders)?;
        if inbound && self.rng.u8(..3) == 0 {
            self.say_empty(Inbound, peer, Command::Getaddr)?;
            let count = 100 + self.rng.usize(..200);
            self.gossip(Outbound, peer, count)?;
        } else if !inbound && relays {
            let count = 20 + self.rng.usize(..100);
            self.gossip(Inbound, peer, count)?;
        }
        Ok(())
    }

    /// An `addrv2` message with `count` addresses, the first of them often the sender's.
    pub(crate) fn gossip(&mut self, direction: Direction, peer: usize, count: usize) -> Step {
        let now = self.emitter.now();
        let own = &self.peers[peer];
        let mut addresses: Vec<_> = Vec::with_capacity(count);
        if direction == Direction::Inbound && self.rng.u8(..3) == 0 {
            addresses.push(payload::address(&mut self.rng, &own.place, now));
        }
        while addresses.len() < count {
            let network = self.any_network();
            let place = Place::random(&mut self.rng, network);
            addresses.push(payload::address(&mut self.rng, &place, now));
        }
        self.say(direction, peer, Command::Addrv2, &addresses)
    }

    /// An `addr` message with `count` addresses, which can be of IPv4 and IPv6 only.
    pub(crate) fn gossip_old(&mut self, direction: Direction, peer: usize, count: usize) -> Step {
        let now = self.emitter.now();
        let addresses: Vec<_> = (0..count)
            .map(|_| {
                let network = if self.rng.bool() { Network::Ipv4 } else { Network::Ipv6 };
                let place = Place::random(&mut self.rng, network);
                let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
                let time = now.saturating_sub(self.rng.u32(..90_000));
                (time, payload::old_address(&place, services))
            })
            .collect();
        self.say(direction, peer, Command::Addr, &addresses)
    }
}
