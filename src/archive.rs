//! Directories of files that follow each other, and that are named by the UTC time of their beginning, such as
//! `20261129T055148Z.recording`. In: the bytes of one file after another. Out: whole files, of which the oldest are removed if only so
//! many shall be kept.
//!
//! While a file is written, its name ends with `.part`. Once it is complete, a thread waits until its bytes are on disk, and gives it its
//! final name. After a crash the next start does so. A lock on the directory keeps others from writing into it.

mod directory;
mod keeping;
mod limits;
mod name;
mod part;
mod storing;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::fs::OFlags;

pub(crate) use self::part::Part;
use self::{directory::Directory, name::Name, storing::Storing};
pub use self::{
    limits::{Limits, Options},
    storing::{Files, Tally},
};
use crate::{capture, privileges};

/// What all files of an archive are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// What they are called in errors: a singular, such as `a recording`.
    pub a_file: &'static str,
    /// What follows the time in their names, such as `.recording`.
    pub ending: &'static str,
    /// Whether a file that begins so is one.
    pub is_one: fn(&mut dyn Read) -> bool,
    /// Cuts off what is not whole at the end of a file that nobody has completed, and completes it. Leaves a file alone that is whole, or
    /// damaged elsewhere.
    pub mend: fn(&File) -> io::Result<()>,
}

/// A directory of files, and the right to write into it.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    kind: Kind,
    keep: Option<Limits>,
    /// `None` while another output of this process still writes into it.
    directory: Option<Arc<Directory>>,
    /// Whether the log says that.
    is_told: bool,
    has_earlier: bool,
    tally: Arc<Tally>,
    /// The thread that stores the file before.
    storing: Option<JoinHandle<()>>,
}

impl Archive {
    /// Opens a directory, which is made if it is missing. Whoever calls this must lack the capabilities that he will lack later.
    ///
    /// # Errors
    /// A line that says what is wrong, without the path.
    pub(crate) fn open(path: &Path, kind: Kind, keep: Option<Limits>) -> Result<Self, String> {
        let mut directory = Directory::open(path)?;
        directory.check_rights()?;
        let names = directory.names().map_err(|error| error.to_string())?;
        let is_named =
            |file: &str| Name::of_file(file, kind.ending).or_else(|| Name::of_part(file, kind.ending)).is_some();
        let is_earlier =
            |file: &str| is_named(file) && matches!(directory.open_one(file, &kind, OFlags::RDONLY), Ok(Some(_)));
        let mut archive = Self {
            path: path.to_owned(),
            kind,
            keep,
            directory: None,
            is_told: false,
            has_earlier: names.iter().any(|file| is_earlier(file)),
            tally: Arc::default(),
            storing: None,
        };
        if directory.lock()? {
            archive.holds(directory).map_err(|error| error.to_string())?;
        }
        Ok(archive)
    }

    /// Finds what opening it would fail at, as far as this user may look, without making it.
    pub(crate) fn check(path: &Path) -> Result<(), String> {
        Directory::check(path)
    }

    /// Whether it had files when it was opened.
    pub(crate) fn has_earlier(&self) -> bool {
        self.has_earlier
    }

    /// What it has, also for other threads.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Begins a file.
    ///
    /// # Errors
    /// Such as a full disk. [`io::ErrorKind::WouldBlock`] while another output of this process still writes into the directory. Nothing
    /// has changed.
    pub(crate) fn begin(&mut self) -> io::Result<Part> {
        match self.part() {
            // Somebody has removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directory = None;
                self.part()
            }
            result => result,
        }
    }

    fn part(&mut self) -> io::Result<Part> {
        let directory = match &self.directory {
            Some(directory) => Arc::clone(directory),
            None => {
                let mut directory = Directory::open(&self.path).map_err(io::Error::other)?;
                if !directory.lock().map_err(io::Error::other)? {
                    let path = self.path.display();
                    let words = format!("another output of this bitcointap still writes into {path}");
                    if !std::mem::replace(&mut self.is_told, true) {
                        tracing::warn!("{words}; waiting for its end: each needs a directory of its own");
                    }
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, words));
                }
                self.holds(directory)?
            }
        };
        let (time, moment) = capture::now();
        let mut name = Name::of(time);
        loop {
            match directory.create(name, self.kind.ending)? {
                Some(file) => return Ok(Part::new(file, name, moment)),
                None => name = name.next(),
            }
        }
    }

    /// Takes the directory, which is locked, and completes what an earlier process has left there.
    fn holds(&mut self, directory: Directory) -> io::Result<Arc<Directory>> {
        let directory = Arc::clone(self.directory.insert(Arc::new(directory)));
        // A file that begins later is not among these.
        let left = directory.parts(self.kind.ending)?;
        self.store(move |storing| storing.complete(&left));
        Ok(directory)
    }

    /// Whether the file before is still being stored. Then the next one should not be given to [`Archive::finish`] yet.
    pub(crate) fn is_storing(&self) -> bool {
        self.storing.as_ref().is_some_and(|storing| !storing.is_finished())
    }

    /// Stores a complete file, in a thread: disks can be slow.
    pub(crate) fn finish(&mut self, part: Part) {
        self.wait();
        self.store(move |storing| storing.finish(part));
    }

    fn store(&mut self, job: impl FnOnce(&Storing) + Send + 'static) {
        let Some(directory) = self.directory.as_ref().map(Arc::clone) else { return };
        let storing = Storing {
            path: self.path.clone(),
            kind: self.kind,
            keep: self.keep,
            directory,
            tally: Arc::clone(&self.tally),
        };
        let running = Running::new();
        let started = thread::Builder::new().name("archive".into()).spawn(move || {
            let _running = running;
            privileges::drop_all_of_thread();
            job(&storing);
            storing.keep();
        });
        match started {
            Ok(thread) => self.storing = Some(thread),
            Err(error) => {
                let path = self.path.display();
                tracing::error!("cannot start a thread to complete files of {path}: {error}; the next start does it");
            }
        }
    }

    /// Removes a file that nothing was written to.
    pub(crate) fn discard(&self, part: &Part) {
        if let Some(directory) = &self.directory {
            // If it stays, it is an empty file that nobody reads.
            let _ = directory.remove(&part.name().part(self.kind.ending));
        }
    }

    /// Waits until the file before is stored.
    pub(crate) fn wait(&mut self) {
        if let Some(storing) = self.storing.take() {
            // It tells failures itself.
            let _ = storing.join();
        }
    }
}

/// How many threads store files.
static STORING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A thread that stores files, as long as it runs.
struct Running;

impl Running {
    fn new() -> Self {
        *running() += 1;
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *running() -= 1;
        STORING.1.notify_all();
    }
}

fn running() -> MutexGuard<'static, usize> {
    STORING.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until all complete files of this process are stored, in whichever directory: a disk can be slow. To be called after outputs are
/// finished, before the process ends. What is not stored by then is completed by the next start.
pub fn wait_until_stored() {
    drop(STORING.1.wait_while(running(), |storing| *storing > 0));
}
