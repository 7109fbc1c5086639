//! How the build that wrote a group speaks of tracepoints, records and reasons. In: what the group opens with, then its records and
//! numbers. Out: the same in terms of this build, whatever the order of its table and the layout of its structs. What this build does not
//! know is left out, and counted.

use std::{collections::BTreeMap, mem::offset_of};

use super::stored::{Changed, Loss, Opening, StoredLayout};
use crate::{
    capture::Counters,
    event::Lost,
    kernel_side::{Field, HEADER, Kind, Layout, types::event_header},
    tracepoint::{LossReason, Tracepoint},
};

/// Of a group.
#[derive(Debug)]
pub(super) struct Dialect {
    /// Where a record's header has the tracepoint's number, and the length of the text.
    number: Span,
    text_length: Span,
    tracepoints: Vec<Known>,
    reasons: Vec<Result<LossReason, String>>,
    /// The record that was put into other words last.
    converted: Vec<u8>,
}

/// A tracepoint of the group.
#[derive(Debug)]
struct Known {
    /// Bytes of its record's struct.
    size: usize,
    /// Its name, if this build does not know it, or cannot take its records.
    reading: Result<(Tracepoint, Reading), String>,
}

/// How its records become those of this build.
#[derive(Debug, PartialEq)]
enum Reading {
    /// They are.
    AsTheyAre,
    /// Each field by its name.
    ByFields(Vec<Step>),
}

/// Copies a field.
#[derive(Debug, PartialEq)]
struct Step {
    from: Span,
    to: Span,
    is_signed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    offset: usize,
    size: usize,
}

impl Span {
    fn of(field: &Field<'_>) -> Self {
        Self { offset: field.offset.into(), size: field.size.into() }
    }

    fn of_bytes(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.offset..self.offset + self.size]
    }

    /// The number that is there, of at most eight bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let mut number = [0; 8];
        number[..self.size].copy_from_slice(self.of_bytes(bytes));
        u64::from_le_bytes(number)
    }
}

impl Dialect {
    /// `None` if what it says of records makes no sense.
    pub(super) fn of(opening: &Opening<'_>) -> Option<Self> {
        let header = &opening.header;
        let number = |name| {
            let field = header.fields.0.iter().find(|field| field.name == name)?;
            (field.kind == Kind::Unsigned).then(|| Span::of(field))
        };
        let all = opening.tracepoints.0.iter();
        let sensible =
            all.clone().all(|it| is_name(it.name) && it.record.size >= header.size && is_sensible(&it.record));
        if !is_sensible(header) || !sensible || !opening.reasons.0.iter().all(|name| is_name(name)) {
            return None;
        }
        Some(Self {
            number: number("tracepoint")?,
            text_length: number("text_length")?,
            tracepoints: all.enumerate().map(|(number, it)| Known::of(number, it.name, header, &it.record)).collect(),
            reasons: opening.reasons.0.iter().map(|&name| reason(name)).collect(),
            converted: Vec::new(),
        })
    }

    /// A record as this build has it, unless its tracepoint is not known. `None` if it is no record of the group.
    pub(super) fn record<'a>(&'a mut self, record: &'a [u8], unknown: &mut Unknown) -> Option<Option<&'a [u8]>> {
        let known = self.tracepoints.get(usize::try_from(self.number_of(record)?).ok()?)?;
        let text_length = usize::try_from(self.text_length.number(record)).ok()?;
        if record.len() < known.size.checked_add(text_length)? {
            return None;
        }
        match &known.reading {
            Ok((_, Reading::AsTheyAre)) => Some(Some(record)),
            Ok((tracepoint, Reading::ByFields(steps))) => {
                convert(record, known.size, *tracepoint, steps, &mut self.converted);
                Some(Some(&self.converted))
            }
            Err(name) => {
                unknown.add(name, 1);
                Some(None)
            }
        }
    }

    /// The number of its tracepoint.
    pub(super) fn number_of(&self, record: &[u8]) -> Option<u64> {
        let end = |place: Span| place.offset + place.size;
        (record.len() >= end(self.number).max(end(self.text_length))).then(|| self.number.number(record))
    }

    /// The tracepoint with this number, unless it is not known. `None` if the group has none.
    pub(super) fn tracepoint(&self, number: u8) -> Option<Option<Tracepoint>> {
        let known = self.tracepoints.get(usize::from(number))?;
        Some(known.reading.as_ref().ok().map(|&(tracepoint, _)| tracepoint))
    }

    /// What is missing, unless tracepoint or reason is not known. `None` if the group has no such.
    pub(super) fn loss(&self, loss: &Loss, unknown: &mut Unknown) -> Option<Option<Lost>> {
        let tracepoint = self.tracepoint(loss.tracepoint)?;
        let reason = self.reasons.get(usize::from(loss.reason))?;
        let Some(tracepoint) = tracepoint else { return Some(None) };
        match reason {
            &Ok(reason) => Some(Some(Lost { tracepoint, reason, count: loss.count })),
            Err(name) => {
                unknown.add(name, loss.count);
                Some(None)
            }
        }
    }

    /// Sets what has changed of the counters. What was lost for an unknown reason has not fired.
    pub(super) fn change(&self, changed: &Changed, counters: &mut [Counters; Tracepoint::COUNT]) -> Option<()> {
        for (number, now) in &changed.0 {
            let Some(tracepoint) = self.tracepoint(*number)? else { continue };
            let mut sums =
                Counters { fired: now.fired, filtered: now.filtered, value: now.value, ..Counters::default() };
            for (reason, &lost) in now.lost.0.iter().enumerate() {
                match self.reasons.get(reason)? {
                    &Ok(reason) => sums.lost[reason as usize] = lost,
                    Err(_) => sums.fired = sums.fired.saturating_sub(lost),
                }
            }
            counters[tracepoint.index()] = sums;
        }
        Some(())
    }
}

impl Known {
    fn of(number: usize, name: &str, header: &StoredLayout<'_>, record: &StoredLayout<'_>) -> Self {
        let reading = Tracepoint::all().find(|it| it.name() == name).and_then(|tracepoint| {
            let is_ours = |stored: &StoredLayout<'_>, ours: &Layout<'_>| {
                stored.size == ours.size && stored.fields.0[..] == ours.fields[..]
            };
            let ours = tracepoint.layout();
            if number == tracepoint.index() && is_ours(header, &HEADER) && is_ours(record, ours) {
                return Some((tracepoint, Reading::AsTheyAre));
            }
            let mut steps = steps(header, HEADER.fields.iter().filter(|field| field.name != "tracepoint"))?;
            steps.extend(self::steps(record, ours.fields.iter())?);
            Some((tracepoint, Reading::ByFields(steps)))
        });
        Self { size: record.size.into(), reading: reading.ok_or_else(|| name.to_owned()) }
    }
}

/// By names. `None` if one of ours would not hold what it was.
fn steps<'a>(stored: &StoredLayout<'_>, ours: impl Iterator<Item = &'a Field<'a>>) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for to in ours {
        // What they do not have is zero.
        let Some(from) = stored.fields.0.iter().find(|from| from.name == to.name) else { continue };
        if from.size > to.size || (from.kind == Kind::Bytes) != (to.kind == Kind::Bytes) {
            return None;
        }
        steps.push(Step { from: Span::of(from), to: Span::of(to), is_signed: from.kind == Kind::Signed });
    }
    Some(steps)
}

/// Puts a record, whose struct has so many bytes, into the words of this build.
fn convert(record: &[u8], size: usize, tracepoint: Tracepoint, steps: &[Step], converted: &mut Vec<u8>) {
    converted.clear();
    converted.resize(tracepoint.layout().size.into(), 0);
    for Step { from, to, is_signed } in steps {
        let from = from.of_bytes(record);
        let to = &mut converted[to.offset..to.offset + to.size];
        to[..from.len()].copy_from_slice(from);
        if *is_signed && from.last().is_some_and(|&byte| byte & 0x80 != 0) {
            to[from.len()..].fill(0xff);
        }
    }
    converted[offset_of!(event_header, tracepoint)] = tracepoint as u8;
    converted.extend_from_slice(&record[size..]);
}

fn reason(name: &str) -> Result<LossReason, String> {
    LossReason::KERNEL.into_iter().find(|it| it.name() == name).ok_or_else(|| name.to_owned())
}

/// Each field within the struct.
fn is_sensible(layout: &StoredLayout<'_>) -> bool {
    layout.size <= 1 << 12
        && layout.fields.0.iter().all(|Field { name, offset, size, kind }| {
            let is_size = *kind == Kind::Bytes && *size > 0 || matches!(size, 1 | 2 | 4 | 8);
            is_name(name) && is_size && offset.checked_add(*size).is_some_and(|end| end <= layout.size)
        })
}

/// What the log can tell as it is.
fn is_name(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(is_fit)
}

/// Events that were left out, by the names of tracepoints, or of reasons of losses, that this build does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    by_name: BTreeMap<String, u64>,
    /// Of more names than anybody reads.
    others: u64,
}

impl Unknown {
    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn add(&mut self, name: &str, count: u64) {
        const MOST: usize = 64;
        let counted = if self.by_name.contains_key(name) || self.by_name.len() < MOST {
            self.by_name.entry(name.to_owned()).or_default()
        } else {
            &mut self.others
        };
        *counted = counted.saturating_add(count);
    }
}

/// Names and numbers, separated by commas.
impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all: Vec<_> = self.by_name.iter().map(|(name, count)| format!("{name} {count}")).collect();
        all.extend((self.others > 0).then(|| format!("others {}", self.others)));
        f.write_str(&all.join(", "))
    }
}
