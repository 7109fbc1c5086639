//! Which node, and the options of `doctor`.

use std::path::{Path, PathBuf};

use bitcointap::{
    Error,
    process::{Chain, Conditions, Which},
};
use clap::{
    Args, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::ReportArgs;

pub const NODE_HEADING: &str = "Which node (default: the running bitcoind, bitcoin-qt or bitcoin-node)";

/// Which node.
#[derive(Debug, Args)]
#[group(multiple = true)]
#[command(next_help_heading = NODE_HEADING)]
pub struct NodeArgs {
    /// The node's process id.
    ///
    /// It names one run: bitcointap does not follow it over restarts.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) pid: Option<i32>,
    /// A file with the node's process id, as `bitcoind -pid=FILE` writes it.
    #[arg(long, value_name = "FILE", conflicts_with = "pid")]
    pid_file: Option<PathBuf>,
    /// The node's program; `probes` and `doctor` look at it even if it does not run.
    #[arg(hide_short_help = true, long, value_name = "PATH", conflicts_with_all = ["pid", "pid_file"])]
    bitcoind: Option<PathBuf>,
    /// The node's data directory, as `bitcoind -datadir=DIR` has it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pid", "pid_file"], value_hint = ValueHint::DirPath)]
    datadir: Option<PathBuf>,
    /// The node's chain, as `bitcoind -chain=CHAIN` has it.
    #[arg(long, value_name = "CHAIN", conflicts_with_all = ["pid", "pid_file"], value_parser = PossibleValuesParser::new(Chain::ALL.map(Chain::name)).try_map(|name| name.parse::<Chain>()))]
    chain: Option<Chain>,
}

impl NodeArgs {
    /// The node that the options name, or the one that runs.
    pub fn which(&self) -> Which {
        match self {
            Self { pid: Some(pid), .. } => Which::Pid(*pid),
            Self { pid_file: Some(path), .. } => Which::PidFile(path.clone()),
            Self { bitcoind, datadir, chain, .. } => {
                Which::Running(Conditions { program: bitcoind.clone(), data_directory: datadir.clone(), chain: *chain })
            }
        }
    }

    /// Whether it can be followed over restarts, if that is wanted.
    pub(super) fn check(&self, follow: bool) -> Result<(), String> {
        if follow && self.pid.is_some() {
            return Err(
                "--pid names one run of the node, and --follow goes on with the next: name the node by --datadir, \
                        --chain or --pid-file"
                    .into(),
            );
        }
        Ok(())
    }

    /// The program that the options name. It need not run.
    pub fn named_program(&self) -> Option<&Path> {
        self.bitcoind.as_deref()
    }

    /// The program to list the tracepoints of. A named program need not run.
    pub fn program(&self) -> Result<PathBuf, Error> {
        match self.named_program() {
            Some(path) => Ok(path.to_owned()),
            None => Ok(self.which().find()?.executable()),
        }
    }
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub report: ReportArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Cli, Command, LogFormat, ReportFormat};

    #[test]
    fn a_node_is_named_by_what_it_must_meet() {
        let which = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            Cli::parse_arguments(arguments).unwrap().tap.node.which()
        };
        assert_eq!(which(""), Which::default());
        assert_eq!(which("--pid 7"), Which::Pid(7));
        let conditions =
            Conditions { program: Some("p".into()), data_directory: Some("d".into()), chain: Some(Chain::Testnet4) };
        assert_eq!(which("--bitcoind p --datadir d --chain testnet4"), Which::Running(conditions));
    }

    #[test]
    fn a_report_has_a_format_beside_the_log() {
        let format = |arguments: &str| {
            let arguments = ["bitcointap", "doctor"].into_iter().chain(arguments.split_whitespace());
            let cli = Cli::parse_arguments(arguments).unwrap();
            let Some(Command::Doctor(args)) = cli.command else { panic!() };
            (args.report.format, matches!(cli.log.format, LogFormat::Json))
        };
        assert_eq!(format(""), (ReportFormat::Text, false));
        assert_eq!(format("--format json"), (ReportFormat::Json, false));
        assert_eq!(format("--log.format json"), (ReportFormat::Text, true));
    }
}
