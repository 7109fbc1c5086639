//! Asks a server over real sockets.

mod certificates;
mod hostile;
mod live_page;
mod recordings;
mod streams;
mod web_config;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Instant,
};

use flate2::read::GzDecoder;
use prometheus::{IntGauge, Registry};

use self::streams::eventually;
use super::*;
use crate::{
    flight_recorder::Recorder,
    metrics::{Metrics, Options, testing::text_of},
    tracepoint::Tracepoints,
};

/// A server of new metrics.
struct Running {
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    streams: Streams,
    recorder: Recorder,
    server: Server,
}

fn server(limits: Limits) -> Running {
    server_at(&["127.0.0.1:0".parse().unwrap()], Gate::open(), limits, 40)
}

/// The first of the addresses is of TCP.
fn server_at(addresses: &[Address], gate: Gate, limits: Limits, max_scrapes: u32) -> Running {
    let metrics = Metrics::new(Tracepoints::default_set(), &Options::default());
    let listeners: Vec<Listener> = addresses.iter().map(|address| Listener::bind(address).unwrap()).collect();
    let address = listeners[0].tcp_address().unwrap();
    let (registry, readiness) = (metrics.registry(), Readiness::default());
    let (requests, streams) = (metrics.http_requests(), Streams::new(Tracepoints::default_set(), 2));
    let recorder = Recorder::default();
    let site =
        Site::new("/metrics".into(), registry.clone(), requests, readiness.clone(), streams.clone(), max_scrapes);
    let server = start(listeners, gate, site.with_recorder(recorder.clone()), limits).unwrap();
    Running { address, registry, readiness, streams, recorder, server }
}

/// Long enough for a busy machine; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until the server closes it without another word.
#[track_caller]
fn assert_closed(mut stream: impl Read) {
    let read = stream.read(&mut [0]);
    // A timeout is no end.
    let is_end =
        |error: &io::Error| [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof].contains(&error.kind());
    assert!(read.as_ref().map_or_else(is_end, |&length| length == 0), "{read:?}");
}

/// Head and body of the answer to a request that asks for the connection to be closed.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let (head, body) = exchange(connect(address), request, "");
    (head, String::from_utf8(body).unwrap())
}

fn exchange(stream: impl Read + Write, request: &str, fields: &str) -> (String, Vec<u8>) {
    try_exchange(stream, request, fields).unwrap()
}

fn try_exchange(mut stream: impl Read + Write, request: &str, fields: &str) -> io::Result<(String, Vec<u8>)> {
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = answer.split_off(end + 4);
    Ok((String::from_utf8(answer).unwrap().to_ascii_lowercase(), body))
}

/// The head of an answer on a connection that stays.
fn read_head(mut stream: impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The body of an answer that must have this status.
#[track_caller]
fn assert_status(address: SocketAddr, request: &str, status: u16) -> String {
    let (head, body) = ask(address, request);
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{request}: {head}");
    body
}

/// More text than the buffers of any socket hold.
fn fill(registry: &Registry) {
    let big = IntGauge::new("big", "x".repeat(20 << 20)).unwrap();
    registry.register(Box::new(big)).unwrap();
}

/// A client that has read the first byte of a scrape.
fn begin_to_read<S: Read + Write>(mut stream: S, version: &str) -> S {
    write!(stream, "GET /metrics HTTP/{version}\r\nHost: x\r\n\r\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

#[test]
fn serves_metrics_and_a_landing_page_and_counts_requests() {
    let Running { address, registry, .. } = server(LIMITS);
    let (head, body) = ask(address, "GET /metrics");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\nbitcointap_up 0\n"));
    let (_, body_with_query) = ask(address, "GET /metrics?name[]=x");
    assert!(body_with_query.contains("bitcointap_http_requests_total{code=\"200\",path=\"metrics\"} 1\n"));

    let (head, nothing) = ask(address, "HEAD /metrics");
    assert!(head.starts_with("http/1.1 200 ok") && head.contains("content-length: "), "{head}");
    assert_eq!(nothing, "");

    let (head, page) = ask(address, "GET /");
    assert!(head.starts_with("http/1.1 200 ok") && head.contains("text/html"), "{head}");
    assert!(page.contains("<a href=\"/metrics\">") && page.contains("<a href=\"/events\">"));

    let (head, _) = ask(address, "POST /metrics");
    assert!(head.starts_with("http/1.1 405") && head.contains("allow: get, head"), "{head}");
    assert_status(address, "GET /metric", 404);
    assert_status(address, "DELETE /..%2f", 404);

    let text = text_of(&registry);
    for (path, code, n) in
        [("metrics", 200, 3), ("metrics", 405, 1), ("landing", 200, 1), ("landing", 405, 0), ("other", 404, 2)]
    {
        let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"{path}\"}} {n}\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn it_is_ready_while_attached_and_healthy_always() {
    let Running { address, registry, readiness, .. } = server(LIMITS);
    assert_eq!(assert_status(address, "GET /-/ready", 503), "looking for the node\n");
    readiness.attached();
    assert_eq!(assert_status(address, "GET /-/ready", 200), "ready\n");
    readiness.not_attached("the node has ended");
    assert_eq!(assert_status(address, "GET /-/ready", 503), "the node has ended\n");
    assert_eq!(assert_status(address, "GET /-/healthy", 200), "ok\n");
    assert_status(address, "POST /-/healthy", 405);
    let text = text_of(&registry);
    for (path, code, n) in [("ready", 200, 1), ("ready", 503, 2), ("healthy", 200, 1), ("healthy", 405, 1)] {
        let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"{path}\"}} {n}\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn gzip_is_the_same_text() {
    let Running { address, .. } = server(LIMITS);
    let (head, plain) = ask(address, "GET /metrics");
    assert!(head.contains("\r\nvary: accept, accept-encoding\r\n") && !head.contains("content-encoding"), "{head}");
    let (head, zipped) = exchange(connect(address), "GET /metrics", "Accept-Encoding: deflate, gzip;q=0.8\r\n");
    assert!(
        head.contains("\r\nvary: accept, accept-encoding\r\n") && head.contains("\r\ncontent-encoding: gzip\r\n"),
        "{head}"
    );
    assert!(zipped.len() * 4 < plain.len(), "{} of {}", zipped.len(), plain.len());
    let mut text = String::new();
    GzDecoder::new(&zipped[..]).read_to_string(&mut text).unwrap();
    // Removes what changes between two scrapes without a node.
    let lines = |text: &str| -> Vec<String> {
        let changes = |line: &&str| line.starts_with("process_") || line.starts_with("bitcointap_http_requests_total{");
        text.lines().filter(|line| !changes(line)).map(str::to_owned).collect()
    };
    assert_eq!(lines(&text), lines(&plain));
    let (head, _) = exchange(connect(address), "GET /metrics", "Accept-Encoding: gzip;q=0\r\n");
    assert!(!head.contains("content-encoding"), "{head}");
}

#[test]
fn openmetrics_is_the_same_samples() {
    let Running { address, .. } = server(LIMITS);
    let (_, classic) = ask(address, "GET /metrics");
    let fields = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let (head, body) = exchange(connect(address), "GET /metrics", fields);
    assert!(
        head.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
            && head.contains("\r\nvary: accept, accept-encoding\r\n"),
        "{head}"
    );
    let text = String::from_utf8(body).unwrap();
    assert!(text.ends_with("\n# EOF\n"));
    // Removes what changes between two scrapes, and what the format writes in another way.
    let samples = |text: &str| -> std::collections::BTreeSet<String> {
        let differs = |line: &&str| {
            line.starts_with(['#'])
                || line.starts_with("process_")
                || line.starts_with("bitcointap_http_requests_total{")
                || line.contains("le=\"")
                || line.starts_with("bitcointap_p2p_peer_clock_offset_seconds_")
        };
        text.lines().filter(|line| !differs(line)).map(str::to_owned).collect()
    };
    assert!(samples(&text).len() > 500);
    assert_eq!(samples(&text), samples(&classic));
    let (head, zipped) = exchange(connect(address), "GET /metrics", &format!("{fields}Accept-Encoding: gzip\r\n"));
    assert!(head.contains("application/openmetrics-text") && head.contains("content-encoding: gzip"), "{head}");
    let mut unzipped = String::new();
    GzDecoder::new(&zipped[..]).read_to_string(&mut unzipped).unwrap();
    assert_eq!(samples(&unzipped), samples(&text));
}

#[test]
fn listens_on_several_addresses_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut addresses: Vec<Address> = vec!["127.0.0.1:0".parse().unwrap(), Address::Unix(path.clone())];
    let free = std::net::TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr()).ok();
    addresses.extend(free.map(|address| Address::Tcp(address.to_string())));
    let running = server_at(&addresses, Gate::open(), LIMITS, 40);
    for _ in 0..2 {
        assert_status(running.address, "GET /metrics", 200);
        let (head, body) = exchange(UnixStream::connect(&path).unwrap(), "GET /metrics", "");
        assert!(head.starts_with("http/1.1 200 ok") && body.starts_with(b"# HELP"), "{head}");
        if let Some(address) = free {
            assert_status(address, "GET /metrics", 200);
        }
    }
    drop(running.server);
    assert!(!path.exists());
}

#[test]
fn scrapes_over_the_limit_are_refused_at_once() {
    let running = server_at(&["127.0.0.1:0".parse().unwrap()], Gate::open(), LIMITS, 1);
    let Running { address, registry, .. } = &running;
    fill(registry);
    let slow = begin_to_read(connect(*address), "1.1");

    assert_eq!(
        assert_status(*address, "GET /metrics", 503),
        "the limit of scrapes at once, 1, is reached: try again later\n"
    );
    assert_status(*address, "GET /-/healthy", 200);
    assert!(text_of(registry).contains("bitcointap_http_requests_total{code=\"503\",path=\"metrics\"} 1\n"));

    drop(slow);
    eventually("the place is free again", || ask(*address, "HEAD /metrics").0.starts_with("http/1.1 200"));
}

#[test]
fn no_limit_of_scrapes_is_none() {
    let running = server_at(&["127.0.0.1:0".parse().unwrap()], Gate::open(), LIMITS, 0);
    fill(&running.registry);
    let slow = [(); 3].map(|()| begin_to_read(connect(running.address), "1.1"));
    assert_status(running.address, "HEAD /metrics", 200);
    drop(slow);
}

#[test]
fn huge_requests_are_cut_off() {
    let Running { address, .. } = server(LIMITS);
    let mut huge = connect(address);
    let _ = write!(huge, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut answer = Vec::new();
    let _ = huge.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    // The server does not wait for a body.
    let (head, _) = exchange(connect(address), "GET /metrics", "Content-Length: 1000000000000\r\n");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_status(address, "GET /metrics", 200);
}

#[test]
fn keeps_a_connection_for_several_requests() {
    let Running { address, .. } = server(LIMITS);
    let mut stream = connect(address);
    for _ in 0..3 {
        stream.write_all(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn who_sends_many_requests_at_once_lets_others_go_first() {
    let metrics = Metrics::new(Tracepoints::default_set(), &Options::default());
    let (requests, streams) = (metrics.http_requests(), Streams::new(Tracepoints::default(), 0));
    let site = Site::new("/metrics".into(), metrics.registry(), requests, Readiness::default(), streams, 0);
    let house = Arc::new(House { gate: Gate::open(), site, limits: LIMITS, failures: Failures::default() });
    let many = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let one = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Whichever comes first, one of them sends many.
    let [_first, mut other, _last] = [&many, one, &many].map(|requests| {
        let (mut client, stream) = UnixStream::pair().unwrap();
        client.write_all(requests.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let _guard = runtime.enter();
        runtime.spawn(receive(
            Arc::clone(&house),
            tokio::net::UnixStream::from_std(stream).unwrap(),
            Activity::default(),
        ));
        client
    });
    let mut answer = String::new();
    let answered = runtime.spawn_blocking(move || other.read_to_string(&mut answer).map(|_| answer));
    let answer = runtime.block_on(answered).unwrap().unwrap();
    let healthy = answer.lines().find_map(|line| {
        line.strip_prefix("bitcointap_http_requests_total{code=\"200\",path=\"healthy\"} ")?.parse::<u32>().ok()
    });
    assert!((1..10).contains(&healthy.unwrap()), "{healthy:?}");
}

#[test]
fn who_sends_no_request_is_closed_in_its_time() {
    let Running { address, .. } = server(Limits { head: Duration::from_millis(300), ..LIMITS });
    let begun = Instant::now();
    let send = |sent: &str| {
        let mut client = connect(address);
        let _ = client.write_all(sent.as_bytes());
        client
    };
    for silent in ["", "GET /metrics HTTP/1.1\r\nHost:"].map(send) {
        assert_closed(silent);
    }
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    // The answered one has as long for the next request. It may be too late itself if this thread had no processor.
    eventually("an answer, and the end", || {
        let mut answer = Vec::new();
        let _ = send("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").read_to_end(&mut answer);
        answer.starts_with(b"HTTP/1.1 200 ")
    });
}

#[test]
fn who_has_sent_no_request_makes_room_and_who_has_does_not() {
    let Running { address, registry, .. } = server(Limits { connections: 3, ..LIMITS });
    fill(&registry);
    let mut reading = begin_to_read(connect(address), "1.0");
    let mut half = connect(address);
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    let mut kept = connect(address);
    kept.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_head(&mut kept).starts_with("HTTP/1.1 200 "));
    // The longest idle one first: the others have 10 seconds.
    let _silent = [half, kept].map(|mut makes_room| {
        let mut silent = connect(address);
        makes_room.read_to_end(&mut Vec::new()).unwrap();
        silent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(silent.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        silent
    });
    let mut answer = Vec::new();
    reading.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > 20 << 20, "{} bytes", answer.len());
}

#[test]
fn a_client_that_does_not_read_makes_room() {
    let Running { address, registry, .. } = server(Limits { connections: 1, ..LIMITS });
    fill(&registry);
    let mut deaf = begin_to_read(connect(address), "1.1");
    assert_status(address, "HEAD /metrics", 200);
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    assert!(rest.len() < 20 << 20, "{} bytes", rest.len());
}

#[test]
fn a_client_that_does_not_read_loses_its_place() {
    let limits = Limits { connection: Duration::from_millis(300), last_answer: Duration::from_millis(100), ..LIMITS };
    let running = server_at(&["127.0.0.1:0".parse().unwrap()], Gate::open(), limits, 1);
    fill(&running.registry);
    let _deaf = begin_to_read(connect(running.address), "1.1");
    // The place for the only scrape at once is free again.
    eventually("its end", || ask(running.address, "HEAD /metrics").0.starts_with("http/1.1 200"));
}

#[test]
fn a_slow_client_reads_to_the_end() {
    let Running { address, registry, .. } = server(Limits { head: Duration::from_secs(1), ..LIMITS });
    fill(&registry);
    let mut slow = begin_to_read(connect(address), "1.1");
    // Meanwhile the server does not wait for the next request.
    thread::sleep(Duration::from_millis(1500));
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).unwrap();
    assert!(answer.len() > 20 << 20, "{} bytes", answer.len());
}
