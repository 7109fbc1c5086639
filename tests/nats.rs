//! Events over NATS, with real servers: an old and a new one. Each event that fired is published once, or counted as lost, whatever
//! happens to the server.

mod access;
mod cluster;
mod cut_off;
mod peer_observer;
mod recording;
pub mod server;
mod slow;
pub mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use self::server::{Message, Server, Subscriber, old_server, servers};
use crate::{
    node::{Simnode, Tally},
    schema::{assert_lines, checker},
    tool::{Attached, Exporter, bitcointap, eventually, free_address, output, tracepoint_of},
};

/// The lines of messages on our subjects of events.
fn lines(messages: &[Message]) -> Vec<(&Message, Value)> {
    let is_of_events = |message: &&Message| {
        message.subject.contains('.') && !message.is_heartbeat() && !message.subject.contains(".confirm.")
    };
    let mut lines = Vec::new();
    for message in messages.iter().filter(is_of_events) {
        let text = std::str::from_utf8(&message.payload).unwrap();
        lines.extend(text.lines().map(|line| (message, serde_json::from_str(line).unwrap())));
    }
    lines
}

/// How many of them are events.
fn events(messages: &[Message]) -> u64 {
    let is_of_events = |message: &&Message| {
        !message.is_heartbeat() && ![".confirm.", ".lost."].iter().any(|part| message.subject.contains(part))
    };
    let count = |message: &Message| message.payload.iter().filter(|&&byte| byte == b'\n').count() as u64;
    messages.iter().filter(is_of_events).map(count).sum()
}

/// How many events a node fired that are published by default.
fn published(tally: &Tally) -> u64 {
    let is_published = |name: &str| ["net:", "mempool:", "validation:"].iter().any(|context| name.starts_with(context));
    tally.tracepoints().iter().filter(|(name, _)| is_published(name)).map(|(_, count)| count).sum()
}

fn is_gap(line: &Value) -> bool {
    line["event"]["Lost"].is_object()
}

/// How many events the gaps among these lines stand for.
fn told_lost(lines: &[(&Message, Value)]) -> u64 {
    let count = |(_, line): &(&Message, Value)| line["event"]["Lost"]["count"].as_u64();
    lines.iter().filter_map(count).sum()
}

/// Asserts that each message is on the subject of its lines, and that numbers show what is missing. Gives whether any is.
fn are_in_order(messages: &[Message], prefix: &str) -> bool {
    let (mut numbers, mut ids) = (BTreeMap::<&str, Vec<u64>>::new(), BTreeSet::new());
    for (message, line) in lines(messages) {
        let tracepoint = tracepoint_of(&line);
        let mut subject = format!("{prefix}.{}", tracepoint.replace(':', "."));
        if is_gap(&line) {
            let of = line["event"]["Lost"]["tracepoint"].as_str().unwrap();
            subject = format!("{prefix}.lost.{}", of.replace(':', "."));
        } else if let Some(command) = line["event"]["Msg"]["meta"]["command"].as_str() {
            subject = format!("{subject}.{command}");
        }
        assert!(message.subject == subject || message.subject.ends_with(".other"), "{}: {line}", message.subject);
    }
    for message in messages.iter().filter(|message| message.headers.contains_key("Bitcointap-Number")) {
        numbers.entry(&message.subject).or_default().push(message.header("Bitcointap-Number").parse().unwrap());
        assert!(ids.insert(message.header("Nats-Msg-Id")), "{message:?} is there twice");
    }
    let mut holes = false;
    for (subject, numbers) in numbers {
        assert!(numbers.is_sorted_by(|a, b| a < b), "{subject}: {numbers:?}");
        holes |= numbers.iter().enumerate().any(|(place, &number)| number != place as u64 + 1);
    }
    holes
}

#[test]
fn each_event_is_on_its_subject_once() {
    for program in servers() {
        let server = Server::start(&program, "");
        let subscriber = Subscriber::start(&server, "bitcointap.alice.>");
        let mut node = Simnode::start("v31", "--scenario mix --rate 5000 --count 10000");
        let style = "--bytes hex --integers string --max-bytes 20";
        let options = format!("--nats {} --node-name alice {style}", server.url());
        let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {} {options}", node.pid())));
        node.fire();
        let fired = published(&node.tally());
        assert!(tap.wait().success(), "{}", tap.log);
        // Nothing that async-nats logs.
        assert!(!tap.log.contains("event: connected"), "{}", tap.log);
        let messages = subscriber.until(|messages| lines(messages).len() as u64 >= fired);
        let published = lines(&messages);
        assert_eq!(published.len() as u64, fired);
        assert!(assert_lines(&checker(style), published.iter().map(|(_, line)| line)) > 100);
        assert!(!are_in_order(&messages, "bitcointap.alice"), "nothing is missing");
        // Lines of one subject go together.
        assert!((messages.len() as u64) < fired, "{} messages", messages.len());
        let last = lines(&messages).iter().map(|(it, _)| it.header("Bitcointap-Event").parse::<u64>().unwrap()).max();
        assert!(last.unwrap() <= fired);
    }
}

#[test]
fn a_recording_goes_over_nats_as_its_node_did() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let subscriber = Subscriber::start(&server, "a.b.bob.net.inbound_message.*");
    let recording = "tests/golden/version-2.recording";
    let tapped = output(&format!("tap --replay {recording} --speed max --events net:inbound_message --command ping"));
    let expected: BTreeSet<&str> = std::str::from_utf8(&tapped.stdout).unwrap().lines().collect();
    assert!(expected.len() > 10);
    // Recordings of version 2 do not name their node.
    let published = "--nats.prefix a.b --events net --command ping --nats.batch 100ms";
    let config = tempfile::NamedTempFile::new().unwrap();
    let table = "[outputs.bus]\nnats.url = ['URL']\nnats.prefix = 'a.b'\nevents = ['net']\ncommand = ['ping']\n";
    fs::write(config.path(), table.replace("URL", &server.url())).unwrap();
    assert!(output(&format!("check-config {}", config.path().display())).status.success());
    let result = output(&format!("tap --replay {recording} --speed max --nats {} {published}", server.url()));
    assert!(result.status.success(), "{result:?}");
    let host = rustix::system::uname()
        .nodename()
        .to_str()
        .unwrap()
        .replace(|it: char| !it.is_ascii_alphanumeric() && it != '-', "_");
    drop(subscriber);
    let subscriber = Subscriber::start(&server, &format!("a.b.{host}.net.inbound_message.*"));
    let result = output(&format!("tap --replay {recording} --speed max --nats {} {published}", server.url()));
    assert!(result.status.success(), "{result:?}");
    let messages = subscriber.until(|messages| lines(messages).len() >= expected.len());
    let text: String = messages.iter().map(|it| String::from_utf8_lossy(&it.payload).into_owned()).collect();
    assert_eq!(text.lines().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_server_that_dies_loses_only_what_is_told() {
    for program in servers() {
        let mut server = Server::start(&program, "");
        let subscriber = Subscriber::start(&server, "bitcointap.alice.>");
        let mut node = Simnode::start("v31", "--scenario mix --rate 2000 --count 12000");
        let options = format!("--nats {} --node-name alice", server.url());
        let exporter = Exporter::start(&format!("--pid {} --events net,mempool,validation {options}", node.pid()));
        node.fire();
        subscriber.until(|messages| lines(messages).len() > 1000);
        server.die_with_what_is_in_the_socket();
        std::thread::sleep(Duration::from_secs(2));
        server.restart();
        let fired = published(&node.tally());
        let metrics = exporter.last_line("nats");
        let lost = metrics.sum("json_lines_lost_total", &[("sink", "nats")]) as u64;
        let log = exporter.stop();
        assert!(log.contains("cannot write JSON lines to NATS at nats://"), "{log}");
        assert_eq!(log.matches("cannot write JSON lines to NATS").count(), 1, "it is said once: {log}");
        assert!(lost > 0, "something was in the socket");
        let messages = subscriber.until(|messages| messages.iter().any(|it| it.subject.contains(".lost.")));
        let messages = subscriber.rest(messages);
        let has_holes = are_in_order(&messages, "bitcointap.alice");
        let lines = lines(&messages);
        let events = lines.iter().filter(|(_, line)| !is_gap(line)).count() as u64;
        // What the reader has and what was told as lost is all, or the reader sees that messages are missing.
        assert!(events + lost >= fired || has_holes, "{events} + {lost} of {fired}");
        assert!(told_lost(&lines) >= lost || has_holes, "{} {lost}", told_lost(&lines));
    }
}

#[test]
fn it_starts_without_a_server() {
    let Some(program) = old_server() else { return };
    let address = free_address();
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000 --count 1000");
    let options = format!("--nats nats://{address} --node-name alice");
    let exporter = Exporter::start(&format!("--pid {} --events net,mempool,validation {options}", node.pid()));
    node.fire();
    let fired = published(&node.tally());
    let server = Server::start_at(&program, &address, "");
    let metrics = exporter.last_line("nats");
    let written = metrics.sum("json_lines_total", &[("sink", "nats")]) as u64;
    assert_eq!(metrics.sum("json_lines_lost_total", &[("sink", "nats")]), 0.0, "all was kept");
    assert_eq!(written, fired);
    let log = exporter.stop();
    assert!(log.contains("Connection refused") && log.contains("are written to NATS at nats://"), "{log}");
    drop(server);
}

#[test]
fn jetstream_has_all_that_it_acknowledged_once() {
    for program in servers() {
        let mut server = Server::start(&program, "jetstream { store_dir: \"STORE\" }\n");
        server.make_stream(
            "events",
            &["bitcointap.*.net.>", "bitcointap.*.mempool.>", "bitcointap.*.validation.>", "bitcointap.*.lost.>"],
            None,
        );
        let mut node = Simnode::start("v31", "--scenario mix --rate 1000 --count 6000");
        let options = format!("--nats {} --node-name alice --nats.jetstream --bytes hex", server.url());
        let exporter = Exporter::start(&format!("--pid {} --events net,mempool,validation {options}", node.pid()));
        node.fire();
        eventually("some messages", || (server.stored("events").len() > 20).then_some(()));
        server.kill();
        std::thread::sleep(Duration::from_secs(1));
        server.restart();
        let fired = published(&node.tally());
        let metrics = exporter.last_line("nats");
        let lost = metrics.sum("json_lines_lost_total", &[("sink", "nats")]) as u64;
        assert_eq!(lost, 0, "it is tried until it is stored");
        exporter.stop();
        let messages = server.stored("events");
        assert!(!are_in_order(&messages, "bitcointap.alice"));
        assert_eq!(lines(&messages).len() as u64, fired);
    }
}

#[test]
fn what_is_larger_than_the_server_takes_goes_without_its_payload() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "max_payload: 4096\n");
    let subscriber = Subscriber::start(&server, "bitcointap.alice.net.>");
    let mut node = Simnode::start("v31", "--scenario blocks --rate 10 --count 30");
    let options = format!("--nats {} --node-name alice", server.url());
    let mut tap = Attached::spawn(bitcointap(&format!("tap --events net --pid {} {options}", node.pid())));
    node.fire();
    let tally = node.tally();
    let fired: u64 =
        tally.tracepoints().iter().filter(|(name, _)| name.starts_with("net:")).map(|(_, count)| count).sum();
    assert!(tap.wait().success(), "{}", tap.log);
    let messages = subscriber.until(|messages| lines(messages).len() as u64 >= fired);
    let lines = lines(&messages);
    let reason = |(_, line): &(&Message, Value)| {
        line["event"]["Msg"]["msg"]["Unavailable"]["reason"].as_str().map(str::to_owned)
    };
    let large = lines.iter().filter_map(reason).filter(|reason| reason == "too_large_for_broker").count();
    assert!(large > 0 && large < lines.len(), "{large} of {}", lines.len());
    assert_eq!(tap.log.matches("raise max_payload").count(), 1, "{}", tap.log);
    assert_eq!(lines.len() as u64, fired);
}

/// One clear line each, and the rest goes on.
#[test]
fn what_is_wrong_with_a_server_is_said_in_a_line() {
    let Some(program) = old_server() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, wrong, other) = (file("right", "tap:secret\n"), file("wrong", "tap:guess"), file("other", "no colon"));
    let users = "authorization { users: [ { user: tap, password: secret, permissions: { \
                 publish: [\"bitcointap.alice.net.inbound_message.>\", \"bitcointap.alice.heartbeat\", \"bitcointap.alice.confirm.*\"], \
                 subscribe: \"bitcointap.alice.confirm.*\" } }, { user: reader, password: all } ] }\n";
    let server = Server::start(&program, users);
    let no_server = TcpListener::bind("127.0.0.1:0").unwrap();
    std::thread::spawn(move || {
        for client in no_server.incoming().flatten() {
            drop(std::io::Write::write_all(&mut &client, b"SSH-2.0-OpenSSH_9.9\r\n"));
        }
    });
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    let pid = node.pid();
    let mut logged = |options: &str, words: &str| {
        let exporter = Exporter::start(&format!("--pid {pid} --node-name alice {options}"));
        node.fire();
        let mut process = exporter;
        process.process.read_log_until(words, 1);
        assert!(process.scrape().sum("events_fired_total", &[]) >= 0.0);
        let log = process.stop();
        assert!(!log.contains("secret") && !log.contains("guess"), "{log}");
        log
    };
    let url = server.url();
    logged(&format!("--nats {url} --nats.user-file {wrong}"), "authorization violation");
    logged(&format!("--nats {url}"), "authorization violation");
    logged(&format!("--nats {url} --nats.user-file {other}"), "it must have one line USER:PASSWORD");
    logged(&format!("--nats {url} --nats.user-file /nowhere"), "cannot read /nowhere");
    let refused = "does not let this user publish on bitcointap.alice.net.outbound_message.";
    let log = logged(&format!("--nats {url} --nats.user-file {right}"), refused);
    let pings = "publish on bitcointap.alice.net.outbound_message.ping:";
    assert!(log.matches(pings).count() <= 1, "{log}");
    assert!(!log.contains("publish on bitcointap.alice.net.inbound_message"), "{log}");
    let certificate = file("ca", "no certificate");
    logged(&format!("--nats tls://{} --nats.user-file {right}", server.address()), "cannot write JSON lines to NATS");
    logged(
        &format!("--nats tls://{} --nats.tls-ca {certificate}", server.address()),
        "cannot write JSON lines to NATS",
    );
}

#[test]
fn a_stream_that_is_missing_or_full_is_told() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "jetstream { store_dir: \"STORE\" }\n");
    let mut node = Simnode::start("v31", "--scenario mix --rate 300");
    let options = format!("--nats {} --node-name alice --nats.jetstream", server.url());
    let mut exporter = Exporter::start(&format!("--pid {} --events net,mempool,validation {options}", node.pid()));
    node.fire();
    exporter.process.read_log_until("JetStream does not store what is published: no stream found", 1);
    server.make_stream("small", &["bitcointap.>"], Some(50_000));
    exporter.process.read_log_until("JetStream stores what is published again", 1);
    exporter.process.read_log_until("JetStream does not store what is published: ", 2);
    let metrics = exporter.scrape();
    assert!(metrics.sum("json_lines_total", &[("sink", "nats")]) > 0.0);
    let log = exporter.stop();
    assert!(log.contains("some events were not written as JSON lines"), "{log}");
}

#[test]
fn outputs_of_nats_come_and_go_with_the_configuration() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let config = tempfile::NamedTempFile::new().unwrap();
    let table = format!("[outputs.bus]\nnats = ['{}']\nevents = ['net']\n", server.url());
    fs::write(config.path(), "node-name = 'alice'\n").unwrap();
    let subscriber = Subscriber::start(&server, "bitcointap.alice.>");
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    let mut exporter = Exporter::start(&format!("--pid {} --config {}", node.pid(), config.path().display()));
    node.fire();
    fs::write(config.path(), format!("node-name = 'alice'\n{table}")).unwrap();
    exporter.process.hang_up("the output bus has begun, to nats://");
    let messages = subscriber.until(|messages| lines(messages).len() > 100);
    assert!(lines(&messages).iter().all(|(message, _)| message.subject.contains(".net.")), "its own selection");
    let heartbeat = eventually("a heartbeat", || {
        let all = subscriber.so_far();
        let last = all.iter().rev().find(|message| message.is_heartbeat())?;
        serde_json::from_slice::<Value>(&last.payload).ok().filter(|it| it["event"].as_u64() > Some(0))
    });
    assert!(heartbeat["tracepoints"]["net:inbound_message"]["fired"].as_u64() > Some(0), "{heartbeat}");
    assert_eq!(heartbeat["lost"], 0, "{heartbeat}");
    assert!(heartbeat["numbers"]["bitcointap.alice.net.inbound_message.ping"].as_u64() > Some(0), "{heartbeat}");
    fs::write(config.path(), "node-name = 'alice'\n").unwrap();
    exporter.process.hang_up("the output bus has ended");
    exporter.stop();
}

#[test]
fn the_published_configuration_of_a_server_takes_blocks() {
    for program in servers() {
        let directory = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/nats-server.conf")).unwrap();
        let (address, monitor) = (free_address(), free_address());
        let text = text.replace("0.0.0.0:4222", &address).replace("127.0.0.1:8222", &monitor);
        fs::write(directory.path().join("configuration"), text).unwrap();
        let server = Server::of(&program, &address, directory);
        assert_eq!(server.max_payload(), 16 << 20);
    }
}
