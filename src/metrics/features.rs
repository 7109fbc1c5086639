//! What peers say they can do, between version and verack. In: their `feature` and `sendtxrcncl` messages, and
//! closings. Out: families of both. A connection counts once, however often it says so.

use std::hash::{BuildHasher as _, RandomState};

use super::{
    Options,
    chosen::{Chosen, NOTHING_OWN},
    family::{Counters, Registered, families},
    group::{Group, Shared, WHOLE},
    labels::{INBOUND_MESSAGES, Label},
};
use crate::{
    connected::{Connected, Found},
    event::{
        Event, Kind, Moment,
        net::{Connection, Message},
    },
    p2p,
    tracepoint::Tracepoints,
};

/// How many features count for a connection.
const MOST_FEATURES: usize = 16;

families! {
    struct Families with options {
        /// Features (BIP 434) that peers name in feature messages, from the tracepoint net:inbound_message. A
        /// connection counts once for each of the first 16 features that it names. A name gets a place once peers of
        /// three groups of addresses have named it, as in bitcointap_p2p_user_agents_total. Before that, and if there
        /// are too many to keep, it counts as other.
        p2p_peer_features_total: Chosen = ("feature", NOTHING_OWN, options.max_free_form_values), from INBOUND_MESSAGES;

        /// Versions of transaction reconciliation (BIP 330) in peers' sendtxrcncl messages, from the tracepoint
        /// net:inbound_message. Only the first such message of a connection counts. A node that does not reconcile, as
        /// Bitcoin Core without -txreconciliation, ignores these messages. Versions that no release of Bitcoin Core has
        /// count as other.
        p2p_peer_txrcncl_versions_total: Counters<1> = [txrcncl_version()], from INBOUND_MESSAGES;
    }
}

/// Bitcoin Core's TXRECONCILIATION_VERSION is 1.
fn txrcncl_version() -> Label {
    Label::new("version", ["1", "other"])
}

pub(super) struct Features {
    families: Families,
    /// Peers that have said something of it.
    connected: Connected<Told, ()>,
    hashes: RandomState,
}

/// What of a connection has counted.
#[derive(Debug, Default)]
struct Told {
    /// Hashes of the names.
    features: Vec<u64>,
    reconciliation: bool,
}

impl Group for Features {
    fn reads(_: &Options) -> Vec<(&'static str, u32)> {
        vec![("feature", WHOLE), ("sendtxrcncl", WHOLE)]
    }

    fn new(options: &Options) -> Self {
        Self { families: Families::new(options), connected: Connected::default(), hashes: RandomState::new() }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
        self.connected.attach(attached);
    }

    fn observe(&mut self, event: &Event<'_>, _: &Shared) {
        match &event.kind {
            Kind::Msg(message) => self.message(event.moment, message),
            Kind::Conn { event: Connection::Closed { conn, .. } } => {
                self.connected.close(event.moment, conn.peer_id, |_| ());
            }
            _ => {}
        }
    }

    fn node_gone(&mut self) {
        drop(self.connected.clear());
    }
}

impl Features {
    fn message(&mut self, now: Moment, Message { meta, msg, payload: _ }: &Message<'_>) {
        if !meta.inbound || !matches!(msg, p2p::Message::Feature { .. } | p2p::Message::Sendtxrcncl { .. }) {
            return;
        }
        let mut first = None;
        let told = match self.connected.heard_of(now, meta.peer_id) {
            Found::Open(told) => told,
            Found::Closed(()) => return,
            Found::New => first.insert(Told::default()),
        };
        match msg {
            p2p::Message::Feature { feature, data: _ } => {
                let hash = self.hashes.hash_one(feature);
                if told.features.len() < MOST_FEATURES && !told.features.contains(&hash) {
                    told.features.push(hash);
                    self.families.p2p_peer_features_total.count(now, meta, feature);
                }
            }
            p2p::Message::Sendtxrcncl { version, salt: _ } if !told.reconciliation => {
                told.reconciliation = true;
                self.families.p2p_peer_txrcncl_versions_total.at([usize::from(*version != 1)]).inc();
            }
            _ => {}
        }
        if let Some(told) = first {
            // Where closings are not reported the oldest goes: what it has said does not come again.
            self.connected.enter(now, meta.peer_id, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::testing::{Told, closed, told, with_peer};

    fn feature(told: &mut Told, peer: i64, inbound: bool, name: &str) {
        let payload = [&[name.len() as u8], name.as_bytes(), &[0]].concat();
        told.tell(with_peer(peer, inbound, "feature", &payload));
    }

    fn reconciles(told: &mut Told, peer: i64, version: u8) {
        let payload = [&[version, 0, 0, 0], &[7; 8][..]].concat();
        told.tell(with_peer(peer, true, "sendtxrcncl", &payload));
    }

    #[test]
    fn a_connection_counts_once_for_each_feature_and_for_its_first_version() {
        let mut told = told();
        for (peer, inbound, name) in
            [(1, true, "some"), (1, true, "some"), (1, true, "more"), (1, false, "own1"), (2, true, "some")]
        {
            feature(&mut told, peer, inbound, name);
        }
        for (peer, version) in [(1, 1), (1, 9), (2, 7)] {
            reconciles(&mut told, peer, version);
        }
        // All are in one group of addresses.
        let features = |all: u32| [format!("{{feature=\"other\"}} {all}")];
        told.assert("p2p_peer_txrcncl_versions_total", &["{version=\"1\"} 1", "{version=\"other\"} 1"]);
        assert_eq!(told.family("p2p_peer_features_total").unwrap(), features(3));
        // Messages that come after the closing belong to that connection. In the node's next run another peer has the
        // number.
        told.tell(closed(1));
        feature(&mut told, 1, true, "some");
        assert_eq!(told.family("p2p_peer_features_total").unwrap(), features(3));
        told.metrics.node_gone();
        feature(&mut told, 1, true, "some");
        assert_eq!(told.family("p2p_peer_features_total").unwrap(), features(4));
    }

    #[test]
    fn one_connection_counts_no_more_than_sixteen() {
        let mut told = told();
        for number in 0..1_000 {
            feature(&mut told, 1, true, &format!("made-up-{}", char::from_u32(0x4e00 + number).unwrap()));
        }
        let lines = told.family("p2p_peer_features_total").unwrap();
        let count = |line: &String| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(lines.iter().map(count).sum::<u64>(), 16, "{lines:?}");
    }
}
