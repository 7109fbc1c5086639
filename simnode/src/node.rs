//! The simulated node's state, and the steps that all scenarios share: send a message, open and close a connection,
//! pick a peer. In: decisions of a scenario. Out: events to the [`Emitter`].

use std::{collections::VecDeque, mem};

use bitcoin::{consensus::Encodable, p2p::message_blockdata::Inventory};
use fastrand::Rng;

use crate::{
    chain::{Block, Chain},
    cli::{Layout, Options},
    due::{BlockStep, Due, OfNode, OfPeer, Queue, Rival},
    emit::{Emitter, Stop},
    mempool::{Entry, Mempool},
    names::{Command, ConnectionType, Direction, Network},
    payload,
    peers::{Peer, Place},
    transactions::Transactions,
};

/// The largest number of inbound peers of a node with default options.
pub(crate) const MOST_INBOUND: usize = 114;

/// How many places of former peers to remember.
const REMEMBERED_PLACES: usize = 32;

/// The result of each step: `Err` when it was the last.
pub(crate) type Step = Result<(), Stop>;

pub(crate) struct Node<'e, 'p> {
    pub(crate) emitter: &'e mut Emitter<'p>,
    pub(crate) rng: Rng,
    pub(crate) layout: Layout,
    /// Whether peers choose hostile user agents.
    pub(crate) is_hostile: bool,
    next_id: i64,
    /// Threads share the ids: each takes every Nth.
    id_step: i64,
    pub(crate) peers: Vec<Peer>,
    pub(crate) supply: Transactions,
    pub(crate) mempool: Mempool,
    pub(crate) chain: Chain,
    /// The arriving block.
    pub(crate) arriving: Option<Arriving>,
    /// The last block, while peers ask for it.
    pub(crate) last_block: Option<Block>,
    pub(crate) queue: Queue,
    pub(crate) done: Done,
    /// Places of peers that left lately, by direction.
    gone: [VecDeque<Place>; 2],
    /// Kept so that messages need no allocation.
    pub(crate) payload: Vec<u8>,
    pub(crate) items: Vec<Inventory>,
    pub(crate) picked: Vec<Entry>,
}

/// A block on its way.
pub(crate) struct Arriving {
    pub(crate) block: Block,
    /// How many of its transactions were in the mempool; the others follow them.
    pub(crate) known: usize,
    /// The peer that sends it.
    pub(crate) source: i64,
    /// It cannot be reconstructed from its parts.
    pub(crate) fails: bool,
    /// Another block of its height, which comes later.
    pub(crate) rival: Option<Box<Rival>>,
}

impl Arriving {
    /// The positions of the transactions that the node lacks, the coinbase being at 0.
    pub(crate) fn missing(&self) -> Vec<u64> {
        (self.known as u64 + 1..self.block.len() as u64).collect()
    }
}

/// How often something was done; one in N of these fails.
#[derive(Default)]
pub(crate) struct Done {
    /// Transactions that the wallet made.
    pub(crate) spends: u64,
    /// Pings of inbound peers.
    pub(crate) inbound_pings: u64,
    /// getheaders to peers.
    pub(crate) headers_asked: u64,
    /// getdata for transactions to peers.
    pub(crate) transactions_asked: u64,
    /// Orphans with a requested parent.
    pub(crate) parents_asked: u64,
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
            is_hostile: options.hostile,
            next_id: i64::from(thread),
            id_step: i64::from(options.threads),
            peers: Vec::new(),
            supply,
            mempool: Mempool::default(),
            chain,
            arriving: None,
            last_block: None,
            queue: Queue::default(),
            done: Done::default(),
            gone: Default::default(),
            payload: Vec::new(),
            items: Vec::new(),
            picked: Vec::new(),
            rng,
        }
    }

    /// A message with `value` as payload, to or from the peer at `peer`.
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

    /// How many peers of this type there are.
    pub(crate) fn count_of(&self, connection_type: ConnectionType) -> usize {
        self.peers.iter().filter(|peer| peer.connection_type == connection_type).count()
    }

    /// How many peers of this direction there are.
    pub(crate) fn connections(&self, direction: Direction) -> usize {
        let of_direction = |peer: &&Peer| peer.connection_type.direction() == direction;
        self.peers.iter().filter(of_direction).count()
    }

    /// Any peer that fits, by position.
    fn pick(&mut self, fits: impl Fn(&Peer) -> bool) -> Option<usize> {
        let start = self.rng.usize(..self.peers.len());
        (start..self.peers.len()).chain(0..start).find(|&index| fits(&self.peers[index]))
    }

    /// Any peer that has shaken hands, by position. There is always one.
    pub(crate) fn any_peer(&mut self) -> usize {
        self.pick(|peer| peer.ready).expect("one peer always stays")
    }

    /// Any peer that transactions are exchanged with, by position. There is always one.
    pub(crate) fn relay_peer(&mut self) -> usize {
        let picked = self.pick(|peer| peer.ready && peer.relays_transactions());
        picked.unwrap_or_else(|| self.any_peer())
    }

    /// Any peer to announce a block, by position, that the node waits for no headers from.
    pub(crate) fn announcer(&mut self) -> usize {
        let picked = self.pick(|peer| peer.ready && !peer.headers_asked);
        picked.unwrap_or_else(|| self.any_peer())
    }

    /// Any peer of `connection_type` that has shaken hands, by position.
    pub(crate) fn ready_peer_of(&mut self, connection_type: ConnectionType) -> Option<usize> {
        self.pick(|peer| peer.ready && peer.connection_type == connection_type)
    }

    /// Any peer of `connection_type`, by position, even if it has not sent anything yet.
    pub(crate) fn peer_of(&mut self, connection_type: ConnectionType) -> Option<usize> {
        self.pick(|peer| peer.connection_type == connection_type)
    }

    /// Any peer of `connection_type` at an address that the operator did not name, by position.
    pub(crate) fn unnamed_peer_of(&mut self, connection_type: ConnectionType) -> Option<usize> {
        self.pick(|peer| peer.connection_type == connection_type && !peer.place.is_named())
    }

    /// The position of the peer with this id.
    pub(crate) fn find_peer(&self, id: i64) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id == id)
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

    /// Any place.
    pub(crate) fn any_place(&mut self) -> Place {
        let network = self.any_network();
        Place::random(&mut self.rng, network)
    }

    /// Any place to which the node has not connected: it does so once at most.
    pub(crate) fn outbound_place(&mut self) -> Place {
        loop {
            let place = self.any_place();
            if !self.has_connected_to(&place) {
                return place;
            }
        }
    }

    pub(crate) fn has_connected_to(&self, place: &Place) -> bool {
        let outbound = |peer: &&Peer| peer.connection_type.direction() == Direction::Outbound;
        self.peers.iter().filter(outbound).any(|peer| peer.place.is_host_of(place))
    }

    /// The place of a peer of this direction that left not long ago; each is given once.
    pub(crate) fn gone_place(&mut self, direction: Direction) -> Option<Place> {
        self.gone[direction as usize].pop_front()
    }

    /// A connection to or from `place`. Returns the peer's position.
    pub(crate) fn open(&mut self, connection_type: ConnectionType, place: Place) -> Result<usize, Stop> {
        let peer = Peer {
            id: self.next_id,
            address: place.peer_address(&mut self.rng, connection_type),
            connection_type,
            network: place.network,
            established: self.emitter.now(),
            place,
            latency: 15 + self.rng.u64(..180),
            ready: false,
            pinged: false,
            headers_asked: false,
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
        self.emitter.closed(&peer)?;
        let returns = match peer.connection_type {
            ConnectionType::Inbound | ConnectionType::OutboundFullRelay => true,
            ConnectionType::BlockRelayOnly
            | ConnectionType::Manual
            | ConnectionType::Feeler
            | ConnectionType::AddrFetch
            | ConnectionType::PrivateBroadcast => false,
        };
        if returns {
            let gone = &mut self.gone[peer.connection_type.direction() as usize];
            if gone.len() == REMEMBERED_PLACES {
                gone.pop_front();
            }
            gone.push_back(peer.place);
        }
        Ok(())
    }

    /// What the peer at `peer` does as soon as it can, some dozens to hundreds of events from now.
    pub(crate) fn expect(&mut self, peer: usize, what: OfPeer) {
        let latency = self.peers[peer].latency + self.rng.u64(5..40);
        self.expect_in(latency, peer, what);
    }

    /// What the peer at `peer` does this many events from now.
    pub(crate) fn expect_in(&mut self, events: u64, peer: usize, what: OfPeer) {
        self.queue.push(self.emitter.fired() + events, Due::OfPeer(self.peers[peer].id, what));
    }

    /// The next step of the arriving block, by the peer at `peer`.
    pub(crate) fn expect_block(&mut self, peer: usize, step: BlockStep) {
        self.expect(peer, OfPeer::Block(step));
    }

    /// What the node does this many events from now.
    pub(crate) fn plan(&mut self, events: u64, what: OfNode) {
        self.queue.push(self.emitter.fired() + events, Due::OfNode(what));
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
                let services = payload::services(&mut self.rng);
                (payload::last_seen(&mut self.rng, now), payload::old_address(&place, services))
            })
            .collect();
        self.say(direction, peer, Command::Addr, &addresses)
    }
}
