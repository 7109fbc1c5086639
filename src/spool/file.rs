//! A file of lines. Others may rename, remove or truncate it, and its disk may be full. In: lines. Out: whole lines only, in the file
//! at its path, and in older files after a rotation.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    fs::{Access, AtFlags, CWD, OFlags, accessat},
    io::Errno,
};

use super::{destination::Destination, records::Records, rotation::Renamed};
use crate::{files, privileges};

/// How long to wait after a failed rotation before trying it again.
const ROTATION_RETRY: Duration = Duration::from_secs(1);

/// The error for a pipe or a device with a rotation.
const NOT_TO_ROTATE: &str = "only a regular file can be rotated";

/// Appends to a file, or writes to a named pipe or a device.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    rotation: Option<Renamed>,
    /// None while it cannot be opened.
    file: Option<Opened>,
    /// When rotating failed last. The log has it once.
    rotation_failed: Option<Instant>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    is_regular: bool,
    /// Device and inode.
    id: (u64, u64),
    bytes: u64,
    /// When its first line was written; for an older file, when the file system says it was created.
    begun: SystemTime,
    /// How many bytes at its end belong to a line that is not complete yet.
    unended: u64,
    /// Whether it ends within a line that nobody will complete.
    is_torn: bool,
}

impl LineFile {
    /// Opens it, and checks that it can be rotated if it is to be.
    pub(super) fn open(path: &Path, rotation: Option<Renamed>) -> Result<Self, String> {
        let (path, file) = match rotation {
            None => (path.to_owned(), Opened::open(path).map_err(words)?),
            Some(_) => privileges::without_any(|| open_to_rotate(path)).map_err(|error| error.to_string())??,
        };
        Ok(Self { path, rotation, file: Some(file), rotation_failed: None })
    }

    /// Finds what opening it would fail at, as far as this user may look, without creating it.
    pub(super) fn check(path: &Path, is_rotated: bool) -> Result<(), String> {
        let looked = fs::metadata(path).map(Some).or_else(|error| match error.kind() {
            // Opening creates it in its directory.
            io::ErrorKind::NotFound => {
                let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
                fs::metadata(directory.unwrap_or(Path::new("."))).map(|_| None)
            }
            _ => Err(error),
        });
        match looked {
            Ok(Some(there)) if there.is_dir() => Err(words(io::ErrorKind::IsADirectory.into())),
            Ok(Some(there)) if is_rotated && !there.is_file() => Err(NOT_TO_ROTATE.into()),
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(words(error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether the path leads to another file or to none. False if we may not know.
    fn is_elsewhere(&self) -> bool {
        let Some(opened) = &self.file else { return true };
        match fs::metadata(&self.path) {
            Ok(metadata) => id(&metadata) != opened.id,
            Err(error) => error.kind() != io::ErrorKind::PermissionDenied,
        }
    }

    /// If renaming fails, the file goes on growing.
    fn rotate(&mut self, rotation: Renamed) -> io::Result<()> {
        let path = self.path.display();
        match rotation.shift(&self.path) {
            Ok(()) => {
                if self.rotation_failed.take().is_some() {
                    tracing::info!("{path} is rotated again");
                }
                self.file = None;
                self.reopen()
            }
            Err(error) => {
                if self.rotation_failed.replace(Instant::now()).is_none() {
                    tracing::error!(
                        "cannot rotate {path}: {error}; it goes on growing, and bitcointap tries again every second"
                    );
                }
                Ok(())
            }
        }
    }

    fn rotates_now(&self) -> bool {
        self.rotation_failed.is_none_or(|at| at.elapsed() >= ROTATION_RETRY)
    }
}

/// Opens a file to be rotated. Its directory must let this user rename it. Resolves links, so that the old files stay beside it.
fn open_to_rotate(path: &Path) -> Result<(PathBuf, Opened), String> {
    let opened = Opened::open(path).map_err(words)?;
    if !opened.is_regular {
        return Err(NOT_TO_ROTATE.into());
    }
    let path = fs::canonicalize(path).map_err(words)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| format!("its directory: {}", words(error.into())))?;
    Ok((path, opened))
}

/// The error with what a user can do about it.
fn words(error: io::Error) -> String {
    let hint = match (error.kind(), error.raw_os_error().map(Errno::from_raw_os_error)) {
        (_, Some(Errno::NXIO)) => return "nobody reads this pipe yet: start its reader first".into(),
        (io::ErrorKind::IsADirectory, _) => return "it is a directory: name a file in it, or give --rotate".into(),
        (io::ErrorKind::PermissionDenied, _) => privileges::BY_OWNER_AND_MODE,
        (io::ErrorKind::NotFound, _) => "; its directory must exist",
        _ => "",
    };
    format!("{error}{hint}")
}

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        // Opening a named pipe that nobody reads would block for ever. A pipe whose reader has stopped would block the end.
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().create(true).append(true).custom_flags(nonblocking).open(path)?;
        let metadata = file.metadata()?;
        let is_regular = metadata.is_file();
        Ok(Self {
            file,
            is_regular,
            id: id(&metadata),
            bytes: metadata.len(),
            begun: metadata.created().unwrap_or_else(|_| SystemTime::now()),
            unended: 0,
            // For example after a crash.
            is_torn: is_regular && last_byte(path).is_some_and(|byte| byte != b'\n'),
        })
    }

    fn take(&mut self, records: &Records) -> io::Result<usize> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
            self.is_torn = false;
        }
        if self.bytes == 0 {
            self.begun = SystemTime::now();
        }
        let taken = self.file.write(records.bytes())?;
        self.bytes += taken as u64;
        self.unended = match records.end_within(taken) {
            Some(end) => (taken - end) as u64,
            None => self.unended + taken as u64,
        };
        Ok(taken)
    }

    /// Cuts off the incomplete line. If somebody else has truncated the file or written to it, it is not cut: it goes on with a new line.
    fn cut(&mut self) {
        let unended = std::mem::take(&mut self.unended);
        if unended == 0 {
            return;
        }
        let is_ours = self.file.metadata().is_ok_and(|metadata| metadata.len() == self.bytes);
        let whole = self.bytes.saturating_sub(unended);
        if is_ours && self.file.set_len(whole).is_ok() {
            self.bytes = whole;
        } else {
            self.is_torn = true;
        }
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// `None` if the file is empty or may not be read.
fn last_byte(path: &Path) -> Option<u8> {
    let mut file = files::open(path).ok()?;
    let mut byte = [0];
    file.seek(SeekFrom::End(-1)).ok()?;
    file.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

impl Destination for LineFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Needs no flush: the kernel has what was written, and a crash of this process does not lose it.
    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        self.file.as_mut().ok_or(io::ErrorKind::NotConnected)?.take(records)
    }

    fn is_full(&self, waiting: usize) -> bool {
        let (Some(Renamed { limits, .. }), Some(opened)) = (self.rotation, &self.file) else { return false };
        limits.size.is_some_and(|limit| opened.bytes + waiting as u64 >= limit) && self.rotates_now()
    }

    fn look_after(&mut self) -> io::Result<()> {
        if self.is_elsewhere() {
            return self.reopen();
        }
        let (Some(opened), Some(rotation)) = (&mut self.file, self.rotation) else { return Ok(()) };
        // Somebody else may have truncated it.
        opened.bytes = opened.file.metadata()?.len();
        let age = opened.begun.elapsed().unwrap_or_default();
        if rotation.limits.are_reached(opened.bytes, age) && self.rotates_now() {
            self.rotate(rotation)?;
        }
        Ok(())
    }

    fn has_failed(&mut self) -> bool {
        match &mut self.file {
            Some(opened) if opened.is_regular => opened.cut(),
            // Closing a pipe discards what it still holds, so that its next reader begins with a whole line.
            _ => self.file = None,
        }
        true
    }

    fn reopen(&mut self) -> io::Result<()> {
        match Opened::open(&self.path) {
            Ok(opened) => self.file = Some(opened),
            // It was opened with capabilities that this thread lacks, and it is still at its path.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.is_elsewhere() => {}
            Err(error) => return Err(io::Error::other(words(error))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::archive::Limits;

    fn rotation(limits: &str, keep: u32) -> Option<Renamed> {
        Some(Renamed { limits: limits.parse::<Limits>().unwrap(), keep })
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
    }

    /// Writes lines, and perhaps the beginning of one.
    fn give(file: &mut LineFile, text: &str) {
        assert_eq!(file.take(&mut Records::of_lines(text.as_bytes())).unwrap(), text.len());
    }

    /// Writes a line as a spool does: if the file is full, it is looked after first.
    fn line(file: &mut LineFile, text: &str) {
        if file.is_full(0) {
            file.look_after().unwrap();
        }
        give(file, text);
    }

    #[test]
    fn a_file_that_is_full_gives_way_before_the_next_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut file = LineFile::open(&path, rotation("1KiB", 2)).unwrap();
        let long = format!("{}\n", "x".repeat(1_022));
        line(&mut file, &long);
        assert!(!file.is_full(0) && file.is_full(1));
        line(&mut file, "1\n");
        line(&mut file, "2\n");
        assert_eq!(text(&path), "2\n");
        assert_eq!(text(&path.with_extension("1")), format!("{long}1\n"));
        // The next start appends to it, and counts the size that it has.
        drop(file);
        let mut file = LineFile::open(&path, rotation("1KiB", 2)).unwrap();
        line(&mut file, &long);
        line(&mut file, "3\n");
        assert_eq!(text(&path), "3\n");
        assert_eq!(text(&path.with_extension("1")), format!("2\n{long}"));
        assert_eq!(text(&path.with_extension("2")), format!("{long}1\n"));
    }

    #[test]
    fn a_file_of_age_gives_way_and_an_empty_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut file = LineFile::open(&path, rotation("1h", 2)).unwrap();
        let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3_600);
        file.file.as_mut().unwrap().begun = hours_ago(2);
        file.look_after().unwrap();
        // Its age counts from its first line.
        give(&mut file, "1\n");
        file.look_after().unwrap();
        assert_eq!(text(&path), "1\n");
        file.file.as_mut().unwrap().begun = hours_ago(2);
        file.look_after().unwrap();
        give(&mut file, "2\n");
        assert_eq!((text(&path), text(&path.with_extension("1"))), ("2\n".into(), "1\n".into()));
        // After the clock was set back, the file has no age.
        file.file.as_mut().unwrap().begun = SystemTime::now() + Duration::from_secs(7_200);
        file.look_after().unwrap();
        assert_eq!(text(&path), "2\n");
    }

    #[test]
    fn a_file_that_others_rename_remove_or_empty_is_found_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let renamed = directory.path().join("renamed");
        let mut file = LineFile::open(&path, rotation("1KiB", 1)).unwrap();
        give(&mut file, "1\n");
        fs::rename(&path, &renamed).unwrap();
        file.look_after().unwrap();
        give(&mut file, "2\n");
        assert_eq!((text(&renamed), text(&path)), ("1\n".into(), "2\n".into()));
        fs::remove_file(&path).unwrap();
        file.look_after().unwrap();
        give(&mut file, "3\n");
        assert_eq!(text(&path), "3\n");
        File::create(&path).unwrap();
        file.look_after().unwrap();
        assert_eq!(file.file.as_ref().unwrap().bytes, 0);
        give(&mut file, "4\n");
        assert_eq!(text(&path), "4\n");

        fs::remove_dir_all(directory.path()).unwrap();
        assert!(file.look_after().unwrap_err().to_string().starts_with("No such file or directory"));
        fs::create_dir(directory.path()).unwrap();
        file.look_after().unwrap();
        give(&mut file, "5\n");
        assert_eq!(text(&path), "5\n");
    }

    #[test]
    fn a_name_that_cannot_be_taken_lets_the_file_grow() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let taken = path.with_extension("1");
        fs::create_dir(&taken).unwrap();
        let mut file = LineFile::open(&path, rotation("1KiB", 1)).unwrap();
        let long = format!("{}\n", "x".repeat(2_000));
        line(&mut file, &long);
        line(&mut file, "1\n");
        assert!(!file.is_full(0), "it is left alone for a while");
        line(&mut file, "2\n");
        assert_eq!(text(&path), format!("{long}1\n2\n"));
        fs::remove_dir(&taken).unwrap();
        file.rotation_failed = Instant::now().checked_sub(ROTATION_RETRY);
        line(&mut file, "3\n");
        assert_eq!((text(&path), text(&taken)), ("3\n".into(), format!("{long}1\n2\n")));
    }

    #[test]
    fn a_torn_line_is_cut_off_or_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "before\n{\"cra").unwrap();
        let mut file = LineFile::open(&path, None).unwrap();
        give(&mut file, "1\nto");
        give(&mut file, "rn");
        assert!(file.has_failed());
        assert_eq!(text(&path), "before\n{\"cra\n1\n");
        give(&mut file, "2\nrn");
        // What others have written into it stays.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"theirs").unwrap();
        assert!(file.has_failed());
        give(&mut file, "3\n");
        assert_eq!(text(&path), "before\n{\"cra\n1\n2\nrntheirs\n3\n");
    }

    #[test]
    fn links_are_followed_to_where_the_old_files_stay() {
        let [links, data] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (link, path) = (links.path().join("link"), data.path().join("f"));
        symlink(&path, &link).unwrap();
        let mut file = LineFile::open(&link, rotation("1KiB", 1)).unwrap();
        line(&mut file, &format!("{}\n", "x".repeat(1_023)));
        line(&mut file, "1\n");
        assert_eq!((text(&link), text(&path)), ("1\n".into(), "1\n".into()));
        assert_eq!(text(&path.with_extension("1")).len(), 1_024);
    }

    #[test]
    fn what_cannot_be_rotated_is_refused() {
        let null = LineFile::open(Path::new("/dev/null"), rotation("1KiB", 1)).unwrap_err();
        assert_eq!(null, "only a regular file can be rotated");
        let directory = LineFile::open(Path::new("/"), None).unwrap_err();
        assert_eq!(directory, "it is a directory: name a file in it, or give --rotate");
    }
}
