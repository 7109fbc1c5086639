//! Connections that the node makes for one purpose and soon closes, and those that fail.

use crate::{
    cli::Layout,
    due::{OfNode, OfPeer},
    names::ConnectionType,
    node::{Node, Step},
    peers::Place,
};

impl Node<'_, '_> {
    /// Tries whether an address works: the node closes it once the peer has sent its version.
    pub(super) fn feeler(&mut self) -> Step {
        self.connect_to_any(ConnectionType::Feeler)
    }

    /// Asks for addresses.
    pub(super) fn addr_fetch(&mut self) -> Step {
        self.connect_to_any(ConnectionType::AddrFetch)
    }

    /// The node hands one of its own transactions to a stranger (since v31).
    pub(super) fn private_broadcast(&mut self) -> Step {
        if self.layout < Layout::V31 {
            return Ok(());
        }
        self.connect_to_any(ConnectionType::PrivateBroadcast)
    }

    pub(super) fn connect_to_any(&mut self, connection_type: ConnectionType) -> Step {
        let place = self.outbound_place();
        let peer = self.open(connection_type, place)?;
        self.meet(peer)
    }

    /// An outbound connection that the peer drops because it does not know the v2 transport, and the same again in v1.
    pub(super) fn transport_falls_back(&mut self) -> Step {
        let place = self.outbound_place();
        let peer = self.open(ConnectionType::OutboundFullRelay, place)?;
        self.own_version(peer)?;
        self.expect(peer, OfPeer::DropsTransport);
        Ok(())
    }

    pub(super) fn transport_dropped(&mut self, peer: usize) -> Step {
        let place = self.peers[peer].place.clone();
        self.close(peer)?;
        let later = self.rng.u64(10..100);
        self.plan(later, OfNode::FallsBack(place));
        Ok(())
    }

    pub(super) fn fall_back(&mut self, place: Place) -> Step {
        if self.has_connected_to(&place) {
            return Ok(());
        }
        let peer = self.open(ConnectionType::OutboundFullRelay, place)?;
        self.meet(peer)
    }
}
