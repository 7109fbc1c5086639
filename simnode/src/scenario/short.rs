//! Connections that the node makes for one purpose and soon closes, and those that fail.

use bitcoin::{Txid, hashes::Hash, p2p::message_blockdata::Inventory};

use crate::{
    cli::Layout,
    names::{Command, ConnectionType, Direction},
    node::{Node, Step},
    peers::Place,
};

impl Node<'_, '_> {
    pub(super) fn any_place(&mut self) -> Place {
        let network = self.any_network();
        Place::random(&mut self.rng, network)
    }

    /// Tries whether an address works: closed once the peer has told its version.
    pub(super) fn feeler(&mut self) -> Step {
        let place = self.any_place();
        let peer = self.open(ConnectionType::Feeler, place)?;
        self.exchange_versions(peer)?;
        self.say_empty(Direction::Outbound, peer, Command::Wtxidrelay)?;
        self.say_empty(Direction::Outbound, peer, Command::Sendaddrv2)?;
        self.say_empty(Direction::Outbound, peer, Command::Verack)?;
        self.close(peer)
    }

    /// Asks for addresses.
    pub(super) fn addr_fetch(&mut self) -> Step {
        let place = self.any_place();
        let peer = self.open(ConnectionType::AddrFetch, place)?;
        self.shake_hands(peer)?;
        self.close(peer)
    }

    /// An outbound connection that the peer drops because it does not know the v2 transport, and the same again in v1.
    pub(super) fn transport_falls_back(&mut self) -> Step {
        let place = self.any_place();
        let failed = self.open(ConnectionType::OutboundFullRelay, place.clone())?;
        self.own_version(failed)?;
        self.close(failed)?;
        let peer = self.open(ConnectionType::OutboundFullRelay, place)?;
        self.shake_hands(peer)
    }

    /// The node hands one of its own transactions to a stranger (since v31).
    pub(super) fn private_broadcast(&mut self) -> Step {
        use Direction::{Inbound, Outbound};
        if self.layout < Layout::V31 {
            return Ok(());
        }
        let place = self.any_place();
        let peer = self.open(ConnectionType::PrivateBroadcast, place)?;
        self.exchange_versions(peer)?;
        self.say_empty(Outbound, peer, Command::Verack)?;
        self.say_empty(Inbound, peer, Command::Wtxidrelay)?;
        self.say_empty(Inbound, peer, Command::Sendaddrv2)?;
        self.say_empty(Inbound, peer, Command::Verack)?;
        let entry = self.supply.create(&mut self.rng, self.emitter.now());
        self.items.clear();
        self.items.push(Inventory::Transaction(Txid::from_byte_array(entry.txid)));
        self.say_items(Outbound, peer, Command::Inv)?;
        self.say_items(Inbound, peer, Command::Getdata)?;
        self.say_transaction(Outbound, peer, &entry)?;
        let nonce = self.rng.u64(1..);
        self.send(peer, Command::Ping, &nonce)?;
        self.hear(peer, Command::Pong, &nonce)?;
        self.close(peer)
    }
}
