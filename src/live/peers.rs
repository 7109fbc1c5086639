//! What each connected peer does. In: messages and connection events of one run of the node. Out: a row for each peer.

use std::time::Duration;

use super::{
    rates::{Rates, Traffic},
    seconds,
};
use crate::{
    connected::{Connected, Found},
    event::{
        Moment, Time,
        net::{Conn, ConnectionType, Message},
    },
    metrics::cut,
    network::Network,
    p2p,
    tracepoint::Tracepoints,
};

/// Bytes of a user agent that are kept: Bitcoin Core's MAX_SUBVERSION_LENGTH.
const USER_AGENT: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Peers {
    connected: Connected<Peer, ()>,
    dropped: u64,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) connection_type: ConnectionType,
    pub(super) network: Network,
    opened: Option<Time>,
    seen: Time,
    inbound: Traffic,
    outbound: Traffic,
    pub(super) user_agent: Option<String>,
    /// Nonce and moment of the node's last ping.
    ping_sent: Option<(u64, Moment)>,
    ping: Option<Duration>,
    min_ping: Option<Duration>,
    offences: u32,
}

/// A connection that is open.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The node's number of the peer.
    pub id: i64,
    /// Address and port as the node writes them; `None` if addresses are hidden.
    pub address: Option<String>,
    /// Bitcoin Core's name.
    pub connection_type: &'static str,
    /// Bitcoin Core's name.
    pub network: &'static str,
    /// When the connection was opened, UNIX time in seconds. `None` if bitcointap attached later.
    pub opened: Option<f64>,
    /// When bitcointap first saw the peer, UNIX time in seconds.
    pub seen: f64,
    /// Messages from the peer.
    pub inbound: Rates,
    /// Messages to the peer.
    pub outbound: Rates,
    /// Round trip of the node's last answered ping, in seconds.
    pub ping: Option<f64>,
    /// The shortest round trip, in seconds.
    pub min_ping: Option<f64>,
    /// The user agent in the peer's first `version` message (BIP 14). It may be any text. `None` if bitcointap attached later.
    pub user_agent: Option<String>,
    /// How often the node reported it as misbehaving.
    pub offences: u32,
}

impl Peers {
    pub(super) fn attach(&mut self, attached: Tracepoints) {
        self.connected.attach(attached);
    }

    pub(super) fn message(&mut self, time: Time, moment: Moment, second: u64, message: &Message<'_>) {
        let meta = &message.meta;
        let peer = match self.connected.heard_of(moment, meta.peer_id) {
            Found::Open(peer) => peer,
            Found::Closed(()) => return,
            Found::New => {
                self.enter(moment, meta.peer_id, Peer::new(time, &meta.addr, meta.conn_type, meta.network));
                let Some(peer) = self.connected.get_mut(meta.peer_id) else { return };
                peer
            }
        };
        let traffic = if meta.inbound { &mut peer.inbound } else { &mut peer.outbound };
        traffic.count(second, meta.size);
        match (&message.msg, meta.inbound) {
            (p2p::Message::Version { user_agent, .. }, true) => {
                // Bitcoin Core ignores all `version` messages but the first.
                peer.user_agent.get_or_insert_with(|| cut(user_agent, USER_AGENT).to_owned());
            }
            (p2p::Message::Ping { value }, false) => peer.ping_sent = Some((*value, moment)),
            (p2p::Message::Pong { value }, true) => peer.answered(*value, moment),
            _ => {}
        }
    }

    /// A connection was opened. This says more than a message that came before.
    pub(super) fn opened(&mut self, time: Time, moment: Moment, conn: &Conn<'_>) {
        let network = Network::from_number(conn.network);
        let opened = Peer { opened: Some(time), ..Peer::new(time, &conn.addr, conn.conn_type, network) };
        match self.connected.heard_of(moment, conn.peer_id) {
            Found::Open(peer) => {
                let Peer { address, connection_type, network, opened, .. } = opened;
                (peer.address, peer.connection_type) = (address, connection_type);
                (peer.network, peer.opened) = (network, opened);
            }
            Found::Closed(()) => {}
            Found::New => self.enter(moment, conn.peer_id, opened),
        }
    }

    pub(super) fn closed(&mut self, moment: Moment, peer_id: i64) -> Option<Peer> {
        let (peer, _forgotten) = self.connected.close(moment, peer_id, |_| ());
        peer
    }

    pub(super) fn misbehaved(&mut self, peer_id: i64) -> Option<&Peer> {
        let peer = self.connected.get_mut(peer_id)?;
        peer.offences += 1;
        Some(peer)
    }

    /// The run has ended. Its peers and their numbers mean nothing any more; the count of dropped peers stays.
    pub(super) fn clear(&mut self) {
        drop(self.connected.clear());
    }

    /// A second begins.
    pub(super) fn begin(&mut self, second: u64, now: Moment) {
        for peer in self.connected.values_mut() {
            peer.inbound.begin(second);
            peer.outbound.begin(second);
        }
        self.connected.drop_silent(now, |_| self.dropped += 1);
    }

    /// How many peers were dropped, since there were too many or they were silent for too long.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn rows(&self, second: u64, hides_addresses: bool) -> Vec<Row> {
        let row = |(id, peer): (i64, &Peer)| Row {
            id,
            address: (!hides_addresses).then(|| peer.address.clone()),
            connection_type: peer.connection_type.name(),
            network: peer.network.name(),
            opened: peer.opened.map(seconds),
            seen: seconds(peer.seen),
            inbound: peer.inbound.rates(second),
            outbound: peer.outbound.rates(second),
            ping: peer.ping.map(|it| it.as_secs_f64()),
            min_ping: peer.min_ping.map(|it| it.as_secs_f64()),
            user_agent: peer.user_agent.clone(),
            offences: peer.offences,
        };
        self.connected.iter().map(row).collect()
    }

    fn enter(&mut self, moment: Moment, peer_id: i64, peer: Peer) {
        if self.connected.enter(moment, peer_id, peer).is_some() {
            self.dropped += 1;
        }
    }
}

impl Peer {
    fn new(time: Time, address: &str, connection_type: ConnectionType, network: Network) -> Self {
        Self {
            address: address.to_owned(),
            connection_type,
            network,
            opened: None,
            seen: time,
            inbound: Traffic::default(),
            outbound: Traffic::default(),
            user_agent: None,
            ping_sent: None,
            ping: None,
            min_ping: None,
            offences: 0,
        }
    }

    fn answered(&mut self, nonce: u64, now: Moment) {
        if let Some((_, sent)) = self.ping_sent.take_if(|(sent, _)| *sent == nonce) {
            let took = now.since(sent);
            self.ping = Some(took);
            self.min_ping = Some(self.min_ping.map_or(took, |least| least.min(took)));
        }
    }
}
