//! What is drained at once: the bytes of records, and what it takes to decode them. In: records, from the ring buffer.
//! Out: events that borrow from it.

use crate::{
    event::{Decoder, Event, Kind, Lost, tracepoint_of},
    tracepoint::{LossReason, Tracepoint},
};

/// Events drained together. They borrow from it.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<usize>,
    pub(super) decoder: Decoder,
}

impl Batch {
    /// The next drain ends when a batch has this many bytes: it bounds memory, and time between looks at the clock.
    const FULL: usize = 1 << 20;
    const RECORDS: usize = 4096;

    /// Gives each event in the order in which the node fired them.
    pub fn each(&self, mut give: impl FnMut(Event<'_>)) {
        for record in self.records() {
            if !self.decoder.decode(record, &mut give) {
                // Cannot happen: kernel side and decoder come from one source. If it does, it must be seen.
                tracing::error!(bytes = record.len(), "a record of the kernel side was not understood");
            }
        }
    }

    /// Events and gaps in it.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// The tracepoint of each event, without decoding it.
    pub fn tracepoints(&self) -> impl Iterator<Item = Tracepoint> {
        self.records().filter_map(tracepoint_of)
    }

    /// What is missing for those who never see this batch: its events, for `reason`, and the gaps that it tells of.
    pub fn as_lost(&self, reason: LossReason, mut give: impl FnMut(Lost)) {
        for record in self.records() {
            match tracepoint_of(record) {
                Some(tracepoint) => give(Lost { tracepoint, reason, count: 1 }),
                None => {
                    self.decoder.decode(record, |event| {
                        if let Kind::Lost(lost) = event.kind {
                            give(lost);
                        }
                    });
                }
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        // One message of 4 MB must not be paid for ever after.
        self.bytes.shrink_to(Self::FULL);
    }

    pub(super) fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL || self.ends.len() >= Self::RECORDS
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), decoder: Decoder { tai_offset_ns: 0, block_duration_unit_ns: 1 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_records_apart() {
        let mut batch = Batch::default();
        batch.push(b"one");
        batch.push(b"");
        batch.push(b"three");
        assert_eq!(batch.records().collect::<Vec<_>>(), [b"one".as_slice(), b"", b"three"]);
        assert!(!batch.is_full());
        batch.push(&vec![0; Batch::FULL]);
        assert!(batch.is_full());
        batch.clear();
        assert!(batch.is_empty());
    }
}
