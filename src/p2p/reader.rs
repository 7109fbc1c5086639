//! Reads a payload from its start to its end.
//!
//! In: the bytes of a payload. Out: values and slices borrowed from it, or an [`Error`]. Lengths on the wire are claims
//! of a remote peer: it allocates for no more items than the payload has room for.
//!
//! Not with rust-bitcoin's decoders: what Bitcoin Core accepts must not depend on a patch release of a crate. 0.32.9
//! refused counts that the next release accepted again.

use std::borrow::Cow;

use bitcoin::bip152::ShortId;
use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::p2p::message_network::RejectReason;
use bitcoin::{BlockHash, CompactTarget, TxMerkleNode, Txid, block};

/// Why a payload is not the message that its command names.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the payload ends before the message does")]
    Truncated,
    #[error("{network} address of {length} bytes, not {expected}")]
    AddressLength { network: &'static str, length: usize, expected: usize },
    #[error("address of {0} bytes, more than the 512 that BIP 155 allows")]
    AddressTooLong(usize),
    #[error("index {0} of a prefilled transaction does not fit 16 bits")]
    PrefilledIndex(u64),
    #[error("index of a transaction does not fit 64 bits")]
    IndexOverflow,
    #[error("transaction with a witness flag and no witness")]
    SuperfluousWitness,
    #[error("unsupported segwit version: {0}")]
    UnknownFlag(u8),
    #[error("non-minimal varint")]
    NonMinimalCompactSize,
    #[error("parse failed: unknown reject code")]
    UnknownRejectCode,
    #[error("{what} of {length} bytes, not {least} to {most} (BIP 434)")]
    FeatureLength { what: &'static str, length: usize, least: usize, most: usize },
    #[error("{0} bytes after a message that must end before them")]
    MoreThanTheMessage(usize),
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// What is left of a payload.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    has_only_ids: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Reader<'a> {
        Reader { rest: payload, has_only_ids: false }
    }

    /// Reads a payload with the hashes of transactions in place of transactions.
    pub(super) fn of_ids(payload: &'a [u8]) -> Reader<'a> {
        Reader { rest: payload, has_only_ids: true }
    }

    pub(super) fn has_only_ids(&self) -> bool {
        self.has_only_ids
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A value that has one form on the wire.
    #[inline]
    pub(super) fn decode<T: Wire>(&mut self) -> Result<T> {
        T::read(self)
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number in its shortest form. Other forms are invalid, for Bitcoin Core, too.
    #[inline]
    pub(super) fn compact_size(&mut self) -> Result<u64> {
        let (size, least) = match self.decode::<u8>()? {
            0xff => (self.decode::<u64>()?, 1 << 32),
            0xfe => (self.decode::<u32>()?.into(), 1 << 16),
            0xfd => (self.decode::<u16>()?.into(), 0xfd),
            size => return Ok(size.into()),
        };
        if size < least { Err(Error::NonMinimalCompactSize) } else { Ok(size) }
    }

    /// A compact size that counts things which take at least `shortest` bytes each.
    #[inline]
    pub(super) fn count(&mut self, shortest: usize) -> Result<usize> {
        let count = self.compact_size()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / shortest => Ok(count),
            _ => Err(Error::Truncated),
        }
    }

    /// Bytes after their number.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.count(1)?;
        self.take(count)
    }

    /// A string after its length. What is not UTF-8 becomes U+FFFD.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.bytes().map(String::from_utf8_lossy)
    }

    /// Items after their number; each takes at least `shortest` bytes.
    pub(super) fn list<T>(
        &mut self,
        shortest: usize,
        mut item: impl FnMut(&mut Reader<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.count(shortest)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

/// What has one form on the wire.
pub(super) trait Wire: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self>;
}

macro_rules! numbers {
    ($($number:ty)*) => { $(impl Wire for $number {
        #[inline]
        fn read(reader: &mut Reader<'_>) -> Result<Self> {
            reader.array().map(<$number>::from_le_bytes)
        }
    })* };
}

numbers! { u8 u16 u32 u64 i32 i64 }

macro_rules! hashes {
    ($($hash:ty)*) => { $(impl Wire for $hash {
        #[inline]
        fn read(reader: &mut Reader<'_>) -> Result<Self> {
            reader.array().map(<$hash>::from_byte_array)
        }
    })* };
}

hashes! { BlockHash FilterHash FilterHeader TxMerkleNode Txid sha256d::Hash }

impl Wire for bool {
    /// As Bitcoin Core reads one: everything but 0 is true.
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(reader.decode::<u8>()? != 0)
    }
}

impl Wire for ShortId {
    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        reader.array::<6>().map(ShortId::from)
    }
}

impl Wire for block::Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(block::Header {
            version: block::Version::from_consensus(reader.decode()?),
            prev_blockhash: reader.decode()?,
            merkle_root: reader.decode()?,
            time: reader.decode()?,
            bits: CompactTarget::from_consensus(reader.decode()?),
            nonce: reader.decode()?,
        })
    }
}

impl Wire for RejectReason {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match reader.decode::<u8>()? {
            0x01 => RejectReason::Malformed,
            0x10 => RejectReason::Invalid,
            0x11 => RejectReason::Obsolete,
            0x12 => RejectReason::Duplicate,
            0x40 => RejectReason::NonStandard,
            0x41 => RejectReason::Dust,
            0x42 => RejectReason::Fee,
            0x43 => RejectReason::Checkpoint,
            _ => return Err(Error::UnknownRejectCode),
        })
    }
}
