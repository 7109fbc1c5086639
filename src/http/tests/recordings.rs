//! Downloads of the flight recorder: who gets one, what is in it, and that nobody waits for a slow one.

use super::{streams, streams::batch, *};
use crate::{
    capture::Run,
    event::Kind,
    flight_recorder::Settings,
    recording::{Entry, Reader},
    selection::Selection,
    spool::Spool,
    tracepoint::Tracepoint,
};

/// Starts to record, and begins a run.
fn record(recorder: &Recorder) -> Spool {
    let settings = Settings { size: Settings::LEAST, directory: None };
    let mut spool = recorder.start(&settings, &Selection::of("net".parse().unwrap())).unwrap();
    let host = Some("b/ox\"".into());
    let run = Run::new(7, "/bitcoind".into(), 1.5, "net".parse().unwrap());
    spool.run_begins(&Arc::new(Run { host, ..run }));
    spool
}

/// The commands of messages in a recording, and how many events it says that were filtered.
fn commands(recording: &[u8]) -> (Vec<String>, u64) {
    let (mut commands, mut filtered) = (Vec::new(), 0);
    for entry in Reader::new(recording, &Selection::of(Tracepoint::all().collect())).unwrap() {
        if let Entry::Batch(batch) = entry.unwrap() {
            batch.each(|event| match event.kind {
                Kind::Msg(message) => commands.push(message.meta.command.to_owned()),
                other => panic!("{other:?}"),
            });
            filtered += batch.added().iter().map(|added| added.filtered).sum::<u64>();
        }
    }
    (commands, filtered)
}

fn download(address: SocketAddr, query: &str) -> (String, Vec<u8>) {
    // Without chunks.
    let mut stream = connect(address);
    write!(stream, "GET /recording{query} HTTP/1.0\r\n\r\n").unwrap();
    let head = read_head(&mut stream).to_ascii_lowercase();
    let mut body = Vec::new();
    stream.read_to_end(&mut body).unwrap();
    (head, body)
}

#[test]
fn a_recording_ends_with_the_newest_event_and_has_a_name() {
    let Running { address, registry, recorder, .. } = server(LIMITS);
    let off = "there is no flight recorder: start export with --flight-recorder SIZE\n";
    assert_eq!(assert_status(address, "GET /recording", 404), off);
    assert!(!assert_status(address, "GET /", 200).contains("/recording"));
    let spool = record(&recorder);
    assert_eq!(assert_status(address, "GET /recording", 503), "nothing is recorded yet: try again later\n");
    spool.push(&batch(&["inv", "ping", "tx"]));
    let (head, body) = download(address, "");
    assert!(head.starts_with("http/1.0 200 "), "{head}");
    for field in [
        "content-type: application/octet-stream",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        &format!("content-length: {}", body.len()),
        // What was drained at no time has no time.
        "content-disposition: attachment; filename=\"b_ox_-19700101t000000z.recording\"",
    ] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{field}: {head}");
    }
    assert_eq!(commands(&body), (["inv", "ping", "tx"].map(String::from).to_vec(), 0));
    spool.push(&batch(&["getdata"]));
    assert_eq!(commands(&download(address, "").1).0.len(), 4);
    let (head, nothing) = ask(address, "HEAD /recording");
    assert!(head.starts_with("http/1.1 200 ") && head.contains("filename="), "{head}");
    assert_eq!(nothing, "");
    assert_status(address, "POST /recording", 405);
    assert!(assert_status(address, "GET /", 200).contains("<a href=\"/recording\">"));
    let text = text_of(&registry);
    for (code, count) in [(200, 3), (404, 1), (405, 1), (503, 1)] {
        let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"recording\"}} {count}\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn the_words_of_the_query_select_and_a_wrong_one_is_said_in_a_line() {
    let Running { address, recorder, .. } = server(LIMITS);
    let spool = record(&recorder);
    spool.push(&batch(&["inv", "ping", "tx", "ping"]));
    for (query, expected) in [
        ("?command=ping", &["ping", "ping"][..]),
        ("?command=inv,ping&not-peer=4", &["inv", "ping"]),
        ("?events=net&direction=outbound", &[]),
    ] {
        let (head, body) = download(address, query);
        assert!(head.starts_with("http/1.0 200 "), "{head}");
        let (commands, filtered) = commands(&body);
        assert_eq!(
            (commands.as_slice(), filtered),
            (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], 4 - expected.len() as u64),
            "{query}"
        );
    }
    for (query, words) in [
        ("comand=inv", "there is no condition 'comand'; there are events, command, "),
        ("last=soon", "'soon' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d\n"),
        ("payload=none", "'payload' is for /events: a recording keeps bytes as they are\n"),
        ("events=utxocache:add", "no such event is tapped: start export with --events that lists utxocache:add\n"),
    ] {
        let told = assert_status(address, &format!("GET /recording?{query}"), 400);
        assert!(told.starts_with(words) && told.lines().count() == 1, "{told}");
        assert_status(address, &format!("HEAD /recording?{query}"), 400);
    }
    let told = assert_status(address, "GET /recording?last=5m", 503);
    assert_eq!(told, "nothing was recorded in that time; the newest event is of 19700101T000000Z\n");
}

#[test]
fn downloads_take_the_places_of_streams_and_a_slow_one_delays_nobody() {
    let Running { address, recorder, .. } = server(LIMITS);
    let spool = record(&recorder);
    let mut random = fastrand::Rng::with_seed(7);
    // Peers choose 12 bytes of each command: what cannot be compressed.
    let mut give = |count: usize| {
        for _ in 0..count {
            let names: Vec<String> = (0..2_000).map(|_| (0..12).map(|_| random.alphanumeric()).collect()).collect();
            spool.push(&batch(&names.iter().map(String::as_str).collect::<Vec<_>>()));
            // The spool's queue would lose what does not fit.
            let catches_up = recorder.catches_up();
            streams::eventually("it is recorded", catches_up);
        }
    };
    // More than the buffers of any socket hold.
    give(600);
    let first = download(address, "").1;
    assert!(first.len() > 8 << 20, "{}", first.len());
    let mut slow = connect(address);
    write!(slow, "GET /recording HTTP/1.0\r\n\r\n").unwrap();
    let head = read_head(&mut slow);
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    // There are two places.
    let mut other = connect(address);
    write!(other, "GET /events HTTP/1.0\r\n\r\n").unwrap();
    read_head(&mut other);
    let words = "the limit of streams at once, 2, is reached: try again later\n";
    assert_eq!(assert_status(address, "GET /recording", 503), words);
    assert_eq!(assert_status(address, "GET /events", 503), words);
    assert_status(address, "GET /metrics", 200);
    drop(other);
    streams::eventually("there is a place again", || ask(address, "HEAD /recording").0.starts_with("http/1.1 200"));
    let (commands, _) = commands(&download(address, "").1);
    assert_eq!(commands.len(), 1_200_000);
    // It reads on when others have taken its memory.
    give(1_600);
    let mut body = Vec::new();
    let ended = slow.read_to_end(&mut body);
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    assert!(body.len() < length, "{ended:?}: {} of {length}", body.len());
    assert!(first.starts_with(&body), "what came is a part of it");
    assert!(download(address, "").1.len() > first.len());
}
