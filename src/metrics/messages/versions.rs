//! How peers present themselves. In: their version messages; the first of a connection counts, as for Bitcoin Core.
//! Out: families of protocol versions, services, user agents and clocks.

use std::collections::BTreeSet;

use prometheus::Histogram;

use crate::metrics::{
    Options,
    chosen::Chosen,
    family::{Counters, Registered, families},
    labels::{INBOUND_MESSAGES, Label, service, service_places},
    releases,
};
use crate::{
    event::{Moment, Time, net::Meta},
    tracepoint::Tracepoints,
};

/// Upper bounds in seconds. Bitcoin Core corrected its clock by at most 4200, and warns now at 600.
const OFFSETS: &[f64] =
    &[-4200.0, -600.0, -60.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0, 4200.0];

/// The largest offset that counts, in seconds: otherwise one peer's could drown the sum.
const MOST_OFFSET: f64 = 86400.0;

/// How many peers to remember as introduced; the node's own default is 125.
const MOST_INTRODUCED: usize = 4096;

families! {
    struct Families with options {
        /// Versions of the protocol in peers' version messages, from the tracepoint net:inbound_message. Only the first
        /// version message of a connection counts. This is not the lower version that both sides then use. Versions at
        /// which Bitcoin Core's protocol did not change count as other.
        p2p_peer_protocol_versions_total: Counters<1> = [protocol_version()], from INBOUND_MESSAGES;

        /// Services in peers' version messages, from the tracepoint net:inbound_message. Only the first version message
        /// of a connection counts. A peer counts once for each of its services, and once in other for all services that
        /// Bitcoin Core does not name. A peer without services does not count.
        p2p_peer_services_total: Counters<1> = [service()], from INBOUND_MESSAGES;

        /// User agents (BIP 14) in peers' version messages, from the tracepoint net:inbound_message, cut to 128 bytes.
        /// Only the first version message of a connection counts. An empty user agent counts as none. User agents of
        /// Bitcoin Core's releases have places of their own. Another one gets a place once peers of three groups of
        /// addresses (IPv4 /16, IPv6 /32) have named it; all peers of Tor, I2P and CJDNS, and those with unroutable
        /// addresses, are one group. Before that, and if there are too many to keep, it counts as other.
        p2p_user_agents_total: Chosen = ("user_agent", releases::USER_AGENTS, options.max_free_form_values), from INBOUND_MESSAGES;

        /// Time in peers' version messages minus the time here when the node processed the message, from the tracepoint
        /// net:inbound_message. Only the first version message of a connection counts. Peers send whole seconds and
        /// messages travel, so an exact clock is up to some seconds below 0. Offsets of more than a day count as a day.
        /// Peers that send the time 0 do not count: they hide their clock, as Bitcoin Core does since v31 in private
        /// broadcasts. Each clock that is behind lowers the sum: use rate() and increase() only with the buckets and
        /// the count. In OpenMetrics the family has buckets alone, without _sum and _count, since a sum must not fall
        /// there.
        p2p_peer_clock_offset_seconds: Histogram = OFFSETS, from INBOUND_MESSAGES;
    }
}

/// The versions at which Bitcoin Core's protocol changed, from the lowest with which it keeps a connection
/// (protocol_version.h and its history), sorted.
const PROTOCOL_VERSIONS: [(u32, &str); 13] = [
    (31800, "31800"),
    (60000, "60000"),
    (60001, "60001"),
    (60002, "60002"),
    (70001, "70001"),
    (70002, "70002"),
    (70011, "70011"),
    (70012, "70012"),
    (70013, "70013"),
    (70014, "70014"),
    (70015, "70015"),
    (70016, "70016"),
    (70017, "70017"),
];

fn protocol_version() -> Label {
    let texts = PROTOCOL_VERSIONS.iter().map(|&(_, text)| text);
    Label::new("protocol_version", texts.chain(["other"]))
}

fn protocol_version_place(version: u32) -> usize {
    PROTOCOL_VERSIONS.binary_search_by_key(&version, |&(known, _)| known).unwrap_or(PROTOCOL_VERSIONS.len())
}

/// The families, and the peers that have counted.
pub(super) struct Versions {
    families: Families,
    introduced: Introduced,
}

impl Versions {
    pub(super) fn new(options: &Options) -> Self {
        Self { families: Families::new(options), introduced: Introduced::default() }
    }

    pub(super) fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    /// The node has ended, and its peer numbers with it.
    pub(super) fn node_gone(&mut self) {
        self.introduced = Introduced::default();
    }

    /// A message of a peer.
    pub(super) fn observe(&mut self, now: Moment, time: Time, meta: &Meta<'_>, version: &Version<'_>) {
        if !self.introduced.is_first(meta.peer_id) {
            return;
        }
        let &Version { version, services, timestamp, user_agent } = version;
        let families = &mut self.families;
        families.p2p_peer_protocol_versions_total.at([protocol_version_place(version)]).inc();
        for service in service_places(services) {
            families.p2p_peer_services_total.at([service]).inc();
        }
        families.p2p_user_agents_total.count(now, meta, user_agent);
        if timestamp != NO_CLOCK {
            let offset = timestamp as f64 - time.0 as f64 / 1e9;
            families.p2p_peer_clock_offset_seconds.observe(offset.clamp(-MOST_OFFSET, MOST_OFFSET));
        }
    }
}

/// What counts of a version message.
pub(super) struct Version<'a> {
    pub(super) version: u32,
    pub(super) services: u64,
    pub(super) timestamp: i64,
    pub(super) user_agent: &'a str,
}

/// The time of peers that hide theirs.
const NO_CLOCK: i64 = 0;

/// The peers whose version has counted. The node never uses a number twice, so one number stands for all that are
/// lower.
#[derive(Debug, Default)]
struct Introduced {
    peers: BTreeSet<i64>,
    /// All peers up to this number count as introduced: they are the oldest, and have had their time.
    up_to: Option<i64>,
}

impl Introduced {
    /// Whether a peer presents itself for the first time.
    fn is_first(&mut self, peer: i64) -> bool {
        if self.up_to.is_some_and(|up_to| peer <= up_to) || !self.peers.insert(peer) {
            return false;
        }
        if self.peers.len() > MOST_INTRODUCED {
            self.up_to = self.peers.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{Told, assert_histogram_of_one, told, version, with_peer};

    /// A payload of `version` from its first three fields and its user agent.
    fn payload(number: u32, services: u64, timestamp: i64, user_agent: &str) -> Vec<u8> {
        let mut payload = version(user_agent);
        payload[..4].copy_from_slice(&number.to_le_bytes());
        payload[4..12].copy_from_slice(&services.to_le_bytes());
        payload[12..20].copy_from_slice(&timestamp.to_le_bytes());
        payload
    }

    #[test]
    fn peers_present_themselves_and_the_node_does_not_count() {
        let mut told = told();
        let now = told.second as i64;
        let core = payload(70016, 0xc09, now, "/Satoshi:31.0.0/");
        let other = payload(70003, 1 << 40, now, "/other:1/");
        told.tell(with_peer(1, true, "version", &core))
            .tell(with_peer(2, true, "version", &core))
            .tell(with_peer(3, true, "version", &other))
            .tell(with_peer(4, false, "version", &other))
            .assert(
                "p2p_peer_protocol_versions_total",
                &["{protocol_version=\"70016\"} 2", "{protocol_version=\"other\"} 1"],
            )
            .assert(
                "p2p_peer_services_total",
                &[
                    "{service=\"network\"} 2",
                    "{service=\"network_limited\"} 2",
                    "{service=\"other\"} 1",
                    "{service=\"p2p_v2\"} 2",
                    "{service=\"witness\"} 2",
                ],
            )
            .assert("p2p_user_agents_total", &["{user_agent=\"/Satoshi:31.0.0/\"} 2", "{user_agent=\"other\"} 1"]);
        let lines = told.family("p2p_peer_clock_offset_seconds").unwrap();
        assert_eq!(lines.last().unwrap(), "_count 3");
    }

    #[test]
    fn a_peer_counts_once_however_often_it_presents_itself() {
        let mut told = told();
        let count = |told: &Told| {
            let lines = told.family("p2p_peer_clock_offset_seconds").unwrap();
            lines.last().map(|line| line.trim_start_matches("_count ").parse::<u32>().unwrap()).unwrap_or_default()
        };
        let first = payload(70016, 1, 1_000, "/Satoshi:31.0.0/");
        told.tell(with_peer(7, true, "version", &first));
        for number in 0..3_000_u32 {
            let further = payload(number, 1 << (number % 64), 5_000, &format!("/Satoshi:{}.0.0/", number % 100));
            told.tell(with_peer(7, true, "version", &further));
        }
        told.assert("p2p_peer_protocol_versions_total", &["{protocol_version=\"70016\"} 1"])
            .assert("p2p_peer_services_total", &["{service=\"network\"} 1"])
            .assert("p2p_user_agents_total", &["{user_agent=\"/Satoshi:31.0.0/\"} 1"]);
        assert_eq!(count(&told), 1);
        // It does not count again after more peers than are remembered, nor as one that has waited that long.
        let other = payload(70016, 0, 1_000, "");
        for peer in 8..8 + MOST_INTRODUCED as i64 {
            told.tell(with_peer(peer, true, "version", &other));
        }
        let before = count(&told);
        told.tell(with_peer(7, true, "version", &first)).tell(with_peer(3, true, "version", &first));
        assert_eq!(count(&told), before);
        // Its number belongs to one run of the node.
        told.metrics.node_gone();
        told.tell(with_peer(7, true, "version", &first));
        assert_eq!(count(&told), before + 1);
    }

    #[test]
    fn no_clock_is_no_clock() {
        let mut told = told();
        let private = payload(70016, 0, 0, "/pynode:0.0.1/");
        told.tell(with_peer(1, true, "version", &private))
            .assert("p2p_peer_clock_offset_seconds", &[])
            .assert("p2p_peer_protocol_versions_total", &["{protocol_version=\"70016\"} 1"]);
    }

    #[test]
    fn clocks_may_be_off_either_way() {
        let offset = |seconds: i64| {
            let mut told = told();
            let message = payload(70016, 0, (told.second as i64).saturating_add(seconds), "");
            told.tell(with_peer(1, true, "version", &message));
            told
        };
        let name = "p2p_peer_clock_offset_seconds";
        let ahead = ["5", "10", "60", "600", "4200", "+Inf"];
        assert_histogram_of_one(&offset(3), name, "", &ahead, 3.0);
        let all = ["-60", "-10", "-5", "-2", "-1", "0", "1", "2", "5", "10", "60", "600", "4200", "+Inf"];
        assert_histogram_of_one(&offset(-60), name, "", &all, -60.0);
        assert_histogram_of_one(&offset(i64::MAX), name, "", &["+Inf"], 86_400.0);
        assert_histogram_of_one(&offset(i64::MIN), name, "", &[&["-4200", "-600"], &all[..]].concat(), -86_400.0);
    }

    #[test]
    fn protocol_versions_are_told_apart() {
        assert!(PROTOCOL_VERSIONS.is_sorted());
        for (place, (version, text)) in PROTOCOL_VERSIONS.into_iter().enumerate() {
            assert_eq!(protocol_version_place(version), place);
            assert_eq!(version.to_string(), text);
        }
        let other = protocol_version_place(70018);
        assert_eq!(protocol_version().values[other].text, "other");
    }
}
