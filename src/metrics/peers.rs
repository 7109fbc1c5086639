//! Who is connected. In: messages and connection events of one run of the node. Out: the gauge of open connections, those of
//! inbound netgroups (`netgroups.rs`), and what is known of a peer.
//!
//! A message may come before the opening of its connection or after its closing, and either may be lost; so peers are kept
//! by the node's number, which is never used twice in a run.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    Options,
    family::{Gauges, Registered, families},
    labels::{CLOSINGS, MESSAGES, connection_type, network},
    listed::{InLists, Lists},
    netgroups::{Netgroup, Netgroups},
    state::{Cause, Of, State},
};
use crate::{
    event::{
        Moment,
        net::{Conn, ConnectionType, Meta},
    },
    network::{Network, ip_of},
    networks::Networks,
    table::Table,
    tracepoint::Tracepoints,
};

families! {
    struct Families with _options {
        /// Connections open now, by type and network, learnt from openings, closings and messages. A connection from
        /// before the attachment counts from its first message on, and inbound onion ones among them have the network
        /// unknown. It is no count of the node's own: that is bitcointap_p2p_node_connections.
        p2p_connections: Gauges<2> = [connection_type(), network()], from CLOSINGS;
    }
}

/// Peers that are kept; the node's own default is 125. When one more comes the one with the lowest number falls out: its
/// closing was likely lost, and if not, its next message brings it back.
const MOST_OPEN: usize = 4096;

/// Closed peers that are kept.
const MOST_CLOSED: usize = 4096;

const MINUTE: Duration = Duration::from_secs(60);

/// How long a closed peer is remembered.
const CLOSED_FOR: Duration = MINUTE;

/// A peer that was silent for so long is gone and its closing lost: Bitcoin Core pings every 2 minutes and closes a
/// connection that is silent for 20.
const SILENT_FOR: Duration = Duration::from_secs(30 * 60);

/// The peers of one run of the node.
pub(super) struct Peers {
    families: Families,
    netgroups: Netgroups,
    lists: Lists,
    open: BTreeMap<i64, Peer>,
    /// With the lists that they were in.
    closed: Table<i64, InLists>,
    /// Whether messages of both directions come, so that silence means something.
    hears_messages: bool,
    looked_for_silent: Option<Moment>,
    /// When inbound messages were lost last.
    lost_messages: Option<Moment>,
}

#[derive(Debug)]
struct Peer {
    connection_type: ConnectionType,
    network: Network,
    /// As far as it is the peer's own, and an IP address.
    address: Option<IpAddr>,
    lists: InLists,
    last_heard: Moment,
    /// When its opening was seen.
    opened: Option<Moment>,
    /// Whether a message came from it.
    spoke: bool,
}

impl Peer {
    fn place(&self) -> [usize; 2] {
        [self.connection_type as usize, self.network as usize]
    }

    /// Of an inbound peer with a routable address.
    fn netgroup(&self) -> Option<Netgroup> {
        match (self.connection_type, self.network) {
            (ConnectionType::Inbound, Network::Ipv4 | Network::Ipv6) => self.address.map(Netgroup::of),
            _ => None,
        }
    }
}

/// The peer's own IP address. What inbound onion peers have for one is that of the operator's Tor.
fn own_address(address: &str, network: Network) -> Option<IpAddr> {
    match network {
        Network::Onion | Network::I2p | Network::Internal => None,
        Network::Unroutable | Network::Ipv4 | Network::Ipv6 | Network::Cjdns | Network::Unknown => ip_of(address),
    }
}

impl Peers {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            families: Families::new(options),
            netgroups: Netgroups::new(options),
            lists: Lists::new(options),
            open: BTreeMap::new(),
            closed: Table::new(MOST_CLOSED, CLOSED_FOR),
            hears_messages: false,
            looked_for_silent: None,
            lost_messages: None,
        }
    }

    pub(super) fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
        self.netgroups.attach(attached, registered);
        // With a selection of messages not every message of a peer is seen.
        self.hears_messages = MESSAGES.iter().all(|&messages| attached.contains(messages));
    }

    /// In which lists the peer is. One that is new by a message was there before us, or its opening is yet to come, or lost.
    pub(super) fn message(&mut self, now: Moment, meta: &Meta<'_>, state: &State) -> InLists {
        if self.hears_messages && self.looked_for_silent.is_none_or(|looked| now.since(looked) >= MINUTE) {
            self.drop_silent(now, state);
        }
        if let Some(peer) = self.open.get_mut(&meta.peer_id) {
            peer.last_heard = now;
            peer.spoke |= meta.inbound;
            return peer.lists;
        }
        let network = Network::from_address(&meta.addr, meta.conn_type);
        let peer = self.peer(now, meta.conn_type, network, &meta.addr);
        self.store(meta.peer_id, state, Peer { spoke: meta.inbound, ..peer })
    }

    /// In which lists a peer is that only its message tells of, while no peers are kept.
    pub(super) fn stranger(&self, meta: &Meta<'_>) -> InLists {
        self.lists.with(ip_of(&meta.addr))
    }

    /// In which lists a peer is that a connection event tells of.
    pub(super) fn lists_of(&self, conn: &Conn<'_>) -> InLists {
        self.lists.with(own_address(&conn.addr, Network::from_number(conn.network)))
    }

    /// An opening. It knows better than a message did.
    pub(super) fn opened(&mut self, now: Moment, conn: &Conn<'_>, state: &State) {
        let peer = self.peer(now, conn.conn_type, Network::from_number(conn.network), &conn.addr);
        self.store(conn.peer_id, state, Peer { opened: Some(now), ..peer });
    }

    /// A connection event that is neither opening nor closing.
    pub(super) fn connected(&mut self, now: Moment, conn: &Conn<'_>, state: &State) {
        let peer = self.peer(now, conn.conn_type, Network::from_number(conn.network), &conn.addr);
        self.store(conn.peer_id, state, peer);
    }

    fn peer(&self, now: Moment, connection_type: ConnectionType, network: Network, address: &str) -> Peer {
        let address = own_address(address, network);
        let lists = self.lists.with(address);
        Peer { connection_type, network, address, lists, last_heard: now, opened: None, spoke: false }
    }

    /// Whether it was open from its opening to now without a message from the peer.
    pub(super) fn closed(&mut self, now: Moment, conn: &Conn<'_>, state: &State) -> bool {
        self.forget_closed(now);
        let peer = self.open.remove(&conn.peer_id);
        if let Some(peer) = &peer {
            self.leave(peer);
        }
        let lists = match &peer {
            Some(peer) => peer.lists,
            None => self.lists_of(conn),
        };
        if self.closed.insert(now, conn.peer_id, lists).is_some() {
            state.dropped(Of::ClosedPeers, Cause::Full);
        }
        let is_silent = |opened: Moment| self.lost_messages.is_none_or(|lost| lost < opened);
        peer.is_some_and(|peer| !peer.spoke && peer.opened.is_some_and(is_silent))
    }

    /// Inbound messages are missing, of whatever peers.
    pub(super) fn lost_messages(&mut self, now: Moment) {
        self.lost_messages = Some(now);
    }

    /// A list was read again.
    pub(super) fn replace_list(&mut self, name: &str, networks: Networks) {
        self.lists.replace(name, networks);
        for peer in self.open.values_mut() {
            peer.lists = self.lists.with(peer.address);
        }
    }

    /// The node has ended, and its numbers with it.
    pub(super) fn node_gone(&mut self) {
        while let Some((_, peer)) = self.open.pop_first() {
            self.leave(&peer);
        }
        self.closed.clear();
        self.looked_for_silent = None;
        self.lost_messages = None;
    }

    /// Gives the peer's lists.
    fn store(&mut self, peer_id: i64, state: &State, mut peer: Peer) -> InLists {
        self.forget_closed(peer.last_heard);
        if let Some(&lists) = self.closed.get(&peer_id) {
            return lists;
        }
        if let Some(before) = self.open.get(&peer_id) {
            peer.spoke |= before.spoke;
            peer.opened = peer.opened.or(before.opened);
        }
        let lists = peer.lists;
        self.join(&peer);
        if let Some(before) = self.open.insert(peer_id, peer) {
            self.leave(&before);
        }
        if self.open.len() > MOST_OPEN
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.leave(&oldest);
            state.dropped(Of::Peers, Cause::Full);
        }
        lists
    }

    fn join(&mut self, peer: &Peer) {
        self.families.p2p_connections.at(peer.place()).inc();
        if let Some(group) = peer.netgroup() {
            self.netgroups.join(group);
        }
    }

    fn leave(&mut self, peer: &Peer) {
        self.families.p2p_connections.at(peer.place()).dec();
        if let Some(group) = peer.netgroup() {
            self.netgroups.leave(group);
        }
    }

    fn forget_closed(&mut self, now: Moment) {
        while self.closed.pop_old(now).is_some() {}
    }

    fn drop_silent(&mut self, now: Moment, state: &State) {
        self.looked_for_silent = Some(now);
        let is_silent = |(_, peer): &(&i64, &Peer)| now.since(peer.last_heard) >= SILENT_FOR;
        let silent: Vec<i64> = self.open.iter().filter(is_silent).map(|(&peer_id, _)| peer_id).collect();
        for peer_id in silent {
            if let Some(peer) = self.open.remove(&peer_id) {
                self.leave(&peer);
                state.dropped(Of::Peers, Cause::Old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ConnectionType::{Inbound, Manual};

    use super::*;
    use crate::metrics::{
        family::Family,
        testing::{OPTIONS, lines_of, moment},
    };

    /// Peers with what they count.
    struct Watch {
        peers: Peers,
        state: State,
    }

    impl Watch {
        fn new() -> Self {
            let mut peers = Peers::new(&OPTIONS);
            peers.hears_messages = true;
            Self { peers, state: State::new(&OPTIONS) }
        }

        fn message(&mut self, second: u64, peer_id: i64, conn_type: ConnectionType, addr: &str) {
            self.said(true, second, peer_id, conn_type, addr);
        }

        fn said(&mut self, inbound: bool, second: u64, peer_id: i64, conn_type: ConnectionType, addr: &str) {
            let meta = Meta { peer_id, addr: addr.into(), conn_type, command: "ping", inbound, size: 8 };
            self.peers.message(moment(second), &meta, &self.state);
        }

        fn connection(&mut self, second: u64, peer_id: i64, conn_type: ConnectionType, network: u32) {
            let conn = Conn { peer_id, addr: "8.8.8.8:1".into(), conn_type, network };
            self.peers.opened(moment(second), &conn, &self.state);
        }

        /// Whether nothing was heard of it.
        fn closed(&mut self, second: u64, peer_id: i64) -> bool {
            let conn = Conn { peer_id, addr: "8.8.8.8:1".into(), conn_type: Inbound, network: 1 };
            self.peers.closed(moment(second), &conn, &self.state)
        }

        #[track_caller]
        fn assert(&self, expected: &[(&str, &str, usize)]) {
            let expected: Vec<_> = expected
                .iter()
                .map(|(kind, network, n)| {
                    format!("bitcointap_p2p_connections{{connection_type=\"{kind}\",network=\"{network}\"}} {n}")
                })
                .collect();
            assert_eq!(lines_of(self.peers.families.p2p_connections.collector()), expected);
        }

        #[track_caller]
        fn assert_dropped(&self, of: Of, cause: Cause, expected: usize) {
            assert_eq!(
                self.state.state_dropped_total.at([of as usize, cause as usize]).get(),
                expected as u64,
                "{of:?}"
            );
        }
    }

    #[test]
    fn openings_closings_and_messages_count_a_peer_once() {
        let mut watch = Watch::new();
        watch.assert(&[]);
        watch.connection(1, 1, Inbound, 1);
        watch.connection(1, 1, Inbound, 1);
        watch.message(2, 1, Inbound, "8.8.8.8:1");
        watch.message(2, 2, Inbound, "8.8.8.8:1");
        watch.assert(&[("inbound", "ipv4", 2)]);
        watch.closed(3, 1);
        watch.closed(3, 1);
        watch.closed(3, 99);
        watch.assert(&[("inbound", "ipv4", 1)]);
        watch.closed(4, 2);
        watch.assert(&[("inbound", "ipv4", 0)]);
    }

    #[test]
    fn a_connection_event_names_what_a_message_could_not() {
        let mut watch = Watch::new();
        watch.message(1, 7, Inbound, "127.0.0.1:50000");
        watch.assert(&[("inbound", "unknown", 1)]);
        watch.connection(1, 7, Inbound, 3);
        watch.message(2, 7, Inbound, "127.0.0.1:50000");
        watch.assert(&[("inbound", "onion", 1), ("inbound", "unknown", 0)]);
        // The closing takes away what was stored, whatever it says itself.
        watch.closed(3, 7);
        watch.assert(&[("inbound", "onion", 0), ("inbound", "unknown", 0)]);
    }

    #[test]
    fn a_closed_peer_is_remembered_for_a_minute() {
        let mut watch = Watch::new();
        watch.closed(100, 7);
        watch.message(159, 7, Manual, "8.8.8.8:8333");
        watch.connection(159, 7, Manual, 1);
        watch.assert(&[]);
        watch.message(160, 7, Manual, "8.8.8.8:8333");
        watch.assert(&[("manual", "ipv4", 1)]);
    }

    #[test]
    fn the_end_of_the_node_closes_all_and_forgets_their_numbers() {
        let mut watch = Watch::new();
        watch.connection(1, 1, Inbound, 1);
        watch.closed(1, 2);
        watch.peers.node_gone();
        watch.assert(&[("inbound", "ipv4", 0)]);
        watch.connection(2, 1, Inbound, 2);
        watch.connection(2, 2, Inbound, 2);
        watch.assert(&[("inbound", "ipv4", 0), ("inbound", "ipv6", 2)]);
    }

    #[test]
    fn the_tables_are_bounded_and_what_falls_out_is_counted() {
        let mut watch = Watch::new();
        for peer_id in 0..10_000 {
            watch.connection(1, peer_id, Inbound, 1);
        }
        watch.assert(&[("inbound", "ipv4", MOST_OPEN)]);
        watch.assert_dropped(Of::Peers, Cause::Full, 10_000 - MOST_OPEN);
        // The one that fell out and lives comes back; another falls out.
        watch.message(1, 0, Inbound, "8.8.8.8:1");
        watch.assert(&[("inbound", "ipv4", MOST_OPEN)]);
        watch.assert_dropped(Of::Peers, Cause::Full, 10_001 - MOST_OPEN);
        for peer_id in 0..10_000 {
            watch.closed(1, peer_id);
        }
        watch.assert(&[("inbound", "ipv4", 0)]);
        assert_eq!(watch.peers.closed.len(), MOST_CLOSED);
        watch.assert_dropped(Of::ClosedPeers, Cause::Full, 10_000 - MOST_CLOSED);
        watch.closed(1 + CLOSED_FOR.as_secs(), 20_000);
        assert_eq!(watch.peers.closed.len(), 1);
        watch.assert_dropped(Of::ClosedPeers, Cause::Full, 10_000 - MOST_CLOSED);
        watch.assert_dropped(Of::ClosedPeers, Cause::Old, 0);
    }

    #[test]
    fn silence_is_a_lost_closing_only_where_messages_are_heard() {
        for (hears_messages, left) in [(true, 1), (false, 2)] {
            let mut watch = Watch::new();
            watch.peers.hears_messages = hears_messages;
            watch.connection(0, 1, Inbound, 1);
            for minute in 0..=31 {
                watch.message(minute * 60, 2, Inbound, "8.8.8.8:1");
            }
            watch.assert(&[("inbound", "ipv4", left)]);
            watch.assert_dropped(Of::Peers, Cause::Old, 2 - left);
        }
    }

    #[test]
    fn a_peer_is_unheard_from_its_opening_to_its_first_message() {
        let mut watch = Watch::new();
        watch.connection(1, 1, Manual, 1);
        assert!(watch.closed(2, 1));
        assert!(!watch.closed(2, 1), "it is gone already");
        // What the node says does not count, before the opening neither.
        watch.said(false, 3, 2, Manual, "8.8.8.8:1");
        watch.connection(3, 2, Manual, 1);
        watch.said(false, 3, 2, Manual, "8.8.8.8:1");
        let conn = Conn { peer_id: 2, addr: "8.8.8.8:1".into(), conn_type: Manual, network: 1 };
        watch.peers.connected(moment(3), &conn, &watch.state);
        assert!(watch.closed(4, 2));
        watch.message(5, 3, Manual, "8.8.8.8:1");
        watch.connection(5, 3, Manual, 1);
        assert!(!watch.closed(6, 3), "it was heard before its opening");
        watch.connection(7, 4, Manual, 1);
        watch.message(7, 4, Manual, "8.8.8.8:1");
        assert!(!watch.closed(8, 4));
        // It may have spoken before we came, or while messages were lost.
        watch.said(false, 9, 5, Manual, "8.8.8.8:1");
        assert!(!watch.closed(9, 5));
        watch.connection(10, 6, Manual, 1);
        watch.peers.lost_messages(moment(11));
        assert!(!watch.closed(12, 6));
        watch.connection(12, 7, Manual, 1);
        assert!(watch.closed(13, 7));
        watch.peers.node_gone();
        assert_eq!(watch.peers.lost_messages, None);
    }
}
