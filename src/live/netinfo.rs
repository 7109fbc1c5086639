//! Peers by network and direction. In: rows of peers. Out: the table of `bitcoin-cli -netinfo`.

use serde::Serialize;

use super::Row;
use crate::{event::net::ConnectionType, network::Network};

/// How many peers there are, as `bitcoin-cli -netinfo` counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetInfo {
    /// A row for each network that a node can reach, and for each other network that has a peer.
    pub networks: Vec<NetworkCount>,
    /// Outbound peers that relay blocks only.
    pub block_relay: u32,
    /// Outbound peers that the operator asked for.
    pub manual: u32,
}

/// The peers of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub struct NetworkCount {
    /// The name that -netinfo gives: `npr` is not publicly routable.
    pub network: &'static str,
    pub inbound: u32,
    pub outbound: u32,
}

impl NetworkCount {
    /// The peers of all networks.
    pub fn total(inbound: u32, outbound: u32) -> Self {
        Self { network: "total", inbound, outbound }
    }
}

/// Networks in -netinfo's order, with its names, and whether a node can reach them.
const NETWORKS: [(Network, &str, bool); 8] = [
    (Network::Ipv4, "ipv4", true),
    (Network::Ipv6, "ipv6", true),
    (Network::Onion, "onion", true),
    (Network::I2p, "i2p", true),
    (Network::Cjdns, "cjdns", true),
    (Network::Unroutable, "npr", false),
    (Network::Internal, "int", false),
    (Network::Unknown, "unknown", false),
];

impl NetInfo {
    pub(super) fn of(peers: &[Row]) -> Self {
        let count = |is: &dyn Fn(&&Row) -> bool| peers.iter().filter(is).count() as u32;
        let of_type = |wanted: ConnectionType| count(&|peer| peer.connection_type == wanted.name());
        let inbound = ConnectionType::Inbound.name();
        let networks = NETWORKS.into_iter().filter_map(|(network, name, is_reachable)| {
            let all = count(&|peer| peer.network == network.name());
            let inbound = count(&|peer| peer.network == network.name() && peer.connection_type == inbound);
            let counted = NetworkCount { network: name, inbound, outbound: all - inbound };
            (is_reachable || all > 0).then_some(counted)
        });
        Self {
            networks: networks.collect(),
            block_relay: of_type(ConnectionType::BlockRelayOnly),
            manual: of_type(ConnectionType::Manual),
        }
    }
}
