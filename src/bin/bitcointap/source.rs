//! The source of events: a node that is followed over its runs, a recording, or another bitcointap. In: options. Out: the same calls to
//! outputs from all of them.

use std::sync::Arc;

use bitcointap::{
    follow::{DropCapabilities, Follow},
    live::Origin,
    nats::NatsSource,
    output::Outputs,
    privileges,
    recording::{Progress, Replay},
    stop::Stop,
    tap::Options,
};

use crate::{
    arguments::{NodeArgs, ReplayArgs, SubscribeArgs},
    result::Result,
};

/// The source of events.
pub enum Source {
    Node(Box<Follow>),
    Recording(Box<Replay>),
    /// What another bitcointap publishes.
    Other(Box<NatsSource>),
}

impl Source {
    /// Opens the recordings if some are named, and drops all capabilities. Else as [`Source::live`] does.
    pub fn open(
        replay: &ReplayArgs,
        subscribe: &SubscribeArgs,
        node: &NodeArgs,
        options: &Options,
        over_restarts: bool,
        drop_capabilities: DropCapabilities,
    ) -> Result<Self> {
        if replay.files.is_empty() {
            return Self::live(subscribe, node, options, over_restarts, drop_capabilities);
        }
        let replay = Replay::open(&replay.files, replay.speed, replay.window.limits(), &options.selection)?;
        privileges::drop_all()?;
        Ok(Self::Recording(Box::new(replay)))
    }

    /// Another bitcointap if one is named: drops all capabilities. Else a node: drops all but those needed to attach.
    pub fn live(
        subscribe: &SubscribeArgs,
        node: &NodeArgs,
        options: &Options,
        over_restarts: bool,
        drop_capabilities: DropCapabilities,
    ) -> Result<Self> {
        if let Some(other) = subscribe.source(&options.selection, over_restarts)? {
            privileges::drop_all()?;
            return Ok(Self::Other(Box::new(other)));
        }
        privileges::keep_for_attaching()?;
        let (which, options) = (node.which(), options.clone());
        Ok(Self::Node(Box::new(Follow { which, options, over_restarts, drop_capabilities })))
    }

    /// Joins recordings that overlap, by the times of their events.
    pub fn joined(self) -> Self {
        match self {
            Self::Recording(replay) => Self::Recording(Box::new(replay.joined())),
            source @ (Self::Node(_) | Self::Other(_)) => source,
        }
    }

    /// How much of recordings is read.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Recording(replay) => Some(replay.progress()),
            Self::Node(_) | Self::Other(_) => None,
        }
    }

    /// Whether it is a recording.
    pub fn replays(&self) -> bool {
        matches!(self, Self::Recording(_))
    }

    /// Whether it is a node, for which privileges are needed.
    pub fn taps(&self) -> bool {
        matches!(self, Self::Node(_))
    }

    /// The same for what is shown of it.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Node(_) => Origin::Node,
            Self::Recording(_) => Origin::Recording,
            Self::Other(_) => Origin::Publisher,
        }
    }

    /// Gives everything to `outputs`, until it is time to stop or nothing more comes.
    pub fn feed(self, stop: &Stop, outputs: &mut Outputs<'_>) -> Result<()> {
        match self {
            Self::Node(follow) => follow.run(stop, outputs),
            Self::Recording(replay) => replay.run(stop, outputs),
            Self::Other(other) => other.run(stop, outputs),
        }
    }
}
