//! The live page as browsers get it: its fields, its files, who gets it, and that nothing in it could run what peers send.

use std::{collections::BTreeSet, sync::Mutex};

use super::*;
use crate::{
    event::{Event, Kind, Moment, Time, net::ConnectionType},
    http::live_page::{FILES, HTML, Shown},
    live::Live,
    metrics::testing::{conn_at, misbehaving, opening},
    tracepoint::Tracepoint,
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn tell(live: &mut Live, kind: Kind<'_>) {
    live.observe(&Event { time: Time(2_000_000_000), moment: Moment(2_000_000_000), kind });
}

/// A state with a peer, which the node has found fault with.
fn with_a_peer(hides_addresses: bool) -> Live {
    let mut live = Live::new(Tracepoints::default_set(), hides_addresses);
    live.at(Time(2_000_000_000), Moment(2_000_000_000));
    tell(&mut live, opening(conn_at(7, ConnectionType::Inbound, 1, "192.0.2.1:4444")));
    tell(&mut live, misbehaving("headers of no use"));
    live
}

fn served(live: Live, streams: Streams, telemetry_path: &str, gate: Gate) -> (SocketAddr, Server) {
    let metrics = Metrics::new(Tracepoints::default_set(), &Options::default());
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.tcp_address().unwrap();
    let (registry, requests) = (metrics.registry(), metrics.http_requests());
    let site = Site::new(telemetry_path.into(), registry, requests, Readiness::default(), streams, 40)
        .with_live_page(Arc::new(Mutex::new(live)));
    (address, start(vec![listener], gate, site, LIMITS).unwrap())
}

fn with_streams() -> Streams {
    Streams::new(Tracepoints::default_set(), 2)
}

/// All that a browser asks for.
fn paths() -> impl Iterator<Item = &'static str> {
    ["/", "/api/live"].into_iter().chain(FILES.map(|(path, ..)| path))
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn all_of_it_is_bound_to_its_own_files_and_kept_by_nobody() {
    let (address, _server) = served(with_a_peer(false), with_streams(), "/metrics", Gate::open());
    for path in paths() {
        let (head, body) = ask(address, &format!("GET {path}"));
        let (content_type, kept) = match path.rsplit('.').next().unwrap() {
            "/" => ("text/html; charset=utf-8", "no-cache"),
            "js" => ("text/javascript; charset=utf-8", "no-cache"),
            "css" => ("text/css; charset=utf-8", "no-cache"),
            "svg" => ("image/svg+xml", "no-cache"),
            _ => ("application/json", "no-store"),
        };
        assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
        for field in [
            format!("content-security-policy: {POLICY}"),
            format!("content-type: {content_type}"),
            format!("cache-control: {kept}"),
            format!("content-length: {}", body.len()),
            "x-content-type-options: nosniff".into(),
            "referrer-policy: no-referrer".into(),
            "vary: accept-encoding".into(),
        ] {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "{path} lacks {field}: {head}");
        }
        assert!(!head.contains("content-encoding"), "{path}: {head}");

        let (head, zipped) = exchange(connect(address), &format!("GET {path}"), "Accept-Encoding: gzip\r\n");
        assert!(head.contains("\r\ncontent-encoding: gzip\r\n"), "{path}: {head}");
        assert_eq!(unzipped(&zipped), body, "{path}");

        let (head, nothing) = ask(address, &format!("HEAD {path}"));
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())) && nothing.is_empty(), "{path}");
        let (head, _) = ask(address, &format!("POST {path}"));
        assert!(head.starts_with("http/1.1 405 ") && head.contains("\r\nallow: get, head\r\n"), "{path}: {head}");
    }
    let requests = assert_status(address, "GET /metrics", 200);
    let count = |path: &str, count: usize| format!("http_requests_total{{code=\"200\",path=\"{path}\"}} {count}\n");
    assert!(requests.contains(&count("landing", 3 * (1 + FILES.len()))), "{requests}");
    assert!(requests.contains(&count("live", 3)));
    assert_status(address, "GET /live/none.js", 404);
}

#[test]
fn the_page_asks_for_nothing_but_its_files_wherever_a_proxy_puts_it() {
    let (address, _server) = served(with_a_peer(false), with_streams(), "/a:b&c", Gate::open());
    let page = assert_status(address, "GET /", 200);
    for link in ["./a:b&amp;c", "./events", "./-/healthy", "./-/ready"] {
        assert!(page.contains(&format!("<a href=\"{link}\">")), "{link}");
    }
    let texts = FILES.map(|(_, _, text)| text);
    let quoted = |text: &str, before: &str| -> Vec<String> {
        let after = text.split(before).skip(1);
        after.map(|after| after.split('"').next().unwrap().to_owned()).collect()
    };
    let of_page = ["src=\"", "href=\""].iter().flat_map(|before| quoted(HTML, before));
    let of_scripts = texts.iter().flat_map(|text| quoted(text, "from \"./")).map(|name| format!("live/{name}"));
    for name in of_page.chain(of_scripts) {
        assert!(FILES.iter().any(|(path, ..)| *path == format!("/{name}")), "{name}");
    }
    assert!(texts.concat().contains("poll(\"api/live\""));
    for text in texts.iter().chain([&HTML]) {
        let elsewhere = text.match_indices("//").filter(|(at, _)| text[..*at].ends_with(':'));
        let named: Vec<&str> = elsewhere.map(|(at, _)| text[at..].split('"').next().unwrap()).collect();
        assert!(named.iter().all(|name| *name == "//www.w3.org/2000/svg"), "{named:?}");
    }
}

#[test]
fn nothing_in_the_page_makes_markup_or_scripts_of_text() {
    let words =
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "style=", "srcdoc"];
    for (path, _, text) in FILES.iter().copied().chain([("/", "", HTML)]) {
        for word in words {
            assert!(!text.contains(word), "{path} has {word}");
        }
        assert_eq!(handlers(text), [""; 0], "{path}");
    }
    assert!(HTML.matches("<script").count() == 1 && !HTML.contains("<style"));
    assert_eq!(handlers("<a onclick=\"x\"> element.onload = y; moon=z; once === 1; on = 2"), ["onclick", "onload"]);
}

/// Names of attributes and properties that would run what is put there.
fn handlers(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let starts = text.match_indices("on").filter(|(at, _)| !text[..*at].ends_with(is_word));
    let names = starts.filter_map(|(at, _)| {
        let rest = &text[at..];
        let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let after = rest[name.len()..].trim_start();
        let is_set = after.starts_with('=') && !after.starts_with("==") && !after.starts_with("=>");
        (is_set && name != "on").then_some(name)
    });
    names.collect()
}

#[test]
fn the_state_is_made_at_most_twice_a_second_for_all_who_ask() {
    let live = Arc::new(Mutex::new(with_a_peer(false)));
    let (shown, begun) = (Shown::new(Arc::clone(&live)), Instant::now());
    let peers = |after: u64, wants_gzip| {
        let (json, is_zipped) = shown.json(begun + Duration::from_millis(after), wants_gzip).unwrap();
        let text = if is_zipped { unzipped(&json) } else { String::from_utf8(json.to_vec()).unwrap() };
        assert_eq!(is_zipped, wants_gzip);
        let snapshot: serde_json::Value = serde_json::from_str(&text).unwrap();
        snapshot["peers"].as_array().unwrap().len()
    };
    assert_eq!(peers(0, false), 1);
    tell(&mut live.lock().unwrap(), opening(conn_at(8, ConnectionType::Inbound, 1, "192.0.2.2:4444")));
    assert_eq!([peers(0, true), peers(499, false), peers(499, true)], [1; 3]);
    assert_eq!([peers(500, true), peers(999, false)], [2; 2]);
}

#[test]
fn without_it_the_landing_page_is_plain() {
    let Running { address, .. } = server(LIMITS);
    let page = assert_status(address, "GET /", 200);
    assert!(page.contains("<h1>bitcointap</h1>") && !page.contains("<script"), "{page}");
    assert_eq!(
        assert_status(address, "GET /api/live", 404),
        "there is no live page: start export without --web.disable-live-page\n"
    );
    for (path, ..) in FILES {
        assert_status(address, &format!("GET {path}"), 404);
    }
}

#[test]
fn hidden_addresses_are_told_nowhere() {
    let address_is_told = |hides: bool| {
        let (address, _server) = served(with_a_peer(hides), Streams::hiding_addresses(), "/metrics", Gate::open());
        let live = assert_status(address, "GET /api/live", 200);
        assert!(live.contains("\"id\":7,") && live.contains("\"what\":\"misbehaving\""), "{live}");
        assert_eq!(
            assert_status(address, "GET /events", 404),
            "events are not given: they show addresses, which --web.hide-addresses hides\n"
        );
        assert!(!assert_status(address, "GET /", 200).contains("events\">"));
        live.contains("192.0.2.1")
    };
    assert!(address_is_told(false));
    assert!(!address_is_told(true));
}

#[test]
fn who_gets_no_metrics_gets_no_live_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.yml");
    let hash = bcrypt::hash("secret", 4).unwrap();
    let fields = "http_server_config:\n  headers:\n    Content-Security-Policy: frame-src 'none'\n    \
                  X-Content-Type-Options: nosniff\n    X-Frame-Options: deny\n";
    std::fs::write(&path, format!("basic_auth_users:\n  alice: {hash}\n{fields}")).unwrap();
    let gate = Gate::guarded(&path).unwrap();
    let (address, _server) = served(with_a_peer(false), with_streams(), "/metrics", gate);
    for path in paths() {
        let (head, body) = ask(address, &format!("GET {path}"));
        assert!(
            head.starts_with("http/1.1 401 ") && body == "this server needs a user and a password\n",
            "{path}: {head}"
        );
        // alice:secret
        let user = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
        let (head, _) = exchange(connect(address), &format!("GET {path}"), user);
        assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
        // Browsers keep to both policies; of the others there is one.
        for policy in [POLICY, "frame-src 'none'"] {
            assert!(head.contains(&format!("\r\ncontent-security-policy: {policy}\r\n")), "{path}: {head}");
        }
        assert_eq!(head.matches("\r\nx-content-type-options: nosniff\r\n").count(), 1, "{path}: {head}");
        assert!(head.contains("\r\nx-frame-options: deny\r\n"), "{path}: {head}");
    }
}

/// Whatever the page shows has a tracepoint that may be missing, and knows it by its name.
#[test]
fn the_page_knows_each_tracepoint_that_something_is_shown_of() {
    let (.., text) = FILES.into_iter().find(|(path, ..)| *path == "/live/sight.js").unwrap();
    let named: BTreeSet<&str> =
        text.split('"').filter(|it| it.split_once(':').is_some_and(|(group, _)| is_group(group))).collect();
    let shown: BTreeSet<&str> = Live::tracepoints().iter().map(Tracepoint::name).collect();
    assert_eq!(named, shown);
}

fn is_group(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|it| it.is_ascii_lowercase() || it == '_')
}
