//! How long peers take for the answers that all of them owe. In: pings and pongs, openings of connections and the end
//! of their handshakes. Out: histograms by type of connection.

use std::time::Duration;

use crate::metrics::{
    Options,
    family::{Histograms, families},
    labels::{INBOUND_MESSAGES, OPENINGS, OUTBOUND_MESSAGES, connection_type, opened_connection_type},
    state::{Cause, Of, State},
};
use crate::{
    event::{Moment, net::Meta},
    table::Table,
};

/// Upper bounds in seconds: a neighbour answers in one millisecond, a peer behind Tor in some seconds.
const ROUND_TRIPS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Upper bounds in seconds. Bitcoin Core waits for 60.
const HANDSHAKES: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// How many peers to follow; the node's own default is 125.
const MOST: usize = 4096;

/// Bitcoin Core closes a connection if a pong does not come for 20 minutes.
const PONG_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Bitcoin Core's own, -peertimeout, is 60 seconds by default.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10 * 60);

families! {
    struct Families with _options {
        /// From the node's pings to the peers' pongs with the same nonce, by type of connection, from the tracepoints
        /// net:outbound_message and net:inbound_message: from when the node queues the ping until it processes the
        /// pong. Includes the node's own queues, so it is never less than getpeerinfo's minping. Does not include pings
        /// of peers, nor pings without an answer.
        p2p_ping_round_trip_seconds: Histograms<1> = ([connection_type()], ROUND_TRIPS), from OUTBOUND_MESSAGES, INBOUND_MESSAGES;

        /// From when a connection opens until the node processes the peer's verack, by type of connection. Does not
        /// include connections that closed earlier, nor those from before the attachment. Feelers are always 0, since
        /// the node closes them once it has the peer's version.
        p2p_handshake_seconds: Histograms<1> = ([opened_connection_type()], HANDSHAKES), from OPENINGS, INBOUND_MESSAGES;
    }
}

pub(super) struct RoundTrips {
    pub(super) families: Families,
    /// The nonce of the node's last ping to each peer; the node has one ping at a time in flight for each.
    pings: Table<i64, u64>,
    handshakes: Table<i64, ()>,
}

impl RoundTrips {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            families: Families::new(options),
            pings: Table::new(MOST, PONG_PATIENCE),
            handshakes: Table::new(MOST, HANDSHAKE_PATIENCE),
        }
    }

    pub(super) fn ping(&mut self, now: Moment, meta: &Meta<'_>, nonce: u64, state: &State) {
        if self.pings.insert(now, meta.peer_id, nonce).is_some() {
            state.dropped(Of::Pings, Cause::Full);
        }
    }

    pub(super) fn pong(&mut self, now: Moment, meta: &Meta<'_>, nonce: u64) {
        if self.pings.get(&meta.peer_id) == Some(&nonce)
            && let Some((sent, _)) = self.pings.remove(&meta.peer_id)
        {
            let round_trip = now.since(sent).as_secs_f64();
            self.families.p2p_ping_round_trip_seconds.at([meta.conn_type as usize]).observe(round_trip);
        }
    }

    pub(super) fn opened(&mut self, now: Moment, peer: i64, state: &State) {
        if self.handshakes.insert(now, peer, ()).is_some() {
            state.dropped(Of::Handshakes, Cause::Full);
        }
    }

    pub(super) fn verack(&mut self, now: Moment, meta: &Meta<'_>) {
        if let Some((opened, ())) = self.handshakes.remove(&meta.peer_id) {
            let took = now.since(opened).as_secs_f64();
            self.families.p2p_handshake_seconds.at([meta.conn_type as usize]).observe(took);
        }
    }

    pub(super) fn closed(&mut self, peer: i64) {
        self.pings.remove(&peer);
        self.handshakes.remove(&peer);
    }

    pub(super) fn node_gone(&mut self) {
        self.pings.clear();
        self.handshakes.clear();
    }

    pub(super) fn sweep(&mut self, now: Moment, state: &State) {
        while self.pings.pop_old(now).is_some() {
            state.dropped(Of::Pings, Cause::Old);
        }
        while self.handshakes.pop_old(now).is_some() {
            state.dropped(Of::Handshakes, Cause::Old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{assert_histogram_of_one, closed, opened, text_of, told, with_peer};

    const EIGHTY: Duration = Duration::from_millis(80);

    #[test]
    fn a_pong_ends_the_round_trip_of_its_ping() {
        let [nonce, other] = [7u64, 8].map(u64::to_le_bytes);
        let mut told = told();
        told.tell(with_peer(1, false, "ping", &nonce))
            .tell_after(EIGHTY, with_peer(1, true, "pong", &nonce))
            // Pongs with other nonces, of other peers, and repeated ones do not count.
            .tell(with_peer(1, true, "pong", &nonce))
            .tell(with_peer(1, false, "ping", &nonce))
            .tell(with_peer(1, true, "pong", &other))
            .tell(with_peer(2, true, "pong", &nonce))
            // Pings of peers do not count, either.
            .tell(with_peer(3, true, "ping", &nonce))
            .tell(with_peer(3, false, "pong", &nonce));
        let bounds = ["0.1", "0.25", "0.5", "1", "2.5", "5", "10", "60", "+Inf"];
        let label = "connection_type=\"outbound-full-relay\",";
        assert_histogram_of_one(&told, "p2p_ping_round_trip_seconds", label, &bounds, 0.08);
    }

    #[test]
    fn only_the_last_ping_counts_and_none_of_a_connection_before() {
        let [first, second] = [7u64, 8].map(u64::to_le_bytes);
        let mut told = told();
        told.tell(with_peer(1, false, "ping", &first))
            .tell(with_peer(1, false, "ping", &second))
            .tell(with_peer(1, true, "pong", &first))
            .assert("p2p_ping_round_trip_seconds", &[]);
        told.tell(closed(1)).tell(with_peer(1, true, "pong", &second)).assert("p2p_ping_round_trip_seconds", &[]);
    }

    #[test]
    fn a_handshake_ends_with_the_peers_verack() {
        let mut told = told();
        told.tell(opened(1))
            .tell_after(EIGHTY, with_peer(1, false, "verack", &[]))
            .tell_after(EIGHTY, with_peer(1, true, "verack", &[]))
            .tell(with_peer(1, true, "verack", &[]))
            // From before the attachment, and closed before the end.
            .tell(with_peer(2, true, "verack", &[]))
            .tell(opened(3))
            .tell(closed(3))
            .tell(with_peer(3, true, "verack", &[]));
        let bounds = ["0.25", "0.5", "1", "2.5", "5", "10", "20", "60", "+Inf"];
        let label = "connection_type=\"outbound-full-relay\",";
        assert_histogram_of_one(&told, "p2p_handshake_seconds", label, &bounds, 0.16);
    }

    #[test]
    fn what_waits_too_long_or_is_too_much_is_counted() {
        let mut told = told();
        let nonce = 7u64.to_le_bytes();
        for peer in 0..MOST as i64 + 3 {
            told.tell_after(Duration::ZERO, with_peer(peer, false, "ping", &nonce));
            told.tell_after(Duration::ZERO, opened(peer));
        }
        let full = ["{cause=\"full\",table=\"handshakes\"} 3", "{cause=\"full\",table=\"pings\"} 3"];
        let is_ours = |line: &String| line.contains("handshakes") || line.contains("pings");
        let dropped = |told: &crate::metrics::testing::Told| {
            let lines = told.family("state_dropped_total").unwrap().into_iter();
            lines.filter(is_ours).collect::<Vec<_>>()
        };
        assert_eq!(dropped(&told), full);
        told.tell_after(HANDSHAKE_PATIENCE, with_peer(-1, true, "pong", &nonce));
        told.tell_after(PONG_PATIENCE - HANDSHAKE_PATIENCE, with_peer(-1, true, "pong", &nonce));
        let old = ["pings", "handshakes"]
            .map(|table| format!("bitcointap_state_dropped_total{{cause=\"old\",table=\"{table}\"}} {MOST}\n"));
        let text = text_of(&told.metrics.registry());
        assert!(old.iter().all(|line| text.contains(line)), "{text}");
    }

    #[test]
    fn the_end_of_the_node_ends_all() {
        let nonce = 7u64.to_le_bytes();
        let mut told = told();
        told.tell(with_peer(1, false, "ping", &nonce)).tell(opened(1));
        told.metrics.node_gone();
        told.tell(with_peer(1, true, "pong", &nonce))
            .tell(with_peer(1, true, "verack", &[]))
            .assert("p2p_ping_round_trip_seconds", &[])
            .assert("p2p_handshake_seconds", &[]);
    }
}
