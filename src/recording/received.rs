//! What a reader has of a run whose groups may be missing. In: openings, which say how many events came before them, and events. Out:
//! how many events are missing, and counters that say so.

use super::{
    dialect::Dialect,
    stored::{Delivered, Opening},
};
use crate::{
    capture::Counters,
    event::Lost,
    tracepoint::{LossReason, Tracepoint},
};

/// What came, and what did not; by [`Tracepoint::index`].
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The run that goes on: its recording, its process and when that was started.
    run: Option<(u64, i32, f64)>,
    /// Events before this place, as the publisher counts them.
    passed: [u64; Tracepoint::COUNT],
    missing: [u64; Tracepoint::COUNT],
    /// Events that came, though the publisher counts them as lost: it had no word that they arrived.
    arrived: [u64; Tracepoint::COUNT],
}

impl Received {
    /// Whether a group is of the run that goes on.
    pub(super) fn is_of(&self, opening: &Opening<'_>) -> bool {
        self.run.is_some() && self.run == of(opening)
    }

    /// A group begins. Gives what is missing before it. `None` if the counts make no sense.
    pub(super) fn opens(
        &mut self,
        opening: &Opening<'_>,
        delivered: &Delivered,
        dialect: &Dialect,
        continues: bool,
    ) -> Option<Vec<Lost>> {
        let mut now = [0; Tracepoint::COUNT];
        for &(number, count) in &delivered.0 {
            if let Some(tracepoint) = dialect.tracepoint(number)? {
                now[tracepoint.index()] = count;
            }
        }
        let before = std::mem::replace(&mut self.passed, now);
        self.run = of(opening);
        if !continues {
            (self.missing, self.arrived) = Default::default();
            return Some(Vec::new());
        }
        let mut lost = Vec::new();
        for tracepoint in Tracepoint::all() {
            let place = tracepoint.index();
            let count = now[place].saturating_sub(before[place]);
            self.missing[place] = self.missing[place].saturating_add(count);
            self.arrived[place] = self.arrived[place].saturating_add(before[place].saturating_sub(now[place]));
            if count > 0 {
                lost.push(Lost { tracepoint, reason: LossReason::NotReceived, count });
            }
        }
        Some(lost)
    }

    /// An event has come.
    pub(super) fn takes(&mut self, tracepoint: Tracepoint) {
        let passed = &mut self.passed[tracepoint.index()];
        *passed = passed.saturating_add(1);
    }

    /// How many events of the run have not come.
    #[cfg(feature = "nats")]
    pub(super) fn missed(&self) -> u64 {
        self.missing.iter().fold(0, |sum, &missing| sum.saturating_add(missing))
    }

    /// The run has ended.
    pub(super) fn ends(&mut self) {
        self.run = None;
    }

    /// Changes the publisher's counters to those of this reader: fired = delivered + filtered + lost.
    pub(super) fn correct(&self, counters: &mut [Counters; Tracepoint::COUNT]) {
        for (place, counters) in counters.iter_mut().enumerate() {
            let failed = &mut counters.lost[LossReason::WriteFailed as usize];
            *failed = failed.saturating_sub(self.arrived[place]);
            let missing = &mut counters.lost[LossReason::NotReceived as usize];
            *missing = missing.saturating_add(self.missing[place]);
        }
    }
}

fn of(opening: &Opening<'_>) -> Option<(u64, i32, f64)> {
    opening.run.as_ref().map(|run| (opening.recording, run.pid, run.start_time))
}
