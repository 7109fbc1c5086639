//! Lists of IP networks. In: a file with an address or a network on each line. Out: whether an address is in one of them.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::parse_ip;

/// IP networks, looked up in logarithmic time.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    /// In order; no network is within another.
    ipv4: Vec<Ipv4Net>,
    ipv6: Vec<Ipv6Net>,
    given: usize,
}

/// Why a file is no list of networks. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is a pipe, a directory or a device, and could not be read again.
    #[error("{path} is not a regular file", path = .0.display())]
    NotAFile(PathBuf),
    /// A line says something else.
    #[error(
        "{path}:{line}: {text:?} is neither an IP address nor a network such as 192.0.2.0/24 or 2001:db8::/32{}",
        if has_port(.text) { ": leave out the port" } else { "" }, path = .path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Its text, or the start of it.
        text: String,
    },
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(before, port)| port.parse::<u16>().is_ok() && network(before).is_some())
}

/// How many characters of a wrong line to show.
const SHOWN: usize = 64;

impl AddressSet {
    /// Reads a file with an IP address or a network in CIDR notation on each line. `#` starts a comment, and empty
    /// lines are skipped. Bits beyond the prefix are ignored: 192.0.2.7/24 is 192.0.2.0/24. IPv4 within IPv6
    /// (::ffff:192.0.2.0/120) is IPv4. Scopes of addresses (fe80::1%eth0) and brackets are ignored.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::Unreadable { path: path.to_owned(), error };
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Error::NotAFile(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Self::parse(&bytes).map_err(|(line, text)| Error::Line { path: path.to_owned(), line, text })
    }

    /// Fails with the number and the text of the first wrong line.
    fn parse(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let text = line.split('#').next().unwrap_or_default().trim();
            match network(text) {
                _ if text.is_empty() => {}
                Some(IpNet::V4(network)) => ipv4.push(network),
                Some(IpNet::V6(network)) => ipv6.push(network),
                None => return Err((index + 1, text.chars().take(SHOWN).collect())),
            }
        }
        let given = ipv4.len() + ipv6.len();
        Ok(Self { ipv4: Ipv4Net::aggregate(&ipv4), ipv6: Ipv6Net::aggregate(&ipv6), given })
    }

    /// Adds one network. Neighbours are not joined, so that adding thousands is fast.
    pub(crate) fn add(&mut self, network: IpNet) {
        match network.trunc() {
            IpNet::V4(network) => insert(&mut self.ipv4, network, |outer, inner| outer.contains(inner)),
            IpNet::V6(network) => insert(&mut self.ipv6, network, |outer, inner| outer.contains(inner)),
        }
        self.given += 1;
    }

    /// Whether an address is in one of them. IPv4 within IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Only the last network that starts at or below the address can contain it.
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let above = self.ipv4.partition_point(|network| network.network() <= address);
                self.ipv4[..above].last().is_some_and(|network| network.contains(&address))
            }
            IpAddr::V6(address) => {
                let above = self.ipv6.partition_point(|network| network.network() <= address);
                self.ipv6[..above].last().is_some_and(|network| network.contains(&address))
            }
        }
    }

    /// How many networks were given, including those within others.
    pub fn len(&self) -> usize {
        self.given
    }

    /// Whether no network was given.
    pub fn is_empty(&self) -> bool {
        self.given == 0
    }
}

/// Keeps `networks` in order, with none within another. Two networks overlap only if one is within the other.
fn insert<N: Ord>(networks: &mut Vec<N>, network: N, contains: fn(&N, &N) -> bool) {
    let at = networks.partition_point(|other| *other < network);
    // Of two that start at the same address the larger one comes first.
    if networks[..at].last().is_some_and(|before| contains(before, &network)) {
        return;
    }
    let within = networks[at..].iter().take_while(|after| contains(&network, after)).count();
    networks.splice(at..at + within, [network]);
}

/// An IP address, or a network in CIDR notation. IPv4 within IPv6 is IPv4; brackets and scopes are ignored.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let network = match text.split_once('/') {
        Some((_, prefix)) if !prefix.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        Some((address, prefix)) => IpNet::new(parse_ip(address)?, prefix.parse().ok()?).ok()?,
        None => IpNet::from(parse_ip(text)?),
    };
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped {
        Some((address, prefix)) => Ipv4Net::new(address, prefix).ok().map(IpNet::V4),
        None => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> AddressSet {
        AddressSet::parse(text.as_bytes()).unwrap()
    }

    #[track_caller]
    fn assert_contains(networks: &AddressSet, inside: &[&str], outside: &[&str]) {
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn what_is_added_in_any_order_is_contained() {
        let given = ["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/9", "9.255.255.255", "11.0.0.0", "0.0.0.1", "10.1.0.0/16"];
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let mut order = given;
            rng.shuffle(&mut order);
            let mut networks = AddressSet::default();
            order.iter().for_each(|text| networks.add(network(text).unwrap()));
            assert_eq!((networks.ipv4.len(), networks.len()), (4, 7), "{order:?}: {networks:?}");
            assert_contains(
                &networks,
                &["10.0.0.0", "10.1.2.3", "10.255.255.255", "9.255.255.255", "11.0.0.0", "0.0.0.1"],
                &["9.255.255.254", "11.0.0.1", "0.0.0.0", "0.0.0.2", "::10.0.0.0"],
            );
        }
    }

    #[test]
    fn addresses_networks_comments_and_blank_lines() {
        let networks = parsed(
            "# a comment\n\n  192.0.2.0/24\t# another\r\n198.51.100.7\n2001:db8::/32\n2001:db9::1\n\
             10.1.2.3/8\n::ffff:203.0.113.0/120\n::ffff:1.2.3.4",
        );
        assert_eq!(networks.len(), 7);
        assert_contains(
            &networks,
            &[
                "192.0.2.0",
                "192.0.2.255",
                "198.51.100.7",
                "2001:db8::",
                "2001:db8:ffff::1",
                "2001:db9::1",
                "10.0.0.0",
                "10.255.255.255",
                "203.0.113.9",
                "1.2.3.4",
                "::ffff:192.0.2.1",
            ],
            &[
                "192.0.1.255",
                "192.0.3.0",
                "198.51.100.6",
                "198.51.100.8",
                "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:db9::",
                "2001:db9::2",
                "9.255.255.255",
                "11.0.0.0",
                "203.0.114.0",
                "0.0.0.0",
                "255.255.255.255",
                "::",
            ],
        );
        assert!(parsed("").is_empty());
        assert_contains(&parsed("# none\n"), &[], &["192.0.2.0", "::", "127.0.0.1"]);
    }

    #[test]
    fn brackets_and_scopes_do_not_matter() {
        let networks =
            parsed("fe80::1%eth0\nfe80:0:0:1::%2/64\n[2001:db8::1]\n[2001:db9::]/32\n[::ffff:192.0.2.0%1]/120");
        assert_contains(
            &networks,
            &["fe80::1", "fe80:0:0:1::9", "2001:db8::1", "2001:db9::9", "192.0.2.9"],
            &["fe80::2", "fe80:0:0:2::", "2001:db8::2", "2001:dba::", "192.0.3.0"],
        );
    }

    #[test]
    fn all_addresses_are_a_network_too() {
        assert_contains(&parsed("0.0.0.0/0\n1.2.3.4"), &["0.0.0.0", "255.255.255.255", "::ffff:1.1.1.1"], &["::1"]);
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_contains(&parsed("::/0"), &["::", "::1", last], &["1.2.3.4"]);
        assert_contains(&parsed("255.255.255.255\n0.0.0.0"), &["255.255.255.255", "0.0.0.0"], &["0.0.0.1"]);
        assert_contains(&parsed("::ffff:0:0/96"), &["0.0.0.0", "255.255.255.255"], &["::1"]);
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number() {
        for (text, line, shown) in [
            ("node.example.com", 1, "node.example.com"),
            ("1.2.3.4\n\n1.2.3.0/33 # too long", 3, "1.2.3.0/33"),
            ("# x\n1.2.3", 2, "1.2.3"),
            ("1.2.3.4/", 1, "1.2.3.4/"),
            ("1.2.3.4/-1", 1, "1.2.3.4/-1"),
            ("2001:db8::/129", 1, "2001:db8::/129"),
            ("1.2.3.4 5.6.7.8", 1, "1.2.3.4 5.6.7.8"),
            ("[2001:db8::1]:8333", 1, "[2001:db8::1]:8333"),
            ("fe80::/64%eth0", 1, "fe80::/64%eth0"),
            ("1.2.3.4%eth0", 1, "1.2.3.4%eth0"),
            ("1.2.3.0/+8", 1, "1.2.3.0/+8"),
            ("1.2.3.4:8333", 1, "1.2.3.4:8333"),
            ("1.2.3.0-1.2.3.9", 1, "1.2.3.0-1.2.3.9"),
        ] {
            assert_eq!(AddressSet::parse(text.as_bytes()).unwrap_err(), (line, shown.to_owned()));
        }
        let (line, shown) = AddressSet::parse(&[0xff; 1 << 20]).unwrap_err();
        assert_eq!((line, shown.chars().count()), (1, SHOWN));
    }

    #[test]
    fn what_is_found_is_what_some_network_contains() {
        // Prefixes of all lengths around few places, so that they touch, overlap and repeat.
        let mut text = String::new();
        let mut given: Vec<IpNet> = Vec::new();
        for number in 0..2_000_u32 {
            let mixed = number.wrapping_mul(0x9e37_79b9);
            let network = format!("{}/{}", std::net::Ipv4Addr::from(mixed & 0xc003_c003), 12 + number % 21);
            text += &format!("{network}\n");
            given.push(network.parse().unwrap());
            if number % 100 == 0 {
                let networks = parsed(&text);
                for near in given.iter().map(|network| u32::from_be_bytes(octets(network.network()))) {
                    for address in [near.wrapping_sub(1), near, near.wrapping_add(1), near.wrapping_add(0x8000)] {
                        let address = IpAddr::from(address.to_be_bytes());
                        let expected = given.iter().any(|network| network.contains(&address));
                        assert_eq!(networks.contains(address), expected, "{address}");
                    }
                }
            }
        }
    }

    fn octets(address: IpAddr) -> [u8; 4] {
        let IpAddr::V4(address) = address else { unreachable!("all are IPv4") };
        address.octets()
    }
}
