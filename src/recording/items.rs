//! What is in a block. In: the contents of a block. Out: its opening, or its entries one after another, as they are stored.

use super::{
    stored::{Delivered, Opening, Stored, StoredRun},
    version2,
};

/// The next thing in a block.
pub(super) enum Item<'a> {
    /// The first block of a group has this and nothing else.
    Opening(Box<Opening<'a>>, Delivered),
    /// Version 2 has runs as entries.
    Run(StoredRun<'a>),
    Entry(Stored<'a>),
}

/// The first item in these bytes, and the bytes after it. `is_open` says whether the group's opening has come; a group of version 2 has
/// none. `None` if the bytes make no sense.
pub(super) fn take(version: u32, is_open: bool, bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    if version == version2::VERSION {
        let (entry, rest) = version2::take(bytes)?;
        let item = match entry {
            version2::Entry::Run(run) => Item::Run(run),
            version2::Entry::Other(stored) => Item::Entry(stored),
        };
        return Some((item, rest));
    }
    if !is_open {
        let (opening, more) = postcard::take_from_bytes(bytes).ok()?;
        // If more comes after that, a later bitcointap has added it.
        let delivered = postcard::take_from_bytes(more).map_or_else(|_| Delivered::default(), |(it, _)| it);
        return Some((Item::Opening(Box::new(opening), delivered), &[]));
    }
    let (stored, rest) = postcard::take_from_bytes(bytes).ok()?;
    Some((Item::Entry(stored), rest))
}
