//! The options of `trace`.

use std::time::Duration;

use bitcointap::{
    follow::DropCapabilities,
    json::Hash,
    selection::{Condition, Selection},
    tap::Options,
};
use clap::Args;

use super::{NodeArgs, PrivilegeArgs, RedactArgs, ReplayArgs, ReportArgs, RingBufferArgs, SubscribeArgs, values::time};

#[derive(Debug, Args)]
// A recording is told at once.
#[command(mut_arg("speed", |speed| speed.default_value("max").hide(true)))]
pub struct TraceArgs {
    /// The transaction, by its txid or wtxid, or the block, as explorers show it.
    pub hash: Hash,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub subscribe: SubscribeArgs,
    #[command(flatten)]
    pub report: ReportArgs,
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

impl TraceArgs {
    /// What to tap: events that name one of these.
    pub fn options(&self, hashes: impl IntoIterator<Item = Hash>) -> Options {
        let selection = hashes.into_iter().map(Condition::Hash).fold(Selection::default(), Selection::only);
        Options { selection, ring_buffer_size: self.ring_buffer.size, ..Options::default() }
    }

    /// When to drop capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(true, &self.node)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.replay.check()?;
        self.subscribe.check_of_one()?;
        self.privileges.check(true)
    }
}
