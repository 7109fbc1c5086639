//! From the thread that writes for a reader to the connection. In: records. Out: the body of an answer, a few pieces
//! behind that at most, and comments while nothing comes.

use std::{
    convert::Infallible,
    io,
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
use crate::spool::{Destination, Records};

/// What may wait for the connection, in pieces of whole records or of a part of one, of 64 KiB at most.
const CHUNKS: usize = 2;
/// Smaller pieces are copied: otherwise each would hold all of the buffer that it was gathered in.
const COPIED_BYTES: usize = 32 << 10;
/// A comment of server-sent events, which readers skip.
const COMMENT: &[u8] = b":\n\n";

/// Waits while it is full. Fails like a closed pipe when the body is gone.
pub(super) fn channel() -> (impl Destination, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (Chunks(sender), receiver)
}

struct Chunks(mpsc::Sender<Bytes>);

impl Destination for Chunks {
    fn name(&self) -> String {
        "the reader of a stream".into()
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        let bytes = records.bytes().len();
        let chunk =
            if bytes < COPIED_BYTES { Bytes::copy_from_slice(records.bytes()) } else { records.take_bytes().into() };
        self.0.blocking_send(chunk).map(|()| bytes).map_err(|_| io::ErrorKind::BrokenPipe.into())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        capture::Batch,
        kernel_side::{
            types::{attempting_aps_record, event_header},
            write,
        },
        selection::Selection,
        spool::{JsonLines, Spool},
        tracepoint::Tracepoint,
    };

    /// What a connection gets of an event of each wallet.
    fn chunks(wallets: &[String]) -> Vec<Bytes> {
        let tracepoint = Tracepoint::CoinSelectionAttemptingApsCreateTx;
        let mut batch = Batch::default();
        for wallet in wallets {
            let (tracepoint, text_length) = (tracepoint.index() as u8, wallet.len() as u16);
            let header = event_header { tracepoint, text_length, ..Default::default() };
            batch.push(&write(attempting_aps_record { header }, wallet.as_bytes()));
        }
        let (chunks, mut received) = channel();
        let wanted = Selection::of([tracepoint].into_iter().collect());
        let output = Spool::start_any(chunks, JsonLines::default(), &wanted, None).unwrap();
        output.push(&Arc::new(batch));
        output.close();
        let received: Vec<_> = std::iter::from_fn(|| received.blocking_recv()).collect();
        assert_eq!(output.finish(|_| false).written, wallets.len() as u64);
        received
    }

    #[test]
    fn what_waits_for_a_connection_is_whole_lines() {
        let wallets: Vec<_> = ('a'..='z').map(|letter| letter.to_string().repeat(20_000)).collect();
        let chunks = chunks(&wallets);
        assert!(chunks.len() > 8 && chunks.iter().all(|chunk| chunk.len() <= 64 << 10 && chunk.ends_with(b"\n")));
        let lines = chunks.concat();
        assert!(
            lines
                .split(|&byte| byte == b'\n')
                .zip(&wallets)
                .all(|(line, wallet)| { String::from_utf8_lossy(line).contains(&format!("\"{wallet}\"")) })
        );
    }

    #[test]
    fn a_long_line_never_waits_in_one_piece() {
        let long = "\"".repeat(65_535);
        let chunks = chunks(&["a".into(), long, "b".into()]);
        assert!(chunks.iter().all(|chunk| chunk.len() <= 64 << 10));
        let lines = chunks.concat();
        assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 3);
        assert!(lines.len() > 2 * 65_535);
    }
}
