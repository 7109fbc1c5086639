//! The command line tool: arguments → tap → sinks.

mod address_lists;
mod cli;
mod follow;
mod healthcheck;
mod log;
mod manual;
mod recorder;
mod replay;
mod run;
mod stop;
mod top;

use std::process::ExitCode;

use bitcointap::privileges;

use cli::{Cli, Command, LogFormat};

fn main() -> ExitCode {
    let cli = Cli::parse_arguments(std::env::args_os()).unwrap_or_else(|error| error.exit());
    log::start(&cli.log);
    // The doctor tells whether others have done that.
    if !matches!(cli.command, Some(Command::Doctor(_))) {
        privileges::confine();
    }
    let log = log::Writing::begin();
    let result = match &cli.command {
        None => run::tap(&cli.tap),
        Some(Command::Tap(args)) => run::tap(args),
        Some(Command::Export(args)) => run::export(args),
        Some(Command::Record(args)) => run::record(args),
        Some(Command::Top(args)) => top::top(args),
        Some(Command::Probes(args)) => run::probes(args),
        Some(Command::Doctor(args)) => match run::doctor(args) {
            // It has said why.
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        Some(Command::Healthcheck { address }) => healthcheck::healthcheck(address),
        Some(Command::Completions { shell }) => manual::completions(*shell),
        Some(Command::Man) => manual::page(),
    };
    let code = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let error = match (result, cli.log.format) {
        // A person reads it, who may not have asked for any log.
        (Err(error), LogFormat::Logfmt) => Some(error),
        (Err(error), LogFormat::Json) => {
            tracing::error!("{error}");
            None
        }
        (Ok(()), _) => None,
    };
    let is_read = log.finish();
    if let Some(error) = error.filter(|_| is_read) {
        eprintln!("bitcointap: {error}");
    }
    code
}
