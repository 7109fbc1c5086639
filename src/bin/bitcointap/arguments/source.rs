//! What the operator calls the node, in recordings.

use bitcointap::capture::Named;
use clap::Args;

use super::NODE_HEADING;

/// A name and labels.
#[derive(Debug, Args)]
#[command(next_help_heading = NODE_HEADING)]
pub struct SourceArgs {
    /// A name for the node, by which to tell its recordings and events from those of others. It is written into recordings, and into
    /// JSON with --json-source. Metrics do not have it: Prometheus adds its own labels.
    #[arg(hide_short_help = true, long = "node-name", value_name = "NAME", value_parser = node_name)]
    name: Option<String>,
    /// A label for the node, such as site=fra1; written where --node-name is. Can be given up to 32 times.
    #[arg(hide_short_help = true, long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

impl SourceArgs {
    /// The node's name, if it was given.
    pub fn node(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What was given.
    pub fn named(&self) -> Named {
        self.checked().expect("it was checked")
    }

    /// `has_other` says that a recording or another bitcointap is read in place of a node.
    pub(super) fn check(&self, has_other: bool) -> Result<(), String> {
        if has_other && (self.name.is_some() || !self.labels.is_empty()) {
            return Err(
                "--node-name and --label are for a node: a recording has what it was made with, also over NATS".into(),
            );
        }
        self.checked().map(drop).map_err(|words| format!("--label: {words}"))
    }

    fn checked(&self) -> Result<Named, String> {
        let named = match &self.name {
            Some(name) => Named::default().with_node(name)?,
            None => Named::default(),
        };
        self.labels.iter().try_fold(named, |named, (name, value)| named.with_label(name, value))
    }
}

fn node_name(text: &str) -> Result<String, String> {
    Named::check_node(text).map(|()| text.to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE, such as site=fra1")?;
    Named::check_label(name, value).map(|()| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::arguments::{Cli, Command};

    #[test]
    fn a_node_has_a_name_and_labels() {
        let parse = |line: &str| Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split(' ')));
        let given = "--node-name alice --label site=fra1 --label rack=a=b";
        for line in [format!("record f {given}"), format!("tap {given}"), format!("export {given}")] {
            let named = match parse(&line).unwrap().command {
                Some(Command::Record(args)) => args.options().named,
                Some(Command::Tap(args)) => args.options().named,
                Some(Command::Export(args)) => args.options().named,
                other => panic!("{other:?}"),
            };
            assert_eq!(named.node(), Some("alice"), "{line}");
            assert_eq!(named.labels().collect::<Vec<_>>(), [("rack", "a=b"), ("site", "fra1")], "{line}");
        }
        for (line, words) in [
            ("--node-name ", "must have 1 to 64 bytes"),
            ("--label site", "must be NAME=VALUE, such as site=fra1"),
            ("--label 1=x", "no digit first"),
            ("--label __a=x", "Prometheus' own"),
            ("--label a=", "must have 1 to 256 bytes"),
            ("--label a=x --label a=y", "--label: the label a is given twice"),
            ("--replay f --node-name a", "a recording has what it was made with"),
            ("export --replay f --label a=x", "a recording has what it was made with"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.lines().next().unwrap().contains(words), "{line}: {text}");
        }
        assert!(parse("top --node-name a").is_err() && parse("probes --label a=b").is_err());
    }
}
