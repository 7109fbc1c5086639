//! What a group of families is. In: what the event loop tells [`Metrics`](super::Metrics). Out: the same for each group
//! in the list of metrics.rs, with what all of them may use.

use super::{Options, clock::Clock, family::Registered, state::State};
use crate::{
    best_chain::{BestChain, Block, Connected},
    capture::Counters,
    event::{Event, Kind, validation::Validation},
    tracepoint::{Tracepoint, Tracepoints},
};

/// Every payload is shorter.
pub(super) const WHOLE: u32 = u32::MAX;

/// Families of one subject, and what they remember of a run of the node.
pub(super) trait Group: Sized {
    /// The commands whose payloads it reads, and how many bytes of each. If no group reads a command, the kernel side
    /// does not copy its payload for metrics.
    fn reads(_options: &Options) -> Vec<(&'static str, u32)> {
        Vec::new()
    }

    fn new(options: &Options) -> Self;

    /// A tap has these tracepoints: show the families that they feed, and no others.
    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered);

    /// It takes no lock and allocates nothing, except when it sees a series for the first time.
    fn observe(&mut self, event: &Event<'_>, shared: &Shared);

    /// What the kernel side has counted since the last call, by [`Tracepoint::index`].
    fn counted(&mut self, _added: &[Counters; Tracepoint::COUNT]) {}

    /// The node has ended; forget everything that belongs to its run.
    fn node_gone(&mut self) {}
}

/// What all groups may use.
pub(super) struct Shared {
    /// Counts what falls out of their tables.
    pub(super) state: State,
    pub(super) clock: Clock,
    chain: BestChain,
    block: Connected,
}

impl Shared {
    pub(super) fn new(options: &Options) -> Self {
        let state = State::new(options);
        Self { state, clock: Clock::default(), chain: BestChain::default(), block: Connected::default() }
    }

    /// Runs before the groups see the event.
    pub(super) fn observe(&mut self, event: &Event<'_>) {
        self.clock.tick(event.time, event.moment);
        if let Kind::Validation { event: Validation::BlockConnected { hash, height, .. } } = &event.kind {
            let &Event { time, moment, .. } = event;
            self.block = self.chain.connect(Block { height: *height, hash: hash.0, time, moment });
        }
    }

    pub(super) fn node_gone(&mut self) {
        self.chain = BestChain::default();
    }

    /// What the last connected block turned out to be.
    pub(super) fn block(&self) -> &Connected {
        &self.block
    }

    /// Where the chain is, if a block has been connected.
    pub(super) fn tip(&self) -> Option<&Block> {
        self.chain.tip()
    }
}

/// The list of groups: field and type of each. Calls go to the groups in the order of the list.
macro_rules! groups {
    ($($name:ident: $group:ty,)+) => {
        struct Groups { $($name: $group,)+ }

        impl Groups {
            fn new(options: &Options) -> Self {
                Self { $($name: <$group as Group>::new(options),)+ }
            }

            /// What the groups together read of payloads, each command once.
            fn reads(options: &Options) -> BTreeMap<&'static str, u32> {
                let mut reads = BTreeMap::new();
                for (command, bytes) in [$(<$group as Group>::reads(options),)+].concat() {
                    let most = reads.entry(command).or_default();
                    *most = bytes.max(*most);
                }
                reads
            }

            fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
                $(Group::attach(&mut self.$name, attached, registered);)+
            }

            fn observe(&mut self, event: &Event<'_>, shared: &Shared) {
                $(Group::observe(&mut self.$name, event, shared);)+
            }

            fn counted(&mut self, added: &[Counters; Tracepoint::COUNT]) {
                $(Group::counted(&mut self.$name, added);)+
            }

            fn node_gone(&mut self) {
                $(Group::node_gone(&mut self.$name);)+
            }
        }
    };
}
pub(super) use groups;
