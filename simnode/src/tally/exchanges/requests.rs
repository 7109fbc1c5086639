//! Requests, from asking to their end. In: messages with their senders. Out: the counters of `requests`.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hash, Hasher},
};

use super::wire;
use crate::{
    names::{Direction, Request, Responder},
    peers::Peer,
    tally::report::ExchangesTally,
};

/// Something that was asked for.
#[derive(PartialEq, Eq)]
struct Open {
    peer: i64,
    responder: Responder,
    request: Request,
    hash: [u8; 32],
}

impl Hash for Open {
    /// The requested item is already a hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.hash;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ self.peer.cast_unsigned());
    }
}

/// Uses the one number of [`Open`] as it is: a fast run hashes thousands.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// What kind of message comes with a block's hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// block
    Whole,
    /// cmpctblock or merkleblock
    Part,
    /// blocktxn
    Transactions,
}

#[derive(Default)]
pub(super) struct Requests {
    open: HashSet<Open, BuildHasherDefault<AsItIs>>,
    /// The locators of open getheaders.
    locators: HashMap<(i64, Responder), Vec<[u8; 32]>>,
}

/// Who answers requests sent in this direction.
fn responder_to(asked: Direction) -> Responder {
    match asked {
        Direction::Inbound => Responder::Node,
        Direction::Outbound => Responder::Peer,
    }
}

/// Who answers in this direction.
fn responder_of(answered: Direction) -> Responder {
    match answered {
        Direction::Inbound => Responder::Peer,
        Direction::Outbound => Responder::Node,
    }
}

/// What an item asks for, if it is known.
fn request_of(kind: u32) -> Option<Request> {
    match kind & !wire::WITNESS {
        wire::TX | wire::WTX => Some(Request::GetdataTx),
        wire::BLOCK | wire::FILTERED_BLOCK | wire::CMPCT_BLOCK => Some(Request::GetdataBlock),
        _ => None,
    }
}

impl Requests {
    pub(super) fn getdata(&mut self, direction: Direction, peer: &Peer, payload: &[u8]) {
        let responder = responder_to(direction);
        for (kind, hash) in wire::items(payload) {
            if let Some(request) = request_of(kind) {
                self.open.insert(Open { peer: peer.id, responder, request, hash });
            }
        }
    }

    pub(super) fn notfound(&mut self, direction: Direction, peer: &Peer, payload: &[u8], counts: &mut ExchangesTally) {
        let responder = responder_of(direction);
        for (kind, hash) in wire::items(payload) {
            if let Some(request) = request_of(kind)
                && self.open.remove(&Open { peer: peer.id, responder, request, hash })
            {
                counts.request(request, responder).notfound += 1;
            }
        }
    }

    pub(super) fn transaction(
        &mut self,
        direction: Direction,
        peer: &Peer,
        txid: &[u8; 32],
        wtxid: &[u8; 32],
        counts: &mut ExchangesTally,
    ) {
        // Without witnesses both are the same, and the second finds nothing.
        for hash in [wtxid, txid] {
            self.answer(direction, peer, Request::GetdataTx, hash, counts);
        }
    }

    pub(super) fn getblocktxn(&mut self, direction: Direction, peer: &Peer, hash: &[u8; 32]) {
        let responder = responder_to(direction);
        self.open.insert(Open { peer: peer.id, responder, request: Request::Getblocktxn, hash: *hash });
    }

    /// Whether a getdata requested what has come of a block.
    pub(super) fn block(
        &mut self,
        direction: Direction,
        peer: &Peer,
        what: Answer,
        hash: &[u8; 32],
        counts: &mut ExchangesTally,
    ) -> bool {
        if what != Answer::Part {
            self.answer(direction, peer, Request::Getblocktxn, hash, counts);
        }
        what != Answer::Transactions && self.answer(direction, peer, Request::GetdataBlock, hash, counts)
    }

    fn answer(
        &mut self,
        direction: Direction,
        peer: &Peer,
        request: Request,
        hash: &[u8; 32],
        counts: &mut ExchangesTally,
    ) -> bool {
        let responder = responder_of(direction);
        let was_open = self.open.remove(&Open { peer: peer.id, responder, request, hash: *hash });
        if was_open {
            counts.request(request, responder).answered += 1;
        }
        was_open
    }

    pub(super) fn getheaders(
        &mut self,
        direction: Direction,
        peer: &Peer,
        payload: &[u8],
        counts: &mut ExchangesTally,
    ) {
        let responder = responder_to(direction);
        if self.locators.insert((peer.id, responder), wire::locator(payload)).is_some() {
            counts.request(Request::Getheaders, responder).repeated += 1;
        }
    }

    /// Whether the headers are requested ones: none, or headers after a block of the locator.
    pub(super) fn headers(
        &mut self,
        direction: Direction,
        peer: &Peer,
        payload: &[u8],
        counts: &mut ExchangesTally,
    ) -> bool {
        let key = (peer.id, responder_of(direction));
        let Some(locator) = self.locators.get(&key) else { return false };
        if wire::headers(payload).next().is_some_and(|first| !locator.contains(&wire::previous(first))) {
            return false;
        }
        self.locators.remove(&key);
        counts.request(Request::Getheaders, key.1).answered += 1;
        true
    }

    pub(super) fn closed(&mut self, peer: &Peer, counts: &mut ExchangesTally) {
        for open in self.open.extract_if(|open| open.peer == peer.id) {
            counts.request(open.request, open.responder).closed += 1;
        }
        for &responder in Responder::ALL {
            if self.locators.remove(&(peer.id, responder)).is_some() {
                counts.request(Request::Getheaders, responder).closed += 1;
            }
        }
    }

    pub(super) fn finish(self, counts: &mut ExchangesTally) {
        for open in self.open {
            counts.request(open.request, open.responder).open += 1;
        }
        for (_, responder) in self.locators.into_keys() {
            counts.request(Request::Getheaders, responder).open += 1;
        }
    }
}
