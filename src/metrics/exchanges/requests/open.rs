//! Requests that wait for their response, bounded in all and for each peer. In: a request, by its peer and what it asks for. Out:
//! when it was asked, once it is answered; and that it is not any more, if it waits for too long or there are too many.

use std::collections::BTreeMap;

use bitcoin::{BlockHash, hashes::Hash as _};

use super::{Kind, Responder};
use crate::{event::Moment, table::Table};

/// The peer, and what is asked for; zeros for headers.
pub(super) type Key = (i64, [u8; 32]);

/// What identifies a response, besides the key. Hashes are shortened.
#[derive(Clone, Debug)]
pub(super) enum Known {
    ByKey,
    /// Headers after one of these, a locator.
    After(Box<[u64]>),
    /// Headers that begin with this one, which a getheaders without a locator asks for.
    From(u64),
}

/// MAX_LOCATOR_SZ in Bitcoin Core, which closes the connection if there are more.
pub(super) const MOST_LOCATOR: usize = 101;

/// Its beginning. In internal byte order that is as good as random.
pub(super) fn shortened(hash: BlockHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.to_byte_array();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Requests that wait for their response.
pub(super) struct Open {
    table: Table<Key, Known>,
    /// How many of them each peer has.
    of_peer: BTreeMap<i64, usize>,
    most_of_peer: usize,
}

impl Open {
    pub(super) fn new(kind: Kind, responder: Responder) -> Self {
        // The node itself decides what it asks for.
        let most_of_peer = if responder == Responder::Node { kind.most() / 16 } else { kind.most() };
        Self { table: Table::new(kind.most(), kind.patience()), of_peer: BTreeMap::new(), most_of_peer }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Known> {
        self.table.get(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Enters one that does not wait yet. Returns whether there was room for it and for all that wait.
    pub(super) fn insert(&mut self, now: Moment, key: Key, known: Known) -> bool {
        let of_peer = self.of_peer.entry(key.0).or_default();
        if *of_peer >= self.most_of_peer {
            return false;
        }
        *of_peer += 1;
        let fallen_out = self.table.insert(now, key, known);
        if let Some(((peer, _), _)) = &fallen_out {
            self.forget(*peer);
        }
        fallen_out.is_none()
    }

    /// Removes one, and returns when it was asked.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Moment> {
        let (asked, _) = self.table.remove(key)?;
        self.forget(key.0);
        Some(asked)
    }

    /// Removes those of a peer, and returns how many.
    pub(super) fn remove_all(&mut self, peer: i64) -> usize {
        self.of_peer.remove(&peer);
        self.table.remove_all((peer, [0; 32])..=(peer, [0xff; 32]))
    }

    /// Removes the oldest, if it is too old.
    pub(super) fn pop_old(&mut self, now: Moment) -> bool {
        let old = self.table.pop_old(now);
        if let Some(((peer, _), _)) = &old {
            self.forget(*peer);
        }
        old.is_some()
    }

    /// Removes all, and returns how many.
    pub(super) fn clear(&mut self) -> usize {
        let open = self.table.len();
        self.table.clear();
        self.of_peer.clear();
        open
    }

    fn forget(&mut self, peer: i64) {
        if let Some(of_peer) = self.of_peer.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.of_peer.remove(&peer);
            }
        }
    }
}
