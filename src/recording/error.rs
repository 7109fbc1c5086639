//! Why a recording cannot be read. Out: a line of text, which says what is missing.

use std::io;

use super::VERSION;

/// Why a recording cannot be read. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the file failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as recordings do.
    #[error("{0}")]
    NotARecording(&'static str),
    /// Another bitcointap wrote it in a version of the format that this one does not read.
    #[error("it has version {0} of the format, and this bitcointap reads versions 2 and {VERSION} only: use the {age} one that wrote it", age = age(.0))]
    Version(u32),
    /// It lacks its end, as after a crash or while it is still being written.
    #[error("it breaks off after {at} bytes, as after a crash, or because it is still being written: {given}", given = given(.goes_on))]
    Truncated {
        /// How many bytes are whole.
        at: u64,
        /// Where reading goes on, at the next group.
        goes_on: Option<u64>,
    },
    /// Its bytes have changed since they were written.
    #[error("it is damaged in the block at byte {at}, {what}: {given}", given = given(.goes_on))]
    Damaged {
        /// Where the damaged block begins.
        at: u64,
        /// How the damage shows.
        what: &'static str,
        /// Where reading goes on, at the next group.
        goes_on: Option<u64>,
    },
}

/// Whether the bitcointap that writes this version of the format is newer or older than this one.
fn age(version: &u32) -> &'static str {
    if *version > VERSION { "newer" } else { "older" }
}

fn given(goes_on: &Option<u64>) -> String {
    match goes_on {
        None => "everything before that was read".into(),
        Some(at) => format!("everything before that was read, and everything from byte {at} on"),
    }
}
