//! JSON. In: events. Out: for each a record with one line.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{HEADERS, MaxPayload};
use crate::{
    capture::Run,
    event::{Event, Kind, net},
    nats::{
        heartbeat::Heartbeat,
        subjects::{OfRun, Subjects},
    },
    p2p,
    spool::{Format, Line, Lines},
};

/// A line of JSON for each event.
pub(in crate::nats) struct JsonFormat {
    lines: Lines,
    subjects: Subjects,
    of_run: OfRun,
    max_payload: MaxPayload,
    heartbeat: Arc<Heartbeat>,
    /// A line that may be too large.
    line: Vec<u8>,
    has_warned: bool,
}

impl JsonFormat {
    pub(in crate::nats) fn new(
        lines: Lines,
        subjects: Subjects,
        max_payload: MaxPayload,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let of_run = OfRun::new(subjects.of_run(None));
        Self { lines, subjects, of_run, max_payload, heartbeat, line: Vec::new(), has_warned: false }
    }

    /// A message that is too large goes without its payload.
    fn without_payload<'a>(&mut self, event: &'a Event<'a>, most: usize) -> Option<Event<'a>> {
        let Kind::Msg(message) = &event.kind else { return None };
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "a {} of {} bytes goes without its payload, since its JSON is larger than the server takes ({} bytes): raise max_payload in \
                 the server's configuration. Larger messages are not told any more",
                message.meta.command,
                message.meta.size,
                most
            );
        }
        let net::Meta { peer_id, ref addr, conn_type, network, command, inbound, size } = message.meta;
        let meta = net::Meta { peer_id, addr: (&**addr).into(), conn_type, network, command, inbound, size };
        let msg = p2p::Message::Unavailable { command, reason: "too_large_for_broker" };
        Some(Event { kind: Kind::Msg(net::Message { meta, msg, payload: None }), ..*event })
    }
}

impl Format for JsonFormat {
    const RECORDS: &'static str = "JSON lines";

    fn decodes(&self) -> bool {
        self.lines.decodes()
    }

    fn run_begins(&mut self, run: &Run) {
        self.lines.run_begins(run);
        let beginning = self.subjects.of_run(Some(run));
        self.heartbeat.begins(&beginning);
        self.of_run = OfRun::new(beginning);
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, line: Line) -> io::Result<()> {
        match (self.of_run.of(event, line), line) {
            (Some(subject), _) => out.write_all(subject.as_bytes())?,
            (None, Line::Gap(lost)) => out.write_all(self.of_run.of_gap(lost.tracepoint).as_bytes())?,
            (None, Line::Event(_) | Line::Frame) => {}
        }
        out.write_all(b"\n")?;
        let most = self.max_payload.load(Relaxed).saturating_sub(HEADERS);
        if longest_line(event) <= most {
            return self.lines.event(out, event, line);
        }
        let mut text = std::mem::take(&mut self.line);
        text.clear();
        let written = self.lines.event(&mut Bounded { text: &mut text, most }, event, line);
        if written.is_err() {
            text.clear();
            let smaller = self.without_payload(event, most);
            // If even that is too large, the destination drops it.
            self.lines.event(&mut text, smaller.as_ref().unwrap_or(event), line)?;
        }
        out.write_all(&text)?;
        text.shrink_to(64 << 10);
        self.line = text;
        Ok(())
    }
}

/// More bytes than the JSON of an event can have. The flags of a `merkleblock` are the worst: a byte is eight times `false,`. A block of tiny
/// transactions has 26 times the bytes of its payload.
pub(crate) fn longest_line(event: &Event<'_>) -> usize {
    let Kind::Msg(message) = &event.kind else { return LONGEST_OTHER };
    LONGEST_OTHER + LONGEST_FOR_BYTE * message.payload.map_or(0, <[u8]>::len)
}

/// The longest texts of an event are some hundred bytes, each at most six in JSON.
const LONGEST_OTHER: usize = 16 << 10;
const LONGEST_FOR_BYTE: usize = 64;

/// Refuses text that does not fit, so that memory is bounded while JSON is made.
struct Bounded<'a> {
    text: &'a mut Vec<u8>,
    most: usize,
}

impl Write for Bounded<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if self.text.len() + text.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(text);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
