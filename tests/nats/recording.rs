//! Recordings over NATS: what is published is a recording, and a replay of it gives what the node gave.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use async_nats::jetstream::stream::Config;

use super::server::{Message, Server, Subscriber, old_server, servers, stream_of};
use crate::{
    exposition::Exposition,
    node::Simnode,
    tool::{Exporter, bitcointap, eventually, output},
};

pub const SUBJECT: &str = "bitcointap.alice.recording";
pub const EVENTS: &str = "--events net,mempool,validation";

/// The recording that these messages are, if they are whole.
pub fn joined(messages: &[Message]) -> Vec<u8> {
    let of_recording = messages.iter().filter(|message| message.subject == SUBJECT);
    of_recording.flat_map(|message| message.payload.clone()).collect()
}

/// What `tap` prints of a recording.
pub fn printed(recording: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), recording).unwrap();
    let output = output(&format!("tap --replay {} --speed max --bytes hex {EVENTS}", file.path().display()));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Counters of events by tracepoint and family.
pub fn counted(metrics: &Exposition) -> BTreeMap<String, f64> {
    ["events_total", "events_filtered_total", "events_lost_total", "event_delay_seconds_count", "p2p_messages_total"]
        .map(|family| (family.to_owned(), metrics.sum(family, &[])))
        .into()
}

/// The metrics that `export` has of a recording.
fn replayed(recording: &[u8]) -> BTreeMap<String, f64> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), recording).unwrap();
    let arguments = format!("--replay {} --speed max {EVENTS}", file.path().display());
    counted(&Exporter::start_by(bitcointap, &arguments, "end of the run").last_scrape())
}

/// What a simulated node fired, and what was published of it.
pub struct Published {
    pub exporter: Exporter,
    /// How many events fired that are published.
    pub fired: u64,
    pub metrics: BTreeMap<String, f64>,
    /// Events that the publisher lost.
    pub lost: u64,
    pub lines: Vec<String>,
}

/// Taps a node until its end, and publishes a recording of it. `meanwhile` is called when the node has begun to fire.
pub fn publish(url: &str, scenario: &str, options: &str, meanwhile: impl FnOnce(&Exporter)) -> Published {
    publish_as("alice", url, scenario, options, meanwhile)
}

/// The same for a node with this name.
pub fn publish_as(
    name: &str,
    url: &str,
    scenario: &str,
    options: &str,
    meanwhile: impl FnOnce(&Exporter),
) -> Published {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut node = Simnode::start("v31", &format!("--scenario {scenario}"));
    let nats = format!("--nats {url} --node-name {name} --nats.format recording {options}");
    let json = format!("--json {} --bytes hex", file.path().display());
    let exporter = Exporter::start(&format!("--pid {} {EVENTS} {nats} {json}", node.pid()));
    node.fire();
    meanwhile(&exporter);
    let fired = super::published(&node.tally());
    let scrape = exporter.last_line("nats");
    let (metrics, lost) = (counted(&scrape), scrape.sum("json_lines_lost_total", &[("sink", "nats")]) as u64);
    let lines = eventually("all lines", || {
        let text = fs::read_to_string(file.path()).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() as f64 == metrics["event_delay_seconds_count"]).then_some(lines)
    });
    Published { exporter, fired, metrics, lost, lines }
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    let of_recording = messages.iter().filter(|message| message.subject == SUBJECT);
    of_recording.map(|message| message.header("Bitcointap-Number").parse().unwrap()).collect()
}

#[test]
fn what_is_published_is_a_recording_of_the_node() {
    for program in servers() {
        let server = Server::start(&program, "");
        let subscriber = Subscriber::start(&server, "bitcointap.alice.>");
        let published = publish(&server.url(), "mix --rate 5000 --count 15000", "", |_| {});
        let Published { ref metrics, ref lines, .. } = published;
        let messages = subscriber.until(|messages| printed(&joined(messages)).len() >= lines.len());
        let log = published.exporter.stop();
        let messages = subscriber.rest(messages);
        assert!(printed(&joined(&messages)) == *lines, "{log}");
        assert_eq!(replayed(&joined(&messages)), *metrics, "{log}");

        let numbers = numbers(&messages);
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        let groups: Vec<_> = messages.iter().filter(|it| it.headers.contains_key("Bitcointap-Group")).collect();
        assert!(groups.len() >= 2, "a new group begins after two seconds: {}", groups.len());
        // A reader who comes late reads from any group on.
        let second = messages.iter().position(|it| it.headers.get("Bitcointap-Group").is_some_and(|it| it == "1"));
        let late = joined(&messages[second.unwrap()..]);
        let late = printed(&late[end_of_group(&late)..]);
        assert!(!late.is_empty() && late.len() < lines.len() && lines.ends_with(&late));
        let first = messages[second.unwrap() + 1].header("Bitcointap-Event").parse::<usize>().unwrap();
        assert_eq!(first, lines.len() - late.len() + 1, "events are counted from 1");
    }
}

/// Bytes of the end of the group before, which a message that begins a group has first.
fn end_of_group(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte != 0).unwrap()
}

/// A block has 1 MB and the server takes 4 KiB.
#[test]
fn a_block_larger_than_the_server_takes_goes_in_parts() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "max_payload: 4096\n");
    let subscriber = Subscriber::start(&server, SUBJECT);
    let published = publish(&server.url(), "blocks --rate 10 --count 30", "", |_| {});
    let lines = &published.lines;
    let messages = subscriber.until(|messages| printed(&joined(messages)).len() >= lines.len());
    let log = published.exporter.stop();
    let messages = subscriber.rest(messages);
    assert!(printed(&joined(&messages)) == *lines, "{log}");
    assert_eq!(replayed(&joined(&messages)), published.metrics);
    let parts = messages.iter().filter_map(|message| message.headers.get("Bitcointap-Part"));
    let parts: Vec<_> = parts.map(|part| part.split_once('/').unwrap()).collect();
    assert!(parts.iter().any(|(_, all)| all.parse::<u32>().unwrap() > 10), "{parts:?}");
    for pair in parts.windows(2) {
        let [(place, all), next] = [pair[0], pair[1]];
        let goes_on = (place.parse::<u32>().unwrap() + 1).to_string();
        assert!(next == (&*goes_on, all) || place == all && next.0 == "1", "{pair:?}");
    }
    assert!(messages.iter().all(|message| message.payload.len() < 4096 - 512 + 1));
}

#[test]
fn what_a_dying_server_takes_with_it_is_told_in_the_recording() {
    for program in servers() {
        let mut server = Server::start(&program, "");
        let subscriber = Subscriber::start(&server, SUBJECT);
        let url = server.url();
        let published = publish(&url, "mix --rate 2000 --count 12000", "", |exporter| {
            subscriber.until(|messages| messages.len() > 20);
            server.die_with_what_is_in_the_socket();
            eventually("a loss", || {
                let lost = exporter.scrape().sum("json_lines_lost_total", &[("sink", "nats")]);
                (lost > 0.0).then_some(())
            });
            server.restart();
        });
        let log = published.exporter.stop();
        assert_eq!(log.matches("cannot write recorded events to NATS").count(), 1, "it is said once: {log}");
        let last = subscriber.until(|messages| messages.last().is_some_and(|it| it.payload == [0; 12]));
        let messages = subscriber.rest(last);
        let recording = joined(&messages);
        let lines = printed(&recording);
        let is_gap = |line: &&String| line.contains(r#""event":{"Lost":{"#);
        let events = lines.iter().filter(|line| !is_gap(line)).count() as u64;
        let told: u64 = lines.iter().filter(is_gap).map(|line| count_of(line)).sum();
        assert!(published.lost > 0 && told == published.lost, "{told} {}: {log}", published.lost);
        assert!(lines.iter().filter(is_gap).all(|line| line.contains(r#""reason":"write_failed""#)));
        // What was not confirmed may have arrived nonetheless.
        assert!(events + told >= published.fired, "{events} + {told} of {}", published.fired);
        let counted = replayed(&recording);
        assert_eq!(counted["events_total"] as u64, published.fired, "{log}");
        assert_eq!(counted["events_lost_total"] as u64, told, "{log}");
    }
}

fn count_of(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["event"]["Lost"]["count"].as_u64().unwrap()
}

/// JetStream refuses the larger messages for a while, and would take the smaller ones that were sent with them.
#[test]
fn jetstream_stores_a_recording_in_its_order() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "jetstream { store_dir: \"STORE\" }\n");
    let stream = |max_message_size| Config { max_message_size, ..stream_of("recordings", &["bitcointap.*.recording"]) };
    let published = publish(&server.url(), "mix --rate 300 --count 3000", "--nats.jetstream", |exporter| {
        // Messages gather until there is a stream, so that several are sent together then.
        let waiting = || exporter.scrape().sum("event_delay_seconds_count", &[]);
        eventually("some events", || (waiting() > 1000.0).then_some(()));
        server.try_make(&stream(6000)).unwrap();
        eventually("more events", || (waiting() > 2500.0).then_some(()));
        server.try_make(&stream(-1)).unwrap();
    });
    let log = published.exporter.stop();
    let messages = server.stored("recordings");
    let numbers = numbers(&messages);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{log}");
    assert!(log.contains("message size exceeds maximum allowed"), "{log}");
    assert!(printed(&joined(&messages)) == published.lines, "{log}");
}

#[test]
fn jetstream_keeps_a_whole_recording() {
    for program in servers() {
        let mut server = Server::start(&program, "jetstream { store_dir: \"STORE\" }\n");
        server.make_stream("recordings", &["bitcointap.*.recording"], None);
        let url = server.url();
        let published = publish(&url, "mix --rate 1000 --count 6000", "--nats.jetstream", |_| {
            eventually("some messages", || (server.stored("recordings").len() > 20).then_some(()));
            server.kill();
            thread::sleep(Duration::from_secs(1));
            server.restart();
        });
        let log = published.exporter.stop();
        assert_eq!(published.lost, 0, "it is tried until it is stored: {log}");
        let recording = joined(&server.stored("recordings"));
        assert!(printed(&recording) == published.lines, "{log}");
        assert_eq!(replayed(&recording), published.metrics, "{log}");
    }
}
