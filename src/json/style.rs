//! How a line is written. In: a [`Style`], while a line is written. Out: what [`struct@super::Hash`], [`super::Bytes`] and messages look
//! up, since serde passes no context down to them.

use std::cell::Cell;

use serde::{Serialize, Serializer};

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

/// How to write 64-bit integers within `event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum IntegersStyle {
    /// Numbers. Readers that take all numbers for floating point, such as browsers, change those above 2^53
    #[default]
    Number,
    /// Strings with their decimal digits
    String,
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
    /// How to write 64-bit integers.
    pub integers: IntegersStyle,
    /// Byte strings that are longer are cut to this many bytes. The line of an event then says that it did, in `cut`.
    pub max_bytes: Option<u64>,
    /// Whether to indent. Only byte strings then stay on one line.
    pub pretty: bool,
    /// Whether messages also have their payload as it was sent, as `raw` in hex.
    pub raw: bool,
}

impl Style {
    const DEFAULT: Style =
        Style { bytes: BytesStyle::Array, integers: IntegersStyle::Number, max_bytes: None, pretty: false, raw: false };
}

thread_local! {
    static STYLE: Cell<Style> = const { Cell::new(Style::DEFAULT) };
    static CUT: Cell<Cut> = const { Cell::new(Cut { strings: 0, bytes: 0 }) };
}

/// The style of the line that is being written, if one is.
#[inline]
pub(super) fn style() -> Style {
    STYLE.get()
}

/// Whether payloads are wanted as they were sent, too.
pub(crate) fn writes_raw() -> bool {
    STYLE.get().raw
}

/// Sets the style while it lives, also through errors and panics.
pub(super) struct StyleScope {
    outer: Style,
}

impl StyleScope {
    pub(super) fn enter(style: Style) -> StyleScope {
        StyleScope { outer: STYLE.replace(style) }
    }

    /// The same for a line, of which nothing is cut yet.
    pub(super) fn of_line(style: Style) -> StyleScope {
        CUT.set(Cut::default());
        Self::enter(style)
    }
}

impl Drop for StyleScope {
    fn drop(&mut self) {
        STYLE.set(self.outer);
    }
}

/// What the byte strings of a line lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Cut {
    /// How many byte strings are cut. Each of these has as many bytes as `--max-bytes` says.
    #[serde(with = "AsNumber")]
    strings: u64,
    /// How many bytes they lack together.
    #[serde(with = "AsNumber")]
    bytes: u64,
}

/// As much of a byte string as the style wants. The line's [`Cut`] counts the rest.
pub(crate) fn wanted(bytes: &[u8]) -> &[u8] {
    let most = STYLE.get().max_bytes.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let Some((wanted, rest)) = bytes.split_at_checked(most).filter(|(_, rest)| !rest.is_empty()) else { return bytes };
    let Cut { strings, bytes } = CUT.get();
    CUT.set(Cut { strings: strings + 1, bytes: bytes + rest.len() as u64 });
    wanted
}

/// What was cut of the line so far, if anything was.
pub(crate) fn cut() -> Option<Cut> {
    STYLE.get().max_bytes.map(|_| CUT.get()).filter(|cut| cut.strings > 0)
}

/// For `#[serde(with)]`: a 64-bit integer that is a number in either style.
pub(crate) struct AsNumber;

impl AsNumber {
    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let _scope = StyleScope::enter(Style { integers: IntegersStyle::Number, ..STYLE.get() });
        serializer.serialize_u64(*number)
    }
}
