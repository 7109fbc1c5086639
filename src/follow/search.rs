//! Looks for runs of a node, one after another. In: which node. Out: its next run; and to outputs, why there is none.

use std::time::{Duration, Instant};

use crate::{
    Error,
    node::process::{Node, Which},
    output::{Outputs, Waiting},
    stop::Stop,
};

/// How often to look for a node while none runs. So it is tapped within a second of its start, attaching included.
const SEARCH_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait before attaching again to a node to which attaching has failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Looks for runs of the node.
pub(super) struct Search<'a> {
    which: &'a Which,
    /// The last run.
    before: Option<Node>,
    follows: bool,
    /// Whether a run was tapped or waited for already. Then an error is no wrong usage, and somebody may solve it.
    goes_on: bool,
    /// The last logged reason why no node is found.
    told: String,
    /// A node to which attaching failed, and when.
    left_alone: Option<(Node, Instant)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(which: &'a Which, follows: bool) -> Self {
        Self { which, before: None, follows, goes_on: false, told: String::new(), left_alone: None }
    }

    /// The next run; `None` when it is time to stop. If runs are not followed, it is an error that no node runs now.
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

    /// Whether waiting may solve this error, or ending another node.
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

    /// Whether to go on after this error of attaching, since a later run may work. False if the reason is bitcointap itself or its
    /// options: then it would fail again.
    pub(super) fn may_fail(&self, error: &Error) -> bool {
        let is_ours = matches!(
            error,
            Error::Privileges { .. }
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

    /// A run is attached. From now on only its next runs are followed: those with the same data directory and chain.
    pub(super) fn found(&mut self, node: &Node) {
        self.before = Some(node.clone());
        (self.goes_on, self.told, self.left_alone) = (true, String::new(), None);
    }
}
