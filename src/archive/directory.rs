//! The directory of an archive: its lock, and the files in it by their names. In: names. Out: open files, and names that have changed.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{
        Access, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, accessat, flock, fstat, fsync,
        mkdir, openat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};

use super::{Kind, name::Name};
use crate::privileges::BY_OWNER_AND_MODE;

/// The directories that outputs of this process have locked, by device and inode. Such a lock is given up soon, when the output begins
/// again with other options.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// A directory, perhaps locked.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    id: (u64, u64),
    is_held: bool,
}

impl Directory {
    /// Opens it. Makes it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        match mkdir(path, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Err("cannot make the directory: the one that it is in must exist".into()),
            Err(error) => return Err(format!("cannot make the directory: {}", words(error))),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).map_err(words)?;
        let stat = fstat(&fd).map_err(words)?;
        Ok(Self { fd, id: (stat.st_dev, stat.st_ino), is_held: false })
    }

    /// Finds what opening would fail at, without making it.
    pub(super) fn check(path: &Path) -> Result<(), String> {
        match statat(CWD, path, AtFlags::empty()) {
            Ok(there) if FileType::from_raw_mode(there.st_mode).is_dir() => Ok(()),
            Ok(_) => Err(words(Errno::NOTDIR)),
            Err(Errno::NOENT) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                match statat(CWD, parent, AtFlags::empty()) {
                    Err(Errno::NOENT) => Err("the directory that it is in must exist".into()),
                    _ => Ok(()),
                }
            }
            // Another user may look there.
            Err(_) => Ok(()),
        }
    }

    /// Whether this user may list, add and remove files.
    pub(super) fn check_rights(&self) -> Result<(), String> {
        accessat(&self.fd, ".", Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(words)
    }

    /// Locks it. False if another output of this process has locked it.
    pub(super) fn lock(&mut self) -> Result<bool, String> {
        let mut held = held();
        match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.is_held = held.insert(self.id);
                Ok(true)
            }
            Err(Errno::WOULDBLOCK) if held.contains(&self.id) => Ok(false),
            Err(Errno::WOULDBLOCK) => {
                Err("another bitcointap writes into this directory: end that one, or name another directory".into())
            }
            Err(error) => Err(format!("cannot lock the directory: {error}; choose one on a local disk")),
        }
    }

    /// The names of all files in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            // None of ours has other characters.
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        Ok(names)
    }

    /// The names of files with this ending that are not complete, the oldest first.
    pub(super) fn parts(&self, ending: &str) -> io::Result<Vec<Name>> {
        let mut parts: Vec<_> = self.names()?.iter().filter_map(|file| Name::of_part(file, ending)).collect();
        parts.sort_unstable();
        Ok(parts)
    }

    /// Creates a file that is not complete yet. `None` if there is a file with this name.
    pub(super) fn create(&self, name: Name, ending: &str) -> io::Result<Option<File>> {
        if self.is_taken(&name.file(ending))? {
            return Ok(None);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        match openat(&self.fd, name.part(ending), flags, mode) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn is_taken(&self, file: &str) -> io::Result<bool> {
        match statat(&self.fd, file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file if it is a regular one of this kind: no link, and nothing that only has such a name.
    pub(super) fn open_one(&self, file: &str, kind: &Kind, access: OFlags) -> io::Result<Option<File>> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match openat(&self.fd, file, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // It is a link, a directory or a socket.
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_one = opened.metadata()?.is_file() && (kind.is_one)(&mut &opened);
        Ok(is_one.then_some(opened))
    }

    /// Gives a complete file its final name, or the next one that is free.
    pub(super) fn complete(&self, part: Name, ending: &str) -> io::Result<Name> {
        let mut name = part;
        loop {
            let file = name.file(ending);
            let renamed = match renameat_with(&self.fd, part.part(ending), &self.fd, &file, RenameFlags::NOREPLACE) {
                // The file system cannot do that.
                Err(Errno::INVAL) => match self.is_taken(&file)? {
                    true => Err(Errno::EXIST),
                    false => renameat_with(&self.fd, part.part(ending), &self.fd, &file, RenameFlags::empty()),
                },
                result => result,
            };
            match renamed {
                Ok(()) => break,
                Err(Errno::EXIST) => name = name.next(),
                Err(error) => return Err(error.into()),
            }
        }
        fsync(&self.fd)?;
        Ok(name)
    }

    pub(super) fn remove(&self, file: &str) -> io::Result<()> {
        Ok(unlinkat(&self.fd, file, AtFlags::empty())?)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_held {
            let mut held = held();
            // Closing would do that, too, but only afterwards.
            let _ = flock(&self.fd, FlockOperation::Unlock);
            held.remove(&self.id);
        }
    }
}

fn held() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn words(error: Errno) -> String {
    match error {
        Errno::NOTDIR => "it is no directory: name one, or one that does not exist yet".into(),
        Errno::ACCESS => format!("{}{BY_OWNER_AND_MODE}", io::Error::from(error)),
        _ => io::Error::from(error).to_string(),
    }
}
