//! The options of `tap`, which are also the options without a command.

use std::{path::PathBuf, time::Duration};

use bitcointap::{follow::DropCapabilities, pcap, selection::Selection, spool::JsonLines, tap::Options};
use clap::Args;

use super::{
    DestinationArgs, JsonArgs, NODE_HEADING, NatsArgs, NodeArgs, PrivilegeArgs, RedactArgs, ReplayArgs, RingBufferArgs,
    SelectionArgs, SourceArgs, SubscribeArgs,
    values::{number, time},
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct TapArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub subscribe: SubscribeArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Indent the JSON, over several lines for each event.
    #[arg(hide_short_help = true, long, help_heading = "Output")]
    pub pretty: bool,
    /// Write messages and connections to FILE for Wireshark (pcapng), not JSON.
    ///
    /// FILE must not exist yet, or be a named pipe; `-` is standard output. Values that tracepoints do not provide are synthesised: the node's
    /// address (192.0.2.1 or 2001:db8::1), and the addresses of peers that have a name instead.
    #[arg(long, help_heading = "Output", value_name = "FILE", conflicts_with_all = ["json", "limits", "pretty", "bytes", "integers", "max_bytes", "payload", "source", "urls"])]
    pub pcap: Option<PathBuf>,
    /// Wait for the node, and go on when it is started again.
    ///
    /// Also waits before the node's first start.
    #[arg(long, help_heading = NODE_HEADING, conflicts_with = "file")]
    pub follow: bool,
    /// Stop after N events.
    #[arg(long, help_heading = "Events", value_name = "N", value_parser = number(1_u64..), allow_negative_numbers = true)]
    pub count: Option<u64>,
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

impl TapArgs {
    /// What to tap.
    pub fn options(&self) -> Options {
        let selection = self.selection();
        Options {
            payloads: self.json.payload.payloads_for(&selection),
            selection,
            named: self.source.named(),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// When to drop capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(self.follow, &self.node)
    }

    fn selection(&self) -> Selection {
        let selection = self.selection.selection.clone();
        if self.pcap.is_some() {
            selection.within(pcap::Writer::tracepoints())
        } else if self.nats.is_given() {
            selection.or_of(NatsArgs::default_tracepoints()).within(NatsArgs::tracepoints())
        } else {
            selection
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.destination.check()?;
        self.source.check(!self.replay.files.is_empty() || self.subscribe.is_given())?;
        self.replay.check()?;
        self.subscribe.check_of_one()?;
        if self.nats.is_given() {
            if self.destination.place().is_some() || self.pretty {
                return Err("--nats cannot be used with --json and --pretty: `export` can have several outputs".into());
            }
            let lines = self.json.lines(false);
            if self.nats.records() && (JsonLines { without_payload: false, ..lines }) != JsonLines::default() {
                return Err(
                    "--nats.format recording has no JSON: remove --bytes, --integers, --max-bytes, --payload raw and \
                     --json-source"
                        .into(),
                );
            }
            self.nats.options(self.source.node(), lines)?;
        }
        if self.selection().tracepoints().is_empty() {
            self.selection.check()?;
            if self.nats.is_given() {
                return Err(
                    "--nats never publishes the wallet's coin selection, and --events chooses nothing else".into()
                );
            }
            return Err(
                "--pcap writes P2P messages and connections, and --events chooses none of them: add net to it".into()
            );
        }
        self.node.check(self.follow)?;
        self.privileges.check(self.follow)
    }
}
