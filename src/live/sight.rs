//! What cannot be seen, and why, so that a zero means that there was nothing. In: what is wanted, and what of it a run of the
//! node has. Out: a few words for each tracepoint that is not heard, and of peers that may not be shown as they are.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Live;
use crate::{
    capture::Run,
    tracepoint::{Tracepoint, Tracepoints},
};

/// A node pings each peer every two minutes: then each has told of itself.
const FIRST_MESSAGE: f64 = 150.0;
/// A node that started so short a time before is seen from its first peer on.
const JUST_STARTED: f64 = 5.0;

/// What cannot be seen, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sight {
    /// Of the tracepoints that something is shown of, those that are not heard.
    pub unseen: BTreeMap<&'static str, String>,
    /// Why there may be other peers than those that are shown.
    pub peers: Vec<String>,
}

impl Sight {
    /// Why nothing is known of what this one tells.
    pub fn why_not(&self, tracepoint: Tracepoint) -> Option<&str> {
        self.unseen.get(tracepoint.name()).map(String::as_str)
    }

    /// The same of what several tell together, where none of them is heard.
    pub fn why_none(&self, tracepoints: &[Tracepoint]) -> Option<&str> {
        let mut reasons = tracepoints.iter().map(|&tracepoint| self.why_not(tracepoint));
        let first = reasons.next().flatten()?;
        reasons.all(|reason| reason.is_some()).then_some(first)
    }
}

/// What is known of the run that is looked at.
pub(super) struct Of<'a> {
    pub(super) wanted: Tracepoints,
    pub(super) run: Option<&'a Run>,
    pub(super) is_replay: bool,
    /// Seconds from the node's start to the attachment, and since then.
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
        } else if self.is_replay {
            "not recorded".into()
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
            (Some(why), None) => notes.push(format!("none from before (messages: {why})")),
            (None, _) if self.before > JUST_STARTED && self.since < FIRST_MESSAGE => {
                notes.push("older peers appear with their first message, about two minutes".to_owned());
            }
            (None, _) => {}
        }
        if let Some(why) = sight.why_not(NetClosedConnection) {
            notes.push(format!("who left stays for up to 30 minutes (closings: {why})"));
        }
        notes
    }
}
