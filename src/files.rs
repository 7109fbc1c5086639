//! Files that others name. In: a path, of whatever it is. Out: the file, opened for reading without waiting.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// A pipe would hold up the opening until somebody writes to it; so it is opened as one that has nothing to read.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}
