//! The options of `record`.

use std::{path::PathBuf, time::Duration};

use bitcointap::{
    archive::{self, Limits},
    follow::DropCapabilities,
    tap::Options,
};
use clap::Args;

use super::{
    NODE_HEADING, NodeArgs, PayloadArgs, PrivilegeArgs, RedactArgs, RingBufferArgs, SelectionArgs, SourceArgs,
    SubscribeArgs, values::time,
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct RecordArgs {
    /// The recording to write; `-` is standard output. With --rotate a directory.
    ///
    /// A file must not exist yet. With --node '*' it is a directory that does not exist yet, for a file NODE.recording for each node. With --rotate, too, it is
    /// one for a directory of each node.
    #[arg(value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// Write one recording after another into a directory (1h,1GiB).
    ///
    /// A new one begins at an age (s, m, h, d), a size (KiB, MiB, GiB), or the first of both. Each has the UTC time of its beginning as its name, such as 20261129T055148Z.recording, and `.part` after it until it is
    /// complete. Nothing is lost between them. The directory may have recordings of before; it is made if it is missing. The user,
    /// even root, must be allowed to write to it without capabilities.
    #[arg(long = "rotate", value_name = "AGE,SIZE")]
    limits: Option<Limits>,
    /// Remove the oldest recordings of the directory (30d,200GiB).
    ///
    /// Those beyond an age, or beyond a size of all together. Nothing else is ever removed.
    #[arg(long, value_name = "AGE,SIZE", requires = "limits")]
    keep: Option<Limits>,
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
    pub redact: RedactArgs,
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
            payloads: self.payload.payloads_for(&self.selection.selection),
            named: self.source.named(),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// How a directory is filled. `None` for a single recording.
    pub fn archive(&self) -> Option<archive::Options> {
        self.limits.map(|limits| archive::Options { limits, keep: self.keep })
    }

    /// When to drop capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(self.follow, &self.node)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(options) = self.archive() {
            options.check()?;
            if self.file.as_os_str() == "-" {
                return Err("--rotate writes into a directory: name one in place of -".into());
            }
        }
        self.selection.check()?;
        self.source.check(self.subscribe.is_given())?;
        self.node.check(self.follow)?;
        self.privileges.check(self.follow)
    }
}

#[cfg(test)]
mod tests {
    use crate::arguments::{Cli, Command};

    #[test]
    fn recordings_go_into_a_directory_on_request() {
        let parse = |line: &str| match Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split(' ')))?.command
        {
            Some(Command::Record(args)) => Ok(args.archive()),
            other => panic!("{other:?}"),
        };
        assert_eq!(parse("record f").map_err(|error: clap::Error| error.to_string()), Ok(None));
        let options = parse("record d --rotate 1h,1GiB --keep 200GiB").unwrap().unwrap();
        assert_eq!((options.limits, options.keep), ("1GiB,1h".parse().unwrap(), "200GiB".parse().ok()));
        assert_eq!(parse("record d --rotate 1h").unwrap().unwrap().keep, None);
        for (line, words) in [
            ("record d --keep 1d", "required arguments were not provided"),
            ("record - --rotate 1h", "--rotate writes into a directory"),
            ("record d --rotate 1h --keep 1m", "--keep is less than"),
            ("record d --rotate 24", "'24' is neither a size"),
            ("record d --rotate 1h --keep 24", "'24' is neither a size"),
        ] {
            let told = parse(line).unwrap_err().to_string();
            assert!(told.contains(words), "{line}: {told}");
        }
    }
}
