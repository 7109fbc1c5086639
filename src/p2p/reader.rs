//! Reads a payload from its start to its end.
//!
//! In: the bytes of a payload. Out: values and slices borrowed from it, or an [`Error`]. Lengths on the wire are claims of
//! a remote peer: nothing is allocated for more items than the payload has room for.

use std::borrow::Cow;

use bitcoin::consensus::Decodable;
use bitcoin::consensus::encode::{self, VarInt};
use bitcoin::io;

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
    #[error(transparent)]
    Consensus(encode::Error),
}

impl From<encode::Error> for Error {
    fn from(error: encode::Error) -> Error {
        match error {
            // Reading from a slice fails only at its end.
            encode::Error::Io(_) => Error::Truncated,
            error => Error::Consensus(error),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// What is left of a payload.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Reader<'a> {
        Reader { rest: payload }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A value in rust-bitcoin's encoding.
    #[inline]
    pub(super) fn decode<T: Decodable>(&mut self) -> Result<T> {
        Ok(T::consensus_decode_from_finite_reader(self)?)
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

    #[inline]
    pub(super) fn compact_size(&mut self) -> Result<u64> {
        Ok(self.decode::<VarInt>()?.0)
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

    /// Items after their number, none of which takes less than `shortest` bytes.
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

/// For rust-bitcoin, which reads a value in pieces of fixed sizes. From a plain slice each piece is read in a loop of copies of
/// any size, which takes several times as long.
impl io::Read for Reader<'_> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }

    #[inline]
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let (taken, rest) = self.rest.split_at_checked(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(taken);
        self.rest = rest;
        Ok(())
    }
}
