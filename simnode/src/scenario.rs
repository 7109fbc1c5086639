//! The scenarios: what happens, in which order and how often. Each takes a [`Node`] and runs until the [`Emitter`] says
//! stop.

mod answers;
mod blocks;
mod churn;
mod flood;
mod handshake;
mod hostile;
mod local;
mod mix;
mod new_block;
mod rare;
mod relay;
mod reorganisation;
mod short;

use crate::{
    cli::{Layout, Options, Scenario},
    emit::{Emitter, Stop},
    node::Node,
};

/// Plays the scenario of `options` until the last event has fired. `thread` numbers this thread from 0.
///
/// `prepared` is called when everything is ready and nothing has fired yet. The first event waits until it returns.
pub fn play(options: &Options, layout: Layout, thread: u32, emitter: &mut Emitter, prepared: impl FnOnce()) {
    let node = &mut Node::new(emitter, options, layout, thread);
    let Err(Stop) = match options.scenario {
        Scenario::Mix => {
            prepared();
            mix::play(node, thread == 0)
        }
        Scenario::Churn => {
            prepared();
            churn::play(node)
        }
        Scenario::Flood => {
            prepared();
            flood::play(node)
        }
        Scenario::Hostile => {
            prepared();
            hostile::play(node)
        }
        Scenario::Blocks => {
            let supply = blocks::Supply::new(node);
            prepared();
            blocks::play(node, supply)
        }
    };
}
