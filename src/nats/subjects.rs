//! Subjects. In: a prefix, a node's name, a tracepoint, a command. Out: names that NATS accepts, which no peer can choose.

use std::fmt::Write;

use crate::{
    capture::Run,
    event::{Event, Kind},
    p2p,
    spool::Line,
    tracepoint::Tracepoint,
};

/// Where a publisher publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
    node: Option<String>,
    /// The name of this machine.
    host: String,
}

impl Subjects {
    /// The default prefix.
    pub const PREFIX: &'static str = "bitcointap";

    /// With a prefix of one or more tokens, and the name of the node if it is known.
    ///
    /// # Errors
    /// A line that says which names are right.
    pub fn new(prefix: &str, node: Option<&str>) -> Result<Self, String> {
        let is_right = !prefix.is_empty() && prefix.len() <= 128 && prefix.split('.').all(is_token);
        if !is_right {
            return Err(
                "a prefix has letters, digits, '_' and '-', in parts that '.' separates, such as bitcointap".into()
            );
        }
        if node.is_some_and(|node| !is_token(node)) {
            return Err("the node's name is a part of subjects: only letters, digits, '_' and '-' are right".into());
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self { prefix: prefix.to_owned(), node: node.map(str::to_owned), host })
    }

    /// What all subjects of a run begin with; without a run, those of the publisher. A node without a name has that of its machine.
    pub(super) fn of_run(&self, run: Option<&Run>) -> String {
        let told = run.and_then(|run| run.named.node().or(run.host.as_deref()));
        let node = self.node.as_deref().or(told).unwrap_or(&self.host);
        format!("{}.{}", self.prefix, token(node))
    }
}

/// Whether a name is a token as it is. Others would need quotes in a shell, or mean something to NATS.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A name made a token: each other character becomes `_`.
fn token(name: &str) -> String {
    let right = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let token: String = name.chars().take(64).map(right).collect();
    if token.is_empty() { "unknown".into() } else { token }
}

/// The subjects of one run, each made once.
#[derive(Debug)]
pub(super) struct OfRun {
    beginning: String,
    /// By [`Tracepoint::index`] and the command's place; of events without a command at place 0.
    made: Vec<Vec<Option<Box<str>>>>,
}

impl OfRun {
    pub(super) fn new(beginning: String) -> Self {
        let commands = p2p::counted_names().count();
        Self { beginning, made: vec![vec![None; commands]; Tracepoint::COUNT] }
    }

    /// The subject of an event. `None` for a gap: see [`OfRun::of_gap`].
    pub(super) fn of(&mut self, event: &Event<'_>, line: Line) -> Option<&str> {
        let Line::Event(tracepoint) = line else { return None };
        let command = match &event.kind {
            Kind::Msg(message) => Some(p2p::counted_index(message.meta.command)),
            _ => None,
        };
        let Self { beginning, made } = self;
        let subject = made[tracepoint.index()][command.unwrap_or(0)].get_or_insert_with(|| {
            let mut subject = format!("{beginning}.{}.{}", tracepoint.context(), tracepoint.event());
            if let Some(name) = command.and_then(|place| p2p::counted_names().nth(place)) {
                write!(subject, ".{name}").expect("memory takes all");
            }
            subject.into()
        });
        Some(subject)
    }

    pub(super) fn of_gap(&self, tracepoint: Tracepoint) -> String {
        format!("{}.lost.{}.{}", self.beginning, tracepoint.context(), tracepoint.event())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tokens() {
        for (name, expected) in
            [("alice", "alice"), ("a.b c", "a_b_c"), ("*", "_"), (">", "_"), ("", "unknown"), ("é\n", "__")]
        {
            assert_eq!(token(name), expected, "{name:?}");
        }
        assert_eq!(token(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn a_prefix_and_a_name_that_are_no_tokens_are_refused() {
        for prefix in ["", ".", "a.", "a..b", "a b", "a.*", ">", "$SYS é"] {
            assert!(Subjects::new(prefix, None).is_err(), "{prefix:?}");
        }
        for node in ["", "a.b", "*", "a b"] {
            assert!(Subjects::new("a.b-c", Some(node)).is_err(), "{node:?}");
        }
        assert_eq!(Subjects::new("a.b-c", Some("alice")).unwrap().of_run(None), "a.b-c.alice");
    }
}
