//! The closed sets of label values. In: the numbers and names of the rest of the crate. Out: a [`Label`] for each, with
//! its values in the order of those numbers.

use std::{borrow::Cow, sync::LazyLock};

use crate::{
    event::net::ConnectionType,
    network::Network,
    p2p::{COMMANDS, counted_names},
    tracepoint::{LossReason, Tracepoint},
};

/// A label's name and all its values.
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) values: Vec<Value>,
}

/// One value of a label.
pub(super) struct Value {
    pub(super) text: Cow<'static, str>,
    /// Series with this value exist only while this tracepoint is attached.
    pub(super) source: Option<Tracepoint>,
    /// Whether series with this value may start at 0. If not, they exist from their first use on.
    pub(super) from_start: bool,
}

impl Label {
    pub(super) fn new(name: &'static str, values: impl IntoIterator<Item = impl Into<Cow<'static, str>>>) -> Self {
        Self {
            name,
            values: values
                .into_iter()
                .map(|text| Value { text: text.into(), source: None, from_start: true })
                .collect(),
        }
    }

    /// Each value with the tracepoint that it needs.
    pub(super) fn fed(name: &'static str, values: impl IntoIterator<Item = (&'static str, Tracepoint)>) -> Self {
        let values = values.into_iter().map(|(text, source)| Value {
            text: text.into(),
            source: Some(source),
            from_start: true,
        });
        Self { name, values: values.collect() }
    }

    /// The same without series from the start.
    pub(super) fn later(mut self) -> Self {
        self.values.iter_mut().for_each(|value| value.from_start = false);
        self
    }
}

/// Places in [`direction`].
pub(super) const INBOUND: usize = 0;
pub(super) const OUTBOUND: usize = 1;

/// The direction of a message.
pub(super) fn direction() -> Label {
    let [inbound, outbound] = MESSAGES;
    Label::fed("direction", [("inbound", inbound), ("outbound", outbound)])
}

/// The tracepoints of messages, in the order of [`direction`].
pub(super) const MESSAGES: [Tracepoint; 2] = [Tracepoint::NetInboundMessage, Tracepoint::NetOutboundMessage];

/// The tracepoints of messages from peers.
pub(super) const INBOUND_MESSAGES: &[Tracepoint] = &[Tracepoint::NetInboundMessage];

/// The tracepoints of messages from the node.
pub(super) const OUTBOUND_MESSAGES: &[Tracepoint] = &[Tracepoint::NetOutboundMessage];

/// The tracepoints of openings, in the order of [`opened_direction`].
pub(super) const OPENINGS: &[Tracepoint] = &[Tracepoint::NetInboundConnection, Tracepoint::NetOutboundConnection];

/// The tracepoints of closings.
pub(super) const CLOSINGS: &[Tracepoint] = &[Tracepoint::NetClosedConnection];

/// Who opened a connection: the peer or the node. The places are those of [`direction`].
pub(super) fn opened_direction() -> Label {
    Label::fed(
        "direction",
        [("inbound", Tracepoint::NetInboundConnection), ("outbound", Tracepoint::NetOutboundConnection)],
    )
}

/// The network of a peer.
pub(super) fn network() -> Label {
    Label::new("network", Network::ALL.map(Network::name))
}

/// The command of a message.
pub(super) fn command() -> Label {
    Label::new("command", counted_names())
}

/// Its place in [`command`].
pub(super) use crate::p2p::counted_index as command_index;

/// Commands that today's nodes send and that have payloads of varying size. Excludes historic commands (`alert`,
/// `reject`, …), and unknown ones, since a peer could give these any size.
const SIZED_COMMANDS: &[&str] = &[
    "addr",
    "addrv2",
    "block",
    "blocktxn",
    "cfcheckpt",
    "cfheaders",
    "cfilter",
    "cmpctblock",
    "feature",
    "filteradd",
    "filterload",
    "getblocks",
    "getblocktxn",
    "getdata",
    "getheaders",
    "headers",
    "inv",
    "merkleblock",
    "notfound",
    "tx",
    "version",
];

/// The command of a message with a varying size.
pub(super) fn sized_command() -> Label {
    Label::new("command", SIZED_COMMANDS.iter().copied())
}

/// Its place in [`sized_command`], from its place in [`command`].
pub(super) fn sized_command_index(command: usize) -> Option<usize> {
    static PLACES: LazyLock<Vec<Option<usize>>> = LazyLock::new(|| {
        COMMANDS.iter().map(|command| SIZED_COMMANDS.iter().position(|sized| sized == command)).collect()
    });
    PLACES.get(command).copied().flatten()
}

/// What a connection is for.
pub(super) fn connection_type() -> Label {
    Label::new("connection_type", ConnectionType::ALL.map(ConnectionType::name))
}

/// The same for connections being opened, which two tracepoints report.
pub(super) fn opened_connection_type() -> Label {
    let mut label = connection_type();
    for (value, connection_type) in label.values.iter_mut().zip(ConnectionType::ALL) {
        value.source = match connection_type {
            ConnectionType::Unknown => None,
            ConnectionType::Inbound => Some(Tracepoint::NetInboundConnection),
            ConnectionType::OutboundFullRelay
            | ConnectionType::BlockRelayOnly
            | ConnectionType::Feeler
            | ConnectionType::Manual
            | ConnectionType::AddrFetch
            | ConnectionType::PrivateBroadcast => Some(Tracepoint::NetOutboundConnection),
        };
    }
    label
}

/// How many values [`service`] has.
pub(super) const SERVICES: usize = SERVICE_BITS.len() + 1;

/// ServiceFlags in Bitcoin Core's protocol.h.
const SERVICE_BITS: [(u32, &str); 6] =
    [(0, "network"), (2, "bloom"), (3, "witness"), (6, "compact_filters"), (10, "network_limited"), (11, "p2p_v2")];

/// A service that a node offers.
pub(super) fn service() -> Label {
    Label::new("service", SERVICE_BITS.into_iter().map(|(_, text)| text).chain(["other"]))
}

/// The places in [`service`] of a node's service bits, each once.
pub(super) fn service_places(services: u64) -> impl Iterator<Item = usize> {
    const KNOWN: u64 = {
        let mut known = 0;
        let mut place = 0;
        while place < SERVICE_BITS.len() {
            known |= 1 << SERVICE_BITS[place].0;
            place += 1;
        }
        known
    };
    let known = SERVICE_BITS.into_iter().enumerate().filter(move |&(_, (bit, _))| services & (1 << bit) != 0);
    known.map(|(place, _)| place).chain((services & !KNOWN != 0).then_some(SERVICE_BITS.len()))
}

/// What became of a transaction in the mempool: places in [`action`] and, except the last, [`sized_action`].
pub(super) const ADDED: usize = 0;
pub(super) const REMOVED: usize = 1;
pub(super) const REPLACED: usize = 2;
pub(super) const REJECTED: usize = 3;

pub(super) fn action() -> Label {
    Label::fed(
        "action",
        [
            ("added", Tracepoint::MempoolAdded),
            ("removed", Tracepoint::MempoolRemoved),
            ("replaced", Tracepoint::MempoolReplaced),
            ("rejected", Tracepoint::MempoolRejected),
        ],
    )
}

/// The actions that come with size and fee.
pub(super) fn sized_action() -> Label {
    let mut label = action();
    label.values.truncate(REJECTED);
    label
}

/// RemovalReasonToString in Bitcoin Core.
const REMOVAL_REASONS: [&str; 6] = ["expiry", "sizelimit", "reorg", "block", "conflict", "replaced"];

/// Why a transaction left the mempool.
pub(super) fn removal_reason() -> Label {
    Label::new("reason", REMOVAL_REASONS.into_iter().chain(["other"]))
}

/// Its place in [`removal_reason`].
pub(super) fn removal_reason_place(reason: &str) -> usize {
    REMOVAL_REASONS.iter().position(|&known| known == reason).unwrap_or(REMOVAL_REASONS.len())
}

/// Each tracepoint, whether attached or not.
pub(super) fn any_tracepoint() -> Label {
    Label::new("tracepoint", Tracepoint::all().map(Tracepoint::name))
}

/// Each tracepoint while it is attached.
pub(super) fn tracepoint() -> Label {
    Label::fed("tracepoint", Tracepoint::all().map(|tracepoint| (tracepoint.name(), tracepoint)))
}

/// Why an event was lost. Reasons other than those of the kernel side are seen only in events that were published over a network.
pub(super) fn loss_reason() -> Label {
    let counted = LossReason::ALL.into_iter().filter(|reason| reason.is_counted());
    let mut label = Label::new("reason", counted.map(LossReason::name));
    label.values[LossReason::KERNEL.len()..].iter_mut().for_each(|value| value.from_start = false);
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_values() {
        for (place, value) in command().values.iter().enumerate() {
            assert_eq!(command_index(&value.text), place);
            let sized = sized_command_index(place).map(|place| sized_command().values[place].text.clone());
            assert_eq!(sized, SIZED_COMMANDS.contains(&&*value.text).then_some(value.text.clone()));
        }
        assert!(SIZED_COMMANDS.iter().all(|command| COMMANDS.contains(command)));
        assert_eq!(command().values[command_index("made-up")].text, "other");
        assert_eq!(removal_reason().values[removal_reason_place("made-up")].text, "other");
        assert_eq!(removal_reason().values[removal_reason_place("block")].text, "block");
        assert_eq!(service().values.len(), SERVICES);
        let names = |bits| service_places(bits).map(|place| service().values[place].text.clone()).collect::<Vec<_>>();
        assert!(names(0).is_empty());
        assert_eq!(names(0xc09), ["network", "witness", "network_limited", "p2p_v2"]);
        assert_eq!(names(1 << 2 | 1 << 6 | 1 << 4 | 1 << 63), ["bloom", "compact_filters", "other"]);
        for (place, connection_type) in ConnectionType::ALL.into_iter().enumerate() {
            assert_eq!(connection_type as usize, place);
        }
        for (place, reason) in LossReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        assert_eq!(direction().values[INBOUND].text, "inbound");
        assert_eq!(direction().values[OUTBOUND].text, "outbound");
        assert_eq!(opened_direction().values[INBOUND].text, "inbound");
        assert_eq!(opened_direction().values[OUTBOUND].text, "outbound");
        for (place, text) in [(ADDED, "added"), (REMOVED, "removed"), (REPLACED, "replaced"), (REJECTED, "rejected")] {
            assert_eq!(action().values[place].text, text);
        }
    }
}
