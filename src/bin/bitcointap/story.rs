//! The story of a transaction or block, for `trace`. In: events that name it. Out: a row for each, as a table or as JSON, and a line for
//! each further run of the node.

mod row;
#[cfg(test)]
mod tests;
mod text;

use std::{
    io::{self, Write},
    time::Duration,
};

use bitcointap::{
    capture::Run,
    event::{Event, Moment, Time},
    json::Hash,
    selection::Followed,
    spool::{Format, Line},
};

use self::row::Row;
use crate::arguments::ReportFormat;

/// Writes the story.
pub struct Story {
    followed: Followed,
    format: ReportFormat,
    first: Option<First>,
    /// The number of the run, from 1.
    run: u64,
    /// A run whose first row is still to come.
    begun: Option<String>,
}

/// The first event of the story.
#[derive(Clone, Copy)]
struct First {
    time: Time,
    moment: Moment,
    run: u64,
}

impl First {
    /// The time from the first event to another. The boot clock is exact, but another run may be on another machine.
    fn until(self, event: &Event<'_>, run: u64) -> Duration {
        match self.run == run {
            true => event.moment.since(self.moment),
            false => Duration::from_nanos(event.time.0.saturating_sub(self.time.0)),
        }
    }
}

impl Story {
    /// The story of what is known by one of these hashes.
    pub fn new(hashes: impl IntoIterator<Item = Hash>, format: ReportFormat) -> Self {
        Self { followed: Followed::new(hashes), format, first: None, run: 0, begun: None }
    }
}

impl Format for Story {
    const RECORDS: &'static str = "rows";

    fn run_begins(&mut self, run: &Run) {
        self.run += 1;
        self.begun = Some(text::run(self.run, run));
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, _: Line) -> io::Result<()> {
        let Some(mut row) = Row::of(event, &mut self.followed) else { return Ok(()) };
        let is_first = self.first.is_none() && !row.is_gap();
        if is_first {
            self.first = Some(First { time: event.time, moment: event.moment, run: self.run });
        }
        row.run = self.run;
        row.since_first = self.first.map(|first| first.until(event, self.run));
        if self.format == ReportFormat::Json {
            serde_json::to_writer(&mut *out, &row)?;
            return out.write_all(b"\n");
        }
        if is_first {
            text::head(out, event.time)?;
        }
        let begun = self.begun.take().filter(|_| self.run > 1);
        begun.map_or(Ok(()), |run| out.write_all(run.as_bytes()))?;
        text::row(out, &row)
    }
}
