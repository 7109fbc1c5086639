//! Why a recording cannot be read on. In: nothing. Out: a line of text that says what is missing.

use std::io;

use super::VERSION;

/// Why a recording cannot be read on. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("{0}")]
    NotARecording(&'static str),
    /// Another version of bitcointap wrote it, in another way.
    #[error("it has version {0} of the format, and this bitcointap reads versions 2 and {VERSION} only: use the {age} one that wrote it", age = age(.0))]
    Version(u32),
    /// It ends without an end, as after a crash or while it is still written.
    #[error("it breaks off after {at} bytes, as after a crash or while it is still written: {given}", given = given(.goes_on))]
    Truncated {
        /// Bytes that are whole.
        at: u64,
        /// Where the next group begins that is given.
        goes_on: Option<u64>,
    },
    /// Its bytes are not what was written.
    #[error("it is damaged in the block at byte {at}, {what}: {given}", given = given(.goes_on))]
    Damaged {
        /// Where the block begins.
        at: u64,
        /// What shows that.
        what: &'static str,
        /// Where the next group begins that is given.
        goes_on: Option<u64>,
    },
}

/// Of the bitcointap that writes this version of the format, to this one.
fn age(version: &u32) -> &'static str {
    if *version > VERSION { "newer" } else { "older" }
}

fn given(goes_on: &Option<u64>) -> String {
    match goes_on {
        None => "all before that was given".into(),
        Some(at) => format!("all before that was given, and what comes from byte {at} on"),
    }
}
