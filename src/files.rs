//! Files that users name. In: a path, whatever it is. Out: the file, opened for reading, or its bytes. Neither waits.

#[cfg(any(feature = "http", feature = "nats"))]
use std::io::Read;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

#[cfg(any(feature = "http", feature = "nats"))]
use crate::privileges::BY_OWNER_AND_MODE;

/// Opening a pipe would wait until somebody writes to it. So it is opened as if it had nothing to read.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// The bytes of a small file: a configuration, certificates, a secret.
#[cfg(any(feature = "http", feature = "nats"))]
pub(crate) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    /// Far more than a configuration or a chain of certificates has.
    const MAX_BYTES: u64 = 1 << 20;
    let file = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), format!("{error}{BY_OWNER_AND_MODE}")),
        _ => error,
    })?;
    let data = file.metadata()?;
    if data.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    // A pipe is empty when it is read again. That would be as good as no password.
    if !data.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(data.len().min(MAX_BYTES) as usize + 1);
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}
