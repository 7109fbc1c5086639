//! Peers and where they are. The addresses belong to nobody, but Bitcoin Core takes them for routable: IPv4 addresses
//! of the class reserved for the future, IPv6 addresses of the newer range for documentation. The onion names have
//! valid checksums.

use std::{
    ffi::CString,
    net::{Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use bitcoin::p2p::address::AddrV2;
use fastrand::Rng;

use crate::names::{ConnectionType, Network};

/// Onion v3 names: their public keys are hashes of a counter, hence nobody's.
const ONIONS: [&str; 16] = [
    "6v3semxyw4tbkvh6roargh2jk7lfdkzqqzesrsao7byujqgluyhhdtqd",
    "lmy5nytdjqwifse7sz42ywjtpw5hafyu3b4wavpfgnrpgc5ippamnoyd",
    "3y3p57f2jrqkmsip6oyvv3bhtdz4d25liq3e2z4glcptgrwb3dsuxkqd",
    "cizm6ulbcguuogzvr3xe3rza5x76cdr6zo7vzo7j4x5nxleck6xbl2id",
    "kkkyjwmiuzodvw26cqu5mm2c652imxy72fpqbskqettrddb7ye5pgrad",
    "gycnekcm63uplwrpzbip7dnsgznl3eeuqhn6445zxmd5tx6d72b2skyd",
    "k3lsengmfotrvm4oc7jnsqny6uibqcft7l2alcbpjx4itvlaif3aj5qd",
    "ak4w36ed2zauam4xr7vztqjz424f64zak474apb334frovozt3rphiad",
    "5gqunjqqncf7ijhbgvuvbcxlbzwfn236ves7gduvzdpb6g7lnddpxxyd",
    "lyuishu4btb3swpaqkbsncx5czcqp67gp3aiutjsu4t3c243r24tjjyd",
    "nzccapwj7zeqkfizxx55p6uxfjlyyujqnurovohclgp5tnc4x4ixldqd",
    "ly55gljutmsxjry7jk3ngv4fez4ct6pvl4iwh6huw35qfff7i6zq3dad",
    "ukluhmq6wqy6hx7t4fsw76mn2ug53zvc45k72grmjh5mwjpuuu7sw2ad",
    "rfdzgbojrt5n5brrnjnfsrafewfp5zfqgfhlzyyuexp4q652vkt2nqyd",
    "ookgvpvuryd66x7y34fa7sstuyqjz3emlrc4iqkkzzgjfq4uetqvxeyd",
    "xmfmyjruegwahdgin3mdi7s3qc7kw5bdhmktrbo6wmuu76xm7wdq6qid",
];

/// The public key of each.
static ONION_KEYS: LazyLock<[[u8; 32]; ONIONS.len()]> = LazyLock::new(|| ONIONS.map(from_base32));

/// A peer that was added by host name: its address is longer than any that Bitcoin Core makes itself.
const HOST_NAME: &str = "a-node-that-was-added-by-its-long-host-name.in-a-zone-with-many-labels.example.org";

/// A peer that the node is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: i64,
    /// With the port, as Bitcoin Core prints it.
    pub(crate) address: CString,
    pub(crate) connection_type: ConnectionType,
    pub(crate) network: Network,
    /// UNIX seconds.
    pub(crate) established: u32,
    pub(crate) place: Place,
    /// How long it takes to answer, in events.
    pub(crate) latency: u64,
    /// It has shaken hands and stays, so that any message can be sent to it.
    pub(crate) ready: bool,
    /// It has not answered the node's ping yet.
    pub(crate) pinged: bool,
    /// It has not answered the node's getheaders yet.
    pub(crate) headers_asked: bool,
}

impl Peer {
    /// Whether the node exchanges transactions with it.
    pub(crate) fn relays_transactions(&self) -> bool {
        self.connection_type != ConnectionType::BlockRelayOnly
    }
}

/// Where a node can be reached.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) network: Network,
    /// The operator's name for it, instead of its address.
    name: Option<&'static str>,
    pub(crate) address: AddrV2,
    pub(crate) port: u16,
}

impl Place {
    /// A random place on `network`, listening on the usual port. Some /16 of IPv4 and /32 of IPv6 are crowded, as those
    /// of large hosters are.
    pub(crate) fn random(rng: &mut Rng, network: Network) -> Self {
        let crowded = rng.bool();
        let address = match network {
            Network::Ipv6 => {
                let provider = if crowded { rng.u16(..3) } else { rng.u16(3..0x1000) };
                AddrV2::Ipv6(Ipv6Addr::new(0x3fff, provider, rng.u16(..64), 0, 0, 0, 0, rng.u16(1..)))
            }
            Network::Onion => AddrV2::TorV3(ONION_KEYS[rng.usize(..ONIONS.len())]),
            Network::I2p => {
                let mut hash = [0; 32];
                rng.fill(&mut hash);
                AddrV2::I2p(hash)
            }
            Network::Cjdns => AddrV2::Cjdns(Ipv6Addr::from_bits((rng.u128(..) >> 8) | (0xfc << 120))),
            Network::Ipv4 => {
                let [a, b] = if crowded { [240, rng.u8(..4)] } else { [rng.u8(241..255), rng.u8(..)] };
                AddrV2::Ipv4(Ipv4Addr::new(a, b, rng.u8(..), rng.u8(1..255)))
            }
            // The operator's own machines.
            Network::Unroutable | Network::Internal => {
                let host = rng.u8(2..20);
                match (rng.bool(), host) {
                    (true, _) => AddrV2::Ipv4(Ipv4Addr::LOCALHOST),
                    (false, ..10) => AddrV2::Ipv4(Ipv4Addr::new(192, 168, 1, host)),
                    (false, _) => AddrV2::Ipv6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into())),
                }
            }
        };
        let port = if network == Network::I2p { 0 } else { 8333 };
        Self { network, name: None, address, port }
    }

    /// A place in a small subnet of IPv4.
    pub(crate) fn in_subnet(rng: &mut Rng, subnet: u8) -> Self {
        let ip = Ipv4Addr::new(240, 100, subnet, rng.u8(1..16));
        Self { network: Network::Ipv4, name: None, address: AddrV2::Ipv4(ip), port: 8333 }
    }

    /// A place that the operator gave by its host name.
    pub(crate) fn named(rng: &mut Rng) -> Self {
        Self { name: Some(HOST_NAME), ..Self::random(rng, Network::Ipv4) }
    }

    pub(crate) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Whether both are the same host, at any port.
    pub(crate) fn is_host_of(&self, other: &Self) -> bool {
        self.address == other.address
    }

    /// As Bitcoin Core prints it, without the port.
    fn host(&self) -> String {
        if let Some(name) = self.name {
            return name.to_owned();
        }
        match &self.address {
            AddrV2::Ipv4(ip) => ip.to_string(),
            // The link that it is on.
            AddrV2::Ipv6(ip) if ip.is_unicast_link_local() => format!("[{ip}%2]"),
            AddrV2::Ipv6(ip) | AddrV2::Cjdns(ip) => format!("[{ip}]"),
            AddrV2::TorV3(key) => {
                let known = ONION_KEYS.iter().position(|known| known == key);
                format!("{}.onion", ONIONS[known.expect("all keys are of these names")])
            }
            AddrV2::I2p(hash) => format!("{}.b32.i2p", to_base32(hash)),
            AddrV2::TorV2(_) | AddrV2::Unknown(..) => unreachable!("no place is there"),
        }
    }

    /// How Bitcoin Core prints a peer there: inbound peers come from any port, and by onion through a local proxy.
    pub(crate) fn peer_address(&self, rng: &mut Rng, connection_type: ConnectionType) -> CString {
        let text = match (connection_type, self.network) {
            (ConnectionType::Inbound, Network::Onion) => format!("127.0.0.1:{}", rng.u16(32768..)),
            (ConnectionType::Inbound, network) if network != Network::I2p => {
                format!("{}:{}", self.host(), rng.u16(32768..))
            }
            _ => format!("{}:{}", self.host(), self.port),
        };
        CString::new(text).expect("addresses have no zero byte")
    }

    /// As in a version message: without an IP address all zeros.
    pub(crate) fn ip(&self) -> Ipv6Addr {
        match self.address {
            AddrV2::Ipv4(ip) => ip.to_ipv6_mapped(),
            AddrV2::Ipv6(ip) => ip,
            _ => Ipv6Addr::UNSPECIFIED,
        }
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// RFC 4648 without padding, in lower case.
fn to_base32(bytes: &[u8; 32]) -> String {
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|bit| {
            let high = u16::from(bytes[bit / 8]) << 8;
            let pair = high | u16::from(*bytes.get(bit / 8 + 1).unwrap_or(&0));
            char::from(BASE32[usize::from(pair >> (11 - bit % 8) & 31)])
        })
        .collect()
}

/// The first 32 bytes of an onion name: its public key.
fn from_base32(text: &str) -> [u8; 32] {
    let mut bits = text.bytes().flat_map(|letter| {
        let value = BASE32.iter().position(|&b| b == letter).expect("base32");
        (0..5).rev().map(move |bit| (value >> bit & 1) as u8)
    });
    std::array::from_fn(|_| (0..8).fold(0, |byte, _| byte << 1 | bits.next().expect("56 letters")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_of_a_public_key_begins_its_onion_name() {
        for name in ONIONS {
            // The 52nd letter is shared with the checksum.
            assert_eq!(to_base32(&from_base32(name))[..51], name[..51]);
        }
    }

    #[test]
    fn some_of_the_operators_own_machines_are_on_a_link() {
        let mut rng = Rng::with_seed(3);
        let mut address = || {
            let place = Place::random(&mut rng, Network::Unroutable);
            place.peer_address(&mut rng, ConnectionType::Inbound).into_string().unwrap()
        };
        let addresses: Vec<_> = (0..50).map(|_| address()).collect();
        for start in ["127.0.0.1:", "192.168.1.", "[fe80::"] {
            assert!(addresses.iter().any(|address| address.starts_with(start)), "{start}");
        }
        assert!(addresses.iter().all(|address| address.starts_with("[fe80::") == address.contains("%2]:")));
    }

    #[test]
    fn addresses_look_as_bitcoin_core_prints_them() {
        let mut rng = Rng::with_seed(3);
        let mut address = |network, connection_type| {
            let place = Place::random(&mut rng, network);
            let address = place.peer_address(&mut rng, connection_type);
            address.into_string().unwrap()
        };
        let full = ConnectionType::OutboundFullRelay;
        assert_eq!(address(Network::Onion, full).len(), 67);
        assert!(address(Network::I2p, full).ends_with(".b32.i2p:0"));
        assert!(address(Network::Cjdns, full).starts_with("[fc"));
        assert!(address(Network::Ipv6, full).starts_with("[3fff:"));
        assert!(address(Network::Ipv4, full).starts_with("24") || address(Network::Ipv4, full).starts_with("25"));
        assert!(address(Network::Onion, ConnectionType::Inbound).starts_with("127.0.0.1:"));
        let named = Place::named(&mut rng).peer_address(&mut rng, ConnectionType::Manual);
        assert!(named.as_bytes().len() > 68);
    }
}
