//! For all commands that write: creating a file, and warnings about the selection. In: a path, or a selection. Out: an open file, or
//! log lines.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use bitcointap::selection::Selection;
use rustix::{fs::OFlags, io::Errno};

use crate::result::Result;

/// Logs which commands of messages may be misspelled.
pub fn warn_of_commands(selection: &Selection) {
    selection.doubts().for_each(|doubt| tracing::warn!("{doubt}"));
}

/// Creates a file that must not exist yet, or opens a pipe or a device without blocking. `-` is standard output.
pub fn new_file(path: &Path) -> Result<File> {
    if path == Path::new("-") {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    let is_file = path.metadata().map_or(true, |it| it.is_file());
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().write(true).create_new(is_file).custom_flags(nonblocking).open(path);
    file.map_err(|error| {
        let name = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{name} exists already: remove it, or name another file").into(),
            io::ErrorKind::IsADirectory => format!("{name} is a directory: name a file in it").into(),
            io::ErrorKind::NotFound => format!("cannot create {name}: {error}; its directory must exist").into(),
            _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                format!("cannot write {name}: nobody reads this pipe yet: start its reader first").into()
            }
            _ => format!("cannot create {name}: {error}").into(),
        }
    })
}
