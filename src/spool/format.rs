//! Formats of events. In: events, and gaps between them. Out: text, in many short pieces.

use std::io::{self, Write};

use crate::{
    event::{Event, Time},
    json::{self, BytesStyle, PayloadStyle, Style},
};

/// Writes events as text.
pub trait Format: Send + 'static {
    /// Whether it needs the payloads of messages decoded.
    fn decodes(&self) -> bool {
        true
    }

    /// Writes what comes before all events.
    fn begin(&mut self, _out: &mut impl Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes an event or a gap.
    fn event(&mut self, out: &mut impl Write, event: &Event<'_>) -> io::Result<()>;

    /// The next event belongs to another run of the node. Its numbers of peers start anew.
    fn next_run(&mut self) {}

    /// Writes what comes after all events.
    fn end(&mut self, _out: &mut impl Write, _time: Time) -> io::Result<()> {
        Ok(())
    }
}

/// A line of JSON for each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonLines {
    /// How values are written.
    pub style: Style,
    /// Whether messages are written without their payload. Then it is not decoded.
    pub without_payload: bool,
}

impl JsonLines {
    /// Lines that are not indented.
    pub fn new(bytes: BytesStyle, payload: PayloadStyle) -> Self {
        let style = Style { bytes, pretty: false, raw: payload == PayloadStyle::Raw };
        Self { style, without_payload: payload == PayloadStyle::None }
    }
}

impl Format for JsonLines {
    fn decodes(&self) -> bool {
        !self.without_payload
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>) -> io::Result<()> {
        json::write_line(out, event, self.style)
    }
}
