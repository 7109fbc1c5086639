//! A Unix stream socket on which another program listens, such as a log shipper. In: lines. Out: whole lines in each connection; only
//! the last one may be cut off, if the reader ends.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

use super::{destination::Destination, records::Records};
use crate::privileges;

/// It does not block, so that a reader that has stopped cannot delay the end.
#[derive(Debug)]
pub(super) struct LineSocket {
    path: PathBuf,
    stream: Option<UnixStream>,
}

impl LineSocket {
    /// Connects. It is no error if nobody listens yet: the listener may start later.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let connected = privileges::without_any(|| open(path)).map_err(|error| error.to_string())?;
        let stream = match connected {
            Ok(stream) => Some(stream),
            Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) => None,
            Err(error @ (Errno::ACCESS | Errno::PERM)) => {
                return Err(format!("{}{}", words(error), privileges::BY_OWNER_AND_MODE));
            }
            Err(error) => return Err(words(error).to_string()),
        };
        Ok(Self { path: path.into(), stream })
    }

    fn has_hung_up(&self) -> bool {
        let Some(stream) = &self.stream else { return true };
        let mut polled = [PollFd::new(stream, PollFlags::empty())];
        // A reader that has only shut down its own sending still reads, and is not reported here.
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Does not block where the listener's queue of connections is full: that is an error here.
fn open(path: &Path) -> Result<UnixStream, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

fn words(error: Errno) -> io::Error {
    match error {
        Errno::AGAIN => io::Error::other("its listener accepts no connections"),
        Errno::PROTOTYPE => io::Error::other("it is not a stream socket"),
        Errno::NAMETOOLONG => io::Error::other("the path of a socket has at most 107 bytes"),
        error => error.into(),
    }
}

impl Destination for LineSocket {
    fn name(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?.write(records.bytes())
    }

    /// Connects again before the next line if the reader was restarted, so that this line is not lost.
    fn look_after(&mut self) -> io::Result<()> {
        if self.has_hung_up() { self.reopen() } else { Ok(()) }
    }

    /// Closes the connection, so that the next one begins with a whole line.
    fn has_failed(&mut self) -> bool {
        self.stream = None;
        true
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.stream = None;
        self.stream = Some(open(&self.path).map_err(words)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::Shutdown,
        os::unix::net::{UnixDatagram, UnixListener},
    };

    use super::*;

    fn give(socket: &mut LineSocket, text: &[u8]) -> io::Result<usize> {
        socket.take(&mut Records::of_lines(text))
    }

    #[test]
    fn a_listener_that_comes_later_or_again_is_connected_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut socket = LineSocket::open(&path).unwrap();
        assert_eq!(give(&mut socket, b"a\n").unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(socket.look_after().unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        for _ in 0..2 {
            socket.look_after().unwrap();
            let (mut reader, _) = listener.accept().unwrap();
            assert_eq!(give(&mut socket, b"line\n").unwrap(), 5);
            let mut read = [0; 5];
            reader.read_exact(&mut read).unwrap();
            assert_eq!(&read, b"line\n");
            // A reader that shuts down its sending still reads.
            reader.shutdown(Shutdown::Write).unwrap();
            assert!(!socket.has_hung_up());
            drop(reader);
            assert!(socket.has_hung_up());
        }
        drop(listener);
        assert_eq!(socket.look_after().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_stopped_reader_blocks_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut socket = LineSocket::open(&path).unwrap();
        let error = std::iter::repeat_with(|| give(&mut socket, &[b'x'; 1 << 16])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // Nor does one that does not even accept.
        let mut waiting = Vec::new();
        let error = loop {
            match open(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(words(error).to_string(), "its listener accepts no connections");
    }

    #[test]
    fn what_is_no_stream_socket_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(LineSocket::open(&path).unwrap_err(), "it is not a stream socket");
        let long = directory.path().join("s".repeat(200));
        assert_eq!(LineSocket::open(&long).unwrap_err(), "the path of a socket has at most 107 bytes");
    }
}
