//! What takes the place of an address. In: an address, as text or as bytes of a message. Out: another one of the same network, made by a
//! keyed hash: the same for the same address, in each form.
//!
//! | address | pseudonym |
//! |---|---|
//! | IPv4 | in 240.0.0.0/4, which nobody uses |
//! | IPv6 | in 3fff::/20, which is reserved for documentation (RFC 9637) |
//! | IPv6 that stands for IPv4 (6to4, Teredo, NAT64) | in 2002:f000::/20, 6to4 of the first |
//! | CJDNS | in fc00::/16 |
//! | onion, I2P | begins with `redacted` |
//! | unroutable | in 10.0.0.0/8, fd00::/16 |
//! | a host's name | in `.invalid` |
//!
//! 0.0.0.0, ::, 127.0.0.0/8 and ::1 stay: they name no machine. So do ports.
//!
//! If netgroups are kept, IPv4 and IPv6 have pseudonyms like those of other machines instead: two of them are of one /16 (IPv6: /32) if and only if
//! the addresses are.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use super::Key;
use crate::{
    network::{Network, parse_ip, split},
    p2p::{Address, ONIONCAT, i2p_name, torv2_name, torv3_name},
};

/// The first letters of pseudonyms of onion and I2P addresses, as bytes in base 32: `redacted`.
const REDACTED: [u8; 5] = [0x89, 0x06, 0x01, 0x4c, 0x83];

/// Different things that are hashed with one key.
#[derive(Clone, Copy)]
enum Of {
    Ipv4 = 1,
    Ipv6,
    Name,
    Onion,
    I2p,
    Unknown,
    Netgroup4,
    Host4,
    Netgroup6,
}

#[derive(Debug)]
pub(super) struct Pseudonyms {
    key: Key,
    /// If netgroups are kept: the pseudonym of each /16.
    netgroups: Option<Box<[u16]>>,
}

impl Pseudonyms {
    pub(super) fn new(key: &Key, keeps_netgroups: bool) -> Self {
        let mut new = Self { key: key.clone(), netgroups: None };
        new.netgroups = keeps_netgroups.then(|| new.netgroups());
        new
    }

    /// Of a peer's address as the node writes it, with its port if it has one.
    pub(super) fn peer(&self, address: &str) -> String {
        let (host, port) = split(address);
        let mut pseudonym = match parse_ip(host).map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => self.ipv4(ip).to_string(),
            Some(IpAddr::V6(ip)) => format!("[{}]", self.ipv6(ip)),
            None => self.name(host),
        };
        if let Some(port) = port {
            let _ = write!(pseudonym, ":{port}");
        }
        pseudonym
    }

    /// Of an address as `version` and `addr` have it.
    pub(super) fn v1(&self, address: &mut [u8; 16]) {
        let ip = Ipv6Addr::from(*address);
        if let Some(ip) = ip.to_ipv4_mapped() {
            *address = self.ipv4(ip).to_ipv6_mapped().octets();
        } else if address.starts_with(&ONIONCAT) {
            self.bytes(Of::Onion, &mut address[ONIONCAT.len()..]);
        } else {
            *address = self.ipv6(ip).octets();
        }
    }

    /// Of an address in a network of BIP 155.
    pub(super) fn v2(&self, network: u8, address: &mut [u8]) {
        match (network, address.len()) {
            (1, 4) => address.copy_from_slice(&self.ipv4(octets::<4>(address).into()).octets()),
            (2 | 6, 16) => {
                let ip = Ipv6Addr::from(octets(address));
                // Bitcoin Core skips IPv4 that comes as IPv6.
                let mapped = ip.to_ipv4_mapped().map(|ip| self.ipv4(ip).to_ipv6_mapped());
                address.copy_from_slice(&mapped.unwrap_or_else(|| self.ipv6(ip)).octets());
            }
            (3 | 4, _) => self.bytes(Of::Onion, address),
            (5, _) => self.bytes(Of::I2p, address),
            _ => self.unknown(network, address),
        }
    }

    fn ipv4(&self, ip: Ipv4Addr) -> Ipv4Addr {
        let is_routable = Network::of(&Address::Ipv4(ip)) == Network::Ipv4;
        if ip.is_unspecified() || ip.is_loopback() {
            return ip;
        }
        if !is_routable {
            let [a, b, c, ..] = self.hash(Of::Ipv4, &ip.octets());
            return Ipv4Addr::new(10, a, b, c);
        }
        match &self.netgroups {
            Some(netgroups) => self.within_netgroup(netgroups, ip),
            None => self.class_e(&ip.octets()),
        }
    }

    /// In 240.0.0.0/4, and not the broadcast address.
    fn class_e(&self, address: &[u8]) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.hash(Of::Ipv4, address);
        let ip = Ipv4Addr::new(0xf0 | a, b, c, d);
        if ip.is_broadcast() { Ipv4Addr::new(0xf0, 0, 0, 0) } else { ip }
    }

    fn ipv6(&self, ip: Ipv6Addr) -> Ipv6Addr {
        if ip.is_unspecified() || ip.is_loopback() {
            return ip;
        }
        let octets = ip.octets();
        let hash = self.hash(Of::Ipv6, &octets);
        let mut pseudonym = [0; 16];
        pseudonym.copy_from_slice(&hash[..16]);
        match Network::of(&Address::Ipv6(ip)) {
            Network::Ipv4 => {
                pseudonym[..2].copy_from_slice(&[0x20, 0x02]);
                pseudonym[2..6].copy_from_slice(&self.class_e(&octets).octets());
            }
            Network::Cjdns => pseudonym[..2].copy_from_slice(&[0xfc, 0]),
            Network::Ipv6 => match self.netgroups {
                Some(_) => {
                    let netgroup = self.netgroup6([octets[0], octets[1], octets[2], octets[3]]);
                    pseudonym[..4].copy_from_slice(&netgroup);
                }
                None => {
                    pseudonym[..2].copy_from_slice(&[0x3f, 0xff]);
                    pseudonym[2] &= 0x0f;
                }
            },
            _ => pseudonym[..2].copy_from_slice(&[0xfd, 0]),
        }
        pseudonym.into()
    }

    /// Of a host that is no IP address.
    fn name(&self, host: &str) -> String {
        let lower = host.to_ascii_lowercase();
        let decoded = |letters: &str| BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).ok();
        let of_text = || self.begun(self.hash(Of::Name, lower.as_bytes()));
        if let Some(letters) = lower.strip_suffix(".onion") {
            let bytes = decoded(letters).unwrap_or_default();
            match bytes.len() {
                10 => {
                    let mut name = octets(&bytes);
                    self.bytes(Of::Onion, &mut name);
                    torv2_name(&name).to_string()
                }
                // The key, a checksum and the version.
                35 => {
                    let mut key = octets(&bytes[..32]);
                    self.bytes(Of::Onion, &mut key);
                    torv3_name(&key).to_string()
                }
                _ => torv3_name(&of_text()).to_string(),
            }
        } else if let Some(letters) = lower.strip_suffix(".b32.i2p") {
            let bytes = decoded(letters).unwrap_or_default();
            if bytes.len() == 32 {
                let mut destination = octets(&bytes);
                self.bytes(Of::I2p, &mut destination);
                i2p_name(&destination).to_string()
            } else {
                i2p_name(&of_text()).to_string()
            }
        } else if host.is_empty() {
            String::new()
        } else {
            format!("{}.invalid", HEXLOWER.encode(&self.hash(Of::Name, lower.as_bytes())[..8]))
        }
    }

    /// Of a key or a name in base 32: it begins with `redacted`.
    fn bytes(&self, of: Of, bytes: &mut [u8]) {
        let hash = self.begun(self.hash(of, bytes));
        let length = bytes.len().min(hash.len());
        bytes[..length].copy_from_slice(&hash[..length]);
        bytes[length..].fill(0);
    }

    fn begun(&self, mut hash: [u8; 32]) -> [u8; 32] {
        hash[..REDACTED.len()].copy_from_slice(&REDACTED);
        hash
    }

    /// Of an address of any length in a network that nobody knows.
    fn unknown(&self, network: u8, address: &mut [u8]) {
        let whole = address.to_vec();
        for (number, part) in address.chunks_mut(32).enumerate() {
            let hash = self.key.hash(&[&[Of::Unknown as u8, network, number as u8], &whole]);
            part.copy_from_slice(&hash[..part.len()]);
        }
    }

    fn hash(&self, of: Of, bytes: &[u8]) -> [u8; 32] {
        self.key.hash(&[&[of as u8], bytes])
    }
}

/// Keeping netgroups.
impl Pseudonyms {
    /// Of each /16 with routable addresses another one: the n-th of them has that which is the n-th in the order of their hashes.
    fn netgroups(&self) -> Box<[u16]> {
        let has_routable = |netgroup: &u16| [1, 254].into_iter().any(|host| routable(*netgroup, host << 8 | 1));
        let all: Vec<u16> = (0..=u16::MAX).filter(has_routable).collect();
        let mut by_hash = all.clone();
        by_hash.sort_by_cached_key(|netgroup| self.hash(Of::Netgroup4, &netgroup.to_be_bytes()));
        let mut netgroups = vec![0; 1 << 16];
        all.into_iter().zip(by_hash).for_each(|(netgroup, pseudonym)| netgroups[usize::from(netgroup)] = pseudonym);
        netgroups.into()
    }

    fn within_netgroup(&self, netgroups: &[u16], ip: Ipv4Addr) -> Ipv4Addr {
        let [a, b, c, d] = ip.octets();
        let netgroup = u16::from_be_bytes([a, b]);
        let pseudonym = netgroups[usize::from(netgroup)];
        // A few /16 have unroutable hosts.
        let mut host = u16::from_be_bytes([c, d]);
        for _ in 0..1 << 16 {
            host = self.host(netgroup, host);
            if routable(pseudonym, host) {
                break;
            }
        }
        let ([a, b], [c, d]) = (pseudonym.to_be_bytes(), host.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    }

    /// Another host of a /16 for each one (a Feistel network).
    fn host(&self, netgroup: u16, host: u16) -> u16 {
        let [a, b] = netgroup.to_be_bytes();
        let [mut left, mut right] = host.to_be_bytes();
        for round in 0..4 {
            let [hash, ..] = self.hash(Of::Host4, &[a, b, round, right]);
            (left, right) = (right, left ^ hash);
        }
        u16::from_be_bytes([left, right])
    }

    /// The first 32 bits of the pseudonyms of IPv6 addresses with these first 32 bits.
    fn netgroup6(&self, netgroup: [u8; 4]) -> [u8; 4] {
        for number in 0..u8::MAX {
            let [a, b, c, d, ..] = self.key.hash(&[&[Of::Netgroup6 as u8], &netgroup, &[number]]);
            let a = 0x20 | a & 0x1f;
            let first = Ipv6Addr::from(u128::from(u32::from_be_bytes([a, b, c, d])) << 96 | 1);
            if Network::of(&Address::Ipv6(first)) == Network::Ipv6 {
                return [a, b, c, d];
            }
        }
        unreachable!("nearly all of 2000::/3 is IPv6")
    }
}

/// The bytes of a slice of this length.
fn octets<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("its length was checked")
}

fn routable(netgroup: u16, host: u16) -> bool {
    let ip = Ipv4Addr::from(u32::from(netgroup) << 16 | u32::from(host));
    Network::of(&Address::Ipv4(ip)) == Network::Ipv4
}
