//! Where the chain is. In: each block that Bitcoin Core connects; Bitcoin Core does not say to which chain. Out: the
//! tip, and how many blocks a reorganisation connected anew.
//!
//! Not only reorganisations connect blocks below the tip: background validation (after loadtxoutset) goes through the
//! old ones for days, and verifychain at level 4 through the last ones. So a lower branch becomes the chain in two
//! cases only. First, it is as high as the chain, which background validation never is, and has another block than the
//! known one, which verifychain never has. Second, the chain stands still for long, as after invalidateblock.

use std::{collections::VecDeque, time::Duration};

use crate::event::{Moment, Time};

/// A chain without a block for this long may have been given up for a lower one.
const STANDS_STILL: Duration = Duration::from_secs(60 * 60);

/// How many blocks of a branch to know by their hash. The deepest reorganisation of mainnet had 53.
const KNOWN: usize = 288;

/// A connected block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) height: i64,
    pub(crate) hash: [u8; 32],
    /// When it was connected, by both clocks.
    pub(crate) time: Time,
    pub(crate) moment: Moment,
}

/// What a block turns out to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Connected {
    /// It is above the previous tip.
    pub(crate) is_ahead: bool,
    /// How many blocks, this one and earlier ones, have replaced others, as is now known.
    pub(crate) reorganised: u64,
}

/// The chain in one run of the node.
#[derive(Debug, Default)]
pub(crate) struct BestChain {
    best: Option<Branch>,
    /// The last blocks that were not above `best`.
    lower: Option<Lower>,
}

#[derive(Debug)]
struct Lower {
    branch: Branch,
    /// Blocks came on top of the chain in the meantime, so the node does not follow this branch.
    is_background: bool,
    /// The chain stands still, and this branch counts as the node's.
    is_taken: bool,
}

/// Blocks, each on top of the previous one.
#[derive(Debug)]
struct Branch {
    first: i64,
    tip: Block,
    /// The last blocks, including the tip.
    hashes: VecDeque<[u8; 32]>,
}

impl BestChain {
    /// The last block of the chain, if one has been connected.
    pub(crate) fn tip(&self) -> Option<&Block> {
        let taken = self.lower.as_ref().filter(|lower| lower.is_taken).map(|lower| &lower.branch);
        taken.or(self.best.as_ref()).map(|branch| &branch.tip)
    }

    /// Takes in the next block.
    pub(crate) fn connect(&mut self, block: Block) -> Connected {
        let is_ahead = self.tip().is_none_or(|tip| block.height > tip.height);
        Connected { is_ahead, reorganised: self.reorganised_by(block) }
    }

    fn reorganised_by(&mut self, block: Block) -> u64 {
        let Some(best) = &mut self.best else {
            self.best = Some(Branch::start(block));
            return 0;
        };
        if best.has(&block) {
            // It is verified again, or the node has come back to it.
            self.lower.take_if(|lower| lower.branch.takes(&block));
            return 0;
        }
        if block.height > best.tip.height {
            best.push(block);
            if let Some(lower) = &mut self.lower {
                (lower.is_background, lower.is_taken) = (true, false);
            }
            return 0;
        }
        let mut lower = match self.lower.take() {
            Some(mut lower) if lower.branch.takes(&block) => {
                lower.branch.push(block);
                lower
            }
            _ => Lower { branch: Branch::start(block), is_background: false, is_taken: false },
        };
        if block.height == best.tip.height {
            let reorganised = lower.branch.height_from_first();
            self.best = Some(lower.branch);
            return reorganised;
        }
        lower.is_taken |= !lower.is_background && block.moment.since(best.tip.moment) >= STANDS_STILL;
        self.lower = Some(lower);
        0
    }
}

impl Branch {
    fn start(block: Block) -> Self {
        Self { first: block.height, tip: block, hashes: [block.hash].into() }
    }

    /// Whether the block is on top of this branch, or replaces one of its blocks.
    fn takes(&self, block: &Block) -> bool {
        (self.first..=self.tip.height.saturating_add(1)).contains(&block.height)
    }

    /// If it does not fit, others were not seen, and the branch begins anew.
    fn push(&mut self, block: Block) {
        if !self.takes(&block) {
            *self = Self::start(block);
            return;
        }
        let replaced = self.tip.height.saturating_sub(block.height).saturating_add(1);
        let replaced = usize::try_from(replaced).unwrap_or(0);
        self.hashes.truncate(self.hashes.len().saturating_sub(replaced));
        self.hashes.push_back(block.hash);
        if self.hashes.len() > KNOWN {
            self.hashes.pop_front();
        }
        self.tip = block;
    }

    fn has(&self, block: &Block) -> bool {
        let below = self.tip.height.checked_sub(block.height).and_then(|below| usize::try_from(below).ok());
        below.is_some_and(|below| self.hashes.iter().rev().nth(below) == Some(&block.hash))
    }

    /// How many heights it has.
    fn height_from_first(&self) -> u64 {
        self.tip.height.abs_diff(self.first).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{SECOND, moment};

    /// A chain that receives one block a second.
    #[derive(Default)]
    struct Told {
        chain: BestChain,
        second: u64,
        reorganised: u64,
    }

    impl Told {
        /// Blocks of these heights. Those of one branch have the same hash at one height.
        fn tell(&mut self, branch: char, heights: impl IntoIterator<Item = i64>) -> &mut Self {
            for height in heights {
                self.second += 1;
                let mut hash = [0; 32];
                hash[0] = branch as u8;
                hash[1..9].copy_from_slice(&height.to_le_bytes());
                let time = Time(self.second * SECOND);
                let block = Block { height, hash, time, moment: moment(self.second) };
                self.reorganised += self.chain.connect(block).reorganised;
            }
            self
        }

        fn after(&mut self, seconds: u64) -> &mut Self {
            self.second += seconds;
            self
        }

        /// The height, the second at which it was connected, and all reorganised blocks.
        #[track_caller]
        fn assert(&mut self, height: i64, second: u64, reorganised: u64) -> &mut Self {
            let tip = self.chain.tip().unwrap();
            assert_eq!((tip.height, tip.time.0 / SECOND, self.reorganised), (height, second, reorganised));
            self
        }
    }

    const HOUR: u64 = 60 * 60;

    #[test]
    fn blocks_on_top_of_each_other_are_the_chain() {
        Told::default().tell('a', [100]).assert(100, 1, 0).tell('a', 101..=1_000).assert(1_000, 901, 0);
        // Some were not seen.
        Told::default().tell('a', [100, 102]).assert(102, 2, 0).tell('b', [102]).assert(102, 3, 1);
    }

    #[test]
    fn background_validation_is_not_where_the_chain_is() {
        let mut told = Told::default();
        told.tell('a', [399]).tell('a', 229..=298).assert(399, 1, 0);
        // For days, with blocks of the chain in between.
        told.tell('a', [400]).tell('a', [299]).assert(400, 72, 0);
        told.after(2 * HOUR).tell('a', 300..=350).assert(400, 72, 0);
        let second = told.second + 1;
        told.tell('a', [401]).tell('a', 351..=390).assert(401, second, 0);
        // A reorganisation in between.
        let second = told.second + 2;
        told.tell('b', [401, 402]).assert(402, second, 1).tell('a', 391..=395).assert(402, second, 1);
    }

    #[test]
    fn background_validation_that_comes_first_is_above_nothing() {
        Told::default().tell('a', 229..=231).assert(231, 3, 0).tell('a', [400, 232, 233]).assert(400, 4, 0);
    }

    #[test]
    fn blocks_that_are_verified_again_change_nothing() {
        let mut told = Told::default();
        told.tell('a', 395..=399).assert(399, 5, 0).tell('a', 394..=399).assert(399, 5, 0);
        // The first of these was connected before the exporter came, and the chain has stood still.
        told.after(2 * HOUR).tell('a', 390..=399).assert(399, 5, 0);
        let second = told.second + 1;
        told.tell('a', [400]).assert(400, second, 0);
        told.tell('a', 1..=400).assert(400, second, 0);
    }

    #[test]
    fn a_branch_that_is_as_high_is_a_reorganisation() {
        Told::default().tell('a', [99, 100]).tell('b', [100]).assert(100, 3, 1).tell('b', [101]).assert(101, 4, 1);
        Told::default().tell('a', [99, 100]).tell('b', [99]).assert(100, 2, 0).tell('b', [100, 101]).assert(101, 5, 2);
        Told::default().tell('a', [100]).tell('b', 96..=102).assert(102, 8, 5);
        // One after another, the second before two blocks have come; and back.
        let mut told = Told::default();
        told.tell('a', [110, 111]).tell('b', [111, 112]).assert(112, 4, 1);
        told.tell('c', 108..=111).assert(112, 4, 1).tell('c', [112]).assert(112, 9, 6);
        told.tell('b', [111, 112, 113]).assert(113, 12, 8);
        // Back to the previous one, with known blocks.
        Told::default().tell('a', [110, 111]).tell('b', [111, 112]).tell('a', 111..=113).assert(113, 7, 3);
    }

    #[test]
    fn a_chain_that_stands_still_can_be_given_up_for_a_lower_one() {
        let mut told = Told::default();
        // The node gets the command to leave a branch, which does not show until it connects blocks.
        told.tell('a', 390..=399).tell('b', 395..=396).assert(399, 10, 0);
        told.after(HOUR).tell('b', [397]).assert(397, 12 + HOUR + 1, 0);
        told.tell('b', [398]).assert(398, 12 + HOUR + 2, 0);
        told.tell('b', [399, 400]).assert(400, 12 + HOUR + 4, 5);
        // And to come back.
        let mut told = Told::default();
        told.tell('a', 390..=399).after(HOUR).tell('b', 395..=397).assert(397, 10 + HOUR + 3, 0);
        told.tell('a', 395..=399).assert(399, 10, 0).tell('a', [400]).assert(400, 10 + HOUR + 9, 0);
    }

    #[test]
    fn a_block_is_ahead_if_it_is_above_the_tip() {
        let block = |height, of| Block { height, hash: [of; 32], time: Time(0), moment: moment(0) };
        let mut chain = BestChain::default();
        let blocks = [(110, 1), (111, 2), (111, 3), (112, 4), (109, 5), (110, 6), (112, 4), (113, 7)];
        let ahead = blocks.map(|(height, of)| chain.connect(block(height, of)).is_ahead);
        assert_eq!(ahead, [true, true, false, true, false, false, false, true]);
    }

    #[test]
    fn memory_is_bounded_and_no_height_is_too_high() {
        let mut told = Told::default();
        told.tell('a', 1..=10_000).tell('b', 1..=9_999);
        let kept = |branch: &Branch| branch.hashes.len();
        let chain = &told.chain;
        assert_eq!(kept(chain.best.as_ref().unwrap()), KNOWN);
        assert_eq!(kept(&chain.lower.as_ref().unwrap().branch), KNOWN);
        for height in [i64::MAX, i64::MIN, 0, i64::MAX] {
            told.tell('c', [height]);
        }
        assert_eq!(told.chain.tip().unwrap().height, i64::MAX);
    }
}
