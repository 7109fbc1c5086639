//! Events of the context `net`: P2P messages and connections.

use std::{borrow::Cow, mem::offset_of};

use serde::{Serialize, Serializer};

use super::{parts, text_in_place};
use crate::{
    json,
    kernel_side::types::{connection_record, message_record, misbehaving_record, payload_state},
    network::Network,
    p2p,
    tracepoint::Tracepoint,
};

/// A P2P message: `net:inbound_message`, `net:outbound_message`.
#[derive(Debug)]
pub struct Message<'a> {
    /// The peer, the direction, the command and the size.
    pub meta: Meta<'a>,
    /// Its decoded payload.
    pub msg: p2p::Message<'a>,
    /// Its payload as sent, without the transport's header; `None` if it was not wanted or could not be read.
    pub payload: Option<&'a [u8]>,
}

impl Message<'_> {
    /// The user agent of the node itself, if this tells it. In a private broadcast it gives itself another.
    pub(crate) fn own_user_agent(&self) -> Option<&str> {
        match &self.msg {
            p2p::Message::Version { user_agent, .. }
                if !self.meta.inbound && self.meta.conn_type != ConnectionType::PrivateBroadcast =>
            {
                Some(user_agent)
            }
            _ => None,
        }
    }
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = self.payload.filter(|_| json::writes_raw()).map(json::Hex);
        Written { meta: &self.meta, msg: &self.msg, raw }.serialize(serializer)
    }
}

/// A P2P message, as it is written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Msg"))]
pub(crate) struct Written<'a> {
    /// The peer, the direction, the command and the size.
    meta: &'a Meta<'a>,
    /// Its decoded payload.
    msg: &'a p2p::Message<'a>,
    /// With `--payload raw`: its payload as it was sent, without the transport's header.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<json::Hex<'a>>,
}

/// A message's attributes besides its payload.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Meta<'a> {
    /// The node's number of the peer. Each run counts from 0, and uses no number twice.
    pub peer_id: i64,
    /// Address and port as the node writes them.
    pub addr: Cow<'a, str>,
    /// What the connection is for.
    pub conn_type: ConnectionType,
    /// How the peer is reached: from the event of the connection's opening if we have it, else derived from the address. Not in JSON.
    #[serde(skip)]
    pub network: Network,
    /// The message's command.
    pub command: &'a str,
    /// Whether it went from the peer to the node.
    pub inbound: bool,
    /// Bytes of payload, without the transport's header.
    pub size: u64,
}

impl<'a> Meta<'a> {
    /// Attributes of a message. The network is derived from the address.
    pub fn new(
        peer_id: i64,
        addr: impl Into<Cow<'a, str>>,
        conn_type: ConnectionType,
        command: &'a str,
        inbound: bool,
        size: u64,
    ) -> Self {
        let addr = addr.into();
        let network = Network::from_address(&addr, conn_type.may_be_inbound());
        Self { peer_id, addr, conn_type, network, command, inbound, size }
    }
}

/// Which way a message went, or who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// A message from the peer to the node, or a connection that the peer opened.
    Inbound,
    /// A message from the node to the peer, or a connection that the node opened.
    Outbound,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

    /// Bitcoin Core's name.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

/// What a connection is for (ConnectionType in Bitcoin Core). JSON has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ConnectionType {
    /// A type that we do not know.
    Unknown,
    /// Opened by the peer.
    Inbound,
    /// The usual connection to a peer.
    OutboundFullRelay,
    /// For blocks only: no transactions or addresses are relayed.
    BlockRelayOnly,
    /// A short connection, to check whether an address answers.
    Feeler,
    /// The node's operator asked for it.
    Manual,
    /// A short connection, to ask for addresses.
    AddrFetch,
    /// A short connection, to send a transaction of the node's own (v31).
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

    /// Whether the peer may have opened the connection.
    pub(crate) fn may_be_inbound(self) -> bool {
        self.opened_by() != Some(Direction::Outbound)
    }

    /// Who opens connections of this type.
    pub(crate) fn opened_by(self) -> Option<Direction> {
        match self {
            ConnectionType::Unknown => None,
            ConnectionType::Inbound => Some(Direction::Inbound),
            ConnectionType::OutboundFullRelay
            | ConnectionType::BlockRelayOnly
            | ConnectionType::Feeler
            | ConnectionType::Manual
            | ConnectionType::AddrFetch
            | ConnectionType::PrivateBroadcast => Some(Direction::Outbound),
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(ConnectionType::Unknown)
    }
}

impl Serialize for ConnectionType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// What became of a connection.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
        /// 0 unless the build is patched; so are the next two.
        score_before: i32,
        /// How much the offence adds to the score.
        score_increase: i32,
        /// The reason.
        xmessage: Cow<'a, str>,
        /// Whether the score has reached the threshold for disconnecting.
        threshold_exceeded: bool,
    },
}

/// Which connection.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// The attributes that conditions test. Records that are not about messages or connections have none.
#[derive(Debug, Default)]
pub(crate) struct Traits<'a> {
    pub peer: Option<i64>,
    pub address: Option<Cow<'a, str>>,
    pub connection_type: Option<ConnectionType>,
    pub direction: Option<Direction>,
    pub command: Option<&'a str>,
    pub size: Option<u64>,
    /// How the peer is reached.
    pub network: Option<Network>,
}

impl<'a> Traits<'a> {
    /// `None` if the record is not one of its tracepoint.
    pub(crate) fn of(tracepoint: Tracepoint, record: &'a [u8]) -> Option<Self> {
        match tracepoint {
            Tracepoint::NetInboundMessage => Self::of_message(record, Direction::Inbound),
            Tracepoint::NetOutboundMessage => Self::of_message(record, Direction::Outbound),
            Tracepoint::NetInboundConnection | Tracepoint::NetEvictedInboundConnection => {
                Self::of_connection(record, Some(Direction::Inbound))
            }
            Tracepoint::NetOutboundConnection => Self::of_connection(record, Some(Direction::Outbound)),
            Tracepoint::NetClosedConnection => Self::of_connection(record, None),
            Tracepoint::NetMisbehavingConnection => {
                let (fixed, ..) = parts::<misbehaving_record>(record)?;
                Some(Self { peer: Some(fixed.peer_id), ..Self::default() })
            }
            _ => Some(Self::default()),
        }
    }

    fn of_message(record: &'a [u8], direction: Direction) -> Option<Self> {
        let (fixed, address, _) = parts::<message_record>(record)?;
        let command = command_of(record, &fixed)?;
        // A command that was cut, since it is not UTF-8, matches no condition: the kernel side compares all bytes.
        let is_whole = fixed.command.get(command.len()).is_none_or(|&next| next == 0);
        Some(Self {
            peer: Some(fixed.peer_id),
            address: Some(address),
            connection_type: Some(ConnectionType::from_number(fixed.connection_type)),
            direction: Some(direction),
            command: is_whole.then_some(command),
            size: Some(fixed.size),
            network: Some(network_of(&fixed)),
        })
    }

    /// The connection's type says who opened it, unless the tracepoint does (`direction`).
    fn of_connection(record: &'a [u8], direction: Option<Direction>) -> Option<Self> {
        let (fixed, address, _) = parts::<connection_record>(record)?;
        let connection_type = ConnectionType::from_number(fixed.connection_type);
        Some(Self {
            peer: Some(fixed.peer_id),
            address: Some(address),
            connection_type: Some(connection_type),
            direction: direction.or(connection_type.opened_by()),
            network: Some(Network::from_number(fixed.network)),
            ..Self::default()
        })
    }
}

/// The network that the intake has put into the record.
fn network_of(fixed: &message_record) -> Network {
    fixed.peer_network.checked_sub(1).map_or(Network::Unknown, |number| Network::from_number(number.into()))
}

/// A message's command, borrowed from its record, so that decoded events can borrow it, too.
pub(crate) fn command_of<'a>(record: &'a [u8], fixed: &message_record) -> Option<&'a str> {
    Some(text_in_place(record.get(offset_of!(message_record, command)..)?, fixed.command.len()))
}

impl<'a> Message<'a> {
    /// Decodes a message, and its payload only if it `decodes` that.
    pub(super) fn decode(record: &'a [u8], inbound: bool, decodes: bool) -> Option<Self> {
        let (fixed, addr, payload) = parts::<message_record>(record)?;
        let command = command_of(record, &fixed)?;
        let conn_type = ConnectionType::from_number(fixed.connection_type);
        let (peer_id, network, size) = (fixed.peer_id, network_of(&fixed), fixed.size);
        let meta = |addr: Cow<'a, str>| Meta { peer_id, addr, conn_type, network, command, inbound, size };
        if fixed.payload == IDS_ONLY {
            let msg = if decodes { p2p::decode_ids(command, payload)? } else { unavailable(command, NOT_WANTED) };
            return Some(Self { meta: meta(addr), msg, payload: None });
        }
        let payload = match payload_state(fixed.payload.into()) {
            _ if fixed.payload == REDACTED => Err("redacted"),
            payload_state::PAYLOAD_WHOLE if payload.len() as u64 == fixed.size => Ok(payload),
            payload_state::PAYLOAD_BEGINNING if payload.len() as u64 == u64::from(fixed.copied) => {
                let msg = if decodes { p2p::decode_beginning(command, payload) } else { None };
                let msg = msg.unwrap_or(unavailable(command, NOT_WANTED));
                return Some(Self { meta: meta(addr), msg, payload: None });
            }
            payload_state::PAYLOAD_UNREADABLE => Err("unreadable"),
            payload_state::PAYLOAD_TOO_LARGE => Err("too_large"),
            payload_state::PAYLOAD_NOT_WANTED => Err(NOT_WANTED),
            _ => return None,
        };
        let msg = match payload {
            Ok(payload) if decodes => p2p::decode(command, payload),
            Ok(_) => unavailable(command, NOT_WANTED),
            Err(reason) => unavailable(command, reason),
        };
        Some(Self { meta: meta(addr), msg, payload: payload.ok() })
    }
}

/// Why a payload is missing that could have been copied.
const NOT_WANTED: &str = "not_wanted";

/// What a record's `payload` says if [redaction](crate::redact) has left the payload out, and if it has put hashes in place of transactions.
/// The kernel side has lower numbers.
pub(crate) const REDACTED: u8 = 0x40;
pub(crate) const IDS_ONLY: u8 = 0x41;

/// How many bytes of payload a record has.
pub(crate) fn payload_length(fixed: &message_record) -> u64 {
    match payload_state(fixed.payload.into()) {
        payload_state::PAYLOAD_WHOLE => fixed.size,
        payload_state::PAYLOAD_BEGINNING => fixed.copied.into(),
        _ if fixed.payload == IDS_ONLY => fixed.copied.into(),
        _ => 0,
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

#[cfg(test)]
mod tests;
