//! A spool as an [`Output`]. In: the calls that outputs get, and what a failure means. Out: batches to the spool.

use std::{io, sync::Arc, thread, time::Duration};

use super::{Outcome, Spool};
use crate::{
    capture::{Batch, Counted, End, Run},
    output::{Kept, Output, Result, Written},
    stop::Stop,
    tap::DRAIN_INTERVAL,
    tracepoint::LossReason,
};

/// How often to look whether a full queue has room again.
const QUEUE_INTERVAL: Duration = Duration::from_millis(2);

/// A spool, and its role among the outputs.
pub struct SpoolOutput<'a> {
    /// `None` once it is finished.
    spool: Option<Spool>,
    name: String,
    place: String,
    /// What it writes, for log messages.
    records: &'static str,
    waits: Option<(&'a Stop, Room)>,
    is_required: bool,
    may_work_again: bool,
    wants_payloads: bool,
    /// Whether it takes events yet.
    has_begun: bool,
    /// How long events may wait in the ring buffer.
    patience: Duration,
    /// Says what is kept, if it writes to memory.
    keeps: Option<Keeps>,
    /// What it had written when it finished.
    written: Written,
}

type Keeps = Box<dyn Fn() -> Kept + Send>;

/// How long the source waits for room in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// While the destination works. An outage may last long, and a node must be drained meanwhile.
    WhileItWorks,
    /// Also during an outage: for a recording, which can wait.
    Always,
}

impl<'a> SpoolOutput<'a> {
    /// A spool with a destination that is tried again after failures. If it is too slow, it loses its oldest events; other outputs
    /// are not affected. `name` is for logs and metrics, `place` for errors.
    pub fn new(spool: Spool, name: impl Into<String>, place: impl Into<String>) -> Self {
        Self {
            records: spool.records,
            spool: Some(spool),
            name: name.into(),
            place: place.into(),
            waits: None,
            is_required: false,
            may_work_again: true,
            wants_payloads: false,
            has_begun: true,
            patience: DRAIN_INTERVAL,
            keeps: None,
            written: Written::default(),
        }
    }

    /// Makes the source wait for room in the queue, until it is time to stop.
    #[must_use]
    pub fn waited_for(self, stop: &'a Stop, room: Room) -> Self {
        Self { waits: Some((stop, room)), ..self }
    }

    /// Everything ends when this output ends.
    #[must_use]
    pub fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// The output ends with the first failure of its destination.
    #[must_use]
    pub fn ending_for_good(self) -> Self {
        Self { may_work_again: false, ..self }
    }

    /// It wants whole payloads. If it `waits`, it takes no events until payloads are whole: for an output that begins while a node is
    /// tapped.
    #[must_use]
    pub fn with_payloads(self, waits: bool) -> Self {
        Self { wants_payloads: true, has_begun: !waits, ..self }
    }

    /// It writes to memory, and `keeps` says what is there. Nobody waits for its events.
    #[must_use]
    pub fn in_memory(self, keeps: impl Fn() -> Kept + Send + 'static) -> Self {
        Self { patience: Duration::MAX, keeps: Some(Box::new(keeps)), ..self }
    }

    fn tell_failure(&self) {
        if let Some(error) = self.spool.as_ref().and_then(Spool::take_failure) {
            let Self { name, records, .. } = self;
            tracing::error!(
                "cannot write to the output {name}: {error}; its {records} are counted as lost from now on"
            );
        }
    }
}

impl Output for SpoolOutput<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_required(&self) -> bool {
        self.is_required
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        self.run_goes_on(&Arc::new(run.clone()));
        Ok(())
    }

    fn run_goes_on(&mut self, run: &Arc<Run>) {
        self.spool.iter_mut().for_each(|spool| spool.run_begins(run));
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        let Some(spool) = self.spool.as_mut().filter(|_| self.has_begun) else { return Ok(()) };
        if let Some((stop, room)) = self.waits {
            // Meanwhile events wait in the ring buffer. It is larger, and if it fills up, the gap comes in its place.
            wait_for_room(spool, batch, stop, room);
        }
        spool.push(batch);
        if !self.is_required {
            self.tell_failure();
        }
        Ok(())
    }

    fn unread(&mut self, batch: &Batch) {
        self.spool.iter().for_each(|spool| spool.lose(batch, LossReason::Stopped));
    }

    fn run_ends(&mut self, counted: &Counted, _: End) -> Result {
        if let Some(spool) = &self.spool {
            spool.run_ended(&counted.untold);
            spool.run_counted(&counted.added);
        }
        Ok(())
    }

    fn wants_whole_payloads(&self) -> bool {
        self.wants_payloads
    }

    fn payloads_are_whole(&mut self) {
        self.has_begun = true;
    }

    fn idle(&mut self) {
        // There is no tap now, and the next one begins with whole payloads if they are wanted.
        self.has_begun = true;
        if !self.is_required {
            self.tell_failure();
        }
    }

    fn is_done(&self) -> bool {
        self.spool.as_ref().is_none_or(Spool::has_ended)
    }

    fn written(&self) -> Option<Written> {
        let kept = self.keeps.as_ref().map(|keeps| keeps());
        let now = |spool: &Spool| {
            let (records, lost) = (spool.lines_written(), spool.lines_lost());
            Written { records, lost, files: spool.files(), kept, ..Written::default() }
        };
        Some(self.spool.as_ref().map_or(self.written, now))
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn finish(&mut self, stop: &Stop) -> Result {
        let Some(spool) = self.spool.take() else { return Ok(()) };
        let tally = spool.tally.clone();
        let Outcome { written, lost, failure } = spool.finish(|spool| stop.is_over(spool.stalled_for()));
        let files = tally.map(|tally| tally.files());
        self.written = Written { records: written, lost, files, ..Written::default() };
        // The reader has closed the pipe, since it wants no more.
        let has_closed = |error: &io::Error| !self.may_work_again && error.kind() == io::ErrorKind::BrokenPipe;
        if failure.as_ref().is_some_and(has_closed) {
            return Ok(());
        }
        if lost > 0 {
            tracing::warn!(written, lost, "some events were not written as {}", self.records);
        }
        match failure {
            Some(error) if self.is_required && (!self.may_work_again || lost > 0) => {
                Err(format!("cannot write to {}: {error}", self.place).into())
            }
            // The destination failed, but nothing is lost. Or the output is not required, and the log has the failure.
            Some(_) | None => Ok(()),
        }
    }
}

fn wait_for_room(spool: &mut Spool, batch: &Batch, stop: &Stop, room: Room) {
    let may_come = |spool: &Spool| !spool.has_ended() && (room == Room::Always || !spool.is_interrupted());
    while !spool.has_room(batch.bytes()) && may_come(spool) && !stop.is_over(spool.stalled_for()) {
        thread::sleep(QUEUE_INTERVAL);
    }
}
