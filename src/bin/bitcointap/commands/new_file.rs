//! What commands that write have in common: files that are made, and what they warn of.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use bitcointap::selection::Selection;
use rustix::{fs::OFlags, io::Errno};

use crate::result::Result;

/// Tells which commands may be misspelled.
pub fn warn_of_commands(selection: &Selection) {
    selection.doubts().for_each(|doubt| tracing::warn!("{doubt}"));
}

/// A file that is not there yet, or a pipe or device, which does not block; `-` is standard output.
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
            io::ErrorKind::AlreadyExists => format!("{name} is there already: remove it, or name another").into(),
            io::ErrorKind::IsADirectory => format!("{name} is a directory: name a file in it").into(),
            io::ErrorKind::NotFound => format!("cannot create {name}: {error}; its directory must exist").into(),
            _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                format!("cannot write {name}: nobody reads this pipe yet: start its reader first").into()
            }
            _ => format!("cannot create {name}: {error}").into(),
        }
    })
}
