//! From the thread that writes for a reader to the connection. In: what it writes. Out: the body of an answer, at most
//! a few pieces behind, with comments while nothing comes.

use std::{
    convert::Infallible,
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};

use super::Reader;

/// How many pieces may wait for the connection, each of the size of an output's buffer, 64 KiB.
const CHUNKS: usize = 2;
/// A comment of server-sent events, which readers skip.
const COMMENT: &[u8] = b":\n\n";

/// Waits while it is full. Fails like a closed pipe when the body is gone.
pub(super) fn channel() -> (impl Write + Send + 'static, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (Chunks(sender), receiver)
}

struct Chunks(mpsc::Sender<Bytes>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of an answer with a stream of events.
#[derive(Debug)]
pub(in crate::http) struct Events {
    /// Dropped first: a failure because nobody receives is then not logged any more.
    _reader: Reader,
    chunks: mpsc::Receiver<Bytes>,
    keep_alive: Option<KeepAlive>,
}

impl Events {
    /// Call it on the runtime of the connection.
    pub(super) fn new(reader: Reader, chunks: mpsc::Receiver<Bytes>, keep_alive: Option<Duration>) -> Self {
        Self { _reader: reader, chunks, keep_alive: keep_alive.map(KeepAlive::new) }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { chunks, keep_alive, .. } = &mut *self;
        if let Poll::Ready(chunk) = chunks.poll_recv(context) {
            if let (Some(keep_alive), Some(chunk)) = (keep_alive, &chunk) {
                keep_alive.note(chunk);
            }
            return Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))));
        }
        match keep_alive {
            Some(keep_alive) => keep_alive.poll(context).map(|()| Some(Ok(Frame::data(COMMENT.into())))),
            None => Poll::Pending,
        }
    }
}

/// When to show that the stream is alive.
#[derive(Debug)]
struct KeepAlive {
    interval: Duration,
    next: Pin<Box<Sleep>>,
    /// Whether a comment would not be in the middle of an event.
    between_events: bool,
}

impl KeepAlive {
    fn new(interval: Duration) -> Self {
        Self { interval, next: Box::pin(sleep(interval)), between_events: true }
    }

    fn note(&mut self, chunk: &[u8]) {
        self.between_events = chunk.ends_with(b"\n\n");
        self.next.as_mut().reset(Instant::now() + self.interval);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.next.as_mut().poll(context).is_ready() {
            self.next.as_mut().reset(Instant::now() + self.interval);
            if self.between_events {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
