//! From how many parts of the Internet inbound peers come. In: their addresses as they come and go. Out: gauges by
//! network.
//!
//! Bitcoin Core keeps its outbound peers in different groups, and evicts inbound peers from the largest group: many
//! connections from one group may belong to one person.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Options,
    family::{Gauges, Registered, families},
    labels::{CLOSINGS, Label},
};
use crate::tracepoint::Tracepoints;

families! {
    struct Families with _options {
        /// Groups of addresses (IPv4 /16, IPv6 /32) of the inbound peers that are connected now, by network. Counts the
        /// peers of bitcointap_p2p_connections that have a routable address.
        p2p_inbound_netgroups: Gauges<1> = [network()], from CLOSINGS;

        /// Open inbound connections of the group of addresses (IPv4 /16, IPv6 /32) that has the most of them, by
        /// network.
        p2p_inbound_largest_netgroup_connections: Gauges<1> = [network()], from CLOSINGS;
    }
}

const IPV4: usize = 0;
const IPV6: usize = 1;

/// The networks with groups of addresses.
fn network() -> Label {
    Label::new("network", ["ipv4", "ipv6"])
}

/// A group of addresses. An IPv4 address within an IPv6 one (6to4) is in the same /16, in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Netgroup {
    network: usize,
    prefix: u32,
}

impl Netgroup {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self { network: IPV4, prefix: address.to_bits() >> 16 },
            IpAddr::V6(address) => Self { network: IPV6, prefix: (address.to_bits() >> 96) as u32 },
        }
    }
}

/// How many peers each group has.
pub(super) struct Netgroups {
    families: Families,
    /// By network.
    sizes: [Sizes; 2],
}

#[derive(Debug, Default)]
struct Sizes {
    /// The size of each group, by prefix.
    of: BTreeMap<u32, usize>,
    /// How many groups have each size.
    groups: BTreeMap<usize, usize>,
}

impl Sizes {
    fn change(&mut self, prefix: u32, change: impl FnOnce(usize) -> usize) {
        let before = self.of.remove(&prefix).unwrap_or_default();
        let after = change(before);
        if let Some(groups) = self.groups.get_mut(&before) {
            *groups -= 1;
            if *groups == 0 {
                self.groups.remove(&before);
            }
        }
        if after > 0 {
            self.of.insert(prefix, after);
            *self.groups.entry(after).or_default() += 1;
        }
    }

    fn largest(&self) -> usize {
        self.groups.last_key_value().map_or(0, |(&size, _)| size)
    }
}

impl Netgroups {
    pub(super) fn new(options: &Options) -> Self {
        Self { families: Families::new(options), sizes: Default::default() }
    }

    pub(super) fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    pub(super) fn join(&mut self, group: Netgroup) {
        self.change(group, |size| size + 1);
    }

    /// Removes one that had joined.
    pub(super) fn leave(&mut self, group: Netgroup) {
        self.change(group, |size| size.saturating_sub(1));
    }

    fn change(&mut self, Netgroup { network, prefix }: Netgroup, change: impl FnOnce(usize) -> usize) {
        let sizes = &mut self.sizes[network];
        sizes.change(prefix, change);
        self.families.p2p_inbound_netgroups.at([network]).set(sizes.of.len() as f64);
        self.families.p2p_inbound_largest_netgroup_connections.at([network]).set(sizes.largest() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        family::Family,
        testing::{OPTIONS, lines_of},
    };

    fn group(address: &str) -> Netgroup {
        Netgroup::of(address.parse().unwrap())
    }

    #[test]
    fn groups_are_16_bits_of_ipv4_and_32_of_ipv6() {
        for (one, other, is_same) in [
            ("8.8.0.0", "8.8.255.255", true),
            ("8.8.0.0", "8.9.0.0", false),
            ("2a01:4f8::", "2a01:4f8:ffff:ffff::1", true),
            ("2a01:4f8::", "2a01:4f9::", false),
            ("2002:808:1::", "2002:808:2::", true),
            ("0.1.0.0", "0:1::", false),
        ] {
            assert_eq!(group(one) == group(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn the_largest_group_is_known_at_each_change() {
        let mut netgroups = Netgroups::new(&OPTIONS);
        let assert = |netgroups: &Netgroups, expected: &[(&str, usize, usize)]| {
            let gauges = [
                netgroups.families.p2p_inbound_netgroups.collector(),
                netgroups.families.p2p_inbound_largest_netgroup_connections.collector(),
            ];
            let values = gauges.map(|gauge| {
                lines_of(gauge).iter().map(|line| line.rsplit_once('{').unwrap().1.to_owned()).collect::<Vec<_>>()
            });
            let number = |of: fn(&(&str, usize, usize)) -> usize| {
                expected.iter().map(|row| format!("network=\"{}\"}} {}", row.0, of(row))).collect::<Vec<_>>()
            };
            assert_eq!(values, [number(|row| row.1), number(|row| row.2)]);
        };
        assert(&netgroups, &[]);
        netgroups.join(group("8.8.1.1"));
        netgroups.join(group("8.8.2.2"));
        netgroups.join(group("9.9.9.9"));
        assert(&netgroups, &[("ipv4", 2, 2)]);
        netgroups.join(group("2a01::1"));
        netgroups.join(group("9.9.1.1"));
        netgroups.join(group("9.9.1.1"));
        assert(&netgroups, &[("ipv4", 2, 3), ("ipv6", 1, 1)]);
        netgroups.leave(group("9.9.9.9"));
        assert(&netgroups, &[("ipv4", 2, 2), ("ipv6", 1, 1)]);
        netgroups.leave(group("8.8.8.8"));
        netgroups.leave(group("8.8.8.8"));
        assert(&netgroups, &[("ipv4", 1, 2), ("ipv6", 1, 1)]);
        netgroups.leave(group("9.9.9.9"));
        netgroups.leave(group("9.9.9.9"));
        netgroups.leave(group("2a01::2"));
        assert(&netgroups, &[("ipv4", 0, 0), ("ipv6", 0, 0)]);
        assert!(netgroups.sizes.iter().all(|sizes| sizes.of.is_empty() && sizes.groups.is_empty()));
    }
}
