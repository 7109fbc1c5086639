//! Which events are wanted. In: conditions, or the words for them on a command line or in a URL's query. Out: what to
//! attach to, what the kernel side leaves out, and whether a record is wanted, without decoding its payload.

mod addresses;
mod compiled;
mod conflict;
mod hashes;
#[cfg(test)]
mod tests;
mod words;

use std::{borrow::Borrow, collections::BTreeSet};

use self::addresses::Addresses;
pub(crate) use self::compiled::{Filter, Listed};
pub use self::{
    addresses::Address,
    hashes::Followed,
    words::{WORDS, Word},
};
use crate::{
    event::{
        names::may_name,
        net::{ConnectionType, Direction, Traits},
    },
    json::Hash,
    network::Network,
    p2p,
    tracepoint::{About, Tracepoint, Tracepoints},
};

/// How many unknown commands to name.
const COMMANDS_TOLD: usize = 5;

/// Which events are wanted: events of some tracepoints that meet all conditions.
///
/// Conditions of one kind are alternatives: with two commands, messages of either are wanted. An event that lacks the
/// tested attribute, as one of the mempool lacks a command, fails the condition and passes its negation.
///
/// ```
/// use bitcointap::selection::{Condition, Selection};
///
/// let announcements = Selection::default().only(Condition::Command("inv".into())).min_size(37);
/// let mut the_same = Selection::default();
/// the_same.add("command", "inv")?;
/// the_same.add("min-size", "37")?;
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `None` means the default ones.
    events: Option<Tracepoints>,
    not_events: Tracepoints,
    commands: Choice<String>,
    directions: Choice<Direction>,
    connection_types: Choice<ConnectionType>,
    networks: Choice<Network>,
    peers: Choice<i64>,
    addresses: Option<Addresses>,
    not_addresses: Option<Addresses>,
    hashes: Choice<Hash>,
    min_size: Option<u64>,
    max_size: Option<u64>,
}

/// A condition on an event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Condition {
    /// A P2P message's command.
    Command(String),
    /// The direction of a message, or who opened a connection.
    Direction(Direction),
    /// The type of a connection, for messages and connections.
    ConnectionType(ConnectionType),
    /// The network of a peer, for messages and connections. For inbound peers that came through the operator's own Tor,
    /// and for peers added by a host's name, it is known only if the opening was seen; otherwise it is
    /// [`Network::Unknown`].
    Network(Network),
    /// The node's number of the peer, for messages, connections and misbehaviour.
    Peer(i64),
    /// The peer's address, for messages and connections.
    Address(Address),
    /// A transaction, by its txid or wtxid, or a block, which the event [names](crate::event::names). A transaction is also found by its
    /// other hash, once an event that meets the other conditions has contained it whole. A message names nothing without its payload.
    Hash(Hash),
}

impl Selection {
    /// All events of these tracepoints.
    pub fn of(tracepoints: Tracepoints) -> Self {
        Self { events: Some(tracepoints), ..Self::default() }
    }

    /// Only events that meet the condition, or another of its kind.
    #[must_use]
    pub fn only(mut self, condition: Condition) -> Self {
        match condition {
            Condition::Command(command) => self.commands.only(command),
            Condition::Direction(direction) => self.directions.only(direction),
            Condition::ConnectionType(connection_type) => self.connection_types.only(connection_type),
            Condition::Network(network) => self.networks.only(network),
            Condition::Peer(peer) => self.peers.only(peer),
            Condition::Address(address) => self.addresses.get_or_insert_default().add(address),
            Condition::Hash(hash) => self.hashes.only(hash),
        }
        self
    }

    /// No events that meet the condition.
    #[must_use]
    pub fn not(mut self, condition: Condition) -> Self {
        match condition {
            Condition::Command(command) => self.commands.not(command),
            Condition::Direction(direction) => self.directions.not(direction),
            Condition::ConnectionType(connection_type) => self.connection_types.not(connection_type),
            Condition::Network(network) => self.networks.not(network),
            Condition::Peer(peer) => self.peers.not(peer),
            Condition::Address(address) => self.not_addresses.get_or_insert_default().add(address),
            Condition::Hash(hash) => self.hashes.not(hash),
        }
        self
    }

    /// Only messages with at least this many bytes of payload.
    #[must_use]
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.min_size = Some(bytes);
        self
    }

    /// Only messages with at most this many bytes of payload.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// Only events of these tracepoints, among the chosen ones.
    #[must_use]
    pub fn within(mut self, tracepoints: Tracepoints) -> Self {
        self.events = Some(self.chosen_tracepoints().iter().filter(|&it| tracepoints.contains(it)).collect());
        self
    }

    /// Events of these tracepoints, unless others were chosen.
    #[must_use]
    pub fn or_of(mut self, tracepoints: Tracepoints) -> Self {
        self.events.get_or_insert(tracepoints);
        self
    }

    /// Those that were chosen, whatever the conditions.
    pub fn chosen_tracepoints(&self) -> Tracepoints {
        let events = self.events.unwrap_or_else(Tracepoints::default_set);
        events.iter().filter(|&tracepoint| !self.not_events.contains(tracepoint)).collect()
    }

    /// The tracepoints with events that can meet all conditions. No others need to be attached.
    pub fn tracepoints(&self) -> Tracepoints {
        self.chosen_tracepoints().iter().filter(|&tracepoint| self.can_be_met_by(tracepoint)).collect()
    }

    /// The same, and those that show of peers what their messages do not.
    pub(crate) fn to_attach(&self) -> Tracepoints {
        use Tracepoint::*;
        let wanted = self.tracepoints();
        if self.networks.is_empty() || !wanted.contains_any(&[NetInboundMessage, NetOutboundMessage]) {
            return wanted;
        }
        // Inbound peers may come through the operator's own Tor; others may be added by the names of hosts.
        let admits = |direction| {
            let mut opened = ConnectionType::ALL.iter().filter(|it| it.opened_by() == Some(direction));
            opened.any(|it| self.connection_types.admits(Some(it)))
        };
        let inbound = admits(Direction::Inbound).then_some(NetInboundConnection);
        let outbound = admits(Direction::Outbound).then_some(NetOutboundConnection);
        let closed = inbound.or(outbound).map(|_| NetClosedConnection);
        wanted.iter().chain(inbound).chain(outbound).chain(closed).collect()
    }

    /// Whether there are conditions besides the choice of tracepoints.
    pub fn has_conditions(&self) -> bool {
        self.has_conditions_on_traits() || !self.hashes.is_empty()
    }

    /// Whether a condition tells addresses apart.
    #[cfg(feature = "http")]
    pub(crate) fn has_conditions_on_addresses(&self) -> bool {
        self.addresses.is_some() || self.not_addresses.is_some()
    }

    /// Whether a condition looks at the payloads of messages, so that these are needed whatever is written of them.
    pub fn needs_payloads(&self) -> bool {
        !self.hashes.is_empty() && self.tracepoints().iter().any(Tracepoint::is_of_messages)
    }

    /// Whether there are conditions on what a record says besides its payload.
    fn has_conditions_on_traits(&self) -> bool {
        let Self {
            events: _,
            not_events: _,
            commands,
            directions,
            connection_types,
            networks,
            peers,
            addresses,
            not_addresses,
            hashes: _,
            min_size,
            max_size,
        } = self;
        !(commands.is_empty()
            && directions.is_empty()
            && connection_types.is_empty()
            && networks.is_empty()
            && peers.is_empty())
            || addresses.is_some()
            || not_addresses.is_some()
            || min_size.is_some()
            || max_size.is_some()
    }

    /// The commands in conditions, in order.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        let commands: BTreeSet<_> = self.commands.only.iter().flatten().chain(&self.commands.not).collect();
        commands.into_iter().map(String::as_str)
    }

    /// Warnings about what may be a mistake: commands that Bitcoin Core does not have. They are accepted all the same,
    /// since newer nodes and other peers have commands of their own. The lines are ASCII without control characters.
    pub fn doubts(&self) -> impl Iterator<Item = String> {
        let unknown = self.commands().filter(|command| p2p::command_index(command).is_none());
        unknown.take(COMMANDS_TOLD).map(|command| {
            format!("Bitcoin Core has no message called {}: is it misspelled?", command.escape_default())
        })
    }

    /// Whether some event of this tracepoint may be wanted, as far as that is known beforehand.
    fn can_be_met_by(&self, tracepoint: Tracepoint) -> bool {
        if self.is_contradictory() || self.hashes.only.is_some() && !may_name(tracepoint) {
            return false;
        }
        let is_inbound = |it: &ConnectionType| matches!(it, ConnectionType::Inbound | ConnectionType::Unknown);
        let is_outbound = |it: &ConnectionType| *it != ConnectionType::Inbound;
        let is_any = |_: &ConnectionType| true;
        let (direction, has_type): (_, &dyn Fn(&ConnectionType) -> bool) = match tracepoint.about() {
            About::MessageToNode => (Some(Direction::Inbound), &is_any),
            About::MessageToPeer => (Some(Direction::Outbound), &is_any),
            About::InboundConnection => (Some(Direction::Inbound), &is_inbound),
            About::OutboundConnection => (Some(Direction::Outbound), &is_outbound),
            // Only the condition on the connection type.
            About::AnyConnection => (None, &is_any),
            About::Peer => {
                return self.commands.only.is_none()
                    && self.directions.only.is_none()
                    && self.connection_types.only.is_none()
                    && self.networks.only.is_none()
                    && self.addresses.is_none()
                    && !self.has_sizes();
            }
            About::Coin | About::NoPeer => return !self.has_only(),
        };
        let is_message = tracepoint.is_of_messages();
        if is_message && matches!(self.listed_commands(), Listed::Only(list) if list.is_empty()) {
            return false;
        }
        let is_of_messages = self.commands.only.is_some() || self.has_sizes();
        let admits = |it: &ConnectionType| {
            let direction = direction.or(it.opened_by());
            self.connection_types.admits(Some(it)) && self.directions.admits(direction.as_ref())
        };
        (is_message || !is_of_messages) && ConnectionType::ALL.iter().any(|it| has_type(it) && admits(it))
    }

    /// Whether a condition selects only what another leaves out.
    fn is_contradictory(&self) -> bool {
        let Self { commands, directions, connection_types, networks, peers, hashes, min_size, max_size, .. } = self;
        commands.admits_nothing()
            || directions.admits_nothing()
            || connection_types.admits_nothing()
            || networks.admits_nothing()
            || peers.admits_nothing()
            || hashes.admits_nothing()
            || min_size.zip(*max_size).is_some_and(|(min, max)| min > max)
    }

    /// Whether there is a condition that is no negation.
    fn has_only(&self) -> bool {
        self.commands.only.is_some()
            || self.directions.only.is_some()
            || self.connection_types.only.is_some()
            || self.networks.only.is_some()
            || self.peers.only.is_some()
            || self.addresses.is_some()
            || self.has_sizes()
    }

    fn has_sizes(&self) -> bool {
        self.min_size.is_some() || self.max_size.is_some()
    }

    fn is_met_by(&self, traits: &Traits<'_>) -> bool {
        let address = traits.address.as_deref();
        let has_size =
            |size: u64| self.min_size.is_none_or(|min| size >= min) && self.max_size.is_none_or(|max| size <= max);
        (!self.has_sizes() || traits.size.is_some_and(has_size))
            && self.commands.admits(traits.command)
            && self.directions.admits(traits.direction.as_ref())
            && self.connection_types.admits(traits.connection_type.as_ref())
            && self.peers.admits(traits.peer.as_ref())
            && (self.networks.is_empty() || self.networks.admits(traits.network.as_ref()))
            && self.addresses.as_ref().is_none_or(|wanted| address.is_some_and(|address| wanted.contain(address)))
            && self.not_addresses.as_ref().is_none_or(|not| address.is_none_or(|address| !not.contain(address)))
    }
}

/// Some values of a kind, or all but some.
#[derive(Clone, Debug)]
struct Choice<T> {
    only: Option<BTreeSet<T>>,
    not: BTreeSet<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self { only: None, not: BTreeSet::new() }
    }
}

impl<T: Ord> Choice<T> {
    fn only(&mut self, value: T) {
        self.only.get_or_insert_default().insert(value);
    }

    fn not(&mut self, value: T) {
        self.not.insert(value);
    }

    fn is_empty(&self) -> bool {
        self.only.is_none() && self.not.is_empty()
    }

    /// Whether something with this value, or without one, is wanted.
    fn admits<V: Ord + ?Sized>(&self, value: Option<&V>) -> bool
    where
        T: Borrow<V>,
    {
        let Some(value) = value else { return self.only.is_none() };
        self.only.as_ref().is_none_or(|only| only.contains(value)) && !self.not.contains(value)
    }

    /// Whether all selected values are left out, too.
    fn admits_nothing(&self) -> bool {
        self.only.as_ref().is_some_and(|only| only.is_subset(&self.not))
    }

    fn listed<V: Ord + ?Sized>(&self) -> Listed<'_, V>
    where
        T: Borrow<V>,
    {
        match &self.only {
            Some(only) => Listed::Only(only.difference(&self.not).map(Borrow::borrow).collect()),
            None if self.not.is_empty() => Listed::All,
            None => Listed::Not(self.not.iter().map(Borrow::borrow).collect()),
        }
    }
}
