//! Writes a recording. In: runs of a node, batches, ends. Out: groups, each of which can be read alone.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use super::{
    END_OF_GROUP,
    entries::{Chosen, Entries},
    missed::Missed,
    opening,
};
use crate::capture::{Batch, Counted, Run};

/// A block is written once its contents have this many bytes,
const FULL_BLOCK: usize = 1 << 20;
/// or once it is this old.
const BLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// A new group begins once the contents of its blocks have this many bytes,
const FULL_GROUP: u64 = 64 << 20;
/// or once it is this old and its bytes are at least this many times those of its opening.
const GROUP_INTERVAL: Duration = Duration::from_secs(60);
const GROUP_TO_OPENING: u64 = 100;

/// Writes a recording. Without [`Writer::finish`] the recording lacks its end, and readers report that.
pub struct Writer<W: Write> {
    out: W,
    entries: Entries,
    /// Entries that are not written yet, and when the first of them came.
    block: Vec<u8>,
    begun: Instant,
    /// The bytes of the block that is written, kept to be used again.
    framed: Vec<u8>,
    written: u64,
    /// Whether the header of the next group is written.
    has_header: bool,
    /// `None` before the first group, and between groups.
    group: Option<Group>,
}

/// The group that is written.
struct Group {
    begun: Instant,
    /// Bytes of its opening; bytes written so far; and bytes of the contents of its blocks.
    opening: u64,
    written: u64,
    entries: u64,
}

impl Group {
    fn is_due(&self) -> bool {
        let is_old = || self.begun.elapsed() >= GROUP_INTERVAL;
        self.entries >= FULL_GROUP || self.written >= GROUP_TO_OPENING * self.opening && is_old()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the first header. The writer writes in large pieces: `out` needs no buffer.
    pub fn new(mut out: W) -> io::Result<Self> {
        let beginning = opening::beginning();
        out.write_all(&beginning)?;
        out.flush()?;
        Ok(Self { written: beginning.len() as u64, has_header: true, ..Self::without_header(out)? })
    }

    /// The same, but nothing is written before the first group.
    pub(super) fn without_header(out: W) -> io::Result<Self> {
        Ok(Self {
            out,
            entries: Entries::new()?,
            block: Vec::new(),
            begun: Instant::now(),
            framed: Vec::new(),
            written: 0,
            has_header: false,
            group: None,
        })
    }

    /// Begins a run of a node, and with it a group.
    pub fn run(&mut self, run: &Run) -> io::Result<()> {
        self.flush()?;
        self.entries.run_begins(run);
        self.open(false)
    }

    /// Adds a batch. Writes the block if it is time.
    pub fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        self.batch_after(&Missed::default(), batch)
    }

    /// The same, after what is missing.
    pub(super) fn batch_after(&mut self, missed: &Missed, batch: &Batch) -> io::Result<()> {
        self.be_in_group()?;
        self.entries.count(missed.counted());
        self.entries.count(batch.added());
        let chosen = Chosen { before: &missed.gaps(), ..Chosen::ALL };
        self.entry(|entries, block| entries.batch(batch, &chosen, block))?;
        self.flush_in_time()
    }

    /// Ends the run. Writes all at once, since nothing may follow for a long time.
    pub fn end(&mut self, counted: &Counted) -> io::Result<()> {
        self.end_after(&Missed::default(), counted)
    }

    /// The same, after what is missing.
    pub(super) fn end_after(&mut self, missed: &Missed, counted: &Counted) -> io::Result<()> {
        self.be_in_group()?;
        self.entries.count(missed.counted());
        self.entries.count(&counted.added);
        let untold = [missed.gaps(), counted.untold.clone()].concat();
        self.entry(|entries, block| entries.end(&untold, block))?;
        self.entries.run = None;
        self.flush()
    }

    /// Ends the group, if there is one. What follows is a recording of its own, also alone.
    pub(super) fn end_group(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.group.take().is_some() {
            self.write(&END_OF_GROUP)?;
        }
        Ok(())
    }

    /// How many bytes of entries wait to be written.
    pub(super) fn holds(&self) -> usize {
        self.block.len()
    }

    pub(super) fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Begins another group, at which the recording can be cut. The writer also does so by itself from time to time.
    pub fn begin_group(&mut self) -> io::Result<()> {
        self.flush()?;
        self.open(self.entries.run.is_some())
    }

    /// Makes sure that a group has begun, and begins another one if it is time.
    fn be_in_group(&mut self) -> io::Result<()> {
        match &self.group {
            None => self.open(self.entries.run.is_some()),
            Some(group) if self.block.is_empty() && group.is_due() => self.open(self.entries.run.is_some()),
            Some(_) => Ok(()),
        }
    }

    /// Ends the group, if there is one, and opens the next.
    fn open(&mut self, continues: bool) -> io::Result<()> {
        let opening = self.entries.opening(continues)?;
        let before = match &self.group {
            // One write has the end and the next header. So a recording that stops between them was not cut off by a crash.
            Some(_) => [&END_OF_GROUP[..], &opening::beginning()].concat(),
            None if self.has_header => Vec::new(),
            None => opening::beginning(),
        };
        self.has_header = false;
        let bytes = [before, opening].concat();
        self.write(&bytes)?;
        let length = bytes.len() as u64;
        self.group = Some(Group { begun: Instant::now(), opening: length, written: length, entries: 0 });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes all that waits, and the end.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.end_mark()
    }

    /// Writes only the end. For use after writing has failed and `out` was set back to [`Writer::written`].
    pub fn finish_early(mut self) -> io::Result<()> {
        self.end_mark()
    }

    /// How many bytes of whole blocks and headers are written.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn end_mark(&mut self) -> io::Result<()> {
        self.out.write_all(&END_OF_GROUP)?;
        self.out.flush()
    }

    fn entry(&mut self, add: impl FnOnce(&mut Entries, &mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        if self.block.is_empty() {
            self.begun = Instant::now();
        }
        add(&mut self.entries, &mut self.block)
    }

    fn flush_in_time(&mut self) -> io::Result<()> {
        if self.block.len() >= FULL_BLOCK || !self.block.is_empty() && self.begun.elapsed() >= BLOCK_INTERVAL {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut framed = std::mem::take(&mut self.framed);
        self.entries.frame_that_goes_on(&self.block, &mut framed)?;
        if let Err(error) = self.write(&framed) {
            self.entries.begin_anew();
            return Err(error);
        }
        if let Some(group) = &mut self.group {
            group.written += framed.len() as u64;
            group.entries += self.block.len() as u64;
        }
        framed.clear();
        framed.shrink_to(2 * FULL_BLOCK);
        self.framed = framed;
        self.block.clear();
        self.block.shrink_to(2 * FULL_BLOCK);
        Ok(())
    }
}
