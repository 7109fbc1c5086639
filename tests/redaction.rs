//! No output has an address that went in, in any form, and all have the same pseudonyms. What went in is known from the same recording,
//! without redaction; there the search finds each address.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use aho_corasick::AhoCorasick;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    exposition,
    flight::ask,
    nats::server::{Server, Subscriber, old_server},
    node::Simnode,
    streams::Stream,
    tool::{Attached, Exporter, bitcointap, output},
};

const NODE: &str = "--scenario mix --rate 10000 --count 6000 --seed 3";

/// What one output gave, without compression.
struct Given {
    of: &'static str,
    bytes: Vec<u8>,
}

/// The addresses that went in: a name each, and the forms that a search looks for.
struct Addresses {
    names: Vec<String>,
    /// The number of the address that a form is of.
    of: Vec<usize>,
    search: AhoCorasick,
}

impl Addresses {
    /// Those in lines of JSON, without those that name no machine.
    fn of(lines: &[Value]) -> Self {
        let mut hosts = BTreeSet::new();
        lines.iter().for_each(|line| collect(&line["event"], &mut hosts));
        let names: Vec<String> = hosts.into_iter().filter(|host| names_a_machine(host)).collect();
        let (mut of, mut forms) = (Vec::new(), Vec::new());
        for (number, name) in names.iter().enumerate() {
            for form in forms_of(name) {
                of.push(number);
                forms.push(form);
            }
        }
        Self { search: AhoCorasick::new(forms).unwrap(), names, of }
    }

    /// Those that are found.
    fn found(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.');
        let mut found = BTreeSet::new();
        for it in self.search.find_overlapping_iter(bytes) {
            let form = &bytes[it.start()..it.end()];
            // 1.2.3.4 is no part of 11.2.3.45.
            let is_text = form.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
            let before = it.start().checked_sub(1).and_then(|at| bytes.get(at));
            if !(is_text && (is_part(before) || is_part(bytes.get(it.end())))) {
                found.insert(&*self.names[self.of[it.pattern().as_usize()]]);
            }
        }
        found
    }

    fn assert_none(&self, given: &Given) {
        let found = self.found(&given.bytes);
        assert!(found.is_empty(), "{}: {found:?}", given.of);
        assert!(given.bytes.len() > 200, "{} has something: {} bytes", given.of, given.bytes.len());
    }
}

/// Hosts in the fields that have addresses.
fn collect(value: &Value, hosts: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (&**name, value) {
                    ("addr", Value::String(address)) => _ = hosts.insert(host(address).into()),
                    ("address", Value::Object(of)) => {
                        hosts.extend(of.values().filter_map(|it| Some(it.as_str()?.into())))
                    }
                    _ => collect(value, hosts),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, hosts)),
        _ => {}
    }
}

fn host(address: &str) -> &str {
    let (host, _) = address.rsplit_once(':').unwrap_or((address, ""));
    host.trim_matches(['[', ']'])
}

fn names_a_machine(host: &str) -> bool {
    host.parse::<IpAddr>().map_or(!host.is_empty(), |ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Text, the bytes of messages, and these bytes as JSON has them.
fn forms_of(host: &str) -> Vec<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = match host.parse() {
        Ok(IpAddr::V4(ip)) => {
            vec![ip.to_ipv6_mapped().octets()[10..].to_vec(), [&[1, 4][..], &Ipv4Addr::octets(&ip)].concat()]
        }
        Ok(IpAddr::V6(ip)) => vec![Ipv6Addr::octets(&ip).to_vec()],
        Err(_) => {
            let letters = host.split('.').next().unwrap().to_ascii_uppercase();
            BASE32_NOPAD
                .decode(letters.as_bytes())
                .map(|bytes| vec![bytes[..bytes.len().min(32)].to_vec()])
                .unwrap_or_default()
        }
    };
    let json = |bytes: &Vec<u8>| {
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        [numbers.join(",").into_bytes(), HEXLOWER.encode(bytes).into_bytes()]
    };
    let written: Vec<Vec<u8>> = bytes.iter().flat_map(json).collect();
    [vec![host.as_bytes().to_vec()], bytes, written].concat()
}

/// What is compressed with zstd in a file, and the file itself.
fn decompressed(file: &[u8]) -> Vec<u8> {
    let mut all = file.to_vec();
    let frames = file.windows(4).enumerate().filter(|(_, bytes)| bytes == &[0x28, 0xb5, 0x2f, 0xfd]);
    for (at, _) in frames {
        let mut frame = Vec::new();
        // What looks like a frame and is none ends early.
        let _ = zstd::stream::Decoder::new(&file[at..]).unwrap().single_frame().read_to_end(&mut frame);
        all.extend(frame);
    }
    all
}

fn parsed(lines: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The standard output of a command that succeeds, and its log.
fn run(arguments: &str) -> (Vec<u8>, Vec<u8>) {
    let output = output(arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    (output.stdout, output.stderr)
}

/// A recording of a simulated node.
fn recorded(directory: &TempDir) -> String {
    let path = directory.path().join("whole.recording").display().to_string();
    let mut node = Simnode::start("v31", NODE);
    let recorder = bitcointap(&format!("record {path} --events all --pid {}", node.pid()));
    let mut recorder = Attached::spawn(recorder);
    node.fire();
    node.tally();
    assert!(recorder.wait().success());
    path
}

fn file(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).display().to_string()
}

#[test]
fn no_output_has_an_address_and_all_have_the_same_pseudonyms() {
    let directory = tempfile::tempdir().unwrap();
    let whole = recorded(&directory);
    let key = file(&directory, "key");
    fs::write(&key, "a key of sixteen bytes or more\n").unwrap();
    let redact = format!("--redact addresses --redact-key {key}");
    let replay = format!("--replay {whole} --speed max --events all");
    let (unredacted, _) = run(&format!("tap {replay} --bytes hex --payload raw"));
    let addresses = Addresses::of(&parsed(&unredacted));
    assert!(addresses.names.len() > 100, "{}", addresses.names.len());
    assert_eq!(addresses.found(&unredacted).len(), addresses.names.len(), "the search finds them");
    let in_recording = addresses.found(&decompressed(&fs::read(&whole).unwrap()));
    assert!(in_recording.len() > addresses.names.len() / 2, "also in compressed bytes: {}", in_recording.len());

    let mut all = Vec::new();
    let mut give = |of, bytes| {
        let given = Given { of, bytes };
        addresses.assert_none(&given);
        all.push(of);
        given.bytes
    };
    let (lines, log) = run(&format!("tap {replay} {redact}"));
    let lines = give("JSON", lines);
    give("the log", [log, vec![b' '; 200]].concat());
    give("JSON with raw payloads", run(&format!("tap {replay} {redact} --bytes hex --payload raw")).0);
    give("pcapng", run(&format!("tap {replay} {redact} --pcap -")).0);
    let part = file(&directory, "part.recording");
    run(&format!("cut {whole} -o {part} {redact}"));
    give("a recording", decompressed(&fs::read(&part).unwrap()));
    // A replay of it gives the same lines.
    assert!(run(&format!("tap --replay {part} --speed max --events all")).0 == lines);
    give("info", [run(&format!("info {part} --format json")).0, run(&format!("info {part}")).0].concat());
    let txid = parsed(&unredacted)
        .iter()
        .find_map(|line| Some(line["event"]["Mempool"]["event"]["Added"]["txid"].as_str()?.to_owned()))
        .unwrap();
    for format in ["text", "json"] {
        give("trace", run(&format!("trace {txid} --replay {whole} {redact} --format {format}")).0);
    }
    // With another key, or none, pseudonyms differ.
    assert!(run(&format!("tap {replay} --redact addresses")).0 != lines);
    let (grouped, _) = run(&format!("tap {replay} {redact} --redact-keep-netgroups"));
    give("JSON with netgroups", grouped);

    if let Some(program) = old_server() {
        for format in ["json", "recording", "peer-observer"] {
            let server = Server::start(&program, "");
            let subscriber = Subscriber::start(&server, ">");
            run(&format!("tap {replay} {redact} --nats {} --nats.format {format}", server.url()));
            let mut bytes = Vec::new();
            for message in subscriber.rest(subscriber.so_far()) {
                bytes.extend(message.subject.as_bytes());
                message.headers.iter().for_each(|(name, value)| bytes.extend(format!(" {name}: {value} ").as_bytes()));
                bytes.extend(decompressed(&message.payload));
            }
            give("NATS", bytes);
        }
    }
    println!("{} addresses, in none of {all:?}", addresses.names.len());
    exported(&directory, &redact, &lines, &addresses);
}

/// All that `export` gives of a node with the same peers.
fn exported(directory: &TempDir, redact: &str, lines: &[u8], addresses: &Addresses) {
    let archive = file(directory, "lines/");
    let mut node = Simnode::start("v31", &format!("{NODE} --linger"));
    let exporter = Exporter::start(&format!(
        "--pid {} --events all {redact} --flight-recorder 64MiB --flight-recorder.payload whole --json {archive} --rotate 1h --json-compress",
        node.pid()
    ));
    let mut stream = Stream::try_open(&exporter, "payload=raw", false).unwrap();
    for refused in ["address=198.51.100.0/24", "not-address=198.51.100.1"] {
        let answer = Stream::try_open(&exporter, refused, false).err().unwrap();
        assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
        let (_, words) = ask(&exporter, &format!("?{refused}"));
        assert_eq!(words, b"addresses are redacted: leave out address and not-address\n");
    }
    node.fire();
    let tally = node.read_tally();
    exporter.settled_events(&tally);
    stream.ends_after(Duration::from_secs(2));
    let streamed: Vec<Value> = std::iter::from_fn(|| stream.next()).collect();
    let get = |path: &str| exposition::get(&exporter.address, path).unwrap().into_bytes();
    for (of, bytes) in [
        ("/events", streamed.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()),
        ("/metrics", get("/metrics")),
        ("/api/live", get("/api/live")),
        ("/recording", decompressed(&ask(&exporter, "").1)),
    ] {
        addresses.assert_none(&Given { of, bytes });
    }
    let log = exporter.stop();
    addresses.assert_none(&Given { of: "the exporter's log", bytes: log.into_bytes() });
    let file = fs::read_dir(Path::new(&archive)).unwrap().next().unwrap().unwrap().path();
    let written = zstd::decode_all(fs::File::open(file).unwrap()).unwrap();
    addresses.assert_none(&Given { of: "compressed JSON", bytes: written.clone() });
    // The same peers have the same pseudonyms.
    let expected = peers(&parsed(lines));
    assert!(expected.len() > 20, "{}", expected.len());
    for lines in [streamed, parsed(&written)] {
        let found = peers(&lines);
        let other = found.iter().find(|(id, address)| expected.get(id).is_some_and(|it| it != *address));
        assert_eq!(other, None);
        assert!(found.len() > expected.len() / 2, "{}", found.len());
    }
}

/// The address of each peer.
fn peers(lines: &[Value]) -> BTreeMap<i64, String> {
    let addresses = lines.iter().filter_map(|line| {
        let meta = &line["event"]["Msg"]["meta"];
        Some((meta["peer_id"].as_i64()?, meta["addr"].as_str()?.to_owned()))
    });
    addresses.collect()
}

#[test]
fn transactions_become_their_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let whole = recorded(&directory);
    let replay = format!("--replay {whole} --speed max --events all --bytes hex");
    let without_raw = |lines: &[u8]| {
        let mut lines = parsed(lines);
        lines.iter_mut().for_each(|line| _ = remove_raw(line));
        lines
    };
    let (all, _) = run(&format!("tap {replay}"));
    let (some, _) = run(&format!("tap {replay} --txids-only"));
    assert!(some.len() < all.len() && !String::from_utf8_lossy(&some).contains(r#""raw""#));
    let (all, some_lines) = (without_raw(&all), parsed(&some));
    assert_eq!(all.len(), some_lines.len());
    for (all, some) in all.iter().zip(&some_lines) {
        // A transaction that cannot be read is left out.
        let reason = &some["event"]["Msg"]["msg"]["Unavailable"]["reason"];
        assert!(all == some || reason == "redacted" && !all["event"]["Msg"]["msg"]["Undecodable"].is_null(), "{some}");
    }
    let part = file(&directory, "part.recording");
    run(&format!("cut {whole} -o {part} --txids-only"));
    assert!(run(&format!("tap --replay {part} --speed max --events all --bytes hex")).0 == some);
    assert!(fs::metadata(&part).unwrap().len() < fs::metadata(&whole).unwrap().len());
    // Packets cannot have hashes in their place.
    let (packets, _) = run(&format!("tap --replay {part} --speed max --events all --pcap -"));
    assert!(packets.windows(15).any(|words| words == b"payload of tx ("));
}

/// Removes each `raw`, and counts them.
fn remove_raw(value: &mut Value) -> usize {
    match value {
        Value::Object(fields) => {
            usize::from(fields.remove("raw").is_some()) + fields.values_mut().map(remove_raw).sum::<usize>()
        }
        Value::Array(values) => values.iter_mut().map(remove_raw).sum(),
        _ => 0,
    }
}

#[test]
fn what_is_wrong_with_a_key_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let key = file(&directory, "key");
    fs::write(&key, "short").unwrap();
    let golden = "tests/golden/version-2.recording";
    for (options, words) in [
        (
            format!("--redact addresses --redact-key {key}"),
            "it needs 16 bytes or more, such as `openssl rand -hex 32` gives",
        ),
        ("--redact addresses --redact-key /none".into(), "cannot read the key /none: No such file or directory"),
        (format!("--redact-key {key}"), "--redact <WHAT>"),
        ("--redact all".into(), "addresses"),
    ] {
        let refused = output(&format!("tap --replay {golden} {options}"));
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && told.contains(words), "{options}: {told}");
    }
}
