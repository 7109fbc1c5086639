//! A file that is written. In: pieces of bytes. Out: the file has all of a piece, or nothing of it.

use std::{
    fs::File,
    io::{self, Write},
    time::Duration,
};

use super::name::Name;
use crate::{capture, event::Moment};

/// A file whose name says that it is not complete.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    name: Name,
    begun: Moment,
    length: u64,
    /// Whether bytes of a piece that was not written whole may follow.
    is_torn: bool,
}

impl Part {
    /// The file must be new, and be appended to.
    pub(super) fn new(file: File, name: Name, begun: Moment) -> Self {
        Self { file, name, begun, length: 0, is_torn: false }
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The time since its beginning, whatever the wall clock shows.
    pub(crate) fn age(&self) -> Duration {
        capture::now().1.since(self.begun)
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// The file has nothing of the piece, which can be written again.
    pub(crate) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.cut(self.length)?;
        self.is_torn = true;
        match self.file.write_all(piece) {
            Ok(()) => {
                self.length += piece.len() as u64;
                self.is_torn = false;
                Ok(())
            }
            Err(error) => {
                // If this fails, the next piece begins with it.
                let _ = self.cut(self.length);
                Err(error)
            }
        }
    }

    /// Cuts off all but the first bytes.
    pub(crate) fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.is_torn || length < self.length {
            self.is_torn = true;
            self.length = length.min(self.length);
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        Ok(())
    }
}
