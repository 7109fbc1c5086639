//! The options of NATS: servers, secrets, subjects. In: options. Out: what to publish, and where.

use std::time::Duration;

use bitcointap::{
    nats::{NatsFormat, NatsOptions, Subjects},
    spool::JsonLines,
    tracepoint::{Tracepoint, Tracepoints},
};
use clap::Args;

use super::{
    servers::{prefix, server_args, url},
    values::time,
};

/// The longest time of --nats.batch. Longer ones would fill the ring buffer of a busy node.
const LONGEST_BATCH: Duration = Duration::from_secs(1);

server_args!(NatsServerArgs, "nats", "urls");

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    /// Publish events over NATS: nats://HOST[:PORT] or tls://HOST.
    ///
    /// The first server that answers gets them. Subjects are PREFIX.NODE.CONTEXT.EVENT[.COMMAND], as in
    /// bitcointap.alice.net.inbound_message.inv. By default events of net, mempool and validation are published; the wallet's coin selection
    /// never is. bitcointap connects again when a connection breaks. Can be given several times for servers of one cluster. In a
    /// configuration file it is also called nats.url.
    #[arg(long = "nats", alias = "nats.url", value_name = "URL", value_delimiter = ',', value_parser = url)]
    urls: Vec<String>,
    #[command(flatten)]
    server: NatsServerArgs,
    /// What messages say.
    ///
    /// With peer-observer, gaps and events that its schema has no place for go as JSON to bitcointap's own subjects, which peer-observer's
    /// tools do not read. A recording takes the fewest bytes. Another bitcointap reads it by --source; a file of its messages, one after
    /// another, can be replayed.
    #[arg(
        hide_short_help = true,
        id = "nats-format",
        long = "nats.format",
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        requires = "urls"
    )]
    format: NatsFormat,
    /// What subjects begin with.
    #[arg(hide_short_help = true, long = "nats.prefix", value_name = "PREFIX", default_value = Subjects::PREFIX, value_parser = prefix)]
    prefix: String,
    /// How long events may wait until those of one subject go in one message: 1s at most. A message has up to 64 KiB.
    #[arg(hide_short_help = true, long = "nats.batch", value_name = "TIME", default_value = "100ms", value_parser = batch)]
    batch: Duration,
    /// Wait until JetStream has stored each message. Without this, events that a server has not confirmed when it dies are counted as lost.
    #[arg(hide_short_help = true, long = "nats.jetstream", requires = "urls")]
    jetstream: bool,
}

impl NatsArgs {
    /// The tracepoints whose events can be published: all but those of the wallet.
    pub fn tracepoints() -> Tracepoints {
        Tracepoint::all().filter(|it| it.context() != "coin_selection").collect()
    }

    /// Those that are published by default.
    pub fn default_tracepoints() -> Tracepoints {
        Tracepoint::all().filter(|it| matches!(it.context(), "net" | "mempool" | "validation")).collect()
    }

    /// Whether to publish.
    pub fn is_given(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Whether blocks of a recording are published.
    pub fn records(&self) -> bool {
        self.format == NatsFormat::Recording
    }

    /// What to publish of a node with this name. `None` if no server was given.
    pub fn options(&self, node: Option<&str>, lines: JsonLines) -> Result<Option<NatsOptions>, String> {
        if !self.is_given() {
            return Ok(None);
        }
        let server = self.server.server(&self.urls)?;
        let subjects = Subjects::new(&self.prefix, node).map_err(|words| format!("--node-name: {words}"))?;
        if self.format == NatsFormat::PeerObserver && lines.without_payload {
            return Err("--nats.format peer-observer needs payloads: remove --payload none".into());
        }
        let Self { format, batch, jetstream, .. } = *self;
        Ok(Some(NatsOptions { server, subjects, format, lines, batch, jetstream }))
    }
}

fn batch(text: &str) -> Result<Duration, String> {
    time(text).and_then(|time| if time <= LONGEST_BATCH { Ok(time) } else { Err("must be 1s at most".into()) })
}

#[cfg(test)]
mod tests {
    use crate::arguments::{Cli, Command};

    #[test]
    fn servers_secrets_and_subjects_are_checked() {
        let parse = |line: &str| Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split_whitespace()));
        let server = |line: &str| {
            let cli = parse(line).unwrap();
            let args = match &cli.command {
                Some(Command::Export(args)) => &args.nats,
                _ => &cli.tap.nats,
            };
            args.options(None, Default::default()).unwrap().map(|options| options.server.to_string())
        };
        assert_eq!(server(""), None);
        assert!(server("--nats nats://a --nats.format recording --payload none").is_some());
        assert_eq!(server("--nats nats://a,tls://b:1").as_deref(), Some("nats://a:4222,tls://b:1"));
        assert_eq!(server("export --nats nats://a --nats nats://b").as_deref(), Some("nats://a:4222,nats://b:4222"));
        for (line, words) in [
            ("--nats http://a", "must be nats://HOST[:PORT] or tls://HOST[:PORT]"),
            ("--nats nats://u:p@a", "must have no user, password or token: name a file by --nats.user-file"),
            ("--nats.creds f", "required arguments were not provided"),
            ("--nats nats://a --nats.creds f --nats.nkey f", "cannot be used with"),
            ("--nats nats://a --nats.tls-cert f", "required arguments were not provided"),
            ("--nats nats://a --nats.prefix a..b", "a prefix has letters"),
            ("--nats nats://a --nats.batch 2s", "must be 1s at most"),
            ("--nats nats://a --node-name a.b", "--node-name: the node's name is a part of subjects"),
            ("export --nats nats://a --node-name a*", "--node-name: the node's name is a part of subjects"),
            ("--nats nats://a --json f", "cannot be used with"),
            ("--nats nats://a --nats.format recording --bytes hex", "--nats.format recording has no JSON"),
            ("--nats nats://a --nats.format recording --json-source", "--nats.format recording has no JSON"),
            ("--nats nats://a --events coin_selection", "--nats never publishes the wallet's coin selection"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.lines().next().unwrap().contains(words), "{line}: {text}");
        }
    }
}
