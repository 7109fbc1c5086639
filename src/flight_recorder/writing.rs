//! Makes groups. In: runs and parts of batches. Out: blocks of a recording, into memory. A block is compressed when it is full or two
//! seconds old. For somebody who wants to read it earlier, there is one more block.

use std::{
    io,
    time::{Duration, Instant},
};

use super::memory::Memory;
use crate::{
    capture::{Batch, Run},
    event::Time,
    kernel_side::{self, types::event_header},
    recording::{self, Entries, Parts},
    selection::Selection,
    spool::{Line, Part},
};

/// A block is compressed once its entries have this many bytes,
const FULL_BLOCK: usize = 256 << 10;
/// or once it is this old.
const INTERVAL: Duration = Duration::from_secs(2);
/// A group ends once it has this many bytes,
const FULL_GROUP: usize = 1 << 20;
/// or once it is as old as a block and has this many times the bytes of its opening,
const GROUP_TO_OPENING: usize = 20;
/// or once it is this old: a dump of the last minutes begins with a group.
const LONGEST_GROUP: Duration = Duration::from_secs(10);

/// The recording of one spool.
pub(super) struct Writing {
    parts: Parts,
    /// Entries that are not compressed yet, and when the first of them came.
    block: Vec<u8>,
    begun: Instant,
    group: Option<Group>,
    /// Whether the next group goes on with the run.
    continues: bool,
}

/// The newest group.
struct Group {
    begun: Instant,
    /// Bytes of its header and opening.
    opening: usize,
}

impl Group {
    fn is_over(&self, bytes: usize) -> bool {
        let age = self.begun.elapsed();
        let pays = bytes >= GROUP_TO_OPENING * self.opening;
        bytes >= FULL_GROUP || age >= LONGEST_GROUP || age >= INTERVAL && pays
    }
}

impl Writing {
    pub(super) fn new(wanted: &Selection) -> io::Result<Self> {
        let parts = Parts::new(wanted)?.counted_by_entries();
        Ok(Self { parts, block: Vec::new(), begun: Instant::now(), group: None, continues: false })
    }

    /// A run begins. Nothing waits to be compressed.
    pub(super) fn run_begins(&mut self, run: &Run) {
        self.parts.run_begins(run);
        (self.group, self.continues) = (None, false);
    }

    pub(super) fn add(&mut self, part: &Part<'_>, memory: &mut Memory) -> io::Result<()> {
        if !self.parts.has_run() {
            return Ok(());
        }
        if self.begun.elapsed() >= INTERVAL {
            self.flush(memory)?;
        }
        if self.block.is_empty() {
            self.begun = Instant::now();
            self.be_in_group(memory)?;
        }
        self.parts.add(part, &mut self.block)?;
        let mut events = 0;
        part.lines(|line| events += u64::from(matches!(line, Line::Event(_))));
        let (drained, _) = part.batch.drained();
        memory.note(fired(part.batch).unwrap_or(drained), drained, events);
        if self.block.len() >= FULL_BLOCK || part.ends() { self.flush(memory) } else { Ok(()) }
    }

    /// Compresses what waits.
    pub(super) fn flush(&mut self, memory: &mut Memory) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        memory.make_room(Entries::most_framed(self.block.len()));
        let mut framed = Vec::new();
        self.parts.entries.frame_that_goes_on(&self.block, &mut framed)?;
        framed.shrink_to_fit();
        memory.push(framed, self.block.len());
        self.block.clear();
        self.block.shrink_to(2 * FULL_BLOCK);
        Ok(())
    }

    /// A block of what waits, which goes on waiting, and its bytes before it was compressed.
    pub(super) fn unfinished(&mut self, memory: &mut Memory) -> io::Result<Option<(Vec<u8>, usize)>> {
        if self.block.is_empty() {
            return Ok(None);
        }
        memory.make_room(Entries::most_framed(self.block.len()));
        let mut framed = Vec::new();
        self.parts.entries.frame(&self.block, &mut framed)?;
        Ok(Some((framed, self.block.len())))
    }

    /// Begins a group if it is time.
    fn be_in_group(&mut self, memory: &mut Memory) -> io::Result<()> {
        if self.group.as_ref().is_some_and(|group| !group.is_over(memory.of_newest())) {
            return Ok(());
        }
        let beginning = [recording::beginning(), self.parts.entries.opening(self.continues)?].concat();
        self.group = Some(Group { begun: Instant::now(), opening: beginning.len() });
        self.continues = true;
        memory.begin(beginning);
        Ok(())
    }
}

/// When the first event of a batch fired.
fn fired(batch: &Batch) -> Option<Time> {
    let (header, _) = kernel_side::split::<event_header>(batch.records().next()?)?;
    Some(Time(header.boot_ns.saturating_add_signed(batch.decoder.unix_offset_ns)))
}
