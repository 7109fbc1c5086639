//! Writes values as JSON, one to a line.
//!
//! In: anything that is [`Serialize`], with byte strings as [`Bytes`] and hashes as [`struct@Hash`], and a [`Style`].
//! Out: a line on a writer. Byte strings go into it as they are read, in small chunks: a block of 4 MB becomes
//! 14 MB of text, which exist in one piece only if the writer gathers them.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};

use data_encoding::HEXLOWER;
use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// How to write byte strings and hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum BytesStyle {
    /// Arrays of integers from 0 to 255, hashes in internal byte order
    #[default]
    Array,
    /// Hex strings, hashes in the order in which explorers show them
    Hex,
}

/// How to write the payloads of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum PayloadStyle {
    /// Not at all: `tap` and `record` do not even copy them from the node
    None,
    /// Decoded
    #[default]
    Decoded,
    /// Decoded, and also in hex as `raw`
    Raw,
}

/// How to write a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// How to write byte strings and hashes.
    pub bytes: BytesStyle,
    /// Whether to indent. Only byte strings then stay on one line.
    pub pretty: bool,
    /// Whether messages also have their payload as it was sent, as `raw` in hex.
    pub raw: bool,
}

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
    let _scope = StyleScope::enter(style);
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// A byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match STYLE.get().bytes {
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

/// In hex, as Bitcoin Core shows it.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.reversed()).fmt(f)
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // In the style, by `FlatBytes`.
        serializer.serialize_bytes(self.0)
    }
}

/// A byte string that is hex in either style.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let _scope = StyleScope::enter(Style { bytes: BytesStyle::Hex, ..STYLE.get() });
        serializer.serialize_bytes(self.0)
    }
}

/// Whether the current style wants payloads as they were sent, too.
pub(crate) fn writes_raw() -> bool {
    STYLE.get().raw
}

thread_local! {
    /// What [`struct@Hash`], [`Bytes`] and messages look up, since serde passes no context down to them. Only
    /// [`write_line`] sets it.
    static STYLE: Cell<Style> = const { Cell::new(Style { bytes: BytesStyle::Array, pretty: false, raw: false }) };
}

/// Sets the style while it lives, also through errors and panics.
struct StyleScope {
    outer: Style,
}

impl StyleScope {
    fn enter(style: Style) -> StyleScope {
        StyleScope { outer: STYLE.replace(style) }
    }
}

impl Drop for StyleScope {
    fn drop(&mut self) {
        STYLE.set(self.outer);
    }
}

/// Writes byte strings in their style, fast and on one line, and leaves everything else to the inner formatter.
struct FlatBytes<F>(F);

impl<F: Formatter> Formatter for FlatBytes<F> {
    fn write_byte_array<W: Write + ?Sized>(&mut self, out: &mut W, bytes: &[u8]) -> io::Result<()> {
        match STYLE.get().bytes {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sample<'a> {
        hash: Hash,
        bytes: Bytes<'a>,
        list: Vec<Bytes<'a>>,
    }

    const HASH: Hash = Hash([
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
        30, 255,
    ]);

    fn sample() -> Sample<'static> {
        Sample { hash: HASH, bytes: Bytes(&[9, 10, 99, 100, 255]), list: vec![Bytes(&[]), Bytes(&[7])] }
    }

    fn line<T: Serialize>(value: &T, bytes: BytesStyle, pretty: bool) -> String {
        let mut line = Vec::new();
        write_line(&mut line, value, Style { bytes, pretty, ..Style::default() }).expect("a Vec takes all");
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    #[test]
    fn arrays_of_integers_are_what_serde_json_itself_writes() {
        for length in [0, 1, 2, 255, 256, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 256) as u8).collect();
            let expected = serde_json::to_string(&bytes).unwrap() + "\n";
            assert_eq!(line(&Bytes(&bytes), BytesStyle::Array, false), expected, "{length} bytes");
        }
        let every_byte: Vec<u8> = (0..=255).collect();
        assert_eq!(
            line(&Bytes(&every_byte), BytesStyle::Array, false),
            serde_json::to_string(&every_byte).unwrap() + "\n"
        );
    }

    #[test]
    fn hex_shows_bytes_in_order_and_hashes_as_explorers_do() {
        assert_eq!(
            line(&sample(), BytesStyle::Hex, false),
            concat!(
                r#"{"hash":"ff1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100","#,
                r#""bytes":"090a6364ff","list":["","07"]}"#,
                "\n"
            )
        );
        let long: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
        assert_eq!(line(&Bytes(&long), BytesStyle::Hex, false), format!("\"{}\"\n", HEXLOWER.encode(&long)));
    }

    #[test]
    fn pretty_lines_keep_each_byte_string_on_one_line() {
        assert_eq!(
            line(&sample(), BytesStyle::Array, true),
            "{\n  \"hash\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,255],\n  \
             \"bytes\": [9,10,99,100,255],\n  \"list\": [\n    [],\n    [7]\n  ]\n}\n"
        );
        assert_eq!(
            line(&(Bytes(&[1]), Vec::<u8>::new(), "a"), BytesStyle::Hex, true),
            "[\n  \"01\",\n  [],\n  \"a\"\n]\n"
        );
    }

    #[test]
    fn other_serializers_get_arrays_and_the_style_ends_with_its_line() {
        struct Panics;
        impl Serialize for Panics {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                assert_eq!(STYLE.get().bytes, BytesStyle::Hex);
                panic!("on purpose");
            }
        }

        line(&sample(), BytesStyle::Hex, false);
        assert_eq!(serde_json::to_string(&Bytes(&[1, 2])).unwrap(), "[1,2]");

        let hex = Style { bytes: BytesStyle::Hex, ..Style::default() };
        write_line(&mut Refuses(io::ErrorKind::BrokenPipe), &sample(), hex).unwrap_err();
        assert_eq!(STYLE.get().bytes, BytesStyle::Array);

        std::panic::catch_unwind(|| write_line(&mut io::sink(), &Panics, hex)).unwrap_err();
        assert_eq!(STYLE.get().bytes, BytesStyle::Array);
    }

    struct Refuses(io::ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_writers_errors_keep_their_kind() {
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            for bytes in [BytesStyle::Array, BytesStyle::Hex] {
                for pretty in [false, true] {
                    let error =
                        write_line(&mut Refuses(kind), &HASH, Style { bytes, pretty, ..Style::default() }).unwrap_err();
                    assert_eq!(error.kind(), kind);
                }
            }
        }
    }
}
