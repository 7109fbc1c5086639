//! Downloads of the flight recorder. In: requests. Out: answers with a recording, made by a thread of its own for each, so that selecting
//! delays nobody. If the client does not read, the thread waits, and newer events may take the place of what it has not sent.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Frame},
    header::{CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use tokio::sync::mpsc;

use super::{
    site::{self, PLAIN, Page, response, with_header},
    streams::Streams,
};
use crate::{
    flight_recorder::{Dump, Recorder, Refusal},
    privileges,
    selection::Selection,
    units,
};

const CONTENT_TYPE: &str = "application/octet-stream";
/// Bytes that are sent at once.
const PIECE: usize = 32 << 10;

/// The body of such an answer.
#[derive(Debug)]
pub(super) struct Download(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}

/// Answers a request for a recording.
pub(super) fn respond(recorder: &Recorder, streams: &Streams, request: &Request<impl Body>) -> Response<Page> {
    // Before anything else: a client shall not think that its query is wrong.
    if !recorder.is_on() {
        return refused(&Refusal::Off);
    }
    let (place, last, selection) = match streams.download(request.uri().query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(refusal) => return site::no_stream(refusal),
    };
    let dump = match recorder.dump(last, selection.is_some()) {
        Ok(dump) => dump,
        Err(refusal) => return refused(&refusal),
    };
    let mut response = response(StatusCode::OK, CONTENT_TYPE, "");
    let disposition = format!("attachment; filename=\"{}\"", dump.file_name_with_node());
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    if selection.is_none() {
        response.headers_mut().insert(CONTENT_LENGTH, dump.size().into());
    }
    if request.method() == Method::GET {
        match send(dump, selection) {
            Ok(download) => *response.body_mut() = Page::Recording(download),
            Err(error) => {
                tracing::error!(%error, "cannot start the thread of a download");
                return site::no_stream(super::streams::Refusal::Failed);
            }
        }
        response.extensions_mut().insert(place);
    }
    let response = with_header(response, CACHE_CONTROL, "no-store");
    let response = with_header(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    with_header(response, CONNECTION, "close")
}

fn refused(refusal: &Refusal) -> Response<Page> {
    let (status, words) = match refusal {
        Refusal::Off => {
            (StatusCode::NOT_FOUND, "there is no flight recorder: start export with --flight-recorder SIZE".to_owned())
        }
        Refusal::Nothing(None) => (StatusCode::SERVICE_UNAVAILABLE, "nothing is recorded yet: try again later".into()),
        Refusal::Nothing(Some(newest)) => {
            let newest = units::compact(*newest);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("nothing was recorded in that time; the newest event is of {newest}"),
            )
        }
        Refusal::NoRoom(bytes) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "this takes {} MiB of the flight recorder's memory, and other downloads leave less: try again later, \
                 without conditions, or with a larger --flight-recorder",
                bytes.div_ceil(1 << 20)
            ),
        ),
    };
    response(status, PLAIN, format!("{words}\n"))
}

/// Starts the thread that gives the recording to the connection.
fn send(dump: Dump, selection: Option<Selection>) -> io::Result<Download> {
    let (sender, pieces) = mpsc::channel(1);
    thread::Builder::new().name("download".into()).spawn(move || {
        privileges::drop_all_of_thread();
        let mut out = Pieces { piece: Vec::with_capacity(PIECE), sender };
        if let Err(error) = write(dump, selection.as_ref(), &mut out)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::debug!(%error, "a download of the flight recorder breaks off");
            // The client sees that it breaks off. It fails if the client has gone.
            let _ = out.sender.blocking_send(Err(error));
        }
    })?;
    Ok(Download(pieces))
}

fn write(mut dump: Dump, selection: Option<&Selection>, out: &mut Pieces) -> io::Result<()> {
    match selection {
        None => drop(io::copy(&mut dump, out)?),
        Some(selection) => dump.write_selected(selection, &mut *out)?,
    }
    out.send()
}

/// Gathers bytes for the connection. Fails like a closed pipe when the client has gone.
struct Pieces {
    piece: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(length)
    }

    /// Does nothing: only whole pieces are sent before the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
