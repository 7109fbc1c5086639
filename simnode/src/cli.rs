//! The command line. In: the arguments. Out: [`Options`] that need no further check.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// A simulated node: fires the USDT tracepoints of Bitcoin Core, then prints as one line of JSON what it fired.
///
/// An event is one tracepoint hit. Without --count and --duration it runs until SIGINT or SIGTERM. It then also prints
/// its tally, and ends with status 0.
#[derive(Clone, Debug, Parser)]
#[command(name = "simnode", version)]
pub struct Options {
    /// The release whose tracepoints to have
    #[arg(long, value_enum, value_name = "LAYOUT")]
    pub layout: Option<Layout>,
    /// What to simulate
    #[arg(long, value_enum, value_name = "SCENARIO", default_value_t = Scenario::Mix)]
    pub scenario: Scenario,
    /// The same seed gives the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Events per second, or "max" for as fast as possible
    #[arg(long, value_name = "N|max", default_value = "1000", value_parser = parse_rate)]
    pub rate: Rate,
    /// Stop after exactly N events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after N seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub duration: Option<Duration>,
    /// Fire from N threads at once, each with its own peers (scenarios mix and flood)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// When ready, say so on stderr, and fire nothing until a line or the end of file comes on stdin
    #[arg(long)]
    pub wait: bool,
    /// After the last event print the tally, and stay until SIGINT or SIGTERM
    #[arg(long)]
    pub linger: bool,
    /// Write a line of JSON for each event to FILE, with the clock before and after it and its peer and message; slow
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Also write what the events contain to the trace: payloads, and hashes of transactions and blocks
    #[arg(long, requires = "trace")]
    pub trace_contents: bool,
    /// Use this UNIX time in all that is fired, so that everything depends on the seed alone
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32))]
    pub fixed_time: Option<u32>,
    /// Lock this data directory, as a node does while it runs; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub datadir: Option<PathBuf>,
    /// Lock the folder of this chain in the data directory: test, testnet4, signet or regtest
    #[arg(long, value_name = "CHAIN", default_value = "main", value_parser = ["main", "test", "testnet4", "signet", "regtest"])]
    pub chain: String,
    /// As `bitcoind -daemon` does, start another process as the node and print its pid; stay for N seconds, as
    /// `-daemonwait` does until the node is ready
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub daemon: Option<Duration>,
    /// Start short-lived processes of this program, one after another, as `-blocknotify` does
    #[arg(long)]
    pub children: bool,
    /// Give peers user agents that do harm if something treats them as more than text
    #[arg(long)]
    pub hostile: bool,
}

impl Options {
    /// Parses `arguments`, beginning with the program's name. An error is a request for help or version, or wrong
    /// usage.
    pub fn parse_and_check<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let options = Self::try_parse_from(arguments)?;
        if options.threads > 1 && !matches!(options.scenario, Scenario::Mix | Scenario::Flood) {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::ArgumentConflict,
                "--threads above 1 goes with --scenario mix or flood only\n",
            ));
        }
        Ok(options)
    }
}

/// How fast to fire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Events per second.
    PerSecond(f64),
    /// As fast as possible.
    Max,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err("give a number of events per second above 0, or max".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give a number of seconds".to_owned())
}

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A node in its steady state on mainnet: every tracepoint and command
    Mix,
    /// Peers that come and go quickly
    Churn,
    /// Inbound pings of one peer, nothing else
    Flood,
    /// Big messages: blocks of up to 4,000,000 bytes, long headers and inv
    Blocks,
    /// A thousand events of honest peers, then one peer that sends whatever it may, nothing else
    Hostile,
}

impl Scenario {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mix => "mix",
            Self::Churn => "churn",
            Self::Flood => "flood",
            Self::Blocks => "blocks",
            Self::Hostile => "hostile",
        }
    }
}

/// A release of Bitcoin Core, by its tracepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Layout {
    /// Messages, blocks in µs, the UTXO cache
    V23,
    /// And the mempool, with vsize of 64 bits, and coin selection; blocks in ns
    V25,
    /// With vsize of 32 bits
    V26,
    /// With connections by a patch, and misbehaviour with five arguments
    V27Patched,
    /// With connections, semaphores, and replacements with eight arguments
    V29,
    /// With private broadcast and the flush modes FORCE_FLUSH and FORCE_SYNC (the default)
    V31,
}

impl Layout {
    /// Every layout, oldest first.
    pub const ALL: [Self; 6] = [Self::V23, Self::V25, Self::V26, Self::V27Patched, Self::V29, Self::V31];

    /// The name on the command line and at the end of the executable's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V23 => "v23",
            Self::V25 => "v25",
            Self::V26 => "v26",
            Self::V27Patched => "v27-patched",
            Self::V29 => "v29",
            Self::V31 => "v31",
        }
    }

    /// The layout with this value of `LAYOUT` in `probes.c`.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.number() == number)
    }

    /// The major version of the release, which is the value of `LAYOUT` in `probes.c`.
    pub fn number(self) -> i32 {
        match self {
            Self::V23 => 23,
            Self::V25 => 25,
            Self::V26 => 26,
            Self::V27Patched => 27,
            Self::V29 => 29,
            Self::V31 => 31,
        }
    }

    /// The node's own user agent.
    pub fn user_agent(self) -> String {
        format!("/Satoshi:{}.0.0/", self.number())
    }
}
