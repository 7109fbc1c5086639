//! What the live state cannot see, and why. So a zero means that nothing happened. In: the wanted tracepoints, and those that are
//! attached. Out: a few words for each tracepoint that is not attached, and notes on the list of peers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Live, Origin};
use crate::{
    capture::Run,
    tracepoint::{Tracepoint, Tracepoints},
};

/// Seconds after which each peer has sent a message: a node pings each peer every two minutes.
const FIRST_MESSAGE: f64 = 150.0;
/// If the node started at most this many seconds before the attachment, no peer was missed.
const JUST_STARTED: f64 = 5.0;

/// What the live state cannot see, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sight {
    /// For each tracepoint that is shown but not attached: the reason, by the name of the tracepoint.
    pub unseen: BTreeMap<&'static str, String>,
    /// Why the list of peers may be wrong: a few words for each reason.
    pub peers: Vec<String>,
}

impl Sight {
    /// Why the events of this tracepoint are not seen. `None` if they are.
    pub fn why_not(&self, tracepoint: Tracepoint) -> Option<&str> {
        self.unseen.get(tracepoint.name()).map(String::as_str)
    }

    /// Why the events of all these tracepoints are not seen. `None` if those of at least one are.
    pub fn why_none(&self, tracepoints: &[Tracepoint]) -> Option<&str> {
        let mut reasons = tracepoints.iter().map(|&tracepoint| self.why_not(tracepoint));
        let first = reasons.next().flatten()?;
        reasons.all(|reason| reason.is_some()).then_some(first)
    }
}

/// What is known about the run that is shown.
pub(super) struct Of<'a> {
    pub(super) wanted: Tracepoints,
    pub(super) run: Option<&'a Run>,
    pub(super) origin: Origin,
    /// Seconds from the node's start to the attachment, and from then until now.
    pub(super) before: f64,
    pub(super) since: f64,
}

impl Of<'_> {
    pub(super) fn sight(&self) -> Sight {
        let unseen = Live::tracepoints().iter().filter_map(|it| Some((it.name(), self.why_not(it)?)));
        let mut sight = Sight { unseen: unseen.collect(), peers: Vec::new() };
        if self.run.is_some() {
            sight.peers = self.peers(&sight);
        }
        sight
    }

    fn why_not(&self, tracepoint: Tracepoint) -> Option<String> {
        let Some(run) = self.run else { return Some("not attached".into()) };
        if run.attached.contains(tracepoint) {
            return None;
        }
        Some(if !self.wanted.contains(tracepoint) {
            "not selected (--events)".into()
        } else if self.origin == Origin::Recording {
            "not recorded".into()
        } else if self.origin == Origin::Publisher {
            "not published".into()
        } else if run.failed.contains(tracepoint) {
            "could not be attached to: see the log".into()
        } else {
            format!("needs {}", tracepoint.since())
        })
    }

    fn peers(&self, sight: &Sight) -> Vec<String> {
        use Tracepoint::{
            NetClosedConnection, NetInboundConnection, NetInboundMessage, NetOutboundConnection, NetOutboundMessage,
        };
        let messages = sight.why_none(&[NetInboundMessage, NetOutboundMessage]);
        let openings = sight.why_none(&[NetInboundConnection, NetOutboundConnection]);
        let mut notes = Vec::new();
        match (messages, openings) {
            (Some(why), Some(_)) => return vec![why.to_owned()],
            (Some(why), None) => notes.push(format!("earlier peers are missing (messages: {why})")),
            (None, _) if self.before > JUST_STARTED && self.since < FIRST_MESSAGE => {
                notes.push("older peers: with their first message".to_owned());
            }
            (None, _) => {}
        }
        if let Some(why) = sight.why_not(NetClosedConnection) {
            notes.push(format!("peers that left stay for up to 30 minutes (closings: {why})"));
        }
        notes
    }
}
