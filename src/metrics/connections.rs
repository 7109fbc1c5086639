//! Connections coming and going. In: connection events, and of messages who they are with. Out: counters of openings,
//! closings, evictions and offences, and the gauge of open connections.

use super::{
    Options,
    family::{Counters, Gauges, Histograms, families},
    free_form::Reasons,
    labels::{MESSAGES, OPENINGS, connection_type, opened_connection_type},
    network::Network,
    peers::Peers,
};
use crate::{
    event::{
        Event, Moment,
        net::{Conn, Connection, Meta},
    },
    tracepoint::{Tracepoint, Tracepoints},
};

const CLOSINGS: &[Tracepoint] = &[Tracepoint::NetClosedConnection];
const EVICTIONS: &[Tracepoint] = &[Tracepoint::NetEvictedInboundConnection];
const OFFENCES: &[Tracepoint] = &[Tracepoint::NetMisbehavingConnection];

/// Upper bounds in seconds, from one to 30 days.
const DURATIONS: &[f64] =
    &[1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0, 604800.0, 2592000.0];

families! {
    struct Families with options {
        /// Connections opened, by type and network, from the tracepoints net:inbound_connection and
        /// net:outbound_connection. Not the attempts that failed.
        p2p_connections_opened_total: Counters<2> = [opened_connection_type(), Network::label()], from OPENINGS;

        /// Connections closed by either side, by type and network, from the tracepoint net:closed_connection. Those that
        /// the node evicted are among them.
        p2p_connections_closed_total: Counters<2> = [connection_type(), Network::label()], from CLOSINGS;

        /// Inbound connections that the node chose to close to make room for another, by network, from the tracepoint
        /// net:evicted_inbound_connection. Their closings count in bitcointap_p2p_connections_closed_total too.
        p2p_connections_evicted_total: Counters<1> = [Network::label()], from EVICTIONS;

        /// How long connections lasted that were closed, by type, from the tracepoint net:closed_connection, to the
        /// second. Not of those that are still open.
        p2p_connection_duration_seconds: Histograms<1> = ([connection_type()], DURATIONS), from CLOSINGS;

        /// Connections open now, by type and network, learnt from openings, closings and messages. A connection from
        /// before the attachment counts from its first message on, and inbound onion ones among them have the network
        /// unknown. It is no count of the node's own.
        p2p_connections: Gauges<2> = [connection_type(), Network::label()], from CLOSINGS;

        /// Offences of peers by reason, from the tracepoint net:misbehaving_connection. Offences, not peers: a peer that
        /// may not be dropped can offend again and again. Numbers in reasons are N; reasons too many to keep count as
        /// other.
        p2p_misbehaving_total: Reasons = ("reason", options.max_free_form_values), from OFFENCES;
    }
}

/// The families and who is connected. Other state by connection goes beside `peers`, in a file of its own.
pub(super) struct Connections {
    pub(super) families: Families,
    peers: Peers,
    /// Without closings there is no telling who is connected.
    sees_closings: bool,
}

impl Connections {
    pub(super) fn new(options: &Options) -> Self {
        Self { families: Families::new(options), peers: Peers::default(), sees_closings: false }
    }

    pub(super) fn attached(&mut self, attached: Tracepoints) {
        self.sees_closings = attached.contains_any(CLOSINGS);
        self.peers.hear_messages(MESSAGES.iter().all(|&messages| attached.contains(messages)));
    }

    pub(super) fn node_gone(&mut self) {
        self.peers.node_gone(&self.families.p2p_connections);
    }

    pub(super) fn message(&mut self, now: Moment, meta: &Meta<'_>) {
        if self.sees_closings {
            self.peers.message(now, meta, &self.families.p2p_connections);
        }
    }

    pub(super) fn observe(&mut self, &Event { time, moment: now, kind: _ }: &Event<'_>, connection: &Connection<'_>) {
        match connection {
            Connection::Inbound { conn, existing_connections: _ }
            | Connection::Outbound { conn, existing_connections: _ } => {
                self.families.p2p_connections_opened_total.at(place(conn)).inc();
                self.open(now, conn);
            }
            Connection::Closed { conn, time_established } => {
                let lasted = (time.0 as f64 / 1e9 - *time_established as f64).max(0.0);
                self.families.p2p_connections_closed_total.at(place(conn)).inc();
                self.families.p2p_connection_duration_seconds.at([conn.conn_type as usize]).observe(lasted);
                self.peers.closed(now, conn.peer_id, &self.families.p2p_connections);
            }
            Connection::InboundEvicted { conn, time_established: _ } => {
                let [_, network] = place(conn);
                self.families.p2p_connections_evicted_total.at([network]).inc();
                // It is still open: its closing is an event of its own.
                self.open(now, conn);
            }
            Connection::Misbehaving { id: _, score_before: _, score_increase: _, xmessage, threshold_exceeded: _ } => {
                self.families.p2p_misbehaving_total.count(xmessage);
            }
        }
    }

    fn open(&mut self, now: Moment, conn: &Conn<'_>) {
        if self.sees_closings {
            self.peers.connection(now, conn, &self.families.p2p_connections);
        }
    }
}

/// By type and network.
fn place(conn: &Conn<'_>) -> [usize; 2] {
    [conn.conn_type as usize, Network::from_number(conn.network) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Kind, net::ConnectionType},
        metrics::testing::{assert_histogram_of_one, conn, message, misbehaving, only, rejected, text_of, told},
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
    fn peers_from_before_are_learnt_from_messages_if_closings_are_seen() {
        let ping = || message(true, "ping", 8, p2p::Message::Ping { value: 1 });
        let mut all = told();
        all.tell(ping())
            .assert("p2p_connections", &["{connection_type=\"outbound-full-relay\",network=\"ipv4\"} 1"])
            .assert("p2p_connections_opened_total", &[]);
        assert_eq!(only("net:inbound_message").tell(ping()).family("p2p_connections"), None);
    }

    #[test]
    fn offences_and_rejections_count_by_a_bounded_number_of_reasons() {
        let mut told = told();
        for reason in ["headers: 2001 of 2000", "headers: 2002 of 2000", "b", "c", "d", "e"] {
            told.tell(misbehaving(reason)).tell(rejected(reason));
        }
        let expected =
            ["{reason=\"b\"} 1", "{reason=\"c\"} 1", "{reason=\"headers: N of N\"} 2", "{reason=\"other\"} 2"];
        told.assert("p2p_misbehaving_total", &expected).assert("mempool_rejections_total", &expected);
    }
}
