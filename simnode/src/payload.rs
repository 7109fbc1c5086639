//! Contents of messages that need more than a line: version, addresses, locators. Pure. In: a peer, a time and random
//! numbers. Out: messages of the `bitcoin` crate.

use bitcoin::{
    BlockHash,
    hashes::Hash,
    p2p::{
        Address, ServiceFlags, address::AddrV2Message, message_blockdata::GetHeadersMessage,
        message_compact_blocks::SendCmpct, message_network::VersionMessage,
    },
};
use fastrand::Rng;

use crate::{
    chain::Chain,
    peers::{Peer, Place},
};

const PROTOCOL_VERSION: u32 = 70016;

/// Protocol versions of other software and of older releases; the last is not known to Bitcoin Core.
const OLD_PROTOCOLS: [u32; 7] = [70015, 70014, 70013, 70012, 70002, 70001, 80003];

/// User agents as seen on mainnet, roughly by frequency.
const USER_AGENTS: [&str; 14] = [
    "/Satoshi:29.0.0/",
    "/Satoshi:28.1.0/",
    "/Satoshi:30.0.0/",
    "/Satoshi:29.1.0/Knots:20250903/",
    "/Satoshi:27.1.0/",
    "/Satoshi:27.0.0/",
    "/Satoshi:25.1.0/",
    "/Satoshi:25.0.0(a comment)/",
    "/Satoshi:22.0.0/",
    "/bitcoinj:0.16.3/Bitcoin Wallet:10.13/",
    "/btcwire:0.5.0/btcd:0.24.2/",
    "/a-crawler:1.0 (é)/",
    "/Satoshi:31.0.0/",
    "",
];

/// User agents that do harm if something treats them as more than text. As many as the others, and within the 256 bytes
/// that Bitcoin Core accepts.
const HOSTILE_USER_AGENTS: [&str; USER_AGENTS.len()] = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</td></tr></table><h1>owned</h1>",
    "/Satoshi:31.0.0/\u{202e}/0.0.31:ihsotaS/",
    "/\u{2066}isolated\u{200f}\u{200b}\u{feff}\u{ad}/",
    "\0\u{1}\u{1b}[31mred\u{1b}[0m\u{7f}\u{85}\r\nbitcointap_up 0",
    "javascript:document.title='owned'",
    "\" style=\"position:fixed;inset:0\" x=\"",
    "\u{5d0}\u{5d1}\u{5d2} right to left \u{5d3}",
    "Z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}\u{309}a\u{310}\u{311}\u{312}\u{313}\u{314}l\u{315}g\u{316}o",
    "\u{3164}\u{115f}\u{2800}\u{e0041}",
    "{{constructor.constructor('alert(1)')()}}${7*7}",
    "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
    "__proto__",
];

/// The version message of `peer`. Its clock is some seconds off.
pub(crate) fn peer_version(rng: &mut Rng, peer: &Peer, now: u32, height: u32, is_hostile: bool) -> VersionMessage {
    let services = services(rng);
    let version = if rng.u8(..6) == 0 { OLD_PROTOCOLS[rng.usize(..OLD_PROTOCOLS.len())] } else { PROTOCOL_VERSION };
    // The smaller of two numbers is more often a small one.
    let agent = rng.usize(..USER_AGENTS.len()).min(rng.usize(..USER_AGENTS.len()));
    VersionMessage {
        version,
        services,
        timestamp: i64::from(now) + rng.i64(-30..30),
        receiver: nowhere(ServiceFlags::NONE),
        sender: nowhere(services),
        nonce: rng.u64(..),
        user_agent: if is_hostile { HOSTILE_USER_AGENTS } else { USER_AGENTS }[agent].to_owned(),
        start_height: i32::try_from(height - rng.u32(..3)).unwrap_or(i32::MAX),
        relay: peer.relays_transactions() && rng.u8(..8) > 0,
    }
}

/// The node's own version message to `peer`.
pub(crate) fn own_version(rng: &mut Rng, peer: &Peer, now: u32, height: u32, user_agent: String) -> VersionMessage {
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED | ServiceFlags::P2P_V2;
    VersionMessage {
        version: PROTOCOL_VERSION,
        services,
        timestamp: i64::from(now),
        receiver: old_address(&peer.place, ServiceFlags::NONE),
        sender: nowhere(services),
        nonce: rng.u64(..),
        user_agent,
        start_height: i32::try_from(height).unwrap_or(i32::MAX),
        relay: peer.relays_transactions(),
    }
}

/// All zeros, as Bitcoin Core writes its own address.
pub(crate) fn nowhere(services: ServiceFlags) -> Address {
    Address { services, address: [0; 8], port: 0 }
}

/// An address as it was before BIP 155.
pub(crate) fn old_address(place: &Place, services: ServiceFlags) -> Address {
    Address { services, address: place.ip().segments(), port: place.port }
}

/// Services of nodes: mostly the same, one in some dozens something that Bitcoin Core does not name.
pub(crate) fn services(rng: &mut Rng) -> ServiceFlags {
    let mut services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
    if rng.bool() {
        services.add(ServiceFlags::P2P_V2);
    }
    match rng.u8(..40) {
        0..10 => _ = services.add(ServiceFlags::COMPACT_FILTERS),
        10..14 => _ = services.add(ServiceFlags::BLOOM),
        14 => _ = services.add(ServiceFlags::from(1 << 25)),
        _ => {}
    }
    services
}

/// When a node was last seen: within a day or, rarely, a little in the future.
pub(crate) fn last_seen(rng: &mut Rng, now: u32) -> u32 {
    (now + 600 * u32::from(rng.u8(..50) == 0)).saturating_sub(rng.u32(..90_000) >> rng.u32(..12))
}

/// An address as of BIP 155.
pub(crate) fn address(rng: &mut Rng, place: &Place, now: u32) -> AddrV2Message {
    AddrV2Message { time: last_seen(rng, now), services: services(rng), addr: place.address.clone(), port: place.port }
}

/// Compact blocks of version 2, announced by headers.
pub(crate) fn low_bandwidth() -> SendCmpct {
    SendCmpct { send_compact: false, version: 2 }
}

/// Headers after the block `skip` below the tip.
pub(crate) fn getheaders(chain: &Chain, skip: usize) -> GetHeadersMessage {
    let (version, locator_hashes) = (PROTOCOL_VERSION, chain.locator(skip));
    GetHeadersMessage { version, locator_hashes, stop_hash: BlockHash::all_zeros() }
}

/// Satoshis per 1,000 virtual bytes, from Bitcoin Core's rounded steps.
pub(crate) fn feefilter(rng: &mut Rng) -> i64 {
    [100, 100, 1_000, 1_000, 1_000, 2_049, 5_006][rng.usize(..7)]
}
