//! What will happen later: answers of peers on their way, and work of the node that takes time. In: what will happen
//! and when, counted in fired events, so that runs of the same seed are alike at any rate. Out: what is due.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use bitcoin::{BlockHash, p2p::message_blockdata::Inventory};

use crate::{chain::Block, mempool::Entry, peers::Place};

/// What will happen.
pub(crate) enum Due {
    /// Something that the peer with this id does, unless it is gone by then.
    OfPeer(i64, OfPeer),
    OfNode(OfNode),
}

/// What a peer does.
pub(crate) enum OfPeer {
    /// Sends its version, and whether it goes on after that.
    Version {
        goes_on: bool,
    },
    Verack,
    /// Sends the requested addresses.
    Addresses,
    /// Answers the ping with this nonce.
    Pong(u64),
    /// Answers with the headers after this block.
    Headers {
        after: BlockHash,
    },
    /// Has not answered getheaders; the node asks again.
    HeadersAskedAgain,
    Transactions(Vec<Entry>),
    /// Says that it does not have what was requested.
    NoTransactions(Vec<Inventory>),
    /// Sends the parent that an orphan lacks.
    Parent(Box<Family>),
    /// Requests what the node broadcasts through it.
    BroadcastAsked(Box<Entry>),
    /// A step of the arriving block.
    Block(BlockStep),
    /// Sends the blocks that win against the tip.
    Branch(Box<Branch>),
    /// Closes the connection.
    Leaves,
    /// Drops the connection because it does not know its transport; the node will try the old one.
    DropsTransport,
}

/// A transaction and what it spends.
pub(crate) struct Family {
    pub(crate) parent: Entry,
    pub(crate) child: Entry,
}

/// A block and the one on top of it.
pub(crate) struct Branch {
    pub(crate) rival: Block,
    pub(crate) child: Block,
}

/// Another block of the same height as an arriving one.
pub(crate) struct Rival {
    pub(crate) block: Block,
    /// The next block will be on it.
    pub(crate) wins: bool,
}

/// What comes from the peer that sends the block.
#[derive(Clone, Copy)]
pub(crate) enum BlockStep {
    Header,
    Compact,
    Transactions,
    Whole,
}

/// What the node does, or what happens to it.
pub(crate) enum OfNode {
    /// The arriving block is checked and connected.
    Connects,
    /// One more peer announces the newest block.
    HearsOfBlock,
    /// A block comes too late against one of its height.
    HearsOfRival(Box<Rival>),
    /// A block comes on top of that one.
    HearsOfBranch(Box<Block>),
    /// Connects in the old transport.
    FallsBack(Place),
}

struct Task {
    at: u64,
    /// Keeps entries with the same time in order.
    number: u64,
    due: Due,
}

impl Task {
    fn key(&self) -> (u64, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Task {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Task {}

impl PartialOrd for Task {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Task {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// What will happen, by time.
#[derive(Default)]
pub(crate) struct Queue {
    tasks: BinaryHeap<Reverse<Task>>,
    next_number: u64,
}

impl Queue {
    /// `due` happens when `at` events have been fired, or soon after.
    pub(crate) fn push(&mut self, at: u64, due: Due) {
        self.tasks.push(Reverse(Task { at, number: self.next_number, due }));
        self.next_number += 1;
    }

    /// What is due after this many events.
    #[inline]
    pub(crate) fn pop(&mut self, fired: u64) -> Option<Due> {
        if self.tasks.peek()?.0.at > fired {
            return None;
        }
        self.tasks.pop().map(|task| task.0.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_by_time_and_then_in_order() {
        let mut queue = Queue::default();
        for (at, nonce) in [(7, 1), (5, 2), (7, 3), (9, 4)] {
            queue.push(at, Due::OfPeer(0, OfPeer::Pong(nonce)));
        }
        let mut nonces = Vec::new();
        while let Some(Due::OfPeer(_, OfPeer::Pong(nonce))) = queue.pop(8) {
            nonces.push(nonce);
        }
        assert_eq!(nonces, [2, 1, 3]);
        assert!(queue.pop(9).is_some() && queue.pop(u64::MAX).is_none());
    }
}
