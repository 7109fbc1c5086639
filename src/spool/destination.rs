//! Where lines go, and how a writer says that it can go on after a failure. In: a destination as the command line names it, bytes.
//! Out: a [`Destination`] that is open.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{file::LineFile, rotation::Rotation, socket::LineSocket};

/// A writer of whole lines, which may be able to go on after it has failed. Opens what it opens as a thread does that has no
/// capabilities.
pub trait Destination: Write + Send + 'static {
    /// What logs call it.
    fn name(&self) -> String;

    /// Whether the next line belongs elsewhere, when `waiting` bytes before it are not written yet.
    fn is_full(&self, _waiting: usize) -> bool {
        false
    }

    /// Called where no line is begun and nothing waits to be written: at the start, when it is full, and every second in which
    /// there is something to write.
    fn look_after(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Told after it has failed that the last `torn` bytes that it took are of a line that nobody will complete. Gives whether it
    /// can ever work again.
    fn has_failed(&mut self, torn: u64) -> bool;

    /// Opens again what has failed. What is written next begins with a line.
    fn reopen(&mut self) -> io::Result<()>;
}

impl<D: Destination + ?Sized> Destination for Box<D> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn is_full(&self, waiting: usize) -> bool {
        (**self).is_full(waiting)
    }

    fn look_after(&mut self) -> io::Result<()> {
        (**self).look_after()
    }

    fn has_failed(&mut self, torn: u64) -> bool {
        (**self).has_failed(torn)
    }

    fn reopen(&mut self) -> io::Result<()> {
        (**self).reopen()
    }
}

/// A writer whose first failure is its end.
#[derive(Debug)]
pub(super) struct Plain<W>(pub W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send + 'static> Destination for Plain<W> {
    fn name(&self) -> String {
        "the writer".into()
    }

    fn has_failed(&mut self, _torn: u64) -> bool {
        false
    }

    fn reopen(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A destination as it is named: `-`, `unix:PATH`, or else the path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard output, whose failure is the end: there is no other.
    Stdout,
    /// A file that is appended to, or a named pipe.
    File(PathBuf),
    /// A Unix stream socket that somebody listens on.
    Socket(PathBuf),
}

impl Place {
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

impl Place {
    /// What it is, in a word: the name of its output in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Socket(_) => "socket",
        }
    }
}

impl TryFrom<OsString> for Place {
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

impl fmt::Display for Place {
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
        let place = |text: &str| Place::try_from(OsString::from(text));
        assert_eq!(place("-"), Ok(Place::Stdout));
        assert_eq!(place("./-"), Ok(Place::File("./-".into())));
        assert_eq!(place("unix:/run/s"), Ok(Place::Socket("/run/s".into())));
        assert_eq!(place("/run/unix:s"), Ok(Place::File("/run/unix:s".into())));
        assert!(place("").is_err() && place("unix:").is_err());
        let not_utf8 = OsString::from_vec(b"unix:\xff".into());
        assert_eq!(Place::try_from(not_utf8), Ok(Place::Socket(OsString::from_vec(b"\xff".into()).into())));
        let names = ["-", "f", "unix:s"].map(|text| place(text).unwrap().to_string());
        assert_eq!(names, ["standard output", "f", "unix:s"]);
    }
}
