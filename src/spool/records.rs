//! What a destination is handed. In: the text of records, by the thread that writes, and where each ends. Out: the same, from the
//! front, as far as the destination takes it.

use crate::{event::Lost, tracepoint::Tracepoint};

/// Records that wait for a destination, the oldest first. Unless that wants each in one piece, one that is larger than 64 KiB comes
/// in parts: all but the last part come alone, and end no record.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`. What follows the last is no whole record.
    ends: Vec<(usize, Line)>,
}

/// One of [`Records`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its text; of one that came in parts, the last.
    pub bytes: &'a [u8],
    /// What it tells.
    pub line: Line,
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// An event of a tracepoint.
    Event(Tracepoint),
    /// Events that are missing.
    Gap(Lost),
    /// Neither: what a format has before or after all events.
    Frame,
}

impl Records {
    /// All of them, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, for who keeps them: so they are not copied. Whoever takes them has to say that all are taken, or to fail for good.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Each record that ends in them.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let starts = [0].into_iter().chain(self.ends.iter().map(|&(end, _)| end));
        starts.zip(&self.ends).map(|(start, &(end, line))| Record { bytes: &self.bytes[start..end], line })
    }

    /// Where the last record ends that is within so many bytes.
    pub fn end_within(&self, bytes: usize) -> Option<usize> {
        let within = self.ends.partition_point(|&(end, _)| end <= bytes);
        Some(self.ends[..within].last()?.0)
    }

    #[inline]
    pub(super) fn extend(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// What was added since the last one is a record.
    pub(super) fn end(&mut self, line: Line) {
        self.ends.push((self.bytes.len(), line));
    }

    /// Whether something was added since the last one.
    pub(super) fn is_begun(&self) -> bool {
        self.whole() < self.bytes.len()
    }

    /// Whether any of them is whole.
    pub(super) fn has_whole(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Takes away what is no whole record yet.
    pub(super) fn split_begun(&mut self) -> Vec<u8> {
        self.bytes.split_off(self.whole())
    }

    fn whole(&self) -> usize {
        self.ends.last().map_or(0, |&(end, _)| end)
    }

    /// So many bytes are taken; gives what the records among them tell.
    pub(super) fn taken(&mut self, bytes: usize) -> impl Iterator<Item = Line> {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        let whole = self.ends.partition_point(|&(end, _)| end <= bytes);
        self.ends[whole..].iter_mut().for_each(|(end, _)| *end -= bytes);
        self.ends.drain(..whole).map(|(_, line)| line)
    }

    /// Gives them all up, and what they would have told.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Line> {
        self.bytes.clear();
        self.ends.drain(..).map(|(_, line)| line)
    }

    /// For how many bytes it has room without growing beyond `most`.
    #[inline]
    pub(super) fn room(&self, most: usize) -> usize {
        self.bytes.capacity().min(most).saturating_sub(self.bytes.len())
    }

    /// Grows to so many bytes, if it is not that large.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes.saturating_sub(self.bytes.len()));
    }

    /// Shrinks to so many bytes, as far as they are free.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// Of a line each; what follows the last newline is none.
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
