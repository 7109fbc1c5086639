//! Addresses of nodes as `version`, `addr` and `addrv2` carry them.
//!
//! In: the two wire formats, that of the first release and that of BIP 155. Out: [`NetAddress`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE32_NOPAD;
use serde::{Serialize, Serializer};
use sha3::{Digest, Sha3_256};

use super::reader::{Error, Reader, Result};
use crate::json::Bytes;

/// The bytes of an entry of `addr`: time, services, address, port.
pub(super) const ADDR_ENTRY: usize = 4 + 8 + 16 + 2;

/// The bytes of the shortest entry of `addrv2`: an address of no bytes.
pub(super) const SHORTEST_ADDRV2_ENTRY: usize = 4 + 1 + 1 + 1 + 2;

/// The longest address that BIP 155 allows, in bytes.
const MAX_ADDRV2_LENGTH: usize = 512;

/// fd87:d87e:eb43::/48: in it `addr` carried the ten bytes of a Tor v2 name (OnionCat).
pub(crate) const ONIONCAT: [u8; 6] = [0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43];

/// A node's address, and what the message says about the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetAddress<'a> {
    /// When the node was last seen, UNIX time in seconds; 0 in `version`, which has no such field.
    pub timestamp: u32,
    /// The node's service bits.
    pub services: u64,
    /// The TCP port.
    pub port: u16,
    /// Where in its network the node is.
    pub address: Address<'a>,
}

/// An address in one of the networks of BIP 155.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Address<'a> {
    /// IPv4
    Ipv4(Ipv4Addr),
    /// IPv6
    Ipv6(Ipv6Addr),
    /// The hash of the key of an onion service of version 2
    Torv2(
        #[serde(serialize_with = "torv2")]
        #[cfg_attr(test, schemars(with = "str"))]
        [u8; 10],
    ),
    /// The public key of an onion service of version 3
    Torv3(
        #[serde(serialize_with = "torv3")]
        #[cfg_attr(test, schemars(with = "str"))]
        [u8; 32],
    ),
    /// The SHA-256 of a destination in I2P
    I2p(
        #[serde(serialize_with = "i2p")]
        #[cfg_attr(test, schemars(with = "str"))]
        [u8; 32],
    ),
    /// CJDNS
    Cjdns(Ipv6Addr),
    /// A network that BIP 155 does not name
    Unknown {
        /// The network's number in BIP 155
        id: u8,
        /// The address as it came
        address: Bytes<'a>,
    },
}

impl NetAddress<'static> {
    /// The address in a `version` that ends before the sender's address.
    pub(super) const UNSPECIFIED: NetAddress<'static> =
        NetAddress { timestamp: 0, services: 0, port: 0, address: Address::Ipv6(Ipv6Addr::UNSPECIFIED) };

    /// An address in `version`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<NetAddress<'static>> {
        NetAddress::read_v1(reader, 0)
    }

    /// An entry of `addr`.
    pub(super) fn read_with_time(reader: &mut Reader<'_>) -> Result<NetAddress<'static>> {
        let timestamp = reader.decode()?;
        NetAddress::read_v1(reader, timestamp)
    }

    /// Not with rust-bitcoin's decoder, which decodes an address as eight numbers, one by one.
    fn read_v1(reader: &mut Reader<'_>, timestamp: u32) -> Result<NetAddress<'static>> {
        let services = reader.decode()?;
        let address = Address::from_v1(Ipv6Addr::from(reader.array()?));
        let port = u16::from_be_bytes(reader.array()?);
        Ok(NetAddress { timestamp, services, port, address })
    }
}

impl<'a> NetAddress<'a> {
    /// An entry of `addrv2` (BIP 155).
    ///
    /// Not with rust-bitcoin's decoder, which refuses addresses that Bitcoin Core only skips: IPv4 and OnionCat within
    /// IPv6, CJDNS outside of fc00::/8, Tor v2 of another length.
    pub(super) fn read_v2(reader: &mut Reader<'a>) -> Result<NetAddress<'a>> {
        let timestamp = reader.decode()?;
        let services = reader.compact_size()?;
        let network = reader.decode()?;
        let address = Address::from_v2(network, reader.bytes()?)?;
        let port = u16::from_be_bytes(reader.array()?);
        Ok(NetAddress { timestamp, services, port, address })
    }
}

impl Address<'static> {
    fn from_v1(address: Ipv6Addr) -> Address<'static> {
        if let Some(address) = address.to_ipv4_mapped() {
            return Address::Ipv4(address);
        }
        match address.octets() {
            [a, b, c, d, e, f, name @ ..] if [a, b, c, d, e, f] == ONIONCAT => Address::Torv2(name),
            _ => Address::Ipv6(address),
        }
    }
}

impl<'a> Address<'a> {
    /// Fails where Bitcoin Core does: at the wrong length for a network that it knows. It no longer knows Tor v2.
    fn from_v2(network: u8, address: &'a [u8]) -> Result<Address<'a>> {
        if address.len() > MAX_ADDRV2_LENGTH {
            return Err(Error::AddressTooLong(address.len()));
        }
        match (network, address.try_into()) {
            (1, _) => Ok(Address::Ipv4(Ipv4Addr::from(exactly::<4>("IPv4", address)?))),
            (2, _) => Ok(Address::Ipv6(Ipv6Addr::from(exactly::<16>("IPv6", address)?))),
            (3, Ok(name)) => Ok(Address::Torv2(name)),
            (4, _) => Ok(Address::Torv3(exactly("Tor v3", address)?)),
            (5, _) => Ok(Address::I2p(exactly("I2P", address)?)),
            (6, _) => Ok(Address::Cjdns(Ipv6Addr::from(exactly::<16>("CJDNS", address)?))),
            (id, _) => Ok(Address::Unknown { id, address: Bytes(address) }),
        }
    }
}

fn exactly<const N: usize>(network: &'static str, address: &[u8]) -> Result<[u8; N]> {
    address.try_into().map_err(|_| Error::AddressLength { network, length: address.len(), expected: N })
}

/// The name of an address that is not an IP address: letters for its bytes, and the domain of its network.
pub(crate) struct Name<const LETTERS: usize> {
    letters: [u8; LETTERS],
    domain: &'static str,
}

impl<const LETTERS: usize> Name<LETTERS> {
    fn of(bytes: &[u8], domain: &'static str) -> Self {
        let mut letters = [0; LETTERS];
        BASE32_NOPAD.encode_mut(bytes, &mut letters);
        letters.make_ascii_lowercase();
        Name { letters, domain }
    }
}

impl<const LETTERS: usize> fmt::Display for Name<LETTERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.letters).expect("base32 is ASCII"))?;
        f.write_str(".")?;
        f.write_str(self.domain)
    }
}

pub(crate) fn torv2_name(name: &[u8; 10]) -> Name<16> {
    Name::of(name, "onion")
}

/// The name is the key, a checksum and the version, as Tor's rend-spec-v3 says.
pub(crate) fn torv3_name(key: &[u8; 32]) -> Name<56> {
    const VERSION: u8 = 3;
    let checksum =
        Sha3_256::new().chain_update(b".onion checksum").chain_update(key).chain_update([VERSION]).finalize();
    let mut name = [0; 35];
    name[..32].copy_from_slice(key);
    name[32..34].copy_from_slice(&checksum[..2]);
    name[34] = VERSION;
    Name::of(&name, "onion")
}

pub(crate) fn i2p_name(hash: &[u8; 32]) -> Name<52> {
    Name::of(hash, "b32.i2p")
}

fn torv2<S: Serializer>(name: &[u8; 10], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&torv2_name(name))
}

fn torv3<S: Serializer>(key: &[u8; 32], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&torv3_name(key))
}

fn i2p<S: Serializer>(hash: &[u8; 32], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&i2p_name(hash))
}
