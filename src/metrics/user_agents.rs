//! User agents, which peers choose. In: the text that a peer presents itself with, and where the peer is. Out: a bounded number
//! of series, of which no peer and no group of neighbours can take the places.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    time::Duration,
};

use prometheus::{IntCounter, IntCounterVec, core::Collector};

use super::{
    family::{Family, VALID, opts},
    free_form::{LENGTH, NONE, OTHER, cut, is_taken},
    netgroups::Netgroup,
};
use crate::{
    event::{Moment, net::Meta},
    network::{Network, ip_of},
    table::Table,
};

/// Counts by user agent. Shape: the label, and how many are kept beside those of Bitcoin Core's releases. Of those that are
/// not kept the peers count in `other`, those with an empty one in `none`.
pub(super) struct UserAgents {
    vec: IntCounterVec,
    kept: HashMap<String, IntCounter>,
    /// How many of `kept` are not of releases.
    others: usize,
    most: usize,
    named: Named,
    other: IntCounter,
    none: IntCounter,
}

impl UserAgents {
    pub(super) fn count(&mut self, now: Moment, meta: &Meta<'_>, user_agent: &str) {
        let user_agent = cut(user_agent, LENGTH);
        if let Some(counter) = self.kept.get(user_agent) {
            counter.inc();
        } else if user_agent.is_empty() {
            self.none.inc();
        } else if is_release(user_agent) {
            self.keep(user_agent);
        } else if self.others < self.most
            && !is_taken(user_agent)
            && self.named.by(now, neighbourhood(meta), user_agent) >= ENOUGH
        {
            self.others += 1;
            self.keep(user_agent);
        } else {
            self.other.inc();
        }
    }

    fn keep(&mut self, user_agent: &str) {
        let counter = self.vec.with_label_values(&[user_agent]);
        counter.inc();
        self.kept.insert(user_agent.to_owned(), counter);
    }
}

impl Family for UserAgents {
    type Shape = (&'static str, usize);

    fn define(name: &str, help: &str, (label, most): Self::Shape) -> Self {
        let vec = IntCounterVec::new(opts(name, help), &[label]).expect(VALID);
        let [other, none] = [OTHER, NONE].map(|text| vec.with_label_values(&[text]));
        Self { vec, kept: HashMap::new(), others: 0, most, named: Named::default(), other, none }
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.vec.clone())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        RELEASES + self.most + 2
    }
}

/// How many user agents [`is_release`] is true of; so many have a place each.
#[cfg(test)]
const RELEASES: usize = 51 + 14 + 3 + 14 * 7 + 1;

/// Whether it is that of a release of Bitcoin Core, or of the branch between two, which has 99 in the place of a release:
/// `/Satoshi:0.8.0/` to `/Satoshi:0.21.2/`, all that there were; `/Satoshi:22.0.0/` to `/Satoshi:35.5.0/`, there and to come.
fn is_release(user_agent: &str) -> bool {
    let version = user_agent.strip_prefix("/Satoshi:").and_then(|rest| rest.strip_suffix('/'));
    let mut numbers = version.unwrap_or_default().split('.').map(number);
    let version = [(); 4].map(|()| numbers.next());
    let is_release = match version {
        [Some(Some(0)), Some(Some(minor @ 8..=21)), Some(Some(patch)), None] => {
            patch == 99 || patch <= LAST_PATCHES[usize::from(minor) - 8]
        }
        [Some(Some(0)), Some(Some(minor)), Some(Some(patch)), Some(Some(1))] => {
            matches!((minor, patch), (9, 2) | (15, 0) | (17, 0))
        }
        [Some(Some(22..=35)), Some(Some(0..=5 | 99)), Some(Some(0)), None] => true,
        [Some(Some(24)), Some(Some(0)), Some(Some(1)), None] => true,
        _ => false,
    };
    is_release && numbers.next().is_none()
}

/// Of 0.8 to 0.21.
const LAST_PATCHES: [u8; 14] = [6, 5, 4, 2, 1, 2, 3, 2, 3, 2, 1, 2, 2, 2];

/// At most two digits, written in one way.
fn number(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] => text.parse().ok(),
        _ => None,
    }
}

/// Peers of so many groups must have named a user agent before it has a place.
const ENOUGH: u16 = 3;

/// User agents that are remembered of a group: more than its honest peers have between them, so that one that makes them up
/// drives out those of its own group alone.
const MOST_OF_GROUP: usize = 16;

/// Groups that are remembered. The one that named something least lately falls out.
const MOST_GROUPS: usize = 4096;

/// Whose word counts once: a [`Netgroup`], or `None` for all peers whose address costs nothing or says nothing: by Tor, I2P and
/// CJDNS, of the operator's own network, added by a name.
fn neighbourhood(meta: &Meta<'_>) -> Option<Netgroup> {
    match Network::from_address(&meta.addr, meta.conn_type) {
        Network::Ipv4 | Network::Ipv6 => ip_of(&meta.addr).map(Netgroup::of),
        Network::Unroutable | Network::Onion | Network::I2p | Network::Cjdns | Network::Internal | Network::Unknown => {
            None
        }
    }
}

/// Which groups have named which user agents that are not kept.
#[derive(Debug)]
struct Named {
    /// With keys of its own, so that no peer can look for texts that collide.
    hasher: RandomState,
    /// Hashes of user agents by group, the one named first in front.
    groups: Table<Option<Netgroup>, VecDeque<u64>>,
    /// By how many of the groups each was named.
    counts: HashMap<u64, u16>,
}

impl Default for Named {
    fn default() -> Self {
        let groups = Table::new(MOST_GROUPS, Duration::MAX);
        Self { hasher: RandomState::new(), groups, counts: HashMap::new() }
    }
}

impl Named {
    /// A peer of this group names it. By how many groups it was named then, as far as they are remembered.
    fn by(&mut self, now: Moment, group: Option<Netgroup>, user_agent: &str) -> u16 {
        let hash = self.hasher.hash_one(user_agent);
        let mut named = self.groups.remove(&group).map_or_else(VecDeque::new, |(_, named)| named);
        if !named.contains(&hash) {
            if named.len() == MOST_OF_GROUP {
                named.pop_front().into_iter().for_each(|hash| self.forget(hash));
            }
            named.push_back(hash);
            let count = self.counts.entry(hash).or_default();
            *count = count.saturating_add(1);
        }
        if let Some((_, fallen_out)) = self.groups.insert(now, group, named) {
            fallen_out.into_iter().for_each(|hash| self.forget(hash));
        }
        self.counts.get(&hash).copied().unwrap_or_default()
    }

    fn forget(&mut self, hash: u64) {
        if let Some(count) = self.counts.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::net::ConnectionType::{self, Inbound, Manual, OutboundFullRelay},
        metrics::testing::{lines_of, moment},
    };

    /// User agents that are told one after another.
    struct Told {
        agents: UserAgents,
        second: u64,
    }

    impl Told {
        fn new(most: usize) -> Self {
            Self { agents: UserAgents::define("agents_total", "Help.", ("user_agent", most)), second: 0 }
        }

        fn tell(&mut self, conn_type: ConnectionType, addr: &str, user_agent: &str) -> &mut Self {
            self.second += 1;
            let meta = Meta { peer_id: 1, addr: addr.into(), conn_type, command: "version", inbound: true, size: 1 };
            self.agents.count(moment(self.second), &meta, user_agent);
            self
        }

        /// By inbound peers at addresses of this group and the two after it.
        fn tell_three(&mut self, group: u16, user_agent: &str) -> &mut Self {
            for number in group..group + 3 {
                let [a, b] = number.to_be_bytes();
                self.tell(Inbound, &format!("{}.{b}.1.1:1", 20 + a), user_agent);
            }
            self
        }

        #[track_caller]
        fn assert(&self, expected: &[(&str, u32)]) {
            let line = |(agent, n): &(&str, u32)| format!("bitcointap_agents_total{{user_agent=\"{agent}\"}} {n}");
            assert_eq!(lines_of(self.agents.collector()), expected.iter().map(line).collect::<Vec<_>>());
        }
    }

    #[test]
    fn releases_are_told_from_what_looks_like_them() {
        let all = ["0.8.0", "0.8.6", "0.9.2.1", "0.12.1", "0.15.0.1", "0.16.99", "0.17.0.1", "0.21.2"];
        let later =
            ["22.0.0", "22.1.0", "24.0.1", "24.2.0", "27.2.0", "28.4.0", "30.99.0", "31.0.0", "32.1.0", "35.0.0"];
        for release in all.into_iter().chain(later) {
            assert!(is_release(&format!("/Satoshi:{release}/")), "{release}");
        }
        for other in ["0.7.0", "0.8.7", "0.21.3", "0.22.0", "1.0.0", "21.0.0", "36.0.0", "29.6.0", "29.0.1", "29.0"] {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["29.0.0.0", "29.0.0.1", "0.9.1.1", "0.9.2.1.0", "029.0.0", "0.16.3.", "29.0.0.x", "29.0.0."] {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["29.+0.0", "29..0", "", ".", "...", "29.0.0(comment)", "29.0.0/Knots:20250101"] {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["/Satoshi:29.0.0", "Satoshi:29.0.0/", "/btcd:29.0.0/", ""] {
            assert!(!is_release(other), "{other}");
        }
    }

    #[test]
    fn each_that_can_be_of_a_release_has_a_place() {
        let mut told = Told::new(0);
        for a in 0..100 {
            for b in 0..100 {
                for c in (0..10).chain([99]) {
                    told.tell(Inbound, "8.8.8.8:1", &format!("/Satoshi:{a}.{b}.{c}/"));
                    told.tell(Inbound, "8.8.8.8:1", &format!("/Satoshi:{a}.{b}.{c}.1/"));
                }
            }
        }
        assert_eq!(lines_of(told.agents.collector()).len(), RELEASES + 2);
        assert_eq!(told.agents.lines(), RELEASES + 2);
    }

    #[test]
    fn another_has_a_place_once_three_groups_have_named_it() {
        let mut told = Told::new(2);
        // Any number of peers of two groups; of Tor, I2P, CJDNS and the operator's network together as one.
        for port in 1..1_000 {
            told.tell(Inbound, &format!("8.8.{}.8:{port}", port % 256), "/a/")
                .tell(OutboundFullRelay, &format!("[2a01:4f8:{port}::1]:8333"), "/a/")
                .tell(Inbound, &format!("127.0.0.1:{port}"), "/b/")
                .tell(Inbound, &format!("[fc12::{port}]:1"), "/b/")
                .tell(Inbound, &format!("192.168.1.2:{port}"), "/b/")
                .tell(Manual, &format!("node{port}.example.com:8333"), "/b/");
        }
        let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333";
        told.tell(OutboundFullRelay, onion, "/b/")
            .tell(Inbound, "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p:0", "/b/")
            .tell(Inbound, "8.8.8.8:1", "/b/")
            .assert(&[("none", 0), ("other", 6 * 999 + 3)]);
        told.tell(Inbound, "9.9.9.9:1", "/a/")
            .tell(Inbound, "9.9.9.9:1", "/b/")
            .tell(Inbound, "9.9.9.9:1", "/c/")
            // It has its place now, whoever names it.
            .tell(Inbound, "8.8.8.8:1", "/a/");
        told.assert(&[("/a/", 2), ("/b/", 1), ("none", 0), ("other", 6 * 999 + 4)]);
    }

    #[test]
    fn one_group_keeps_no_other_out() {
        let mut told = Told::new(2);
        let made_up = |told: &mut Told| {
            for number in 0..1_000_000 / 4 {
                told.tell(Inbound, "8.8.8.8:1", &format!("/Satoshi:29.0.0/{number}/"));
            }
        };
        // Before, between and after.
        made_up(&mut told);
        told.tell(Inbound, "9.9.9.9:1", "/honest/");
        made_up(&mut told);
        told.tell(Inbound, "13.9.9.9:1", "/honest/");
        made_up(&mut told);
        told.tell(Inbound, "12.9.9.9:1", "/honest/");
        let lines = lines_of(told.agents.collector());
        assert_eq!(lines[0], "bitcointap_agents_total{user_agent=\"/honest/\"} 1");
        assert_eq!(lines.len(), 3);
        let Named { hasher: _, groups, counts } = &told.agents.named;
        assert_eq!(groups.len(), 4);
        assert!(counts.len() <= MOST_OF_GROUP + 1, "{}", counts.len());
    }

    #[test]
    fn what_is_remembered_is_bounded_whoever_comes() {
        let mut told = Told::new(2);
        for number in 0..200_000_u32 {
            let [_, a, b, c] = number.to_be_bytes();
            told.tell(Inbound, &format!("[2a01:{a:x}{b:02x}:{c:x}::1]:1"), &format!("/{number}/"));
            told.tell(Inbound, &format!("[2a{a:02x}:{b:02x}{c:02x}::1]:1"), &format!("/{}/", number % 7_000));
        }
        let Named { hasher: _, groups, counts } = &told.agents.named;
        assert_eq!(groups.len(), MOST_GROUPS);
        let remembered: usize = groups.values().map(VecDeque::len).sum();
        assert!(remembered <= MOST_GROUPS * MOST_OF_GROUP);
        assert_eq!(counts.values().map(|&count| usize::from(count)).sum::<usize>(), remembered);
    }

    #[test]
    fn empty_ones_are_none_and_what_is_too_much_is_other() {
        let mut told = Told::new(1);
        told.tell_three(0, "").tell_three(0, "other").tell_three(0, "none").tell_three(0, "/a/").tell_three(0, "/b/");
        told.assert(&[("/a/", 1), ("none", 3), ("other", 3 + 3 + 2 + 3)]);
    }

    #[test]
    fn long_ones_are_cut_and_any_text_is_kept() {
        let mut told = Told::new(4);
        told.tell_three(0, &"ä".repeat(200)).tell_three(0, &"ä".repeat(100)).tell_three(0, "a\n\"");
        told.assert(&[("a\\n\\\"", 1), ("none", 0), ("other", 4), (&"ä".repeat(64), 4)]);
    }
}
