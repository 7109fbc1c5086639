//! Recordings as files of an archive: how they are recognised, and how one is completed that a crash has left. In: a file. Out: the same, up
//! to its last whole block, with an end.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use super::{BLOCK_HEADER, END_OF_GROUP, MAGIC, MAX_BLOCK};
use crate::archive::Kind;

/// Recordings.
pub(super) const RECORDING: Kind = Kind { a_file: "a recording", ending: ".recording", is_one, mend };

const HEADER: usize = MAGIC.len() + size_of::<u32>();
/// The most bytes at the end that can belong to what was written last.
const TORN: u64 = 2 * MAX_BLOCK as u64;

fn is_one(file: &mut dyn Read) -> bool {
    let mut beginning = [0; MAGIC.len()];
    file.read_exact(&mut beginning).is_ok() && beginning == *MAGIC
}

fn mend(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut group = 0;
    loop {
        let mut header = [0; HEADER];
        let header = &mut header[..HEADER.min(usize::try_from(length - group).unwrap_or(HEADER))];
        file.read_exact_at(header, group)?;
        if header.is_empty() || !header.starts_with(&MAGIC[..MAGIC.len().min(header.len())]) {
            // It is whole, or damaged.
            return Ok(());
        }
        if header.len() < HEADER {
            // What comes before has its end.
            return if group > 0 { file.set_len(group) } else { Ok(()) };
        }
        match blocks(file, group + HEADER as u64, length)? {
            Blocks::End(next) => group = next,
            // A damaged length leads beyond the end, too. Then more than one block follows, and is not cut off.
            Blocks::Torn(whole) if length - whole <= TORN => {
                file.set_len(whole)?;
                return file.write_all_at(&END_OF_GROUP, whole);
            }
            Blocks::Torn(_) => return Ok(()),
        }
    }
}

/// Where the blocks of a group end.
enum Blocks {
    /// With the end of the group.
    End(u64),
    /// Before a block that is not whole.
    Torn(u64),
}

/// Follows the blocks from a place on.
fn blocks(file: &File, mut at: u64, length: u64) -> io::Result<Blocks> {
    while length - at >= BLOCK_HEADER as u64 {
        let mut header = [0; BLOCK_HEADER];
        file.read_exact_at(&mut header, at)?;
        let frame = header.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let next = at + BLOCK_HEADER as u64 + u64::from(frame);
        if next > length {
            break;
        }
        if header == END_OF_GROUP {
            return Ok(Blocks::End(next));
        }
        at = next;
    }
    Ok(Blocks::Torn(at))
}
