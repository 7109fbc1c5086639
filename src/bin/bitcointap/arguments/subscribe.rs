//! Another bitcointap in place of a node, whose recording comes over NATS.

use bitcointap::{
    nats::{NatsSource, Start, Stored, Subjects},
    selection::Selection,
    units,
};
use clap::Args;

use super::{
    NODE_HEADING,
    servers::{prefix, server_args, url},
};

server_args!(ReadServerArgs, "source", "source-urls");

/// Another bitcointap in place of a node.
#[derive(Debug, Args)]
#[command(next_help_heading = NODE_HEADING)]
pub struct SubscribeArgs {
    /// Read over NATS what another bitcointap taps: nats://HOST[:PORT].
    ///
    /// It publishes with --nats.format recording. Also tls://HOST[:PORT]. Can be given several times for servers of one cluster.
    #[arg(
        hide_short_help = true,
        id = "source-urls",
        long = "source",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = url,
        requires = "source-node",
        conflicts_with_all = ["NodeArgs", "drop_capabilities"]
    )]
    urls: Vec<String>,
    /// The name of the node at the other bitcointap: its --node-name. `record` also takes '*', for all nodes.
    #[arg(hide_short_help = true, id = "source-node", long = "node", value_name = "NAME", requires = "source-urls", value_parser = node)]
    node: Option<String>,
    /// What subjects begin with, as --nats.prefix says at the other bitcointap.
    #[arg(hide_short_help = true, id = "source-prefix", long = "source.prefix", value_name = "PREFIX", default_value = Subjects::PREFIX, value_parser = prefix)]
    prefix: String,
    #[command(flatten)]
    server: ReadServerArgs,
    /// Read what JetStream has stored in the stream NAME, from --start on.
    #[arg(hide_short_help = true, id = "source-stream", long = "source.stream", value_name = "NAME", requires_all = ["source-urls", "source-start"])]
    stream: Option<String>,
    /// Where to begin in the stream: a time such as 2026-11-28T17:30:00Z, or @ and the number of a message, such as @1.
    #[arg(hide_short_help = true, id = "source-start", long = "start", value_name = "TIME|@N", requires = "source-stream", value_parser = start)]
    start: Option<Start>,
}

impl SubscribeArgs {
    /// Whether another bitcointap is read.
    pub fn is_given(&self) -> bool {
        !self.urls.is_empty()
    }

    /// What to read. `None` if no server was given.
    pub fn source(&self, wanted: &Selection, over_restarts: bool) -> Result<Option<NatsSource>, String> {
        let Some(node) = self.node.as_deref().filter(|_| self.is_given()) else { return Ok(None) };
        let stored = self.stream.clone().zip(self.start).map(|(stream, start)| Stored { stream, start });
        let server = self.server.server(&self.urls)?;
        let (prefix, wanted) = (self.prefix.clone(), wanted.clone());
        Ok(Some(NatsSource { server, prefix, node: node.to_owned(), stored, wanted, over_restarts }))
    }

    /// Whether all nodes are read.
    pub fn is_of_many(&self) -> bool {
        self.node.as_deref().is_some_and(NatsSource::is_of_many)
    }

    /// Refuses to read all nodes, for a command that shows one.
    pub(super) fn check_of_one(&self) -> Result<(), String> {
        if self.is_of_many() { Err("--node '*' is only for record: name one node".into()) } else { Ok(()) }
    }

    /// Whether it can be read by a command that counts from the beginning of its own time.
    pub(super) fn check_without_start(&self) -> Result<(), String> {
        match self.start {
            Some(_) => {
                Err("--start reads what was stored, and export counts what happens: replay a recording instead".into())
            }
            None => Ok(()),
        }
    }
}

fn node(text: &str) -> Result<String, String> {
    if NatsSource::is_of_many(text) {
        return Ok(text.to_owned());
    }
    Subjects::new(Subjects::PREFIX, Some(text)).map(|_| text.to_owned())
}

fn start(text: &str) -> Result<Start, String> {
    match text.strip_prefix('@') {
        Some(number) => {
            let number = number.parse().ok().filter(|&number| number > 0);
            number.map(Start::Sequence).ok_or_else(|| "must be a time, or @ and a number such as @1".into())
        }
        None => units::time(text).map(Start::Time),
    }
}

#[cfg(test)]
mod tests {
    use crate::arguments::Cli;

    #[test]
    fn a_node_behind_a_server_stands_alone() {
        let parse = |line: &str| Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split_whitespace()));
        let source = "--source nats://a --node alice";
        for line in ["tap", "top", "export", "record f"] {
            parse(&format!("{line} {source} --source.creds f")).unwrap();
        }
        parse(&format!("tap {source} --source.stream s --start @7 --nats nats://b --nats.creds g")).unwrap();
        parse(&format!("top {source} --source.stream s --start 2026-11-28T17:30:00Z")).unwrap();
        for (line, words) in [
            ("tap --source nats://a", "required arguments were not provided"),
            ("tap --node alice", "required arguments were not provided"),
            ("tap --source http://a --node b", "must be nats://HOST[:PORT] or tls://HOST[:PORT]"),
            ("tap --source nats://a --node *", "--node '*' is only for record"),
            ("tap --source nats://a --node a.b", "the node's name is a part of subjects"),
            (&format!("tap {source} --pid 7"), "cannot be used with"),
            (&format!("top {source} --datadir d"), "cannot be used with"),
            (&format!("tap {source} --replay f"), "cannot be used with"),
            (&format!("record f {source} --node-name x"), "--node-name and --label are for a node"),
            (&format!("tap {source} --source.stream s"), "required arguments were not provided"),
            (&format!("tap {source} --source.stream s --start @0"), "must be a time, or @ and a number"),
            (&format!("export {source} --source.stream s --start @1"), "--start reads what was stored"),
            (&format!("tap {source} --source.creds f --source.nkey f"), "cannot be used with"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.lines().next().unwrap().contains(words), "{line}: {text}");
        }
    }
}
