//! The options of `cut`.

use std::path::PathBuf;

use bitcointap::{selection::Selection, tracepoint::Tracepoint};
use clap::{Args, ValueHint};

use super::{RedactArgs, SelectionArgs, WindowArgs};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct CutArgs {
    /// Recordings, and directories of recordings; `-` is standard input.
    #[arg(value_name = "FILE|DIR", required = true, value_hint = ValueHint::AnyPath)]
    pub inputs: Vec<PathBuf>,
    /// The recording to write, which must not exist yet; `-` is standard output.
    ///
    /// It has this name once it is complete. Before, it is FILE.part.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Replace the file of --output if there is one.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub window: WindowArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub redact: RedactArgs,
}

impl CutArgs {
    /// Which events to keep: those of all tracepoints, unless --events chooses some.
    pub fn selection(&self) -> Selection {
        self.selection.selection.clone().or_of(Tracepoint::all().collect())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.selection.check()?;
        self.window.check()
    }
}

#[cfg(test)]
mod tests {
    use crate::arguments::{Cli, Command};

    #[test]
    fn a_part_has_events_of_all_tracepoints_unless_some_are_chosen() {
        let parse = |line: &str| Cli::parse_arguments(["bitcointap", "cut"].into_iter().chain(line.split(' ')));
        let tracepoints = |line: &str| match parse(line).unwrap().command {
            Some(Command::Cut(args)) => args.selection().tracepoints(),
            other => panic!("{other:?}"),
        };
        assert_eq!(tracepoints("a b -o c"), "all".parse().unwrap());
        assert_eq!(tracepoints("a -o c --events mempool"), "mempool".parse().unwrap());
        assert_eq!(tracepoints("a -o c --command inv"), "net:inbound_message,net:outbound_message".parse().unwrap());
        for line in ["-o c", "a", "a -o c --min-size 2 --max-size 1", "a -o c --since 5 --until 4"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
