//! The options of `top`.

use std::{path::Path, time::Duration};

use bitcointap::{follow::DropCapabilities, live::Live, selection::Selection, tap::Options, units};
use clap::Args;

use super::{NodeArgs, PrivilegeArgs, RedactArgs, ReplayArgs, RingBufferArgs, SubscribeArgs, values::time};
use crate::screen::Column;

#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub subscribe: SubscribeArgs,
    /// The column to sort peers by at first.
    #[arg(long, help_heading = "Output", value_name = "COLUMN", value_enum, default_value_t = Column::In)]
    pub sort: Column,
    /// How often to draw the screen: a time from 200ms to 1m.
    #[arg(hide_short_help = true, long, help_heading = "Output", value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Stop after this time, such as 90s or 1h30m.
    #[arg(long, help_heading = "Events", value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub redact: RedactArgs,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

impl TopArgs {
    /// What to tap: what the screen can show.
    pub fn options(&self) -> Options {
        Options {
            selection: Selection::of(Live::tracepoints()),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// When to drop capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(true, &self.node)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.replay.check()?;
        self.subscribe.check_of_one()?;
        if self.replay.files.iter().any(|file| file == Path::new("-")) {
            return Err("--replay - reads standard input, which top needs for keys: name a file".into());
        }
        self.privileges.check(true)
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text)?;
    let is_sensible = (Duration::from_millis(200)..=Duration::from_secs(60)).contains(&interval);
    is_sensible.then_some(interval).ok_or_else(|| "must be from 200ms to 1m, such as 2s".into())
}
