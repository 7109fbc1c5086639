//! Blocks being connected. In: `validation:block_connected`, and what each block turned out to be. Out: families of
//! blocks, and where the chain is.

use prometheus::{Histogram, IntCounter};

use super::{
    Options,
    family::{Gauges, Registered, families},
    group::{Group, Shared},
};
use crate::{
    event::{Event, Kind, validation::Validation::BlockConnected},
    tracepoint::{Tracepoint, Tracepoints},
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
        /// Blocks connected to any chain, from the tracepoint validation:block_connected. Includes blocks connected
        /// while reindexing, in background validation (after loadtxoutset) and in verifychain at level 4: the
        /// tracepoint does not tell them apart. bitcointap_validation_block_height shows how fast the node's chain
        /// grows.
        validation_blocks_connected_total: IntCounter = (), from BLOCKS;

        /// How long the node took to connect a block, from the tracepoint validation:block_connected. Does not include
        /// its transfer, nor the time that it waited.
        validation_block_connection_seconds: Histogram = CONNECTIONS, from BLOCKS;

        /// Transactions of connected blocks, the coinbase included.
        validation_block_transactions: Histogram = TRANSACTIONS, from BLOCKS;

        /// Inputs of connected blocks, the coinbase's input included.
        validation_block_inputs: Histogram = INPUTS, from BLOCKS;

        /// Signature operations of connected blocks as Bitcoin Core weighs them (BIP 141's cost), the coinbase's included.
        validation_block_sigops: Histogram = SIGOPS, from BLOCKS;

        /// Height of the chain: of the highest block connected since attaching. Lower blocks, as in a reorganisation,
        /// count once they are as high, or if no higher block was connected for an hour, as after invalidateblock. So
        /// background validation and verifychain do not lower it; but until the first higher block is connected, it
        /// shows theirs. Absent before the first block.
        validation_block_height: Gauges<0> = [], from BLOCKS;

        /// UNIX time at which the node connected the block of bitcointap_validation_block_height. This is not the time
        /// in its header. Background validation does not change it, nor does verifychain of blocks that were connected
        /// since attaching. Absent before the first block.
        validation_last_block_connected_timestamp_seconds: Gauges<0> = [], from BLOCKS;

        /// Blocks connected at or below the previous height that replaced others, counted once their branch is as high.
        /// Does not count those of background validation, nor blocks of the chain that are connected again, as by
        /// verifychain at level 4 or after reconsiderblock.
        validation_reorganised_blocks_total: IntCounter = (), from BLOCKS;
    }
}

pub(super) struct Validation {
    families: Families,
}

impl Group for Validation {
    fn new(options: &Options) -> Self {
        Self { families: Families::new(options) }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
    }

    fn observe(&mut self, event: &Event<'_>, shared: &Shared) {
        let Kind::Validation { event: validation } = &event.kind else { return };
        let BlockConnected { hash: _, height: _, transactions, inputs, sigops, connection_time } = *validation;
        self.families.validation_blocks_connected_total.inc();
        self.families.validation_block_connection_seconds.observe(connection_time as f64 / 1e9);
        self.families.validation_block_transactions.observe(transactions as f64);
        self.families.validation_block_inputs.observe(inputs.max(0) as f64);
        self.families.validation_block_sigops.observe(sigops as f64);

        self.families.validation_reorganised_blocks_total.inc_by(shared.block().reorganised);
        if let Some(tip) = shared.tip() {
            let seconds = tip.time.0 as f64 / 1e9;
            self.families.validation_block_height.at([]).set(tip.height as f64);
            self.families.validation_last_block_connected_timestamp_seconds.at([]).set(seconds);
        }
    }

    fn node_gone(&mut self) {
        self.families.validation_block_height.remove(0);
        self.families.validation_last_block_connected_timestamp_seconds.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::testing::{assert_histogram_of_one, block, connected, told};

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

        // Background validation, which neither renews the time nor lowers the height.
        for old in 7..100 {
            told.tell(block(old)).assert(height, &["800000"]).assert(timestamp, &["1000"]);
        }
        told.assert("validation_reorganised_blocks_total", &[]).assert("validation_blocks_connected_total", &["94"]);
        // A reorganisation.
        told.tell(connected([1; 32], 799_999)).tell(connected([1; 32], 800_000)).tell(connected([1; 32], 800_001));
        told.assert(height, &["800001"]).assert(timestamp, &["1096"]);
        told.assert("validation_reorganised_blocks_total", &["2"]);
        told.metrics.node_gone();
        assert_eq!((told.family(height), told.family(timestamp)), (None, None));
        told.tell(block(5)).assert(height, &["5"]).assert("validation_reorganised_blocks_total", &["2"]);
    }
}
