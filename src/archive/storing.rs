//! What a thread does with files that are complete, since disks can be slow. In: a complete file, or one that a crash has left. Out: it is
//! on disk and has its final name, and the oldest files are removed.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use rustix::fs::OFlags;

use super::{
    Kind, Limits, Part,
    directory::Directory,
    keeping::{Complete, surplus},
    name::Name,
};
use crate::capture;

/// The complete files of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Files {
    /// How many there are.
    pub kept: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were removed, since only so many are kept.
    pub removed: u64,
}

/// Counts the files of a directory, for any thread.
#[derive(Debug, Default)]
pub struct Tally {
    kept: AtomicU64,
    bytes: AtomicU64,
    removed: AtomicU64,
    /// What the log has had.
    told_removal: AtomicBool,
    told_failure: AtomicBool,
}

impl Tally {
    /// What there is now.
    pub fn files(&self) -> Files {
        let [kept, bytes, removed] = [&self.kept, &self.bytes, &self.removed].map(|it| it.load(Relaxed));
        Files { kept, bytes, removed }
    }
}

/// The directory, and what to do there.
pub(super) struct Storing {
    pub path: PathBuf,
    pub kind: Kind,
    pub keep: Option<Limits>,
    pub directory: Arc<Directory>,
    pub tally: Arc<Tally>,
}

impl Storing {
    /// Stores a file to which nothing more will be written.
    pub(super) fn finish(&self, part: Part) {
        let stored = part.file().sync_all().and_then(|()| self.directory.complete(part.name(), self.kind.ending));
        if let Err(error) = stored {
            let file = self.path.join(part.name().part(self.kind.ending));
            tracing::error!("cannot complete {}: {error}; the next start tries that again", file.display());
        }
    }

    /// Completes files that another process has left.
    pub(super) fn complete(&self, left: &[Name]) {
        for &name in left {
            let part = name.part(self.kind.ending);
            let path = self.path.join(&part);
            match self.complete_one(name, &part) {
                Ok(Some(name)) => {
                    let file = name.file(self.kind.ending);
                    tracing::info!("{} was left by another process: it is complete now, as {file}", path.display());
                }
                Ok(None) => tracing::warn!("{} is not {}: it stays as it is", path.display(), self.kind.a_file),
                Err(error) => tracing::error!("cannot complete {}: {error}; it stays as it is", path.display()),
            }
        }
    }

    fn complete_one(&self, name: Name, part: &str) -> io::Result<Option<Name>> {
        let Some(file) = self.directory.open_one(part, &self.kind, OFlags::RDWR)? else { return Ok(None) };
        (self.kind.mend)(&file)?;
        file.sync_all()?;
        self.directory.complete(name, self.kind.ending).map(Some)
    }

    /// Removes the oldest files, if there are too many, and counts the others.
    pub(super) fn keep(&self) {
        let (files, error) = match self.files() {
            Ok(files) => (files, None),
            Err(error) => (Vec::new(), Some((self.path.clone(), error))),
        };
        let mut failure = error;
        let surplus = self.keep.map_or(0, |keep| surplus(&files, keep, capture::now().0));
        let (mut kept, mut bytes) = (0, 0);
        for (place, Complete { name, bytes: length }) in files.into_iter().enumerate() {
            let file = name.file(self.kind.ending);
            if place < surplus {
                match self.directory.remove(&file) {
                    Ok(()) => {
                        self.removed(&file);
                        continue;
                    }
                    Err(error) => failure = failure.or_else(|| Some((self.path.join(&file), error))),
                }
            }
            kept += 1;
            bytes += length;
        }
        match failure {
            Some((path, error)) if !self.tally.told_failure.swap(true, Relaxed) => {
                tracing::error!("cannot remove {}: {error}; the directory goes on growing", path.display());
            }
            Some(_) => {}
            None => self.tally.told_failure.store(false, Relaxed),
        }
        self.tally.kept.store(kept, Relaxed);
        self.tally.bytes.store(bytes, Relaxed);
    }

    fn removed(&self, file: &str) {
        self.tally.removed.fetch_add(1, Relaxed);
        if !self.tally.told_removal.swap(true, Relaxed) {
            let path = self.path.display();
            tracing::info!(
                "removed {file}, the oldest file of {path}, as --keep says; others are removed without a word"
            );
        }
    }

    /// The complete files of this kind, the oldest first.
    fn files(&self) -> io::Result<Vec<Complete>> {
        let mut files = Vec::new();
        for file in self.directory.names()? {
            let Some(name) = Name::of_file(&file, self.kind.ending) else { continue };
            // Somebody may remove it meanwhile. Others may not be ours to read: then they are not ours.
            let Ok(Some(opened)) = self.directory.open_one(&file, &self.kind, OFlags::RDONLY) else { continue };
            files.push(Complete { name, bytes: opened.metadata()?.len() });
        }
        files.sort_unstable_by_key(|file| file.name);
        Ok(files)
    }
}
