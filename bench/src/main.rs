//! What bitcointap costs the node and the machine, all from one run: `make bench`. In: the simulated node, real
//! uprobes, this machine. Out: a table, each figure with its spread.
//!
//! Compare only figures of one run with each other; machines differ.

mod empty;
mod nats;
mod node_side;
mod our_side;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const HIT_ROUNDS: usize = 7;
const TOOL_ROUNDS: usize = 3;
const TOOL_SECONDS: u64 = 4;

/// Measures what bitcointap costs.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// What a hit costs the node
    Hits {
        /// Rounds; each measures everything once
        #[arg(long, default_value_t = HIT_ROUNDS)]
        rounds: usize,
    },
    /// What bitcointap takes of the machine
    Tool {
        /// Rounds
        #[arg(long, default_value_t = TOOL_ROUNDS)]
        rounds: usize,
        /// Seconds for which the node fires in each measurement
        #[arg(long, default_value_t = TOOL_SECONDS)]
        seconds: u64,
    },
    /// What publishing over NATS takes, beside another publisher on request
    Nats(nats::Options),
    /// Attach empty programs to the tracepoints that bitcointap attaches to by default, until the input ends: the floor
    /// of a real node
    Empty {
        /// The node
        #[arg(long)]
        pid: i32,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => node_side::measure(HIT_ROUNDS).and_then(|()| our_side::measure(TOOL_ROUNDS, TOOL_SECONDS)),
        Some(Command::Hits { rounds }) => node_side::measure(rounds),
        Some(Command::Tool { rounds, seconds }) => our_side::measure(rounds, seconds),
        Some(Command::Nats(options)) => nats::measure(&options),
        Some(Command::Empty { pid }) => empty::hold(pid),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
