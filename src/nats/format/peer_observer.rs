//! The format of peer-observer's tools. In: events. Out: records with one message each, on the subjects that these tools read. Events that
//! their schema has no place for go as JSON to our own subjects, which have more than one token: these tools do not read them.

use std::io::{self, Write};

use super::JsonFormat;
use crate::{
    capture::Run,
    event::Event,
    peer_observer::{Options, encode},
    spool::{Format, Line},
};

/// A message of peer-observer's schema for each event.
pub(in crate::nats) struct PeerObserverFormat {
    others: JsonFormat,
    message: Vec<u8>,
}

impl PeerObserverFormat {
    /// `others` writes the events that the schema has no place for.
    pub(in crate::nats) fn new(others: JsonFormat) -> Self {
        Self { others, message: Vec::new() }
    }
}

impl Format for PeerObserverFormat {
    const RECORDS: &'static str = "messages";

    fn run_begins(&mut self, run: &Run) {
        self.others.run_begins(run);
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, line: Line) -> io::Result<()> {
        self.message.clear();
        match encode(event, Options::default(), &mut self.message) {
            Some(subject) => {
                out.write_all(subject.name().as_bytes())?;
                out.write_all(b"\n")?;
                out.write_all(&self.message)?;
            }
            None => self.others.event(out, event, line)?,
        }
        self.message.shrink_to(64 << 10);
        Ok(())
    }
}
