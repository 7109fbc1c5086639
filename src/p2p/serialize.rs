//! How rust-bitcoin's types become JSON, for `#[serde(serialize_with)]`.

use bitcoin::bip152::ShortId;
use bitcoin::block;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_network::RejectReason;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::json::{Bytes, Hash};

/// The value of a message that carries none: `true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct True;

impl Serialize for True {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

pub(super) fn hash<H, S>(hash: &H, serializer: S) -> Result<S::Ok, S::Error>
where
    H: bitcoin::hashes::Hash<Bytes = [u8; 32]>,
    S: Serializer,
{
    Hash(hash.to_byte_array()).serialize(serializer)
}

pub(super) fn hashes<H, S>(hashes: &[H], serializer: S) -> Result<S::Ok, S::Error>
where
    H: bitcoin::hashes::Hash<Bytes = [u8; 32]>,
    S: Serializer,
{
    serializer.collect_seq(hashes.iter().map(|hash| Hash(hash.to_byte_array())))
}

pub(super) fn header<S: Serializer>(header: &block::Header, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Header", 7)?;
    fields.serialize_field("version", &header.version.to_consensus())?;
    fields.serialize_field("prev_blockhash", &Hash(header.prev_blockhash.to_byte_array()))?;
    fields.serialize_field("merkle_root", &Hash(header.merkle_root.to_byte_array()))?;
    fields.serialize_field("time", &header.time)?;
    fields.serialize_field("bits", &header.bits.to_consensus())?;
    fields.serialize_field("nonce", &header.nonce)?;
    fields.serialize_field("hash", &Hash(header.block_hash().to_byte_array()))?;
    fields.end()
}

pub(super) fn headers<S: Serializer>(headers: &[block::Header], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Header<'a>(#[serde(serialize_with = "header")] &'a block::Header);

    serializer.collect_seq(headers.iter().map(Header))
}

pub(super) fn short_ids<S: Serializer>(ids: &[ShortId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(|id| Bytes(id.as_bytes())))
}

/// Bits in the order of BIP 37: the lowest of each byte first.
pub(super) fn bits<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)))
}

pub(super) fn reject_reason<S: Serializer>(reason: &RejectReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(reject_place(*reason))
}

/// A reason's place in BIP 61's list, not its code.
pub(crate) fn reject_place(reason: RejectReason) -> u8 {
    match reason {
        RejectReason::Malformed => 0,
        RejectReason::Invalid => 1,
        RejectReason::Obsolete => 2,
        RejectReason::Duplicate => 3,
        RejectReason::NonStandard => 4,
        RejectReason::Dust => 5,
        RejectReason::Fee => 6,
        RejectReason::Checkpoint => 7,
    }
}
