//! Which events are given: those that meet the conditions, in their order, and no others; from a node and from its
//! recording. The truth of each event is what the simulated node says that it fires, not what the tool says.

use std::{
    fs::{self, File},
    net::IpAddr,
    path::Path,
    process::Output,
};

use bitcointap::{
    capture::{Batch, Counters},
    event::net::ConnectionType,
    json::{BytesStyle, Style, write_line},
    network::Network,
    process::Which,
    selection::Selection,
    tap::{Options, Payloads, Tap},
    tracepoint::Tracepoint,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    node::Simnode,
    tool::{Attached, Exporter, bitcointap, eventually, output, tracepoint_of},
};

/// A node that fires the same whenever it runs. All of it fits into the ring buffer, so that nothing is ever lost.
const NODE: &str = "--seed 3 --count 6000 --rate max --fixed-time 1700000000";

/// Starts it; it writes what it fires to `trace`.
fn node(trace: &Path) -> Simnode {
    Simnode::start("v31", &format!("{NODE} --trace {}", trace.display()))
}

/// Each event, without the time of its firing.
fn truth(trace: &Path) -> Vec<Value> {
    let mut events: Vec<Value> = lines(&fs::read_to_string(trace).unwrap()).map(|(event, _)| event).collect();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        assert!(event.remove("before").is_some() && event.remove("after").is_some());
    }
    events
}

/// Each line, parsed and as text.
fn lines(text: &str) -> impl Iterator<Item = (Value, &str)> {
    text.lines().map(|line| (serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")), line))
}

/// Conditions, as `WORD=VALUES` with spaces between.
#[derive(Clone, Debug)]
struct Conditions(String);

impl Conditions {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(' ').map(|pair| pair.split_once('=').unwrap())
    }

    fn arguments(&self) -> String {
        self.pairs().map(|(word, values)| format!("--{word} {values} ")).collect()
    }

    fn selection(&self) -> Selection {
        let mut selection = Selection::default();
        self.pairs().for_each(|(word, values)| selection.add(word, values).unwrap());
        selection
    }

    /// Whether they select an event, decided again in a plain way.
    fn select(&self, event: &Value) -> bool {
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

/// What a line of the tool says of an event, in the words of the truth. A message's line lacks the network.
fn told(line: &Value) -> Value {
    let (group, event) = line["event"].as_object().unwrap().iter().next().unwrap();
    let name = |number: &Value| ConnectionType::ALL[number.as_u64().unwrap() as usize].name();
    if group == "Msg" {
        let meta = &event["meta"];
        let direction = if meta["inbound"].as_bool().unwrap() { "inbound" } else { "outbound" };
        return json!({
            "tracepoint": tracepoint_of(line),
            "peer": meta["peer_id"],
            "address": meta["addr"],
            "connection_type": name(&meta["conn_type"]),
            "direction": direction,
            "command": meta["command"],
            "size": meta["size"],
        });
    }
    let (event, fields) = event["event"].as_object().unwrap().iter().next().unwrap();
    let tracepoint = tracepoint_of(line);
    if event == "Misbehaving" {
        return json!({"tracepoint": tracepoint, "peer": fields["id"]});
    }
    if group != "Conn" {
        return json!({"tracepoint": tracepoint});
    }
    let conn = &fields["conn"];
    let connection_type = name(&conn["conn_type"]);
    json!({
        "tracepoint": tracepoint,
        "peer": conn["peer_id"],
        "address": conn["addr"],
        "connection_type": connection_type,
        "network": Network::ALL[conn["network"].as_u64().unwrap() as usize].name(),
        "direction": if connection_type == "inbound" { "inbound" } else { "outbound" },
    })
}

/// The truth as far as lines have it.
fn to_be_told(event: &Value) -> Value {
    let mut event = event.clone();
    if event["command"].is_string() {
        event.as_object_mut().unwrap().remove("network");
    }
    event
}

/// The numbers of the last line of a log.
fn last_counts(log: &str) -> [u64; 3] {
    let last = log.lines().last().unwrap_or_default();
    ["fired=", "filtered=", "lost="].map(|name| {
        let number = last.split(' ').find_map(|word| word.strip_prefix(name));
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {log}"))
    })
}

/// Asserts that `text`, and the counts at the end of the log, are those of the selected events. Returns how many that
/// are.
#[track_caller]
fn assert_selected(conditions: &Conditions, truth: &[Value], text: &str, log: &str) -> usize {
    let expected: Vec<Value> = truth.iter().filter(|event| conditions.select(event)).map(to_be_told).collect();
    let given: Vec<Value> = lines(text).map(|(line, _)| told(&line)).collect();
    let differs = given.iter().zip(&expected).position(|(given, expected)| given != expected);
    assert_eq!(
        differs.map(|at| (&given[at], &expected[at])),
        None,
        "{conditions:?}: event {differs:?} of {}",
        expected.len()
    );
    assert_eq!(given.len(), expected.len(), "{conditions:?}");
    let [fired, filtered, lost] = last_counts(log);
    assert_eq!((fired - filtered, lost), (given.len() as u64, 0), "{conditions:?}: {log}");
    given.len()
}

/// Values for the conditions, as they occur among the fired events.
struct Values {
    truth: Vec<Value>,
}

impl Values {
    fn of(directory: &TempDir) -> Self {
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
    fn conditions(&self) -> Vec<Conditions> {
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
    fn random(&self, random: &mut fastrand::Rng) -> Conditions {
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

#[test]
fn a_node_gives_what_is_selected_and_its_recording_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let values = Values::of(&directory);
    let conditions = values.conditions();

    // All at once, in one run.
    let mut simnode = node(&path("trace"));
    let which = format!("--pid {} --ring-buffer-size 8MiB", simnode.pid());
    let recording = path("recording").display().to_string();
    let mut recorder = Attached::spawn(bitcointap(&format!("record {recording} --events all {which}")));
    let taps: Vec<(&Conditions, Attached)> = conditions
        .iter()
        .enumerate()
        .map(|(index, conditions)| {
            let mut tap = bitcointap(&format!("tap {which} --bytes hex {}", conditions.arguments()));
            tap.stdout(File::create(path(&index.to_string())).unwrap());
            (conditions, Attached::spawn(tap))
        })
        .collect();
    simnode.fire();
    simnode.tally();
    assert!(truth(&path("trace")) == values.truth, "the same run again");
    for (index, (conditions, mut tap)) in taps.into_iter().enumerate() {
        let status = tap.wait();
        assert!(status.success(), "{conditions:?}: {}", tap.log);
        let text = fs::read_to_string(path(&index.to_string())).unwrap();
        let selected = assert_selected(conditions, &values.truth, &text, &tap.log);
        let is_some = selected > 0 && (selected < 6000 || conditions.0 == "events=all");
        assert!(is_some, "{conditions:?} are to select some, not {selected}");
    }
    assert!(recorder.wait().success(), "{}", recorder.log);

    let replay = |conditions: &Conditions| {
        output(&format!("tap --replay {recording} --speed max --bytes hex {}", conditions.arguments()))
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut none = 0;
    let combinations: Vec<_> = (0..60).map(|_| values.random(&mut random)).collect();
    for conditions in conditions.iter().chain(&combinations) {
        let Output { status, stdout, stderr } = replay(conditions);
        let log = text(&stderr);
        if !status.success() {
            assert!(log.contains("no event can meet all of these conditions"), "{conditions:?}: {log}");
            assert!(!values.truth.iter().any(|event| conditions.select(event)), "{conditions:?}");
            continue;
        }
        none += usize::from(assert_selected(conditions, &values.truth, &text(&stdout), &log) == 0);
    }
    assert!(none < combinations.len() / 2, "{none} of the combinations select nothing");
}

#[test]
fn an_exporter_counts_all_and_writes_what_is_selected() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut simnode = node(&path("trace"));
    let conditions = Conditions("events=all command=inv,tx,xyzunknown12 not-network=onion min-size=40".to_owned());
    let json = path("json").display().to_string();
    let arguments = format!("--pid {} --json {json} --bytes hex {}", simnode.pid(), conditions.arguments());
    let exporter = Exporter::start(&arguments);
    simnode.fire();
    let tally = simnode.tally();
    let metrics = exporter.last_scrape();
    for (tracepoint, fired) in tally.tracepoints() {
        assert_eq!(metrics.sum("events_total", &[("tracepoint", &tracepoint)]), fired as f64, "{tracepoint}");
    }
    assert_eq!(metrics.sum("events_filtered_total", &[]), 0.0);
    let truth = truth(&path("trace"));
    let messages = truth.iter().filter(|event| event["command"].is_string()).count();
    assert_eq!(metrics.sum("p2p_messages_total", &[]), messages as f64);

    let selected: Vec<Value> = truth.iter().filter(|event| conditions.select(event)).map(to_be_told).collect();
    let written = || exporter.scrape().sum("json_lines_total", &[]);
    eventually("all lines", || (written() == selected.len() as f64).then_some(()));
    assert!(exporter.stop().contains("message called xyzunknown12"));
    let text = fs::read_to_string(json).unwrap();
    assert!(!selected.is_empty() && lines(&text).map(|(line, _)| told(&line)).eq(selected));
}

/// Attached in this process, where nothing drains it.
fn attached(node: &Simnode, conditions: &str, payloads: Payloads) -> Tap {
    let node = Which::Pid(node.pid() as i32).find().unwrap();
    let selection = Conditions(conditions.to_owned()).selection();
    let tap = Tap::attach(&node, &Options { selection, payloads, ..Options::default() }).unwrap();
    assert!(tap.failures().is_empty(), "{conditions}: {:?}", tap.failures());
    tap
}

#[test]
fn what_the_kernel_side_can_decide_never_reaches_the_ring_buffer() {
    let mut node = Simnode::start("v31", "--scenario flood --rate max --count 100000");
    let ring_buffer_stays_empty = [
        "command=inv,addr",
        "not-command=ping,version,verack,wtxidrelay,sendaddrv2,sendcmpct,sendheaders,feefilter,getaddr,getheaders,sendtxrcncl,\
         feature",
        "peer=1,2",
        "not-peer=0",
        "min-size=1000",
        "min-size=1 max-size=7",
        "connection-type=manual,unknown",
        "not-connection-type=inbound",
    ];
    let taps: Vec<(&str, Tap)> = ring_buffer_stays_empty
        .into_iter()
        .map(|conditions| {
            (conditions, attached(&node, &format!("events=net:inbound_message {conditions}"), Payloads::Whole))
        })
        .collect();
    let messages = "events=net:inbound_message,net:outbound_message";
    let outbound = attached(&node, &format!("{messages} direction=outbound"), Payloads::Whole);
    assert_eq!(outbound.attached(), "net:outbound_message".parse().unwrap(), "others cost the node nothing");
    node.fire();
    let fired = node.tally().tracepoints()["net:inbound_message"];
    assert!(fired > 99_000);
    let expected = Counters { fired, filtered: fired, ..Counters::default() };
    let inbound_message = Tracepoint::NetInboundMessage.index();
    for (conditions, tap) in taps {
        assert_eq!(tap.counters().unwrap()[inbound_message], expected, "{conditions}");
        assert_eq!(tap.ring_buffer().1, 0, "{conditions}");
    }
    assert_eq!(outbound.counters().unwrap()[inbound_message], Counters::default());
}

#[test]
fn payloads_that_are_not_wanted_are_not_copied() {
    let mut node = Simnode::start("v31", "--scenario blocks --rate max --count 300");
    let mut tap = attached(&node, "events=net", Payloads::None);
    node.fire();
    let tally = node.tally();
    let fired: u64 = tally.tracepoints().iter().filter(|(name, _)| name.starts_with("net:")).map(|(_, it)| it).sum();
    let used = tap.ring_buffer().1;
    assert!((1..=fired * 200).contains(&used), "{used} bytes of {fired} events");

    let (mut batch, mut text) = (Batch::default(), Vec::new());
    while tap.drain(&mut batch).unwrap() || !batch.is_empty() {
        let style = Style { bytes: BytesStyle::Hex, raw: true, pretty: false };
        batch.each(|event| write_line(&mut text, &event, style).unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(lines(&text).count() as u64, fired);
    let mut sizes = Vec::new();
    for (line, _) in lines(&text).filter(|(line, _)| line["event"]["Msg"].is_object()) {
        let message = &line["event"]["Msg"];
        let (command, size) = (&message["meta"]["command"], message["meta"]["size"].as_u64().unwrap());
        sizes.push(size);
        if size == 0 {
            assert_eq!(message["raw"], "");
        } else {
            assert_eq!(message["msg"], json!({"Unavailable": {"command": command, "reason": "not_wanted"}}));
            assert!(message.get("raw").is_none(), "{message}");
        }
    }
    assert_eq!(sizes.iter().max(), Some(&4_000_000));
}

#[test]
fn raw_payloads_are_what_is_decoded_beside_them() {
    let mut node = Simnode::start("v31", NODE);
    let tap = bitcointap(&format!("tap --pid {} --direction inbound,outbound --payload raw --bytes hex", node.pid()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let mut tap = Attached::spawn({
        let mut tap = tap;
        tap.stdout(File::create(&path).unwrap());
        tap
    });
    node.fire();
    node.tally();
    assert!(tap.wait().success(), "{}", tap.log);
    let text = fs::read_to_string(path).unwrap();
    let (mut numbers, mut transactions) = (0, 0);
    for (line, _) in lines(&text).filter(|(line, _)| line["event"]["Msg"].is_object()) {
        let message = &line["event"]["Msg"];
        let raw = message["raw"].as_str().unwrap();
        assert_eq!(raw.len() as u64, 2 * message["meta"]["size"].as_u64().unwrap(), "{message}");
        let (kind, decoded) = message["msg"].as_object().unwrap().iter().next().unwrap();
        let number = match kind.as_str() {
            "Ping" | "Pong" => decoded["value"].as_u64(),
            "Feefilter" => decoded["fee"].as_u64(),
            _ => None,
        };
        if let Some(number) = number {
            let bytes: String = number.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(raw, bytes, "{message}");
            numbers += 1;
        }
        if kind == "Tx" {
            assert_eq!(decoded["tx"]["raw"], raw);
            transactions += 1;
        }
    }
    assert!(numbers > 100 && transactions > 100, "{numbers}, {transactions}");
}

#[test]
fn the_kernel_takes_all_programs_whatever_they_are_to_decide() {
    let node = Simnode::start("v31", "");
    for peers in ["", " peer=1", " not-peer=1,2"] {
        for commands in ["", " command=inv", " not-command=inv,tx"] {
            for others in ["", " min-size=1 max-size=9 not-connection-type=manual"] {
                for payloads in [Payloads::Whole, Payloads::None, Payloads::Limited(&[("block", 80)])] {
                    let conditions = format!("events=all{peers}{commands}{others}");
                    let tap = attached(&node, &conditions, payloads);
                    assert_eq!(tap.attached(), Conditions(conditions).selection().tracepoints());
                }
            }
        }
    }
}

#[test]
fn thousands_of_values_are_taken() {
    let list = |value: fn(u32) -> String| (0..10_000).map(value).collect::<Vec<_>>().join(",");
    let mut node = Simnode::start("v31", "--scenario flood --rate max --count 20000");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let mut tap = bitcointap(&format!("tap --pid {} --command ping", node.pid()));
    tap.args(["--command", &list(|n| format!("c{n}"))]).args(["--peer", &list(|n| n.to_string())]);
    tap.args(["--not-address", &list(|n| format!("10.9.{}.{}", n / 100, n % 100))]);
    tap.args(["--not-command", &list(|n| format!("d{n}"))]).stdout(File::create(&path).unwrap());
    let mut tap = Attached::spawn(tap);
    node.fire();
    let tally = node.tally();
    assert!(tap.wait().success(), "{}", tap.log);
    let pings = tally.rows("messages").iter().filter(|row| row["command"] == "ping");
    let pings: u64 = pings.map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(pings > 19_000);
    assert_eq!(fs::read_to_string(path).unwrap().lines().count() as u64, pings);
    let [fired, filtered, lost] = last_counts(&tap.log);
    assert_eq!((fired - filtered, lost), (pings, 0), "{}", tap.log);
    // Only a few, so that they do not fill the log.
    assert_eq!(tap.log.matches("is it misspelled?").count(), 5, "{}", tap.log);
    assert!(tap.log.contains("Bitcoin Core has no message called c0:"), "{}", tap.log);
}
