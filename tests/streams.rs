//! Streams of events over HTTP: whatever other readers do, a reader gets the events that it asks for, or gaps in their place.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use bitcointap::tracepoint::Tracepoints;
use serde_json::Value;

use crate::{
    node::{Simnode, Tally, own_program},
    tool::{Exporter, entries, eventually},
};

/// A reader of a stream, after the head of the answer.
pub struct Stream {
    body: BufReader<TcpStream>,
    is_sse: bool,
}

impl Stream {
    fn open(exporter: &Exporter, query: &str, is_sse: bool) -> Self {
        Self::try_open(exporter, query, is_sse).unwrap_or_else(|head| panic!("{query}: {head}"))
    }

    /// Gives the status line if the answer is not a stream.
    pub fn try_open(exporter: &Exporter, query: &str, is_sse: bool) -> Result<Self, String> {
        let mut stream = TcpStream::connect(&exporter.address).unwrap();
        let accept = if is_sse { "text/event-stream" } else { "*/*" };
        write!(stream, "GET /events?{query} HTTP/1.0\r\nAccept: {accept}\r\n\r\n").unwrap();
        let mut body = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(body.read_line(&mut head).unwrap() > 0, "{head}");
        }
        if head.starts_with("HTTP/1.0 200 ") { Ok(Self { body, is_sse }) } else { Err(head) }
    }

    /// If nothing comes for this long, the stream counts as ended.
    pub fn ends_after(&self, silence: Duration) {
        self.body.get_ref().set_read_timeout(Some(silence)).unwrap();
    }

    /// The next line of JSON; `None` at the end.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            // The end may cut off a line.
            if self.body.read_line(&mut line).unwrap_or(0) == 0 || !line.ends_with('\n') {
                return None;
            }
            let json = match (self.is_sse, line.strip_prefix("data: ")) {
                (false, _) => &line,
                (true, Some(json)) => json,
                (true, None) => {
                    assert!(["\n", "retry: 1000\n", ":\n"].contains(&line.as_str()), "{line}");
                    continue;
                }
            };
            return Some(serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
    }

    /// Reads until events and reported losses are so many together. Gives how many were lost.
    fn read_until(&mut self, total: u64) -> u64 {
        let (mut events, mut lost) = (0, 0);
        while events + lost < total {
            let line = self.next().expect("it goes on");
            match line["event"].get("Lost") {
                Some(gap) => lost += gap["count"].as_u64().unwrap(),
                None => events += 1,
            }
        }
        assert_eq!(events + lost, total);
        lost
    }
}

/// A reader with a thread that goes on reading.
struct Reader {
    lines: Arc<Mutex<Vec<Value>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(mut stream: Stream) -> Self {
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let shared = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            while let Some(line) = stream.next() {
                shared.lock().unwrap().push(line);
            }
        });
        Self { lines, thread }
    }

    fn count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    fn wait_for(&self, lines: usize) {
        eventually("all lines", || (self.count() >= lines).then_some(()));
    }

    /// Waits for the end of the stream. Gives all lines.
    fn end(self) -> Vec<Value> {
        self.thread.join().unwrap();
        Arc::into_inner(self.lines).unwrap().into_inner().unwrap()
    }
}

/// How many events of these tracepoints fired.
fn fired(tally: &Tally, events: &str) -> u64 {
    let tracepoints: Tracepoints = events.parse().unwrap();
    tracepoints.iter().map(|tracepoint| tally.tracepoints()[tracepoint.name()]).sum()
}

/// The part of an event that does not depend on how payloads and bytes are written.
fn key(event: &Value) -> String {
    let what = event.pointer("/event/Msg/meta").or(event.pointer("/event/Conn"));
    let what =
        what.map_or_else(|| event["event"].as_object().unwrap().keys().next().unwrap().clone(), Value::to_string);
    format!("{}.{:06} {what}", event["timestamp"], event["timestamp_subsec_micros"].as_u64().unwrap())
}

fn command(event: &Value) -> Option<&str> {
    event.pointer("/event/Msg/meta/command").and_then(Value::as_str)
}

type Predicate = fn(&Value) -> bool;

/// Queries, and which events they ask for.
const QUERIES: [(&str, Predicate); 7] = [
    ("", |_| true),
    ("payload=none", |_| true),
    ("command=inv%2Ctx&bytes=hex", |event| matches!(command(event), Some("inv" | "tx"))),
    ("events=mempool", |event| event["event"].get("Mempool").is_some()),
    ("events=net&not-command=ping&not-command=pong&payload=none", |event| {
        !matches!(command(event), Some("ping" | "pong"))
            && (command(event).is_some() || event["event"].get("Conn").is_some())
    }),
    ("direction=outbound&min-size=100&payload=raw&bytes=hex", |event| {
        event
            .pointer("/event/Msg/meta")
            .is_some_and(|meta| meta["inbound"] == false && meta["size"].as_u64() >= Some(100))
    }),
    ("peer=0,1,2,3&command=ping,pong", |event| {
        matches!(command(event), Some("ping" | "pong"))
            && event.pointer("/event/Msg/meta/peer_id").and_then(Value::as_u64) <= Some(3)
    }),
];

/// How many threads and open files a process has.
fn resources(exporter: &Exporter) -> [usize; 2] {
    ["task", "fd"].map(|what| entries(exporter.process.pid(), what))
}

#[test]
fn twenty_readers_get_all_that_they_ask_for_though_one_has_stopped() {
    // All events fit into the queues, however slow the machine is.
    let mut node = Simnode::start("v31", "--scenario mix --rate 4000 --count 8000 --linger");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    // Counted before the first scrape: its connection may stay for a moment.
    let before = resources(&exporter);

    let mut stopped = Stream::open(&exporter, "", false);
    let readers: Vec<_> = (1..20)
        .map(|n| {
            let (query, wants) = QUERIES[n % QUERIES.len()];
            (query, wants, Reader::start(Stream::open(&exporter, query, n % 3 == 0)))
        })
        .collect();
    let refused = Stream::try_open(&exporter, "", false).err().unwrap();
    assert!(refused.starts_with("HTTP/1.0 503 "), "{refused}");
    eventually("all are told", || (exporter.scrape().sum("http_streams", &[]) == 20.0).then_some(()));

    node.fire();
    let tally = node.read_tally();
    let all = fired(&tally, "default");
    let (_, _, whole) = readers.iter().find(|(query, ..)| query.is_empty()).unwrap();
    whole.wait_for(all as usize);
    let events = whole.lines.lock().unwrap().clone();
    assert_eq!(events.len() as u64, all);
    assert_eq!(events.iter().filter(|event| QUERIES[3].1(event)).count() as u64, fired(&tally, "mempool"));
    for (query, wants, reader) in &readers {
        let expected: Vec<_> = events.iter().filter(|event| wants(event)).map(key).collect();
        assert!(!expected.is_empty(), "{query}");
        reader.wait_for(expected.len());
        let found: Vec<_> = reader.lines.lock().unwrap().iter().map(key).collect();
        assert!(found == expected, "{query}: {} of {}", found.len(), expected.len());
    }
    assert_eq!(stopped.read_until(all), 0);
    let lines: usize = readers.iter().map(|(_, _, reader)| reader.count()).sum();
    let metrics = exporter.scrape();
    assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);
    eventually("all lines are counted", || {
        let counted = exporter.scrape().sum("json_lines_total", &[("sink", "http")]);
        (counted == (lines as u64 + all) as f64).then_some(())
    });
    assert_eq!(metrics.sum("json_lines_lost_total", &[("sink", "http")]), 0.0);

    // A reader that leaves leaves no thread or file behind.
    drop(stopped);
    for (_, _, reader) in &readers {
        assert!(!reader.thread.is_finished());
    }
    eventually("its end", || (exporter.scrape().sum("http_streams", &[]) == 19.0).then_some(()));
    let streams: Vec<_> = (0..5)
        .map(|_| eventually("a place", || Stream::try_open(&exporter, "events=mempool", true).ok()))
        .map(drop)
        .collect();
    assert_eq!(streams.len(), 5);
    eventually("their end", || (exporter.scrape().sum("http_streams", &[]) == 19.0).then_some(()));
    eventually("as many threads and files as the readers take", || {
        let [threads, files] = resources(&exporter);
        (threads == before[0] + 19 && files == before[1] + 19).then_some(())
    });
    exporter.stop();
    for (query, wants, reader) in readers {
        assert_eq!(reader.end().len(), events.iter().filter(|event| wants(event)).count(), "{query}");
    }
}

#[test]
fn readers_that_stop_in_a_flood_are_told_exactly_what_they_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = own_program(&directory);
    let mut node = Simnode::start_program(&path, "--scenario flood --rate max --count 400000");
    let exporter = Exporter::start(&format!("--bitcoind {} --web.max-streams 32", path.display()));
    let queries = ["payload=none", "events=net:inbound_message&bytes=hex", "command=ping&not-peer=999999"];
    let mut stopped: Vec<_> = (0..30).map(|n| Stream::open(&exporter, queries[n % 3], n % 2 == 0)).collect();
    node.fire();
    let flood = node.tally();
    let metrics = exporter.last_scrape();
    let lost = |what: &str| metrics.sum(what, &[]);
    println!("{} lost on the way, {} by streams", lost("events_lost_total"), lost("json_lines_lost_total"));
    let peak = exporter.process.peak_memory();
    println!("peak of resident memory with 30 stopped readers: {peak} KiB");
    assert!(peak < 160 << 10, "{peak} KiB");

    // The last gap comes before the next event.
    let mut node = Simnode::start_program(&path, "--count 1000 --rate max");
    exporter.wait_for_attachment(2.0);
    node.fire();
    let tallies = [flood, node.tally()];
    let pings = |tally: &Tally| -> u64 {
        let rows = tally.rows("messages").iter().filter(|row| row["command"] == "ping");
        rows.map(|row| row["count"].as_u64().unwrap()).sum()
    };
    let totals: [u64; 3] = [
        tallies.iter().map(|tally| fired(tally, "default")).sum(),
        tallies.iter().map(|tally| fired(tally, "net:inbound_message")).sum(),
        tallies.iter().map(pings).sum(),
    ];
    for (n, stream) in stopped.iter_mut().enumerate().take(6) {
        // Nobody knows which events that the kernel side lost would have met the conditions.
        if n % 3 == 2 && lost("events_lost_total") > 0.0 {
            continue;
        }
        let lost = stream.read_until(totals[n % 3]);
        assert!(lost > 0, "{} events do not fit in its queue", totals[n % 3]);
    }
    // The other readers never read again.
    exporter.process.terminate();
    let mut process = exporter.process;
    let status = process.wait();
    assert!(status.success(), "{}", process.log);
}

#[test]
fn a_stream_goes_on_over_restarts_of_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let path = own_program(&directory);
    let exporter = Exporter::start_waiting(&format!("--bitcoind {} --events all", path.display()));
    let readers = [false, true].map(|is_sse| Reader::start(Stream::open(&exporter, "bytes=hex", is_sse)));
    let mut expected = 0;
    for run in 1..=2 {
        let mut node = Simnode::start_program(&path, "--count 1000 --rate max --linger");
        exporter.wait_for_attachment(f64::from(run));
        node.fire();
        let tally = node.read_tally();
        expected += fired(&tally, "all");
        readers.iter().for_each(|reader| reader.wait_for(expected as usize));
        drop(node);
        eventually("the node's end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
    }
    exporter.stop();
    let [lines, events] = readers.map(Reader::end);
    assert_eq!(lines.len() as u64, expected);
    assert!(lines.iter().all(|line| line["event"].get("Lost").is_none()));
    assert!(lines == events, "they differ only in their framing");
}
