//! The words for conditions, on command lines and in queries of URLs. Each is here once, with its help.

use super::{Condition, Selection};
use crate::{
    event::net::{ConnectionType, Direction},
    network::Network,
    p2p::COMMANDS,
    tracepoint::Tracepoints,
    units,
};

/// A word that takes a list of values.
#[derive(Debug)]
pub struct Word {
    /// The name after `--` on the command line, and in a query.
    pub name: &'static str,
    /// The name of its values in the help.
    pub value: &'static str,
    /// What it selects.
    pub help: &'static str,
    /// What the word with `not-` in front leaves out; `None` if there is no such word.
    pub not: Option<&'static str>,
    /// Values to suggest. There are more commands, numbers and addresses.
    pub suggested: fn() -> Vec<&'static str>,
}

/// All words.
pub static WORDS: [Word; 10] = [
    Word {
        name: "events",
        value: "LIST",
        help: "Which events, by group and tracepoint (net,mempool:added). The groups are all, default, net, mempool, \
               validation, utxocache and coin_selection. The default leaves out utxocache:add, spent and uncache, which fire \
               thousands of times for a block",
        not: Some("Leave out these groups and tracepoints"),
        suggested: groups,
    },
    Word {
        name: "command",
        value: "LIST",
        help: "Only P2P messages of these commands (inv,tx). An event must meet each condition, by any of its values. An event \
               that lacks the tested attribute, as one of the mempool lacks a command, fails the condition and passes its \
               not- form",
        not: Some("Leave out messages of these commands; keep all other events"),
        suggested: || COMMANDS.to_vec(),
    },
    Word {
        name: "direction",
        value: "LIST",
        help: "Only messages and connections of this direction: inbound or outbound",
        not: Some("Leave out messages and connections of this direction"),
        suggested: || Direction::ALL.map(Direction::name).to_vec(),
    },
    Word {
        name: "connection-type",
        value: "LIST",
        help: "Only messages and connections of these types: inbound, outbound-full-relay, block-relay-only, manual, feeler, \
               addr-fetch, private-broadcast, unknown",
        not: Some("Leave out messages and connections of these types"),
        suggested: || ConnectionType::ALL.map(ConnectionType::name).to_vec(),
    },
    Word {
        name: "network",
        value: "LIST",
        help: "Only messages and connections of peers in these networks: ipv4, ipv6, onion, i2p, cjdns, unroutable, internal, \
               unknown",
        not: Some("Leave out messages and connections of peers in these networks"),
        suggested: || Network::ALL.map(Network::name).to_vec(),
    },
    Word {
        name: "peer",
        value: "LIST",
        help: "Only messages, connections and misbehaviour of the peers with these numbers (the id of getpeerinfo)",
        not: Some("Leave out messages, connections and misbehaviour of these peers"),
        suggested: Vec::new,
    },
    Word {
        name: "address",
        value: "LIST",
        help: "Only messages and connections of peers at these IP addresses, networks (10.0.0.0/8, 2001:db8::/32) and hosts \
               (NAME.onion, NAME.b32.i2p), with or without a port",
        not: Some("Leave out messages and connections of peers at these addresses"),
        suggested: Vec::new,
    },
    Word {
        name: "hash",
        value: "LIST",
        help: "Only messages, mempool events, blocks and coins that name one of these transactions (txid or wtxid) or blocks, by its \
               hash as explorers show it. A transaction is found by its other hash, too, once it was seen whole. This needs payloads",
        not: Some("Leave out messages, mempool events, blocks and coins that name one of these transactions or blocks"),
        suggested: Vec::new,
    },
    Word {
        name: "min-size",
        value: "SIZE",
        help: "Only messages with a payload of at least this size (1000, 64KiB)",
        not: None,
        suggested: Vec::new,
    },
    Word {
        name: "max-size",
        value: "SIZE",
        help: "Only messages with a payload of at most this size (1000, 64KiB)",
        not: None,
        suggested: Vec::new,
    },
];

fn names() -> String {
    let (with_not, without): (Vec<_>, Vec<_>) = WORDS.iter().partition(|word| word.not.is_some());
    let names = |words: Vec<&Word>| words.iter().map(|word| word.name).collect::<Vec<_>>().join(", ");
    format!("{}, each also with not- in front, and {}", names(with_not), names(without))
}

fn groups() -> Vec<&'static str> {
    ["all", "default"].into_iter().chain(Tracepoints::contexts()).collect()
}

/// Bitcoin Core's limit, from the transport.
const LONGEST_COMMAND: usize = 12;

impl Selection {
    /// Adds a word with its values, separated by commas. Values of a repeated word are added; of repeated sizes the
    /// last counts.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub fn add(&mut self, word: &str, values: &str) -> Result<(), String> {
        let (name, negated) = match word.strip_prefix("not-") {
            Some(name) => (name, true),
            None => (word, false),
        };
        let is_word = |known: &Word| known.name == name && (!negated || known.not.is_some());
        if !WORDS.iter().any(is_word) {
            return Err(format!("there is no condition '{word}'; there are {}", names()));
        }
        for value in values.split(',').map(str::trim) {
            self.add_value(name, negated, value)?;
        }
        Ok(())
    }

    fn add_value(&mut self, name: &str, negated: bool, value: &str) -> Result<(), String> {
        let condition = match name {
            "events" => {
                let tracepoints: Tracepoints = value.parse()?;
                let set = if negated { &mut self.not_events } else { self.events.get_or_insert_default() };
                *set = set.iter().chain(tracepoints.iter()).collect();
                return Ok(());
            }
            "min-size" => {
                self.min_size = Some(units::bytes(value)?);
                return Ok(());
            }
            "max-size" => {
                self.max_size = Some(units::bytes(value)?);
                return Ok(());
            }
            "command" => Condition::Command(command(value)?),
            "direction" => Condition::Direction(one_of(&Direction::ALL, Direction::name, value)?),
            "connection-type" => Condition::ConnectionType(one_of(&ConnectionType::ALL, ConnectionType::name, value)?),
            "network" => Condition::Network(one_of(&Network::ALL, Network::name, value)?),
            "peer" => {
                let peer = value.parse().ok().filter(|&peer: &i64| peer >= 0);
                Condition::Peer(
                    peer.ok_or_else(|| format!("'{value}' is no peer number, such as 17: getpeerinfo's id"))?,
                )
            }
            "address" => Condition::Address(value.parse()?),
            "hash" => Condition::Hash(value.parse()?),
            _ => return Err(format!("there is no condition '{name}'; there are {}", names())),
        };
        let selection = std::mem::take(self);
        *self = if negated { selection.not(condition) } else { selection.only(condition) };
        Ok(())
    }
}

fn command(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LONGEST_COMMAND {
        return Err(format!("'{text}' is no command, such as inv: these have 1 to {LONGEST_COMMAND} characters"));
    }
    Ok(text.to_owned())
}

fn one_of<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Result<T, String> {
    let found = all.iter().copied().find(|&one| name(one) == text);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().copied().map(name).collect();
        format!("'{text}' is not one of {}", names.join(", "))
    })
}
