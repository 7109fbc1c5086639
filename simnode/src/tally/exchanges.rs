//! What several fired events say together: pings with their pongs, requests with their answers, blocks from
//! announcement to connection, connections that come back. In: each event right after it was fired, with its payload,
//! whatever the scenario meant by it. Out: an [`ExchangesTally`].

mod blocks;
mod connections;
mod requests;
mod wire;

use self::{
    blocks::Blocks,
    connections::Connections,
    requests::{Answer, Requests},
};
use super::report::ExchangesTally;
use crate::{
    names::{Command, Direction},
    peers::Peer,
};

/// What is open between the node and its peers.
#[derive(Default)]
pub(crate) struct Exchanges {
    requests: Requests,
    blocks: Blocks,
    connections: Connections,
    counts: ExchangesTally,
}

impl Exchanges {
    /// A message with a payload that decodes. Transactions come through [`Self::transaction`], where their ids are
    /// known.
    #[inline(always)]
    pub(crate) fn message(&mut self, direction: Direction, peer: &Peer, command: Command, payload: &[u8]) {
        // Inbound pings come by the million in a flood.
        if direction == Direction::Outbound || command != Command::Ping {
            self.read(direction, peer, command, payload);
        }
    }

    #[inline(never)]
    fn read(&mut self, direction: Direction, peer: &Peer, command: Command, payload: &[u8]) {
        use Direction::{Inbound, Outbound};
        match command {
            // The first message of every peer.
            Command::Version if direction == Inbound => self.connections.heard(peer),
            Command::Verack if direction == Inbound => self.connections.verack(peer, &mut self.counts),
            Command::Ping if direction == Outbound => self.connections.ping(peer, payload),
            Command::Pong if direction == Inbound => self.connections.pong(peer, payload, &mut self.counts),
            Command::Getdata => self.requests.getdata(direction, peer, payload),
            Command::Notfound => self.requests.notfound(direction, peer, payload, &mut self.counts),
            Command::Getheaders => self.requests.getheaders(direction, peer, payload, &mut self.counts),
            Command::Headers => self.headers(direction, peer, payload),
            Command::Getblocktxn => self.getblocktxn(direction, peer, payload),
            Command::Blocktxn => {
                self.requests.block(direction, peer, Answer::Transactions, &wire::hash(payload), &mut self.counts);
            }
            Command::Block | Command::Cmpctblock | Command::Merkleblock => {
                self.block(direction, peer, command, payload);
            }
            Command::Inv if direction == Inbound => self.blocks.inv(payload),
            Command::Tx
            | Command::Verack
            | Command::Ping
            | Command::Pong
            | Command::Inv
            | Command::Version
            | Command::Wtxidrelay
            | Command::Sendaddrv2
            | Command::Sendheaders
            | Command::Sendcmpct
            | Command::Feefilter
            | Command::Sendtxrcncl
            | Command::Feature
            | Command::Getblocks
            | Command::Getaddr
            | Command::Addr
            | Command::Addrv2
            | Command::Mempool
            | Command::Filterload
            | Command::Filteradd
            | Command::Filterclear
            | Command::Getcfilters
            | Command::Cfilter
            | Command::Getcfheaders
            | Command::Cfheaders
            | Command::Getcfcheckpt
            | Command::Cfcheckpt
            | Command::Alert
            | Command::Reject
            | Command::UnknownTwelve
            | Command::UnknownProtoconf
            | Command::UnknownShort => {}
        }
    }

    pub(crate) fn transaction(&mut self, direction: Direction, peer: &Peer, txid: &[u8; 32], wtxid: &[u8; 32]) {
        self.requests.transaction(direction, peer, txid, wtxid, &mut self.counts);
    }

    pub(crate) fn opened(&mut self, peer: &Peer, now: u32) {
        self.connections.opened(peer, now, &mut self.counts);
    }

    pub(crate) fn closed(&mut self, peer: &Peer, now: u32) {
        self.connections.closed(peer, now);
        self.requests.closed(peer, &mut self.counts);
    }

    pub(crate) fn connected(&mut self, hash: &[u8; 32], height: i32) {
        self.blocks.connected(hash, height, &mut self.counts);
    }

    /// What is open now stays open.
    pub(crate) fn finish(mut self) -> ExchangesTally {
        self.requests.finish(&mut self.counts);
        self.blocks.finish(&mut self.counts);
        self.counts
    }

    fn headers(&mut self, direction: Direction, peer: &Peer, payload: &[u8]) {
        let answers = self.requests.headers(direction, peer, payload, &mut self.counts);
        if direction == Direction::Inbound && !answers {
            for header in wire::headers(payload) {
                self.blocks.announced(&wire::header_hash(header));
            }
        }
    }

    fn getblocktxn(&mut self, direction: Direction, peer: &Peer, payload: &[u8]) {
        let hash = wire::hash(payload);
        self.requests.getblocktxn(direction, peer, &hash);
        if direction == Direction::Outbound {
            self.blocks.transactions_requested(&hash);
        }
    }

    fn block(&mut self, direction: Direction, peer: &Peer, command: Command, payload: &[u8]) {
        let hash = wire::header_hash(payload);
        let answer = if command == Command::Block { Answer::Whole } else { Answer::Part };
        let answers = self.requests.block(direction, peer, answer, &hash, &mut self.counts);
        match (direction, command) {
            (Direction::Inbound, Command::Block) => self.blocks.came_whole(&hash),
            (Direction::Inbound, Command::Cmpctblock) => self.blocks.came_compact(&hash, !answers),
            _ => {}
        }
    }
}
