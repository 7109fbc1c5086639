//! Peers that come back. In: connections as they open and close. Out: counters of reconnections and of retries with
//! another transport.

use std::{collections::hash_map::RandomState, hash::BuildHasher, time::Duration};

use prometheus::IntCounter;

use crate::metrics::{
    Options,
    family::{Counters, Registered, families},
    labels::{CLOSINGS, INBOUND_MESSAGES, OPENINGS, opened_connection_type},
    state::{Cause, Of, State},
};
use crate::{
    event::{
        Moment,
        net::{Conn, ConnectionType},
    },
    network::{Network, host_of},
    table::Table,
    tracepoint::{Tracepoint, Tracepoints},
};

/// Only connections that the node opens fall back.
const OUTBOUND_OPENINGS: &[Tracepoint] = &[Tracepoint::NetOutboundConnection];

families! {
    struct Families with _options {
        /// Connections opened, either way, with an IP address, onion or I2P name that had a connection closed less than
        /// an hour before, by type of the new connection; from the tracepoints net:inbound_connection,
        /// net:outbound_connection and net:closed_connection. Ports are not compared. Does not count inbound onion
        /// peers and unroutable addresses, since peers share these.
        p2p_reconnections_total: Counters<1> = [opened_connection_type()], from OPENINGS, CLOSINGS;

        /// Outbound connections opened less than a minute after a connection to the same address and port closed
        /// without a message from the peer. This infers a fall-back from the v2 transport to v1. A peer that closes at
        /// once, and that the node tries again, looks the same. A retry to a host with an address of its own also
        /// counts as a reconnection.
        p2p_transport_retries_total: IntCounter = (), from OUTBOUND_OPENINGS, CLOSINGS, INBOUND_MESSAGES;
    }
}

/// How many closed hosts to remember, and for how long.
const MOST_HOSTS: usize = 16_384;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The same for connections closed without a message from the peer. Bitcoin Core opens at most a few connections a
/// second.
const MOST_UNHEARD: usize = 1024;
const MINUTE: Duration = Duration::from_secs(60);

/// The families, and what was closed.
pub(super) struct Returns {
    families: Families,
    /// The keys are random, so that no peer can look for addresses that collide.
    hasher: RandomState,
    /// The peer that was closed last, by hash of its host.
    hosts: Table<u64, i64>,
    /// Hashes of addresses with ports.
    unheard: Table<u64, ()>,
    sees_reconnections: bool,
    sees_retries: bool,
}

impl Returns {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            families: Families::new(options),
            hasher: RandomState::new(),
            hosts: Table::new(MOST_HOSTS, HOUR),
            unheard: Table::new(MOST_UNHEARD, MINUTE),
            sees_reconnections: false,
            sees_retries: false,
        }
    }

    pub(super) fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
        let sees = |any: &[Tracepoint]| attached.contains_any(any);
        self.sees_reconnections = sees(OPENINGS) && sees(CLOSINGS);
        self.sees_retries = sees(OUTBOUND_OPENINGS) && sees(CLOSINGS) && sees(INBOUND_MESSAGES);
    }

    pub(super) fn opened(&mut self, now: Moment, conn: &Conn<'_>) {
        self.forget_old(now);
        // An opening does not use the closing up: a peer that comes, goes and comes again comes back twice. Its own
        // closing does not count: for a connection that closes at once the opening may be reported last.
        if let Some(host) = own_host(conn)
            && self.hosts.get(&self.hasher.hash_one(host)).is_some_and(|&closed| closed != conn.peer_id)
        {
            self.families.p2p_reconnections_total.at([conn.conn_type as usize]).inc();
        }
        if is_outbound(conn.conn_type) && self.unheard.remove(&self.hasher.hash_one(&*conn.addr)).is_some() {
            self.families.p2p_transport_retries_total.inc();
        }
    }

    /// `unheard`: no message came from the peer since its opening.
    pub(super) fn closed(&mut self, now: Moment, conn: &Conn<'_>, unheard: bool, state: &State) {
        self.forget_old(now);
        if self.sees_reconnections
            && let Some(host) = own_host(conn)
            && self.hosts.insert(now, self.hasher.hash_one(host), conn.peer_id).is_some()
        {
            state.dropped(Of::ClosedAddresses, Cause::Full);
        }
        if self.sees_retries
            && unheard
            && is_outbound(conn.conn_type)
            && self.unheard.insert(now, self.hasher.hash_one(&*conn.addr), ()).is_some()
        {
            state.dropped(Of::ClosedAddresses, Cause::Full);
        }
    }

    pub(super) fn node_gone(&mut self) {
        self.hosts.clear();
        self.unheard.clear();
    }

    fn forget_old(&mut self, now: Moment) {
        while self.hosts.pop_old(now).is_some() {}
        while self.unheard.pop_old(now).is_some() {}
    }
}

/// The host of a peer that shares it with no other peer.
fn own_host<'a>(conn: &'a Conn<'_>) -> Option<&'a str> {
    match (Network::from_number(conn.network), conn.conn_type) {
        (Network::Unroutable | Network::Internal, _) => None,
        // All come from the operator's Tor.
        (Network::Onion, ConnectionType::Inbound | ConnectionType::Unknown) => None,
        (Network::Ipv4 | Network::Ipv6 | Network::Onion | Network::I2p | Network::Cjdns | Network::Unknown, _) => {
            Some(host_of(&conn.addr))
        }
    }
}

fn is_outbound(connection_type: ConnectionType) -> bool {
    match connection_type {
        ConnectionType::Inbound | ConnectionType::Unknown => false,
        ConnectionType::OutboundFullRelay
        | ConnectionType::BlockRelayOnly
        | ConnectionType::Feeler
        | ConnectionType::Manual
        | ConnectionType::AddrFetch
        | ConnectionType::PrivateBroadcast => true,
    }
}

#[cfg(test)]
mod tests {
    use ConnectionType::{AddrFetch, Feeler, Inbound, Manual, OutboundFullRelay};

    use super::*;
    use crate::{
        event::{Kind, Lost},
        metrics::testing::{closing, conn_at, only, opening, ping, told},
        tracepoint::LossReason,
    };

    const UNROUTABLE: u32 = 0;
    const IPV4: u32 = 1;
    const IPV6: u32 = 2;
    const ONION: u32 = 3;
    const INTERNAL: u32 = 6;

    const RECONNECTIONS: &str = "p2p_reconnections_total";
    const RETRIES: &str = "p2p_transport_retries_total";

    #[test]
    fn a_reconnection_is_from_the_same_host_within_an_hour() {
        let mut told = told();
        told.tell_at(0, opening(conn_at(1, Inbound, IPV4, "8.8.8.8:1"))).assert(RECONNECTIONS, &[]);
        told.tell_at(1_000, closing(conn_at(1, Inbound, IPV4, "8.8.8.8:1")))
            .tell_at(1_000, opening(conn_at(2, Inbound, IPV4, "8.8.8.9:1")))
            .assert(RECONNECTIONS, &[]);
        // From another port, and to it. The closing is not used up.
        told.tell_at(4_599, opening(conn_at(3, Inbound, IPV4, "8.8.8.8:2")))
            .tell_at(4_599, opening(conn_at(4, Feeler, IPV4, "8.8.8.8:8333")))
            .assert(RECONNECTIONS, &["{connection_type=\"feeler\"} 1", "{connection_type=\"inbound\"} 1"]);
        told.tell_at(4_600, opening(conn_at(5, Inbound, IPV4, "8.8.8.8:3")))
            .assert(RECONNECTIONS, &["{connection_type=\"feeler\"} 1", "{connection_type=\"inbound\"} 1"]);
        // The last closing counts. That of a peer from before the attachment counts, too.
        told.tell_at(5_000, closing(conn_at(9, Manual, IPV6, "[2a01::1]:8333")))
            .tell_at(6_000, closing(conn_at(10, Manual, IPV6, "[2a01::1]:8333")))
            .tell_at(9_599, opening(conn_at(11, Manual, IPV6, "[2a01::1]:8333")))
            .assert(
                RECONNECTIONS,
                &[
                    "{connection_type=\"feeler\"} 1",
                    "{connection_type=\"inbound\"} 1",
                    "{connection_type=\"manual\"} 1",
                ],
            );
    }

    #[test]
    fn an_opening_after_its_own_closing_is_no_return() {
        let mut told = told();
        told.tell(closing(conn_at(1, Manual, IPV4, "8.8.8.8:8333")))
            .tell(opening(conn_at(1, Manual, IPV4, "8.8.8.8:8333")))
            .assert(RECONNECTIONS, &[]);
        told.tell(opening(conn_at(2, Manual, IPV4, "8.8.8.8:8333")))
            .assert(RECONNECTIONS, &["{connection_type=\"manual\"} 1"]);
    }

    #[test]
    fn shared_addresses_do_not_come_back() {
        let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333";
        for (conn_type, network, addr, expected) in [
            (Inbound, ONION, "127.0.0.1:1", 0),
            (Inbound, UNROUTABLE, "127.0.0.1:1", 0),
            (Manual, UNROUTABLE, "192.168.1.2:8333", 0),
            (Manual, INTERNAL, "x.internal:8333", 0),
            (OutboundFullRelay, ONION, onion, 1),
            (Manual, IPV4, "node.example.com:8333", 1),
        ] {
            let mut told = told();
            told.tell(closing(conn_at(1, conn_type, network, addr)))
                .tell(opening(conn_at(2, conn_type, network, addr)));
            assert_eq!(told.family(RECONNECTIONS).unwrap().len(), expected, "{addr}");
        }
    }

    #[test]
    fn closed_addresses_are_bounded_and_what_falls_out_is_counted() {
        let mut told = told();
        let addr = |number: i64| format!("[2a01::{:x}:{:x}]:1", number >> 16, number & 0xffff);
        for number in 0..100_000 {
            told.tell_at(1_000, closing(conn_at(number, Inbound, IPV6, &addr(number))));
        }
        let fell_out = 100_000 - MOST_HOSTS as i64;
        told.tell_at(1_001, opening(conn_at(100_000, Inbound, IPV6, &addr(fell_out - 1)))).assert(RECONNECTIONS, &[]);
        told.tell_at(1_001, opening(conn_at(100_001, Inbound, IPV6, &addr(fell_out))))
            .assert(RECONNECTIONS, &["{connection_type=\"inbound\"} 1"]);
        let closed_peers = 100_000 - 4096;
        let expected = [
            format!("{{cause=\"full\",table=\"closed_addresses\"}} {fell_out}"),
            format!("{{cause=\"full\",table=\"closed_peers\"}} {closed_peers}"),
        ];
        told.assert("state_dropped_total", &expected.each_ref().map(String::as_str));
        // They are meant to grow old; that does not count.
        told.tell_at(9_000, closing(conn_at(100_002, Inbound, IPV4, "8.8.8.8:1")))
            .assert("state_dropped_total", &expected.each_ref().map(String::as_str));
    }

    #[test]
    fn a_retry_is_to_the_same_address_and_port_within_a_minute() {
        for (seconds, addr, expected) in [
            (0, "8.8.8.8:8333", 1),
            (59, "8.8.8.8:8333", 1),
            (60, "8.8.8.8:8333", 0),
            (61, "8.8.8.8:8333", 0),
            (1, "8.8.8.8:8334", 0),
            (1, "8.8.8.9:8333", 0),
        ] {
            let mut told = told();
            told.tell(opening(conn_at(1, Manual, IPV4, "8.8.8.8:8333")))
                .tell(ping(false, 1, Manual, "8.8.8.8:8333"))
                .tell_at(2_000, closing(conn_at(1, Manual, IPV4, "8.8.8.8:8333")))
                .tell_at(2_000 + seconds, opening(conn_at(2, Manual, IPV4, addr)));
            let expected = if expected == 0 { vec![] } else { vec!["1"] };
            told.assert(RETRIES, &expected);
        }
    }

    #[test]
    fn a_closing_makes_one_retry_and_only_if_nothing_was_heard() {
        const ADDR: &str = "8.8.8.8:8333";
        let mut told = told();
        told.assert(RETRIES, &[]);
        told.tell(opening(conn_at(1, AddrFetch, IPV4, ADDR)))
            .tell(closing(conn_at(1, AddrFetch, IPV4, ADDR)))
            .tell(opening(conn_at(2, AddrFetch, IPV4, ADDR)))
            .tell(opening(conn_at(3, AddrFetch, IPV4, ADDR)))
            .assert(RETRIES, &["1"]);
        // Heard; the opening lost or from before; inbound; both closings and openings of inbound peers.
        told.tell(ping(true, 2, AddrFetch, ADDR))
            .tell(closing(conn_at(2, AddrFetch, IPV4, ADDR)))
            .tell(closing(conn_at(7, AddrFetch, IPV4, ADDR)))
            .tell(opening(conn_at(8, Inbound, IPV4, ADDR)))
            .tell(closing(conn_at(8, Inbound, IPV4, ADDR)))
            .tell(opening(conn_at(9, AddrFetch, IPV4, ADDR)))
            .assert(RETRIES, &["1"]);
        // An inbound one does not use up the closing.
        told.tell(closing(conn_at(9, AddrFetch, IPV4, ADDR)))
            .tell(opening(conn_at(10, Inbound, IPV4, ADDR)))
            .tell(opening(conn_at(11, AddrFetch, IPV4, ADDR)))
            .assert(RETRIES, &["2"]);
        // The lost message may be the peer's.
        let lost = |tracepoint| Kind::Lost(Lost { tracepoint, reason: LossReason::RingFull, count: 1 });
        told.tell(lost(Tracepoint::NetOutboundMessage))
            .tell(closing(conn_at(11, AddrFetch, IPV4, ADDR)))
            .tell(opening(conn_at(12, AddrFetch, IPV4, ADDR)))
            .assert(RETRIES, &["3"]);
        told.tell(lost(Tracepoint::NetInboundMessage))
            .tell(closing(conn_at(12, AddrFetch, IPV4, ADDR)))
            .tell(opening(conn_at(13, AddrFetch, IPV4, ADDR)))
            .assert(RETRIES, &["3"]);
    }

    #[test]
    fn retries_are_bounded() {
        let mut told = told();
        for number in 0..100_000 {
            let addr = format!("[2a01::{:x}:{:x}]:8333", number >> 16, number & 0xffff);
            told.tell_at(1_000, opening(conn_at(number, Feeler, IPV6, &addr)));
            told.tell_at(1_000, closing(conn_at(number, Feeler, IPV6, &addr)));
        }
        let dropped = 100_000 - MOST_HOSTS + 100_000 - MOST_UNHEARD;
        let dropped = format!("{{cause=\"full\",table=\"closed_addresses\"}} {dropped}");
        told.assert("state_dropped_total", &[&dropped, "{cause=\"full\",table=\"closed_peers\"} 95904"]);
    }

    #[test]
    fn closings_end_with_the_node() {
        const ADDR: &str = "8.8.8.8:8333";
        let mut told = told();
        told.tell(opening(conn_at(1, Manual, IPV4, ADDR))).tell(closing(conn_at(1, Manual, IPV4, ADDR)));
        told.metrics.node_gone();
        told.tell(opening(conn_at(0, Manual, IPV4, ADDR))).assert(RECONNECTIONS, &[]).assert(RETRIES, &[]);
    }

    #[test]
    fn each_needs_all_that_it_is_told_from() {
        let has = |events: &str| [RECONNECTIONS, RETRIES].map(|name| only(events).family(name).is_some());
        assert_eq!(has("net:inbound_connection,net:closed_connection,net:inbound_message"), [true, false]);
        assert_eq!(has("net:outbound_connection,net:closed_connection"), [true, false]);
        assert_eq!(has("net:outbound_connection,net:closed_connection,net:inbound_message"), [true, true]);
        assert_eq!(has("net:outbound_connection,net:inbound_connection,net:inbound_message"), [false, false]);
        // Nothing is remembered that would count once the tracepoint is attached.
        let mut told = only("net:outbound_connection,net:closed_connection");
        told.tell(opening(conn_at(1, Manual, IPV4, "8.8.8.8:8333")))
            .tell(closing(conn_at(1, Manual, IPV4, "8.8.8.8:8333")))
            .metrics
            .tapped(Tracepoints::default_set());
        told.tell(opening(conn_at(2, Manual, IPV4, "8.8.8.8:8333")))
            .assert(RETRIES, &[])
            .assert(RECONNECTIONS, &["{connection_type=\"manual\"} 1"]);
    }
}
