//! The source of events: a node that is followed over its runs, or a recording. In: options. Out: the same calls to outputs from
//! both.

use bitcointap::{
    follow::{DropCapabilities, Follow},
    output::Outputs,
    privileges,
    recording::Replay,
    stop::Stop,
    tap::Options,
};

use crate::{
    arguments::{NodeArgs, ReplayArgs},
    result::Result,
};

/// The source of events.
pub enum Source {
    Node(Box<Follow>),
    Recording(Box<Replay>),
}

impl Source {
    /// Opens the recording if one is named, and drops all capabilities. Else prepares a node, as [`Source::node`] does.
    pub fn open(
        replay: &ReplayArgs,
        node: &NodeArgs,
        options: &Options,
        over_restarts: bool,
        drop_capabilities: DropCapabilities,
    ) -> Result<Self> {
        if replay.files.is_empty() {
            return Self::node(node, options, over_restarts, drop_capabilities);
        }
        let recordings = Replay::open(&replay.files, replay.speed, replay.window(), &options.selection)?;
        privileges::drop_all()?;
        Ok(Self::Recording(Box::new(recordings)))
    }

    /// A node. Drops all capabilities but those needed to attach.
    pub fn node(
        node: &NodeArgs,
        options: &Options,
        over_restarts: bool,
        drop_capabilities: DropCapabilities,
    ) -> Result<Self> {
        privileges::keep_for_attaching()?;
        let (which, options) = (node.which(), options.clone());
        Ok(Self::Node(Box::new(Follow { which, options, over_restarts, drop_capabilities })))
    }

    /// Whether it is a recording.
    pub fn replays(&self) -> bool {
        matches!(self, Self::Recording(_))
    }

    /// Gives everything to `outputs`, until it is time to stop or nothing more comes.
    pub fn feed(self, stop: &Stop, outputs: &mut Outputs<'_>) -> Result<()> {
        match self {
            Self::Node(follow) => follow.run(stop, outputs),
            Self::Recording(replay) => replay.run(stop, outputs),
        }
    }
}
