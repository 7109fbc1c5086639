//! Looks at a file without reading it all: which recordings it has, when they begin and end, and where in them a time is. In: a file.
//! Out: parts, and pieces of parts.
//!
//! Groups are found by what they begin with, which stands nowhere else in a group. So the group in which a time is can be found by
//! halving.

use std::{io::Read, ops::Range, sync::Arc, time::Duration};

use memchr::memmem;

use super::{
    Entry, Error, MAGIC, Reader, VERSION, Window,
    blocks::{Blocks, Hopped, Piece, Place, hop},
    items::{Item, take},
    source::{PieceReader, Source},
    stored::Stored,
    version2,
};
use crate::{
    capture::Run,
    event::{Moment, Time},
    selection::Selection,
    tracepoint::Tracepoint,
};

/// Events of a batch may be out of order by less than this. Also by how much the wall clock may drift from the boot clock within a
/// recording; if it differs by more, somebody has set it.
const SLACK: Duration = Duration::from_secs(1);
/// How much is read at once to find a group.
const SEARCHED: u64 = 256 << 10;
/// How far from the end a group is looked for: far more than the bytes of the last group.
const FAR: u64 = 96 << 20;
/// Places closer than this are not halved further.
const CLOSE: u64 = 64 << 10;
/// The most parts of a file. What comes after these belongs to the last one.
const MOST_PARTS: usize = 10_000;

/// A part of a file that is one recording.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub source: Arc<Source>,
    pub range: Range<u64>,
    version: u32,
    /// `None` in version 2.
    pub groups: Option<Groups>,
    /// Where the last group begins.
    last_at: u64,
    /// Whether all its groups are of this recording and whole. `None` if nobody has looked at those between the first and the last.
    is_sound: Option<bool>,
    /// The first run and the first event.
    pub run: Option<Box<Run>>,
    pub beginning: Option<Stamp>,
}

/// Groups of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub recording: u64,
    pub first: u64,
    pub last: u64,
}

/// A time, and by how much the wall clock was ahead of the boot clock then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub time: Time,
    offset: i128,
}

impl Stamp {
    fn of((time, moment): (Time, Moment)) -> Self {
        Self { time, offset: i128::from(time.0) - i128::from(moment.0) }
    }

    /// Whether nobody has set the clock between these.
    fn is_of_same_clock(&self, other: &Self) -> bool {
        self.offset.abs_diff(other.offset) < SLACK.as_nanos()
    }
}

/// A group, by its header and its opening.
struct Group {
    version: u32,
    /// Its recording and its number. `None` in version 2.
    place: Option<(u64, u64)>,
}

/// The parts of a file. Parts follow each other without a gap: what is between recordings and is none belongs to the part before.
///
/// # Errors
/// The file is no recording.
pub(super) fn parts(source: &Arc<Source>) -> Result<Vec<Part>, Error> {
    let all = 0..source.length;
    Blocks::new(PieceReader::new(source, all.clone()), 0)?;
    let ranges = alone(source).map_or_else(|| each(source), |part| vec![part]);
    Ok(ranges.into_iter().map(|part| part.with_beginning()).collect())
}

/// The whole file, if its first and its last group are of one recording.
fn alone(source: &Arc<Source>) -> Option<Part> {
    let (recording, first) = group(source, 0)?.place?;
    let last_at = last_group(source)?;
    let (last_recording, last) = group(source, last_at)?.place?;
    let part = Part::new(source, 0, VERSION, Some(Groups { recording, first, last }));
    (recording == last_recording && first <= last).then_some(Part { last_at, is_sound: None, ..part })
}

/// Each recording of the file.
fn each(source: &Arc<Source>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut at, mut is_clean) = (0, true);
    while at < source.length {
        let found = group(source, at);
        let place = found.as_ref().and_then(|group| group.place);
        let may_begin = is_clean && found.is_some() && parts.len() < MOST_PARTS;
        match parts.last_mut() {
            Some(part) if !may_begin || part.goes_on_with(place) => {
                if !is_clean || !part.goes_on_with(place) {
                    part.is_sound = Some(false);
                }
                if part.goes_on_with(place) {
                    part.last_at = at;
                    part.groups.iter_mut().zip(place).for_each(|(groups, (_, number))| groups.last = number);
                }
            }
            before => {
                if let Some(part) = before {
                    part.range.end = at;
                }
                let groups = place.map(|(recording, number)| Groups { recording, first: number, last: number });
                let version = found.as_ref().map_or(VERSION, |group| group.version);
                parts.push(Part { is_sound: Some(found.is_some()), ..Part::new(source, at, version, groups) });
            }
        }
        let end = found.and_then(|group| hop_over(source, at, group.version).end);
        is_clean = end.is_some();
        let Some(next) = end.or_else(|| group_after(source, at + 1, source.length)) else { break };
        at = next;
    }
    parts
}

impl Part {
    /// A part from this place to the end of the file.
    fn new(source: &Arc<Source>, at: u64, version: u32, groups: Option<Groups>) -> Self {
        Self {
            source: Arc::clone(source),
            range: at..source.length,
            version,
            groups,
            last_at: at,
            is_sound: Some(true),
            run: None,
            beginning: None,
        }
    }

    fn goes_on_with(&self, place: Option<(u64, u64)>) -> bool {
        self.groups
            .zip(place)
            .is_some_and(|(part, (recording, number))| part.recording == recording && part.last < number)
    }

    fn with_beginning(mut self) -> Self {
        let (run, beginning) = self.first_event(self.range.start);
        (self.run, self.beginning) = (run, beginning);
        self
    }

    /// A reader of a piece of it.
    pub(super) fn bytes(&self, range: Range<u64>) -> PieceReader {
        PieceReader::new(&self.source, range)
    }

    /// The first run and the first event of the group that begins here, or of those after it.
    fn first_event(&self, at: u64) -> (Option<Box<Run>>, Option<Stamp>) {
        let all = Selection::of(Tracepoint::all().collect());
        let Ok(reader) = Reader::starting_at(self.bytes(at..self.range.end), at, &all) else { return (None, None) };
        let mut first = None;
        for entry in reader {
            match entry {
                Ok(Entry::Run(run)) => first = first.or(Some(run)),
                Ok(Entry::Batch(batch)) => {
                    if let Some(stamp) = batch.first() {
                        return (first, Some(Stamp::of(stamp)));
                    }
                }
                Ok(Entry::End(_)) => {}
                Err(Error::Io(_)) => break,
                Err(_) => {}
            }
        }
        (first, None)
    }

    /// When its last batch was drained. `None` if its last blocks do not say that.
    pub(super) fn end(&self) -> Option<Stamp> {
        let hopped = hop_over(&self.source, self.last_at, self.version);
        hopped.last.into_iter().flatten().find_map(|place| self.last_batch(place))
    }

    /// When the last batch of this block was drained.
    fn last_batch(&self, Place { at, from }: Place) -> Option<Stamp> {
        let input = self.bytes(from..self.range.end);
        let mut blocks = Blocks::within_group(input, from, Some(self.version)).ok()?;
        let mut block = Vec::new();
        while blocks.next(&mut block).ok()? == Piece::Block && blocks.place() < at {}
        let (mut rest, mut last) = ((blocks.place() == at).then_some(&block[..])?, None);
        while !rest.is_empty() {
            let item;
            (item, rest) = take(self.version, true, rest)?;
            if let Item::Entry(Stored::Batch(batch)) = item {
                last = Some(Stamp::of((Time(batch.drained.0), Moment(batch.drained.1))));
            }
        }
        last
    }

    /// Whether all its groups are of this recording and whole. Others may have been put between them by hand.
    fn is_sound(&self) -> bool {
        self.is_sound.unwrap_or_else(|| {
            let (mut at, mut last) = (self.range.start, None);
            while at < self.range.end {
                let Some(group) = group(&self.source, at) else { return false };
                let Some((recording, number)) = group.place else { return false };
                if self.groups.is_none_or(|groups| groups.recording != recording) || last >= Some(number) {
                    return false;
                }
                last = Some(number);
                // The last group may lack its end.
                at = hop_over(&self.source, at, group.version).end.unwrap_or(self.range.end);
            }
            last == self.groups.map(|groups| groups.last)
        })
    }

    /// The bytes that have all events in the window. Others may be there, too.
    pub(super) fn within(&self, window: Window) -> Range<u64> {
        let all = self.range.clone();
        let Some(beginning) = self.beginning.filter(|_| window.is_limited()) else { return all };
        // What is in a directory is taken for what `record` has made.
        if self.is_sound == Some(false) || !self.source.is_of_directory && !self.is_sound() {
            return all;
        }
        // Batches are in the order of the boot clock. If somebody has set the wall clock meanwhile, all is read.
        let Some(end) = self.end().filter(|end| end.is_of_same_clock(&beginning)) else { return all };
        let slack = SLACK.as_nanos() as u64;
        let since = window.since.map(|since| Time(since.0.saturating_sub(slack)));
        let until = window.until.map(|until| Time(until.0.saturating_add(slack)));
        if since.is_some_and(|since| end.time < since) || until.is_some_and(|until| until < beginning.time) {
            return all.end..all.end;
        }
        if self.version == version2::VERSION || !self.is_sound() {
            return all;
        }
        // A group without events may have counters and ends of runs.
        let is_before = |since| move |first: Option<Stamp>| first.is_some_and(|first| first.time < since);
        let is_not_after = |until| move |first: Option<Stamp>| first.is_none_or(|first| first.time < until);
        let start = since.map_or(Some(all.start), |since| Some(self.halved(&beginning, is_before(since))?.0));
        let end = until.map_or(Some(all.end), |until| Some(self.halved(&beginning, is_not_after(until))?.1));
        start.zip(end).map_or(all, |(start, end)| start..end)
    }

    /// Two groups close to each other: one from which on, by its first event, all is wanted or comes before that, and one from which
    /// on nothing is wanted. The latter may be the end. `None` if the clock was set.
    fn halved(&self, beginning: &Stamp, is_before: impl Fn(Option<Stamp>) -> bool) -> Option<(u64, u64)> {
        let (mut before, mut after) = (self.range.start, self.range.end);
        // No group begins from here on to `after`.
        let mut none_from = after;
        while none_from.saturating_sub(before) > CLOSE {
            let middle = before + (none_from - before) / 2;
            let Some(at) = group_after(&self.source, middle, none_from) else {
                none_from = middle;
                continue;
            };
            let first = self.first_event(at).1;
            if first.is_some_and(|first| !first.is_of_same_clock(beginning)) {
                return None;
            }
            if is_before(first) {
                before = at;
            } else {
                (after, none_from) = (at, middle);
            }
        }
        Some((before, after))
    }
}

fn hop_over(source: &Arc<Source>, group: u64, version: u32) -> Hopped {
    let read = |at, bytes: &mut [u8]| PieceReader::new(source, at..source.length).read_exact(bytes).is_ok();
    hop(read, source.length, group, version)
}

/// The group that begins here. `None` if none does, or if its opening makes no sense.
fn group(source: &Arc<Source>, at: u64) -> Option<Group> {
    let mut blocks = Blocks::new(PieceReader::new(source, at..source.length), at).ok()?;
    let mut block = Vec::new();
    let Piece::Group(version) = blocks.next(&mut block).ok()? else { return None };
    if version == version2::VERSION {
        return Some(Group { version, place: None });
    }
    match blocks.next(&mut block).ok()? {
        Piece::Block => match take(version, false, &block)?.0 {
            Item::Opening(opening, _) => Some(Group { version, place: Some((opening.recording, opening.group)) }),
            Item::Run(_) | Item::Entry(_) => None,
        },
        // A recording without any run.
        Piece::Group(_) | Piece::End => Some(Group { version, place: None }),
    }
}

/// The first group that begins from one place on, before another.
fn group_after(source: &Arc<Source>, mut from: u64, to: u64) -> Option<u64> {
    let overlap = MAGIC.len() as u64 - 1;
    let mut bytes = Vec::new();
    while from < to {
        let end = to.saturating_add(overlap).min(from + SEARCHED);
        bytes.clear();
        PieceReader::new(source, from..end).read_to_end(&mut bytes).ok()?;
        if let Some(place) = memmem::find(&bytes, MAGIC) {
            return Some(from + place as u64);
        }
        if (bytes.len() as u64) < end - from {
            return None;
        }
        from = end - overlap;
        if end == to.saturating_add(overlap) {
            return None;
        }
    }
    None
}

/// The last place where a group begins.
fn last_group(source: &Arc<Source>) -> Option<u64> {
    let overlap = MAGIC.len() as u64 - 1;
    let mut bytes = Vec::new();
    let mut to = source.length;
    while to > 0 && source.length - to < FAR {
        let from = to.saturating_sub(SEARCHED);
        bytes.clear();
        PieceReader::new(source, from..to.saturating_add(overlap)).read_to_end(&mut bytes).ok()?;
        if let Some(place) = memmem::rfind(&bytes, MAGIC) {
            return Some(from + place as u64);
        }
        to = from;
    }
    None
}
