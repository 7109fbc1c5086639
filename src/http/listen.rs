//! Where the HTTP server listens. In: addresses as on the command line, or what systemd passes. Out: bound sockets. A
//! socket file goes away with its guard.

use std::{
    env, fmt, fs, io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    str::FromStr,
};

use listenfd::ListenFd;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
        sockopt::{set_ipv6_v6only, set_socket_reuseaddr, socket_acceptconn},
    },
};

/// How many connections wait in the kernel's queue.
const BACKLOG: i32 = 128;

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`, as `127.0.0.1:10833`, `[::1]:10833` or `localhost:10833`.
    Tcp(String),
    /// `:port`: all addresses of the machine, of IPv4 and IPv6.
    Everywhere(u16),
    /// `unix:PATH`: a socket file.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH".to_owned();
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        match host {
            "" => Ok(Self::Everywhere(port)),
            _ if host.starts_with('[') => {
                text.parse::<SocketAddrV6>().map_err(|_| wrong())?;
                Ok(Self::Tcp(text.to_owned()))
            }
            _ if host.contains([':', '/', ' ']) => Err(wrong()),
            _ => Ok(Self::Tcp(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket. Dropping it unused removes its socket file.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    /// The file to remove at the end; systemd's files stay.
    pub(super) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds, so that a wrong or used address is reported before anything is attached. Replaces a socket file that
    /// nobody listens on any more.
    ///
    /// # Errors
    /// Errors of the system, with the address in their text.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let bound = match address {
            Address::Tcp(address) => TcpListener::bind(address.as_str()).map(Self::from),
            Address::Everywhere(port) => bind_everywhere(*port).map(Self::from),
            Address::Unix(path) => bind_file(path),
        };
        bound.map_err(|error| {
            let words = words(address, &error);
            io::Error::new(error.kind(), format!("cannot listen on {address}: {words}"))
        })
    }

    /// The sockets that systemd passes to a service with a `.socket` unit, as
    /// [sd_listen_fds(3)](https://www.freedesktop.org/software/systemd/man/sd_listen_fds.html) says. Call it once,
    /// before any other file is opened or thread is started.
    ///
    /// # Errors
    /// If there are none, or sockets of another kind.
    pub fn from_systemd() -> io::Result<Vec<Self>> {
        // The crate does not check this variable, and would take what was passed to another process.
        let is_for_us = env::var_os("LISTEN_PID").is_some();
        let mut passed = ListenFd::from_env();
        if !is_for_us || passed.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "systemd has passed no sockets to this process"));
        }
        (0..passed.len()).map(|place| take(&mut passed, place)).collect()
    }

    /// The address of a page, such as `http://127.0.0.1:10833/metrics`, or `unix:PATH` for a socket file.
    pub fn url(&self, has_tls: bool, page: &str) -> String {
        let scheme = if has_tls { "https" } else { "http" };
        match &self.socket {
            Socket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("{scheme}://{address}{page}"),
                Err(error) => error.to_string(),
            },
            Socket::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                format!("unix:{}", path.unwrap_or(Path::new("(unnamed)")).display())
            }
        }
    }

    /// The address of a TCP socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { socket: Socket::Tcp(listener), file: None }
    }
}

/// Adds the cause, where the system's words lack it.
fn words(address: &Address, error: &io::Error) -> String {
    let hint = match (address, error.kind()) {
        // The system's words name a constant.
        (Address::Unix(_), io::ErrorKind::InvalidInput) => return "the path of a socket has at most 107 bytes".into(),
        (Address::Unix(_), io::ErrorKind::NotFound) => "; its directory must exist",
        (Address::Tcp(_) | Address::Everywhere(_), io::ErrorKind::PermissionDenied) => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
        }
        (Address::Tcp(_), io::ErrorKind::AddrNotAvailable) => "; this machine does not have that address",
        _ => "",
    };
    format!("{error}{hint}")
}

/// One socket for both families, whatever the system's `net.ipv6.bindv6only` says. On a machine without IPv6 it is for
/// IPv4.
fn bind_everywhere(port: u16) -> io::Result<TcpListener> {
    let socket = match socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None) {
        Ok(socket) => socket,
        Err(Errno::AFNOSUPPORT) => return TcpListener::bind(("0.0.0.0", port)),
        Err(error) => return Err(error.into()),
    };
    set_socket_reuseaddr(&socket, true)?;
    set_ipv6_v6only(&socket, false)?;
    match bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Ok(()) => {}
        Err(Errno::ADDRNOTAVAIL) => return TcpListener::bind(("0.0.0.0", port)),
        Err(error) => return Err(error.into()),
    }
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn bind_file(path: &Path) -> io::Result<Listener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let file = Some(SocketFile { path: std::path::absolute(path)?, inode: inode(path)? });
    Ok(Listener { socket: Socket::Unix(listener), file })
}

/// Removes a socket file if nobody listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"));
    }
    // Without waiting: a process with a full queue listens, too.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        Ok(()) | Err(Errno::AGAIN) => Err(io::Error::new(io::ErrorKind::AddrInUse, "it is in use")),
        Err(error) => Err(error.into()),
    }
}

fn take(passed: &mut ListenFd, place: usize) -> io::Result<Listener> {
    let wrong = |what| {
        let words = format!("socket {} of those that systemd has passed {what}", place + 1);
        io::Error::new(io::ErrorKind::InvalidInput, words)
    };
    let socket = match passed.take_tcp_listener(place) {
        Ok(Some(listener)) => Socket::Tcp(listener),
        _ => match passed.take_unix_listener(place) {
            Ok(Some(listener)) => Socket::Unix(listener),
            _ => return Err(wrong("is no stream socket of TCP or UNIX: its unit needs ListenStream=")),
        },
    };
    let listens = match &socket {
        Socket::Tcp(listener) => socket_acceptconn(listener)?,
        Socket::Unix(listener) => socket_acceptconn(listener)?,
    };
    if !listens {
        return Err(wrong("is a connection: its unit needs Accept=no"));
    }
    Ok(Listener { socket, file: None })
}

/// Removes a socket file when dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|data| (data.dev(), data.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode) {
            // The next start replaces a file that stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, os::unix::net::UnixStream};

    use super::*;

    fn unix(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }

    #[test]
    fn addresses_are_read_and_written() {
        for (text, address) in [
            ("127.0.0.1:0", Address::Tcp("127.0.0.1:0".into())),
            ("localhost:9", Address::Tcp("localhost:9".into())),
            ("[::1]:10833", Address::Tcp("[::1]:10833".into())),
            (":10833", Address::Everywhere(10833)),
            ("unix:a:b/c", unix(Path::new("a:b/c"))),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in ["", "nonsense", "host:", "host:x", "host:65536", "::1:9", "[::1:9", "[x]:9", "unix:", "a/b:9"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_in_use_is_told() {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.tcp_address().unwrap().to_string();
        let error = Listener::bind(&address.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[test]
    fn everywhere_is_both_families() {
        let listener = Listener::bind(&Address::Everywhere(0)).unwrap();
        let address = listener.tcp_address().unwrap();
        TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        if address.is_ipv6() && TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", address.port())).unwrap();
        }
        let error = Listener::bind(&Address::Everywhere(address.port())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&unix(&path)).unwrap();
        UnixStream::connect(&path).unwrap();

        let error = Listener::bind(&unix(&path)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("cannot listen on unix:{}: it is in use", path.display()));
        UnixStream::connect(&path).unwrap();

        let file = directory.path().join("file");
        fs::write(&file, "dear").unwrap();
        assert!(Listener::bind(&unix(&file)).unwrap_err().to_string().ends_with("is not a socket"));
        assert_eq!(fs::read(&file).unwrap(), b"dear");
        let error = |path: &str| Listener::bind(&unix(&directory.path().join(path))).unwrap_err().to_string();
        assert!(error("no/where").ends_with("; its directory must exist"), "{}", error("no/where"));
        let long = "x".repeat(108);
        assert!(error(&long).ends_with(": the path of a socket has at most 107 bytes"), "{}", error(&long));
        // TEST-NET-1, which no machine has.
        let error = Listener::bind(&"192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("; this machine does not have that address"), "{error}");

        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_file_of_another_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Listener::bind(&unix(&path)).unwrap();
        let moved = directory.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(listener);
        UnixStream::connect(&path).unwrap();
        drop(other);
    }
}
