//! Files of the web configuration. In: a path. Out: its bytes, without waiting, however odd the file is.

use std::{
    io::{self, Read},
    path::Path,
};

use crate::files;

/// Far more than a configuration or a chain of certificates has.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = files::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            io::Error::new(error.kind(), format!("{error}; its user must have access without capabilities, even root"))
        }
        _ => error,
    })?;
    let data = file.metadata()?;
    if data.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    // A pipe is empty when read again: as good as no password.
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
