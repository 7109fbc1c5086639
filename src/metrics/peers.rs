//! Who is connected. In: messages and connection events of one run of the node. Out: the gauge of open connections.
//!
//! A message may come before the opening of its connection or after its closing, and either may be lost; so peers are kept
//! by the node's number, which is never used twice in a run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{family::Gauges, network::Network};
use crate::event::{
    Moment,
    net::{Conn, ConnectionType, Meta},
};

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
#[derive(Debug, Default)]
pub(super) struct Peers {
    open: BTreeMap<i64, Peer>,
    closed: BTreeSet<i64>,
    /// The same, by when they closed.
    closings: VecDeque<(Moment, i64)>,
    /// Whether messages of both directions come, so that silence means something.
    hears_messages: bool,
    looked_for_silent: Option<Moment>,
    fell_out: bool,
}

#[derive(Debug)]
struct Peer {
    connection_type: ConnectionType,
    network: Network,
    last_heard: Moment,
}

impl Peer {
    fn place(&self) -> [usize; 2] {
        [self.connection_type as usize, self.network as usize]
    }
}

impl Peers {
    /// Whether every message of a peer is seen from now on. With a selection of messages it would not be.
    pub(super) fn hear_messages(&mut self, hears_messages: bool) {
        self.hears_messages = hears_messages;
    }

    /// A peer that is new by a message was there before us, or its opening is yet to come, or lost.
    pub(super) fn message(&mut self, now: Moment, meta: &Meta<'_>, gauge: &Gauges<2>) {
        if self.hears_messages && self.looked_for_silent.is_none_or(|looked| now.since(looked) >= MINUTE) {
            self.drop_silent(now, gauge);
        }
        match self.open.get_mut(&meta.peer_id) {
            Some(peer) => peer.last_heard = now,
            None => {
                let connection_type = meta.conn_type;
                let network = Network::from_address(&meta.addr, connection_type);
                self.store(meta.peer_id, Peer { connection_type, network, last_heard: now }, gauge);
            }
        }
    }

    /// A connection event other than the closing. It knows better than a message did.
    pub(super) fn connection(&mut self, now: Moment, conn: &Conn<'_>, gauge: &Gauges<2>) {
        let network = Network::from_number(conn.network);
        self.store(conn.peer_id, Peer { connection_type: conn.conn_type, network, last_heard: now }, gauge);
    }

    pub(super) fn closed(&mut self, now: Moment, peer_id: i64, gauge: &Gauges<2>) {
        if let Some(peer) = self.open.remove(&peer_id) {
            gauge.at(peer.place()).dec();
        }
        if self.closed.insert(peer_id) {
            self.closings.push_back((now, peer_id));
        }
        self.forget_closed(now);
    }

    /// The node has ended, and its numbers with it.
    pub(super) fn node_gone(&mut self, gauge: &Gauges<2>) {
        for peer in self.open.values() {
            gauge.at(peer.place()).dec();
        }
        *self = Self { hears_messages: self.hears_messages, ..Self::default() };
    }

    fn store(&mut self, peer_id: i64, peer: Peer, gauge: &Gauges<2>) {
        self.forget_closed(peer.last_heard);
        if self.closed.contains(&peer_id) {
            return;
        }
        gauge.at(peer.place()).inc();
        if let Some(before) = self.open.insert(peer_id, peer) {
            gauge.at(before.place()).dec();
        }
        if self.open.len() > MOST_OPEN
            && let Some((_, oldest)) = self.open.pop_first()
        {
            gauge.at(oldest.place()).dec();
            if !self.fell_out {
                tracing::warn!(kept = MOST_OPEN, "too many peers: bitcointap_p2p_connections does not count all");
                self.fell_out = true;
            }
        }
    }

    fn forget_closed(&mut self, now: Moment) {
        while let Some(&(closed, peer_id)) = self.closings.front()
            && (now.since(closed) >= CLOSED_FOR || self.closings.len() > MOST_CLOSED)
        {
            self.closings.pop_front();
            self.closed.remove(&peer_id);
        }
    }

    fn drop_silent(&mut self, now: Moment, gauge: &Gauges<2>) {
        self.looked_for_silent = Some(now);
        self.open.retain(|_, peer| {
            let is_silent = now.since(peer.last_heard) >= SILENT_FOR;
            if is_silent {
                gauge.at(peer.place()).dec();
            }
            !is_silent
        });
    }
}

#[cfg(test)]
mod tests {
    use ConnectionType::{Inbound, Manual};

    use super::*;
    use crate::metrics::{
        family::Family,
        labels::connection_type,
        testing::{lines_of, moment},
    };

    /// Peers with their gauge.
    struct Watch {
        peers: Peers,
        gauge: Gauges<2>,
    }

    impl Watch {
        fn new() -> Self {
            let gauge = Gauges::define("open", "Help.", [connection_type(), Network::label()]);
            let mut peers = Peers::default();
            peers.hear_messages(true);
            Self { peers, gauge }
        }

        fn message(&mut self, second: u64, peer_id: i64, conn_type: ConnectionType, addr: &str) {
            let meta = Meta { peer_id, addr: addr.into(), conn_type, command: "ping", inbound: true, size: 8 };
            self.peers.message(moment(second), &meta, &self.gauge);
        }

        fn connection(&mut self, second: u64, peer_id: i64, conn_type: ConnectionType, network: u32) {
            let conn = Conn { peer_id, addr: "".into(), conn_type, network };
            self.peers.connection(moment(second), &conn, &self.gauge);
        }

        fn closed(&mut self, second: u64, peer_id: i64) {
            self.peers.closed(moment(second), peer_id, &self.gauge);
        }

        #[track_caller]
        fn assert(&self, expected: &[(&str, &str, usize)]) {
            let expected: Vec<_> = expected
                .iter()
                .map(|(kind, network, n)| {
                    format!("bitcointap_open{{connection_type=\"{kind}\",network=\"{network}\"}} {n}")
                })
                .collect();
            assert_eq!(lines_of(self.gauge.collector()), expected);
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
        watch.peers.node_gone(&watch.gauge);
        watch.assert(&[("inbound", "ipv4", 0)]);
        watch.connection(2, 1, Inbound, 2);
        watch.connection(2, 2, Inbound, 2);
        watch.assert(&[("inbound", "ipv4", 0), ("inbound", "ipv6", 2)]);
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut watch = Watch::new();
        for peer_id in 0..10_000 {
            watch.connection(1, peer_id, Inbound, 1);
        }
        watch.assert(&[("inbound", "ipv4", MOST_OPEN)]);
        // The one that fell out and lives comes back; another falls out.
        watch.message(1, 0, Inbound, "8.8.8.8:1");
        watch.assert(&[("inbound", "ipv4", MOST_OPEN)]);
        for peer_id in 0..10_000 {
            watch.closed(1, peer_id);
        }
        watch.assert(&[("inbound", "ipv4", 0)]);
        assert_eq!((watch.peers.closings.len(), watch.peers.closed.len()), (MOST_CLOSED, MOST_CLOSED));
        watch.closed(1 + CLOSED_FOR.as_secs(), 20_000);
        assert_eq!((watch.peers.closings.len(), watch.peers.closed.len()), (1, 1));
    }

    #[test]
    fn silence_is_a_lost_closing_only_where_messages_are_heard() {
        for (hears_messages, left) in [(true, 1), (false, 2)] {
            let mut watch = Watch::new();
            watch.peers.hear_messages(hears_messages);
            watch.connection(0, 1, Inbound, 1);
            for minute in 0..=31 {
                watch.message(minute * 60, 2, Inbound, "8.8.8.8:1");
            }
            watch.assert(&[("inbound", "ipv4", left)]);
        }
    }
}
