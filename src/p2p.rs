//! Messages of the peer-to-peer protocol.
//!
//! In: a command and its payload, as the tracepoints give them. Out: a [`Message`], which borrows its long parts from the
//! payload, and which serde turns into the `msg` of a JSON event.
//!
//! It decodes what a release of Bitcoin Core accepts, into rust-bitcoin's types, but not with rust-bitcoin's decoders. Tests
//! compare both, and list the differences. A peer chooses these bytes: no bytes make [`decode`] panic, or allocate more than
//! a small multiple of their own size.

mod address;
mod command_set;
pub(crate) mod inventory;
mod message;
pub(crate) mod places;
mod reader;
pub(crate) mod serialize;
pub(crate) mod transaction;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;

use bitcoin::bip152::ShortId;
use bitcoin::block;
use bitcoin::hashes::{Hash as _, sha256d};

pub(crate) use self::address::ONIONCAT;
pub use self::address::{Address, NetAddress};
pub(crate) use self::address::{i2p_name, torv2_name, torv3_name};
pub use self::command_set::{COMMANDS, command_index};
#[cfg(any(feature = "metrics", feature = "nats"))]
pub(crate) use self::command_set::{counted_index, counted_names};
pub use self::inventory::Items;
pub use self::message::Message;
use self::reader::{Error, Reader, Result};
pub use self::serialize::True;
#[cfg(any(feature = "metrics", feature = "nats"))]
pub(crate) use self::serialize::reject_place;
pub use self::transaction::{PrefilledTx, Tx};
use crate::json::Bytes;

/// Decodes the payload of a message. Bytes after the message are ignored, as Bitcoin Core ignores them.
///
/// Total: an unknown command gives [`Message::Unknown`], a payload that is not what its command says gives
/// [`Message::Undecodable`].
///
/// ```
/// use bitcointap::p2p::{Message, decode};
///
/// assert!(matches!(decode("ping", &[7, 0, 0, 0, 0, 0, 0, 0]), Message::Ping { value: 7 }));
/// assert!(matches!(decode("ping", &[7]), Message::Undecodable { .. }));
/// ```
pub fn decode<'a>(command: &'a str, payload: &'a [u8]) -> Message<'a> {
    read_message(command, &mut Reader::new(payload)).unwrap_or_else(|error| Message::Undecodable {
        command,
        payload: Bytes(payload),
        error: error.to_string(),
    })
}

/// Decodes the beginning of a payload, if that alone means something.
pub(crate) fn decode_beginning<'a>(command: &'a str, beginning: &[u8]) -> Option<Message<'a>> {
    read_beginning(command, &mut Reader::new(beginning))
}

fn read_beginning<'a>(command: &'a str, reader: &mut Reader<'_>) -> Option<Message<'a>> {
    match command {
        "block" | "merkleblock" => Some(Message::HeaderOnly { command, header: reader.decode().ok()? }),
        "blocktxn" => Some(Message::BlockHashOnly { command, block_hash: reader.decode().ok()? }),
        _ => None,
    }
}

/// Decodes what [`places::with_ids_only`] made of a payload.
pub(crate) fn decode_ids<'a>(command: &'a str, payload: &'a [u8]) -> Option<Message<'a>> {
    let reader = &mut Reader::of_ids(payload);
    read_message(command, reader).ok().filter(|_| reader.is_empty())
}

fn read_message<'a>(command: &'a str, reader: &mut Reader<'a>) -> Result<Message<'a>> {
    Ok(match command {
        "version" => version(reader)?,
        "verack" => Message::Verack(True),
        "sendheaders" => Message::Sendheaders(True),
        "getaddr" => Message::Getaddr(True),
        "mempool" => Message::Mempool(True),
        "wtxidrelay" => Message::Wtxidrelay(True),
        "sendaddrv2" => Message::Sendaddrv2(True),
        "filterclear" => Message::Filterclear(True),
        "addr" => Message::Addr { addresses: reader.list(address::ADDR_ENTRY, NetAddress::read_with_time)? },
        "addrv2" if reader.is_empty() => Message::Emptyaddrv2(True),
        "addrv2" => Message::Addrv2 { addresses: reader.list(address::SHORTEST_ADDRV2_ENTRY, NetAddress::read_v2)? },
        "inv" => Message::Inv { items: Items::read(reader)? },
        "getdata" => Message::Getdata { items: Items::read(reader)? },
        "notfound" => Message::Notfound { items: Items::read(reader)? },
        "getblocks" => Message::Getblocks {
            version: reader.decode()?,
            locator_hashes: hashes(reader)?,
            stop_hash: reader.decode()?,
        },
        "getheaders" => Message::Getheaders {
            version: reader.decode()?,
            locator_hashes: hashes(reader)?,
            stop_hash: reader.decode()?,
        },
        "headers" => Message::Headers { headers: reader.list(block::Header::SIZE + 1, header)? },
        "tx" => Message::Tx { tx: Tx::read(reader)? },
        "block" => Message::Block { header: reader.decode()?, transactions: reader.list(Tx::SHORTEST, Tx::read)? },
        "ping" if reader.is_empty() => Message::Oldping(True),
        "ping" => Message::Ping { value: reader.decode()? },
        "pong" => Message::Pong { value: reader.decode()? },
        "feefilter" => Message::Feefilter { fee: reader.decode()? },
        "alert" => Message::Alert { alert: Bytes(reader.bytes()?) },
        "sendcmpct" => sendcmpct(reader)?,
        "feature" => feature(reader)?,
        "sendtxrcncl" => Message::Sendtxrcncl { version: reader.decode()?, salt: reader.decode()? },
        "cmpctblock" => Message::Compactblock {
            header: reader.decode()?,
            nonce: reader.decode()?,
            short_ids: reader.list(6, Reader::decode::<ShortId>)?,
            transactions: reader.list(PrefilledTx::SHORTEST, PrefilledTx::read)?,
        },
        "getblocktxn" => Message::Getblocktxn { block_hash: reader.decode()?, tx_indexes: tx_indexes(reader)? },
        "blocktxn" => {
            Message::Blocktxn { block_hash: reader.decode()?, transactions: reader.list(Tx::SHORTEST, Tx::read)? }
        }
        "reject" => reject(reader)?,
        "filteradd" => Message::Filteradd { filter: Bytes(reader.bytes()?) },
        "filterload" => Message::Filterload {
            filter: Bytes(reader.bytes()?),
            hash_funcs: reader.decode()?,
            tweak: reader.decode()?,
            flags: reader.decode()?,
        },
        "merkleblock" => Message::Merkleblock {
            header: reader.decode()?,
            num_transactions: reader.decode()?,
            hashes: hashes(reader)?,
            bits: reader.bytes()?,
        },
        "getcfilters" => Message::Getcfilter {
            filter_type: reader.decode()?,
            start_height: reader.decode()?,
            stop_hash: reader.decode()?,
        },
        "getcfheaders" => Message::Getcfheaders {
            filter_type: reader.decode()?,
            start_height: reader.decode()?,
            stop_hash: reader.decode()?,
        },
        "getcfcheckpt" => Message::Getcfcheckpt { filter_type: reader.decode()?, stop_hash: reader.decode()? },
        "cfilter" => Message::Cfilter {
            filter_type: reader.decode()?,
            block_hash: reader.decode()?,
            filter: Bytes(reader.bytes()?),
        },
        "cfheaders" => Message::Cfheaders {
            filter_type: reader.decode()?,
            stop_hash: reader.decode()?,
            previous_filter_header: reader.decode()?,
            filter_hashes: hashes(reader)?,
        },
        "cfcheckpt" => Message::Cfcheckpt {
            filter_type: reader.decode()?,
            stop_hash: reader.decode()?,
            filter_headers: hashes(reader)?,
        },
        command => Message::Unknown { command, payload: Bytes(reader.rest()) },
    })
}

/// Accepts, like Bitcoin Core, a message that ends after any of its older parts, and gives the rest Core's defaults.
/// The relay flag came last (BIP 37).
fn version<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>> {
    let version = reader.decode()?;
    let services = reader.decode()?;
    let timestamp = reader.decode()?;
    let receiver = NetAddress::read(reader)?;
    let (sender, nonce) = match reader.is_empty() {
        true => (NetAddress::UNSPECIFIED, 1),
        false => (NetAddress::read(reader)?, reader.decode()?),
    };
    let user_agent = if reader.is_empty() { Cow::default() } else { reader.string()? };
    let start_height = if reader.is_empty() { -1 } else { reader.decode()? };
    let relay = reader.is_empty() || reader.decode()?;
    Ok(Message::Version { version, services, timestamp, receiver, sender, nonce, user_agent, start_height, relay })
}

fn hashes<H: bitcoin::hashes::Hash<Bytes = [u8; 32]>>(reader: &mut Reader<'_>) -> Result<Vec<H>> {
    reader.list(32, |reader| reader.array().map(H::from_byte_array))
}

/// A header in `headers`. A number of transactions follows it, which should be 0 and which Bitcoin Core ignores.
fn header(reader: &mut Reader<'_>) -> Result<block::Header> {
    let header = reader.decode()?;
    reader.compact_size()?;
    Ok(header)
}

/// Indexes of transactions in their block. On the wire each is the distance from the previous one (BIP 152).
fn tx_indexes(reader: &mut Reader<'_>) -> Result<Vec<u64>> {
    let mut next = Some(0u64);
    reader.list(1, |reader| {
        let distance = reader.compact_size()?;
        let index = next.and_then(|next| next.checked_add(distance)).ok_or(Error::IndexOverflow)?;
        next = index.checked_add(1);
        Ok(index)
    })
}

/// BIP 152 wants a 1 or a 0. Each release of Bitcoin Core up to v31 takes everything but 0 for 1; its master has called
/// that an offence since June 2026. The message keeps what was sent.
fn sendcmpct<'a>(reader: &mut Reader<'_>) -> Result<Message<'a>> {
    let byte: u8 = reader.decode()?;
    Ok(Message::Sendcompact {
        send_compact: byte != 0,
        send_compact_byte: (byte > 1).then_some(byte),
        version: reader.decode()?,
    })
}

/// BIP 434, with the lengths that Bitcoin Core's master of June 2026 accepts. It is the only message that nothing may
/// follow.
fn feature<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>> {
    let within = |what, bytes: &'a [u8], least: usize, most: usize| match bytes.len() {
        length if (least..=most).contains(&length) => Ok(bytes),
        length => Err(Error::FeatureLength { what, length, least, most }),
    };
    let feature = within("name of a feature", reader.bytes()?, 4, 80)?;
    let data = within("data of a feature", reader.bytes()?, 0, 512)?;
    if !reader.is_empty() {
        return Err(Error::MoreThanTheMessage(reader.rest().len()));
    }
    Ok(Message::Feature { feature: String::from_utf8_lossy(feature), data: Bytes(data) })
}

/// BIP 61. Only a rejected `tx` or `block` has a hash.
fn reject<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>> {
    let rejected_command = reader.string()?;
    let reason = reader.decode()?;
    let reason_details = reader.string()?;
    let hash = reader.decode().unwrap_or(sha256d::Hash::all_zeros());
    Ok(Message::Reject { rejected_command, reason, reason_details, hash })
}
