//! A recording of what the flight recorder holds at a moment. In: groups, shared with the memory. Out: the recording's bytes, or those of
//! a recording of its selected events.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex},
};

use super::memory::{Reserved, Rest, lock};
use crate::{
    event::Time,
    recording::{Entry, Reader, Writer},
    selection::Selection,
    units,
};

/// A recording, to be read once. Reading fails if it is too slow: newer events may then need the memory.
#[derive(Debug)]
pub struct Dump {
    rest: Arc<Mutex<Rest>>,
    _reserved: Reserved,
    span: (Time, Time),
    events: u64,
    size: u64,
    node: Option<String>,
}

impl Dump {
    pub(super) fn new(rest: Arc<Mutex<Rest>>, reserved: Reserved, span: (Time, Time), events: u64, size: u64) -> Self {
        Self { rest, _reserved: reserved, span, events, size, node: None }
    }

    pub(super) fn of(self, node: Option<String>) -> Self {
        Self { node, ..self }
    }

    /// When its first event fired, and when its last ones were drained.
    pub fn span(&self) -> (Time, Time) {
        self.span
    }

    /// How many events it has.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many bytes it has in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A name for a file: the time of its beginning, `20261129T055148Z.recording`.
    pub fn file_name(&self) -> String {
        format!("{}.recording", units::compact(self.span.0))
    }

    /// The same after the node's name, for a file that goes elsewhere. It has letters, digits, `.`, `-` and `_`.
    pub fn file_name_with_node(&self) -> String {
        let is_fit = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.');
        let node = self.node.as_deref().unwrap_or("bitcointap");
        let node: String = node.chars().map(|it| if is_fit(it) { it } else { '_' }).collect();
        format!("{}-{}", node.trim_start_matches('.'), self.file_name())
    }

    /// Writes a recording of the events that are `wanted`. The others count as filtered in it.
    ///
    /// # Errors
    /// Those of writing, and those of reading it.
    pub fn write_selected(self, wanted: &Selection, out: impl Write) -> io::Result<()> {
        let mut writer = Writer::new(out)?;
        for entry in Reader::new(self, wanted).map_err(io::Error::other)? {
            match entry.map_err(io::Error::other)? {
                Entry::Run(run) => writer.run(&run)?,
                Entry::Batch(batch) => writer.batch(&batch)?,
                Entry::End(counted) => writer.end(&counted)?,
            }
        }
        writer.finish()
    }
}

impl Read for Dump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        lock(&self.rest).read(buffer)
    }
}
