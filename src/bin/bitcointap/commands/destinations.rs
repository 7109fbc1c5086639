//! What commands that write have in common: files that are made, outputs that are waited for, what was not written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use bitcointap::{
    capture::Batch,
    selection::Selection,
    spool::{Outcome, Spool},
};
use rustix::{fs::OFlags, io::Errno};

use crate::{result::Result, stop::Stop};

/// How long a full queue of the output is left alone before looking again.
const QUEUE_INTERVAL: Duration = Duration::from_millis(2);

/// Tells which commands may be misspelled.
pub fn warn_of_commands(selection: &Selection) {
    selection.doubts().for_each(|doubt| tracing::warn!("{doubt}"));
}

pub fn wait_for_room(output: &mut Spool, batch: &Batch, stop: &Stop, also_while_it_fails: bool) {
    let may_come = |output: &Spool| !output.has_ended() && (also_while_it_fails || !output.is_interrupted());
    while !output.has_room(batch.bytes()) && may_come(output) && !stop.over(output) {
        std::thread::sleep(QUEUE_INTERVAL);
    }
}

pub fn log_lost(outcome: &Outcome, what: &str) {
    if outcome.lost > 0 {
        let Outcome { written, lost, .. } = outcome;
        tracing::warn!(written, lost, "some events were not written as {what}");
    }
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
            io::ErrorKind::NotFound => format!("cannot create {name}: {error}; its directory must be there").into(),
            _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                format!("cannot write {name}: nobody reads this pipe yet: start its reader first").into()
            }
            _ => format!("cannot create {name}: {error}").into(),
        }
    })
}
