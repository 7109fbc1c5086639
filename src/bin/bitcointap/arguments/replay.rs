//! A recording in place of a node.

use std::path::PathBuf;

use bitcointap::recording::Speed;
use clap::Args;

use super::{NODE_HEADING, WindowArgs};

/// A recording in place of a node.
#[derive(Debug, Args)]
#[command(next_help_heading = NODE_HEADING)]
pub struct ReplayArgs {
    /// Replay a recording, or all of a directory, not a node.
    ///
    /// `bitcointap record` makes recordings; `-` is standard input. Several are replayed in the order of their times. Of a directory, these are the
    /// files *.recording and *.recording.part; if it has none, those in its directories.
    #[arg(
        long = "replay",
        id = "file",
        value_name = "FILE|DIR",
        num_args = 1..,
        conflicts_with_all = ["NodeArgs", "drop_capabilities", "source-urls"]
    )]
    pub files: Vec<PathBuf>,
    /// How fast to replay: a multiple of the recorded pace, such as 10 or 0.5, or `max`.
    #[arg(hide_short_help = true, long, value_name = "N|max", default_value = "1", requires = "file", value_parser = speed)]
    pub speed: Speed,
    #[command(flatten)]
    pub window: WindowArgs,
}

impl ReplayArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.files.is_empty() && self.window.is_given() {
            return Err("--since and --until are for recordings: name them by --replay".into());
        }
        self.window.check()
    }
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
    times.map(Speed::Times).ok_or_else(|| "must be a number above 0, such as 10 or 0.5, or max".into())
}
