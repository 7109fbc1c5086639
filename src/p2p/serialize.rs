//! How rust-bitcoin's types become JSON, for `#[serde(with)]`. The schema of the JSON has these, too.

use bitcoin::bip152::ShortId;
use bitcoin::block;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_network::RejectReason;
use serde::{Serialize, Serializer};

use crate::json::{Hash, Id, wanted};

/// The value of a message that carries none: `true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct True;

impl Serialize for True {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

pub(crate) struct AsHash;

impl AsHash {
    pub(super) fn serialize<H, S>(hash: &H, serializer: S) -> Result<S::Ok, S::Error>
    where
        H: bitcoin::hashes::Hash<Bytes = [u8; 32]>,
        S: Serializer,
    {
        Hash(hash.to_byte_array()).serialize(serializer)
    }
}

pub(crate) struct AsHashes;

impl AsHashes {
    pub(super) fn serialize<H, S>(hashes: &[H], serializer: S) -> Result<S::Ok, S::Error>
    where
        H: bitcoin::hashes::Hash<Bytes = [u8; 32]>,
        S: Serializer,
    {
        serializer.collect_seq(hashes.iter().map(|hash| Hash(hash.to_byte_array())))
    }
}

/// A block's header, as it is written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Header {
    /// The block's version.
    version: i32,
    /// The block before it.
    prev_blockhash: Hash,
    /// The root of the merkle tree of its transactions.
    merkle_root: Hash,
    /// The miner's clock, UNIX time in seconds.
    time: u32,
    /// The target of its proof of work, in compact form.
    bits: u32,
    /// What the miner has changed until the hash met the target.
    nonce: u32,
    /// The block's hash, which is not in the message.
    hash: Hash,
}

impl From<&block::Header> for Header {
    fn from(header: &block::Header) -> Self {
        Self {
            version: header.version.to_consensus(),
            prev_blockhash: Hash(header.prev_blockhash.to_byte_array()),
            merkle_root: Hash(header.merkle_root.to_byte_array()),
            time: header.time,
            bits: header.bits.to_consensus(),
            nonce: header.nonce,
            hash: Hash(header.block_hash().to_byte_array()),
        }
    }
}

pub(crate) struct AsHeader;

impl AsHeader {
    pub(super) fn serialize<S: Serializer>(header: &block::Header, serializer: S) -> Result<S::Ok, S::Error> {
        Header::from(header).serialize(serializer)
    }
}

pub(crate) struct AsHeaders;

impl AsHeaders {
    pub(super) fn serialize<S: Serializer>(headers: &[block::Header], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(headers.iter().map(Header::from))
    }
}

pub(crate) struct AsShortIds;

impl AsShortIds {
    pub(super) fn serialize<S: Serializer>(ids: &[ShortId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(|id| Id(id.as_bytes())))
    }
}

/// Bits in the order of BIP 37: the lowest of each byte first. They are cut as the byte string that they are.
pub(crate) struct AsBits;

impl AsBits {
    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(wanted(bytes).iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)))
    }
}

pub(crate) struct AsRejectReason;

impl AsRejectReason {
    pub(super) fn serialize<S: Serializer>(reason: &RejectReason, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(reject_place(*reason))
    }
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
