//! The command line tool.
//!
//! ```text
//! arguments ─► commands ─► source (a node followed over its runs, or a recording) ─► outputs of the command
//! ```
//!
//! Files import only files to the left of them, and those for all: signals, log, progress, names, result.

mod address_lists;
mod arguments;
mod commands;
mod dump;
mod log;
mod names;
mod progress;
mod reload;
mod result;
mod screen;
mod signals;
mod source;
mod story;

use std::process::ExitCode;

use bitcointap::{archive, privileges};

use arguments::{Cli, Command, LogFormat};

fn main() -> ExitCode {
    let cli = Cli::parse_arguments(std::env::args_os()).unwrap_or_else(|error| error.exit());
    log::start(&cli.log);
    // The doctor reports how it was started, so it must not change that.
    if !matches!(cli.command, Some(Command::Doctor(_))) {
        privileges::confine();
    }
    let log = match log::Writing::begin() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("bitcointap: cannot start a thread for the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut is_well = true;
    let result = match &cli.command {
        None => commands::tap(&cli.tap),
        Some(Command::Tap(args)) => commands::tap(args),
        Some(Command::Export(args)) => commands::export(args),
        Some(Command::Record(args)) => commands::record(args),
        Some(Command::Top(args)) => commands::top(args),
        Some(Command::Cut(args)) => commands::cut(args),
        Some(Command::Info(args)) => commands::info(args).map(|are_whole| is_well = are_whole),
        Some(Command::Trace(args)) => commands::trace(args),
        Some(Command::Probes(args)) => commands::probes(args),
        // It prints itself what to fix.
        Some(Command::Doctor(args)) => commands::doctor(args).map(|works| is_well = works),
        Some(Command::CheckConfig { file }) => commands::check_config(file),
        Some(Command::Healthcheck { address }) => commands::healthcheck(address),
        Some(Command::Completions { shell }) => commands::completions(*shell),
        Some(Command::Man) => commands::page(),
    };
    archive::wait_until_stored();
    let code = if result.is_ok() && is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let error = match (result, cli.log.format) {
        // For a person, who may have turned the log off.
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
