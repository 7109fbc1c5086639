//! The tracepoints of Bitcoin Core (doc/tracing.md there), sets of them, and why an event can be lost.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::kernel_side::{Layout, types};

/// What an event is about. This decides which conditions can select it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A P2P message that the node received.
    MessageToNode,
    /// A P2P message that the node sends.
    MessageToPeer,
    /// A connection that the peer opened.
    InboundConnection,
    /// One that the node opened.
    OutboundConnection,
    /// A connection that either opened.
    AnyConnection,
    /// A peer; the event says nothing else of its connection.
    Peer,
    /// A coin: it fires thousands of times for a block.
    Coin,
    /// Anything else.
    NoPeer,
}

/// What is known of each tracepoint.
struct Info {
    tracepoint: Tracepoint,
    name: &'static str,
    since: &'static str,
    arguments: &'static [usize],
    about: About,
    layout: Layout<'static>,
}

macro_rules! tracepoints {
    ($(
        $(#[$doc:meta])*
        $variant:ident: $name:literal, since $since:literal, arguments [$($arguments:literal),+], about $about:ident,
            record $record:ident;
    )*) => {
        /// A tracepoint that Bitcoin Core documents, named `context:event`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Tracepoint { $( $(#[$doc])* $variant, )* }

        static INFO: &[Info] = &[$( Info {
            tracepoint: Tracepoint::$variant,
            name: $name,
            since: $since,
            arguments: &[$($arguments),+],
            about: About::$about,
            layout: Layout::of::<types::$record>(),
        }, )*];

        impl Tracepoint {
            /// How many tracepoints there are.
            pub const COUNT: usize = [$($name),*].len();
        }
    };
}

include!("tracepoint/table.rs");

impl Tracepoint {
    /// All tracepoints, by context.
    pub fn all() -> impl Iterator<Item = Tracepoint> {
        INFO.iter().map(|info| info.tracepoint)
    }

    /// The tracepoint with this number on the kernel side.
    pub fn from_id(id: u8) -> Option<Tracepoint> {
        INFO.get(usize::from(id)).map(|info| info.tracepoint)
    }

    /// Its place in [`Tracepoint::all`], which is also its number on the kernel side.
    pub fn index(self) -> usize {
        self as usize
    }

    /// `context:event`, as in `net:inbound_message`.
    pub fn name(self) -> &'static str {
        INFO[self.index()].name
    }

    /// The part before the colon: the USDT provider.
    pub fn context(self) -> &'static str {
        self.split().0
    }

    /// The part after the colon: the USDT name.
    pub fn event(self) -> &'static str {
        self.split().1
    }

    /// Whether its events are P2P messages.
    pub(crate) fn is_of_messages(self) -> bool {
        matches!(self.about(), About::MessageToNode | About::MessageToPeer)
    }

    /// The first release of Bitcoin Core that has it.
    pub fn since(self) -> &'static str {
        INFO[self.index()].since
    }

    /// Whether this many arguments are a known layout.
    pub fn supports(self, arguments: usize) -> bool {
        INFO[self.index()].arguments.contains(&arguments)
    }

    /// What its events are about.
    pub(crate) fn about(self) -> About {
        INFO[self.index()].about
    }

    /// How its records lie in memory.
    pub(crate) fn layout(self) -> &'static Layout<'static> {
        &INFO[self.index()].layout
    }

    fn split(self) -> (&'static str, &'static str) {
        self.name().split_once(':').expect("every name in INFO has a colon")
    }
}

impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Tracepoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A set of tracepoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracepoints(u32);

const _: () = assert!(Tracepoint::COUNT <= u32::BITS as usize, "a set has a bit for each tracepoint");

impl Tracepoints {
    /// All but [`Tracepoints::coins`], which fire thousands of times for a block.
    pub fn default_set() -> Self {
        Tracepoint::all().filter(|tracepoint| tracepoint.about() != About::Coin).collect()
    }

    /// `utxocache:add`, `spent` and `uncache`: each hit is one coin.
    pub fn coins() -> Self {
        Tracepoint::all().filter(|tracepoint| tracepoint.about() == About::Coin).collect()
    }

    /// The names of the groups: each context once.
    pub(crate) fn contexts() -> impl Iterator<Item = &'static str> {
        let mut last = "";
        Tracepoint::all()
            .map(Tracepoint::context)
            .filter(move |&context| std::mem::replace(&mut last, context) != context)
    }

    /// One bit for each, at its [`Tracepoint::index`].
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Whether the set contains `tracepoint`.
    pub fn contains(self, tracepoint: Tracepoint) -> bool {
        self.0 & (1 << tracepoint.index()) != 0
    }

    /// Whether the set contains any of `tracepoints`.
    pub fn contains_any(self, tracepoints: &[Tracepoint]) -> bool {
        tracepoints.iter().any(|&tracepoint| self.contains(tracepoint))
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many the set contains.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The tracepoints in the set, by context.
    pub fn iter(self) -> impl Iterator<Item = Tracepoint> {
        Tracepoint::all().filter(move |&tracepoint| self.contains(tracepoint))
    }
}

impl FromIterator<Tracepoint> for Tracepoints {
    fn from_iter<I: IntoIterator<Item = Tracepoint>>(tracepoints: I) -> Self {
        Self(tracepoints.into_iter().fold(0, |set, tracepoint| set | 1 << tracepoint.index()))
    }
}

/// Names, separated by commas.
impl fmt::Display for Tracepoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Tracepoint::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// Words separated by commas: `all`, `default`, a context (`net`) or a tracepoint (`mempool:added`).
impl FromStr for Tracepoints {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let mut set = Tracepoints::default();
        for word in words.split(',').map(str::trim) {
            let these: Tracepoints = match word {
                "all" => Tracepoint::all().collect(),
                "default" => Tracepoints::default_set(),
                _ => Tracepoint::all().filter(|t| word == t.context() || word == t.name()).collect(),
            };
            if these.is_empty() {
                let groups: Vec<&str> = Tracepoints::contexts().collect();
                let (last, others) = groups.split_last().expect("there are tracepoints");
                return Err(format!(
                    "no tracepoint or group is called '{word}'; groups are all, default, {} and {last}, a tracepoint is \
                     for example mempool:added",
                    others.join(", ")
                ));
            }
            set.0 |= these.0;
        }
        Ok(set)
    }
}

/// Why an event that fired was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum LossReason {
    /// The ring buffer between kernel and reader had no room.
    RingFull,
    /// The kernel side could not read the memory that the tracepoint points to.
    Unreadable,
    /// The queue to an output was full.
    QueueFull,
    /// Writing to an output failed.
    WriteFailed,
    /// bitcointap ended before it read the events.
    Stopped,
    /// They were published, and did not come to the bitcointap that was to read them.
    NotReceived,
    /// Nobody recorded them: the recorder was not running.
    NotRecorded,
}

impl LossReason {
    /// Those that the kernel side counts, in the order of `enum loss_reason` in bpf/event.h.
    pub const KERNEL: [LossReason; 2] = [LossReason::RingFull, LossReason::Unreadable];

    /// All of them, those of the kernel side first.
    pub const ALL: [LossReason; 7] = [
        LossReason::RingFull,
        LossReason::Unreadable,
        LossReason::QueueFull,
        LossReason::WriteFailed,
        LossReason::Stopped,
        LossReason::NotReceived,
        LossReason::NotRecorded,
    ];

    /// Whether the kernel side counts it.
    pub fn is_of_kernel(self) -> bool {
        (self as usize) < Self::KERNEL.len()
    }

    /// Whether somebody has counted the lost events.
    pub fn is_counted(self) -> bool {
        self != LossReason::NotRecorded
    }

    /// The name in labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            LossReason::RingFull => "ring_full",
            LossReason::Unreadable => "unreadable",
            LossReason::QueueFull => "queue_full",
            LossReason::WriteFailed => "write_failed",
            LossReason::Stopped => "stopped",
            LossReason::NotReceived => "not_received",
            LossReason::NotRecorded => "not_recorded",
        }
    }
}

impl Serialize for LossReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_stand_together() {
        let contexts: Vec<&str> = Tracepoints::contexts().collect();
        let each: std::collections::BTreeSet<&str> = Tracepoint::all().map(Tracepoint::context).collect();
        assert_eq!(contexts.len(), each.len());
    }

    #[test]
    fn each_stands_at_its_own_index() {
        for (index, tracepoint) in Tracepoint::all().enumerate() {
            assert_eq!(tracepoint.index(), index);
            assert_eq!(Tracepoint::from_id(index as u8), Some(tracepoint));
        }
        assert_eq!(Tracepoint::from_id(Tracepoint::COUNT as u8), None);
    }

    #[test]
    fn words_choose_groups_and_tracepoints() {
        let parse = |words: &str| words.parse::<Tracepoints>().unwrap();
        let count = |prefix: &str| Tracepoint::all().filter(|it| it.name().starts_with(prefix)).count();
        assert_eq!(parse("all").len(), Tracepoint::COUNT);
        assert_eq!(parse("default").len(), Tracepoint::COUNT - Tracepoints::coins().len());
        assert_eq!(parse("utxocache").len() - Tracepoints::coins().len(), 1, "the flush");
        assert_eq!(parse("net").len(), count("net:"));
        assert_eq!(parse("mempool:added").iter().collect::<Vec<_>>(), [Tracepoint::MempoolAdded]);
        assert_eq!(parse("net, mempool:added").len(), count("net:") + 1);
        let error = "net,mempol".parse::<Tracepoints>().unwrap_err();
        assert!(
            error
                .contains("'mempol'; groups are all, default, net, mempool, validation, utxocache and coin_selection,")
        );
        assert!("".parse::<Tracepoints>().is_err());
    }
}
