//! How commands print what they have found.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ReportArgs {
    /// How to print it: text for people, or JSON for programs.
    ///
    /// `trace` prints a line of JSON for each row.
    // By its own id, since clap knows the log's format, which is global, by that one.
    #[arg(long = "format", id = "report", value_name = "FORMAT", value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
}
