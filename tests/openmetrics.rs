//! The reference parsers of Prometheus' Python client accept each scrape, in both formats. `make test` puts them into
//! target/tools, from PyPI; without them these tests say that they were skipped.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    exposition::{Exposition, get},
    node::Simnode,
    prometheus::assert_promtool_is_silent,
    tool::{Exporter, fetched_tools},
};

const REQUIRED: &str = "REQUIRE_PROMETHEUS";

/// Where the parsers' package is.
fn package() -> Option<PathBuf> {
    let package = fetched_tools().join("python");
    if package.join("prometheus_client").is_dir() {
        return Some(package);
    }
    assert!(std::env::var_os(REQUIRED).is_none(), "prometheus_client is not here");
    println!("skipped: prometheus_client is not here");
    None
}

fn openmetrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the exporter listens");
    let accept = "application/openmetrics-text;version=1.0.0";
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

/// The parser of this format accepts a scrape, and finds as many families as the scrape names types.
#[track_caller]
fn assert_parses(package: &Path, format: &str, scrape: &str) {
    let mut python = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openmetrics/parse.py"))
        .arg(format)
        .env("PYTHONPATH", package)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    python.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let (found, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let types = scrape.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(found.trim(), types.to_string(), "{format}: {error}");
}

/// Both formats of a scrape are as they must be.
#[track_caller]
fn assert_takes(package: &Path, exporter: &Exporter) {
    let text = get(&exporter.address, "/metrics").expect("the exporter answers");
    assert_parses(package, "text", &text);
    assert_parses(package, "openmetrics", &openmetrics(&exporter.address));
    assert_promtool_is_silent(&text);
}

#[test]
fn the_reference_parser_takes_a_fresh_node_and_what_is_golden() {
    let Some(package) = package() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --seed 7 --count 30000 --rate 20000 --linger");
    let exporter = Exporter::start(&format!("--pid {} --events all --tx-response --utxocache-coins", node.pid()));
    assert_takes(&package, &exporter);
    node.fire();
    let metrics = exporter.settled(&node.read_tally());
    let decreases = Exposition::parse(&metrics).sum("mempool_replacement_fee_decreases_total", &[]);
    assert!(decreases > 0.0, "replacements that pay less are among them");
    assert_takes(&package, &exporter);
    exporter.stop();
}

#[test]
fn the_reference_parser_takes_what_hostile_peers_say() {
    let Some(package) = package() else { return };
    for arguments in ["mix --hostile --count 30000", "hostile --count 10000"] {
        let mut node = Simnode::start("v31", &format!("--scenario {arguments} --rate 20000 --linger"));
        let exporter = Exporter::start(&format!("--pid {} --events all --tx-response", node.pid()));
        node.fire();
        exporter.settled(&node.read_tally());
        assert_takes(&package, &exporter);
        exporter.stop();
    }
}
