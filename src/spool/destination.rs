//! The contract for destinations, and their names. In: the name of a destination, as in the command line. Out: an open
//! [`Destination`].

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{directory::LineDirectory, file::LineFile, records::Records, rotation::Rotation, socket::LineSocket};
use crate::archive::{Archive, Tally};

/// The default of [`Destination::buffer_bytes`].
pub(super) const BUFFER_BYTES: usize = 64 << 10;

/// Takes whole records, and may work again after it has failed. It is called by a thread without capabilities, which also opens it
/// again.
pub trait Destination: Send + 'static {
    /// Its name in the log.
    fn name(&self) -> String;

    /// Whether it wants each record in one piece, however large: the JSON of a message can have 200 MB. Else a record that is larger than
    /// the buffer comes in parts.
    fn wants_whole_records(&self) -> bool {
        false
    }

    /// How many bytes are handed over at once, unless a larger record is wanted in one piece. Asked once.
    fn buffer_bytes(&self) -> usize {
        BUFFER_BYTES
    }

    /// Takes as many records as it can from the front of `records`, which is not empty, and gives the number of bytes taken. It may
    /// stop within a record if it can go on there: the next call begins with the rest. If it would block, it fails with
    /// [`io::ErrorKind::WouldBlock`], and is called again.
    ///
    /// # Errors
    /// This call took nothing.
    fn take(&mut self, records: &mut Records) -> io::Result<usize>;

    /// How many of the records that it has taken since the last call it had to drop, since they can never go there. They count as lost.
    fn take_dropped(&mut self) -> u64 {
        0
    }

    /// Sends on whatever it took and still holds.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the next line belongs elsewhere, such as in a new file. `waiting` bytes before it are not written yet.
    fn is_full(&self, _waiting: usize) -> bool {
        false
    }

    /// Called between two lines, when nothing waits to be written: at the start, when it is full, and every second in which there is
    /// something to write.
    fn look_after(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Called after it has failed. If it has taken a part of a record, the rest will not come. Gives whether it can ever work again.
    fn has_failed(&mut self) -> bool {
        false
    }

    /// Opens it again after a failure. The next call of `take` begins with the beginning of a record.
    fn reopen(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it is to be looked after each second even if there is nothing to write.
    fn is_unsettled(&self) -> bool {
        false
    }

    /// The end: nothing more will come.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// How many events it has taken and still holds. They are lost if it never works again.
    fn held(&self) -> u64 {
        0
    }

    /// The files of a directory, if it writes into one. Asked once.
    fn tally(&self) -> Option<Arc<Tally>> {
        None
    }

    /// Whether it goes on with what an earlier process has written, and nobody knows what happened meanwhile. Asked once.
    fn goes_on(&self) -> bool {
        false
    }
}

impl<D: Destination + ?Sized> Destination for Box<D> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn wants_whole_records(&self) -> bool {
        (**self).wants_whole_records()
    }

    fn buffer_bytes(&self) -> usize {
        (**self).buffer_bytes()
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        (**self).take(records)
    }

    fn take_dropped(&mut self) -> u64 {
        (**self).take_dropped()
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn is_full(&self, waiting: usize) -> bool {
        (**self).is_full(waiting)
    }

    fn look_after(&mut self) -> io::Result<()> {
        (**self).look_after()
    }

    fn has_failed(&mut self) -> bool {
        (**self).has_failed()
    }

    fn reopen(&mut self) -> io::Result<()> {
        (**self).reopen()
    }

    fn is_unsettled(&self) -> bool {
        (**self).is_unsettled()
    }

    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }

    fn held(&self) -> u64 {
        (**self).held()
    }

    fn tally(&self) -> Option<Arc<Tally>> {
        (**self).tally()
    }

    fn goes_on(&self) -> bool {
        (**self).goes_on()
    }
}

/// A writer that is never tried again after a failure.
#[derive(Debug)]
pub(super) struct Plain<W>(pub W);

impl<W: Write + Send + 'static> Destination for Plain<W> {
    fn name(&self) -> String {
        "the writer".into()
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        self.0.write(records.bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The name of a destination: `-`, `unix:PATH`, or the path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationName {
    /// Standard output. It is not tried again after a failure, since it cannot be opened again.
    Stdout,
    /// A file to append to, or a named pipe; or a directory, if files are begun by time.
    File(PathBuf),
    /// A Unix stream socket on which another program listens.
    Socket(PathBuf),
}

impl DestinationName {
    /// Opens it. A file is opened with the capabilities of the calling thread, unless it is to be rotated: that is done later without
    /// capabilities. It is no error if nobody listens on the socket yet. `records` is what it is for, as
    /// [`Format::RECORDS`](super::Format::RECORDS) says it.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub fn open(&self, records: &str, rotation: Option<Rotation>) -> Result<Box<dyn Destination>, String> {
        let cannot_open = |error: String| self.cannot_open(records, &error);
        match self {
            Self::Stdout => Ok(Box::new(Plain(io::stdout()))),
            Self::File(path) => Ok(match rotation {
                None => Box::new(LineFile::open(path, None).map_err(cannot_open)?),
                Some(Rotation::Renamed(renamed)) => Box::new(LineFile::open(path, Some(renamed)).map_err(cannot_open)?),
                Some(Rotation::ByTime(by_time)) => Box::new(LineDirectory::open(path, by_time).map_err(cannot_open)?),
            }),
            Self::Socket(path) => Ok(Box::new(LineSocket::open(path).map_err(cannot_open)?)),
        }
    }
}

impl DestinationName {
    /// Finds what `open` would fail at, without creating the file. What this user may not look at counts as right: another user may
    /// open it.
    ///
    /// # Errors
    /// The line that `open` would give.
    pub fn check(&self, records: &str, rotation: Option<Rotation>) -> Result<(), String> {
        match self {
            Self::File(path) => {
                let checked = match rotation {
                    Some(Rotation::ByTime(_)) => Archive::check(path),
                    Some(Rotation::Renamed(_)) | None => LineFile::check(path, rotation.is_some()),
                };
                checked.map_err(|error| self.cannot_open(records, &error))
            }
            // A socket may come later.
            Self::Stdout | Self::Socket(_) => Ok(()),
        }
    }

    fn cannot_open(&self, records: &str, error: &str) -> String {
        format!("cannot open {self} for {records}: {error}")
    }

    /// Its kind in a word: the name of its output in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Socket(_) => "socket",
        }
    }
}

impl TryFrom<OsString> for DestinationName {
    type Error = &'static str;

    fn try_from(text: OsString) -> Result<Self, Self::Error> {
        let empty = Err("must be FILE, - or unix:PATH");
        if text == "-" {
            return Ok(Self::Stdout);
        }
        match text.as_bytes().strip_prefix(b"unix:") {
            Some([]) => empty,
            Some(path) => Ok(Self::Socket(Path::new(OsStr::from_bytes(path)).into())),
            None if text.is_empty() => empty,
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for DestinationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn places_are_told_apart() {
        let place = |text: &str| DestinationName::try_from(OsString::from(text));
        assert_eq!(place("-"), Ok(DestinationName::Stdout));
        assert_eq!(place("./-"), Ok(DestinationName::File("./-".into())));
        assert_eq!(place("unix:/run/s"), Ok(DestinationName::Socket("/run/s".into())));
        assert_eq!(place("/run/unix:s"), Ok(DestinationName::File("/run/unix:s".into())));
        assert!(place("").is_err() && place("unix:").is_err());
        let not_utf8 = OsString::from_vec(b"unix:\xff".into());
        assert_eq!(
            DestinationName::try_from(not_utf8),
            Ok(DestinationName::Socket(OsString::from_vec(b"\xff".into()).into()))
        );
        let names = ["-", "f", "unix:s"].map(|text| place(text).unwrap().to_string());
        assert_eq!(names, ["standard output", "f", "unix:s"]);
    }
}
