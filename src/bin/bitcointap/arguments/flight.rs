//! The options of the flight recorder. In: options. Out: how much it keeps, and where SIGUSR1 writes it.

use std::path::PathBuf;

use bitcointap::{flight_recorder::Settings, tap::Payloads, units};
use clap::{Args, ValueEnum, ValueHint};

/// How much of payloads it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kept {
    /// What metrics read.
    Metrics,
    /// All.
    Whole,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Flight recorder")]
pub struct FlightArgs {
    /// Keep the newest events in this much memory; /recording gives them.
    ///
    /// bitcointap compresses them: 64MiB hold many minutes of a busy node. `curl -OJ 'ADDRESS/recording?last=5m'` saves a recording of the last
    /// five minutes, with the query words of /events. 32MiB or more. In a configuration file it is also called flight-recorder.size.
    #[arg(long = "flight-recorder", alias = "flight-recorder.size", id = "flight-recorder", value_name = "SIZE", value_parser = size)]
    size: Option<usize>,
    /// Write a recording of all that is kept into DIR at each SIGUSR1. It is named by the UTC time of its beginning, as in
    /// 20261129T055148Z.recording. The user, even root, must be allowed to write to DIR without capabilities.
    #[arg(
        hide_short_help = true,
        long = "flight-recorder.dir",
        alias = "flight-recorder-dir",
        value_name = "DIR",
        value_hint = ValueHint::DirPath
    )]
    directory: Option<PathBuf>,
    /// How much of payloads to keep: what metrics read (the default), or all. `whole` costs the node a copy of each payload, and the memory then
    /// holds a shorter time. While another output or a reader of /events wants whole payloads, they are kept whole in any case.
    #[arg(
        hide_short_help = true,
        id = "flight-payload",
        long = "flight-recorder.payload",
        value_name = "STYLE",
        value_enum
    )]
    payload: Option<Kept>,
}

impl FlightArgs {
    /// `None` if there is no flight recorder.
    pub fn settings(&self) -> Option<Settings> {
        Some(Settings { size: self.size?, directory: self.directory.clone() })
    }

    /// How much of payloads it needs.
    pub fn payloads(&self) -> Payloads {
        match self.payload {
            None | Some(Kept::Metrics) => Payloads::None,
            Some(Kept::Whole) => Payloads::Whole,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let without = |name: &str| Err(format!("--{name} needs a flight recorder: --flight-recorder SIZE"));
        match self {
            Self { size: None, directory: Some(_), .. } => without("flight-recorder.dir"),
            Self { size: None, payload: Some(_), .. } => without("flight-recorder.payload"),
            _ => Ok(()),
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size = usize::try_from(units::bytes(text)?).ok().filter(|&size| size >= Settings::LEAST);
    size.ok_or_else(|| format!("must be {}MiB or more, such as 64MiB", Settings::LEAST >> 20))
}

#[cfg(test)]
mod tests {
    use crate::arguments::{Cli, Command};

    use super::*;

    #[test]
    fn a_flight_recorder_has_a_size_and_what_needs_it() {
        let export = |line: &str| {
            let cli = Cli::parse_arguments(["bitcointap", "export"].into_iter().chain(line.split_whitespace()));
            cli.map(|cli| match cli.command {
                Some(Command::Export(export)) => export.flight,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(export("").unwrap().settings(), None);
        let settings =
            |directory: Option<&str>| Some(Settings { size: 64 << 20, directory: directory.map(Into::into) });
        let given = export("--flight-recorder 64MiB").unwrap();
        assert_eq!((given.settings(), given.payloads()), (settings(None), Payloads::None));
        for option in ["--flight-recorder.dir", "--flight-recorder-dir"] {
            let given = export(&format!("--flight-recorder 64MiB {option} d --flight-recorder.payload whole")).unwrap();
            assert_eq!((given.settings(), given.payloads()), (settings(Some("d")), Payloads::Whole));
        }
        for (line, words) in [
            ("--flight-recorder 31MiB", "must be 32MiB or more, such as 64MiB"),
            ("--flight-recorder lots", "'lots' is no size, such as 4096 (bytes), 64KiB, 16MiB or 1GiB"),
            ("--flight-recorder.dir d", "--flight-recorder.dir needs a flight recorder: --flight-recorder SIZE"),
            ("--flight-recorder.payload metrics", "--flight-recorder.payload needs a flight recorder"),
        ] {
            let text = export(line).unwrap_err().to_string();
            assert!(text.contains(words), "{line}: {text}");
        }
    }
}
