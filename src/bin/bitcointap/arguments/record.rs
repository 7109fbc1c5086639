//! The options of `record`.

use std::{path::PathBuf, time::Duration};

use bitcointap::{follow::DropCapabilities, tap::Options};
use clap::Args;

use super::{
    NODE_HEADING, NodeArgs, PayloadArgs, PrivilegeArgs, RingBufferArgs, SelectionArgs, SourceArgs, SubscribeArgs,
    values::time,
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct RecordArgs {
    /// The recording to write. It must not exist yet; `-` is standard output.
    ///
    /// With --node '*' it is a directory that does not exist yet, for a file NODE.recording for each node.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub subscribe: SubscribeArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Wait for the node, and go on when it is started again.
    ///
    /// Also waits before the node's first start.
    #[arg(long, help_heading = NODE_HEADING)]
    pub follow: bool,
    /// Stop after this time, such as 90s or 1h30m.
    #[arg(long, help_heading = "Events", value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

impl RecordArgs {
    /// What to tap.
    pub fn options(&self) -> Options {
        Options {
            selection: self.selection.selection.clone(),
            payloads: self.payload.payloads(),
            named: self.source.named(),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// When to drop capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(self.follow, &self.node)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.selection.check()?;
        self.source.check(self.subscribe.is_given())?;
        self.node.check(self.follow)?;
        self.privileges.check(self.follow)
    }
}
