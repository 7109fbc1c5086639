//! The network of a peer or a node. In: for a peer Bitcoin Core's number, or where only that is known the address as
//! the node writes it; for another node the address in a message. Out: a label value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::p2p::Address;

/// The host and the port in a peer's address as the node writes it: `host:port`, with brackets around an IPv6 address.
/// A peer that the operator added has the operator's text, which may have no port.
pub(crate) fn split(address: &str) -> (&str, Option<u16>) {
    match address.rsplit_once(':') {
        // An IPv6 address without brackets has no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (address, None),
        },
        _ => (address, None),
    }
}

/// The host in a peer's address.
pub(crate) fn host_of(address: &str) -> &str {
    split(address).0
}

/// The IP address of a host, in brackets or not. Its scope (`fe80::1%2`, `fe80::1%eth0`), by which a node tells its
/// links apart, is ignored.
pub(crate) fn parse_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.split_once('%') {
        Some((_, "")) => None,
        Some((ip, _scope)) => ip.parse().ok().map(IpAddr::V6),
        None => bare.parse().ok(),
    }
}

/// The IP address in a peer's address, IPv4 as IPv4. `None` if the host is something else.
pub(crate) fn ip_of(address: &str) -> Option<IpAddr> {
    parse_ip(host_of(address)).map(|ip| ip.to_canonical())
}

/// The networks in Bitcoin Core's netaddress.h, each at its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Network {
    /// An address that nobody can reach from elsewhere, such as 127.0.0.1.
    Unroutable,
    /// IPv4, also within IPv6.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Tor.
    Onion,
    /// I2P.
    I2p,
    /// CJDNS.
    Cjdns,
    /// A placeholder of the node itself.
    Internal,
    /// None of Core's networks: not known.
    Unknown,
}

impl Network {
    /// All, each at its number.
    pub const ALL: [Network; 8] = [
        Network::Unroutable,
        Network::Ipv4,
        Network::Ipv6,
        Network::Onion,
        Network::I2p,
        Network::Cjdns,
        Network::Internal,
        Network::Unknown,
    ];

    /// Bitcoin Core's name (GetNetworkName), except for `unroutable` and `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Network::Unroutable => "unroutable",
            Network::Ipv4 => "ipv4",
            Network::Ipv6 => "ipv6",
            Network::Onion => "onion",
            Network::I2p => "i2p",
            Network::Cjdns => "cjdns",
            Network::Internal => "internal",
            Network::Unknown => "unknown",
        }
    }

    /// From the number in a connection event.
    pub fn from_number(number: u32) -> Self {
        let known = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        known.copied().unwrap_or(Network::Unknown)
    }

    /// From `address:port` of a message. An inbound peer from an unroutable address may have come through the
    /// operator's Tor; only connection events show that. A peer added by host name may be in any network.
    pub fn from_address(address: &str, may_be_inbound: bool) -> Self {
        match Self::from_host(host_of(address)) {
            Network::Unroutable if may_be_inbound => Network::Unknown,
            network => network,
        }
    }

    /// The network of an address in a message, whatever its form.
    pub fn of(address: &Address<'_>) -> Self {
        match *address {
            Address::Ipv4(address) if is_routable(address) => Network::Ipv4,
            Address::Ipv4(_) => Network::Unroutable,
            Address::Ipv6(address) => Self::from_ipv6(address),
            Address::Torv2(_) | Address::Torv3(_) => Network::Onion,
            Address::I2p(_) => Network::I2p,
            Address::Cjdns(address) if address.octets()[0] == 0xfc => Network::Cjdns,
            Address::Cjdns(_) => Network::Unroutable,
            Address::Unknown { id: _, address: _ } => Network::Unknown,
        }
    }

    fn from_host(host: &str) -> Self {
        if host.ends_with(".onion") {
            Network::Onion
        } else if host.ends_with(".b32.i2p") {
            Network::I2p
        } else {
            match parse_ip(host) {
                Some(IpAddr::V4(address)) if is_routable(address) => Network::Ipv4,
                Some(IpAddr::V4(_)) => Network::Unroutable,
                Some(IpAddr::V6(address)) => Self::from_ipv6(address),
                None => Network::Unknown,
            }
        }
    }

    /// As CNetAddr::GetNetClass, with fc00::/8 as CJDNS, as if -cjdnsreachable were set.
    fn from_ipv6(address: Ipv6Addr) -> Self {
        if let Some(address) = address.to_ipv4_mapped() {
            return if is_routable(address) { Network::Ipv4 } else { Network::Unroutable };
        }
        match address.segments() {
            [0xfc00..=0xfcff, ..] => Network::Cjdns,
            // Loopback and unspecified; link-local, unique local; ORCHID and ORCHIDv2; documentation.
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] | [0xfe80, 0, 0, 0, ..] | [0xfd00..=0xfdff, ..] => Network::Unroutable,
            [0x2001, 0x10..=0x2f, ..] | [0x2001, 0xdb8, ..] => Network::Unroutable,
            // IPv4 by 6to4, Teredo and NAT64.
            [0x2002, ..] | [0x2001, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Network::Ipv4,
            _ => Network::Ipv6,
        }
    }
}

/// As CNetAddr::IsRoutable.
fn is_routable(address: Ipv4Addr) -> bool {
    let benchmarking_or_shared = matches!(address.octets(), [198, 18..=19, ..] | [100, 64..=127, ..]);
    let no_host = address.octets()[0] == 0 || address.is_broadcast();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || benchmarking_or_shared
        || no_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bitcoin_cores() {
        for (number, network) in Network::ALL.into_iter().enumerate() {
            assert_eq!(network as usize, number);
        }
        assert_eq!(Network::from_number(1), Network::Ipv4);
        assert_eq!(Network::from_number(6), Network::Internal);
        assert_eq!(Network::from_number(8), Network::Unknown);
        assert_eq!(Network::from_number(u32::MAX), Network::Unknown);
    }

    #[test]
    fn the_ip_address_is_that_of_the_host() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        for (address, expected) in [
            ("8.8.8.8:8333", ip("8.8.8.8")),
            ("8.8.8.8", ip("8.8.8.8")),
            ("[2a01::1]:8333", ip("2a01::1")),
            ("[::ffff:8.8.8.8]:8333", ip("8.8.8.8")),
            ("pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333", None),
            ("node.example.com:8333", None),
            ("[fe80::1%2]:8333", ip("fe80::1")),
            ("[fe80::1%eth0]:8333", ip("fe80::1")),
            ("[::ffff:8.8.8.8%2]:8333", ip("8.8.8.8")),
            ("[2a01::1]", ip("2a01::1")),
            ("2a01::1", ip("2a01::1")),
            ("fe80::1%eth0", ip("fe80::1")),
            ("[fe80::1%]:8333", None),
            ("8.8.8.8%2:8333", None),
            ("%2:8333", None),
            ("[", None),
            ("", None),
        ] {
            assert_eq!(ip_of(address), expected, "{address}");
        }
        assert_eq!(host_of("[2a01::1]:8333"), "[2a01::1]");
    }

    #[test]
    fn addresses_tell_the_network_where_they_can() {
        for (address, expected) in [
            ("8.8.8.8:8333", Network::Ipv4),
            ("172.32.0.1:8333", Network::Ipv4),
            ("[2a01:4f8::1]:8333", Network::Ipv6),
            ("[fc12::1]:8333", Network::Cjdns),
            ("[2002:808:808::1]:8333", Network::Ipv4),
            ("pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333", Network::Onion),
            ("udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p:0", Network::I2p),
            ("127.0.0.1:8333", Network::Unroutable),
            ("192.168.1.2:8333", Network::Unroutable),
            ("[::1]:18444", Network::Unroutable),
            ("[fd00::1]:8333", Network::Unroutable),
            ("[fe80::1]:8333", Network::Unroutable),
            ("[fe80::1%2]:8333", Network::Unroutable),
            ("[fe80::1%eth0]:8333", Network::Unroutable),
            ("[::ffff:8.8.8.8]:8333", Network::Ipv4),
            ("2a01::1", Network::Ipv6),
            ("node.example.com:8333", Network::Unknown),
            ("node.example.com", Network::Unknown),
            ("[::1", Network::Unknown),
            ("[", Network::Unknown),
            (":", Network::Unknown),
            ("", Network::Unknown),
        ] {
            assert_eq!(Network::from_address(address, false), expected, "{address}");
        }
        assert_eq!(Network::from_address("127.0.0.1:50000", true), Network::Unknown);
        assert_eq!(Network::from_address("[fe80::1%2]:50000", true), Network::Unknown);
        assert_eq!(Network::from_address("172.17.0.3:50000", true), Network::Unknown);
        assert_eq!(Network::from_address("8.8.8.8:50000", true), Network::Ipv4);
    }
}
