//! A recording in place of a node.

use std::path::PathBuf;

use bitcointap::recording::Speed;
use clap::Args;

use super::NODE_HEADING;

/// A recording in place of a node.
#[derive(Debug, Args)]
#[command(next_help_heading = NODE_HEADING)]
pub struct ReplayArgs {
    /// Replay the recording FILE in place of a node.
    ///
    /// `bitcointap record` makes recordings; `-` is standard input.
    #[arg(long = "replay", value_name = "FILE", conflicts_with_all = ["NodeArgs", "drop_capabilities"])]
    pub file: Option<PathBuf>,
    /// How fast to replay: a multiple of the recorded pace, such as 10 or 0.5, or `max`.
    #[arg(hide_short_help = true, long, value_name = "N|max", default_value = "1", requires = "file", value_parser = speed)]
    pub speed: Speed,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
    times.map(Speed::Times).ok_or_else(|| "must be a number above 0, such as 10 or 0.5, or max".into())
}
