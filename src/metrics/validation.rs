//! Blocks being connected. In: `validation:block_connected`. Out: families of blocks, and where the chain is.

use prometheus::{Histogram, IntCounter};

use super::{
    Options,
    family::{Gauges, families},
};
use crate::{
    event::{Time, validation::Validation as Event},
    tracepoint::Tracepoint,
};

const BLOCKS: &[Tracepoint] = &[Tracepoint::ValidationBlockConnected];

/// Upper bounds in seconds.
const CONNECTIONS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0];
const TRANSACTIONS: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1e3, 1.5e3, 2e3, 2.5e3, 3e3, 4e3, 5e3, 7e3, 1e4];
const INPUTS: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1e3, 2e3, 4e3, 5e3, 6e3, 7e3, 8e3, 1e4, 1.5e4, 2e4];
/// Up to MAX_BLOCK_SIGOPS_COST in Bitcoin Core.
const SIGOPS: &[f64] = &[10.0, 100.0, 1e3, 5e3, 1e4, 1.5e4, 2e4, 2.5e4, 3e4, 4e4, 6e4, 8e4];

families! {
    struct Families with _options {
        /// Blocks connected to a chain, from the tracepoint validation:block_connected. Also while reindexing, in background
        /// validation and in verifychain at level 4: the tracepoint does not tell them apart.
        validation_blocks_connected_total: IntCounter = (), from BLOCKS;

        /// What connecting a block took, from the tracepoint validation:block_connected. Not its transfer, and not the time
        /// that it waited.
        validation_block_connection_seconds: Histogram = CONNECTIONS, from BLOCKS;

        /// Transactions of connected blocks, the coinbase included.
        validation_block_transactions: Histogram = TRANSACTIONS, from BLOCKS;

        /// Inputs of connected blocks, the coinbase's one included.
        validation_block_inputs: Histogram = INPUTS, from BLOCKS;

        /// Signature operations of connected blocks as Bitcoin Core weighs them (BIP 141's cost), the coinbase's included.
        validation_block_sigops: Histogram = SIGOPS, from BLOCKS;

        /// Height of the highest block connected since attaching. A lower one counts only after three in a row that ascend,
        /// as in a reorganisation or reindex. Absent before the first block.
        validation_block_height: Gauges<0> = [], from BLOCKS;

        /// UNIX time at which the block of bitcointap_validation_block_height was connected. Not the time in its header.
        /// Absent before the first block.
        validation_last_block_connected_timestamp_seconds: Gauges<0> = [], from BLOCKS;

        /// Blocks connected at or below the height before, as in a reorganisation, counted only after three blocks in a row
        /// that ascend. Background validation and verifychain at level 4 look the same to the tracepoint.
        validation_reorganised_blocks_total: IntCounter = (), from BLOCKS;
    }
}

/// The families and where the chain is.
pub(super) struct Validation {
    pub(super) families: Families,
    chain: Option<Chain>,
}

/// What the heights of connected blocks say together.
#[derive(Debug)]
struct Chain {
    /// The highest, or a lower one after three in a row that ascend.
    height: i64,
    /// `height` before the blocks in a row.
    before: Option<i64>,
    last: i64,
    /// Blocks in a row that ascend, the last included.
    in_a_row: u32,
    /// Those in a row that are not above `before` and not counted as reorganised yet.
    uncounted: u64,
}

/// What a block turns out to be.
struct Connected {
    /// It is where the chain is now.
    counts: bool,
    /// Blocks, it and those before it, that are found to be reorganised.
    reorganised: u64,
}

/// So many in a row make a chain of blocks below the highest.
const CONVINCING: u32 = 3;

impl Chain {
    fn start(height: i64) -> Self {
        Self { height, before: None, last: height, in_a_row: 1, uncounted: 0 }
    }

    /// Takes in the next block.
    fn connect(&mut self, height: i64) -> Connected {
        if height > self.last {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            *self = Self { before: Some(self.height), in_a_row: 1, uncounted: 0, ..*self };
        }
        self.last = height;
        if self.before.is_some_and(|before| height <= before) {
            self.uncounted += 1;
        }
        let convinced = self.in_a_row >= CONVINCING;
        let counts = height > self.height || convinced;
        if counts {
            self.height = height;
        }
        Connected { counts, reorganised: if convinced { std::mem::take(&mut self.uncounted) } else { 0 } }
    }
}

impl Validation {
    pub(super) fn new(options: &Options) -> Self {
        Self { families: Families::new(options), chain: None }
    }

    pub(super) fn node_gone(&mut self) {
        self.chain = None;
        self.families.validation_block_height.remove(0);
        self.families.validation_last_block_connected_timestamp_seconds.remove(0);
    }

    pub(super) fn observe(&mut self, time: Time, event: &Event) {
        match *event {
            Event::BlockConnected { hash: _, height, transactions, inputs, sigops, connection_time } => {
                self.families.validation_blocks_connected_total.inc();
                self.families.validation_block_connection_seconds.observe(connection_time as f64 / 1e9);
                self.families.validation_block_transactions.observe(transactions as f64);
                self.families.validation_block_inputs.observe(inputs.max(0) as f64);
                self.families.validation_block_sigops.observe(sigops as f64);
                self.connect(time, height);
            }
        }
    }

    fn connect(&mut self, time: Time, height: i64) {
        let Connected { counts, reorganised } = match &mut self.chain {
            Some(chain) => chain.connect(height),
            None => {
                self.chain = Some(Chain::start(height));
                Connected { counts: true, reorganised: 0 }
            }
        };
        self.families.validation_reorganised_blocks_total.inc_by(reorganised);
        if counts {
            let seconds = time.0 as f64 / 1e9;
            self.families.validation_block_height.at([]).set(height as f64);
            self.families.validation_last_block_connected_timestamp_seconds.at([]).set(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{assert_histogram_of_one, block, told};

    /// The height and the reorganised blocks after these.
    fn after(heights: &[i64]) -> (i64, u64) {
        let (first, rest) = heights.split_first().unwrap();
        let mut chain = Chain::start(*first);
        let reorganised = rest.iter().map(|&height| chain.connect(height).reorganised).sum();
        (chain.height, reorganised)
    }

    #[test]
    fn a_lower_block_counts_after_three_in_a_row_that_ascend() {
        assert_eq!(after(&[100]), (100, 0));
        assert_eq!(after(&[100, 101, 102, 103]), (103, 0));
        // Strays.
        assert_eq!(after(&[100, 5]), (100, 0));
        assert_eq!(after(&[100, 5, 6]), (100, 0));
        assert_eq!(after(&[100, 5, 4, 3, 2]), (100, 0));
        assert_eq!(after(&[100, 5, 101]), (101, 0));
        // A chain of lower ones.
        assert_eq!(after(&[100, 5, 6, 7]), (7, 3));
        assert_eq!(after(&[100, 5, 6, 7, 8]), (8, 4));
    }

    #[test]
    fn reorganised_blocks_are_those_up_to_the_height_before() {
        // One block, known when the second block above it comes.
        assert_eq!(after(&[99, 100, 100, 101]), (101, 0));
        assert_eq!(after(&[99, 100, 100, 101, 102]), (102, 1));
        // Two.
        assert_eq!(after(&[99, 100, 99, 100, 101]), (101, 2));
        // Five, and what follows is none.
        assert_eq!(after(&[100, 96, 97, 98, 99, 100, 101, 102]), (102, 5));
        // One after another.
        assert_eq!(after(&[100, 100, 101, 102, 102, 103, 104]), (104, 2));
    }

    #[test]
    fn blocks_count_and_tell_where_the_chain_is() {
        let mut told = told();
        let (height, timestamp) = ("validation_block_height", "validation_last_block_connected_timestamp_seconds");
        assert_eq!((told.family(height), told.family(timestamp)), (None, None), "absent until known");
        told.tell(block(800_000))
            .assert("validation_blocks_connected_total", &["1"])
            .assert(height, &["800000"])
            .assert(timestamp, &["1000"]);
        assert_histogram_of_one(
            &told,
            "validation_block_connection_seconds",
            "",
            &["0.2", "0.5", "1", "2", "5", "10", "20", "60", "+Inf"],
            0.15,
        );
        assert_histogram_of_one(
            &told,
            "validation_block_transactions",
            "",
            &["3000", "4000", "5000", "7000", "10000", "+Inf"],
            2_600.0,
        );
        assert_histogram_of_one(
            &told,
            "validation_block_inputs",
            "",
            &["7000", "8000", "10000", "15000", "20000", "+Inf"],
            6_500.0,
        );
        assert_histogram_of_one(
            &told,
            "validation_block_sigops",
            "",
            &["10000", "15000", "20000", "25000", "30000", "40000", "60000", "80000", "+Inf"],
            9_000.0,
        );

        told.tell(block(7)).assert(height, &["800000"]).assert(timestamp, &["1000"]);
        told.tell(block(8)).tell(block(9)).assert(height, &["9"]).assert(timestamp, &["1003"]);
        told.assert("validation_reorganised_blocks_total", &["3"]).assert("validation_blocks_connected_total", &["4"]);
        told.metrics.node_gone();
        assert_eq!((told.family(height), told.family(timestamp)), (None, None));
        told.tell(block(5)).assert(height, &["5"]).assert("validation_reorganised_blocks_total", &["3"]);
    }
}
