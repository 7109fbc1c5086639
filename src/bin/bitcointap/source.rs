//! Where events come from: a node, followed over its runs, or a recording. In: what was said of it. Out: the same to outputs.

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

/// Where events come from.
pub enum Source {
    Node(Box<Follow>),
    Recording(Box<Replay>),
}

impl Source {
    /// Opens a recording, if there is to be one; else lets go of the capabilities that no node takes.
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

    /// A node, for which capabilities are kept that attaching takes.
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

    /// Gives all to `outputs`, until it is time to stop or nothing more comes.
    pub fn feed(self, stop: &Stop, outputs: &mut Outputs<'_>) -> Result<()> {
        match self {
            Self::Node(follow) => follow.run(stop, outputs),
            Self::Recording(replay) => replay.run(stop, outputs),
        }
    }
}
