//! Another bitcointap in place of a node: what is read over NATS is what it taps, and what does not come is counted.

use std::{collections::BTreeSet, io::Read, process::Stdio, thread};

use super::{
    recording::{EVENTS, Published, SUBJECT, counted, printed, publish, publish_as},
    server::{Message, Server, Subscriber, old_server, servers},
};
use crate::tool::{Attached, Exporter, bitcointap, eventually};

/// A `tap` of another bitcointap.
pub struct Reader {
    process: Attached,
    lines: thread::JoinHandle<String>,
}

impl Reader {
    fn start(server: &Server, options: &str) -> Self {
        Self::start_at(&server.url(), options)
    }

    pub fn start_at(url: &str, options: &str) -> Self {
        let mut command = bitcointap(&format!("tap {} --bytes hex {options}", source(url)));
        command.stdout(Stdio::piped());
        let mut process = Attached::spawn_until(command, "reading bitcointap.alice.recording from NATS");
        let mut stdout = process.child.stdout.take().unwrap();
        let lines = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        Self { process, lines }
    }

    /// Waits for its end, and gives its lines and its log.
    pub fn end(mut self) -> (Vec<String>, String) {
        assert!(self.process.wait().success(), "{}", self.process.log);
        let text = self.lines.join().unwrap();
        (text.lines().map(str::to_owned).collect(), std::mem::take(&mut self.process.log))
    }
}

pub fn source(url: &str) -> String {
    format!("--source {url} --node alice {EVENTS}")
}

fn exporter(server: &Server) -> Exporter {
    Exporter::start_by(bitcointap, &source(&server.url()), "reading bitcointap.alice.recording from NATS")
}

/// Families that are not about the exporter itself.
fn of_node(exporter: &Exporter) -> BTreeSet<String> {
    let text = eventually("metrics", || crate::exposition::get(&exporter.address, "/metrics"));
    let is_own = |line: &str| {
        let own =
            ["process_", "json_lines", "http_", "attachments", "attach_failures", "ring_buffer_used", "build_info"];
        own.iter().any(|own| line.contains(own))
    };
    text.lines().filter(|line| !line.starts_with('#') && !is_own(line)).map(str::to_owned).collect()
}

fn gaps(lines: &[String]) -> (u64, BTreeSet<String>) {
    let gaps = lines.iter().filter(|line| line.contains(r#""event":{"Lost":{"#));
    let gaps: Vec<serde_json::Value> = gaps.map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |gap: &serde_json::Value| gap["event"]["Lost"]["count"].as_u64().unwrap();
    let reason = |gap: &serde_json::Value| gap["event"]["Lost"]["reason"].as_str().unwrap().to_owned();
    (gaps.iter().map(count).sum(), gaps.iter().map(reason).collect())
}

#[test]
fn tap_and_export_have_what_the_node_has() {
    for program in servers() {
        let server = Server::start(&program, "");
        let (reader, exporter) = (Reader::start(&server, ""), exporter(&server));
        let published = publish(&server.url(), "mix --rate 5000 --count 15000", "", |_| {});
        let (lines, log) = reader.end();
        assert!(lines == published.lines, "{} of {}: {log}", lines.len(), published.lines.len());
        assert_eq!(counted(&exporter.last_scrape()), published.metrics);
        let (here, there) = (of_node(&exporter), of_node(&published.exporter));
        assert!(here.len() > 500, "{}", here.len());
        assert_eq!(here.symmetric_difference(&there).collect::<Vec<_>>(), [""; 0]);
    }
}

#[test]
fn what_jetstream_has_stored_is_read_from_a_place_on() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "jetstream { store_dir: \"STORE\" }\n");
    server.make_stream("recordings", &["bitcointap.*.recording"], None);
    let published = publish(&server.url(), "mix --rate 5000 --count 20000", "--nats.jetstream", |_| {});
    published.exporter.stop();
    let (lines, log) = Reader::start(&server, "--source.stream recordings --start @1").end();
    assert!(lines == published.lines, "{} of {}: {log}", lines.len(), published.lines.len());
    let (lines, _) = Reader::start(&server, "--source.stream recordings --start 2026-01-01T00:00:00Z").end();
    assert!(lines == published.lines);
    let (lines, _) = Reader::start(&server, "--source.stream recordings --start @2").end();
    assert!(!lines.is_empty() && lines.len() < published.lines.len() && published.lines.ends_with(&lines));
}

/// The messages of a publisher, without some, as its server gives them to a slow reader.
#[test]
fn what_does_not_come_is_counted_as_lost() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let subscriber = Subscriber::start(&server, SUBJECT);
    let published = publish(&server.url(), "mix --rate 3000 --count 15000", "", |_| {});
    let Published { exporter: publisher, lines: all, fired, .. } = published;
    publisher.stop();
    let is_last = |messages: &[Message]| messages.last().is_some_and(|it| it.payload == [0; 12]);
    let messages = subscriber.until(is_last);
    drop(subscriber);
    let second = messages.iter().position(|it| it.headers.get("Bitcointap-Group").is_some_and(|it| it == "1")).unwrap();
    let third = messages.iter().position(|it| it.headers.get("Bitcointap-Group").is_some_and(|it| it == "2")).unwrap();
    let event = |place: usize| messages[place].header("Bitcointap-Event").parse::<usize>().unwrap() - 1;
    // A hole within a group, and one that takes the beginning of a group with it.
    for (from, to, goes_on) in [(10, 15, second), (second - 3, second + 3, third), (second, second + 1, third)] {
        let server = Server::start(&program, "");
        let (reader, exporter) = (Reader::start(&server, ""), exporter(&server));
        server.publish(messages[..from].iter().chain(&messages[to..]));
        let (lines, log) = reader.end();
        let (missing, reasons) = gaps(&lines);
        assert_eq!(missing as usize, event(goes_on) - event(from), "{log}");
        assert_eq!(reasons, BTreeSet::from(["not_received".to_owned()]));
        assert!(log.contains(&format!("{missing} events were published and did not come")), "{log}");
        let events: Vec<_> = lines.iter().filter(|line| !line.contains(r#"{"Lost":"#)).collect();
        let expected: Vec<_> = all[..event(from)].iter().chain(&all[event(goes_on)..]).collect();
        assert!(events == expected, "{} {}", events.len(), expected.len());
        let counted = counted(&exporter.last_scrape());
        assert_eq!(counted["events_total"] as u64, fired, "{log}");
        assert_eq!(counted["events_lost_total"] as u64, missing);
        assert_eq!(counted["event_delay_seconds_count"] as u64, fired - missing);
    }
}

#[test]
fn another_publisher_of_the_node_begins_a_run() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let subscriber = Subscriber::start(&server, SUBJECT);
    let published = publish(&server.url(), "mix --rate 3000 --count 3000", "", |_| {});
    published.exporter.stop();
    let is_last = |messages: &[Message]| messages.last().is_some_and(|it| it.payload == [0; 12]);
    let messages = subscriber.until(is_last);
    let exporter = exporter(&server);
    let half = messages.len() / 2;
    let other = |message: &Message| {
        let mut message = message.clone();
        message.headers.insert("Bitcointap-Run".into(), "another".into());
        message
    };
    let again: Vec<_> = messages.iter().map(other).collect();
    server.publish(messages[..half].iter().chain(&again));
    let expected = messages[half].header("Bitcointap-Event").parse::<u64>().unwrap() - 1 + published.fired;
    eventually("both runs", || {
        let scrape = exporter.scrape();
        let is_all = scrape.sum("event_delay_seconds_count", &[]) as u64 == expected;
        (is_all && scrape.sum("attachments_total", &[]) == 2.0).then_some(())
    });
    let log = exporter.stop();
    assert_eq!(log.matches("reading a run of pid").count(), 2, "{log}");
    assert_eq!(log.matches("end of the run").count(), 2, "{log}");
}

#[test]
fn a_server_that_is_gone_for_a_while_is_waited_for() {
    for program in servers() {
        let mut server = Server::start(&program, "");
        let url = server.url();
        let reader = exporter(&server);
        let published = publish(&url, "mix --rate 2000 --count 12000", "", |exporter| {
            eventually("some events", || {
                (reader.scrape().sum("event_delay_seconds_count", &[]) > 1000.0).then_some(())
            });
            server.die_with_what_is_in_the_socket();
            eventually("a loss", || {
                let lost = exporter.scrape().sum("json_lines_lost_total", &[("sink", "nats")]);
                (lost > 0.0).then_some(())
            });
            server.restart();
        });
        let all = eventually("all events", || {
            let counted = counted(&reader.scrape());
            (counted["events_total"] as u64 == published.fired).then_some(counted)
        });
        let (delivered, lost) = (all["event_delay_seconds_count"] as u64, all["events_lost_total"] as u64);
        assert_eq!(delivered + lost, published.fired, "{all:?}");
        assert!(lost > 0, "{all:?}");
        let log = reader.stop();
        assert_eq!(log.matches("cannot read from NATS").count(), 1, "it is said once: {log}");
        assert_eq!(log.matches(" again\"").count(), 1, "{log}");
        assert_eq!(log.matches("end of the run").count(), 1, "the run goes on: {log}");
    }
}

#[test]
fn a_recording_made_over_nats_is_as_one_made_at_the_node() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("alice.recording");
    let command = bitcointap(&format!("record {} {}", file.display(), source(&server.url())));
    let mut recorder = Attached::spawn_until(command, "reading bitcointap.alice.recording from NATS");
    let published = publish(&server.url(), "mix --rate 3000 --count 6000", "", |_| {});
    assert!(recorder.wait().success(), "{}", recorder.log);
    assert!(printed(&std::fs::read(&file).unwrap()) == published.lines, "{}", recorder.log);
}

/// The page of `export`, as of a node of this machine.
#[test]
fn a_node_whose_run_has_ended_elsewhere_is_not_shown_as_a_recording() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let reader = exporter(&server);
    let live = |is_so: &dyn Fn(&serde_json::Value) -> bool| {
        eventually("a state", || {
            let text = crate::exposition::get(&reader.address, "/api/live")?;
            serde_json::from_str(&text).ok().filter(|live| is_so(live))
        })
    };
    let published = publish(&server.url(), "mix --rate 2000 --count 4000", "", |_| {
        let running = live(&|live| live["peers"].as_array().is_some_and(|peers| peers.len() > 2));
        assert_eq!(running["replay"], false);
        assert!(running["node"]["pid"].as_u64() > Some(0), "{}", running["node"]);
    });
    let ended = live(&|live| live["node"].is_null());
    assert_eq!((&ended["waiting"], &ended["replay"]), (&"the node has ended".into(), &false.into()));
    published.exporter.stop();
}

#[test]
fn a_recorder_of_all_nodes_has_a_recording_of_each() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let directory = tempfile::tempdir().unwrap();
    let all = directory.path().join("all");
    let command = format!("record {} --source {} --node * {EVENTS}", all.display(), server.url());
    let mut recorder = Attached::spawn_until(bitcointap(&command), "reading bitcointap.*.recording from NATS");
    let nodes = ["alice", "bob"]
        .map(|node| (node, publish_as(node, &server.url(), "mix --rate 3000 --count 3000", "", |_| {})));
    recorder.read_log_until("end of the run", 2);
    recorder.terminate();
    assert!(recorder.wait().success(), "{}", recorder.log);
    for (node, published) in nodes {
        let recording = std::fs::read(all.join(format!("{node}.recording"))).unwrap();
        assert!(printed(&recording) == published.lines, "{node}: {}", recorder.log);
    }
    let again = crate::tool::output(&command);
    let log = String::from_utf8(again.stderr).unwrap();
    assert!(!again.status.success() && log.contains("cannot create the directory"), "{log}");
}

#[test]
fn a_recorder_of_all_nodes_has_a_directory_of_each() {
    let Some(program) = old_server() else { return };
    let server = Server::start(&program, "");
    let directory = tempfile::tempdir().unwrap();
    let all = directory.path().join("all");
    let command = format!("record {} --rotate 1h,16KiB --source {} --node * {EVENTS}", all.display(), server.url());
    let nodes = ["alice", "bob"];
    let mut lines = nodes.map(|_| Vec::new());
    for _ in 0..2 {
        let mut recorder = Attached::spawn_until(bitcointap(&command), "reading bitcointap.*.recording from NATS");
        let published = nodes.map(|node| publish_as(node, &server.url(), "mix --rate 3000 --count 3000", "", |_| {}));
        recorder.read_log_until("end of the run", 2);
        recorder.terminate();
        assert!(recorder.wait().success(), "{}", recorder.log);
        lines.iter_mut().zip(published).for_each(|(lines, published)| lines.extend(published.lines));
    }
    for (node, lines) in nodes.into_iter().zip(lines) {
        let files = crate::archives::files(&all.join(node), ".recording");
        assert!(files.len() >= 2 && std::fs::read_dir(all.join(node)).unwrap().count() == files.len(), "{files:?}");
        let read: Vec<_> = files.iter().flat_map(|file| printed(&std::fs::read(file).unwrap())).collect();
        let is_gap = |line: &&String| line.contains("\"reason\":\"not_recorded\"");
        assert!(read.iter().filter(|line| !is_gap(line)).eq(&lines), "{node}");
        assert!(read.iter().any(|line| is_gap(&line)), "the second start tells it");
    }
}
