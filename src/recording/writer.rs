//! Writes a recording.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_bytes::Bytes;

use super::{BLOCK_HEADER, Changed, MAGIC, Stored, VERSION};
use crate::{
    capture::{Batch, Counted, Counters, Run},
    tracepoint::Tracepoint,
};

/// A block is written when it has so many bytes, decompressed.
const FULL_BLOCK: usize = 1 << 20;
/// And when it was begun so long ago.
const BLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Writes a recording of what it is given in order. What is not finished lacks its end, which readers tell.
pub struct Writer<W: Write> {
    out: W,
    compressor: zstd::bulk::Compressor<'static>,
    /// Entries that are not written yet, and since when there are some.
    block: Vec<u8>,
    begun: Instant,
    counters: [Counters; Tracepoint::COUNT],
    /// The records of a batch, one after another.
    records: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header. What it is given is written in large pieces: `out` needs no buffer.
    pub fn new(mut out: W) -> io::Result<Self> {
        let header = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
        out.write_all(&header)?;
        Ok(Self {
            out,
            compressor: zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
            block: Vec::new(),
            begun: Instant::now(),
            counters: Default::default(),
            records: Vec::new(),
            written: header.len() as u64,
        })
    }

    /// A run of a node begins.
    pub fn run(&mut self, run: &Run) -> io::Result<()> {
        self.counters = Default::default();
        self.entry(&Stored::Run {
            pid: run.pid,
            program: run.program.to_string_lossy().into_owned(),
            start_time: run.start_time,
            attached: run.attached.bits(),
            failed: run.failed.bits(),
        })
    }

    /// What was drained; writes what waits to be written, if it is time.
    pub fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        let changed = self.changed(batch.added());
        if batch.is_empty() && changed.is_empty() {
            return self.flush_in_time();
        }
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let mut lengths = Vec::with_capacity(batch.len());
        for record in batch.records() {
            records.extend_from_slice(record);
            lengths.push(record.len() as u32);
        }
        let (time, moment) = batch.drained();
        self.entry(&Stored::Batch {
            drained: (time.0, moment.0),
            unix_offset_ns: batch.decoder.unix_offset_ns,
            block_duration_unit_ns: batch.decoder.block_duration_unit_ns,
            ring_buffer: batch.ring_buffer(),
            changed,
            lengths,
            records: Bytes::new(&records),
        })?;
        self.records = records;
        // One batch of large messages must not be paid for ever after.
        self.records.shrink_to(FULL_BLOCK);
        self.flush_in_time()
    }

    /// The run has ended, or is let go. Writes it at once: nothing may come for a long time then.
    pub fn end(&mut self, counted: &Counted) -> io::Result<()> {
        let changed = self.changed(&counted.added);
        let untold = counted.untold.iter();
        let untold = untold.map(|lost| (lost.tracepoint as u8, lost.reason as u8, lost.count)).collect();
        self.entry(&Stored::End { changed, untold })?;
        self.flush()
    }

    /// Writes all, and the end.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.end_mark()
    }

    /// After writing has failed and `out` is set back to [`Writer::written`]: writes the end after what is whole.
    pub fn finish_early(mut self) -> io::Result<()> {
        self.end_mark()
    }

    /// Bytes of the header and of all blocks that are whole.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn end_mark(&mut self) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK_HEADER])?;
        self.out.flush()
    }

    fn changed(&mut self, added: &[Counters; Tracepoint::COUNT]) -> Changed {
        let changed = (0..Tracepoint::COUNT).filter(|&index| added[index] != Counters::default());
        let sums = changed.map(|index| {
            self.counters[index] = self.counters[index].plus(&added[index]);
            (index as u8, self.counters[index])
        });
        sums.collect()
    }

    fn entry(&mut self, entry: &Stored<'_>) -> io::Result<()> {
        if self.block.is_empty() {
            self.begun = Instant::now();
        }
        entry.serialize(&mut postcard::Serializer { output: Tail(&mut self.block) }).map_err(io::Error::other)
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
        let frame = self.compressor.compress(&self.block)?;
        let numbers = [frame.len() as u32, self.block.len() as u32, crc32fast::hash(&frame)];
        self.out.write_all(&numbers.map(u32::to_le_bytes).concat())?;
        self.out.write_all(&frame)?;
        self.out.flush()?;
        self.written += (BLOCK_HEADER + frame.len()) as u64;
        self.block.clear();
        self.block.shrink_to(2 * FULL_BLOCK);
        Ok(())
    }
}

/// Where postcard appends to.
struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
