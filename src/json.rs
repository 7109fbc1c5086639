//! Writes values as JSON, one to a line.
//!
//! In: anything that is [`Serialize`], with byte strings as [`Bytes`] and hashes as [`struct@Hash`], and a [`Style`].
//! Out: a line on a writer. Byte strings go into it as they are read, in small chunks: a block of 4 MB becomes
//! 14 MB of text, which exist in one piece only if the writer gathers them.

mod style;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

#[cfg(test)]
pub(crate) use self::style::Cut;
pub(crate) use self::style::{AsNumber, cut, wanted, writes_raw};
pub use self::style::{BytesStyle, IntegersStyle, PayloadStyle, Style};
use self::style::{StyleScope, style};

/// Writes `value` and a newline.
///
/// `out` should have a buffer: it gets many short pieces. Its errors are returned as they are, so that callers can tell a
/// broken pipe from a full disk.
///
/// ```
/// use bitcointap::json::{Bytes, BytesStyle, Style, write_line};
///
/// let mut line = Vec::new();
/// let style = Style { bytes: BytesStyle::Hex, ..Style::default() };
/// write_line(&mut line, &Bytes(&[1, 255]), style)?;
/// assert_eq!(line, b"\"01ff\"\n");
/// # std::io::Result::Ok(())
/// ```
pub fn write_line<W, T>(out: &mut W, value: &T, style: Style) -> io::Result<()>
where
    W: Write + ?Sized,
    T: Serialize + ?Sized,
{
    let _scope = StyleScope::of_line(style);
    if style.pretty {
        write_value(out, value, PrettyFormatter::new())?;
    } else {
        write_value(out, value, CompactFormatter)?;
    }
    out.write_all(b"\n")
}

fn write_value<W, T, F>(out: &mut W, value: &T, formatter: F) -> io::Result<()>
where
    W: Write + ?Sized,
    T: Serialize + ?Sized,
    F: Formatter,
{
    let mut serializer = serde_json::Serializer::with_formatter(out, FlatBytes(formatter));
    Ok(value.serialize(&mut serializer)?)
}

/// A hash or an identifier made from one, in internal byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// A byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match style().bytes {
            BytesStyle::Array => serializer.serialize_bytes(&self.0),
            BytesStyle::Hex => serializer.serialize_bytes(&self.reversed()),
        }
    }
}

impl Hash {
    fn reversed(&self) -> [u8; 32] {
        let mut reversed = self.0;
        reversed.reverse();
        reversed
    }
}

/// From hex, as Bitcoin Core and explorers show it.
impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut hash = [0; 32];
        match HEXLOWER_PERMISSIVE.decode_len(text.len()) {
            Ok(32) if HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut hash).is_ok() => {
                hash.reverse();
                Ok(Self(hash))
            }
            _ => Err(format!(
                "'{text}' is no hash of a transaction or block, such as {GENESIS}: 64 hexadecimal digits, as explorers show it"
            )),
        }
    }
}

/// The first block of the main network.
const GENESIS: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

/// In hex, as Bitcoin Core shows it.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.reversed()).fmt(f)
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // In the style, by `FlatBytes`.
        serializer.serialize_bytes(wanted(self.0))
    }
}

/// A byte string that is never cut, since it names something.
pub(crate) struct Id<'a>(pub &'a [u8]);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A byte string that is hex in either style.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let _scope = StyleScope::enter(Style { bytes: BytesStyle::Hex, ..style() });
        serializer.serialize_bytes(wanted(self.0))
    }
}

/// Writes byte strings and 64-bit integers in their style, byte strings fast and on one line, and leaves everything else to the inner
/// formatter.
struct FlatBytes<F>(F);

impl<F: Formatter> Formatter for FlatBytes<F> {
    fn write_u64<W: Write + ?Sized>(&mut self, out: &mut W, value: u64) -> io::Result<()> {
        match style().integers {
            IntegersStyle::Number => self.0.write_u64(out, value),
            IntegersStyle::String => write!(out, "\"{value}\""),
        }
    }

    fn write_i64<W: Write + ?Sized>(&mut self, out: &mut W, value: i64) -> io::Result<()> {
        match style().integers {
            IntegersStyle::Number => self.0.write_i64(out, value),
            IntegersStyle::String => write!(out, "\"{value}\""),
        }
    }

    fn write_byte_array<W: Write + ?Sized>(&mut self, out: &mut W, bytes: &[u8]) -> io::Result<()> {
        match style().bytes {
            // Most are hashes. Clearing much memory for each takes longer than writing it.
            BytesStyle::Array if bytes.len() <= 32 => write_integers::<SHORT_CHUNK, W>(out, bytes),
            BytesStyle::Array => write_integers::<CHUNK, W>(out, bytes),
            BytesStyle::Hex if bytes.len() <= 32 => write_hex::<SHORT_CHUNK, W>(out, bytes),
            BytesStyle::Hex => write_hex::<CHUNK, W>(out, bytes),
        }
    }

    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

fn write_integers<const CHUNK: usize, W: Write + ?Sized>(out: &mut W, bytes: &[u8]) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    chunk[0] = b'[';
    let mut end = 1;
    for &byte in bytes {
        if end + LONGEST_ITEM > CHUNK {
            out.write_all(&chunk[..end])?;
            end = 0;
        }
        let item = &ITEMS[usize::from(byte)];
        chunk[end..end + LONGEST_ITEM].copy_from_slice(&item.text);
        end += item.length;
    }
    if bytes.is_empty() {
        chunk[end] = b']';
        end += 1;
    } else {
        // Replaces the comma after the last item.
        chunk[end - 1] = b']';
    }
    out.write_all(&chunk[..end])
}

fn write_hex<const CHUNK: usize, W: Write + ?Sized>(out: &mut W, bytes: &[u8]) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    out.write_all(b"\"")?;
    for part in bytes.chunks(CHUNK / 2) {
        let text = &mut chunk[..2 * part.len()];
        HEXLOWER.encode_mut(part, text);
        out.write_all(text)?;
    }
    out.write_all(b"\"")
}

/// Bytes of text to gather on the stack before they go to the writer.
const CHUNK: usize = 1024;

/// The same for at most 32 bytes.
const SHORT_CHUNK: usize = 1 + 32 * LONGEST_ITEM;

/// `255,`
const LONGEST_ITEM: usize = 4;

/// A byte's decimal text with a comma after it.
#[derive(Clone, Copy)]
struct Item {
    /// The text, then zeros: copying a fixed width is faster than copying an exact one.
    text: [u8; LONGEST_ITEM],
    length: usize,
}

static ITEMS: [Item; 256] = items();

const fn items() -> [Item; 256] {
    let mut items = [Item { text: [0; LONGEST_ITEM], length: 0 }; 256];
    let mut byte = 0;
    while byte < items.len() {
        let digits = [byte / 100, byte / 10 % 10, byte % 10];
        let mut digit = match byte {
            0..10 => 2,
            10..100 => 1,
            _ => 0,
        };
        let item = &mut items[byte];
        while digit < digits.len() {
            item.text[item.length] = b'0' + digits[digit] as u8;
            item.length += 1;
            digit += 1;
        }
        item.text[item.length] = b',';
        item.length += 1;
        byte += 1;
    }
    items
}
