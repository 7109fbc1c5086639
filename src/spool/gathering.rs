//! Gathers text for a destination. In: the text that a format writes, and where each record ends. Out: [`Records`] for the destination,
//! when they fill the buffer or must not wait any longer. Counts what the destination takes.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{
    destination::Destination,
    queue::Shared,
    records::{Line, Records},
};

/// How long to wait when a destination that does not block can take no more.
const DESTINATION_INTERVAL: Duration = Duration::from_millis(1);

/// Records that wait, and their destination.
#[derive(Debug)]
pub(super) struct Gathering<D> {
    /// As the destination says.
    buffer: usize,
    pub destination: D,
    records: Records,
    shared: Arc<Shared>,
}

impl<D: Destination> Gathering<D> {
    pub(super) fn new(destination: D, shared: Arc<Shared>) -> Self {
        Self { buffer: destination.buffer_bytes(), destination, records: Records::default(), shared }
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.records.bytes().len()
    }

    /// Ends a record: the text since the last one. A format may write nothing for an event.
    pub(super) fn end(&mut self, line: Line) {
        self.records.end(line);
        if self.waiting() == 0 {
            self.account(0);
        }
    }

    /// Ends text that is neither event nor gap, if there is any.
    pub(super) fn end_frame(&mut self) {
        if self.records.is_begun() {
            self.records.end(Line::Frame);
        }
    }

    /// Hands over all that waits.
    pub(super) fn flush_records(&mut self) -> io::Result<()> {
        self.hand_over()?;
        self.destination.flush()
    }

    /// Gives up what the destination has not taken, and the record that it has taken in part. Gives what is lost, and whether the
    /// destination may ever work again.
    pub(super) fn give_up(&mut self) -> (impl Iterator<Item = Line>, bool) {
        let may_work_again = self.destination.has_failed();
        (self.records.give_up(), may_work_again)
    }

    /// Gives up what the destination has taken and still holds: it will never work again.
    pub(super) fn give_up_held(&mut self) {
        let held = self.destination.held();
        self.shared.written.fetch_sub(held, Relaxed);
        self.shared.written_events.fetch_sub(held, Relaxed);
        self.shared.lost.fetch_add(held, Relaxed);
    }

    /// Hands over what waits. While the destination would block, this waits.
    fn hand_over(&mut self) -> io::Result<()> {
        self.account(0);
        while self.waiting() > 0 {
            match self.destination.take(&mut self.records) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.account(bytes);
                    self.account_dropped();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.shared.abandoned.load(Relaxed) => {
                    thread::sleep(DESTINATION_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
        // A large record in one piece must not keep its memory for ever.
        self.records.shrink(self.buffer);
        Ok(())
    }

    /// Notes that so many bytes were taken. A line counts as written when its last byte is taken.
    fn account(&mut self, bytes: usize) {
        let (mut lines, mut events) = (0, 0);
        for line in self.records.taken(bytes) {
            lines += u64::from(line != Line::Frame);
            events += u64::from(matches!(line, Line::Event(_)));
        }
        self.shared.written.fetch_add(lines, Relaxed);
        self.shared.written_events.fetch_add(events, Relaxed);
        self.shared.written_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Events that were dropped were not written.
    fn account_dropped(&mut self) {
        let dropped = self.destination.take_dropped();
        if dropped > 0 {
            self.shared.written.fetch_sub(dropped, Relaxed);
            self.shared.written_events.fetch_sub(dropped, Relaxed);
            self.shared.lost.fetch_add(dropped, Relaxed);
        }
    }

    /// Writes text for which there is no room yet.
    #[cold]
    fn write_beyond(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let room = self.make_room(text.len())?;
            let (now, later) = text.split_at(room);
            self.records.extend(now);
            text = later;
        }
        Ok(())
    }

    /// Makes room for `bytes`, by handing over what is in the way. Gives for how many there is room now.
    fn make_room(&mut self, bytes: usize) -> io::Result<usize> {
        let wants_whole = self.destination.wants_whole_records();
        if self.records.has_whole() {
            let begun = self.records.split_begun();
            self.hand_over()?;
            self.records.grow(self.buffer);
            self.records.extend(&begun);
        } else if !wants_whole && self.waiting() >= self.buffer {
            self.hand_over()?;
        }
        self.records.grow(self.buffer);
        Ok(if wants_whole { bytes } else { bytes.min(self.records.room(self.buffer)) })
    }
}

impl<D: Destination> Write for Gathering<D> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text)?;
        Ok(text.len())
    }

    // Called for each comma.
    #[inline]
    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if text.len() > self.records.room(self.buffer) {
            return self.write_beyond(text);
        }
        self.records.extend(text);
        Ok(())
    }

    /// Does nothing: a format does not know how long text may wait.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{selection::Selection, spool::destination::BUFFER_BYTES};

    /// Notes how many bytes each call hands over, and where the last record in them ends.
    struct Notes {
        wants_whole: bool,
        handed: Vec<(usize, Option<usize>)>,
    }

    impl Destination for Notes {
        fn name(&self) -> String {
            "notes".into()
        }

        fn wants_whole_records(&self) -> bool {
            self.wants_whole
        }

        fn take(&mut self, records: &mut Records) -> io::Result<usize> {
            let bytes = records.bytes().len();
            self.handed.push((bytes, records.end_within(bytes)));
            Ok(bytes)
        }
    }

    fn gathering(wants_whole: bool) -> Gathering<Notes> {
        let shared = Arc::new(Shared::new(Selection::default().compile(), false));
        Gathering::new(Notes { wants_whole, handed: Vec::new() }, shared)
    }

    /// Writes a record in pieces, as a format does.
    fn write(gathering: &mut Gathering<Notes>, bytes: usize) {
        let text = vec![b'x'; bytes];
        text.chunks(1000).for_each(|piece| gathering.write_all(piece).unwrap());
        gathering.end(Line::Frame);
    }

    #[test]
    fn whole_records_are_handed_over_when_the_buffer_is_full() {
        for wants_whole in [false, true] {
            let mut gathering = gathering(wants_whole);
            (0..5).for_each(|_| write(&mut gathering, 30_000));
            gathering.flush_records().unwrap();
            let two = (60_000, Some(60_000));
            assert_eq!(gathering.destination.handed, [two, two, (30_000, Some(30_000))]);
        }
    }

    #[test]
    fn a_larger_record_comes_in_parts_of_the_buffer_however_it_is_written() {
        let mut gathering = gathering(false);
        write(&mut gathering, 10);
        gathering.write_all(&[b'x'; 2 * BUFFER_BYTES + 1]).unwrap();
        gathering.end(Line::Frame);
        gathering.flush_records().unwrap();
        let part = (BUFFER_BYTES, None);
        assert_eq!(gathering.destination.handed, [(10, Some(10)), part, part, (1, Some(1))]);
    }

    #[test]
    fn a_larger_record_in_one_piece_does_not_leave_a_larger_buffer() {
        let mut gathering = gathering(true);
        write(&mut gathering, 10);
        write(&mut gathering, 10 * BUFFER_BYTES);
        gathering.flush_records().unwrap();
        let large = 10 * BUFFER_BYTES;
        assert_eq!(gathering.destination.handed, [(10, Some(10)), (large, Some(large))]);
        assert_eq!(gathering.records.room(usize::MAX), BUFFER_BYTES);
    }
}
