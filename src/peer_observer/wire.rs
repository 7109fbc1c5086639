//! Writes the wire format of Protocol Buffers. In: numbers and values of fields, in the order of their numbers. Out: bytes at the end of
//! a buffer, the same that other encoders write.
//!
//! Not with prost: its messages own their byte strings and lists, so that each hash in an `inv` would be an allocation. This needs none.

use std::{fmt, io::Write};

/// How a field's value is stored; the lowest bits of the field's key.
mod kind {
    pub(super) const VARINT: u8 = 0;
    pub(super) const FIXED64: u8 = 1;
    pub(super) const LENGTH_DELIMITED: u8 = 2;
}

/// What is expected of a nested message that is short.
pub(super) const SHORT: usize = 0;

/// A message that is being written, at the end of a buffer.
pub(super) struct Message<'a>(pub(super) &'a mut Vec<u8>);

impl Message<'_> {
    /// `uint32`, `uint64`, `bool`, enumerations.
    #[inline]
    pub(super) fn uint(&mut self, field: u8, value: impl Into<u64>) {
        self.key(field, kind::VARINT);
        self.varint(value.into());
    }

    /// `int32`, `int64`. A negative number takes ten bytes, whatever its type.
    #[inline]
    pub(super) fn int(&mut self, field: u8, value: impl Into<i64>) {
        self.uint(field, value.into().cast_unsigned());
    }

    /// `sint32`, `sint64`. The sign is the lowest bit, so that small negative numbers are short.
    #[inline]
    pub(super) fn sint(&mut self, field: u8, value: impl Into<i64>) {
        let value = value.into();
        self.uint(field, (value << 1 ^ value >> 63).cast_unsigned());
    }

    #[inline]
    pub(super) fn fixed64(&mut self, field: u8, value: u64) {
        self.key(field, kind::FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// `bytes`, `string`.
    #[inline]
    pub(super) fn bytes(&mut self, field: u8, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.key(field, kind::LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A `string`, which is short.
    pub(super) fn text(&mut self, field: u8, text: impl fmt::Display) {
        self.nested(field, SHORT, |this| write!(this.0, "{text}").expect("a Vec takes all"));
    }

    /// A message within this one. Its length comes before it, but is known only after it. So this leaves room for the length of a message of
    /// `expected` bytes, and moves what was written if the room was too small or too large.
    #[inline]
    pub(super) fn nested<T>(&mut self, field: u8, expected: usize, write: impl FnOnce(&mut Message<'_>) -> T) -> T {
        self.key(field, kind::LENGTH_DELIMITED);
        let at = self.0.len();
        self.varint(expected as u64);
        let begin = self.0.len();
        let result = write(&mut Message(self.0));
        self.put_length(at, begin);
        result
    }

    /// A message that has only a hash, in its field `inner`. Most items of an `inv` are such, so all of it is appended at once. Both fields
    /// are below 16.
    #[inline]
    pub(super) fn nested_hash(&mut self, field: u8, inner: u8, hash: &[u8; 32]) {
        let key = |field: u8| {
            debug_assert!(field < 16, "the key of {field} takes two bytes");
            field << 3 | kind::LENGTH_DELIMITED
        };
        let mut bytes = [0; 4 + 32];
        bytes[..4].copy_from_slice(&[key(field), 2 + 32, key(inner), 32]);
        bytes[4..].copy_from_slice(hash);
        self.0.extend_from_slice(&bytes);
    }

    #[inline]
    fn put_length(&mut self, at: usize, begin: usize) {
        let length = self.0.len() - begin;
        match &mut self.0[at..begin] {
            [only] if length < 0x80 => *only = length as u8,
            [first, last] if (0x80..0x4000).contains(&length) => {
                (*first, *last) = (length as u8 | 0x80, (length >> 7) as u8);
            }
            _ => self.replace_length(at, begin, length as u64),
        }
    }

    /// Appends the length, moves it before what was written, and removes the room that does not fit.
    #[cold]
    fn replace_length(&mut self, at: usize, begin: usize, length: u64) {
        let end = self.0.len();
        self.varint(length);
        let width = self.0.len() - end;
        self.0[begin..].rotate_right(width);
        self.0.drain(at..begin);
    }

    #[inline]
    fn key(&mut self, field: u8, kind: u8) {
        self.varint(u64::from(field) << 3 | u64::from(kind));
    }

    /// Seven bits in each byte, the lowest first. All but the last byte have the highest bit.
    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use prost::encoding;

    use super::*;

    #[test]
    fn lengths_are_right_whatever_was_expected() {
        let edges = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
        for length in edges {
            let content = vec![7; length];
            let mut expected = b"before".to_vec();
            encoding::bytes::encode(40, &content, &mut expected);
            for guess in edges {
                let mut out = b"before".to_vec();
                Message(&mut out).nested(40, guess, |out| out.0.extend_from_slice(&content));
                assert!(out == expected, "{length} bytes, {guess} expected");
            }
        }
    }

    #[test]
    fn numbers_are_those_of_prost() {
        for bits in 0..64 {
            for value in [u64::MAX >> bits, 1 << bits, (1 << bits) - 1] {
                let (mut out, mut expected) = (Vec::new(), Vec::new());
                let mut message = Message(&mut out);
                message.uint(1, value);
                message.int(15, value.cast_signed());
                message.sint(16, value.cast_signed());
                message.fixed64(41, value);
                encoding::uint64::encode(1, &value, &mut expected);
                encoding::int64::encode(15, &value.cast_signed(), &mut expected);
                encoding::sint64::encode(16, &value.cast_signed(), &mut expected);
                encoding::fixed64::encode(41, &value, &mut expected);
                assert_eq!(out, expected, "{value}");
            }
        }
    }

    #[test]
    fn texts_of_any_length_have_it() {
        for length in [0, 127, 128, 300] {
            let text = "x".repeat(length);
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            Message(&mut out).text(2, &text);
            encoding::string::encode(2, &text, &mut expected);
            assert_eq!(out, expected);
        }
    }
}
