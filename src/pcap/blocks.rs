//! The blocks of a pcapng file, as in draft-ietf-opsawg-pcapng. In: their contents. Out: their bytes, little-endian, to
//! a stream. Only the needed ones.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use crate::event::Time;

/// LINKTYPE_RAW: packets begin with their IPv4 or IPv6 header.
const LINK_TYPE_RAW: u16 = 101;
/// Timestamps count 10⁻⁹ seconds.
const NANOSECONDS: u8 = 9;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// An option's code, or a record's, and its value.
type Tagged<'a> = (u16, &'a [u8]);

const COMMENT: u16 = 1;

/// The direction of a packet, from the node's side: `epb_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In = 1,
    Out = 2,
}

/// A packet: its bytes in two parts, and facts about it.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) time: Time,
    pub(super) way: Way,
    pub(super) headers: &'a [u8],
    pub(super) data: &'a [u8],
    /// How many more bytes of data it had.
    pub(super) missing: u32,
    pub(super) comments: &'a [String],
}

/// The beginning of a file: who wrote it, and the one interface of all packets.
pub(super) fn write_header(out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let fixed = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let application = concat!("bitcointap ", env!("CARGO_PKG_VERSION"));
    let options: [Tagged<'_>; 3] =
        [(2, std::env::consts::ARCH.as_bytes()), (3, std::env::consts::OS.as_bytes()), (4, application.as_bytes())];
    write_block(out, SECTION_HEADER, &[&fixed], &options)?;
    let [low, high] = LINK_TYPE_RAW.to_le_bytes();
    // Two bytes reserved, and no limit to a packet's length.
    let fixed = [low, high, 0, 0, 0, 0, 0, 0];
    let description = "P2P messages from Bitcoin Core's tracepoints, in synthesised packets";
    let options: [Tagged<'_>; 3] = [(2, b"bitcoind"), (3, description.as_bytes()), (9, &[NANOSECONDS])];
    write_block(out, INTERFACE_DESCRIPTION, &[&fixed], &options)
}

/// The name of an address. It ends at a zero byte.
pub(super) fn write_name(out: &mut (impl Write + ?Sized), address: IpAddr, name: &str) -> io::Result<()> {
    let name = name.split('\0').next().unwrap_or_default();
    if name.is_empty() {
        return Ok(());
    }
    let (kind, mut record) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    record.extend_from_slice(name.as_bytes());
    record.push(0);
    // Its records are written like options, and end like them; it has no options of its own.
    write_block(out, NAME_RESOLUTION, &[], &[(kind, &record)])
}

pub(super) fn write_packet(out: &mut (impl Write + ?Sized), packet: &Packet<'_>) -> io::Result<()> {
    let captured = (packet.headers.len() + packet.data.len()) as u32;
    let numbers = [0, high(packet.time), low(packet.time), captured, captured + packet.missing];
    let fixed: [u8; 20] = to_bytes(numbers);
    let padding = &[0; 3][..padding(captured as usize)];
    let flags = (packet.way as u32).to_le_bytes();
    let parts = [&fixed, packet.headers, packet.data, padding];
    if packet.comments.is_empty() {
        return write_block(out, ENHANCED_PACKET, &parts, &[(2, &flags)]);
    }
    let comments = packet.comments.iter().map(|comment| (COMMENT, comment.as_bytes()));
    let options: Vec<_> = [(2, flags.as_slice())].into_iter().chain(comments).collect();
    write_block(out, ENHANCED_PACKET, &parts, &options)
}

/// The statistics at the end.
pub(super) fn write_statistics(out: &mut (impl Write + ?Sized), time: Time, comments: &[String]) -> io::Result<()> {
    let fixed: [u8; 12] = to_bytes([0, high(time), low(time)]);
    let options: Vec<_> = comments.iter().map(|comment| (COMMENT, comment.as_bytes())).collect();
    write_block(out, INTERFACE_STATISTICS, &[&fixed], &options)
}

/// A block with parts that are together a multiple of four bytes long, and with some options.
fn write_block(out: &mut (impl Write + ?Sized), kind: u32, parts: &[&[u8]], options: &[Tagged<'_>]) -> io::Result<()> {
    let fixed: usize = parts.iter().map(|part| part.len()).sum();
    let length =
        12 + fixed + options.iter().map(|(_, value)| 4 + value.len() + padding(value.len())).sum::<usize>() + 4;
    let length = (length as u32).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    for part in parts {
        out.write_all(part)?;
    }
    for &(code, value) in options {
        let [a, b] = code.to_le_bytes();
        let [c, d] = (value.len() as u16).to_le_bytes();
        out.write_all(&[a, b, c, d])?;
        out.write_all(value)?;
        out.write_all(&[0; 3][..padding(value.len())])?;
    }
    out.write_all(&[0; 4])?;
    out.write_all(&length)
}

/// To the next multiple of four.
fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

fn high(time: Time) -> u32 {
    (time.0 >> 32) as u32
}

fn low(time: Time) -> u32 {
    time.0 as u32
}

fn to_bytes<const N: usize, const BYTES: usize>(numbers: [u32; N]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (to, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}
