//! Where a peer is. In: its address as the node writes it. Out: the IP address and port for it in packets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bitcoin::hashes::{Hash as _, sha256};

use crate::{
    network::{parse_ip, split},
    p2p::ONIONCAT,
};

/// The prefixes under which Bitcoin Core once kept peers without an IP address, and other software still does.
const GARLI_CAT: [u8; 6] = [0xfd, 0x60, 0xdb, 0x4d, 0xdd, 0xb5];
const INTERNAL: [u8; 6] = [0xfd, 0x6b, 0x88, 0xc0, 0x87, 0x24];

/// A peer's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    /// Port 0 where there is none.
    pub(super) address: SocketAddr,
    /// The name that a synthesised address stands for.
    pub(super) name: Option<&'a str>,
}

impl<'a> Endpoint<'a> {
    /// Total: anything that is no IP address is a name.
    pub(super) fn of(text: &'a str) -> Self {
        let (host, port) = split(text);
        let port = port.unwrap_or(0);
        match parse_ip(host) {
            Some(ip) => Endpoint { address: SocketAddr::new(ip.to_canonical(), port), name: None },
            None => Endpoint { address: SocketAddr::new(embedded(host), port), name: Some(host) },
        }
    }
}

/// Always the same address for the same name. Two names with the same of 2⁸⁰ addresses would have to be searched for.
fn embedded(name: &str) -> IpAddr {
    let prefix = if name.ends_with(".onion") {
        ONIONCAT
    } else if name.ends_with(".i2p") {
        GARLI_CAT
    } else {
        INTERNAL
    };
    let hash = sha256::Hash::hash(name.as_bytes()).to_byte_array();
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&prefix);
    octets[6..].copy_from_slice(&hash[..10]);
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_addresses_are_what_they_are() {
        for (text, expected) in [
            ("1.2.3.4:8333", "1.2.3.4:8333"),
            ("1.2.3.4", "1.2.3.4:0"),
            ("[2001:db8::5]:18333", "[2001:db8::5]:18333"),
            ("[2001:db8::5]", "[2001:db8::5]:0"),
            ("2001:db8::5", "[2001:db8::5]:0"),
            ("[fc00:1234::9]:8333", "[fc00:1234::9]:8333"),
            ("[fe80::1%eth0]:8333", "[fe80::1]:8333"),
            ("[::ffff:1.2.3.4]:8333", "1.2.3.4:8333"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
        ] {
            assert_eq!(Endpoint::of(text), Endpoint { address: expected.parse().unwrap(), name: None }, "{text}");
        }
    }

    #[test]
    fn names_have_addresses_of_their_own_that_never_change() {
        let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
        let i2p = "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p";
        for (text, name, expected) in [
            (format!("{onion}:8333"), onion, "[fd87:d87e:eb43:48de:5840:759a:1ec7:5b0a]:8333"),
            (format!("{i2p}:0"), i2p, "[fd60:db4d:ddb5:9d8f:2079:f1c3:2cf7:40c4]:0"),
            // As Bitcoin Core's CNetAddr::SetInternal does it.
            ("seed.example.org:8333".into(), "seed.example.org", "[fd6b:88c0:8724:e4d5:9bdc:dc85:3c9a:3c59]:8333"),
            ("seed.example.org".into(), "seed.example.org", "[fd6b:88c0:8724:e4d5:9bdc:dc85:3c9a:3c59]:0"),
        ] {
            assert_eq!(
                Endpoint::of(&text),
                Endpoint { address: expected.parse().unwrap(), name: Some(name) },
                "{text}"
            );
        }
        assert_ne!(Endpoint::of("a.onion:1").address.ip(), Endpoint::of("b.onion:1").address.ip());
    }

    #[test]
    fn any_text_has_a_place() {
        for text in ["", ":", "::", ":::", "[", "]", "[]:", "[]:1", "1.2.3.4:65536", "1.2.3.4:-1", "é:1", "\0:1", "%:1"]
        {
            let endpoint = Endpoint::of(text);
            assert!(endpoint.address.is_ipv6(), "{text}");
            assert_eq!(endpoint, Endpoint::of(text));
        }
        assert_eq!(Endpoint::of("::").name, None, "the address of nobody is one");
        assert_eq!(Endpoint::of("1.2.3.4:65536").name, Some("1.2.3.4:65536"));
        assert_eq!(Endpoint::of(&"x".repeat(263)).address.port(), 0);
    }
}
