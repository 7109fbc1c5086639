//! The thread that writes. In: items of the queue. Out: a record for each wanted event, and one for each gap, before the event that
//! follows it. Counts which are written and which are lost.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    destination::Destination,
    format::Format,
    gathering::Gathering,
    outage::Outage,
    queue::{Item, Shared, Untold},
    records::Line,
    whole::Aside,
};
use crate::{
    capture::{self, Asked, Batch, Run},
    event::{Event, Kind, Lost, Moment, Time},
    tracepoint::LossReason,
};

/// How often a destination is flushed and looked after, and how long to wait before trying a failed one again.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the thread.
pub(super) struct Writing<D, F> {
    pub out: Gathering<D>,
    pub format: F,
    /// How many more events to write.
    pub left: u64,
    /// The gaps before the next event.
    pub untold: Untold,
    /// When the destination was last flushed and looked after.
    looked_after: Option<Instant>,
    /// How many events were lost before the current batch.
    pub lost_before: u64,
    pub outage: Option<Outage>,
    pub shared: Arc<Shared>,
}

impl<D: Destination, F: Format> Writing<D, F> {
    pub(super) fn new(destination: D, format: F, count: Option<u64>, shared: Arc<Shared>) -> Self {
        Self {
            out: Gathering::new(destination, Arc::clone(&shared)),
            format,
            left: count.unwrap_or(u64::MAX),
            untold: Untold::default(),
            looked_after: None,
            lost_before: 0,
            outage: None,
            shared,
        }
    }

    pub(super) fn run(mut self) {
        let mut result = self.begin();
        while let Err(error) = result.and_then(|()| self.write_all()) {
            result = self.recover(error);
            if let Err(error) = result {
                self.out.give_up_held();
                // A destination that would block is no failure: there was just no more time to wait for it.
                self.shared.set_failure(Some(error).filter(|error| error.kind() != io::ErrorKind::WouldBlock));
                break;
            }
        }
        self.shared.satisfied.store(self.left == 0, Relaxed);
        self.shared.ended.store(true, Relaxed);
        let left_over = std::mem::take(&mut *self.shared.queue());
        for item in left_over.items.iter().filter(|_| self.left > 0) {
            self.shared.lose(&mut Untold::default(), &item.batch, LossReason::QueueFull);
        }
    }

    /// Looks after the destination at once, so that a missing listener is logged now and not with the first event.
    fn begin(&mut self) -> io::Result<()> {
        self.format.begin(&mut self.out)?;
        self.out.end_frame();
        self.look_after()
    }

    fn write_all(&mut self) -> io::Result<()> {
        while let Some(Item { next_run, lost, aside, batch, ends }) = self.next()? {
            let turned = next_run.map_or(Ok(()), |run| self.run_begins(&run, &batch));
            self.untold.merge(lost);
            if let Err(error) = turned {
                self.shared.lose(&mut self.untold, &batch, LossReason::WriteFailed);
                self.shared.queue().bytes -= batch.bytes();
                return Err(error);
            }
            if self.shared.abandoned.load(Relaxed) {
                self.shared.lose(&mut self.untold, &batch, LossReason::QueueFull);
                continue;
            }
            let result = self.write(&batch, &aside, ends);
            self.shared.queue().leaves(&batch);
            result?;
            if self.left == 0 {
                break;
            }
        }
        let (time, moment) = capture::now();
        if self.left > 0 {
            self.gaps((time, moment))?;
        }
        self.format.end(&mut self.out, time)?;
        self.out.end_frame();
        self.out.flush_records()?;
        self.out.destination.finish()?;
        self.end_outage();
        Ok(())
    }

    /// This batch is the first of a run, or of one that goes on. The gaps before it are of the run before.
    fn run_begins(&mut self, run: &Run, batch: &Batch) -> io::Result<()> {
        let writes = !self.format.takes_parts() && !self.shared.abandoned.load(Relaxed);
        let written = if writes { self.gaps(batch.first().unwrap_or(batch.drained())) } else { Ok(()) };
        self.format.run_begins(run);
        written
    }

    /// The next item; `None` when the queue is closed. Flushes before it waits, so that readers see each line at once.
    fn next(&mut self) -> io::Result<Option<Item>> {
        let mut flushed = false;
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        loop {
            // This must happen even if the queue is never empty. It happens before an item is taken, which would be lost if it failed.
            let is_unsettled = self.out.destination.is_unsettled();
            let may_look = is_unsettled || !queue.items.is_empty();
            if may_look && self.looked_after.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
                drop(queue);
                self.look_after()?;
                queue = shared.queue();
            }
            if let Some(item) = queue.items.pop_front() {
                return Ok(Some(item));
            }
            if queue.closed {
                self.untold.merge(std::mem::take(&mut queue.untold));
                return Ok(None);
            }
            if !flushed {
                drop(queue);
                self.out.flush_records()?;
                flushed = true;
                queue = shared.queue();
                continue;
            }
            queue = shared.wait(queue, (is_unsettled || self.outage.is_some()).then_some(LOOK_INTERVAL));
            self.end_outage_if_over();
        }
    }

    /// Writes the events of a batch.
    fn write(&mut self, batch: &Batch, aside: &Aside, ends: bool) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // Asked once, and before any event is written: if the thread gets stuck with an event, it has counted them all.
        let mut asked: Vec<Asked> = batch.asked(&shared.filter).collect();
        let wanted = asked.iter().filter(|asked| matches!(asked, Asked::Wanted(_))).count();
        shared.events.fetch_add(wanted as u64, Relaxed);
        self.lost_before = shared.lost.load(Relaxed);
        if self.format.takes_parts() {
            return self.write_part(batch, &mut asked, aside, ends);
        }
        let mut result = Ok(());
        // Why no more events of this batch are written.
        let mut end = None;
        for (index, asked) in asked.into_iter().enumerate() {
            match asked {
                Asked::Unwanted => {}
                // Written before the event that follows, with its time.
                Asked::Gaps => batch.event_or_gaps(index, false, |event| match event.kind {
                    Kind::Lost(gap) if shared.filter.wants(gap.tracepoint) => self.untold.add_gap(gap),
                    _ => {}
                }),
                Asked::Wanted(_) if self.left == 0 => {}
                Asked::Wanted(tracepoint) => {
                    // The time may end in the middle of a batch.
                    if end.is_none() && shared.abandoned.load(Relaxed) {
                        end = Some(LossReason::QueueFull);
                    }
                    if end.is_none() {
                        batch.event_or_gaps(index, self.format.decodes(), |event| {
                            result = self.event(&event, Line::Event(tracepoint));
                        });
                        end = result.as_ref().err().map(|_| LossReason::WriteFailed);
                    }
                    if let Some(reason) = end {
                        self.untold.add_gap(Lost { tracepoint, reason, count: 1 });
                        shared.lost.fetch_add(1, Relaxed);
                    }
                }
            }
        }
        result
    }

    fn event(&mut self, event: &Event<'_>, line: Line) -> io::Result<()> {
        self.gaps((event.time, event.moment))?;
        self.line(event, line)?;
        self.left -= 1;
        Ok(())
    }

    pub(super) fn gaps(&mut self, (time, moment): (Time, Moment)) -> io::Result<()> {
        if self.format.takes_parts() {
            return self.gaps_alone((time, moment));
        }
        while let Some(gap) = self.untold.first() {
            self.line(&Event { time, moment, kind: Kind::Lost(gap) }, Line::Gap(gap))?;
            self.untold.remove_first();
        }
        Ok(())
    }

    fn line(&mut self, event: &Event<'_>, line: Line) -> io::Result<()> {
        if self.out.destination.is_full(self.out.waiting()) {
            self.look_after()?;
        }
        self.format.event(&mut self.out, event, line)?;
        self.out.end(line);
        Ok(())
    }

    /// Called between two lines.
    fn look_after(&mut self) -> io::Result<()> {
        self.looked_after = Some(Instant::now());
        self.out.flush_records()?;
        self.end_outage_if_over();
        self.out.destination.look_after()
    }
}
