//! Addresses to select peers by. In: an IP address, a network, a host's name, each with or without a port. Out: whether
//! a peer's address, as the node writes it, is one of them.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;

use crate::{
    address_set::{self, AddressSet},
    network::{host_of, ip_of, parse_ip, split},
};

/// One address of a peer, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Network(IpNet),
    Socket(SocketAddr),
    /// In lower case.
    Host(String),
    HostAndPort(String),
}

/// An IP address (`192.0.2.1`, `2001:db8::1`), a network (`10.0.0.0/8`) or the name of a host (`….onion`, `….b32.i2p`,
/// `node.example.org`). A single address or name may have a port, as in `192.0.2.1:8333` and `[2001:db8::1]:8333`. The
/// scope of an address (`fe80::1%eth0`) is ignored: each link has its own, and the node writes it as a number.
impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no IP address (2001:db8::1), network (10.0.0.0/8, fe80::/10) or name of a host (NAME.onion); an \
                 address or name may have a port (192.0.2.1:8333, [2001:db8::1]:8333)"
            )
        };
        if let Some(network) = address_set::network(text) {
            return Ok(Self(Kind::Network(network)));
        }
        let text = text.to_ascii_lowercase();
        let (host, port) = split(&text);
        if let (Some(ip), Some(port)) = (parse_ip(host), port) {
            return Ok(Self(Kind::Socket(SocketAddr::new(ip.to_canonical(), port))));
        }
        // If the last part of a name is a number, the name is half an IP address.
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if last.is_empty() || last.parse::<u64>().is_ok() || !host.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Self(match port {
            Some(_) => Kind::HostAndPort(text),
            None => Kind::Host(text),
        }))
    }
}

/// Many addresses, looked up for each event.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    networks: AddressSet,
    sockets: BTreeSet<SocketAddr>,
    hosts: BTreeSet<String>,
}

impl Addresses {
    pub(super) fn add(&mut self, address: Address) {
        match address.0 {
            Kind::Network(network) => self.networks.add(network),
            Kind::Socket(socket) => drop(self.sockets.insert(socket)),
            Kind::Host(name) | Kind::HostAndPort(name) => drop(self.hosts.insert(name)),
        }
    }

    /// Whether `address`, as the node writes it, is one of them.
    pub(super) fn contain(&self, address: &str) -> bool {
        let Some(ip) = ip_of(address) else {
            let address = lower_case(address);
            return self.hosts.contains(host_of(&address)) || self.hosts.contains(&*address);
        };
        self.networks.contains(ip) || !self.sockets.is_empty() && self.has_socket(ip, address)
    }

    fn has_socket(&self, ip: IpAddr, address: &str) -> bool {
        let (_, port) = split(address);
        port.is_some_and(|port| self.sockets.contains(&SocketAddr::new(ip, port)))
    }
}

/// Does not allocate for lower-case text, which is all text except names that an operator gave.
fn lower_case(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => text.to_ascii_lowercase().into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

    #[track_caller]
    fn assert_contains(given: &str, inside: &[&str], outside: &[&str]) {
        let mut addresses = Addresses::default();
        given.split(',').for_each(|address| addresses.add(address.parse().unwrap()));
        for (list, expected) in [(inside, true), (outside, false)] {
            for address in list {
                assert_eq!(addresses.contain(address), expected, "{given}: {address}");
            }
        }
    }

    #[test]
    fn what_is_given_contains_what_it_names() {
        assert_contains("10.0.0.0/8", &["10.255.0.1:8333", "[::ffff:10.0.0.1]:1"], &["11.0.0.1:8333", "[::1]:1", ""]);
        assert_contains("192.0.2.1", &["192.0.2.1:8333", "192.0.2.1"], &["192.0.2.2:8333"]);
        assert_contains(
            "2001:db8::/32,::1",
            &["[2001:db8::7]:8333", "[::1]:8333"],
            &["[2001:db9::]:8333", "1.2.3.4:5"],
        );
        assert_contains("192.0.2.1:8333", &["192.0.2.1:8333"], &["192.0.2.1:8334", "192.0.2.1"]);
        assert_contains("[2001:db8::1]:8333", &["[2001:db8::1]:8333"], &["[2001:db8::1]:8334", "[2001:db8::1]"]);
        assert_contains(
            "fe80::/10",
            &["[fe80::5%1]:53626", "[fe80::5%eth0]:1", "fe80::5%1"],
            &["[2a01::5%1]:1", "[fe80::5%]:1"],
        );
        assert_contains("fe80::5%eth0", &["[fe80::5%1]:1", "[fe80::5]:1"], &["[fe80::6%1]:1"]);
        assert_contains("[fe80::5%1]:8333", &["[fe80::5%2]:8333", "[fe80::5]:8333"], &["[fe80::5%1]:1", "[fe80::5%1]"]);
        assert_contains("[2001:db8::1]", &["[2001:db8::1]:8333", "2001:db8::1"], &["[2001:db8::2]:8333"]);
        assert_contains("[::ffff:1.2.3.4]:8333", &["1.2.3.4:8333", "[::ffff:1.2.3.4]:8333"], &["1.2.3.4:1"]);
        assert_contains("::ffff:1.2.3.4/120", &["1.2.3.9:8333", "[::ffff:1.2.3.9]:8333"], &["1.2.4.1:1", "[::1]:1"]);
        assert_contains(ONION, &[&format!("{ONION}:8333"), ONION], &["x.onion:8333"]);
        assert_contains(&ONION.to_uppercase(), &[&format!("{ONION}:8333")], &[]);
        assert_contains(&format!("{ONION}:8333"), &[&format!("{ONION}:8333")], &[&format!("{ONION}:1"), ONION]);
        assert_contains("localhost,10.0.0.1", &["localhost:8333", "LocalHost:1", "10.0.0.1:9"], &["127.0.0.1:8333"]);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for wrong in
            ["", "10.0.0.0/33", "10.0.0", "1.2.3.4.5", "host:", "host:70000", "a b", "::1::", "[::1", "x/8", "."]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?}");
        }
        for wrong in ["fe80::/64%eth0", "fe80::1%", "10.0.0.0/8:8333", "1.2.3.4%eth0", "[2001:db8::1]:x", "host%eth0"] {
            let words = wrong.parse::<Address>().unwrap_err();
            assert!(words.contains(wrong) && words.contains("[2001:db8::1]:8333"), "{words}");
        }
    }
}
