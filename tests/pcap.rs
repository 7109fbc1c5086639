//! Wireshark reads what the library writes of the simulated node's messages: each, with its peer, and finds no fault.
//! `make test` puts tshark into target/tools, from Debian's packages; without it these tests say that they were skipped.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bitcointap::{
    capture::{self, Batch},
    event::{
        Event, Kind, Lost, Moment, Time,
        net::{self, Conn, Connection, ConnectionType, Meta},
    },
    p2p::{self, Message},
    pcap::Writer,
    process::Which,
    tap::{Options, Tap},
    tracepoint::{LossReason, Tracepoint},
};
use tempfile::NamedTempFile;

use crate::{
    node::{Simnode, Tally, copy_program},
    tool::{Attached, bitcointap, fetched, output},
};

fn tshark() -> Option<PathBuf> {
    fetched("tshark", "REQUIRE_TSHARK")
}

/// The events of the tap, as far as the file must contain them.
#[derive(Default)]
struct Seen {
    peers: BTreeMap<i64, Peer>,
    messages: u64,
    closed: u64,
    old_pings: u64,
}

struct Peer {
    address: String,
    is_inbound: bool,
    /// By when it was first seen.
    number: usize,
}

struct Capture {
    tshark: PathBuf,
    file: NamedTempFile,
    seen: Seen,
    tally: Tally,
}

impl Capture {
    fn of(tshark: PathBuf, layout: &str, arguments: &str) -> Self {
        let mut simnode = Simnode::start(layout, arguments);
        let node = Which::Pid(simnode.pid() as i32).find().unwrap();
        let mut tap = Tap::attach(&node, &Options { ring_buffer_size: 256 << 20, ..Options::default() }).unwrap();
        let file = NamedTempFile::new().unwrap();
        let mut out = BufWriter::new(File::create(file.path()).unwrap());
        let mut writer = Writer::start(&mut out).unwrap();
        let (mut seen, mut batch) = (Seen::default(), Batch::default());
        simnode.fire();
        let (mut more, mut node_ended) = (true, false);
        while more || !node_ended {
            node_ended |= tap.wait(Duration::from_millis(20)).unwrap().node_ended;
            more = tap.drain(&mut batch).unwrap();
            batch.each(|event| {
                seen.see(&event.kind);
                writer.event(&mut out, &event).unwrap();
            });
        }
        writer.finish(&mut out, capture::now().0).unwrap();
        out.flush().unwrap();
        Self { tshark, file, seen, tally: simnode.tally() }
    }
}

impl Seen {
    fn see(&mut self, kind: &Kind<'_>) {
        match kind {
            Kind::Msg(message) => {
                let meta = &message.meta;
                self.messages += 1;
                self.old_pings += u64::from(matches!(message.msg, Message::Oldping(_)));
                self.peer(meta.peer_id, &meta.addr, meta.conn_type);
            }
            Kind::Conn { event: Connection::Inbound { conn, .. } | Connection::Outbound { conn, .. } } => {
                self.peer(conn.peer_id, &conn.addr, conn.conn_type);
            }
            Kind::Conn { event: Connection::Closed { .. } } => self.closed += 1,
            Kind::Lost(lost) => panic!("{lost:?}"),
            _ => {}
        }
    }

    fn peer(&mut self, peer_id: i64, address: &str, connection_type: ConnectionType) {
        let next = self.peers.len();
        let peer =
            Peer { address: address.to_owned(), is_inbound: connection_type == ConnectionType::Inbound, number: next };
        self.peers.entry(peer_id).or_insert(peer);
    }
}

/// The values of these fields in each packet that passes the filter; commas separate several values of a field.
fn fields<const N: usize>(tshark: &Path, file: &Path, filter: &str, fields: [&str; N]) -> Vec<[String; N]> {
    let output = Command::new(tshark)
        // Wireshark may have another protocol for a peer's port.
        .args(["-o", "tcp.try_heuristic_first:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        .args(["-n", "-T", "fields", "-E", "separator=/t", "-Y", filter, "-r"])
        .arg(file)
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into();
    text.lines().map(|line| row(line).unwrap_or_else(|row| panic!("{row:?}"))).collect()
}

/// From 4.4 on, which also dissects addrv2.
fn knows_witnesses(tshark: &Path) -> bool {
    let known = Command::new(tshark).args(["-G", "fields"]).output().unwrap();
    String::from_utf8_lossy(&known.stdout).contains("\tbitcoin.tx.witness\t")
}

/// How often each value occurs.
fn counts(rows: Vec<[String; 1]>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    rows.into_iter().for_each(|[value]| *counts.entry(value).or_default() += 1);
    counts
}

impl Capture {
    fn fields<const N: usize>(&self, filter: &str, wanted: [&str; N]) -> Vec<[String; N]> {
        fields(&self.tshark, self.file.path(), filter, wanted)
    }

    fn assert_all_messages_are_there(&self) {
        let mut fired = BTreeMap::new();
        for row in self.tally.rows("messages") {
            *fired.entry(row["command"].as_str().unwrap().to_owned()).or_default() += row["count"].as_u64().unwrap();
        }
        assert_eq!(counts(self.fields("bitcoin", ["bitcoin.command"])), fired);
        assert_eq!(fired.values().sum::<u64>(), self.seen.messages);
    }

    /// Nothing about TCP. About messages only what is wrong with them, or with Wireshark's dissector. No version knows
    /// pings as before BIP 31. 4.0 does not know witnesses: it takes the marker before them for a transaction without
    /// inputs. It does not dissect addrv2, either.
    fn assert_nothing_is_wrong(&self) {
        let nothing: [[String; 1]; 0] = [];
        assert_eq!(self.fields("tcp.analysis.flags", ["frame.number"]), nothing);
        assert_eq!(self.fields("ip.checksum.status == 0 || tcp.checksum.status == 0", ["frame.number"]), nothing);
        let mut wrong = BTreeMap::new();
        for row in self.tally.rows("messages") {
            let command = row["command"].as_str().unwrap();
            *wrong.entry(command.to_owned()).or_default() += row["undecodable"].as_u64().unwrap();
        }
        *wrong.entry("ping".to_owned()).or_default() += self.seen.old_pings;
        // An addrv2 of no bytes at all is an event of its own.
        let empty = "bitcoin.command == \"addrv2\" && bitcoin.length == 0";
        let mut malformed = format!("(_ws.malformed || bitcoin.script_length.invalid) && !({empty})");
        if !knows_witnesses(&self.tshark) {
            malformed = format!("({malformed}) && !(bitcoin.tx.input_count == 0)");
            wrong.remove("addrv2");
        }
        wrong.retain(|_, count| *count > 0);
        assert_eq!(counts(self.fields(&malformed, ["bitcoin.command"])), wrong);
    }

    fn assert_each_peer_has_a_conversation(&self) {
        let wanted = ["tcp.stream", "ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"];
        let opened = self.fields("tcp.flags.syn == 1 && tcp.flags.ack == 0", wanted);
        assert_eq!(opened.len(), self.seen.peers.len());
        for peer in self.seen.peers.values() {
            let [stream, from4, from6, from_port, to4, to6, to_port] = &opened[peer.number];
            assert_eq!(*stream, peer.number.to_string());
            let from = (format!("{from4}{from6}"), from_port.parse::<u16>().unwrap());
            let to = (format!("{to4}{to6}"), to_port.parse::<u16>().unwrap());
            let (node, peer_at) = if peer.is_inbound { (to, from) } else { (from, to) };
            assert!(["192.0.2.1", "2001:db8::1"].contains(&node.0.as_str()), "{node:?}");
            assert!(if peer.is_inbound { node.1 == 8333 } else { node.1 >= 49_152 }, "{node:?}");
            match peer.address.parse::<SocketAddr>() {
                Ok(address) => assert_eq!(peer_at, (address.ip().to_string(), address.port())),
                Err(_) => assert_is_made_up(&peer.address, peer.is_inbound, &peer_at),
            }
        }
        let ends = self.fields("tcp.flags.fin == 1", ["tcp.stream"]);
        assert_eq!(ends.len() as u64, 2 * self.seen.closed);
    }
}

fn assert_is_made_up(text: &str, is_inbound: bool, (ip, port): &(String, u16)) {
    let (name, told) = text.rsplit_once(':').unwrap();
    let prefix = if name.ends_with(".onion") {
        "fd87:d87e:eb43:"
    } else if name.ends_with(".i2p") {
        "fd60:db4d:ddb5:"
    } else {
        "fd6b:88c0:8724:"
    };
    assert!(ip.starts_with(prefix), "{text} is at {ip}");
    let is_told = *port == told.parse::<u16>().unwrap();
    assert!(is_told || is_inbound && told == "0" && *port >= 49_152, "{text} has port {port}");
}

/// Each layout, since older ones do not report connections. Few peers come and go, so that no port is used twice.
#[test]
fn wireshark_reads_all_that_a_node_says_and_hears() {
    let Some(tshark) = tshark() else { return };
    for (layout, arguments) in [
        ("v31", "--scenario mix --rate 50000 --count 20000"),
        ("v23", "--scenario mix --rate 50000 --count 10000"),
        ("v29", "--scenario churn --rate 50000 --count 5000"),
        ("v31", "--scenario blocks --rate 400 --count 250"),
    ] {
        println!("{layout} {arguments}");
        let capture = Capture::of(tshark.clone(), layout, arguments);
        capture.assert_all_messages_are_there();
        capture.assert_nothing_is_wrong();
        capture.assert_each_peer_has_a_conversation();
    }
}

fn message<'a>(peer_id: i64, command: &'a str, size: u64, payload: Option<&'a [u8]>) -> Kind<'a> {
    message_from("1.2.3.4:5000", peer_id, command, size, payload)
}

fn message_from<'a>(addr: &'a str, peer_id: i64, command: &'a str, size: u64, payload: Option<&'a [u8]>) -> Kind<'a> {
    let conn_type = ConnectionType::Inbound;
    let meta = Meta::new(peer_id, addr, conn_type, command, true, size);
    let msg = match payload {
        Some(payload) => p2p::decode(command, payload),
        None => Message::Unavailable { command, reason: "unreadable" },
    };
    Kind::Msg(net::Message { meta, msg, payload })
}

fn closed(peer_id: i64) -> Kind<'static> {
    let conn = Conn { peer_id, addr: "1.2.3.4:5000".into(), conn_type: ConnectionType::Inbound, network: 1 };
    Kind::Conn { event: Connection::Closed { conn, time_established: 1 } }
}

fn written<'a>(events: impl IntoIterator<Item = Kind<'a>>) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let mut out = file.reopen().unwrap();
    let mut writer = Writer::start(&mut out).unwrap();
    for (kind, number) in events.into_iter().zip(0..) {
        let event = Event { time: Time(1_700_000_000_123_456_789 + number), moment: Moment(number), kind };
        writer.event(&mut out, &event).unwrap();
    }
    writer.finish(&mut out, Time(1_700_000_001_000_000_000)).unwrap();
    file
}

#[test]
fn wireshark_goes_on_after_what_was_not_copied_or_lost() {
    let Some(tshark) = tshark() else { return };
    let lost =
        |count| Kind::Lost(Lost { tracepoint: Tracepoint::NetInboundMessage, reason: LossReason::RingFull, count });
    let file = written([
        message(7, "ping", 8, Some(&[7; 8])),
        message(7, "tx", 250, None),
        message(7, "block", 4_500_000, None),
        lost(12),
        message(7, "pong", 8, Some(&[8; 8])),
        message(7, "verack", 0, Some(&[])),
        lost(1),
    ]);
    let said = fields(&tshark, file.path(), "bitcoin", ["frame.time_epoch", "bitcoin.command", "bitcoin.length"]);
    let expected = [
        ("1700000000.123456789", "ping", "8"),
        ("1700000000.123456790", "tx", "250"),
        ("1700000000.123456791", "block", "4500000"),
        ("1700000000.123456793", "pong", "8"),
        ("1700000000.123456794", "verack", "0"),
    ];
    assert_eq!(said, expected.map(|(time, command, length)| [time, command, length].map(str::to_owned)));
    let comments = fields(&tshark, file.path(), "frame.comment", ["frame.comment"]);
    let expected = [
        "payload of tx (250 bytes) not captured: unreadable",
        "payload of block (4500000 bytes) not captured: unreadable",
        "12 events of net:inbound_message lost before: ring_full",
    ];
    assert_eq!(comments, expected.map(|comment| [comment.to_owned()]));
    let wrong = fields(&tshark, file.path(), "tcp.analysis.flags || _ws.malformed", ["frame.number"]);
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn wireshark_tells_peers_apart_that_have_the_same_address_and_port() {
    let Some(tshark) = tshark() else { return };
    let file = written([
        message(1, "ping", 8, Some(&[1; 8])),
        closed(1),
        message(2, "ping", 8, Some(&[2; 8])),
        // Nobody reports its end.
        message(3, "ping", 8, Some(&[3; 8])),
    ]);
    let said = fields(&tshark, file.path(), "bitcoin", ["tcp.stream", "bitcoin.ping.nonce"]);
    let expected = [("0", "0x0101010101010101"), ("1", "0x0202020202020202"), ("2", "0x0303030303030303")];
    assert_eq!(said, expected.map(|(stream, nonce)| [stream, nonce].map(str::to_owned)));
    let filter = "tcp.analysis.flags && !tcp.analysis.reused_ports";
    assert_eq!(fields(&tshark, file.path(), filter, ["frame.number"]), [[""; 1]; 0]);
    assert_eq!(fields(&tshark, file.path(), "tcp.analysis.reused_ports", ["tcp.stream"]), [["1"], ["2"]]);
}

#[test]
fn wireshark_takes_any_text_for_an_address_and_any_port_for_bitcoins() {
    let Some(tshark) = tshark() else { return };
    let long = "x".repeat(263);
    // The ports are those of EtherNet/IP and of IRC, which Wireshark would try.
    let addresses = ["", ":", "\u{1b}[1m\u{202e}é:1", &long, "[::]:9", "0.0.0.0:44818", "1.2.3.4:57000", "1.2.3.4:0"];
    let file =
        written(addresses.iter().zip(0..).map(|(addr, number)| message_from(addr, number, "ping", 8, Some(&[7; 8]))));
    let said = fields(&tshark, file.path(), "bitcoin", ["tcp.stream", "bitcoin.command"]);
    let expected: Vec<_> = (0..addresses.len()).map(|stream| [stream.to_string(), "ping".to_owned()]).collect();
    assert_eq!(said, expected);
}

#[test]
fn the_tool_writes_packets_of_a_node_over_a_restart_and_of_its_recording() {
    let Some(tshark) = tshark() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (program, packets, recording) = (file("bitcoind"), file("live.pcapng"), file("recording"));
    copy_program(&crate::node::program("simnode-v31"), Path::new(&program));
    let tap = bitcointap(&format!("tap --follow --bitcoind {program} --pcap {packets}"));
    let mut tap = Attached::spawn_until(tap, "waiting for a node");
    let mut record = Attached::spawn_until(
        bitcointap(&format!("record {recording} --follow --bitcoind {program}")),
        "waiting for a node",
    );
    let mut expected = BTreeMap::new();
    for run in 1..=2 {
        let arguments = format!("--scenario churn --seed {run} --rate 20000 --count 2000");
        let mut node = Simnode::start_program(Path::new(&program), &arguments);
        tap.read_log_until("attached to", run);
        record.read_log_until("attached to", run);
        node.fire();
        for row in node.tally().rows("messages") {
            *expected.entry(row["command"].as_str().unwrap().to_owned()).or_default() += row["count"].as_u64().unwrap();
        }
        tap.read_log_until("the node has ended", run);
        record.read_log_until("the node has ended", run);
    }
    for mut tool in [tap, record] {
        tool.terminate();
        assert!(tool.wait().success(), "{}", tool.log);
    }
    let replayed = file("replayed.pcapng");
    assert!(output(&format!("tap --replay {recording} --speed max --pcap {replayed}")).status.success());
    let piped = output(&format!("tap --replay {recording} --speed max --pcap -"));
    assert!(piped.status.success() && piped.stdout == std::fs::read(&replayed).unwrap());
    for packets in [&packets, &replayed] {
        let packets = Path::new(packets);
        assert_eq!(counts(fields(&tshark, packets, "bitcoin", ["bitcoin.command"])), expected);
        assert!(
            fields(&tshark, packets, "tcp.analysis.flags && !tcp.analysis.reused_ports", ["frame.number"]).is_empty()
        );
    }
    let again = output(&format!("tap --replay {recording} --pcap {replayed}"));
    assert!(!again.status.success() && String::from_utf8(again.stderr).unwrap().contains("exists already"));
    let wrong = output("tap --events mempool --pcap -");
    assert_eq!(wrong.status.code(), Some(2));
}
