//! The tracepoints of Bitcoin Core (doc/tracing.md there), sets of them, and why an event can be lost.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A tracepoint that Bitcoin Core documents, named `context:event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Tracepoint {
    /// A message was taken up for processing, which may be later than it arrived.
    NetInboundMessage,
    /// A message was queued for sending; it may never be sent.
    NetOutboundMessage,
    /// A peer connected to us.
    NetInboundConnection,
    /// We connected to a peer.
    NetOutboundConnection,
    /// An inbound connection was chosen to make room for another.
    NetEvictedInboundConnection,
    /// A connection was closed.
    NetClosedConnection,
    /// A peer broke a rule.
    NetMisbehavingConnection,
    /// A transaction entered the mempool.
    MempoolAdded,
    /// A transaction left the mempool.
    MempoolRemoved,
    /// A transaction in the mempool was replaced.
    MempoolReplaced,
    /// A transaction was not let into the mempool.
    MempoolRejected,
    /// A block was connected to the chain.
    ValidationBlockConnected,
    /// The UTXO cache was written to disk.
    UtxocacheFlush,
    /// A coin was added to a UTXO cache.
    UtxocacheAdd,
    /// A coin was spent from a UTXO cache.
    UtxocacheSpent,
    /// A coin was dropped from a UTXO cache on purpose.
    UtxocacheUncache,
    /// The wallet's coin selection ended.
    CoinSelectionSelectedCoins,
    /// The wallet's first attempt to create a transaction ended.
    CoinSelectionNormalCreateTxInternal,
    /// The wallet tries again, avoiding partial spends.
    CoinSelectionAttemptingApsCreateTx,
    /// The wallet's second attempt ended.
    CoinSelectionApsCreateTxInternal,
}

/// What is known of each.
struct Info {
    tracepoint: Tracepoint,
    name: &'static str,
    /// The first release that has it.
    since: &'static str,
    /// The numbers of arguments with which releases (and patched builds) have it.
    arguments: &'static [usize],
    /// Tapped unless the user says otherwise.
    default: bool,
}

const fn info(tracepoint: Tracepoint, name: &'static str, since: &'static str, arguments: &'static [usize]) -> Info {
    Info { tracepoint, name, since, arguments, default: true }
}

/// One that fires thousands of times for a block.
const fn frequent(
    tracepoint: Tracepoint,
    name: &'static str,
    since: &'static str,
    arguments: &'static [usize],
) -> Info {
    Info { default: false, ..info(tracepoint, name, since, arguments) }
}

/// In the order of `enum tracepoint` in bpf/event.h.
static INFO: [Info; Tracepoint::COUNT] = {
    use Tracepoint::*;
    [
        info(NetInboundMessage, "net:inbound_message", "v23", &[6]),
        info(NetOutboundMessage, "net:outbound_message", "v23", &[6]),
        info(NetInboundConnection, "net:inbound_connection", "v29", &[5]),
        info(NetOutboundConnection, "net:outbound_connection", "v29", &[5]),
        info(NetEvictedInboundConnection, "net:evicted_inbound_connection", "v29", &[5]),
        info(NetClosedConnection, "net:closed_connection", "v29", &[5]),
        info(NetMisbehavingConnection, "net:misbehaving_connection", "v29", &[2, 5]),
        info(MempoolAdded, "mempool:added", "v25", &[3]),
        info(MempoolRemoved, "mempool:removed", "v25", &[5]),
        info(MempoolReplaced, "mempool:replaced", "v25", &[7, 8]),
        info(MempoolRejected, "mempool:rejected", "v25", &[2]),
        info(ValidationBlockConnected, "validation:block_connected", "v23", &[6]),
        info(UtxocacheFlush, "utxocache:flush", "v23", &[5]),
        frequent(UtxocacheAdd, "utxocache:add", "v23", &[5]),
        frequent(UtxocacheSpent, "utxocache:spent", "v23", &[5]),
        frequent(UtxocacheUncache, "utxocache:uncache", "v23", &[5]),
        info(CoinSelectionSelectedCoins, "coin_selection:selected_coins", "v24", &[5]),
        info(CoinSelectionNormalCreateTxInternal, "coin_selection:normal_create_tx_internal", "v24", &[4]),
        info(CoinSelectionAttemptingApsCreateTx, "coin_selection:attempting_aps_create_tx", "v24", &[1]),
        info(CoinSelectionApsCreateTxInternal, "coin_selection:aps_create_tx_internal", "v24", &[5]),
    ]
};

impl Tracepoint {
    /// How many there are.
    pub const COUNT: usize = 20;

    /// All of them, by context.
    pub fn all() -> impl Iterator<Item = Tracepoint> {
        INFO.iter().map(|info| info.tracepoint)
    }

    /// The one that the kernel side numbers `id`.
    pub fn from_id(id: u8) -> Option<Tracepoint> {
        INFO.get(usize::from(id)).map(|info| info.tracepoint)
    }

    /// The place in [`Tracepoint::all`], which is also the kernel side's number.
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

    /// The first release of Bitcoin Core that has it.
    pub fn since(self) -> &'static str {
        INFO[self.index()].since
    }

    /// Whether this many arguments are a layout that we know.
    pub fn supports(self, arguments: usize) -> bool {
        INFO[self.index()].arguments.contains(&arguments)
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

impl Tracepoints {
    /// All but `utxocache:add`, `spent` and `uncache`, which fire thousands of times for a block.
    pub fn default_set() -> Self {
        INFO.iter().filter(|info| info.default).map(|info| info.tracepoint).collect()
    }

    /// `utxocache:add`, `spent` and `uncache`: each hit is of one coin.
    pub fn coins() -> Self {
        [Tracepoint::UtxocacheAdd, Tracepoint::UtxocacheSpent, Tracepoint::UtxocacheUncache].into_iter().collect()
    }

    /// A bit for each, at its [`Tracepoint::index`].
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Bits that stand for none are passed over.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Tracepoint::all().filter(|tracepoint| bits >> tracepoint.index() & 1 == 1).collect()
    }

    /// Whether `tracepoint` is in it.
    pub fn contains(self, tracepoint: Tracepoint) -> bool {
        self.0 & (1 << tracepoint.index()) != 0
    }

    /// Whether any of `tracepoints` is in it.
    pub fn contains_any(self, tracepoints: &[Tracepoint]) -> bool {
        tracepoints.iter().any(|&tracepoint| self.contains(tracepoint))
    }

    /// Whether none is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Those in it, by context.
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
                return Err(format!(
                    "no tracepoint or group is called '{word}'; groups are all, default, net, mempool, validation, \
                     utxocache and coin_selection, a tracepoint is for example mempool:added"
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
    /// The node's memory that the tracepoint points to could not be read.
    Unreadable,
    /// The queue to a sink was full.
    QueueFull,
    /// Writing them to a sink failed.
    WriteFailed,
    /// The end came before they were read.
    Stopped,
}

impl LossReason {
    /// Those that the kernel side counts, in the order of `enum loss_reason` in bpf/event.h.
    pub const KERNEL: [LossReason; 2] = [LossReason::RingFull, LossReason::Unreadable];

    /// The name as label and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            LossReason::RingFull => "ring_full",
            LossReason::Unreadable => "unreadable",
            LossReason::QueueFull => "queue_full",
            LossReason::WriteFailed => "write_failed",
            LossReason::Stopped => "stopped",
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
        assert_eq!(parse("all").len(), 20);
        assert_eq!(parse("default").len(), 17);
        assert_eq!(parse("net").len(), 7);
        assert_eq!(parse("mempool:added").iter().collect::<Vec<_>>(), [Tracepoint::MempoolAdded]);
        assert_eq!(parse("net, mempool:added").len(), 8);
        assert!("net,mempol".parse::<Tracepoints>().unwrap_err().contains("'mempol'"));
        assert!("".parse::<Tracepoints>().is_err());
    }
}
