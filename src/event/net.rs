//! Events of the context `net`: P2P messages and connections.

use std::{borrow::Cow, mem::offset_of};

use serde::{Serialize, Serializer};

use super::{parts, text_in_place};
use crate::{
    p2p,
    record::types::{connection_record, message_record, misbehaving_record, payload_state},
    tracepoint::Tracepoint,
};

/// A P2P message: `net:inbound_message`, `net:outbound_message`.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    /// Who, which way, what and how much.
    pub meta: Meta<'a>,
    /// Its decoded payload.
    pub msg: p2p::Message<'a>,
}

/// What the tracepoint says beside the payload.
#[derive(Debug, Serialize)]
pub struct Meta<'a> {
    /// The node's number of the peer; it starts at 0 with each start of the node and is never used twice.
    pub peer_id: i64,
    /// Address and port as the node writes them.
    pub addr: Cow<'a, str>,
    /// What the connection is for.
    pub conn_type: ConnectionType,
    /// The message's type.
    pub command: &'a str,
    /// From the peer to the node.
    pub inbound: bool,
    /// Bytes of payload, without the transport's header.
    pub size: u64,
}

/// What a connection is for (ConnectionType in Bitcoin Core). In JSON its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectionType {
    /// A name that we do not know.
    Unknown,
    /// Opened by the peer.
    Inbound,
    /// The usual connection to a peer.
    OutboundFullRelay,
    /// No transactions or addresses are relayed.
    BlockRelayOnly,
    /// A short one, to see whether an address answers.
    Feeler,
    /// Asked for by the node's operator.
    Manual,
    /// A short one, to ask for addresses.
    AddrFetch,
    /// A short one, to send a transaction of the node's own (v31).
    PrivateBroadcast,
}

impl ConnectionType {
    /// All, each at its number.
    pub const ALL: [ConnectionType; 8] = [
        ConnectionType::Unknown,
        ConnectionType::Inbound,
        ConnectionType::OutboundFullRelay,
        ConnectionType::BlockRelayOnly,
        ConnectionType::Feeler,
        ConnectionType::Manual,
        ConnectionType::AddrFetch,
        ConnectionType::PrivateBroadcast,
    ];

    /// Bitcoin Core's name.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionType::Unknown => "unknown",
            ConnectionType::Inbound => "inbound",
            ConnectionType::OutboundFullRelay => "outbound-full-relay",
            ConnectionType::BlockRelayOnly => "block-relay-only",
            ConnectionType::Feeler => "feeler",
            ConnectionType::Manual => "manual",
            ConnectionType::AddrFetch => "addr-fetch",
            ConnectionType::PrivateBroadcast => "private-broadcast",
        }
    }

    fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(ConnectionType::Unknown)
    }
}

impl Serialize for ConnectionType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// Connections coming and going.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub enum Connection<'a> {
    /// `net:inbound_connection`.
    Inbound {
        /// The new connection.
        conn: Conn<'a>,
        /// Inbound connections, this one included.
        existing_connections: u64,
    },
    /// `net:outbound_connection`.
    Outbound {
        /// The new connection.
        conn: Conn<'a>,
        /// Outbound connections, this one included.
        existing_connections: u64,
    },
    /// `net:closed_connection`.
    Closed {
        /// The connection.
        conn: Conn<'a>,
        /// When it was established, UNIX time in seconds.
        time_established: u64,
    },
    /// `net:evicted_inbound_connection`.
    InboundEvicted {
        /// The connection.
        conn: Conn<'a>,
        /// When it was established, UNIX time in seconds.
        time_established: u64,
    },
    /// `net:misbehaving_connection`.
    Misbehaving {
        /// The peer's number.
        id: i64,
        /// 0 unless the build is patched, as for the next two.
        score_before: i32,
        /// What the offence costs.
        score_increase: i32,
        /// The reason.
        xmessage: Cow<'a, str>,
        /// Whether that is the end of it.
        threshold_exceeded: bool,
    },
}

/// Which connection.
#[derive(Debug, Serialize)]
pub struct Conn<'a> {
    /// The node's number of the peer.
    pub peer_id: i64,
    /// Address and port as the node writes them.
    pub addr: Cow<'a, str>,
    /// What it is for.
    pub conn_type: ConnectionType,
    /// `Network` in Bitcoin Core: 0 unroutable, 1 ipv4, 2 ipv6, 3 onion, 4 i2p, 5 cjdns, 6 internal.
    pub network: u32,
}

impl<'a> Message<'a> {
    pub(super) fn decode(record: &'a [u8], inbound: bool) -> Option<Self> {
        let (fixed, addr, payload) = parts::<message_record>(record)?;
        // Borrowed, so that what is decoded can borrow it too.
        let command = text_in_place(record.get(offset_of!(message_record, command)..)?, fixed.command.len());
        let msg = match payload_state(fixed.payload.into()) {
            payload_state::PAYLOAD_WHOLE if payload.len() as u64 == fixed.size => p2p::decode(command, payload),
            payload_state::PAYLOAD_UNREADABLE => unavailable(command, "unreadable"),
            payload_state::PAYLOAD_TOO_LARGE => unavailable(command, "too_large"),
            _ => return None,
        };
        let conn_type = ConnectionType::from_number(fixed.connection_type);
        Some(Self { meta: Meta { peer_id: fixed.peer_id, addr, conn_type, command, inbound, size: fixed.size }, msg })
    }
}

fn unavailable<'a>(command: &'a str, reason: &'static str) -> p2p::Message<'a> {
    p2p::Message::Unavailable { command, reason }
}

impl<'a> Connection<'a> {
    pub(super) fn decode(tracepoint: Tracepoint, record: &'a [u8]) -> Option<Self> {
        if tracepoint == Tracepoint::NetMisbehavingConnection {
            let (fixed, xmessage, _) = parts::<misbehaving_record>(record)?;
            return Some(Connection::Misbehaving {
                id: fixed.peer_id,
                score_before: fixed.score_before,
                score_increase: fixed.score_increase,
                xmessage,
                threshold_exceeded: fixed.threshold_exceeded != 0,
            });
        }
        let (fixed, addr, _) = parts::<connection_record>(record)?;
        let conn = Conn {
            peer_id: fixed.peer_id,
            addr,
            conn_type: ConnectionType::from_number(fixed.connection_type),
            network: fixed.network,
        };
        Some(match tracepoint {
            Tracepoint::NetInboundConnection => Connection::Inbound { conn, existing_connections: fixed.detail },
            Tracepoint::NetOutboundConnection => Connection::Outbound { conn, existing_connections: fixed.detail },
            Tracepoint::NetEvictedInboundConnection => {
                Connection::InboundEvicted { conn, time_established: fixed.detail }
            }
            Tracepoint::NetClosedConnection => Connection::Closed { conn, time_established: fixed.detail },
            _ => return None,
        })
    }
}
