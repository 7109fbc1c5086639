//! Which peers are connected. In: a peer's number and endpoint. Out: its conversation. Its ends differ from those of all
//! others that are remembered. Bounded.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::conversation::Conversation;

/// The largest number of conversations to remember.
const MOST: usize = 65_536;
/// The node's addresses are not known, so they are among those for documentation (RFC 5737, RFC 3849).
pub(super) const NODE_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const NODE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The port that peers connect to.
const NODE_PORT: u16 = 8333;
/// Synthesised ports begin here (RFC 6335).
const MADE_UP: u16 = 49_152;

#[derive(Debug, Default)]
pub(super) struct Conversations {
    by_peer: HashMap<i64, Conversation>,
    /// Which peer has these ends: the node's port and the peer's address.
    ends: HashMap<(u16, SocketAddr), i64>,
    opened: u32,
    uses: u64,
}

impl Conversations {
    pub(super) fn get(&mut self, peer_id: i64) -> Option<&mut Conversation> {
        let conversation = self.by_peer.get_mut(&peer_id)?;
        self.uses += 1;
        conversation.used = self.uses;
        Some(conversation)
    }

    /// A new conversation for a peer at this address. It replaces any that the peer had.
    pub(super) fn open(&mut self, peer_id: i64, at: SocketAddr, is_inbound: bool) -> &mut Conversation {
        self.close(peer_id);
        self.make_room();
        let (port, at) = if is_inbound { self.inbound(peer_id, at) } else { self.outbound(peer_id, at) };
        // Two connections cannot have the same ends at once: the other one is gone, and no event said so.
        if let Some(other) = self.ends.insert((port, at), peer_id) {
            self.by_peer.remove(&other);
        }
        self.opened = self.opened.wrapping_add(1);
        self.uses += 1;
        let mut conversation = Conversation::new(SocketAddr::new(node(at.ip()), port), at, is_inbound, self.opened);
        conversation.used = self.uses;
        self.by_peer.entry(peer_id).insert_entry(conversation).into_mut()
    }

    pub(super) fn close(&mut self, peer_id: i64) -> Option<Conversation> {
        let conversation = self.by_peer.remove(&peer_id)?;
        self.ends.remove(&(conversation.node().port(), conversation.peer()));
        Some(conversation)
    }

    pub(super) fn clear(&mut self) {
        self.by_peer.clear();
        self.ends.clear();
    }

    /// A peer that connects has a port of its own, except through I2P.
    fn inbound(&self, peer_id: i64, at: SocketAddr) -> (u16, SocketAddr) {
        if at.port() != 0 {
            return (NODE_PORT, at);
        }
        let with = |port| (NODE_PORT, SocketAddr::new(at.ip(), port));
        with(self.made_up(peer_id, with))
    }

    fn outbound(&self, peer_id: i64, at: SocketAddr) -> (u16, SocketAddr) {
        (self.made_up(peer_id, |port| (port, at)), at)
    }

    /// A port that depends on the peer's number, or the next one with ends that no other conversation has.
    fn made_up(&self, peer_id: i64, ends: impl Fn(u16) -> (u16, SocketAddr)) -> u16 {
        let count = u16::MAX - MADE_UP + 1;
        let first = peer_id.rem_euclid(count.into()) as u16;
        let port = |step| MADE_UP + (first + step) % count;
        (0..count).map(port).find(|&port| !self.ends.contains_key(&ends(port))).unwrap_or(port(0))
    }

    /// Forgets the quarter that was silent for the longest time. If one of them speaks again, it begins anew.
    fn make_room(&mut self) {
        if self.by_peer.len() < MOST {
            return;
        }
        let mut used: Vec<u64> = self.by_peer.values().map(|conversation| conversation.used).collect();
        let (_, &mut last, _) = used.select_nth_unstable(MOST / 4);
        self.by_peer.retain(|_, conversation| conversation.used > last);
        self.ends.retain(|_, peer_id| self.by_peer.contains_key(peer_id));
    }
}

/// Of the same family, and different from the peer's address.
fn node(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(NODE_IPV4) => Ipv4Addr::new(192, 0, 2, 2).into(),
        IpAddr::V4(_) => NODE_IPV4.into(),
        IpAddr::V6(NODE_IPV6) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into(),
        IpAddr::V6(_) => NODE_IPV6.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(conversations: &mut Conversations, peer_id: i64, at: &str, is_inbound: bool) -> String {
        let conversation = conversations.open(peer_id, at.parse().unwrap(), is_inbound);
        format!("{} {}", conversation.node(), conversation.peer())
    }

    #[test]
    fn ends_are_as_told_or_depend_on_the_peers_number() {
        let conversations = &mut Conversations::default();
        assert_eq!(ends(conversations, 0, "1.2.3.4:5", true), "192.0.2.1:8333 1.2.3.4:5");
        assert_eq!(ends(conversations, 1, "[3fff::1]:5", true), "[2001:db8::1]:8333 [3fff::1]:5");
        assert_eq!(ends(conversations, 2, "1.2.3.4:8333", false), "192.0.2.1:49154 1.2.3.4:8333");
        assert_eq!(ends(conversations, 16_383, "[3fff::1]:0", false), "[2001:db8::1]:65535 [3fff::1]:0");
        assert_eq!(ends(conversations, -1, "1.2.3.4:8333", false), "192.0.2.1:65535 1.2.3.4:8333");
        assert_eq!(ends(conversations, 7, "[fd60::1]:0", true), "[2001:db8::1]:8333 [fd60::1]:49159");
        assert_eq!(ends(conversations, 8, "192.0.2.1:8333", true), "192.0.2.2:8333 192.0.2.1:8333");
        assert_eq!(ends(conversations, 9, "[2001:db8::1]:8333", true), "[2001:db8::2]:8333 [2001:db8::1]:8333");
    }

    #[test]
    fn ports_that_are_made_up_are_those_of_nobody_else() {
        let conversations = &mut Conversations::default();
        for peer_id in 0..16_384 {
            conversations.open(peer_id, "1.2.3.4:8333".parse().unwrap(), false);
        }
        conversations.close(5);
        assert_eq!(ends(conversations, 16_386, "1.2.3.4:8333", false), "192.0.2.1:49157 1.2.3.4:8333");
        assert!((0..16_384).all(|peer_id| (peer_id == 5) == conversations.get(peer_id).is_none()));
        assert_eq!(ends(conversations, 16_387, "1.2.3.4:8333", false), "192.0.2.1:49155 1.2.3.4:8333");
        assert!(conversations.get(3).is_none(), "when all are taken, an older one goes");
        assert_eq!(conversations.ends.len(), conversations.by_peer.len());
    }

    #[test]
    fn a_peer_at_the_ends_of_another_takes_its_place() {
        let conversations = &mut Conversations::default();
        ends(conversations, 1, "1.2.3.4:5", true);
        ends(conversations, 2, "1.2.3.4:5", true);
        assert!(conversations.get(1).is_none() && conversations.get(2).is_some());
        conversations.close(2);
        assert!(conversations.by_peer.is_empty() && conversations.ends.is_empty());
    }

    #[test]
    fn the_silent_ones_go_for_want_of_room() {
        let conversations = &mut Conversations::default();
        let at = |number: i64| SocketAddr::new(Ipv4Addr::from(number as u32).into(), 8333);
        for peer_id in 0..MOST as i64 {
            conversations.open(peer_id, at(peer_id), true);
        }
        assert!(conversations.get(0).is_some(), "the oldest speaks");
        conversations.open(-1, at(-1), true);
        assert!(conversations.get(0).is_some() && conversations.get(-1).is_some());
        assert!(conversations.get(1).is_none() && conversations.get(MOST as i64 / 4 + 1).is_none());
        assert!(conversations.get(MOST as i64 / 4 + 2).is_some());
        assert_eq!(conversations.by_peer.len(), MOST * 3 / 4);
        assert_eq!(conversations.ends.len(), conversations.by_peer.len());
    }
}
