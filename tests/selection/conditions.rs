//! Conditions, and what they select, said anew in a plain way. In: what a node fires, by its own account. Out: conditions of each
//! word, on their own and together, and whether an event meets them.

use std::net::IpAddr;

use bitcointap::selection::Selection;
use serde_json::Value;
use tempfile::TempDir;

use super::{node, truth};

/// Conditions, as `WORD=VALUES` with spaces between.
#[derive(Clone, Debug)]
pub(super) struct Conditions(pub(super) String);

impl Conditions {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(' ').map(|pair| pair.split_once('=').unwrap())
    }

    pub(super) fn arguments(&self) -> String {
        self.pairs().map(|(word, values)| format!("--{word} {values} ")).collect()
    }

    pub(super) fn selection(&self) -> Selection {
        let mut selection = Selection::default();
        self.pairs().for_each(|(word, values)| selection.add(word, values).unwrap());
        selection
    }

    /// Whether they select an event, decided again in a plain way.
    pub(super) fn select(&self, event: &Value) -> bool {
        let words = |word: &str| {
            let all: Vec<_> = self.pairs().filter(|(other, _)| *other == word).collect();
            all.into_iter().flat_map(|(_, values)| values.split(',')).map(str::to_owned).collect::<Vec<_>>()
        };
        let kinds = ["events", "command", "direction", "connection-type", "network", "peer", "address"];
        kinds.into_iter().all(|kind| {
            let (only, not) = (words(kind), words(&format!("not-{kind}")));
            let is_one_of = |values: &[String]| values.iter().any(|value| is(event, kind, value));
            let only = if kind == "events" && only.is_empty() { vec!["default".into()] } else { only };
            (only.is_empty() || is_one_of(&only)) && !is_one_of(&not)
        }) && ["min-size", "max-size"].into_iter().all(|kind| {
            // The last counts.
            words(kind).last().is_none_or(|value| is(event, kind, value))
        })
    }
}

/// Whether an event meets one condition. An event that lacks the tested attribute does not.
fn is(event: &Value, kind: &str, value: &str) -> bool {
    let text = |key: &str| event[key].as_str();
    let number = |value: &str| value.parse::<u64>().unwrap();
    match kind {
        "events" => {
            let tracepoint = text("tracepoint").unwrap();
            let is_of_coins = ["utxocache:add", "utxocache:spent", "utxocache:uncache"].contains(&tracepoint);
            value == "all"
                || value == "default" && !is_of_coins
                || tracepoint.split(':').any(|it| it == value)
                || tracepoint == value
        }
        "peer" => event["peer"].as_u64() == Some(number(value)),
        "min-size" => event["size"].as_u64().is_some_and(|size| size >= number(value)),
        "max-size" => event["size"].as_u64().is_some_and(|size| size <= number(value)),
        "address" => text("address").is_some_and(|address| is_at(address, value)),
        "connection-type" => text("connection_type") == Some(value),
        "command" | "direction" | "network" => text(kind) == Some(value),
        _ => panic!("{kind}"),
    }
}

fn is_at(address: &str, value: &str) -> bool {
    let (address, value) = (&without_scope(address), &without_scope(value));
    let host = address.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
    let Some((network, prefix)) = value.split_once('/') else { return value == host || value == address };
    let bits = |text: &str| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("4{:032b}", ip.to_bits()),
        Ok(IpAddr::V6(ip)) => format!("6{:0128b}", ip.to_bits()),
        Err(_) => String::new(),
    };
    let length = 1 + prefix.parse::<usize>().unwrap();
    bits(host).get(..length).is_some_and(|start| start == &bits(network)[..length])
}

/// `[fe80::1]:8333` of `[fe80::1%2]:8333`.
fn without_scope(address: &str) -> String {
    let Some((start, rest)) = address.split_once('%') else { return address.to_owned() };
    start.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric())
}

/// Values for the conditions, as they occur among the fired events.
pub(super) struct Values {
    pub(super) truth: Vec<Value>,
}

impl Values {
    pub(super) fn of(directory: &TempDir) -> Self {
        let trace = directory.path().join("truth");
        let mut node = node(&trace);
        node.fire();
        node.tally();
        Self { truth: truth(&trace) }
    }

    /// The address of the first peer with messages and such an address.
    fn address(&self, is_so: impl Fn(&str) -> bool) -> &str {
        let mut addresses = self.truth.iter().filter(|event| event["size"].is_u64()).map(|event| &event["address"]);
        addresses.find_map(|address| address.as_str().filter(|address| is_so(address))).expect("there is such a peer")
    }

    fn host(&self, is_so: impl Fn(&str) -> bool) -> &str {
        self.address(is_so).rsplit_once(':').unwrap().0.trim_matches(['[', ']'])
    }

    /// Each condition on its own, also negated, and some together.
    pub(super) fn conditions(&self) -> Vec<Conditions> {
        let is_ipv4 = |address: &str| address.starts_with("24") || address.starts_with("25");
        let (ipv4, ipv6) = (self.host(is_ipv4), self.host(|it| it.starts_with("[3fff:")));
        let (onion, i2p) = (self.host(|it| it.contains(".onion")), self.host(|it| it.contains(".i2p")));
        let name = self.host(|it| it.ends_with(".example.org:8333"));
        let (ipv4_port, ipv6_port) = (self.address(is_ipv4), self.address(|it| it.starts_with("[3fff:")));
        let (link, link_port) = (self.host(|it| it.starts_with("[fe80:")), self.address(|it| it.starts_with("[fe80:")));
        let onion_port = self.address(|it| it.contains(".onion"));
        let mut all: Vec<String> = [
            "events=all",
            "events=mempool,net:inbound_message events=utxocache:add",
            "not-events=net,mempool:added",
            "command=inv,ping command=xyzunknown12",
            "not-command=inv,tx,ping",
            "direction=inbound",
            "not-direction=inbound",
            "connection-type=manual,block-relay-only,private-broadcast",
            "not-connection-type=inbound",
            "network=onion",
            "not-network=ipv4,onion",
            // The events that show which peers came through Tor or by name are not selected.
            "network=onion,i2p events=net:inbound_message",
            "network=ipv4 events=net:outbound_message,mempool:added connection-type=manual",
            "peer=1,2,3",
            "not-peer=1,2,3",
            "min-size=1000",
            "max-size=8",
            "min-size=61 max-size=300 max-size=61",
            "address=240.0.0.0/4,127.0.0.1",
            "address=3fff::/16,fc00::/8",
            "not-address=240.0.0.0/4,3fff::/16",
            "address=fe80::/10",
            "not-address=fe80::/10",
            "network=onion direction=outbound connection-type=inbound command=inv,getdata",
            "events=all not-command=inv,tx not-peer=0 not-address=240.0.0.0/4 not-direction=outbound not-network=i2p",
        ]
        .map(str::to_owned)
        .to_vec();
        all.extend([
            format!("address={ipv4},{ipv6}"),
            format!("address={ipv4_port},{ipv6_port},{onion_port}"),
            format!("address={onion},{i2p} address={name}"),
            format!("address={link}"),
            format!("address={}", without_scope(link_port)),
            format!("not-address={onion},{name}:8333,{ipv4_port} not-address={ipv6}"),
        ]);
        all.into_iter().map(Conditions).collect()
    }

    /// Random conditions, also several of a kind.
    pub(super) fn random(&self, random: &mut fastrand::Rng) -> Conditions {
        let events = ["events=all", "events=default", "events=net", "not-events=utxocache"];
        let mut pairs = vec![random.choice(events).unwrap().to_owned()];
        for _ in 0..random.usize(1..5) {
            let kinds =
                ["command", "direction", "connection_type", "network", "peer", "address", "min-size", "max-size"];
            let kind = random.choice(kinds).unwrap();
            let attribute = if kind.ends_with("size") { "size" } else { kind };
            let mut values = Vec::new();
            while values.len() < random.usize(1..4) {
                let value = &random.choice(&self.truth).unwrap()[attribute];
                values.extend(value.as_str().map(str::to_owned).or(value.as_u64().map(|number| number.to_string())));
            }
            let not = if attribute != "size" && random.bool() { "not-" } else { "" };
            pairs.push(format!("{not}{}={}", kind.replace('_', "-"), values.join(",")));
        }
        Conditions(pairs.join(" "))
    }
}
