//! What is written is read back: blocks by their lengths, headers by etherparse.

use std::net::{IpAddr, SocketAddr};

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader};

use super::*;
use crate::event::{Moment, net::Meta};

const PEER: &str = "1.2.3.4:5000";

/// The file as far as it is written.
struct File {
    writer: Writer,
    bytes: Vec<u8>,
    time: u64,
}

/// A packet as it is read.
#[derive(Debug)]
struct Read {
    time: u64,
    /// `epb_flags`
    flags: u32,
    comments: Vec<String>,
    missing: usize,
    from: SocketAddr,
    to: SocketAddr,
    /// SYN, FIN, PSH, ACK
    control: String,
    sequence: u32,
    acknowledged: u32,
    data: Vec<u8>,
}

impl File {
    fn new() -> Self {
        let mut bytes = Vec::new();
        let writer = Writer::start(&mut bytes).unwrap();
        Self { writer, bytes, time: 1_700_000_000_123_456_788 }
    }

    /// Each is a nanosecond later than the previous one.
    fn tell(&mut self, kind: Kind<'_>) -> bool {
        self.time += 1;
        let event = Event { time: Time(self.time), moment: Moment(0), kind };
        self.writer.event(&mut self.bytes, &event).unwrap()
    }

    fn packets(&self) -> Vec<Read> {
        blocks(&self.bytes).into_iter().filter(|(kind, _)| *kind == 6).map(|(_, body)| read(body)).collect()
    }

    /// The directions of packets, `>` from the node and `<` to it, and their purposes.
    fn controls(&self) -> Vec<String> {
        let arrow = |packet: &Read| if packet.flags == 2 { '>' } else { '<' };
        self.packets().iter().map(|packet| format!("{} {}", arrow(packet), packet.control)).collect()
    }

    /// The comments of each packet.
    fn comments(&self) -> Vec<Vec<String>> {
        self.packets().into_iter().map(|packet| packet.comments).collect()
    }
}

const INBOUND: ConnectionType = ConnectionType::Inbound;
const OUTBOUND: ConnectionType = ConnectionType::OutboundFullRelay;

fn message<'a>(peer_id: i64, addr: &'a str, inbound: bool, command: &'a str, payload: &'a [u8]) -> Kind<'a> {
    let meta = Meta::new(peer_id, addr, INBOUND, command, inbound, payload.len() as u64);
    Kind::Msg(Message { meta, msg: p2p::decode(command, payload), payload: Some(payload) })
}

fn unseen(command: &str, size: u64) -> Kind<'_> {
    let meta = Meta::new(1, PEER, INBOUND, command, false, size);
    Kind::Msg(Message { meta, msg: p2p::Message::Unavailable { command, reason: "too_large" }, payload: None })
}

fn conn(peer_id: i64, addr: &str, conn_type: ConnectionType) -> Conn<'_> {
    Conn { peer_id, addr: addr.into(), conn_type, network: 1 }
}

fn opened(peer_id: i64, addr: &str, conn_type: ConnectionType) -> Kind<'_> {
    let conn = conn(peer_id, addr, conn_type);
    let event = match conn_type {
        INBOUND => Connection::Inbound { conn, existing_connections: 1 },
        _ => Connection::Outbound { conn, existing_connections: 1 },
    };
    Kind::Conn { event }
}

fn evicted(peer_id: i64) -> Kind<'static> {
    Kind::Conn { event: Connection::InboundEvicted { conn: conn(peer_id, PEER, INBOUND), time_established: 1 } }
}

fn closed(peer_id: i64) -> Kind<'static> {
    Kind::Conn { event: Connection::Closed { conn: conn(peer_id, PEER, INBOUND), time_established: 1 } }
}

fn lost(tracepoint: Tracepoint, reason: LossReason, count: u64) -> Kind<'static> {
    Kind::Lost(Lost { tracepoint, reason, count })
}

/// Types and bodies. Asserts what a reader relies on.
fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let length = number(&bytes[4..]) as usize;
        assert_eq!(length % 4, 0);
        let (block, rest) = bytes.split_at(length);
        assert_eq!(number(&block[length - 4..]) as usize, length, "the length is told twice");
        blocks.push((number(block), &block[8..length - 4]));
        bytes = rest;
    }
    blocks
}

/// Codes and values of options, or of records, up to their end.
fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut options = Vec::new();
    while bytes[..4] != [0; 4] {
        let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        options.push((u16::from_le_bytes([bytes[0], bytes[1]]), &bytes[4..4 + length]));
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
    assert_eq!(bytes.len(), 4);
    options
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn read(body: &[u8]) -> Read {
    let [high, low, captured, original_length] = [4, 8, 12, 16].map(|at| number(&body[at..]));
    let captured = captured as usize;
    let packet = &body[20..20 + captured];
    let options = options(&body[20 + captured.next_multiple_of(4)..]);
    let comments = options.iter().filter(|(code, _)| *code == 1);
    let comments = comments.map(|(_, text)| String::from_utf8(text.to_vec()).unwrap()).collect();
    let flags = options.iter().find(|(code, _)| *code == 2).map(|(_, value)| number(value)).unwrap();
    let (from, to, length, rest): (IpAddr, IpAddr, usize, &[u8]) = match packet[0] >> 4 {
        4 => {
            let (ip, rest) = Ipv4Header::from_slice(packet).unwrap();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            (ip.source.into(), ip.destination.into(), ip.total_len.into(), rest)
        }
        6 => {
            let (ip, rest) = Ipv6Header::from_slice(packet).unwrap();
            (ip.source.into(), ip.destination.into(), 40 + usize::from(ip.payload_length), rest)
        }
        version => panic!("IP {version}"),
    };
    assert_eq!(length, original_length as usize);
    let (tcp, data) = TcpHeader::from_slice(rest).unwrap();
    if captured == length {
        let sum = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4_raw(from.octets(), to.octets(), data),
            (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6_raw(from.octets(), to.octets(), data),
            _ => panic!("{from} and {to}"),
        };
        assert_eq!(tcp.checksum, sum.unwrap());
    }
    let controls = [(tcp.syn, "SYN"), (tcp.fin, "FIN"), (tcp.psh, "PSH"), (tcp.ack, "ACK")];
    Read {
        time: u64::from(high) << 32 | u64::from(low),
        flags,
        comments,
        missing: length - captured,
        from: SocketAddr::new(from, tcp.source_port),
        to: SocketAddr::new(to, tcp.destination_port),
        control: controls.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect::<Vec<_>>().join(" "),
        sequence: tcp.sequence_number,
        acknowledged: tcp.acknowledgment_number,
        data: data.to_vec(),
    }
}

#[test]
fn a_file_begins_with_who_wrote_it_and_what_of() {
    let file = File::new();
    let blocks = blocks(&file.bytes);
    assert_eq!(blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x0a0d_0d0a, 1, 4, 4]);
    let (section, interface) = (blocks[0].1, blocks[1].1);
    assert_eq!(number(section), 0x1a2b_3c4d, "byte order");
    assert_eq!(section[4..16], [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "version, length unknown");
    let application = format!("bitcointap {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(options(&section[16..])[1..], [(3, b"linux".as_slice()), (4, application.as_bytes())]);
    assert_eq!(interface[..8], [101, 0, 0, 0, 0, 0, 0, 0], "raw IP, of any length");
    assert_eq!(options(&interface[8..])[0], (2, b"bitcoind".as_slice()));
    assert_eq!(options(&interface[8..])[2], (9, [9].as_slice()), "nanoseconds");
    assert_eq!(options(blocks[2].1), [(1, [192, 0, 2, 1, b'n', b'o', b'd', b'e', 0].as_slice())]);
}

#[test]
fn a_connection_is_opened_from_its_side_and_closed() {
    let mut file = File::new();
    assert!(file.tell(opened(7, PEER, INBOUND)));
    assert!(file.tell(closed(7)));
    assert!(file.tell(opened(8, "[3fff::1]:8333", OUTBOUND)));
    let packets = file.packets();
    let open_and_close = ["< SYN", "> SYN ACK", "< ACK", "> FIN ACK", "< FIN ACK", "> ACK"];
    assert_eq!(file.controls(), [open_and_close.as_slice(), &["> SYN", "< SYN ACK", "> ACK"]].concat());
    assert_eq!((packets[0].from, packets[0].to), (PEER.parse().unwrap(), "192.0.2.1:8333".parse().unwrap()));
    let (node, peer) = ("[2001:db8::1]:49160".parse().unwrap(), "[3fff::1]:8333".parse().unwrap());
    assert_eq!((packets[6].from, packets[6].to), (node, peer));
    assert_eq!((packets[7].from, packets[7].to), (peer, node));
    assert_eq!(packets[5].time, 1_700_000_000_123_456_790);
    assert_consistent(&packets[..6]);
    assert_consistent(&packets[6..]);
}

/// Each packet of a conversation continues where the last one from its side ended, and acknowledges everything from the
/// other side.
#[track_caller]
fn assert_consistent(packets: &[Read]) {
    let mut next = BTreeMap::new();
    for packet in packets {
        let begun = next.get(&packet.from).copied();
        assert_eq!(packet.sequence, begun.unwrap_or(packet.sequence));
        assert_eq!(packet.acknowledged, next.get(&packet.to).copied().unwrap_or(0));
        let control = packet.control.contains("SYN") || packet.control.contains("FIN");
        let length = (packet.data.len() + packet.missing) as u32 + u32::from(control);
        next.insert(packet.from, packet.sequence.wrapping_add(length));
    }
    assert_eq!(next.len(), 2, "one conversation");
}

#[test]
fn a_message_is_as_in_the_old_transport() {
    let mut file = File::new();
    assert!(file.tell(message(1, PEER, true, "verack", b"")));
    assert!(file.tell(message(1, PEER, false, "getcfcheckpt", &[1, 2, 3])));
    let packets = file.packets();
    assert_eq!(file.controls()[3..], ["< PSH ACK", "> PSH ACK"]);
    let verack = [
        0xf9, 0xbe, 0xb4, 0xd9, b'v', b'e', b'r', b'a', b'c', b'k', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x5d, 0xf6, 0xe0,
        0xe2,
    ];
    assert_eq!(packets[3].data, verack);
    assert_eq!(packets[4].data[4..20], *b"getcfcheckpt\x03\0\0\0");
    assert_eq!(packets[4].data[24..], [1, 2, 3]);
    assert_consistent(&packets);
}

#[test]
fn a_block_of_4_mb_is_in_segments_that_are_acknowledged() {
    let payload: Vec<u8> = (0..4_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    for addr in [PEER, "[3fff::1]:8333"] {
        let mut file = File::new();
        file.tell(message(1, addr, true, "block", &payload));
        let packets = file.packets();
        let (data, answers): (Vec<&Read>, Vec<&Read>) = packets[3..].iter().partition(|packet| packet.flags == 1);
        assert_eq!((data.len(), answers.len()), (62, 3));
        assert_eq!(answers[0].acknowledged.wrapping_sub(data[0].sequence), 17 * 65_495);
        assert!(data.iter().all(
            |packet| (packet.control == "PSH ACK") == (packet.time == data[61].time && packet.data.len() < 65_495)
        ));
        let whole: Vec<u8> = data.iter().flat_map(|packet| packet.data.clone()).collect();
        assert_eq!(whole[16..20], 4_000_000_u32.to_le_bytes());
        assert!(whole[24..] == payload);
        assert_consistent(&packets);
    }
}

#[test]
fn lengths_around_a_segment_are_split_rightly() {
    for (size, lengths) in [
        (65_495 - 25, vec![65_494]),
        (65_495 - 24, vec![65_495]),
        (65_495 - 23, vec![65_495, 1]),
        (2 * 65_495 - 24, vec![65_495, 65_495]),
    ] {
        let mut file = File::new();
        file.tell(message(1, PEER, true, "tx", &vec![1; size]));
        assert_eq!(file.packets()[3..].iter().map(|packet| packet.data.len()).collect::<Vec<_>>(), lengths);
        let mut file = File::new();
        file.tell(unseen("tx", size as u64));
        let whole = |packet: &Read| packet.data.len() + packet.missing;
        assert_eq!(file.packets()[3..].iter().map(whole).collect::<Vec<_>>(), lengths);
    }
}

#[test]
fn a_payload_that_was_not_copied_is_missing_and_told_why() {
    let mut file = File::new();
    assert!(file.tell(unseen("block", 5_000_000)));
    file.tell(message(1, PEER, true, "verack", b""));
    let packets = file.packets();
    assert_eq!(packets[3].comments, ["payload of block (5000000 bytes) not captured: too_large"]);
    let (first, rest) = packets[3..].split_first().unwrap();
    assert_eq!(first.data[4..20], *b"block\0\0\0\0\0\0\0\x40\x4b\x4c\0");
    assert_eq!((first.data.len(), first.missing), (24, 65_495 - 24));
    let data = || rest.iter().filter(|packet| packet.flags == 2);
    assert!(data().all(|packet| packet.data.is_empty()));
    assert_eq!(first.missing + data().map(|packet| packet.missing).sum::<usize>(), 5_000_000);
    assert_eq!(packets.iter().map(|packet| packet.comments.len()).sum::<usize>(), 1);
    assert_consistent(&packets);
}

#[test]
fn a_size_that_no_message_has_makes_no_endless_file() {
    let mut file = File::new();
    file.tell(unseen("a\nb", u64::MAX));
    let packets = file.packets();
    assert_eq!(packets[3].comments, [format!("payload of a\\nb ({} bytes) not captured: too_large", u64::MAX)]);
    assert_eq!(packets.iter().map(|packet| packet.missing).sum::<usize>(), 32 << 20);
    assert!(file.bytes.len() < 100_000, "{}", file.bytes.len());
}

#[test]
fn a_gap_is_told_with_the_next_packet_and_at_the_end() {
    let mut file = File::new();
    file.tell(opened(1, PEER, INBOUND));
    for (tracepoint, reason, count) in [
        (Tracepoint::NetInboundMessage, LossReason::RingFull, 5),
        (Tracepoint::NetOutboundMessage, LossReason::QueueFull, 1),
        (Tracepoint::MempoolAdded, LossReason::RingFull, 9),
        (Tracepoint::NetOutboundMessage, LossReason::NotRecorded, 0),
        (Tracepoint::NetInboundMessage, LossReason::RingFull, 7),
    ] {
        assert!(!file.tell(lost(tracepoint, reason, count)));
    }
    assert!(!file.tell(closed(2)), "nobody's end");
    file.tell(message(1, PEER, true, "verack", b""));
    file.tell(message(1, PEER, true, "verack", b""));
    let told = [
        "12 events of net:inbound_message lost before: ring_full",
        "1 event of net:outbound_message lost before: queue_full",
        "events of net:outbound_message lost before: not_recorded",
    ];
    let comments = file.comments();
    assert_eq!(comments[3], told);
    assert!(comments[..3].iter().chain(&comments[4..]).all(Vec::is_empty));

    let length = file.bytes.len();
    file.tell(lost(Tracepoint::NetInboundMessage, LossReason::Stopped, 3));
    file.writer.finish(&mut file.bytes, Time(0x1_0000_0002)).unwrap();
    let end = blocks(&file.bytes[length..]);
    let [(5, body)] = end.as_slice() else { panic!("{end:?}") };
    assert_eq!(body[..12], [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(options(&body[12..]), [(1, b"3 events of net:inbound_message lost before: stopped".as_slice())]);
}

#[test]
fn without_gaps_nothing_is_written_at_the_end() {
    let mut file = File::new();
    let length = file.bytes.len();
    file.writer.finish(&mut file.bytes, Time(1)).unwrap();
    assert_eq!(file.bytes.len(), length);
}

#[test]
fn an_eviction_is_told_at_the_end_of_the_connection() {
    let mut file = File::new();
    file.tell(opened(1, PEER, INBOUND));
    assert!(!file.tell(evicted(1)));
    assert!(!file.tell(evicted(2)), "nobody");
    file.tell(message(1, PEER, false, "ping", &[1; 8]));
    file.tell(closed(1));
    let mut comments = vec![Vec::new(); 7];
    comments[4] = vec!["evicted to make room for another inbound connection".to_owned()];
    assert_eq!(file.comments(), comments);
}

#[test]
fn the_same_ends_are_another_conversation_by_their_sequence_numbers() {
    let mut file = File::new();
    for peer_id in 0..3 {
        file.tell(opened(peer_id, PEER, INBOUND));
        assert!(!file.tell(opened(peer_id, PEER, INBOUND)), "once");
        file.tell(closed(peer_id));
    }
    // What comes after the end is not added to what has ended.
    file.tell(message(2, PEER, true, "verack", b""));
    // The numbers of the next run are the same.
    file.writer.node_gone();
    file.tell(message(2, PEER, true, "verack", b""));
    let packets = file.packets();
    let begins: Vec<u32> =
        packets.iter().filter(|packet| packet.control == "SYN").map(|packet| packet.sequence).collect();
    assert_eq!(begins.len(), 5);
    assert!((0..5).all(|one| (0..one).all(|other| begins[one] != begins[other])));
}

#[test]
fn a_peer_that_speaks_before_its_connection_is_told_is_opened_once() {
    for addr in ["1.2.3.4:8333", "x.onion:8333", "seed.example.org", "x.b32.i2p:0"] {
        let mut file = File::new();
        file.tell(message(1, addr, false, "version", &[1; 100]));
        assert!(!file.tell(opened(1, addr, INBOUND)), "{addr}");
        assert!(file.tell(opened(1, "9.9.9.9:1", INBOUND)), "another run's peer of that number");
    }
}

#[test]
fn names_are_told_before_their_first_packet() {
    let mut file = File::new();
    let length = file.bytes.len();
    let (onion, i2p) = ("pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion", "x.b32.i2p");
    file.tell(opened(1, &format!("{onion}:8333"), OUTBOUND));
    // Two of one destination, which have no port.
    file.tell(opened(2, &format!("{i2p}:0"), INBOUND));
    file.tell(opened(3, &format!("{i2p}:0"), INBOUND));
    let written = blocks(&file.bytes[length..]);
    assert_eq!(written.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [4, 6, 6, 6, 4, 6, 6, 6, 4, 6, 6, 6]);
    let packets = file.packets();
    for (at, name, packet) in [(0, onion, &packets[1]), (4, i2p, &packets[3]), (8, i2p, &packets[6])] {
        let IpAddr::V6(address) = packet.from.ip() else { panic!("{packet:?}") };
        let record = [address.octets().as_slice(), name.as_bytes(), &[0]].concat();
        assert_eq!(options(written[at].1), [(2, record.as_slice())]);
    }
    assert_eq!((packets[3].from.port(), packets[6].from.port()), (49_154, 49_155));
    assert_eq!(packets[3].from.ip(), packets[6].from.ip());
}

#[test]
fn nobody_has_an_empty_name() {
    let mut file = File::new();
    for (peer_id, addr, expected) in [(1, ":8333", 0), (2, "\0:8333", 0), (3, "a\0b:8333", 1)] {
        let length = file.bytes.len();
        file.tell(opened(peer_id, addr, OUTBOUND));
        let names = blocks(&file.bytes[length..]).iter().filter(|(kind, _)| *kind == 4).count();
        assert_eq!(names, expected, "{addr:?}");
    }
}

#[test]
fn other_events_write_nothing() {
    let mut file = File::new();
    let length = file.bytes.len();
    let added = crate::event::mempool::Mempool::Added { txid: crate::json::Hash([1; 32]), vsize: 1, fee: 1 };
    assert!(!file.tell(Kind::Mempool { event: added }));
    assert_eq!(file.bytes.len(), length);
}

#[test]
fn any_commands_addresses_and_payloads_make_a_file() {
    let mut random = fastrand::Rng::with_seed(0x9e37_79b9_7f4a_7c15);
    let mut next = || random.u64(..);
    let pieces = ["", "[", "]", ":", "::", "%", "1.2.3.4", "3fff::1", "8333", "65536", "\0", "\u{202e}", ".onion", "é"];
    let mut file = File::new();
    for _ in 0..3_000 {
        let mut text =
            |most: u64| (0..next() % most).map(|_| pieces[next() as usize % pieces.len()]).collect::<String>();
        let (addr, command) = (text(8), text(6));
        let addr = if next() % 50 == 0 { "x".repeat(263) } else { addr };
        let payload = vec![next() as u8; (next() % 300) as usize];
        let (peer_id, way) = (next() as i64 % 20, next() % 2 == 0);
        match next() % 5 {
            0 => file.tell(opened(peer_id, &addr, if way { INBOUND } else { OUTBOUND })),
            1 => file.tell(closed(peer_id)),
            2 => file.tell(unseen(&command, next() % 200_000)),
            3 => file.tell(lost(Tracepoint::NetInboundMessage, LossReason::RingFull, next())),
            _ => file.tell(message(peer_id, &addr, way, &command, &payload)),
        };
    }
    let mut conversations: BTreeMap<(SocketAddr, SocketAddr), Vec<Read>> = BTreeMap::new();
    for packet in file.packets() {
        let ends = (packet.from.min(packet.to), packet.from.max(packet.to));
        let packets = conversations.entry(ends).or_default();
        if packet.control == "SYN" && !packets.is_empty() {
            assert_consistent(packets);
            packets.clear();
        }
        packets.push(packet);
    }
    assert!(conversations.len() > 20, "{}", conversations.len());
    conversations.values().for_each(|packets| assert_consistent(packets));
}
