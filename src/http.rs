//! Serves metrics and events over HTTP, from a thread of its own. In: bound sockets, what to serve and to whom. Out:
//! the text formats that Prometheus scrapes, streams of events, and a page for people. However slow or hostile clients
//! are, they can delay only each other, and not for long.

mod config;
mod connections;
mod encoding;
mod freshness;
mod gate;
mod handshakes;
mod listen;
mod live_page;
mod material;
mod openmetrics;
mod output;
mod passwords;
mod recording;
mod site;
mod streams;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    os::fd::AsFd,
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Request,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::{
    RecvFlags, recv,
    sockopt::{
        set_socket_keepalive, set_socket_send_buffer_size, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};

use self::{
    connections::{Activity, Connections},
    gate::{Refusal, Version},
    handshakes::Failures,
    listen::{Socket, SocketFile},
    site::Page,
    streams::{Beginning, Slot},
};
pub use self::{
    freshness::Freshness,
    gate::Gate,
    listen::{Address, Listener},
    live_page::{LIVE_PATH, is_path_of_live_page},
    site::{EVENTS_PATH, HEALTHY_PATH, READY_PATH, RECORDING_PATH, Readiness, Site},
    streams::{Streams, Told},
};
use crate::privileges;

/// The limits for clients.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections at once. For a further one another is closed.
    connections: usize,
    /// Time for the head of a request, from when the connection waits for it; before that, time for the TLS handshake.
    head: Duration,
    /// Bytes of such a head.
    head_bytes: usize,
    /// How long a connection may be used. After this time the current answer is the last.
    connection: Duration,
    /// Time for that last answer. A stream has as long as it likes.
    last_answer: Duration,
    /// How often to check that the reader of a stream would still be let in.
    review: Duration,
    /// Time between two lines of the log about failed TLS handshakes with the same cause.
    told: Duration,
}

/// The largest number of connections at once. For a further one the server closes the one that has gone without a
/// request for the longest time. If most have a request, it closes the one that it has been answering for the longest
/// time. So a client that only holds connections keeps nobody out.
pub const MAX_CONNECTIONS: usize = 64;
/// How many of them can be streams of events, so that there is room for scrapes.
pub const MAX_STREAMS: usize = MAX_CONNECTIONS / 2;

const LIMITS: Limits = Limits {
    connections: MAX_CONNECTIONS,
    head: Duration::from_secs(10),
    head_bytes: 16 << 10,
    connection: Duration::from_secs(60),
    last_answer: Duration::from_secs(10),
    review: Duration::from_secs(10),
    told: Duration::from_secs(60),
};

/// After the system refused a connection, as when no file descriptors are left.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// After this time, and then at this interval, the kernel asks a silent client whether it is still there, a few times
/// before it gives the client up. Without this, a reader that was cut off while no events came would be served for
/// ever.
const PROBED_AFTER: Duration = Duration::from_secs(30);
const PROBES: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes that wait in the kernel for a client to read them; the kernel takes up to twice as much memory. Without a
/// limit it would take 4 MiB for each client. Enough for some scrapes, and for 2 MB of events a second to the other
/// side of the Earth.
const SEND_BUFFER: usize = 512 << 10;

/// The thread that answers, until the process ends. Dropping it removes the files of its sockets.
#[derive(Debug)]
pub struct Server {
    readiness: Readiness,
    streams: Streams,
    freshness: Option<Freshness>,
    _files: Vec<SocketFile>,
}

/// Starts the thread that answers on all `listeners` the clients that `gate` lets in, and logs the addresses. The
/// thread has no capabilities.
///
/// # Errors
/// Errors of the system, if the thread cannot start.
pub fn serve(listeners: Vec<Listener>, gate: Gate, site: Site) -> io::Result<Server> {
    let url = |listener: &Listener| listener.url(gate.has_tls(), site.telemetry_path());
    let places: Vec<String> = listeners.iter().map(url).collect();
    let server = start(listeners, gate, site, LIMITS)?;
    tracing::info!("metrics at {}", places.join(", "));
    Ok(server)
}

fn start(listeners: Vec<Listener>, gate: Gate, site: Site, limits: Limits) -> io::Result<Server> {
    // The name is that of the thread for passwords.
    let runtime = tokio::runtime::Builder::new_current_thread().thread_name("http-passwords").enable_all().build()?;
    let (mut doors, mut files) = (Vec::new(), Vec::new());
    {
        let _guard = runtime.enter();
        for Listener { socket, file } in listeners {
            doors.push(Door::open(socket)?);
            files.extend(file);
        }
    }
    let (readiness, streams, freshness) = site.fed();
    let house = Arc::new(House { gate, site, limits, failures: Failures::default() });
    thread::Builder::new().name("http".into()).spawn(move || {
        crate::system::keep_little_memory();
        // The thread for passwords, which this one starts, then has none, either.
        privileges::drop_all_of_thread();
        runtime.block_on(accept(&doors, &house));
    })?;
    Ok(Server { readiness, streams, freshness, _files: files })
}

/// A listening socket.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that lets its first byte be looked at without consuming it.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    /// `None` at the end.
    fn first_byte(&self) -> impl Future<Output = io::Result<Option<u8>>> + Send;

    /// The client's IP address, if it has one.
    fn ip(&self) -> Option<IpAddr>;
}

impl Connection for TcpStream {
    async fn first_byte(&self) -> io::Result<Option<u8>> {
        self.async_io(Interest::READABLE, || peek(self)).await
    }

    fn ip(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|address| address.ip().to_canonical())
    }
}

impl Connection for UnixStream {
    async fn first_byte(&self) -> io::Result<Option<u8>> {
        self.async_io(Interest::READABLE, || peek(self)).await
    }

    fn ip(&self) -> Option<IpAddr> {
        None
    }
}

fn peek(socket: impl AsFd) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let (_, length) = recv(socket, &mut byte, RecvFlags::PEEK)?;
    Ok((length > 0).then_some(byte[0]))
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

/// What all connections share.
struct House {
    gate: Gate,
    site: Site,
    limits: Limits,
    failures: Failures,
}

async fn accept(doors: &[Door], house: &Arc<House>) {
    let mut connections = Connections::default();
    let mut first = 0;
    loop {
        // Each door comes first in its turn, so that a busy one does not starve the others.
        first = (first + 1) % doors.len().max(1);
        let (after, before) = (&doors[first..], &doors[..first]);
        let next = poll_fn(|context| {
            let ready = after.iter().chain(before).map(|door| door.poll_accept(context)).find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        });
        let stream = match next.await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        connections.make_room(house.limits.connections).await;
        let (house, activity) = (Arc::clone(house), Activity::default());
        match stream {
            Stream::Tcp(stream) => {
                if let Err(error) = prepare(&stream) {
                    tracing::debug!(%error, "cannot set the options of an HTTP connection");
                }
                connections.spawn(activity.clone(), receive(house, stream, activity));
            }
            Stream::Unix(stream) => connections.spawn(activity.clone(), receive(house, stream, activity)),
        }
    }
}

/// Lets the kernel find out when the client has gone silently, and limits what it holds for a client that does not
/// read.
fn prepare(stream: &TcpStream) -> rustix::io::Result<()> {
    set_socket_send_buffer_size(stream, SEND_BUFFER)?;
    set_tcp_keepidle(stream, PROBED_AFTER)?;
    set_tcp_keepintvl(stream, PROBE_INTERVAL)?;
    set_tcp_keepcnt(stream, PROBES)?;
    set_socket_keepalive(stream, true)
}

/// Speaks TLS first, if the server speaks TLS.
async fn receive(house: Arc<House>, stream: impl Connection, activity: Activity) {
    let client = stream.ip();
    let config = match house.gate.tls() {
        Ok(Some(config)) => config,
        Ok(None) => return answer(&house, stream, Secured::NotAsked, client, &activity).await,
        // The gate has logged it.
        Err(_) => return,
    };
    match timeout(house.limits.head, agree(stream, Arc::clone(&config))).await {
        Ok(Ok(Agreed::Tls(stream))) => answer(&house, *stream, Secured::By(config), client, &activity).await,
        Ok(Ok(Agreed::NoTls(stream))) => answer(&house, stream, Secured::Lacking, client, &activity).await,
        Ok(Err(error)) => house.failures.tell(&error, client, house.limits.told),
        Err(_) => tracing::debug!("no TLS in time on an HTTP connection"),
    }
}

/// What a client of a TLS server speaks.
enum Agreed<S> {
    Tls(Box<TlsStream<S>>),
    /// HTTP right away.
    NoTls(S),
}

async fn agree<S: Connection>(stream: S, config: Arc<ServerConfig>) -> io::Result<Agreed<S>> {
    // HTTP begins with the name of a method, TLS with a byte that is no letter.
    if stream.first_byte().await?.is_some_and(|byte| byte.is_ascii_uppercase()) {
        return Ok(Agreed::NoTls(stream));
    }
    TlsAcceptor::from(config).accept(stream).await.map(|stream| Agreed::Tls(Box::new(stream)))
}

/// Whether a connection has TLS.
enum Secured {
    NotAsked,
    Lacking,
    By(Arc<ServerConfig>),
}

async fn answer(
    house: &House,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    secured: Secured,
    client: Option<IpAddr>,
    activity: &Activity,
) {
    let (House { gate, site, limits, failures }, secured) = (house, &secured);
    let streaming = &OnceLock::<(Slot, Version)>::new();
    let service = service_fn(|request: Request<Incoming>| async move {
        // A client that sends many requests at once lets others go first after each.
        yield_now().await;
        let answering = activity.answer();
        let version = site::is_streamed(request.uri().path()).then(|| gate.version());
        let (admission, fields) = match secured {
            Secured::Lacking => (Err(Refusal::PlainText), Vec::new()),
            // Other files let this client in. Clients ask again on another connection.
            Secured::By(config) if !gate.is_in_force(config) => return Err("the TLS files have changed"),
            Secured::By(_) | Secured::NotAsked => gate.admit(request.headers()).await,
        };
        // Browsers ask without a password first.
        if admission == Err(Refusal::Unauthorized) && request.headers().contains_key(AUTHORIZATION) {
            failures.tell_wrong_password(client, limits.told);
        }
        if admission.is_ok() {
            site.freshen(&request).await;
        }
        let mut response = site.respond(&request, admission);
        add(response.headers_mut(), fields);
        if let Some(beginning) = response.extensions_mut().remove::<Beginning>() {
            // From the answer on the stream misses no event.
            beginning.wait().await;
        }
        if let Some(place) = response.extensions_mut().remove() {
            let Some(Ok(version)) = version else { return Err("the web configuration has changed") };
            // A stream is the last answer of its connection.
            let _ = streaming.set((place, version));
            activity.stream();
        }
        Ok(response.map(|page| match page {
            Page::Whole(bytes) => Either::Left(Full::new(answering.with(bytes))),
            Page::Events(events) => Either::Right(Either::Left(events)),
            Page::Recording(download) => Either::Right(Either::Right(download)),
        }))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(limits.head_bytes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = match timeout(limits.connection, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            let mut ended = timeout(limits.last_answer, connection.as_mut()).await;
            while let (Err(_), Some((_, version))) = (&ended, streaming.get())
                && gate.is_still(version)
            {
                ended = timeout(limits.review, connection.as_mut()).await;
            }
            ended.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// Headers of the web configuration replace ours, except the policy: browsers then apply both.
fn add(headers: &mut HeaderMap, fields: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in fields {
        if name == CONTENT_SECURITY_POLICY {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
}

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing {
    use std::path::Path;

    use super::{config, streams};
    use crate::tracepoint::Tracepoints;

    pub(crate) fn web_config(text: &str, directory: &Path) {
        drop(config::parse(text, directory));
    }

    pub(crate) fn query(text: &str, tapped: Tracepoints) {
        for words in streams::fuzzing_query(text, tapped) {
            assert!(!words.contains(char::is_control), "{words:?} would be a line of ours");
        }
    }
}
