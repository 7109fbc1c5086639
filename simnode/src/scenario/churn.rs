//! `churn`: peers come and go. Inbound ones from few subnets fill the node until it evicts, come back after closing, and
//! misbehave; outbound ones are tried, rotated and fall back to the old transport.

use std::convert::Infallible;

use crate::{
    emit::Stop,
    names::{ConnectionType, Direction},
    node::{MOST_INBOUND, Node, Step},
    peers::Place,
};

pub(super) fn play(node: &mut Node) -> Result<Infallible, Stop> {
    for connection_type in [ConnectionType::BlockRelayOnly, ConnectionType::OutboundFullRelay] {
        for _ in 0..4 {
            let place = node.outbound_place();
            let peer = node.open(connection_type, place)?;
            node.shake_hands(peer)?;
        }
    }
    loop {
        node.do_what_is_due()?;
        match node.rng.u8(..100) {
            0..50 => {
                let place = match node.rng.u8(..4) {
                    0 => node.any_place(),
                    _ => {
                        let subnet = node.rng.u8(..4);
                        Place::in_subnet(&mut node.rng, subnet)
                    }
                };
                node.visitor(place)?;
            }
            50..60 => {
                if let Some(place) = node.gone_place(Direction::Inbound) {
                    node.visitor(place)?;
                }
            }
            60..80 => node.visitor_leaves()?,
            80..84 => node.inbound_misbehaves()?,
            84..88 => node.feeler()?,
            88..91 => node.addr_fetch()?,
            91..93 => node.outbound_rotates()?,
            93..95 => {
                node.give_up_outbound()?;
                node.transport_falls_back()?;
            }
            95..96 => node.private_broadcast()?,
            96..98 => {
                let peer = node.any_peer();
                node.ping(peer)?;
            }
            _ => {
                let peer = node.any_peer();
                node.answer_ping(peer)?;
            }
        }
    }
}

impl Node<'_, '_> {
    /// An inbound peer comes. Half of them send no more than their version.
    fn visitor(&mut self, place: Place) -> Step {
        let peer = if self.connections(Direction::Inbound) >= MOST_INBOUND {
            self.evict_for(place)?
        } else {
            self.open(ConnectionType::Inbound, place)?
        };
        if self.rng.bool() { self.meet(peer) } else { self.meet_mute(peer) }
    }

    fn visitor_leaves(&mut self) -> Step {
        match self.peer_of(ConnectionType::Inbound) {
            Some(peer) => self.close(peer),
            None => Ok(()),
        }
    }
}
