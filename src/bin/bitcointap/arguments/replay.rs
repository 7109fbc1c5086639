//! A recording in place of a node.

use std::path::PathBuf;

use bitcointap::{
    event::Time,
    recording::{Speed, Window},
    units,
};
use clap::Args;

use super::NODE_HEADING;

/// A recording in place of a node.
#[derive(Debug, Args)]
#[command(next_help_heading = NODE_HEADING)]
pub struct ReplayArgs {
    /// Replay the recording FILE in place of a node.
    ///
    /// `bitcointap record` makes recordings; `-` is standard input. Can be given several times: they are replayed one after another.
    #[arg(
        long = "replay",
        id = "file",
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["NodeArgs", "drop_capabilities", "source-urls"]
    )]
    pub files: Vec<PathBuf>,
    /// How fast to replay: a multiple of the recorded pace, such as 10 or 0.5, or `max`.
    #[arg(hide_short_help = true, long, value_name = "N|max", default_value = "1", requires = "file", value_parser = speed)]
    pub speed: Speed,
    /// Replay only events from this time on: 2026-11-28T17:30:00Z, or a UNIX time in seconds.
    #[arg(hide_short_help = true, long, value_name = "TIME", requires = "file", value_parser = units::time)]
    since: Option<Time>,
    /// Replay only events up to this time.
    #[arg(hide_short_help = true, long, value_name = "TIME", requires = "file", value_parser = units::time)]
    until: Option<Time>,
}

impl ReplayArgs {
    /// When the events fired that are to be replayed.
    pub fn window(&self) -> Window {
        Window { since: self.since, until: self.until }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since > until => Err("--since is later than --until".into()),
            _ => Ok(()),
        }
    }
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
    times.map(Speed::Times).ok_or_else(|| "must be a number above 0, such as 10 or 0.5, or max".into())
}
