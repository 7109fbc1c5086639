//! Who is connected now, and what each does. In: messages and connection events of one run of the node. Out: a row for each.
//!
//! A message may come before the opening of its connection or after its closing, and either may be lost: so peers are told apart
//! by the node's number, which is never used twice in a run.

use std::{collections::BTreeMap, time::Duration};

use super::{
    rates::{Rates, Traffic},
    seconds,
};
use crate::{
    event::{
        Moment, Time,
        net::{Conn, ConnectionType, Message},
    },
    metrics::cut,
    network::Network,
    p2p,
    table::Table,
};

/// Peers that are kept; the node's own default is 125. The one with the lowest number goes when one more comes.
pub(super) const MOST: usize = 4096;
const MOST_CLOSED: usize = 4096;
/// How long a closed peer is remembered, so that its last messages do not bring it back.
const CLOSED_FOR: Duration = Duration::from_secs(60);
/// A peer that was silent for so long is gone and its closing lost: Bitcoin Core closes a connection that is silent for 20
/// minutes.
const SILENT_FOR: Duration = Duration::from_secs(30 * 60);
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Bytes of a user agent that are kept: Bitcoin Core's MAX_SUBVERSION_LENGTH.
const USER_AGENT: usize = 256;

#[derive(Debug)]
pub(super) struct Peers {
    open: BTreeMap<i64, Peer>,
    closed: Table<i64, ()>,
    /// Whether messages of both directions come, so that silence means something.
    pub(super) hears_messages: bool,
    looked_for_silent: Moment,
    dropped: u64,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: String,
    pub(super) connection_type: ConnectionType,
    pub(super) network: Network,
    opened: Option<Time>,
    seen: Time,
    last_heard: Moment,
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
    /// When it was opened, UNIX time in seconds; `None` if that was not seen.
    pub opened: Option<f64>,
    /// When it was seen first.
    pub seen: f64,
    /// From the peer.
    pub inbound: Rates,
    /// To the peer.
    pub outbound: Rates,
    /// Round trip of the node's last ping that was answered, in seconds.
    pub ping: Option<f64>,
    /// The shortest.
    pub min_ping: Option<f64>,
    /// The peer's software, as it says itself (BIP 14): any text. `None` if its version message was not seen.
    pub user_agent: Option<String>,
    /// How often the node called it misbehaving.
    pub offences: u32,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            closed: Table::new(MOST_CLOSED, CLOSED_FOR),
            hears_messages: false,
            looked_for_silent: Moment::default(),
            dropped: 0,
        }
    }
}

impl Peers {
    pub(super) fn message(&mut self, time: Time, moment: Moment, second: u64, message: &Message<'_>) {
        let meta = &message.meta;
        let peer = match self.open.get_mut(&meta.peer_id) {
            Some(peer) => peer,
            None => {
                let network = Network::from_address(&meta.addr, meta.conn_type);
                self.enter(moment, meta.peer_id, Peer::new(time, moment, &meta.addr, meta.conn_type, network));
                let Some(peer) = self.open.get_mut(&meta.peer_id) else { return };
                peer
            }
        };
        peer.last_heard = moment;
        let traffic = if meta.inbound { &mut peer.inbound } else { &mut peer.outbound };
        traffic.count(second, meta.size);
        match (&message.msg, meta.inbound) {
            (p2p::Message::Version { user_agent, .. }, true) => {
                peer.user_agent = Some(cut(user_agent, USER_AGENT).to_owned());
            }
            (p2p::Message::Ping { value }, false) => peer.ping_sent = Some((*value, moment)),
            (p2p::Message::Pong { value }, true) => peer.answered(*value, moment),
            _ => {}
        }
    }

    /// An opening, which knows better than a message did.
    pub(super) fn opened(&mut self, time: Time, moment: Moment, conn: &Conn<'_>) {
        let network = Network::from_number(conn.network);
        let mut peer = Peer::new(time, moment, &conn.addr, conn.conn_type, network);
        peer.opened = Some(time);
        if let Some(before) = self.open.remove(&conn.peer_id) {
            let Peer { address, connection_type, network, opened, .. } = peer;
            peer = Peer { address, connection_type, network, opened, ..before };
        }
        self.enter(moment, conn.peer_id, peer);
    }

    pub(super) fn closed(&mut self, moment: Moment, peer_id: i64) -> Option<Peer> {
        while self.closed.pop_old(moment).is_some() {}
        self.closed.insert(moment, peer_id, ());
        self.open.remove(&peer_id)
    }

    pub(super) fn misbehaved(&mut self, peer_id: i64) -> Option<&Peer> {
        let peer = self.open.get_mut(&peer_id)?;
        peer.offences += 1;
        Some(peer)
    }

    /// The node has ended, and its numbers with it. How many fell out is told on.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.closed.clear();
    }

    /// A second begins.
    pub(super) fn begin(&mut self, second: u64, now: Moment) {
        for peer in self.open.values_mut() {
            peer.inbound.begin(second);
            peer.outbound.begin(second);
        }
        if self.hears_messages && now.since(self.looked_for_silent) >= LOOK_EVERY {
            self.looked_for_silent = now;
            let before = self.open.len();
            self.open.retain(|_, peer| now.since(peer.last_heard) < SILENT_FOR);
            self.dropped += (before - self.open.len()) as u64;
        }
    }

    /// Peers that fell out since there were too many, or were silent for too long.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn rows(&self, second: u64, hides_addresses: bool) -> Vec<Row> {
        let row = |(&id, peer): (&i64, &Peer)| Row {
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
        self.open.iter().map(row).collect()
    }

    fn enter(&mut self, moment: Moment, peer_id: i64, peer: Peer) {
        while self.closed.pop_old(moment).is_some() {}
        if self.closed.get(&peer_id).is_some() {
            return;
        }
        self.open.insert(peer_id, peer);
        if self.open.len() > MOST {
            self.open.pop_first();
            self.dropped += 1;
        }
    }
}

impl Peer {
    fn new(time: Time, moment: Moment, address: &str, connection_type: ConnectionType, network: Network) -> Self {
        Self {
            address: address.to_owned(),
            connection_type,
            network,
            opened: None,
            seen: time,
            last_heard: moment,
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
