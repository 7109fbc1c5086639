//! Which peers are connected. In: messages and connection events of one run of the node. Out: the gauge of open
//! connections, the gauges of inbound netgroups (`netgroups.rs`), and what is known of a peer.

use std::{mem, net::IpAddr};

use super::listed::{InLists, Lists};
use crate::metrics::{
    Options,
    family::{Gauges, Registered, families},
    labels::{CLOSINGS, connection_type, network},
    netgroups::{Netgroup, Netgroups},
    state::{Cause, Of, State},
};
use crate::{
    address_set::AddressSet,
    connected::{Connected, Found},
    event::{
        Moment,
        net::{Conn, ConnectionType, Meta},
    },
    network::{Network, ip_of},
    tracepoint::Tracepoints,
};

families! {
    struct Families with _options {
        /// Connections open now, by type and network, from openings, closings and messages. A connection from before
        /// the attachment counts from its first message on; if it is an inbound onion one, its network is unknown. The
        /// node's own count is bitcointap_p2p_node_connections.
        p2p_connections: Gauges<2> = [connection_type(), network()], from CLOSINGS;
    }
}

/// The peers of one run of the node.
pub(super) struct Peers {
    counts: Counts,
    lists: Lists,
    /// Closed peers keep the lists that they were in.
    connected: Connected<Peer, InLists>,
    /// When inbound messages were last lost.
    lost_messages: Option<Moment>,
}

/// How many peers there are of each kind.
struct Counts {
    families: Families,
    netgroups: Netgroups,
}

#[derive(Debug)]
struct Peer {
    connection_type: ConnectionType,
    network: Network,
    /// The peer's own IP address, if it has one.
    address: Option<IpAddr>,
    lists: InLists,
    /// When its opening was seen.
    opened: Option<Moment>,
    /// Whether a message came from it.
    spoke: bool,
}

impl Peer {
    fn place(&self) -> [usize; 2] {
        [self.connection_type as usize, self.network as usize]
    }

    /// The group of an inbound peer with a routable address.
    fn netgroup(&self) -> Option<Netgroup> {
        match (self.connection_type, self.network) {
            (ConnectionType::Inbound, Network::Ipv4 | Network::Ipv6) => self.address.map(Netgroup::of),
            _ => None,
        }
    }
}

/// The peer's own IP address. Inbound onion peers have none: theirs is that of the operator's Tor.
fn own_address(address: &str, network: Network) -> Option<IpAddr> {
    match network {
        Network::Onion | Network::I2p | Network::Internal => None,
        Network::Unroutable | Network::Ipv4 | Network::Ipv6 | Network::Cjdns | Network::Unknown => ip_of(address),
    }
}

fn lists_of(lists: &Lists, conn: &Conn<'_>) -> InLists {
    lists.with(own_address(&conn.addr, Network::from_number(conn.network)))
}

impl Peers {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            counts: Counts { families: Families::new(options), netgroups: Netgroups::new(options) },
            lists: Lists::new(options),
            connected: Connected::default(),
            lost_messages: None,
        }
    }

    pub(super) fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.counts.families.attach(attached, registered);
        self.counts.netgroups.attach(attached, registered);
        self.connected.attach(attached);
    }

    /// The lists that contain the peer. A peer that is new here was connected before the attachment, or its opening is
    /// yet to come or was lost.
    pub(super) fn message(&mut self, now: Moment, meta: &Meta<'_>, state: &State) -> InLists {
        self.connected.drop_silent(now, |peer| {
            self.counts.leave(peer);
            state.dropped(Of::Peers, Cause::Old);
        });
        match self.connected.heard_of(now, meta.peer_id) {
            Found::Open(peer) => {
                peer.spoke |= meta.inbound;
                peer.lists
            }
            Found::Closed(&lists) => lists,
            Found::New => {
                let peer = self.peer(meta.conn_type, meta.network, &meta.addr);
                self.enter(now, meta.peer_id, Peer { spoke: meta.inbound, ..peer }, state)
            }
        }
    }

    /// The lists that contain a peer known only from its message, while no peers are kept.
    pub(super) fn stranger(&self, meta: &Meta<'_>) -> InLists {
        self.lists.with(own_address(&meta.addr, meta.network))
    }

    /// The lists that contain the peer of a connection event.
    pub(super) fn lists_of(&self, conn: &Conn<'_>) -> InLists {
        lists_of(&self.lists, conn)
    }

    /// An opening. It knows the peer better than a message.
    pub(super) fn opened(&mut self, now: Moment, conn: &Conn<'_>, state: &State) {
        self.connection(now, conn, Some(now), state);
    }

    /// A connection event that is neither opening nor closing.
    pub(super) fn connected(&mut self, now: Moment, conn: &Conn<'_>, state: &State) {
        self.connection(now, conn, None, state);
    }

    fn connection(&mut self, now: Moment, conn: &Conn<'_>, opened: Option<Moment>, state: &State) {
        let peer = self.peer(conn.conn_type, Network::from_number(conn.network), &conn.addr);
        match self.connected.heard_of(now, conn.peer_id) {
            Found::Open(known) => {
                let peer = Peer { opened: opened.or(known.opened), spoke: known.spoke, ..peer };
                self.counts.join(&peer);
                self.counts.leave(&mem::replace(known, peer));
            }
            Found::Closed(_) => {}
            Found::New => {
                self.enter(now, conn.peer_id, Peer { opened, ..peer }, state);
            }
        }
    }

    fn peer(&self, connection_type: ConnectionType, network: Network, address: &str) -> Peer {
        let address = own_address(address, network);
        let lists = self.lists.with(address);
        Peer { connection_type, network, address, lists, opened: None, spoke: false }
    }

    /// Returns the peer's lists.
    fn enter(&mut self, now: Moment, peer_id: i64, peer: Peer, state: &State) -> InLists {
        let lists = peer.lists;
        self.counts.join(&peer);
        if let Some(peer) = self.connected.enter(now, peer_id, peer) {
            self.counts.leave(&peer);
            state.dropped(Of::Peers, Cause::Full);
        }
        lists
    }

    /// Returns whether the connection was open from its opening until now without a message from the peer.
    pub(super) fn closed(&mut self, now: Moment, conn: &Conn<'_>, state: &State) -> bool {
        let lists = |peer: Option<&Peer>| match peer {
            Some(peer) => peer.lists,
            None => lists_of(&self.lists, conn),
        };
        let (peer, forgotten) = self.connected.close(now, conn.peer_id, lists);
        if forgotten.is_some() {
            state.dropped(Of::ClosedPeers, Cause::Full);
        }
        let Some(peer) = peer else { return false };
        self.counts.leave(&peer);
        let is_silent = |opened: Moment| self.lost_messages.is_none_or(|lost| lost < opened);
        !peer.spoke && peer.opened.is_some_and(is_silent)
    }

    /// Inbound messages of unknown peers are missing.
    pub(super) fn lost_messages(&mut self, now: Moment) {
        self.lost_messages = Some(now);
    }

    /// A list was read again.
    pub(super) fn replace_list(&mut self, name: &str, addresses: AddressSet) {
        self.lists.replace(name, addresses);
        for peer in self.connected.values_mut() {
            peer.lists = self.lists.with(peer.address);
        }
    }

    /// The node has ended, and its peer numbers with it.
    pub(super) fn node_gone(&mut self) {
        self.connected.clear().for_each(|peer| self.counts.leave(&peer));
        self.lost_messages = None;
    }
}

impl Counts {
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
}

#[cfg(test)]
mod tests {
    use ConnectionType::{Inbound, Manual};

    use super::*;
    use crate::{
        connected::{CLOSED_FOR, MOST, MOST_CLOSED},
        metrics::{
            family::Family,
            testing::{OPTIONS, lines_of, moment},
        },
    };

    /// Peers with what they count.
    struct Watch {
        peers: Peers,
        state: State,
    }

    impl Watch {
        fn new() -> Self {
            let mut peers = Peers::new(&OPTIONS);
            peers.connected.attach("net".parse().unwrap());
            Self { peers, state: State::new(&OPTIONS) }
        }

        fn message(&mut self, second: u64, peer_id: i64, conn_type: ConnectionType, addr: &str) {
            self.said(true, second, peer_id, conn_type, addr);
        }

        fn said(&mut self, inbound: bool, second: u64, peer_id: i64, conn_type: ConnectionType, addr: &str) {
            let meta = Meta::new(peer_id, addr, conn_type, "ping", inbound, 8);
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
            assert_eq!(lines_of(self.peers.counts.families.p2p_connections.collector()), expected);
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
        // The closing removes what was stored, whatever the closing itself says.
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
        watch.assert(&[("inbound", "ipv4", MOST)]);
        watch.assert_dropped(Of::Peers, Cause::Full, 10_000 - MOST);
        // The one that fell out and lives comes back; another falls out.
        watch.message(1, 0, Inbound, "8.8.8.8:1");
        watch.assert(&[("inbound", "ipv4", MOST)]);
        watch.assert_dropped(Of::Peers, Cause::Full, 10_001 - MOST);
        for peer_id in 0..10_000 {
            watch.closed(1, peer_id);
        }
        watch.assert(&[("inbound", "ipv4", 0)]);
        watch.assert_dropped(Of::ClosedPeers, Cause::Full, 10_000 - MOST_CLOSED);
        watch.closed(1 + CLOSED_FOR.as_secs(), 20_000);
        watch.assert_dropped(Of::ClosedPeers, Cause::Full, 10_000 - MOST_CLOSED);
        watch.assert_dropped(Of::ClosedPeers, Cause::Old, 0);
    }

    #[test]
    fn silence_is_a_lost_closing_only_where_messages_are_heard() {
        for (words, left) in [("net", 1), ("net:inbound_message,net:closed_connection", 2)] {
            let mut watch = Watch::new();
            watch.peers.connected.attach(words.parse().unwrap());
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
        // Messages of the node do not count, nor messages before the opening.
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
        // It may have spoken before the attachment, or while messages were lost.
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
