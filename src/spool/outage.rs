//! A destination that has failed. In: the error. Out: the destination works again and has the gap, and the log has the sum of losses;
//! or the error is final, since the destination never works again, or not in time.

use std::{io, sync::atomic::Ordering::Relaxed, time::Instant};

use super::{
    destination::Destination,
    format::Format,
    records::Line,
    writing::{LOOK_INTERVAL, Writing},
};
use crate::{capture, event::Lost, tracepoint::LossReason};

/// A destination has failed, and has not worked again for long enough.
#[derive(Debug)]
pub(super) struct Outage {
    /// How many events were lost before it.
    lost_before: u64,
    /// Since when the destination seems to work again.
    works_since: Option<Instant>,
}

impl<D: Destination, F: Format> Writing<D, F> {
    /// Called after a failure. Returns when the destination works again, or with the final error.
    pub(super) fn recover(&mut self, mut error: io::Error) -> io::Result<()> {
        let mut may_work_again = self.give_up_unwritten();
        if may_work_again && !self.shared.abandoned.load(Relaxed) {
            self.begin_outage(&error);
        }
        while may_work_again && !self.shared.abandoned.load(Relaxed) {
            let is_last = self.wait_to_retry();
            match self.retry() {
                Ok(()) => {
                    self.outage.as_mut().expect("it has begun").works_since = Some(Instant::now());
                    self.shared.interrupted.store(false, Relaxed);
                    return Ok(());
                }
                Err(again) => error = again,
            }
            may_work_again = self.give_up_unwritten() && !is_last;
        }
        Err(error)
    }

    /// Writes the gaps first: this checks that writing works, without risking events.
    fn retry(&mut self) -> io::Result<()> {
        self.out.destination.reopen()?;
        let waits_longest = self.shared.queue().items.front().map(|item| item.batch.drained());
        self.gaps(waits_longest.unwrap_or_else(capture::now))?;
        self.out.flush_records()
    }

    /// Counts what was not taken as lost. Gives whether the destination may ever work again.
    fn give_up_unwritten(&mut self) -> bool {
        let (lines, may_work_again) = self.out.give_up();
        let mut events = 0;
        let lines: Vec<_> = lines.collect();
        for line in lines {
            self.format.given_up(line);
            match line {
                Line::Event(tracepoint) => {
                    events += 1;
                    self.untold.add_gap(Lost { tracepoint, reason: LossReason::WriteFailed, count: 1 });
                }
                Line::Gap(gap) => self.untold.add_gap(gap),
                Line::Frame => {}
            }
        }
        self.left = self.left.saturating_add(events);
        self.shared.lost.fetch_add(events, Relaxed);
        may_work_again
    }

    fn begin_outage(&mut self, error: &io::Error) {
        self.shared.interrupted.store(true, Relaxed);
        match &mut self.outage {
            // It failed again too soon: the outage goes on.
            Some(outage) => outage.works_since = None,
            None => {
                let name = self.out.destination.name();
                tracing::error!(
                    "cannot write {} to {name}: {error}; bitcointap tries again every second, and events that do not fit into the queue are lost",
                    F::RECORDS
                );
                self.outage = Some(Outage { lost_before: self.lost_before, works_since: None });
            }
        }
    }

    pub(super) fn end_outage_if_over(&mut self) {
        let works_since = self.outage.as_ref().and_then(|outage| outage.works_since);
        if works_since.is_some_and(|since| since.elapsed() >= LOOK_INTERVAL) {
            self.end_outage();
        }
    }

    pub(super) fn end_outage(&mut self) {
        if let Some(Outage { lost_before, .. }) = self.outage.take() {
            let lost = self.shared.lost.load(Relaxed) - lost_before;
            tracing::info!(lost, "{} are written to {} again", F::RECORDS, self.out.destination.name());
        }
    }

    /// Waits before the next try. Returns at once, with true, when the queue is closed.
    fn wait_to_retry(&self) -> bool {
        let deadline = Instant::now() + LOOK_INTERVAL;
        let mut queue = self.shared.queue();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if queue.closed || left.is_zero() {
                return queue.closed;
            }
            queue = self.shared.wait(queue, Some(left));
        }
    }
}
