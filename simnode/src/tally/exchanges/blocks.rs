//! Blocks from their first mention to their connection. In: hashes. Out: the counters of `compact_blocks`,
//! `announced_blocks_connected` and `reorganised_blocks`.

use std::collections::{HashMap, HashSet, VecDeque};

use super::wire;
use crate::tally::report::ExchangesTally;

/// How many connected blocks, and how many others, to remember. No block is mentioned for that long.
const REMEMBERED: usize = 2_000;

/// What was heard of a block that is not connected.
#[derive(Clone, Copy, Default)]
struct Heard {
    announced: bool,
    compact: bool,
    transactions_requested: bool,
    whole: bool,
}

#[derive(Default)]
pub(super) struct Blocks {
    heard: HashMap<[u8; 32], Heard>,
    /// The order in which they were first mentioned; some are connected by now.
    order: VecDeque<[u8; 32]>,
    connected: HashSet<[u8; 32]>,
    connected_order: VecDeque<[u8; 32]>,
    /// Compact blocks that are no longer remembered.
    unfinished: u64,
    highest: Option<i32>,
}

impl Blocks {
    /// Notes something of a block, unless it is connected already.
    fn note(&mut self, hash: &[u8; 32], what: impl FnOnce(&mut Heard)) {
        if self.connected.contains(hash) {
            return;
        }
        if let Some(heard) = self.heard.get_mut(hash) {
            return what(heard);
        }
        what(self.heard.entry(*hash).or_default());
        self.order.push_back(*hash);
        if self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front().and_then(|oldest| self.heard.remove(&oldest));
            self.unfinished += u64::from(oldest.is_some_and(|oldest| oldest.compact));
        }
    }

    pub(super) fn announced(&mut self, hash: &[u8; 32]) {
        self.note(hash, |heard| heard.announced = true);
    }

    pub(super) fn inv(&mut self, payload: &[u8]) {
        for (kind, hash) in wire::items(payload) {
            if kind == wire::BLOCK {
                self.announced(&hash);
            }
        }
    }

    pub(super) fn came_compact(&mut self, hash: &[u8; 32], unsolicited: bool) {
        self.note(hash, |heard| {
            heard.compact = true;
            heard.announced |= unsolicited;
        });
    }

    pub(super) fn came_whole(&mut self, hash: &[u8; 32]) {
        self.note(hash, |heard| heard.whole = true);
    }

    pub(super) fn transactions_requested(&mut self, hash: &[u8; 32]) {
        self.note(hash, |heard| heard.transactions_requested = true);
    }

    pub(super) fn connected(&mut self, hash: &[u8; 32], height: i32, counts: &mut ExchangesTally) {
        let heard = self.heard.remove(hash).unwrap_or_default();
        let is_highest = self.highest.is_none_or(|highest| height > highest);
        self.highest = self.highest.max(Some(height));
        counts.announced_blocks_connected += u64::from(heard.announced && is_highest);
        counts.reorganised_blocks += u64::from(!is_highest);
        if heard.compact {
            let results = &mut counts.compact_blocks;
            let result = match heard {
                Heard { whole: true, .. } => &mut results.full_block,
                Heard { transactions_requested: true, .. } => &mut results.requested_transactions,
                _ => &mut results.from_mempool,
            };
            *result += 1;
        }
        if self.connected.insert(*hash) {
            self.connected_order.push_back(*hash);
        }
        if self.connected_order.len() > REMEMBERED
            && let Some(oldest) = self.connected_order.pop_front()
        {
            self.connected.remove(&oldest);
        }
    }

    pub(super) fn finish(self, counts: &mut ExchangesTally) {
        let open = self.heard.values().filter(|heard| heard.compact).count();
        counts.compact_blocks.unfinished += self.unfinished + open as u64;
    }
}
