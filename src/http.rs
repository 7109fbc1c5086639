//! Serves the metrics over HTTP, from a thread of its own. In: bound sockets and what to serve. Out: the text formats that
//! Prometheus scrapes. However slow or hostile clients are, all that they can hold up is each other, and that not for long.

mod encoding;
mod listen;
mod openmetrics;
mod site;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use self::listen::{Socket, SocketFile};
pub use self::{
    listen::{Address, Listener},
    site::{HEALTHY_PATH, READY_PATH, Readiness, Site},
};

/// What bounds clients.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    connections: usize,
    /// For the head of a request to come, from when the connection waits for it.
    head: Duration,
    /// Bytes of such a head.
    head_bytes: usize,
    /// For a connection to be used; after it the answer in hand is the last.
    connection: Duration,
    /// For that last answer.
    last_answer: Duration,
}

/// How many connections there are at most at once; further ones wait.
pub const MAX_CONNECTIONS: usize = 64;

const LIMITS: Limits = Limits {
    connections: MAX_CONNECTIONS,
    head: Duration::from_secs(10),
    head_bytes: 16 << 10,
    connection: Duration::from_secs(60),
    last_answer: Duration::from_secs(10),
};

/// After the system refused a connection, as when there are no file descriptors left.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// The thread that answers, until the process ends. Dropped, it removes the files of its sockets.
#[derive(Debug)]
pub struct Server {
    _files: Vec<SocketFile>,
}

/// Starts the thread that answers on all of `listeners`, and logs where.
///
/// # Errors
/// Those of the system, when the thread cannot be started.
pub fn serve(listeners: Vec<Listener>, site: Site) -> io::Result<Server> {
    let places: Vec<String> = listeners.iter().map(|listener| listener.url(site.telemetry_path())).collect();
    let server = start(listeners, site, LIMITS)?;
    tracing::info!("metrics at {}", places.join(", "));
    Ok(server)
}

fn start(listeners: Vec<Listener>, site: Site, limits: Limits) -> io::Result<Server> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut doors, mut files) = (Vec::new(), Vec::new());
    {
        let _guard = runtime.enter();
        for Listener { socket, file } in listeners {
            doors.push(Door::open(socket)?);
            files.extend(file);
        }
    }
    thread::Builder::new().name("http".into()).spawn(move || runtime.block_on(accept(&doors, site, limits)))?;
    Ok(Server { _files: files })
}

/// A socket that connections come in by.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Door {
    fn open(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Self::Tcp)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(Self::Unix)
            }
        }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

async fn accept(doors: &[Door], site: Site, limits: Limits) {
    let site = Arc::new(site);
    let mut connections = JoinSet::new();
    let mut first = 0;
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.connections {
            connections.join_next().await;
        }
        // Each door is the first in its turn, lest a busy one keep the others shut.
        first = (first + 1) % doors.len().max(1);
        let (after, before) = (&doors[first..], &doors[..first]);
        let next = poll_fn(|context| {
            let ready = after.iter().chain(before).map(|door| door.poll_accept(context)).find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        });
        match next.await {
            Ok(Stream::Tcp(stream)) => {
                connections.spawn(answer(stream, Arc::clone(&site), limits));
            }
            Ok(Stream::Unix(stream)) => {
                connections.spawn(answer(stream, Arc::clone(&site), limits));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, site: Arc<Site>, limits: Limits) {
    let service = service_fn(|request| {
        let response = site.respond(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(limits.head_bytes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = match timeout(limits.connection, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.last_answer, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
