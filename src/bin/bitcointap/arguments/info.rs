//! The options of `info`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::ReportArgs;

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct InfoArgs {
    /// Recordings, and directories of recordings; `-` is standard input.
    #[arg(value_name = "FILE|DIR", required = true, value_hint = ValueHint::AnyPath)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub report: ReportArgs,
}
