//! What comes later: pongs, headers, and everything else that is due. In: the node's queue. Out: each entry to the step
//! that does it.

use bitcoin::{BlockHash, p2p::message::NetworkMessage};

use crate::{
    due::{Due, OfNode, OfPeer},
    names::{Command, ConnectionType, Direction},
    node::{Node, Step},
    payload,
};

/// One in this many pings to inbound peers is never answered.
const PINGS: u64 = 200;
/// How long the node waits, in events, for a pong before it gives up, and for headers before it asks again. Bitcoin
/// Core waits for 20 and for 2 minutes.
const PONG_PATIENCE: u64 = 1_500;
const HEADERS_PATIENCE: u64 = 1_500;

impl Node<'_, '_> {
    /// Does what is due by now.
    pub(super) fn do_what_is_due(&mut self) -> Step {
        while let Some(due) = self.queue.pop(self.emitter.fired()) {
            match due {
                Due::OfNode(what) => self.node_does(what)?,
                Due::OfPeer(id, what) => match self.find_peer(id) {
                    Some(peer) => self.peer_does(peer, what)?,
                    None => self.gone_peer_does_not(what)?,
                },
            }
        }
        Ok(())
    }

    fn node_does(&mut self, what: OfNode) -> Step {
        match what {
            OfNode::Connects => self.block_connects(),
            OfNode::HearsOfBlock => self.hear_of_block(),
            OfNode::HearsOfRival(rival) => self.hear_of_rival(*rival),
            OfNode::HearsOfBranch(rival) => self.hear_of_branch(*rival),
            OfNode::FallsBack(place) => self.fall_back(place),
        }
    }

    fn peer_does(&mut self, peer: usize, what: OfPeer) -> Step {
        match what {
            OfPeer::Version { goes_on } => self.version_comes(peer, goes_on),
            OfPeer::Verack => self.peer_verack(peer),
            OfPeer::Addresses => self.addresses_come(peer),
            OfPeer::Pong(nonce) => self.pong(peer, nonce),
            OfPeer::Headers { after } => self.headers_come(peer, after),
            OfPeer::HeadersAskedAgain => self.ask_for_headers_again(peer),
            OfPeer::Transactions(entries) => self.transactions_come(peer, &entries),
            OfPeer::NoTransactions(items) => self.transactions_do_not_come(peer, &items),
            OfPeer::Parent(family) => self.parent_comes(peer, &family),
            OfPeer::BroadcastAsked(entry) => self.broadcast_asked(peer, &entry),
            OfPeer::Block(step) => self.block_goes_on(peer, step),
            OfPeer::Branch(branch) => self.branch_comes(peer, *branch),
            OfPeer::Leaves => self.leave(peer),
            OfPeer::DropsTransport => self.transport_dropped(peer),
        }
    }

    /// The further effects if a peer is gone before it has done its part.
    fn gone_peer_does_not(&mut self, what: OfPeer) -> Step {
        match what {
            OfPeer::Block(_) => self.fetch_block_elsewhere(),
            OfPeer::Version { .. }
            | OfPeer::Verack
            | OfPeer::Addresses
            | OfPeer::Pong(_)
            | OfPeer::Headers { .. }
            | OfPeer::HeadersAskedAgain
            | OfPeer::Transactions(_)
            | OfPeer::NoTransactions(_)
            | OfPeer::Parent(_)
            | OfPeer::BroadcastAsked(_)
            | OfPeer::Branch(_)
            | OfPeer::Leaves
            | OfPeer::DropsTransport => Ok(()),
        }
    }

    /// A ping of the node, unless one is open. The peer answers it later; one in many never does.
    pub(super) fn ping(&mut self, peer: usize) -> Step {
        if self.peers[peer].pinged {
            return Ok(());
        }
        let nonce = self.rng.u64(1..);
        self.send(peer, Command::Ping, &nonce)?;
        self.peers[peer].pinged = true;
        let inbound = self.peers[peer].connection_type == ConnectionType::Inbound;
        self.done.inbound_pings += u64::from(inbound);
        if inbound && self.done.inbound_pings % PINGS == PINGS / 4 {
            self.expect_in(PONG_PATIENCE, peer, OfPeer::Leaves);
        } else {
            self.expect(peer, OfPeer::Pong(nonce));
        }
        Ok(())
    }

    fn pong(&mut self, peer: usize, nonce: u64) -> Step {
        self.hear(peer, Command::Pong, &nonce)?;
        self.peers[peer].pinged = false;
        if self.peers[peer].connection_type == ConnectionType::PrivateBroadcast {
            return self.close(peer);
        }
        Ok(())
    }

    /// A ping of the peer, with the node's answer. Software other than Bitcoin Core counts its pings.
    pub(super) fn answer_ping(&mut self, peer: usize) -> Step {
        let nonce = match self.rng.u8(..32) {
            0 => 0,
            1 => self.rng.u64(1..1 << 8),
            2 => self.rng.u64(1 << 8..1 << 16),
            3 => self.rng.u64(1 << 16..1 << 32),
            _ => self.rng.u64(1 << 32..),
        };
        self.hear(peer, Command::Ping, &nonce)?;
        self.send(peer, Command::Pong, &nonce)
    }

    /// Asks for the headers after the block before the tip, unless the peer still has to answer. Some peers answer only
    /// the second request; some leave without an answer.
    pub(super) fn ask_for_headers(&mut self, peer: usize) -> Step {
        if self.peers[peer].headers_asked {
            return Ok(());
        }
        let number = self.done.headers_asked;
        self.done.headers_asked += 1;
        let getheaders = payload::getheaders(&self.chain, 1);
        self.send(peer, Command::Getheaders, &getheaders)?;
        self.peers[peer].headers_asked = true;
        let replaceable = self.peers[peer].connection_type == ConnectionType::OutboundFullRelay;
        if number % 16 == 5 {
            self.expect_in(HEADERS_PATIENCE, peer, OfPeer::HeadersAskedAgain);
        } else if number % 8 == 7 && replaceable {
            self.expect_in(HEADERS_PATIENCE, peer, OfPeer::Leaves);
        } else {
            let after = getheaders.locator_hashes[0];
            self.expect(peer, OfPeer::Headers { after });
        }
        Ok(())
    }

    fn ask_for_headers_again(&mut self, peer: usize) -> Step {
        let getheaders = payload::getheaders(&self.chain, 1);
        self.send(peer, Command::Getheaders, &getheaders)?;
        let after = getheaders.locator_hashes[0];
        self.expect(peer, OfPeer::Headers { after });
        Ok(())
    }

    /// The headers after `after`, or none from a peer that lags behind.
    fn headers_come(&mut self, peer: usize, after: BlockHash) -> Step {
        let headers = if self.rng.u8(..8) == 0 { Vec::new() } else { self.chain.headers_after(after) };
        self.peers[peer].headers_asked = false;
        self.hear(peer, Command::Headers, &NetworkMessage::Headers(headers))
    }

    /// The peer closes, or the node closes it for not answering. The node looks for another peer if it needs one.
    fn leave(&mut self, peer: usize) -> Step {
        let connection_type = self.peers[peer].connection_type;
        if connection_type == ConnectionType::Inbound && self.connections(Direction::Inbound) < 3 {
            return Ok(());
        }
        self.close(peer)?;
        if connection_type == ConnectionType::OutboundFullRelay {
            let place = self.outbound_place();
            let peer = self.open(ConnectionType::OutboundFullRelay, place)?;
            return self.meet(peer);
        }
        Ok(())
    }
}
