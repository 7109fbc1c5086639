//! Peers in the operator's lists of networks. In: connections and messages, and where the peer is. Out: families by
//! list.

use std::{collections::HashSet, net::IpAddr};

use crate::metrics::{
    Options,
    family::{Counters, Registered, families},
    labels::{INBOUND, Label, MESSAGES, OPENINGS, OUTBOUND, command, command_index, direction},
};
use crate::{address_set::AddressSet, event::net::Meta, tracepoint::Tracepoints};

/// A list of networks whose peers count apart.
#[derive(Clone, Debug)]
pub struct AddressList {
    /// The value of the label `list`.
    pub name: String,
    /// The networks in it.
    pub addresses: AddressSet,
}

impl AddressList {
    /// The largest number of lists.
    pub const MOST: usize = u8::BITS as usize;
}

families! {
    struct Families with options {
        /// Connections opened with peers whose address is in a list of networks, by list, from the tracepoints
        /// net:inbound_connection and net:outbound_connection. The operator gives the lists by --address-list. Peers of
        /// Tor and I2P, and those added by host name, are in no list. But an inbound peer of Tor from before the
        /// attachment has the address of the Tor that runs on this machine.
        p2p_listed_connections_opened_total: Counters<1> = [list(options)], from OPENINGS;

        /// P2P messages with peers whose address is in a list of networks, by list, direction and command. A peer that
        /// is in several lists counts in each.
        p2p_listed_messages_total: Counters<3> = [list(options), direction(), command()], from &MESSAGES;

        /// Payload bytes of the P2P messages in bitcointap_p2p_listed_messages_total.
        p2p_listed_message_bytes_total: Counters<3> = [list(options), direction(), command()], from &MESSAGES;
    }
}

fn list(options: &Options) -> Label {
    Label::new("list", options.address_lists.iter().map(|list| list.name.clone()))
}

/// The lists that contain an address: one bit for each list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InLists(u8);

impl InLists {
    /// The places of the lists.
    fn each(self) -> impl Iterator<Item = usize> {
        (0..AddressList::MOST).filter(move |place| self.0 & (1 << place) != 0)
    }
}

/// The lists as they were last read.
pub(super) struct Lists(Vec<AddressList>);

impl Lists {
    pub(super) fn new(options: &Options) -> Self {
        let lists = &options.address_lists;
        assert!(lists.len() <= AddressList::MOST, "at most {} lists", AddressList::MOST);
        let names: HashSet<&str> = lists.iter().map(|list| &*list.name).collect();
        assert_eq!(names.len(), lists.len(), "each list has a name of its own");
        Self(lists.clone())
    }

    /// Which of them contain an address. None contains anything but IP addresses.
    pub(super) fn with(&self, address: Option<IpAddr>) -> InLists {
        let Some(address) = address else { return InLists::default() };
        let bits = self.0.iter().enumerate().map(|(place, list)| u8::from(list.addresses.contains(address)) << place);
        InLists(bits.sum())
    }

    pub(super) fn replace(&mut self, name: &str, addresses: AddressSet) {
        if let Some(list) = self.0.iter_mut().find(|list| list.name == name) {
            list.addresses = addresses;
        }
    }
}

/// The families; only if there are lists.
pub(super) struct Listed {
    families: Families,
}

impl Listed {
    pub(super) fn new(options: &Options) -> Option<Self> {
        (!options.address_lists.is_empty()).then(|| Self { families: Families::new(options) })
    }

    pub(super) fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    pub(super) fn opened(&self, lists: InLists) {
        lists.each().for_each(|list| self.families.p2p_listed_connections_opened_total.at([list]).inc());
    }

    pub(super) fn message(&self, meta: &Meta<'_>, lists: InLists) {
        if lists == InLists::default() {
            return;
        }
        let direction = if meta.inbound { INBOUND } else { OUTBOUND };
        let command = command_index(meta.command);
        for list in lists.each() {
            self.families.p2p_listed_messages_total.at([list, direction, command]).inc();
            self.families.p2p_listed_message_bytes_total.at([list, direction, command]).inc_by(meta.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ConnectionType::{Inbound, Manual, OutboundFullRelay};

    use super::*;
    use crate::{
        event::net::ConnectionType,
        metrics::{
            Metrics,
            testing::{OPTIONS, Told, closing, conn_at, opening, ping},
        },
        output::Output,
        tracepoint::Tracepoint,
    };

    const OPENED: &str = "p2p_listed_connections_opened_total";
    const MESSAGES: &str = "p2p_listed_messages_total";
    const BYTES: &str = "p2p_listed_message_bytes_total";

    const IPV4: u32 = 1;
    const ONION: u32 = 3;

    fn networks(lines: &str) -> AddressSet {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        AddressSet::read(file.path()).unwrap()
    }

    fn options(lists: &[(&str, &str)]) -> Options {
        let list = |&(name, lines): &(&str, &str)| AddressList { name: name.into(), addresses: networks(lines) };
        Options { address_lists: lists.iter().map(list).collect(), ..OPTIONS.clone() }
    }

    fn told(tracepoints: &str, lists: &[(&str, &str)]) -> Told {
        Told::new(Metrics::new(tracepoints.parse().unwrap(), &options(lists)))
    }

    #[test]
    fn peers_count_in_each_list_that_they_are_in() {
        let mut told = told("default", &[("eight", "8.0.0.0/8"), ("none", ""), ("six", "2a01::/16\n8.8.8.8")]);
        told.tell(opening(conn_at(1, Inbound, IPV4, "8.8.8.8:1")))
            .tell(opening(conn_at(2, Manual, 2, "[2a01::1]:8333")))
            .tell(opening(conn_at(3, Inbound, IPV4, "9.9.9.9:1")))
            .tell(ping(true, 1, Inbound, "8.8.8.8:1"))
            .tell(ping(false, 1, Inbound, "8.8.8.8:1"))
            .tell(ping(false, 1, Inbound, "8.8.8.8:1"))
            .tell(ping(true, 2, Manual, "[2a01::1]:8333"))
            .tell(ping(true, 3, Inbound, "9.9.9.9:1"))
            .assert(OPENED, &["{list=\"eight\"} 1", "{list=\"six\"} 2"])
            .assert(
                MESSAGES,
                &[
                    "{command=\"ping\",direction=\"inbound\",list=\"eight\"} 1",
                    "{command=\"ping\",direction=\"inbound\",list=\"six\"} 2",
                    "{command=\"ping\",direction=\"outbound\",list=\"eight\"} 2",
                    "{command=\"ping\",direction=\"outbound\",list=\"six\"} 2",
                ],
            )
            .assert(
                BYTES,
                &[
                    "{command=\"ping\",direction=\"inbound\",list=\"eight\"} 8",
                    "{command=\"ping\",direction=\"inbound\",list=\"six\"} 16",
                    "{command=\"ping\",direction=\"outbound\",list=\"eight\"} 16",
                    "{command=\"ping\",direction=\"outbound\",list=\"six\"} 16",
                ],
            );
    }

    #[test]
    fn what_is_no_address_of_the_peers_own_is_in_no_list() {
        let mut told = told("default", &[("all", "0.0.0.0/0\n::/0")]);
        let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333";
        for (peer_id, conn_type, network, addr) in [
            (1, Inbound, ONION, "127.0.0.1:1"),
            (2, OutboundFullRelay, ONION, onion),
            (3, Inbound, 4, "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p:0"),
            (4, Manual, IPV4, "node.example.com:8333"),
        ] {
            told.tell(opening(conn_at(peer_id, conn_type, network, addr)))
                .tell(ping(true, peer_id, conn_type, addr))
                // Also on its way out.
                .tell(closing(conn_at(peer_id, conn_type, network, addr)))
                .tell(ping(false, peer_id, conn_type, addr));
        }
        told.assert(OPENED, &[]).assert(MESSAGES, &[]);
        // Other peers are what their address says.
        told.tell(opening(conn_at(5, Inbound, 0, "127.0.0.1:1"))).assert(OPENED, &["{list=\"all\"} 1"]);
    }

    #[test]
    fn a_scope_keeps_nobody_out_of_a_list() {
        let mut told = told("default", &[("link", "fe80::/10")]);
        let one = "{command=\"ping\",direction=\"inbound\",list=\"link\"} ";
        told.tell(opening(conn_at(1, Inbound, 0, "[fe80::5%1]:53626")))
            .tell(ping(true, 1, Inbound, "[fe80::5%1]:53626"))
            .tell(ping(true, 2, Manual, "[fe80::6%eth0]:8333"))
            .assert(OPENED, &["{list=\"link\"} 1"])
            .assert(MESSAGES, &[&format!("{one}2")]);
    }

    #[test]
    fn peers_that_no_opening_told_of_are_judged_by_their_messages() {
        let one = "{command=\"ping\",direction=\"inbound\",list=\"a\"} 1";
        // From before the attachment; after a closing that was its first event; where connections have no tracepoints.
        let mut before = told("default", &[("a", "8.8.8.0/24")]);
        before.tell(ping(true, 1, Inbound, "8.8.8.8:1")).tell(ping(true, 2, Inbound, "8.8.9.8:1"));
        before.assert(MESSAGES, &[one]).assert(OPENED, &[]);
        let mut after = told("default", &[("a", "8.8.8.0/24")]);
        after.tell(closing(conn_at(1, Inbound, IPV4, "8.8.8.8:1"))).tell(ping(true, 1, Inbound, "8.8.8.8:1"));
        after.assert(MESSAGES, &[one]);
        let mut old = told("net:inbound_message", &[("a", "8.8.8.0/24")]);
        old.tell(ping(true, 1, Inbound, "8.8.8.8:1")).tell(ping(true, 2, Inbound, "8.8.9.8:1"));
        old.assert(MESSAGES, &[one]);
        assert_eq!(old.family(OPENED), None);
    }

    #[test]
    fn a_list_that_is_read_again_judges_open_peers_anew() {
        let mut told = told("default", &[("a", "8.8.8.8"), ("b", "9.9.9.9")]);
        let message = |told: &mut Told, peer_id, addr| {
            told.tell(ping(true, peer_id, Inbound, addr));
        };
        told.tell(opening(conn_at(1, Inbound, IPV4, "8.8.8.8:1")))
            .tell(opening(conn_at(2, Inbound, IPV4, "9.9.9.9:1")))
            .tell(opening(conn_at(3, Inbound, ONION, "127.0.0.1:1")));
        let (read_again, lists) = std::sync::mpsc::channel();
        told.metrics.replace_lists_by(lists);
        for (name, text) in [("a", "9.0.0.0/8\n127.0.0.0/8"), ("unknown", "0.0.0.0/0")] {
            read_again.send(AddressList { name: name.into(), addresses: networks(text) }).unwrap();
        }
        told.metrics.idle();
        message(&mut told, 1, "8.8.8.8:1");
        message(&mut told, 2, "9.9.9.9:1");
        message(&mut told, 2, "9.9.9.9:1");
        message(&mut told, 3, "127.0.0.1:1");
        told.assert(
            MESSAGES,
            &[
                "{command=\"ping\",direction=\"inbound\",list=\"a\"} 2",
                "{command=\"ping\",direction=\"inbound\",list=\"b\"} 2",
            ],
        );
        told.tell(opening(conn_at(4, Inbound, IPV4, "9.1.1.1:1")))
            .assert(OPENED, &["{list=\"a\"} 2", "{list=\"b\"} 1"]);
        // They outlast the node.
        told.metrics.node_gone();
        told.tell(opening(conn_at(1, Inbound, IPV4, "9.1.1.1:1")))
            .assert(OPENED, &["{list=\"a\"} 3", "{list=\"b\"} 1"]);
    }

    #[test]
    fn there_is_nothing_without_lists() {
        let none = told("all", &[]);
        assert_eq!([OPENED, MESSAGES, BYTES].map(|name| none.family(name)), [None, None, None]);
        let eight = options(&["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| (name, "")));
        let lines = |options: &Options| -> usize {
            let metrics = Metrics::new(Tracepoint::all().collect(), options);
            metrics.registered.defined.values().map(|family| family.lines).sum()
        };
        // 8 lists, 2 directions, 50 commands.
        assert_eq!(lines(&eight) - lines(&OPTIONS), 8 + 2 * 8 * 2 * 50);
    }

    #[test]
    #[should_panic = "a name of its own"]
    fn a_name_is_of_one_list() {
        told("default", &[("a", ""), ("a", "")]);
    }
}
