//! What several messages say together: a ping and its pong, a request and its response, an announcement and its block.
//! In: messages, connections that open and close, blocks being connected. Out: each to its state in `round_trips.rs`,
//! `requests.rs` and `relay.rs`.
//!
//! All of it belongs to one run of the node. What belongs to a peer ends when the peer's connection closes. Times are
//! those of the tracepoints, from when the node processed or queued one message to when it processed or queued the
//! other.

mod relay;
mod requests;
mod round_trips;

use std::time::Duration;

use self::{
    relay::Relay,
    requests::{Kind as Request, Requests, Responder},
    round_trips::RoundTrips,
};
use super::{
    Options,
    family::Registered,
    group::{Group, Shared, WHOLE},
    state::State,
};
use crate::{
    event::{
        Event, Kind, Moment,
        net::{Connection, Message, Meta},
        validation::Validation,
    },
    p2p,
    tracepoint::Tracepoints,
};

/// How often to look for entries that are too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of a block's header, and of the hash that `blocktxn` begins with.
const HEADER: u32 = 80;
const HASH: u32 = 32;

pub(super) struct Exchanges {
    round_trips: RoundTrips,
    requests: Requests,
    relay: Relay,
    swept: Moment,
}

impl Group for Exchanges {
    fn reads(options: &Options) -> Vec<(&'static str, u32)> {
        let whole = [
            "cmpctblock",
            "getblocktxn",
            "getdata",
            "getheaders",
            "headers",
            "inv",
            "notfound",
            "ping",
            "pong",
            "verack",
        ];
        let mut reads = whole.map(|command| (command, WHOLE)).to_vec();
        reads.extend([("block", HEADER), ("merkleblock", HEADER), ("blocktxn", HASH)]);
        // The whole transaction, to compute its hash.
        reads.extend(options.tx_response.then_some(("tx", WHOLE)));
        reads
    }

    fn new(options: &Options) -> Self {
        Self {
            round_trips: RoundTrips::new(options),
            requests: Requests::new(options),
            relay: Relay::new(options),
            swept: Moment(0),
        }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.round_trips.families.attach(attached, registered);
        self.requests.families.attach(attached, registered);
        self.relay.families.attach(attached, registered);
    }

    fn observe(&mut self, event: &Event<'_>, shared: &Shared) {
        let (now, state) = (event.moment, &shared.state);
        match &event.kind {
            Kind::Msg(message) => self.message(now, message, state),
            Kind::Conn { event: connection } => self.connection(now, connection, state),
            Kind::Validation { event: Validation::BlockConnected { hash, .. } } => {
                self.relay.connected(event.time, now, hash.0, shared.block().is_ahead);
            }
            Kind::Mempool { .. } | Kind::Utxocache { .. } | Kind::CoinSelection { .. } | Kind::Lost(_) => {}
        }
    }

    fn node_gone(&mut self) {
        self.round_trips.node_gone();
        self.requests.node_gone();
        self.relay.node_gone();
    }
}

impl Exchanges {
    fn message(&mut self, now: Moment, Message { meta, msg, .. }: &Message<'_>, state: &State) {
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.sweep(now, state);
        }
        if meta.inbound { self.heard(now, meta, msg, state) } else { self.said(now, meta, msg, state) }
    }

    /// The node processed a message: a request of a peer begins, or one of the node's requests is answered.
    fn heard(&mut self, now: Moment, meta: &Meta<'_>, msg: &p2p::Message<'_>, state: &State) {
        use p2p::Message::*;
        let peer = meta.peer_id;
        match msg {
            Pong { value } => self.round_trips.pong(now, meta, *value),
            Verack(_) => self.round_trips.verack(now, meta),
            Inv { items } => self.relay.inv(now, peer, *items, state),
            Headers { headers } => {
                if !self.requests.headers(now, Responder::Peer, peer, headers) {
                    self.relay.headers(now, peer, headers, state);
                }
            }
            Compactblock { header, nonce: _, short_ids: _, transactions: _ } => {
                let hash = header.block_hash();
                let solicited = self.requests.answered(now, Request::GetdataBlock, Responder::Peer, peer, hash);
                self.relay.compact_block(now, peer, header, hash, !solicited, state);
            }
            Block { header, transactions: _ } | HeaderOnly { command: "block", header } => {
                let hash = header.block_hash();
                self.requests.block(now, Responder::Peer, peer, hash);
                self.relay.whole_block(header, hash);
            }
            other => self.either_way(now, meta, other),
        }
    }

    /// The node queued a message: a request of the node begins, or one of a peer's requests is answered.
    fn said(&mut self, now: Moment, meta: &Meta<'_>, msg: &p2p::Message<'_>, state: &State) {
        use p2p::Message::*;
        let peer = meta.peer_id;
        match msg {
            Ping { value } => self.round_trips.ping(now, meta, *value, state),
            Headers { headers } => {
                self.requests.headers(now, Responder::Node, peer, headers);
            }
            Compactblock { header, nonce: _, short_ids: _, transactions: _ } => {
                self.requests.answered(now, Request::GetdataBlock, Responder::Node, peer, header.block_hash());
            }
            Block { header, transactions: _ } | HeaderOnly { command: "block", header } => {
                self.requests.block(now, Responder::Node, peer, header.block_hash());
            }
            Getblocktxn { block_hash, tx_indexes: _ } => {
                self.relay.transactions_requested(*block_hash);
                self.either_way(now, meta, msg);
            }
            other => self.either_way(now, meta, other),
        }
    }

    /// Messages that are a request or a response whichever side sends them.
    fn either_way(&mut self, now: Moment, meta: &Meta<'_>, msg: &p2p::Message<'_>) {
        use p2p::Message::*;
        let peer = meta.peer_id;
        let (asked, answers) = match meta.inbound {
            true => (Responder::Node, Responder::Peer),
            false => (Responder::Peer, Responder::Node),
        };
        match msg {
            Getdata { items } => self.requests.getdata(now, asked, peer, *items),
            Notfound { items } => self.requests.notfound(answers, peer, *items),
            Tx { tx } => self.requests.tx(now, answers, peer, tx),
            Merkleblock { header, num_transactions: _, bits: _, hashes: _ } | HeaderOnly { command: _, header } => {
                self.requests.answered(now, Request::GetdataBlock, answers, peer, header.block_hash());
            }
            Getheaders { version: _, locator_hashes, stop_hash } => {
                self.requests.getheaders(now, asked, peer, locator_hashes, *stop_hash);
            }
            Getblocktxn { block_hash, tx_indexes: _ } => {
                self.requests.asked(now, Request::Getblocktxn, asked, peer, *block_hash);
            }
            Blocktxn { block_hash, transactions: _ } | BlockHashOnly { command: _, block_hash } => {
                self.requests.answered(now, Request::Getblocktxn, answers, peer, *block_hash);
            }
            // Handled above, or part of no exchange that is followed.
            Ping { .. }
            | Pong { .. }
            | Verack(_)
            | Inv { .. }
            | Headers { .. }
            | Compactblock { .. }
            | Block { .. }
            | Version { .. }
            | Sendheaders(_)
            | Getaddr(_)
            | Mempool(_)
            | Wtxidrelay(_)
            | Sendaddrv2(_)
            | Filterclear(_)
            | Emptyaddrv2(_)
            | Oldping(_)
            | Addr { .. }
            | Addrv2 { .. }
            | Getblocks { .. }
            | Feefilter { .. }
            | Alert { .. }
            | Sendcompact { .. }
            | Feature { .. }
            | Sendtxrcncl { .. }
            | Reject { .. }
            | Filteradd { .. }
            | Filterload { .. }
            | Getcfilter { .. }
            | Getcfheaders { .. }
            | Getcfcheckpt { .. }
            | Cfilter { .. }
            | Cfheaders { .. }
            | Cfcheckpt { .. }
            | Unknown { .. }
            | Undecodable { .. }
            | Unavailable { .. } => {}
        }
    }

    fn connection(&mut self, now: Moment, connection: &Connection<'_>, state: &State) {
        match connection {
            Connection::Inbound { conn, existing_connections: _ }
            | Connection::Outbound { conn, existing_connections: _ } => {
                self.round_trips.opened(now, conn.peer_id, state);
            }
            Connection::Closed { conn, time_established: _ } => {
                self.round_trips.closed(conn.peer_id);
                self.requests.closed(conn.peer_id);
                self.relay.closed(conn.peer_id);
            }
            Connection::InboundEvicted { .. } | Connection::Misbehaving { .. } => {}
        }
    }

    fn sweep(&mut self, now: Moment, state: &State) {
        self.swept = now;
        self.round_trips.sweep(now, state);
        self.requests.sweep(now);
        self.relay.sweep(now, state);
    }
}
