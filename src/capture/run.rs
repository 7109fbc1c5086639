//! A run of a node: what is known at its beginning, and what was counted by its end.

use std::path::PathBuf;

use super::{Counters, Named};
use crate::{
    event::Lost,
    node::process::Chain,
    tracepoint::{Tracepoint, Tracepoints},
};

/// A run of a node, as known when attaching to it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Run {
    /// Its process.
    pub pid: i32,
    /// The path of its program.
    pub program: PathBuf,
    /// Its data directory. Unknown of a recording of version 2, as the next two.
    pub data_directory: Option<PathBuf>,
    /// Its chain.
    pub chain: Option<Chain>,
    /// The name of the machine.
    pub host: Option<String>,
    /// What its operator calls it.
    pub named: Named,
    /// Its own user agent, which names its version. It is known once the node has told it to a peer: of a recording that begins later.
    pub user_agent: Option<String>,
    /// When it was started, UNIX time in seconds.
    pub start_time: f64,
    /// The attached tracepoints: those that are wanted and that its program has.
    pub attached: Tracepoints,
    /// The wanted tracepoints that its program has, but to which attaching failed while it ran.
    pub failed: Tracepoints,
    /// Set if recordings of several nodes are replayed together: then each JSON line says which node it is of.
    pub joined: Option<Joined>,
}

/// That runs of several nodes are replayed together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The recording of the run, if nothing else tells its node from the others.
    pub recording: Option<String>,
}

impl Run {
    /// A run of which nothing else is known, for a state that gets its events from elsewhere.
    pub fn new(pid: i32, program: PathBuf, start_time: f64, attached: Tracepoints) -> Self {
        Self {
            pid,
            program,
            data_directory: None,
            chain: None,
            host: None,
            named: Named::default(),
            user_agent: None,
            start_time,
            attached,
            failed: Tracepoints::default(),
            joined: None,
        }
    }
}

/// What was counted in a run after its last batch.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Counted {
    /// Since the last batch, by [`Tracepoint::index`].
    pub added: [Counters; Tracepoint::COUNT],
    /// Losses after the last event that was delivered. No later record reports them.
    pub untold: Vec<Lost>,
}

/// What ended the tapping of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Stopping was requested, or the given time is over.
    Requested,
    /// The node has ended.
    NodeEnded,
    /// A required output wants no more.
    Done,
}

impl End {
    /// Why nothing is attached any more.
    pub fn why_not_attached(self) -> &'static str {
        match self {
            End::NodeEnded => "the node has ended",
            End::Requested | End::Done => "stopping",
        }
    }
}
