//! The records that a destination gets. In: their text, from the thread that writes, and where each ends. Out: the same, from the
//! front, as far as the destination takes it.

use crate::{event::Lost, tracepoint::Tracepoint};

/// Records that wait for a destination, the oldest first. Unless the destination wants each record in one piece, a record of more than
/// the buffer comes in parts. All parts but the last come alone, and no record ends in them.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`. What follows the last end is not a whole record.
    ends: Vec<(usize, Line)>,
}

/// A record of [`Records`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its text. If it came in parts, the text of its last part.
    pub bytes: &'a [u8],
    /// What it is about.
    pub line: Line,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// An event of a tracepoint.
    Event(Tracepoint),
    /// A gap: these events are missing.
    Gap(Lost),
    /// Neither: what a format writes before or after all events.
    Frame,
}

impl Records {
    /// The text of all of them, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Moves that text out, so that a destination can keep it without a copy. The destination must then report all bytes as taken, or
    /// fail for good.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Each record that ends in this text.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let starts = [0].into_iter().chain(self.ends.iter().map(|&(end, _)| end));
        starts.zip(&self.ends).map(|(start, &(end, line))| Record { bytes: &self.bytes[start..end], line })
    }

    /// Where the last record ends that ends within the first `bytes`.
    pub fn end_within(&self, bytes: usize) -> Option<usize> {
        let within = self.ends.partition_point(|&(end, _)| end <= bytes);
        Some(self.ends[..within].last()?.0)
    }

    #[inline]
    pub(super) fn extend(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// Ends a record: the text that was added since the last one.
    pub(super) fn end(&mut self, line: Line) {
        self.ends.push((self.bytes.len(), line));
    }

    /// Whether text was added since the last record ended.
    pub(super) fn is_begun(&self) -> bool {
        self.whole() < self.bytes.len()
    }

    /// Whether any record is whole.
    pub(super) fn has_whole(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Moves out the text that is not a whole record yet.
    pub(super) fn split_begun(&mut self) -> Vec<u8> {
        self.bytes.split_off(self.whole())
    }

    fn whole(&self) -> usize {
        self.ends.last().map_or(0, |&(end, _)| end)
    }

    /// Removes the first `bytes`, which were taken. Gives what the records that ended in them are about.
    pub(super) fn taken(&mut self, bytes: usize) -> impl Iterator<Item = Line> {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        let whole = self.ends.partition_point(|&(end, _)| end <= bytes);
        self.ends[whole..].iter_mut().for_each(|(end, _)| *end -= bytes);
        self.ends.drain(..whole).map(|(_, line)| line)
    }

    /// Drops all records. Gives what they are about.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Line> {
        self.bytes.clear();
        self.ends.drain(..).map(|(_, line)| line)
    }

    /// How many more bytes fit into its memory, up to `most` in all.
    #[inline]
    pub(super) fn room(&self, most: usize) -> usize {
        self.bytes.capacity().min(most).saturating_sub(self.bytes.len())
    }

    /// Grows its memory to so many bytes, if it has less.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes.saturating_sub(self.bytes.len()));
    }

    /// Shrinks its memory to so many bytes, or to what is in use.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// A record for each line. What follows the last newline is no record.
    #[cfg(test)]
    pub(super) fn of_lines(text: &[u8]) -> Self {
        let mut records = Self::default();
        for part in text.split_inclusive(|&byte| byte == b'\n') {
            records.extend(part);
            if part.ends_with(b"\n") {
                records.end(Line::Frame);
            }
        }
        records
    }
}
