//! Holds groups. In: their blocks. Out: dumps, which share them. Whatever dumps do, groups and the work of dumps stay within the limit:
//! the oldest group makes room for new blocks. That frees no memory while a slow dump still has the group. So there is some slack for
//! such groups; beyond that, the dump that is farthest behind gets no more.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{Dump, Refusal};
use crate::{event::Time, recording::END_OF_GROUP};

/// For groups that only dumps still have.
const SLACK: usize = 4 << 20;
/// What reading a dump takes, besides groups: a thread and the pieces on their way.
const OF_READING: usize = 256 << 10;
/// What selecting takes in addition: so many copies of the largest block, and what compresses.
const COPIES: usize = 4;
const OF_SELECTING: usize = 2 << 20;

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// 0 if nothing is recorded.
    limit: usize,
    groups: VecDeque<Group>,
    /// Of these groups.
    bytes: usize,
    /// Of all groups, also of those that only dumps have.
    in_use: Arc<AtomicUsize>,
    /// For the work of dumps.
    reserved: Arc<AtomicUsize>,
    dumps: Vec<Weak<Mutex<Rest>>>,
    /// How many groups there were, and how many of them were dropped to make room.
    begun: u64,
    dropped: u64,
}

/// A group, from its header on, without its end.
#[derive(Clone, Debug)]
pub(super) struct Group {
    number: u64,
    pieces: Vec<Arc<Piece>>,
    bytes: usize,
    /// The most bytes of a block before it is compressed.
    largest: usize,
    events: u64,
    /// When its first event fired, and when its last ones were drained.
    span: Option<(Time, Time)>,
}

/// Some bytes, which count as in use until nobody has them.
#[derive(Debug)]
struct Piece {
    bytes: Box<[u8]>,
    in_use: Arc<AtomicUsize>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.in_use.fetch_sub(self.bytes.len(), Relaxed);
    }
}

/// Memory for the work of a dump, until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

/// What a dump has not read yet.
#[derive(Debug)]
pub(super) struct Rest {
    groups: VecDeque<Group>,
    /// The place in the first of them.
    piece: usize,
    offset: usize,
    /// Whether the groups were taken away.
    is_late: bool,
}

impl Memory {
    /// From now on, everything stays within so many bytes.
    pub(super) fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
        self.make_room(0);
    }

    /// Lets go of everything.
    pub(super) fn turn_off(&mut self) {
        (self.limit, self.bytes) = (0, 0);
        self.groups.clear();
        self.make_room(0);
    }

    pub(super) fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Begins a group with its header and its opening.
    pub(super) fn begin(&mut self, beginning: Vec<u8>) {
        self.make_room(beginning.len());
        let number = self.begun;
        self.begun += 1;
        self.groups.push_back(Group { number, pieces: Vec::new(), bytes: 0, largest: 0, events: 0, span: None });
        self.push(beginning, 0);
    }

    /// Adds a block to the newest group. Before the block was made, there was room for it. Before it was compressed, it had `whole` bytes.
    pub(super) fn push(&mut self, block: Vec<u8>, whole: usize) {
        self.bytes += block.len();
        if let Some(group) = self.groups.back_mut() {
            group.push(block, whole, &self.in_use);
        }
    }

    /// Notes that the newest group has these events.
    pub(super) fn note(&mut self, first: Time, last: Time, events: u64) {
        let Some(group) = self.groups.back_mut() else { return };
        group.events += events;
        group.span = Some((group.span.map_or(first, |(first, _)| first), last));
    }

    /// Bytes of the newest group.
    pub(super) fn of_newest(&self) -> usize {
        self.groups.back().map_or(0, |group| group.bytes)
    }

    /// Drops the oldest groups until there is room for so many bytes. The newest group stays: it is being written.
    pub(super) fn make_room(&mut self, bytes: usize) {
        while self.bytes + self.reserved() + bytes > self.limit.saturating_sub(SLACK) && self.groups.len() > 1 {
            if let Some(oldest) = self.groups.pop_front() {
                self.bytes -= oldest.bytes;
                self.dropped += 1;
            }
        }
        while self.used() + bytes > self.limit && self.end_slowest() {}
    }

    /// A dump of the groups with events since then. The newest one also has the `unfinished` block.
    pub(super) fn dump(
        &mut self,
        since: Option<Time>,
        is_selected: bool,
        unfinished: Option<(Vec<u8>, usize)>,
    ) -> Result<Dump, Refusal> {
        let of_last = unfinished.as_ref().map(|(_, whole)| *whole);
        let largest = self.groups.iter().map(|group| group.largest).chain(of_last).max().unwrap_or_default();
        let bytes = OF_READING + if is_selected { OF_SELECTING + COPIES * largest } else { 0 };
        let reserved = self.reserve(bytes).ok_or(Refusal::NoRoom(bytes))?;
        let is_in = |group: &&Group| group.span.is_some_and(|(_, last)| since.is_none_or(|since| since <= last));
        // The clock may have been set back: so the groups are those from the first one on.
        let mut groups: VecDeque<Group> = self
            .groups
            .iter()
            .skip_while(|group| !is_in(group))
            .filter(|group| group.span.is_some())
            .cloned()
            .collect();
        let (Some((first, _)), Some((_, last))) =
            (groups.front().and_then(|group| group.span), groups.back().and_then(|group| group.span))
        else {
            let newest = self.groups.iter().rev().find_map(|group| group.span);
            return Err(Refusal::Nothing(newest.map(|(_, last)| last)));
        };
        if let (Some((block, whole)), Some(newest)) = (unfinished, groups.back_mut()) {
            newest.push(block, whole, &self.in_use);
        }
        let events = groups.iter().map(|group| group.events).sum();
        let bytes = groups.iter().map(|group| (group.bytes + END_OF_GROUP.len()) as u64).sum();
        let rest = Arc::new(Mutex::new(Rest { groups, piece: 0, offset: 0, is_late: false }));
        self.dumps.push(Arc::downgrade(&rest));
        Ok(Dump::new(rest, reserved, (first, last), events, bytes))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The time of the oldest event.
    pub(super) fn since(&self) -> Option<Time> {
        self.groups.iter().find_map(|group| group.span).map(|(first, _)| first)
    }

    /// All that counts.
    pub(super) fn used(&self) -> usize {
        self.in_use.load(Relaxed) + self.reserved()
    }

    /// For the work of dumps.
    pub(super) fn reserved(&self) -> usize {
        self.reserved.load(Relaxed)
    }

    fn reserve(&mut self, bytes: usize) -> Option<Reserved> {
        // The rest of the limit has room for a group, and for a block of the largest size, at least.
        if self.reserved() + bytes > self.limit / 5 * 2 {
            return None;
        }
        self.reserved.fetch_add(bytes, Relaxed);
        let reserved = Reserved { bytes, all: Arc::clone(&self.reserved) };
        self.make_room(0);
        Some(reserved)
    }

    /// Takes its groups from the dump that is farthest behind. False if no dump has any.
    fn end_slowest(&mut self) -> bool {
        self.dumps.retain(|dump| dump.strong_count() > 0);
        let first = |dump: &Arc<Mutex<Rest>>| lock(dump).groups.front().map(|group| group.number);
        let of_some = self.dumps.iter().filter_map(Weak::upgrade).filter_map(|dump| Some((first(&dump)?, dump)));
        let Some((_, slowest)) = of_some.min_by_key(|(number, _)| *number) else { return false };
        let mut rest = lock(&slowest);
        (rest.groups, rest.is_late) = (VecDeque::new(), true);
        true
    }
}

impl Group {
    fn push(&mut self, block: Vec<u8>, whole: usize, in_use: &Arc<AtomicUsize>) {
        let bytes = block.into_boxed_slice();
        in_use.fetch_add(bytes.len(), Relaxed);
        self.bytes += bytes.len();
        self.largest = self.largest.max(whole);
        self.pieces.push(Arc::new(Piece { bytes, in_use: Arc::clone(in_use) }));
    }
}

impl Rest {
    /// Reads on, and lets go of the groups that are read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_late {
            return Err(io::Error::other("newer events took the place of those that were to come next"));
        }
        while let Some(group) = self.groups.front() {
            let bytes = match group.pieces.get(self.piece) {
                Some(piece) => &piece.bytes[..],
                None => &END_OF_GROUP[..],
            };
            let left = &bytes[self.offset..];
            if !left.is_empty() {
                let length = left.len().min(buffer.len());
                buffer[..length].copy_from_slice(&left[..length]);
                self.offset += length;
                return Ok(length);
            }
            self.offset = 0;
            if self.piece < group.pieces.len() {
                self.piece += 1;
            } else {
                self.piece = 0;
                self.groups.pop_front();
            }
        }
        Ok(0)
    }
}

pub(super) fn lock(rest: &Mutex<Rest>) -> MutexGuard<'_, Rest> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}
