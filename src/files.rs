//! Files that users name. In: a path, whatever it is. Out: the file, opened for reading without waiting.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// Opening a pipe would wait until somebody writes to it. So it is opened as if it had nothing to read.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}
