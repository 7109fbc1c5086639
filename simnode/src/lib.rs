//! A simulated node: fires the USDT tracepoints of Bitcoin Core with valid payloads in coherent exchanges, and ends by
//! printing as JSON exactly what it fired.
//!
//! It stands in for a node in the demo, the tests and the benchmarks of bitcointap: real uprobes in a real kernel, no
//! node needed. It proves nothing about Bitcoin Core.
//!
//! ```text
//! cli ──► run ──► scenario (mix, churn, flood, blocks, hostile) ──► emit ──► probes (C, one object for each layout)
//!                 peers, mempool, chain, payloads,           └────► tally, trace, pace
//!                 what is due later
//! ```
//!
//! The tracepoints are in `probes.c`, compiled once for each layout and linked into that layout's executable alone
//! (`simnode-v23` … `simnode-v31`). This library knows them only as a table of functions, [`Probes`], which that
//! executable hands over; what a layout lacks is absent from the table.
//!
//! The same seed, number of events and `--fixed-time` give the same payloads in the same order.

mod chain;
mod cli;
mod due;
mod emit;
mod mempool;
mod names;
mod node;
mod pace;
mod payload;
mod peers;
mod probes;
mod run;
mod scenario;
mod tally;
mod transactions;

pub use cli::{Layout, Options, Rate, Scenario};
pub use emit::{Emitter, Stop};
pub use names::{
    CoinSelection, Command, ConnectionEvent, ConnectionType, Direction, FlushMode, Misbehaviour, Network, Rejection,
    RemovalReason, Request, Responder, Tracepoint,
};
pub use pace::{Clock, Limits};
pub use probes::Probes;
pub use run::{launch, simulate};
pub use scenario::play;
pub use tally::{
    BlockTally, CoinSelectionTally, CompactBlockTally, ConnectionTally, CreatedTally, ExchangesTally, FlushTally,
    MempoolTally, MessageTally, MisbehavingTally, RejectedTally, RemovedTally, ReplacedTally, Report, RequestTally,
    SelectedCoinsTally, Tally, TransactionTally, UtxoTally,
};

/// Defines `main` of a layout's executable: takes the table of tracepoints from the C object linked into it, and runs.
#[macro_export]
macro_rules! simulated_node {
    () => {
        fn main() -> ::std::process::ExitCode {
            unsafe extern "C" {
                fn simnode_probes() -> &'static $crate::Probes;
            }
            // SAFETY: the build links the object of `probes.c` into this executable, whose function of this name
            // returns the address of a constant with the layout of `Probes`.
            $crate::simulate(unsafe { simnode_probes() })
        }
    };
}
