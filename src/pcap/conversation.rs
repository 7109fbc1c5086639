//! A synthesised TCP conversation between a peer and the node. In: what one sends to the other. Out: packets as they
//! would have travelled, with right sequence numbers and checksums.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
};

use bitcoin::hashes::{Hash as _, sha256d};
use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, TcpOptionElement};

use super::{
    blocks::{self, Packet, Way},
    endpoint::Endpoint,
};
use crate::event::Time;

/// The most data in a packet: as much as fits one of IPv4, which has a length of 16 bits.
pub(super) const SEGMENT: usize = 65_535 - 20 - 20;
/// With a scale of 14 bits the window is 1 GiB. Nobody fills it who gets an acknowledgement after `UNANSWERED` bytes.
const WINDOW: u16 = 65_535;
const WINDOW_SCALE: u8 = 14;
/// After this many bytes the other side acknowledges them.
const UNANSWERED: u32 = 1 << 20;
const HOPS: u8 = 64;

/// Of the main network: tracepoints do not provide the network, and Wireshark knows few.
const MAGIC: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];
/// Magic, command, length and checksum before a payload, in the old transport.
const HEADER: usize = 4 + COMMAND + 4 + 4;
const COMMAND: usize = 12;
/// MAX_SIZE in Bitcoin Core, which no message exceeds.
const LARGEST_MESSAGE: u64 = 0x0200_0000;

/// Where the packets of one event go.
pub(super) struct Sink<'a, W: Write + ?Sized> {
    pub(super) out: &'a mut W,
    pub(super) time: Time,
    /// For the next packet.
    pub(super) comments: Vec<String>,
    /// Room to put a message's first segment together.
    pub(super) segment: &'a mut Vec<u8>,
}

/// The state of a conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    node: Side,
    peer: Side,
    peer_opens: bool,
    /// The node has chosen it to make room for another.
    pub(super) is_evicted: bool,
    /// When it was last used, as a count of uses.
    pub(super) used: u64,
}

#[derive(Debug)]
struct Side {
    address: SocketAddr,
    /// The sequence number of its next byte.
    next: u32,
    /// Bytes that it has sent since the other side last sent anything.
    unanswered: u32,
}

/// The purpose of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Open,
    OpenAnswer,
    Data { is_last: bool },
    Answer,
    Close,
}

impl Conversation {
    /// A conversation without messages. Where its sequence numbers begin tells it from others between the same ends.
    pub(super) fn new(node: SocketAddr, peer: SocketAddr, peer_opens: bool, number: u32) -> Self {
        // Odd factors: no two of 2³² numbers begin with the same ones.
        let side = |address, factor| Side { address, next: number.wrapping_mul(factor), unanswered: 0 };
        let (node, peer) = (side(node, 0x9e37_79b1), side(peer, 0x85eb_ca6b));
        Self { node, peer, peer_opens, is_evicted: false, used: 0 }
    }

    pub(super) fn node(&self) -> SocketAddr {
        self.node.address
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer.address
    }

    /// Whether its peer is at this endpoint.
    pub(super) fn is_with(&self, endpoint: Endpoint<'_>) -> bool {
        let (told, own) = (endpoint.address, self.peer.address);
        told.ip() == own.ip() && (told.port() == own.port() || told.port() == 0)
    }

    pub(super) fn open<W: Write + ?Sized>(&mut self, sink: &mut Sink<'_, W>) -> io::Result<()> {
        let way = if self.peer_opens { Way::In } else { Way::Out };
        self.send(sink, way, Segment::Open, &[], 0)?;
        self.send(sink, way.back(), Segment::OpenAnswer, &[], 0)?;
        self.send(sink, way, Segment::Answer, &[], 0)
    }

    /// Which side closes is not known; here it is the node.
    pub(super) fn close<W: Write + ?Sized>(&mut self, sink: &mut Sink<'_, W>) -> io::Result<()> {
        self.send(sink, Way::Out, Segment::Close, &[], 0)?;
        self.send(sink, Way::In, Segment::Close, &[], 0)?;
        self.send(sink, Way::Out, Segment::Answer, &[], 0)
    }

    /// A message in the old transport, whichever the node uses.
    pub(super) fn say<W: Write + ?Sized>(
        &mut self,
        sink: &mut Sink<'_, W>,
        way: Way,
        command: &str,
        payload: &[u8],
    ) -> io::Result<()> {
        let (first, rest) = payload.split_at(payload.len().min(SEGMENT - HEADER));
        let mut segment = std::mem::take(sink.segment);
        segment.clear();
        segment.extend_from_slice(&header(command, payload.len() as u32, sha256d::Hash::hash(payload)));
        segment.extend_from_slice(first);
        let result = self.send_data(sink, way, &segment, 0, rest.is_empty());
        *sink.segment = segment;
        result?;
        let mut rest = rest.chunks(SEGMENT).peekable();
        while let Some(data) = rest.next() {
            self.send_data(sink, way, data, 0, rest.peek().is_none())?;
        }
        Ok(())
    }

    /// A message of known size, but unknown content: its packets look as if the capture had cut them short.
    pub(super) fn say_unseen<W: Write + ?Sized>(
        &mut self,
        sink: &mut Sink<'_, W>,
        way: Way,
        command: &str,
        size: u64,
    ) -> io::Result<()> {
        let size = size.min(LARGEST_MESSAGE) as usize;
        let header = header(command, size as u32, sha256d::Hash::all_zeros());
        let (mut data, mut left) = (header.as_slice(), HEADER + size);
        while left > 0 {
            let length = left.min(SEGMENT);
            left -= length;
            self.send_data(sink, way, data, length - data.len(), left == 0)?;
            data = &[];
        }
        Ok(())
    }

    fn send_data<W: Write + ?Sized>(
        &mut self,
        sink: &mut Sink<'_, W>,
        way: Way,
        data: &[u8],
        missing: usize,
        is_last: bool,
    ) -> io::Result<()> {
        self.send(sink, way, Segment::Data { is_last }, data, missing)?;
        if self.sides(way).0.unanswered >= UNANSWERED {
            self.send(sink, way.back(), Segment::Answer, &[], 0)?;
        }
        Ok(())
    }

    /// Writes a packet with `data`, and marks `missing` further bytes as not captured.
    fn send<W: Write + ?Sized>(
        &mut self,
        sink: &mut Sink<'_, W>,
        way: Way,
        segment: Segment,
        data: &[u8],
        missing: usize,
    ) -> io::Result<()> {
        let (from, to) = self.sides(way);
        let mut tcp = TcpHeader::new(from.address.port(), to.address.port(), from.next, WINDOW);
        tcp.ack = true;
        match segment {
            Segment::Open => (tcp.syn, tcp.ack) = (true, false),
            Segment::OpenAnswer => tcp.syn = true,
            Segment::Data { is_last } => tcp.psh = is_last,
            Segment::Answer => {}
            Segment::Close => tcp.fin = true,
        }
        if tcp.syn {
            let options = [
                TcpOptionElement::MaximumSegmentSize(SEGMENT as u16),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(WINDOW_SCALE),
            ];
            tcp.set_options(&options).map_err(io::Error::other)?;
        }
        if tcp.ack {
            tcp.acknowledgment_number = to.next;
            to.unanswered = 0;
        }
        let length = (data.len() + missing) as u32;
        from.next = from.next.wrapping_add(length + u32::from(tcp.syn || tcp.fin));
        from.unanswered = from.unanswered.saturating_add(length);
        let headers = Headers::new(from.address.ip(), to.address.ip(), tcp, data, missing)?;
        let comments = std::mem::take(&mut sink.comments);
        let packet = Packet {
            time: sink.time,
            way,
            headers: headers.bytes(),
            data,
            missing: missing as u32,
            comments: &comments,
        };
        blocks::write_packet(sink.out, &packet)
    }

    /// The sender and the receiver in this direction.
    fn sides(&mut self, way: Way) -> (&mut Side, &mut Side) {
        match way {
            Way::In => (&mut self.peer, &mut self.node),
            Way::Out => (&mut self.node, &mut self.peer),
        }
    }
}

impl Way {
    fn back(self) -> Self {
        match self {
            Way::In => Way::Out,
            Way::Out => Way::In,
        }
    }
}

/// Headers of IP and TCP.
struct Headers {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Headers {
    /// Only `Segment::Open` has options.
    const LONGEST: usize = 40 + 20 + 8;

    /// Both ends are of one family. The checksum of missing data is not known, and is 0.
    fn new(from: IpAddr, to: IpAddr, mut tcp: TcpHeader, data: &[u8], missing: usize) -> io::Result<Self> {
        let length = tcp.header_len() + data.len() + missing;
        let mut headers = Self { bytes: [0; Self::LONGEST], length: 0 };
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = u16::try_from(length).map_err(io::Error::other)?;
                let mut ip = Ipv4Header::new(length, HOPS, IpNumber::TCP, from.octets(), to.octets())
                    .map_err(io::Error::other)?;
                ip.header_checksum = ip.calc_header_checksum();
                if missing == 0 {
                    tcp.checksum = tcp.calc_checksum_ipv4(&ip, data).map_err(io::Error::other)?;
                }
                headers.push(&ip.to_bytes())?;
            }
            (from, to) => {
                let mut ip = Ipv6Header {
                    next_header: IpNumber::TCP,
                    hop_limit: HOPS,
                    source: ipv6(from),
                    destination: ipv6(to),
                    ..Default::default()
                };
                ip.set_payload_length(length).map_err(io::Error::other)?;
                if missing == 0 {
                    tcp.checksum = tcp.calc_checksum_ipv6(&ip, data).map_err(io::Error::other)?;
                }
                headers.push(&ip.to_bytes())?;
            }
        }
        headers.push(&tcp.to_bytes())?;
        Ok(headers)
    }

    fn push(&mut self, mut header: &[u8]) -> io::Result<()> {
        let length = header.len();
        io::copy(&mut header, &mut self.bytes[self.length..].as_mut())?;
        self.length += length;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The header before a payload.
fn header(command: &str, length: u32, hash: sha256d::Hash) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&MAGIC);
    let command = &command.as_bytes()[..command.len().min(COMMAND)];
    bytes[4..4 + command.len()].copy_from_slice(command);
    bytes[16..20].copy_from_slice(&length.to_le_bytes());
    bytes[20..].copy_from_slice(&hash.to_byte_array()[..4]);
    bytes
}
