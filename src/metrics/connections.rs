//! Connections that open and close. In: connection events, and the peer of each message. Out: counters of openings,
//! closings, evictions and offences, the node's own count, and the families of `peers.rs`, `returns.rs` and
//! `listed.rs`.

mod listed;
mod peers;
mod returns;

pub use self::listed::AddressList;
use self::{listed::Listed, peers::Peers, returns::Returns};
use super::{
    Options,
    clock::Clock,
    family::{Counters, Gauges, Histograms, Registered, families},
    free_form::Reasons,
    group::{Group, Shared},
    labels::{
        CLOSINGS, INBOUND, OPENINGS, OUTBOUND, connection_type, network, opened_connection_type, opened_direction,
    },
    state::State,
};
use crate::{
    address_set::AddressSet,
    event::{
        Event, Kind, Moment,
        net::{Conn, Connection, Meta},
    },
    network::Network,
    tracepoint::{Tracepoint, Tracepoints},
};

const EVICTIONS: &[Tracepoint] = &[Tracepoint::NetEvictedInboundConnection];
const OFFENCES: &[Tracepoint] = &[Tracepoint::NetMisbehavingConnection];

/// Upper bounds in seconds, from one to 30 days.
const DURATIONS: &[f64] =
    &[1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0, 604800.0, 2592000.0];

families! {
    struct Families with options {
        /// Connections opened, by type and network, from the tracepoints net:inbound_connection and
        /// net:outbound_connection. Does not count failed attempts. Does not count inbound connections that the node
        /// refuses at once, since no tracepoint reports them: from banned addresses, from discouraged ones when it is
        /// nearly full, and when it is full and can evict nobody.
        p2p_connections_opened_total: Counters<2> = [opened_connection_type(), network()], from OPENINGS;

        /// Connections closed by either side, by type and network, from the tracepoint net:closed_connection. Includes
        /// those that the node evicted.
        p2p_connections_closed_total: Counters<2> = [connection_type(), network()], from CLOSINGS;

        /// Inbound connections that the node chose to close to make room for another, by network, from the tracepoint
        /// net:evicted_inbound_connection. They also count in bitcointap_p2p_connections_closed_total.
        p2p_connections_evicted_total: Counters<1> = [network()], from EVICTIONS;

        /// How long closed connections had lasted, by type, from the tracepoint net:closed_connection, to the second.
        /// Does not include open ones.
        p2p_connection_duration_seconds: Histograms<1> = ([connection_type()], DURATIONS), from CLOSINGS;

        /// The node's own count of its connections when it last opened one, by who opened them, from the tracepoints
        /// net:inbound_connection and net:outbound_connection. It includes that connection, and does not change when
        /// connections close. It also includes a connection that was evicted for the last one: a full node counts one
        /// more than it has places.
        p2p_node_connections: Gauges<1> = [opened_direction()], from OPENINGS;

        /// Offences of peers, by reason, from the tracepoint net:misbehaving_connection. Counts offences, not peers: a
        /// peer that the node may not drop can offend again and again. Bitcoin Core gives no reason for the gravest
        /// offence, a block that breaks consensus (until v29 also a transaction): it counts as none. A number that
        /// stands alone in a reason becomes N. Reasons too many to keep count as other.
        p2p_misbehaving_total: Reasons = ("reason", options.max_free_form_values), from OFFENCES;
    }
}

/// The families, and what they need to know of peers. Other state by connection has a file of its own.
pub(super) struct Connections {
    families: Families,
    peers: Peers,
    returns: Returns,
    listed: Option<Listed>,
    /// Without closings nobody can say which peers are connected.
    sees_closings: bool,
}

impl Group for Connections {
    fn new(options: &Options) -> Self {
        Self {
            families: Families::new(options),
            peers: Peers::new(options),
            returns: Returns::new(options),
            listed: Listed::new(options),
            sees_closings: false,
        }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
        self.peers.attach(attached, registered);
        self.returns.attach(attached, registered);
        if let Some(listed) = &mut self.listed {
            listed.attach(attached, registered);
        }
        self.sees_closings = attached.contains_any(CLOSINGS);
    }

    fn observe(&mut self, event: &Event<'_>, shared: &Shared) {
        match &event.kind {
            Kind::Msg(message) => self.message(event.moment, &message.meta, &shared.state),
            Kind::Conn { event: connection } => {
                self.connection(event.moment, connection, &shared.clock, &shared.state);
            }
            // Messages are missing before the next event.
            Kind::Lost(lost) if lost.tracepoint == Tracepoint::NetInboundMessage => {
                self.peers.lost_messages(event.moment);
            }
            _ => {}
        }
    }

    fn node_gone(&mut self) {
        self.peers.node_gone();
        self.returns.node_gone();
        for direction in [INBOUND, OUTBOUND] {
            self.families.p2p_node_connections.remove(direction);
        }
    }
}

impl Connections {
    /// A list was read again.
    pub(super) fn replace_list(&mut self, name: &str, addresses: AddressSet) {
        self.peers.replace_list(name, addresses);
    }

    fn message(&mut self, now: Moment, meta: &Meta<'_>, state: &State) {
        let lists = self.sees_closings.then(|| self.peers.message(now, meta, state));
        if let Some(listed) = &self.listed {
            listed.message(meta, lists.unwrap_or_else(|| self.peers.stranger(meta)));
        }
    }

    fn connection(&mut self, now: Moment, connection: &Connection<'_>, clock: &Clock, state: &State) {
        match connection {
            Connection::Inbound { conn, existing_connections } => {
                self.opened(now, conn, INBOUND, *existing_connections, state);
            }
            Connection::Outbound { conn, existing_connections } => {
                self.opened(now, conn, OUTBOUND, *existing_connections, state);
            }
            Connection::Closed { conn, time_established } => {
                let lasted = clock.since(*time_established).as_secs_f64();
                self.families.p2p_connections_closed_total.at(place(conn)).inc();
                self.families.p2p_connection_duration_seconds.at([conn.conn_type as usize]).observe(lasted);
                let unheard = self.peers.closed(now, conn, state);
                self.returns.closed(now, conn, unheard, state);
            }
            Connection::InboundEvicted { conn, time_established: _ } => {
                let [_, network] = place(conn);
                self.families.p2p_connections_evicted_total.at([network]).inc();
                // It is still open: its closing is an event of its own.
                if self.sees_closings {
                    self.peers.connected(now, conn, state);
                }
            }
            Connection::Misbehaving { id: _, score_before: _, score_increase: _, xmessage, threshold_exceeded: _ } => {
                self.families.p2p_misbehaving_total.count(xmessage);
            }
        }
    }

    fn opened(&mut self, now: Moment, conn: &Conn<'_>, direction: usize, existing: u64, state: &State) {
        self.families.p2p_connections_opened_total.at(place(conn)).inc();
        self.families.p2p_node_connections.at([direction]).set(existing as f64);
        if let Some(listed) = &self.listed {
            listed.opened(self.peers.lists_of(conn));
        }
        if self.sees_closings {
            self.peers.opened(now, conn, state);
            self.returns.opened(now, conn);
        }
    }
}

/// Its type and network.
fn place(conn: &Conn<'_>) -> [usize; 2] {
    [conn.conn_type as usize, Network::from_number(conn.network) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Kind, net::ConnectionType},
        metrics::testing::{
            assert_histogram_of_one, closing, conn, conn_at, message, misbehaving, only, opening, ping, rejected,
            text_of, told,
        },
        p2p,
    };

    #[test]
    fn connections_count_as_they_come_and_go() {
        let mut told = told();
        let [onion, ipv4] = [3, 1];
        told.tell(Kind::Conn {
            event: Connection::Inbound { conn: conn(5, ConnectionType::Inbound, onion), existing_connections: 1 },
        })
        .tell(Kind::Conn {
            event: Connection::Outbound { conn: conn(6, ConnectionType::Feeler, ipv4), existing_connections: 1 },
        })
        .tell(Kind::Conn {
            event: Connection::InboundEvicted { conn: conn(5, ConnectionType::Inbound, onion), time_established: 1 },
        })
        .assert(
            "p2p_connections",
            &["{connection_type=\"feeler\",network=\"ipv4\"} 1", "{connection_type=\"inbound\",network=\"onion\"} 1"],
        );
        let time_established = told.second - 60;
        told.tell(Kind::Conn {
            event: Connection::Closed { conn: conn(5, ConnectionType::Inbound, onion), time_established },
        })
        .assert("p2p_connections", &["{connection_type=\"feeler\",network=\"ipv4\"} 1"])
        .assert(
            "p2p_connections_opened_total",
            &["{connection_type=\"feeler\",network=\"ipv4\"} 1", "{connection_type=\"inbound\",network=\"onion\"} 1"],
        )
        .assert("p2p_connections_closed_total", &["{connection_type=\"inbound\",network=\"onion\"} 1"])
        .assert("p2p_connections_evicted_total", &["{network=\"onion\"} 1"]);
        assert_histogram_of_one(
            &told,
            "p2p_connection_duration_seconds",
            "connection_type=\"inbound\",",
            &["60", "300", "600", "1800", "3600", "21600", "86400", "604800", "2592000", "+Inf"],
            60.0,
        );
        let text = text_of(&told.metrics.registry());
        assert!(
            text.contains("bitcointap_p2p_connections{connection_type=\"inbound\",network=\"onion\"} 0\n"),
            "stays as 0"
        );
        assert!(
            text.contains("_connections_closed_total{connection_type=\"feeler\",network=\"ipv4\"} 0\n"),
            "starts at 0"
        );
        told.metrics.node_gone();
        told.assert("p2p_connections", &[]);
    }

    #[test]
    fn the_nodes_own_count_is_that_of_the_last_opening() {
        let inbound = |existing_connections| Kind::Conn {
            event: Connection::Inbound { conn: conn(5, ConnectionType::Inbound, 1), existing_connections },
        };
        let mut told = told();
        assert_eq!(told.family("p2p_node_connections"), None, "absent until known");
        told.tell(inbound(7)).assert("p2p_node_connections", &["{direction=\"inbound\"} 7"]);
        told.tell(inbound(6))
            .tell(closing(conn(5, ConnectionType::Inbound, 1)))
            .tell(opening(conn(6, ConnectionType::Feeler, 1)))
            .assert("p2p_node_connections", &["{direction=\"inbound\"} 6", "{direction=\"outbound\"} 9"]);
        // A direction disappears with its tracepoint, all of them with the node.
        told.metrics.tapped("net:inbound_connection".parse().unwrap());
        told.assert("p2p_node_connections", &["{direction=\"inbound\"} 6"]);
        told.metrics.node_gone();
        assert_eq!(told.family("p2p_node_connections"), None);
    }

    #[test]
    fn netgroups_are_those_of_inbound_peers_that_are_open() {
        use ConnectionType::{Inbound, OutboundFullRelay};
        let [unroutable, ipv4, ipv6, onion] = [0, 1, 2, 3];
        let mut told = told();
        told.tell(opening(conn_at(1, OutboundFullRelay, ipv4, "8.8.8.8:8333")))
            .tell(opening(conn_at(2, Inbound, onion, "127.0.0.1:1")))
            .tell(opening(conn_at(3, Inbound, unroutable, "192.168.1.1:1")))
            .tell(ping(true, 4, Inbound, "127.0.0.1:1"));
        assert_eq!(told.family("p2p_inbound_netgroups"), None);
        assert_eq!(told.family("p2p_inbound_largest_netgroup_connections"), None);
        told.tell(opening(conn_at(5, Inbound, ipv4, "8.8.1.1:1")))
            // Known from a message, then from its opening; and from before the attachment.
            .tell(ping(true, 6, Inbound, "8.8.2.2:1"))
            .tell(opening(conn_at(6, Inbound, ipv4, "8.8.2.2:1")))
            .tell(ping(true, 7, Inbound, "9.9.9.9:1"))
            .tell(ping(true, 8, Inbound, "[2a01:4f8::1]:1"))
            .tell(opening(conn_at(9, Inbound, ipv6, "[2a01:4f8:1::1]:1")))
            .assert("p2p_inbound_netgroups", &["{network=\"ipv4\"} 2", "{network=\"ipv6\"} 1"])
            .assert("p2p_inbound_largest_netgroup_connections", &["{network=\"ipv4\"} 2", "{network=\"ipv6\"} 2"]);
        // The opening of peer 10 was lost.
        told.tell(closing(conn_at(5, Inbound, ipv4, "8.8.1.1:1")))
            .tell(closing(conn_at(7, Inbound, ipv4, "9.9.9.9:1")))
            .tell(closing(conn_at(10, Inbound, ipv4, "8.8.3.3:1")))
            .assert("p2p_inbound_netgroups", &["{network=\"ipv4\"} 1", "{network=\"ipv6\"} 1"])
            .assert("p2p_inbound_largest_netgroup_connections", &["{network=\"ipv4\"} 1", "{network=\"ipv6\"} 2"]);
        // Silence removes them, too: all but the one that spoke.
        let half_an_hour = told.second + 30 * 60;
        told.tell_at(half_an_hour, ping(true, 8, Inbound, "[2a01:4f8::1]:1"))
            .tell_at(half_an_hour + 60, ping(true, 8, Inbound, "[2a01:4f8::1]:1"))
            .assert("p2p_inbound_netgroups", &["{network=\"ipv6\"} 1"])
            .assert("p2p_inbound_largest_netgroup_connections", &["{network=\"ipv6\"} 1"]);
        told.metrics.node_gone();
        told.assert("p2p_inbound_netgroups", &[]).assert("p2p_inbound_largest_netgroup_connections", &[]);
    }

    #[test]
    fn what_falls_out_leaves_its_netgroup() {
        let mut told = told();
        for number in 0..100_000_u32 {
            let addr = format!("{}.{}.1.1:1", 20 + number % 2, number / 2 % 256);
            told.tell_at(1_000, opening(conn_at(number.into(), ConnectionType::Inbound, 1, &addr)));
        }
        told.assert("p2p_connections", &["{connection_type=\"inbound\",network=\"ipv4\"} 4096"])
            .assert("p2p_inbound_netgroups", &["{network=\"ipv4\"} 512"])
            .assert("p2p_inbound_largest_netgroup_connections", &["{network=\"ipv4\"} 8"])
            .assert(
                "state_dropped_total",
                // Nor do they shake hands.
                &["{cause=\"full\",table=\"handshakes\"} 95904", "{cause=\"full\",table=\"peers\"} 95904"],
            );
    }

    #[test]
    fn peers_from_before_are_learnt_from_messages_if_closings_are_seen() {
        let ping = || message(true, "ping", 8, p2p::Message::Ping { value: 1 });
        let mut all = told();
        all.tell(ping())
            .assert("p2p_connections", &["{connection_type=\"outbound-full-relay\",network=\"ipv4\"} 1"])
            .assert("p2p_connections_opened_total", &[]);
        assert_eq!(only("net:inbound_message").tell(ping()).family("p2p_connections"), None);
    }

    #[test]
    fn setting_the_wall_clock_makes_no_connection_older() {
        let mut told = told();
        let time_established = told.second;
        told.tell(Kind::Conn {
            event: Connection::Inbound { conn: conn(5, ConnectionType::Inbound, 1), existing_connections: 1 },
        })
        .set_clock_forwards(3_600)
        .tell(Kind::Conn { event: Connection::Closed { conn: conn(5, ConnectionType::Inbound, 1), time_established } });
        let lines = told.family("p2p_connection_duration_seconds").unwrap();
        assert_eq!(
            lines.last_chunk(),
            Some(&["_sum{connection_type=\"inbound\"} 1", "_count{connection_type=\"inbound\"} 1"].map(String::from))
        );
    }

    #[test]
    fn offences_and_rejections_count_by_a_bounded_number_of_reasons() {
        let mut told = told();
        for reason in ["headers: 2001 of 2000", "headers: 2002 of 2000", "b", "c", "d", "e", ""] {
            told.tell(misbehaving(reason)).tell(rejected(reason));
        }
        let [none, other] = ["{reason=\"none\"} 1", "{reason=\"other\"} 2"];
        let [b, c, d, e] = ["b", "c", "d", "e"].map(|reason| format!("{{reason=\"{reason}\"}} 1"));
        let headers = "{reason=\"headers: N of N\"} 2";
        told.assert("p2p_misbehaving_total", &[&b, &c, headers, none, other])
            .assert("mempool_rejections_total", &[&b, &c, &d, &e, headers, none]);
    }
}
