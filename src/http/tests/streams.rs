//! Streams of events: who gets one, how it looks, and when it ends.

use std::io::{BufRead, BufReader};

use super::*;
use crate::{
    capture::Batch,
    event::{Lost, tracepoint_of},
    http::streams::Told,
    kernel_side::{
        types::{event_header, message_record},
        write,
    },
    tracepoint::{LossReason, Tracepoint},
};

/// Of inbound messages of a command each, from peers 1, 2, 3, ….
pub(super) fn batch(commands: &[&str]) -> Arc<Batch> {
    let mut batch = Batch::default();
    for (peer, name) in (1..).zip(commands) {
        let mut command = [0; 16];
        command[..name.len()].copy_from_slice(name.as_bytes());
        let tracepoint = Tracepoint::NetInboundMessage.index() as u8;
        let header = event_header { tracepoint, ..Default::default() };
        let record = write(message_record { header, peer_id: peer, command, ..Default::default() }, b"");
        assert_eq!(tracepoint_of(&record), Some(Tracepoint::NetInboundMessage));
        batch.push(&record);
    }
    Arc::new(batch)
}

/// A reader of a stream, whose head is read.
struct Client {
    head: String,
    body: BufReader<TcpStream>,
}

impl Client {
    fn open(address: SocketAddr, query: &str, fields: &str) -> Self {
        let mut stream = connect(address);
        write!(stream, "GET /events{query} HTTP/1.0\r\n{fields}\r\n").unwrap();
        let head = read_head(&stream).to_ascii_lowercase();
        assert!(head.starts_with("http/1.0 200 "), "{head}");
        Self { head, body: BufReader::new(stream) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.body.read_line(&mut line).unwrap();
        line
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.body.read_to_string(&mut rest).unwrap();
        rest
    }
}

#[track_caller]
pub(super) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn each_reader_gets_what_it_asks_for_as_lines() {
    let Running { address, registry, streams, .. } = server(LIMITS);
    let mut all = Client::open(address, "?payload=none", "");
    let mut some = Client::open(address, "?payload=none&command=inv,tx&not-peer=3", "Accept: */*\r\n");
    assert_eq!(streams.told(), Told { open: 2, lines: 0, lost: 0 });
    for field in
        ["content-type: application/x-ndjson", "cache-control: no-store", "x-accel-buffering: no", "vary: accept"]
    {
        assert!(all.head.contains(&format!("\r\n{field}\r\n")), "{}", all.head);
    }
    streams.push(&batch(&["inv", "ping", "inv"]));
    streams.push(&batch(&["tx"]));
    let told = |line: String| {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let meta = &event["event"]["Msg"]["meta"];
        format!("{} of {}", meta["command"].as_str().unwrap(), meta["peer_id"])
    };
    assert_eq!([(); 4].map(|()| told(all.line())), ["inv of 1", "ping of 2", "inv of 3", "tx of 1"]);
    assert_eq!([(); 2].map(|()| told(some.line())), ["inv of 1", "tx of 1"]);
    eventually("all is accounted for", || streams.told() == Told { open: 2, lines: 6, lost: 0 });

    // The kernel side has lost some, of which the second wants to know too, since it may have wanted them.
    let lost = Lost { tracepoint: Tracepoint::NetInboundMessage, reason: LossReason::RingFull, count: 9 };
    streams.run_ended(&[lost, Lost { tracepoint: Tracepoint::MempoolAdded, ..lost }]);
    streams.push(&batch(&["tx"]));
    let gap = |tracepoint: &str| format!("{{\"tracepoint\":\"{tracepoint}\",\"reason\":\"ring_full\",\"count\":9}}");
    assert!(all.line().contains(&gap("net:inbound_message")));
    assert!(all.line().contains(&gap("mempool:added")));
    assert!(some.line().contains(&gap("net:inbound_message")));
    assert_eq!(told(some.line()), "tx of 1");
    let requests = text_of(&registry);
    assert!(requests.contains("bitcointap_http_requests_total{code=\"200\",path=\"events\"} 2\n"));
}

#[test]
fn server_sent_events_are_for_who_asks_for_them() {
    let Running { address, streams, .. } = server(LIMITS);
    let mut client = Client::open(address, "?payload=none", "Accept: text/event-stream\r\n");
    assert!(client.head.contains("\r\ncontent-type: text/event-stream\r\n"), "{}", client.head);
    // Before any event.
    assert_eq!([(); 2].map(|()| client.line()), ["retry: 1000\n", "\n"]);
    streams.push(&batch(&["inv", "tx"]));
    for command in ["inv", "tx"] {
        let line = client.line();
        let event: serde_json::Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["event"]["Msg"]["meta"]["command"], command);
        assert_eq!(client.line(), "\n");
    }
    streams.finish(|| false);
    assert_eq!(client.rest(), "");
}

#[test]
fn what_cannot_be_given_is_refused_with_the_reason() {
    let Running { address, registry, streams, .. } = server(LIMITS);
    let words = assert_status(address, "GET /events?comand=inv", 400);
    assert!(words.starts_with("there is no condition 'comand'; there are events, command, "), "{words}");
    assert_eq!(
        assert_status(address, "GET /events?events=utxocache:add", 400),
        "no such event is tapped: start export with --events that lists utxocache:add\n"
    );
    assert_eq!(assert_status(address, "HEAD /events?comand=inv", 400), "");
    assert_status(address, "POST /events", 405);
    assert_status(address, "GET /events/", 404);
    assert_eq!(assert_status(address, "HEAD /events?command=inv", 200), "");
    assert_eq!(streams.told().open, 0, "a head is no stream");

    let clients = [(); 2].map(|()| Client::open(address, "", ""));
    let words = "the limit of streams at once, 2, is reached: try again later\n";
    assert_eq!(assert_status(address, "GET /events", 503), words);
    assert_eq!(assert_status(address, "HEAD /events", 503), "");
    // What is wrong stays wrong.
    assert_status(address, "GET /events?comand=inv", 400);
    assert_status(address, "GET /metrics", 200);
    drop(clients);
    eventually("there is a place again", || ask(address, "HEAD /events").0.starts_with("http/1.1 200"));
    let text = text_of(&registry);
    for (code, n) in [("400", 4), ("405", 1)] {
        let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"events\"}} {n}\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn streams_can_be_turned_off() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.tcp_address().unwrap();
    let metrics = Metrics::new(Tracepoints::default(), &Options::default());
    let (requests, streams) = (metrics.http_requests(), Streams::new(Tracepoints::default_set(), 0));
    let site = Site::new("/metrics".into(), metrics.registry(), requests, Readiness::default(), streams, 40);
    let _server = start(vec![listener], Gate::open(), site, LIMITS).unwrap();
    assert!(!assert_status(address, "GET /", 200).contains("/events"));
    for query in ["", "?comand=inv"] {
        assert_eq!(
            assert_status(address, &format!("GET /events{query}"), 404),
            "events are not given: start export with --web.max-streams above 0\n"
        );
    }
    let words = "there is no flight recorder: start export with --flight-recorder SIZE\n";
    assert_eq!(assert_status(address, "GET /recording", 404), words);
}

#[test]
fn a_reader_that_leaves_is_noticed_though_nothing_comes() {
    let Running { address, streams, .. } = server(LIMITS);
    for fields in ["", "Accept: text/event-stream\r\n"] {
        let client = Client::open(address, "", fields);
        assert_eq!(streams.told().open, 1);
        drop(client);
        eventually("it is noticed", || streams.told().open == 0);
    }
    assert_eq!(streams.told(), Told::default(), "that is no loss");
}

#[test]
fn a_stream_outlives_the_time_of_other_connections() {
    let limits = Limits { connection: Duration::from_millis(500), last_answer: Duration::from_millis(500), ..LIMITS };
    let Running { address, streams, .. } = server(limits);
    let mut client = Client::open(address, "?payload=none", "");
    thread::sleep(Duration::from_millis(1500));
    streams.push(&batch(&["inv"]));
    assert!(client.line().contains("\"inv\""));
}

#[test]
fn a_stopped_reader_is_told_exactly_what_it_lost_and_holds_up_nobody() {
    const BATCHES: u64 = 100;
    let Running { address, streams, .. } = server(LIMITS);
    let mut stopped = Client::open(address, "?payload=none&not-command=ping", "");
    let mut reader = Client::open(address, "?payload=none&command=tx", "");
    let many = batch(&[["inv"; 3000].as_slice(), &["ping"; 1095], &["tx"]].concat());
    for _ in 0..BATCHES {
        streams.push(&many);
        assert!(reader.line().contains("\"tx\""));
    }
    eventually("the stopped one has stopped", || streams.told().lost > 0);

    let (mut lines, mut lost) = (0, 0);
    while lines + lost < BATCHES * 3001 {
        let line: serde_json::Value = serde_json::from_str(&stopped.line()).unwrap();
        match line["event"].get("Lost") {
            Some(gap) => {
                assert_eq!(gap["reason"], "queue_full");
                lost += gap["count"].as_u64().unwrap();
            }
            None => lines += 1,
        }
    }
    assert_eq!(lines + lost, BATCHES * 3001);
    // It reads on as if nothing had been.
    streams.push(&batch(&["ping", "inv"]));
    assert!(stopped.line().contains("\"inv\""));
    assert_eq!(streams.told().lost, lost);
}

#[test]
fn silence_is_told_to_who_reads_server_sent_events() {
    let metrics = Metrics::new(Tracepoints::default_set(), &Options::default());
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.tcp_address().unwrap();
    let streams = Streams::with_keep_alive(Tracepoints::default_set(), 2, Duration::from_millis(50));
    let site = Site::new(
        "/metrics".into(),
        metrics.registry(),
        metrics.http_requests(),
        Readiness::default(),
        streams.clone(),
        40,
    );
    let _server = start(vec![listener], Gate::open(), site, LIMITS).unwrap();
    let mut lines = Client::open(address, "?payload=none", "");
    let begun = Instant::now();
    let mut events = Client::open(address, "?payload=none", "Accept: text/event-stream\r\n");
    assert_eq!([(); 6].map(|()| events.line()), ["retry: 1000\n", "\n", ":\n", "\n", ":\n", "\n"]);
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    streams.push(&batch(&["inv"]));
    assert!(lines.line().starts_with("{\"timestamp\""), "nothing else comes as lines");
}

#[test]
fn all_streams_end_with_what_is_queued_and_none_begins_after_that() {
    let Running { address, streams, .. } = server(LIMITS);
    let client = Client::open(address, "?payload=none", "");
    streams.push(&batch(&["inv", "tx"]));
    streams.finish(|| false);
    assert_eq!(client.rest().lines().count(), 2);
    assert_eq!(assert_status(address, "GET /events", 503), "stopping\n");
}

#[test]
fn a_stream_with_payloads_begins_when_these_are_whole_or_all_streams_end() {
    let Running { address, streams, .. } = server(LIMITS);
    let streams = streams.with_limited_payloads();
    let open = || thread::spawn(move || Client::open(address, "?bytes=hex", ""));
    let waiting = open();
    eventually("somebody waits for payloads", || streams.want_payloads());
    streams.push(&batch(&["mempool"]));
    streams.begin();
    let mut first = waiting.join().unwrap();
    streams.push(&batch(&["verack"]));
    assert!(first.line().contains("\"command\":\"verack\""));

    let waiting = open();
    eventually("another waits", || streams.told().open == 2);
    streams.push(&batch(&["mempool"]));
    streams.finish(|| false);
    assert!(first.rest().contains("\"command\":\"mempool\""));
    assert_eq!(waiting.join().unwrap().rest(), "");
}

#[test]
fn a_command_that_may_be_misspelled_is_told_beside_the_events() {
    let Running { address, streams, .. } = server(LIMITS);
    let warning = "bitcointap-warning: bitcoin core has no message called pign: is it misspelled?";
    let mut lines = Client::open(address, "?command=pign,ping&payload=none", "");
    assert!(lines.head.contains(&format!("\r\n{warning}\r\n")), "{}", lines.head);
    let fields = "Accept: text/event-stream\r\n";
    let mut events = Client::open(address, "?command=pign,ping&payload=none", fields);
    assert!(events.head.contains(&format!("\r\n{warning}\r\n")), "{}", events.head);
    streams.push(&batch(&["ping"]));
    assert!(lines.line().starts_with("{\"timestamp\":"), "lines are events");
    // A comment, before all else.
    assert_eq!(events.line(), ": Bitcoin Core has no message called pign: is it misspelled?\n");
    assert_eq!([events.line(), events.line()], ["retry: 1000\n", "\n"]);
    assert!(events.line().starts_with("data: {"));

    drop((lines, events));
    eventually("places are free", || streams.told().open == 0);

    // A line of a client's own is none of ours.
    let (head, _) = ask(address, "HEAD /events?command=a%0D%0AX:%20y,%C3%BC&not-command=pign");
    let told: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("bitcointap-warning: ")).collect();
    assert_eq!(told.len(), 3, "{head}");
    assert!(told[0].contains("a\\r\\nx: y") && told[2].contains("\\u{fc}"), "{told:?}");
    let (head, _) = ask(address, "HEAD /events?command=ping");
    assert!(head.starts_with("http/1.1 200") && !head.contains("warning"), "{head}");
}
