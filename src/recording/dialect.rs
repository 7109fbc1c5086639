//! Translates what another build wrote. In: the opening of a group, then its records, and numbers of tracepoints and reasons. Out: the
//! same with the numbers and the structs of this build. It leaves out tracepoints and reasons that this build does not know, and counts
//! them.

use std::{collections::BTreeMap, mem::offset_of};

use super::stored::{AtMost, Changed, Loss, Opening, StoredLayout, StoredRun};
use crate::{
    capture::{Counters, Named, Run},
    event::Lost,
    kernel_side::{Field, HEADER, Kind, Layout, types::event_header},
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};

/// The numbers and structs of a group.
#[derive(Debug)]
pub(super) struct Dialect {
    /// The places of the tracepoint's number and of the text's length in a record's header.
    number: Span,
    text_length: Span,
    tracepoints: Vec<Known>,
    reasons: Vec<Result<LossReason, String>>,
    /// The record that was converted last.
    converted: Vec<u8>,
}

/// A tracepoint of the group, known to this build or not.
#[derive(Debug)]
struct Known {
    /// The size of its record's struct in bytes.
    size: usize,
    /// Or its name, if this build does not know it or cannot read its records.
    reading: Result<(Tracepoint, Reading), String>,
}

/// How to convert its records.
#[derive(Debug, PartialEq)]
enum Reading {
    /// Not at all: the struct is the same.
    AsTheyAre,
    /// By copying each field, found by its name.
    ByFields(Vec<Step>),
}

/// The copying of a field.
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

    /// Reads a number of at most eight bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let mut number = [0; 8];
        number[..self.size].copy_from_slice(self.of_bytes(bytes));
        u64::from_le_bytes(number)
    }
}

impl Dialect {
    /// `None` if the opening makes no sense.
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

    /// Converts a record. `Some(None)` if this build does not know its tracepoint. `None` if it is no record of the group.
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

    /// The tracepoint's number in a record.
    pub(super) fn number_of(&self, record: &[u8]) -> Option<u64> {
        let end = |place: Span| place.offset + place.size;
        (record.len() >= end(self.number).max(end(self.text_length))).then(|| self.number.number(record))
    }

    /// The tracepoint with this number. `Some(None)` if this build does not know it. `None` if the group has no such number.
    pub(super) fn tracepoint(&self, number: u8) -> Option<Option<Tracepoint>> {
        let known = self.tracepoints.get(usize::from(number))?;
        Some(known.reading.as_ref().ok().map(|&(tracepoint, _)| tracepoint))
    }

    /// Converts a run, as far as its tracepoints are wanted. `None` if it makes no sense.
    pub(super) fn run(&self, stored: &StoredRun<'_>, wanted: Tracepoints) -> Option<Run> {
        const LONGEST: usize = 4096;
        let paths = [Some(&*stored.program), stored.data_directory.as_deref()];
        let texts = paths.into_iter().chain([stored.chain, stored.host, stored.user_agent]);
        if texts.flatten().any(|text| text.len() > LONGEST) {
            return None;
        }
        let those = |numbers: &AtMost<u8, 255>| -> Option<Tracepoints> {
            let known: Vec<_> = numbers.0.iter().map(|&number| self.tracepoint(number)).collect::<Option<_>>()?;
            Some(known.into_iter().flatten().filter(|&it| wanted.contains(it)).collect())
        };
        let labels = |named: Named, (name, value): &(&str, &str)| named.with_label(name, value).ok();
        let named = stored.labels.0.iter().try_fold(Named::default(), labels)?;
        let named = stored.node.map_or(Some(named.clone()), |node| named.with_node(node).ok())?;
        let run = Run::new(stored.pid, (*stored.program).into(), stored.start_time, those(&stored.attached)?);
        Some(Run {
            failed: those(&stored.failed)?,
            data_directory: stored.data_directory.as_deref().map(Into::into),
            chain: stored.chain.and_then(|name| name.parse().ok()),
            host: stored.host.map(Into::into),
            named,
            user_agent: stored.user_agent.map(Into::into),
            ..run
        })
    }

    /// Converts a loss. `Some(None)` if this build does not know the tracepoint or the reason. `None` if the group has no such number.
    pub(super) fn loss(&self, loss: &Loss, unknown: &mut Unknown) -> Option<Option<Lost>> {
        let tracepoint = self.tracepoint(loss.tracepoint)?;
        let reason = self.reasons.get(usize::from(loss.reason))?;
        let Some(tracepoint) = tracepoint else { return Some(None) };
        match reason {
            // Whatever the recording claims.
            &Ok(reason) if !reason.is_counted() => Some(Some(Lost { tracepoint, reason, count: 0 })),
            &Ok(reason) => Some(Some(Lost { tracepoint, reason, count: loss.count })),
            Err(name) => {
                unknown.add(name, loss.count);
                Some(None)
            }
        }
    }

    /// Sets the counters that have changed. Events that were lost for an unknown reason do not count as fired: so the sums agree.
    pub(super) fn change(&self, changed: &Changed, counters: &mut [Counters; Tracepoint::COUNT]) -> Option<()> {
        for (number, now) in &changed.0 {
            let Some(tracepoint) = self.tracepoint(*number)? else { continue };
            let mut sums =
                Counters { fired: now.fired, filtered: now.filtered, value: now.value, ..Counters::default() };
            for (reason, &lost) in now.lost.0.iter().enumerate() {
                match self.reasons.get(reason)? {
                    &Ok(reason) if reason.is_counted() => sums.lost[reason as usize] = lost,
                    Ok(_) | Err(_) => sums.fired = sums.fired.saturating_sub(lost),
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

/// The fields to copy. `None` if a field of ours cannot hold the values of theirs.
fn steps<'a>(stored: &StoredLayout<'_>, ours: impl Iterator<Item = &'a Field<'a>>) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for to in ours {
        // A field that only this build has stays zero.
        let Some(from) = stored.fields.0.iter().find(|from| from.name == to.name) else { continue };
        if from.size > to.size || (from.kind == Kind::Bytes) != (to.kind == Kind::Bytes) {
            return None;
        }
        steps.push(Step { from: Span::of(from), to: Span::of(to), is_signed: from.kind == Kind::Signed });
    }
    Some(steps)
}

/// Converts a record whose struct has `size` bytes.
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
    LossReason::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| name.to_owned())
}

/// Whether each field lies within the struct, and has a name and a size that fields have.
fn is_sensible(layout: &StoredLayout<'_>) -> bool {
    layout.size <= 1 << 12
        && layout.fields.0.iter().all(|Field { name, offset, size, kind }| {
            let is_size = *kind == Kind::Bytes && *size > 0 || matches!(size, 1 | 2 | 4 | 8);
            is_name(name) && is_size && offset.checked_add(*size).is_some_and(|end| end <= layout.size)
        })
}

/// Whether it can be written to the log as it is.
fn is_name(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(is_fit)
}

/// How many events were left out, by the name of the tracepoint or of the reason that this build does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    by_name: BTreeMap<String, u64>,
    /// Events with other names, once there are too many names.
    others: u64,
}

impl Unknown {
    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many events were left out.
    pub(super) fn count(&self) -> u64 {
        self.by_name.values().fold(self.others, |sum, &count| sum.saturating_add(count))
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
