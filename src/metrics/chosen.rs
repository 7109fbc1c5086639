//! Texts that peers choose, such as user agents. In: the text, and where the peer is. Out: a bounded number of series;
//! no peer and no group of neighbours can fill the places.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    time::Duration,
};

use prometheus::core::Collector;

use super::{
    family::Family,
    free_form::{LENGTH, Texts, cut},
    netgroups::Netgroup,
};
use crate::{
    event::{Moment, net::Meta},
    network::{Network, ip_of},
    table::Table,
};

/// Counts by such a text. Shape: the label, the texts that have places of their own, and how many others to keep. A
/// text that is not kept counts in `other`, an empty one in `none`.
pub(super) struct Chosen {
    texts: Texts,
    own: Own,
    /// How many texts without a place of their own are kept.
    others: usize,
    most: usize,
    named: Named,
}

/// Texts that always have a place.
#[derive(Clone, Copy)]
pub(super) struct Own {
    pub(super) is: fn(&str) -> bool,
    /// How many they are.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test works out how many series there can be"))]
    pub(super) count: usize,
}

/// No text always has a place.
pub(super) const NOTHING_OWN: Own = Own { is: |_| false, count: 0 };

impl Chosen {
    pub(super) fn count(&mut self, now: Moment, meta: &Meta<'_>, text: &str) {
        let text = cut(text, LENGTH);
        let Self { texts, own, others, most, named } = self;
        texts.count(text, |_| {
            if (own.is)(text) {
                return true;
            }
            let has_place = *others < *most && named.by(now, neighbourhood(meta), text) >= ENOUGH;
            *others += usize::from(has_place);
            has_place
        });
    }
}

impl Family for Chosen {
    type Shape = (&'static str, Own, usize);

    fn define(name: &str, help: &str, (label, own, most): Self::Shape) -> Self {
        Self { texts: Texts::define(name, help, label), own, others: 0, most, named: Named::default() }
    }

    fn collector(&self) -> Box<dyn Collector> {
        self.texts.collector()
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        self.own.count + self.most + Texts::BESIDE
    }
}

/// A text gets a place once peers of this many groups have named it.
const ENOUGH: u16 = 3;

/// How many texts to remember for a group: more than its honest peers have together. A peer that makes up texts removes
/// only those of its own group.
const MOST_OF_GROUP: usize = 16;

/// How many groups to remember. The one that named something least recently falls out.
const MOST_GROUPS: usize = 4096;

/// The group in which a peer's word counts once: a [`Netgroup`], or `None` for all peers with an address that costs
/// nothing or says nothing. These are peers of Tor, I2P and CJDNS, of the operator's own network, and those added by
/// name.
fn neighbourhood(meta: &Meta<'_>) -> Option<Netgroup> {
    match meta.network {
        Network::Ipv4 | Network::Ipv6 => ip_of(&meta.addr).map(Netgroup::of),
        Network::Unroutable | Network::Onion | Network::I2p | Network::Cjdns | Network::Internal | Network::Unknown => {
            None
        }
    }
}

/// Which groups have named which texts that are not kept.
#[derive(Debug)]
struct Named {
    /// The keys are random, so that no peer can look for texts that collide.
    hasher: RandomState,
    /// Hashes of texts by group, oldest first.
    groups: Table<Option<Netgroup>, VecDeque<u64>>,
    /// How many groups named each text.
    counts: HashMap<u64, u16>,
}

impl Default for Named {
    fn default() -> Self {
        let groups = Table::new(MOST_GROUPS, Duration::MAX);
        Self { hasher: RandomState::new(), groups, counts: HashMap::new() }
    }
}

impl Named {
    /// A peer of this group names a text. Returns how many groups have named it, as far as they are remembered.
    fn by(&mut self, now: Moment, group: Option<Netgroup>, text: &str) -> u16 {
        let hash = self.hasher.hash_one(text);
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

    /// Metrics that are told texts one after another.
    struct Told {
        chosen: Chosen,
        second: u64,
    }

    impl Told {
        fn new(most: usize) -> Self {
            Self { chosen: Chosen::define("agents_total", "Help.", ("user_agent", NOTHING_OWN, most)), second: 0 }
        }

        fn tell(&mut self, conn_type: ConnectionType, addr: &str, user_agent: &str) -> &mut Self {
            self.second += 1;
            let meta = Meta::new(1, addr, conn_type, "version", true, 1);
            self.chosen.count(moment(self.second), &meta, user_agent);
            self
        }

        /// Three inbound peers name it, at addresses of this group and the next two.
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
            assert_eq!(lines_of(self.chosen.collector()), expected.iter().map(line).collect::<Vec<_>>());
        }
    }

    #[test]
    fn those_with_places_of_their_own_take_nobody_elses() {
        let mut told = Told::new(1);
        told.chosen =
            Chosen::define("agents_total", "Help.", ("user_agent", Own { is: |text| text.len() == 1, count: 3 }, 1));
        for text in ["a", "b", "b", "c"] {
            told.tell(Inbound, "8.8.8.8:1", text);
        }
        told.tell_three(0, "other's").assert(&[
            ("a", 1),
            ("b", 2),
            ("c", 1),
            ("none", 0),
            ("other", 2),
            ("other's", 1),
        ]);
        assert_eq!(told.chosen.lines(), 3 + 1 + 2);
    }

    #[test]
    fn another_has_a_place_once_three_groups_have_named_it() {
        let mut told = Told::new(2);
        // Any number of peers of two groups. Tor, I2P, CJDNS and the operator's network together are one group.
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
        let lines = lines_of(told.chosen.collector());
        assert_eq!(lines[0], "bitcointap_agents_total{user_agent=\"/honest/\"} 1");
        assert_eq!(lines.len(), 3);
        let Named { hasher: _, groups, counts } = &told.chosen.named;
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
        let Named { hasher: _, groups, counts } = &told.chosen.named;
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
