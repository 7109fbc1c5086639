//! Looks for runs of a node, one after another. In: which node. Out: its next run, and to outputs, why there is none.

use std::time::{Duration, Instant};

use crate::{
    Error,
    node::process::{Node, Which},
    output::{Outputs, Waiting},
    stop::Stop,
};

/// How often a node is looked for while none runs; with attaching it is tapped within a second of its start.
const SEARCH_INTERVAL: Duration = Duration::from_millis(200);
/// How long a node that could not be attached to is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Looks for runs of the node.
pub(super) struct Search<'a> {
    which: &'a Which,
    /// The last run.
    before: Option<Node>,
    follows: bool,
    /// Whether a run was tapped or waited for already: what fails then may be mended, and is no wrong usage.
    goes_on: bool,
    /// Why none is found, when that was last told.
    told: String,
    /// One that could not be attached to, and when.
    left_alone: Option<(Node, Instant)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(which: &'a Which, follows: bool) -> Self {
        Self { which, before: None, follows, goes_on: false, told: String::new(), left_alone: None }
    }

    /// The next run; none when it is time to stop. Without following, what is not there now is an error.
    pub(super) fn next(&mut self, stop: &Stop, outputs: &mut Outputs<'_>) -> Result<Option<Node>, Error> {
        loop {
            if stop.is_due() {
                return Ok(None);
            }
            match self.which.look(self.before.as_ref()) {
                Ok(node) if !self.is_left_alone(&node) => return Ok(Some(node)),
                Ok(_) | Err(Error::NodeStarts(_)) => {}
                Err(error) if self.waits_for(&error) => self.tell(&error, outputs),
                Err(error) => return Err(error),
            }
            outputs.idle();
            if outputs.are_done() {
                return Ok(None);
            }
            stop.wait(stop.at_most(SEARCH_INTERVAL));
        }
    }

    /// Whether it is only a matter of time, or of ending another node.
    fn waits_for(&self, error: &Error) -> bool {
        let is_absent = matches!(
            error,
            Error::NoNode
                | Error::NotRunning(_)
                | Error::SeveralNodes(_)
                | Error::OtherNodes { .. }
                | Error::PidGone(_)
                | Error::PidFile { .. }
        );
        self.follows && (self.goes_on || is_absent)
    }

    fn tell(&mut self, error: &Error, outputs: &mut Outputs<'_>) {
        self.goes_on = true;
        let words = error.to_string();
        if self.told != words {
            outputs.waits(&Waiting { why: &words, has_failed: false });
            tracing::info!("waiting for a node: {words}");
            self.told = words;
        }
    }

    /// Whether attaching to this run may fail without that being told by the end: others will come. What lies at us or at how
    /// we were called will fail again.
    pub(super) fn may_fail(&self, error: &Error) -> bool {
        let is_ours = matches!(
            error,
            Error::Privileges(_)
                | Error::KernelTooOld(_)
                | Error::RingBufferSize(_)
                | Error::NoneChosen(..)
                | Error::Unreadable { .. }
                | Error::Bpf { .. }
                | Error::System { .. }
        );
        self.follows && (self.goes_on || !is_ours)
    }

    pub(super) fn leave_alone(&mut self, node: Node) {
        self.left_alone = Some((node, Instant::now()));
    }

    fn is_left_alone(&self, node: &Node) -> bool {
        let recently = |since: &Instant| since.elapsed() < RETRY_INTERVAL;
        self.left_alone.as_ref().is_some_and(|(left, since)| left == node && recently(since))
    }

    /// A run is attached to, and its next ones are followed: not those of another data directory or chain.
    pub(super) fn found(&mut self, node: &Node) {
        self.before = Some(node.clone());
        (self.goes_on, self.told, self.left_alone) = (true, String::new(), None);
    }
}
