//! Requests that a drain fulfils. In: clients that ask for all that has fired by now, and outputs that want whole payloads. Out:
//! answers, after a drain has brought that.

use crate::{
    Error,
    capture::now,
    event::Moment,
    output::{Askers, Outputs},
    tap::{DRAIN_INTERVAL, Tap},
};

/// The questions of clients that wait for a drain.
pub(super) struct Questions {
    askers: Box<dyn Askers>,
    asked: u64,
    answered: u64,
    /// When the oldest question that is not answered yet was taken.
    since: Moment,
}

impl Questions {
    pub(super) fn begin(askers: Vec<Box<dyn Askers>>, tap: &Tap) -> Result<Vec<Self>, Error> {
        let begun = askers.into_iter().map(|askers| {
            tap.wake_on(askers.wakes())?;
            askers.drained(true);
            Ok(Self { askers, asked: 0, answered: 0, since: Moment::default() })
        });
        begun.collect()
    }

    /// Called before each drain.
    pub(super) fn take(&mut self) {
        // Questions that come while a flood is being drained are answered after the questions before them.
        if self.asked == self.answered {
            self.asked = self.askers.asked();
            (_, self.since) = now();
        }
    }

    /// Called after each drain, with its newest event, and whether more events wait.
    pub(super) fn answer(&mut self, newest: Option<Moment>, more: bool) {
        // In a flood the end may never be reached.
        if !more || newest.is_some_and(|newest| newest > self.since) {
            self.answered = self.asked;
            self.askers.answer(self.asked);
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.askers.drained(false);
    }
}

/// Whether payloads are whole now, where they are limited.
pub(super) struct WholePayloads {
    wanted: bool,
    since: Moment,
    /// How often the ring buffer was drained to its end since then. Once is not enough: a BPF program that began before may still have
    /// been writing a limited payload during the first drain.
    drained: u32,
}

impl WholePayloads {
    pub(super) fn since_now(wanted: bool) -> Self {
        let (_, since) = now();
        Self { wanted, since, drained: 0 }
    }

    pub(super) fn choose(&mut self, tap: &Tap, outputs: &Outputs<'_>) -> Result<(), Error> {
        let wanted = outputs.want_whole_payloads();
        if wanted != self.wanted {
            tap.want_whole_payloads(wanted)?;
            *self = Self::since_now(wanted);
        }
        Ok(())
    }

    /// Whether payloads of all events after this batch are whole, judged by its newest event.
    pub(super) fn are_whole(&mut self, newest: Option<Moment>, more: bool) -> bool {
        self.drained = self.drained.saturating_add((!more).into());
        // In a flood the end may never be reached. Then events that fired later than that show that the older ones are out.
        let is_later = newest.is_some_and(|newest| newest.since(self.since) > DRAIN_INTERVAL);
        self.wanted && (self.drained > 1 || is_later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether payloads are whole after each batch. A batch is given by the milliseconds from the choice to its newest event, and by
    /// whether more events waited.
    fn found(wanted: bool, batches: &[(Option<u64>, bool)]) -> Vec<bool> {
        let mut payloads = WholePayloads { wanted, since: Moment(5_000_000_000), drained: 0 };
        let moment = |milliseconds: u64| Moment(5_000_000_000 + milliseconds * 1_000_000);
        batches.iter().map(|&(newest, more)| payloads.are_whole(newest.map(moment), more)).collect()
    }

    #[test]
    fn payloads_are_whole_once_all_went_out_that_may_be_limited() {
        let quiet = [(None, false), (None, false), (None, false)];
        assert_eq!(found(true, &quiet), [false, true, true]);
        assert_eq!(found(false, &quiet), [false; 3]);
        // In a flood more events wait after each batch.
        let flood = [(Some(1), true), (None, true), (Some(20), true), (Some(21), true), (Some(30), true)];
        assert_eq!(found(true, &flood), [false, false, false, true, true]);
        assert_eq!(found(false, &flood), [false; 5]);
        // An event that had waited since before the choice.
        let mut payloads = WholePayloads { wanted: true, since: Moment(5_000_000_000), drained: 0 };
        assert!(!payloads.are_whole(Some(Moment(4_000_000_000)), true));
    }
}
