//! Two nodes meet: versions, what they support, veracks, and their first messages. In: an opened connection. Out: a
//! ready peer, or one that has done its purpose and is closed.

use bitcoin::{
    Txid,
    hashes::Hash,
    p2p::{message::NetworkMessage, message_blockdata::Inventory},
};

use crate::{
    cli::Layout,
    due::OfPeer,
    mempool::Entry,
    names::{Command, ConnectionType, Direction},
    node::{Node, Step},
    payload,
};

impl Node<'_, '_> {
    /// The whole handshake at once, in Bitcoin Core's order.
    pub(super) fn shake_hands(&mut self, peer: usize) -> Step {
        self.exchange_versions(peer)?;
        self.features(peer)?;
        self.peer_verack(peer)
    }

    /// Begins a handshake. The peer's part comes later.
    pub(super) fn meet(&mut self, peer: usize) -> Step {
        self.begin(peer, true)
    }

    /// The same with a peer that sends no more than its version.
    pub(super) fn meet_mute(&mut self, peer: usize) -> Step {
        self.begin(peer, false)
    }

    fn begin(&mut self, peer: usize, goes_on: bool) -> Step {
        if self.peers[peer].connection_type != ConnectionType::Inbound {
            self.own_version(peer)?;
        }
        self.expect(peer, OfPeer::Version { goes_on });
        Ok(())
    }

    pub(super) fn version_comes(&mut self, peer: usize, goes_on: bool) -> Step {
        self.peer_version(peer)?;
        if self.peers[peer].connection_type == ConnectionType::Inbound {
            self.own_version(peer)?;
        }
        self.features(peer)?;
        match self.peers[peer].connection_type {
            // It shows only whether there is a node at the address.
            ConnectionType::Feeler => return self.close(peer),
            ConnectionType::Inbound
            | ConnectionType::OutboundFullRelay
            | ConnectionType::BlockRelayOnly
            | ConnectionType::Manual
            | ConnectionType::AddrFetch
            | ConnectionType::PrivateBroadcast => {}
        }
        if goes_on {
            self.expect(peer, OfPeer::Verack);
        }
        Ok(())
    }

    /// The version messages, in the order in which they come.
    pub(super) fn exchange_versions(&mut self, peer: usize) -> Step {
        if self.peers[peer].connection_type == ConnectionType::Inbound {
            self.peer_version(peer)?;
            self.own_version(peer)
        } else {
            self.own_version(peer)?;
            self.peer_version(peer)
        }
    }

    fn peer_version(&mut self, peer: usize) -> Step {
        let (now, height) = (self.emitter.now(), self.chain.height);
        let version = payload::peer_version(&mut self.rng, &self.peers[peer], now, height, self.is_hostile);
        self.hear(peer, Command::Version, &version)
    }

    pub(super) fn own_version(&mut self, peer: usize) -> Step {
        let (now, height, agent) = (self.emitter.now(), self.chain.height, self.layout.user_agent());
        let version = payload::own_version(&mut self.rng, &self.peers[peer], now, height, agent);
        self.send(peer, Command::Version, &version)
    }

    /// The node's answer to a version.
    fn features(&mut self, peer: usize) -> Step {
        use Direction::Outbound;
        let own_purpose = self.peers[peer].connection_type == ConnectionType::PrivateBroadcast;
        if !own_purpose {
            self.say_empty(Outbound, peer, Command::Wtxidrelay)?;
            self.say_empty(Outbound, peer, Command::Sendaddrv2)?;
        }
        self.say_empty(Outbound, peer, Command::Verack)?;
        match self.peers[peer].connection_type {
            ConnectionType::OutboundFullRelay | ConnectionType::Manual | ConnectionType::AddrFetch => {
                self.say_empty(Outbound, peer, Command::Getaddr)
            }
            ConnectionType::Inbound
            | ConnectionType::BlockRelayOnly
            | ConnectionType::Feeler
            | ConnectionType::PrivateBroadcast => Ok(()),
        }
    }

    /// The peer has the node's version. Both send what they send to a new peer.
    pub(super) fn peer_verack(&mut self, peer: usize) -> Step {
        use Direction::Inbound;
        self.say_empty(Inbound, peer, Command::Wtxidrelay)?;
        self.say_empty(Inbound, peer, Command::Sendaddrv2)?;
        if self.layout == Layout::V31 {
            self.peer_features(peer)?;
        }
        self.say_empty(Inbound, peer, Command::Verack)?;
        match self.peers[peer].connection_type {
            ConnectionType::PrivateBroadcast => return self.broadcast_by(peer),
            // It stays until its addresses have come.
            ConnectionType::AddrFetch => {}
            ConnectionType::Inbound
            | ConnectionType::OutboundFullRelay
            | ConnectionType::BlockRelayOnly
            | ConnectionType::Manual
            | ConnectionType::Feeler => self.peers[peer].ready = true,
        }
        self.first_messages(peer)
    }

    /// Besides the newest nodes there are some that reconcile (BIP 330), and some that name features (BIP 434).
    fn peer_features(&mut self, peer: usize) -> Step {
        let number = self.peers[peer].id;
        match number.rem_euclid(4) {
            0 => self.hear(peer, Command::Sendtxrcncl, &(1_u32, number)),
            1 => self.hear(peer, Command::Feature, &(b"a-feature".to_vec(), vec![1_u8, 0, 0, 0])),
            _ => Ok(()),
        }
    }

    fn first_messages(&mut self, peer: usize) -> Step {
        use Direction::{Inbound, Outbound};
        let inbound = self.peers[peer].connection_type == ConnectionType::Inbound;
        let relays = self.peers[peer].relays_transactions();
        self.send(peer, Command::Sendcmpct, &payload::low_bandwidth())?;
        self.ping(peer)?;
        if !inbound {
            self.ask_for_headers(peer)?;
        }
        if relays {
            self.send(peer, Command::Feefilter, &100_i64)?;
        }
        self.hear(peer, Command::Sendcmpct, &payload::low_bandwidth())?;
        self.answer_ping(peer)?;
        // The peer's best block is the node's, and it requests what follows the previous one.
        let getheaders = payload::getheaders(&self.chain, 1);
        self.hear(peer, Command::Getheaders, &getheaders)?;
        let headers = NetworkMessage::Headers(self.chain.last_headers(1));
        self.send(peer, Command::Headers, &headers)?;
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
            self.expect(peer, OfPeer::Addresses);
        }
        Ok(())
    }

    /// The answer to getaddr.
    pub(super) fn addresses_come(&mut self, peer: usize) -> Step {
        let count = 20 + self.rng.usize(..100);
        self.gossip(Direction::Inbound, peer, count)?;
        if self.peers[peer].connection_type == ConnectionType::AddrFetch {
            return self.close(peer);
        }
        Ok(())
    }

    /// The node announces one of its own transactions to a stranger.
    fn broadcast_by(&mut self, peer: usize) -> Step {
        let entry = self.supply.create(&mut self.rng, self.emitter.now());
        self.items.clear();
        self.items.push(Inventory::Transaction(Txid::from_byte_array(entry.txid)));
        self.say_items(Direction::Outbound, peer, Command::Inv)?;
        self.expect(peer, OfPeer::BroadcastAsked(Box::new(entry)));
        Ok(())
    }

    /// The stranger requests it. Its answer to a ping shows that it came, and then the node leaves.
    pub(super) fn broadcast_asked(&mut self, peer: usize, entry: &Entry) -> Step {
        self.items.clear();
        self.items.push(Inventory::Transaction(Txid::from_byte_array(entry.txid)));
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        self.say_transaction(Direction::Outbound, peer, entry)?;
        self.ping(peer)
    }
}
