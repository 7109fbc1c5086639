//! Where events come from: a node, followed over its runs, or a recording. In: what was said of it. Out: the same to a [`Sink`].

use bitcointap::{privileges, process::Which, tap::Options};

use crate::{
    arguments::{NodeArgs, ReplayArgs},
    follow::{self, DropCapabilities, Sink},
    replay::Replay,
    result::Result,
    stop::Stop,
};

/// Where events come from.
pub enum Source {
    Node(Which),
    Recording(Box<Replay>),
}

impl Source {
    /// Opens a recording, if there is to be one; else lets go of the capabilities that no node takes.
    pub fn open(replay: &ReplayArgs, node: &NodeArgs, options: &Options) -> Result<Self> {
        match &replay.file {
            Some(path) => {
                let recording = Replay::open(path, replay.speed, &options.selection)?;
                privileges::drop_all()?;
                Ok(Self::Recording(Box::new(recording)))
            }
            None => {
                privileges::keep_for_attaching()?;
                Ok(Self::Node(node.which()))
            }
        }
    }

    /// Gives all to `sink`, until it is time to stop or nothing more comes.
    pub fn feed(
        self,
        options: &Options,
        stop: &Stop,
        follows: bool,
        drops: DropCapabilities,
        sink: &mut impl Sink,
    ) -> Result<()> {
        match self {
            Self::Node(which) => follow::run(&which, options, stop, follows, drops, sink),
            Self::Recording(replay) => replay.run(stop, sink),
        }
    }
}
