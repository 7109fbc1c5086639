//! Connections: their handshakes and pings, and which hosts come back. In: openings, closings and messages of peers.
//! Out: the counters of `handshakes_completed`, `pings_answered`, `reconnections` and `transport_retries`.

use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
};

use crate::{
    names::{ConnectionType, Direction, Network},
    peers::Peer,
    tally::report::ExchangesTally,
};

/// How long after its closing a host may come back, in seconds.
const RECONNECTION: u32 = 3_600;
/// The same where no message had come.
const TRANSPORT_RETRY: u32 = 60;

#[derive(Default)]
pub(super) struct Connections {
    /// Opened, without a verack yet.
    shaking_hands: HashSet<i64>,
    /// Outbound, without an inbound message yet.
    silent: HashSet<i64>,
    /// Peer and nonce of the node's pings.
    pings: HashSet<(i64, u64)>,
    /// When the last connection of a host was closed.
    closed: HashMap<Box<[u8]>, u32>,
    /// When a silent connection was closed, if it was the last to that address.
    closed_silently: HashMap<(CString, ConnectionType), u32>,
}

/// The address without the port, if hosts differ by it.
fn host(peer: &Peer) -> Option<&[u8]> {
    match (peer.network, peer.connection_type) {
        (Network::Unroutable | Network::Internal, _) | (Network::Onion, ConnectionType::Inbound) => None,
        (Network::Ipv4 | Network::Ipv6 | Network::Onion | Network::I2p | Network::Cjdns, _) => {
            let address = peer.address.to_bytes();
            address.rsplitn(2, |&byte| byte == b':').last()
        }
    }
}

impl Connections {
    pub(super) fn opened(&mut self, peer: &Peer, now: u32, counts: &mut ExchangesTally) {
        self.shaking_hands.insert(peer.id);
        let back = host(peer).and_then(|host| self.closed.get(host));
        if back.is_some_and(|closed| now.saturating_sub(*closed) <= RECONNECTION) {
            counts.reconnections[peer.connection_type as usize] += 1;
        }
        if peer.connection_type.direction() == Direction::Outbound {
            self.silent.insert(peer.id);
            let before = self.closed_silently.remove(&(peer.address.clone(), peer.connection_type));
            let retries = before.is_some_and(|closed| now.saturating_sub(closed) <= TRANSPORT_RETRY);
            counts.transport_retries += u64::from(retries);
        }
    }

    pub(super) fn closed(&mut self, peer: &Peer, now: u32) {
        self.shaking_hands.remove(&peer.id);
        self.pings.retain(|(id, _)| *id != peer.id);
        if let Some(host) = host(peer) {
            match self.closed.get_mut(host) {
                Some(closed) => *closed = now,
                None => _ = self.closed.insert(host.into(), now),
            }
        }
        if peer.connection_type.direction() == Direction::Outbound {
            let key = (peer.address.clone(), peer.connection_type);
            if self.silent.remove(&peer.id) {
                self.closed_silently.insert(key, now);
            } else {
                self.closed_silently.remove(&key);
            }
        }
    }

    pub(super) fn heard(&mut self, peer: &Peer) {
        self.silent.remove(&peer.id);
    }

    pub(super) fn verack(&mut self, peer: &Peer, counts: &mut ExchangesTally) {
        if self.shaking_hands.remove(&peer.id) {
            counts.handshakes_completed[peer.connection_type as usize] += 1;
        }
    }

    pub(super) fn ping(&mut self, peer: &Peer, payload: &[u8]) {
        if let Ok(nonce) = payload.try_into() {
            self.pings.insert((peer.id, u64::from_le_bytes(nonce)));
        }
    }

    pub(super) fn pong(&mut self, peer: &Peer, payload: &[u8], counts: &mut ExchangesTally) {
        if let Ok(nonce) = payload.try_into()
            && self.pings.remove(&(peer.id, u64::from_le_bytes(nonce)))
        {
            counts.pings_answered += 1;
        }
    }
}
