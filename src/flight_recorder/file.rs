//! Writes a dump to a new file. In: a dump, a directory. Out: a file that is there only once it is complete, or a line that says what is
//! wrong.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::Dump;

/// A file of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its path.
    pub path: PathBuf,
    /// From its first event to its end.
    pub span: Duration,
    /// How many events it has.
    pub events: u64,
}

/// Writes the dump as `20261129T055148Z.recording`, or with `-1` and so on before the dot if there is such a file.
pub(super) fn write(mut dump: Dump, directory: &Path) -> Result<Saved, String> {
    let (first, last) = dump.span();
    let (name, events) = (dump.file_name(), dump.events());
    // Only one thread writes at a time, so this can only be what a crash has left.
    let unfinished = directory.join(format!(".{name}.unfinished"));
    let cannot = |error: &io::Error| format!("cannot write a flight recording into {}: {error}", directory.display());
    let _ = fs::remove_file(&unfinished);
    let written = OpenOptions::new().write(true).create_new(true).open(&unfinished).and_then(|mut file| {
        io::copy(&mut dump, &mut file)?;
        file.sync_all()
    });
    let path = written.and_then(|()| rename(&unfinished, directory, &name)).map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        cannot(&error)
    })?;
    Ok(Saved { path, span: Duration::from_nanos(last.0.saturating_sub(first.0)), events })
}

/// Gives the file its name, or the next one that is free.
fn rename(from: &Path, directory: &Path, name: &str) -> io::Result<PathBuf> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    for number in 0_u32.. {
        let path = match number {
            0 => directory.join(name),
            _ => directory.join(format!("{stem}-{number}.{extension}")),
        };
        match renameat_with(CWD, from, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(path),
            Err(Errno::EXIST) => {}
            // Some file systems cannot refuse to replace a file. Nobody else uses these names.
            Err(Errno::INVAL) if !path.exists() => return fs::rename(from, &path).map(|()| path),
            Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
