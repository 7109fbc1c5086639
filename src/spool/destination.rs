//! Where records go, and what those have to do who take them. In: a destination as the command line names it. Out: a
//! [`Destination`] that is open.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{file::LineFile, records::Records, rotation::Rotation, socket::LineSocket};

/// What takes whole records, and may be able to go on after it has failed. Opens what it opens as a thread does that has no
/// capabilities.
pub trait Destination: Send + 'static {
    /// What logs call it.
    fn name(&self) -> String;

    /// Whether it wants each record in one piece, however large: JSON of a message can have 105 MB. Else one that is larger than
    /// 64 KiB comes in parts.
    fn wants_whole_records(&self) -> bool {
        false
    }

    /// Takes what it can of records, which are some, from the front; gives how many bytes these have. It may stop within a record if
    /// it can go on there: what it did not take comes first the next time. One that would block fails with
    /// [`io::ErrorKind::WouldBlock`], and is asked again.
    ///
    /// # Errors
    /// Nothing was taken, now.
    fn take(&mut self, records: &mut Records) -> io::Result<usize>;

    /// What was taken is to be on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the next line belongs elsewhere, when `waiting` bytes before it are not written yet.
    fn is_full(&self, _waiting: usize) -> bool {
        false
    }

    /// Called where no line is begun and nothing waits to be written: at the start, when it is full, and every second in which
    /// there is something to write.
    fn look_after(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Told after it has failed: a record of which it has taken a part will not be completed. Gives whether it can ever work again.
    fn has_failed(&mut self) -> bool {
        false
    }

    /// Opens again what has failed. What comes next is the beginning of a record.
    fn reopen(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<D: Destination + ?Sized> Destination for Box<D> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn wants_whole_records(&self) -> bool {
        (**self).wants_whole_records()
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        (**self).take(records)
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
}

/// A writer whose first failure is its end.
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

/// A destination as it is named: `-`, `unix:PATH`, or else the path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationName {
    /// Standard output, whose failure is the end: there is no other.
    Stdout,
    /// A file that is appended to, or a named pipe.
    File(PathBuf),
    /// A Unix stream socket that somebody listens on.
    Socket(PathBuf),
}

impl DestinationName {
    /// Opens it: a file with the capabilities of the calling thread, unless it is to be rotated without them later. A socket
    /// that nobody listens on yet is no error.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub fn open(&self, rotation: Option<Rotation>) -> Result<Box<dyn Destination>, String> {
        let cannot_open = |error| format!("cannot open {self} for JSON lines: {error}");
        match self {
            Self::Stdout => Ok(Box::new(Plain(io::stdout()))),
            Self::File(path) => Ok(Box::new(LineFile::open(path, rotation).map_err(cannot_open)?)),
            Self::Socket(path) => Ok(Box::new(LineSocket::open(path).map_err(cannot_open)?)),
        }
    }
}

impl DestinationName {
    /// What it is, in a word: the name of its output in metrics.
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
