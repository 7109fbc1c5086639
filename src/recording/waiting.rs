//! Bytes that wait in memory until they can be written. In: pieces, each as it must be written, whole or not at all. Out: the oldest.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

/// Pieces that wait.
#[derive(Default)]
pub(super) struct Waiting {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

/// A piece, and how many events are written once it is.
struct Piece {
    bytes: Vec<u8>,
    events: Option<u64>,
}

impl Waiting {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// With what came since the last call, so many events are written.
    pub(super) fn have(&mut self, events: u64) {
        let new = self.pieces.iter_mut().rev().take_while(|piece| piece.events.is_none());
        new.for_each(|piece| piece.events = Some(events));
    }

    /// Gives the oldest piece, until none is left or giving fails. Returns how many events are written by now.
    pub(super) fn give(&mut self, written: &mut u64, mut give: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while let Some(piece) = self.pieces.front() {
            give(&piece.bytes)?;
            *written = piece.events.unwrap_or(*written);
            self.bytes -= piece.bytes.len();
            self.pieces.pop_front();
        }
        Ok(())
    }
}

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pieces.push_back(Piece { bytes: bytes.to_vec(), events: None });
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pieces_are_given_as_there_is_room_for() {
        let mut waiting = Waiting::default();
        for (piece, events) in [("header", 0), ("block", 3), ("another", 5)] {
            waiting.write_all(piece.as_bytes()).unwrap();
            waiting.have(events);
        }
        let (mut given, mut written) = (Vec::new(), 0);
        let mut room = |waiting: &mut Waiting, mut bytes: usize| {
            let result = waiting.give(&mut written, |piece| {
                bytes = bytes.checked_sub(piece.len()).ok_or(io::ErrorKind::StorageFull)?;
                given.push(String::from_utf8(piece.into()).unwrap());
                Ok(())
            });
            (result.is_ok(), written, waiting.bytes(), given.len())
        };
        assert_eq!(room(&mut waiting, 5), (false, 0, 18, 0));
        assert_eq!(room(&mut waiting, 17), (false, 3, 7, 2));
        waiting.write_all(b"end").unwrap();
        waiting.have(5);
        assert_eq!(room(&mut waiting, 99), (true, 5, 0, 4));
        assert_eq!(given, ["header", "block", "another", "end"]);
    }
}
