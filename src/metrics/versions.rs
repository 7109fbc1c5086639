//! How peers present themselves. In: their version messages. Out: families of protocol versions, services, user agents and
//! clocks.

use prometheus::Histogram;

use super::{
    family::{Counters, families},
    labels::{INBOUND_MESSAGES, Label, service, service_places},
    user_agents::UserAgents,
};
use crate::event::Time;

/// Upper bounds in seconds; 4200 was the most by which Bitcoin Core corrected its clock, 600 is where it warns now.
const OFFSETS: &[f64] =
    &[-4200.0, -600.0, -60.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0, 4200.0];

/// No offset counts as more, in seconds: one peer's would drown the sum.
const MOST_OFFSET: f64 = 86400.0;

families! {
    struct Versions with options {
        /// Versions of the protocol in peers' version messages, from the tracepoint net:inbound_message. Not the lower one
        /// that both sides then use. Those at which Bitcoin Core's protocol did not change count as other.
        p2p_peer_protocol_versions_total: Counters<1> = [protocol_version()], from INBOUND_MESSAGES;

        /// Services in peers' version messages, from the tracepoint net:inbound_message. A peer counts once for each of its
        /// services, and once in other for all that Bitcoin Core does not name; without any it does not count.
        p2p_peer_services_total: Counters<1> = [service()], from INBOUND_MESSAGES;

        /// User agents (BIP 14) in peers' version messages, from the tracepoint net:inbound_message, cut to 128 bytes. Half
        /// of the places are kept for those of Bitcoin Core's releases. Those too many to keep count as other.
        p2p_user_agents_total: UserAgents = ("user_agent", options.max_free_form_values), from INBOUND_MESSAGES;

        /// Time in peers' version messages minus the time here when the node took the message up, from the tracepoint
        /// net:inbound_message. Peers tell whole seconds and messages travel, so an exact clock is up to some seconds below
        /// 0. Offsets of more than a day count as a day. In OpenMetrics it has buckets alone, without _sum and _count, since a
        /// sum must not fall there.
        p2p_peer_clock_offset_seconds: Histogram = OFFSETS, from INBOUND_MESSAGES;
    }
}

/// At which Bitcoin Core's protocol changed, from the lowest with which it keeps a connection (protocol_version.h and its
/// history), sorted.
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

impl Versions {
    /// A peer's.
    pub(super) fn observe(&mut self, time: Time, version: u32, services: u64, timestamp: i64, user_agent: &str) {
        self.p2p_peer_protocol_versions_total.at([protocol_version_place(version)]).inc();
        for service in service_places(services) {
            self.p2p_peer_services_total.at([service]).inc();
        }
        self.p2p_user_agents_total.count(user_agent);
        let offset = timestamp as f64 - time.0 as f64 / 1e9;
        self.p2p_peer_clock_offset_seconds.observe(offset.clamp(-MOST_OFFSET, MOST_OFFSET));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Kind,
        metrics::testing::{assert_histogram_of_one, message, told, version},
        p2p,
    };

    /// A payload of `version` by its first three fields and its user agent.
    fn payload(number: u32, services: u64, timestamp: i64, user_agent: &str) -> Vec<u8> {
        let mut payload = version(user_agent);
        payload[..4].copy_from_slice(&number.to_le_bytes());
        payload[4..12].copy_from_slice(&services.to_le_bytes());
        payload[12..20].copy_from_slice(&timestamp.to_le_bytes());
        payload
    }

    fn told_by(inbound: bool, payload: &[u8]) -> Kind<'_> {
        message(inbound, "version", payload.len() as u64, p2p::decode("version", payload))
    }

    #[test]
    fn peers_present_themselves_and_the_node_does_not_count() {
        let mut told = told();
        let now = told.second as i64;
        let core = payload(70016, 0xc09, now, "/Satoshi:31.0.0/");
        let other = payload(70003, 1 << 40, now, "/other:1/");
        told.tell(told_by(true, &core))
            .tell(told_by(true, &core))
            .tell(told_by(true, &other))
            .tell(told_by(false, &other))
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
            .assert("p2p_user_agents_total", &["{user_agent=\"/Satoshi:31.0.0/\"} 2", "{user_agent=\"/other:1/\"} 1"]);
        let lines = told.family("p2p_peer_clock_offset_seconds").unwrap();
        assert_eq!(lines.last().unwrap(), "_count 3");
    }

    #[test]
    fn clocks_may_be_off_either_way() {
        let offset = |seconds: i64| {
            let mut told = told();
            let message = payload(70016, 0, (told.second as i64).saturating_add(seconds), "");
            told.tell(told_by(true, &message));
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
