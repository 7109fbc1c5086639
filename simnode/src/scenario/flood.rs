//! `flood`: after one connection and its handshake, inbound pings with rising nonces and nothing else.

use std::convert::Infallible;

use crate::{
    emit::Stop,
    names::{Command, ConnectionType, Network},
    node::Node,
    peers::Place,
};

pub(super) fn play(node: &mut Node) -> Result<Infallible, Stop> {
    let place = Place::random(&mut node.rng, Network::Ipv4);
    let peer = node.open(ConnectionType::Inbound, place)?;
    node.shake_hands(peer)?;
    let mut nonce: u64 = 0;
    loop {
        node.emitter.inbound(&node.peers[peer], Command::Ping, &nonce.to_le_bytes())?;
        nonce = nonce.wrapping_add(1);
    }
}
