//! The thread that writes. In: what waits in the queue. Out: a line for each event that is wanted, and for each gap before the
//! event that it precedes; what becomes of each is counted.

use std::{
    collections::VecDeque,
    io::{self, BufWriter, Write},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{
    destination::Destination,
    format::Format,
    queue::{Item, Shared, Untold},
};
use crate::{
    capture::{self, Asked, Batch},
    event::{Event, Kind, Lost, Moment, Time},
    tracepoint::{LossReason, Tracepoint},
};

const BUFFER_BYTES: usize = 64 << 10;
/// How long a writer that does not block is left alone when it can take no more.
const WRITER_INTERVAL: Duration = Duration::from_millis(1);
/// How often a destination is flushed and looked after, and how long one that fails is left alone.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The thread's side.
pub(super) struct Writing<D: Destination, F> {
    out: BufWriter<Counted<D>>,
    format: F,
    /// Events until the end.
    left: u64,
    /// What is missing before the next event.
    untold: Untold,
    /// Lines that have not left the buffer, and where each ends.
    unwritten: VecDeque<(u64, Line)>,
    /// Where the last line ends that has.
    whole: u64,
    /// When the destination was flushed and looked after.
    looked_after: Option<Instant>,
    /// What was lost before the last batch that was begun.
    lost_before: u64,
    outage: Option<Outage>,
    shared: Arc<Shared>,
}

/// What a line tells.
#[derive(Clone, Copy, Debug)]
enum Line {
    Event(Tracepoint),
    Gap(Lost),
}

/// A destination has failed, and it is not known for long enough that it works again.
#[derive(Debug)]
struct Outage {
    /// What was lost before it.
    lost_before: u64,
    /// Since when it seems to work again.
    works_since: Option<Instant>,
}

impl<D: Destination, F: Format> Writing<D, F> {
    pub(super) fn new(destination: D, format: F, count: Option<u64>, shared: Arc<Shared>) -> Self {
        let counted = Counted { writer: destination, bytes: 0, discards: false, shared: Arc::clone(&shared) };
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, counted),
            format,
            left: count.unwrap_or(u64::MAX),
            untold: Untold::default(),
            unwritten: VecDeque::new(),
            whole: 0,
            looked_after: None,
            lost_before: 0,
            outage: None,
            shared,
        }
    }

    pub(super) fn run(mut self) {
        // What is not there yet is told at once, and not with the first event.
        let mut result = self.format.begin(&mut self.out).and_then(|()| self.look_after());
        while let Err(error) = result.and_then(|()| self.write_all()) {
            result = self.recover(error);
            if let Err(error) = result {
                // One that would block was waited for as long as there was time.
                self.shared.set_failure(Some(error).filter(|error| error.kind() != io::ErrorKind::WouldBlock));
                break;
            }
        }
        self.shared.satisfied.store(self.left == 0, Relaxed);
        self.shared.ended.store(true, Relaxed);
        // Not dropped, which would try to write the buffer once more.
        let _ = self.out.into_parts();
        let left_over = std::mem::take(&mut *self.shared.queue());
        for item in left_over.items.iter().filter(|_| self.left > 0) {
            self.shared.lose(&mut Untold::default(), &item.batch, LossReason::QueueFull);
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        while let Some(Item { next_run, lost, batch }) = self.next()? {
            if next_run {
                self.format.next_run();
            }
            self.untold.merge(lost);
            if self.shared.abandoned.load(Relaxed) {
                self.shared.lose(&mut self.untold, &batch, LossReason::QueueFull);
                continue;
            }
            let result = self.write(&batch);
            self.account();
            self.shared.queue().bytes -= batch.bytes();
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
        self.flush()?;
        self.end_outage();
        Ok(())
    }

    /// Flushes before it waits: a line is seen when it is there. None when the queue is closed.
    fn next(&mut self) -> io::Result<Option<Item>> {
        let mut flushed = false;
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        loop {
            // Also when there is always more; and before anything is taken, which would be lost if that fails.
            if !queue.items.is_empty() && self.looked_after.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
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
                self.flush()?;
                flushed = true;
                queue = shared.queue();
                continue;
            }
            queue = shared.wait(queue, self.outage.as_ref().map(|_| LOOK_INTERVAL));
            self.end_outage_if_over();
        }
    }

    /// Writes the events of a batch.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // Asked once, and before any is written: a thread that is stuck with one has counted them all.
        let asked: Vec<Asked> = batch.asked(&shared.filter).collect();
        let wanted = asked.iter().filter(|asked| matches!(asked, Asked::Wanted(_))).count();
        shared.events.fetch_add(wanted as u64, Relaxed);
        self.lost_before = shared.lost.load(Relaxed);
        let mut result = Ok(());
        // Why no more are written.
        let mut end = None;
        for (index, asked) in asked.into_iter().enumerate() {
            match asked {
                Asked::Unwanted => {}
                // Told before the event that follows, with that one's time.
                Asked::Gaps => batch.event_or_gaps(index, false, |event| match event.kind {
                    Kind::Lost(gap) if shared.filter.wants(gap.tracepoint) => self.untold.add_gap(gap),
                    _ => {}
                }),
                Asked::Wanted(_) if self.left == 0 => {}
                Asked::Wanted(tracepoint) => {
                    // Time may be up in the middle of a batch.
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

    fn gaps(&mut self, (time, moment): (Time, Moment)) -> io::Result<()> {
        while let Some(gap) = self.untold.first() {
            self.line(&Event { time, moment, kind: Kind::Lost(gap) }, Line::Gap(gap))?;
            self.untold.remove_first();
        }
        Ok(())
    }

    fn line(&mut self, event: &Event<'_>, line: Line) -> io::Result<()> {
        if self.destination().is_full(self.out.buffer().len()) {
            self.look_after()?;
        }
        self.format.event(&mut self.out, event)?;
        let end = self.out.get_ref().bytes + self.out.buffer().len() as u64;
        self.unwritten.push_back((end, line));
        Ok(())
    }

    fn destination(&self) -> &D {
        &self.out.get_ref().writer
    }

    fn destination_mut(&mut self) -> &mut D {
        &mut self.out.get_mut().writer
    }

    /// Between two lines.
    fn look_after(&mut self) -> io::Result<()> {
        self.looked_after = Some(Instant::now());
        self.flush()?;
        self.end_outage_if_over();
        self.destination_mut().look_after()
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.account();
        result
    }

    /// A line counts as written when it has left the buffer.
    fn account(&mut self) {
        let written = self.unwritten.partition_point(|&(end, _)| end <= self.out.get_ref().bytes);
        let mut events = 0;
        for (end, line) in self.unwritten.drain(..written) {
            self.whole = end;
            events += u64::from(matches!(line, Line::Event(_)));
        }
        self.shared.written.fetch_add(written as u64, Relaxed);
        self.shared.written_events.fetch_add(events, Relaxed);
    }

    /// After a failure: until it works again, or the end.
    fn recover(&mut self, mut error: io::Error) -> io::Result<()> {
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

    /// First of all what was lost, which shows whether it works without that anything is risked.
    fn retry(&mut self) -> io::Result<()> {
        self.destination_mut().reopen()?;
        let waits_longest = self.shared.queue().items.front().map(|item| item.batch.drained());
        self.gaps(waits_longest.unwrap_or_else(capture::now))?;
        self.flush()
    }

    /// What has not left the buffer is lost. Gives whether the destination may ever work again.
    fn give_up_unwritten(&mut self) -> bool {
        self.account();
        let torn = self.out.get_ref().bytes - self.whole;
        self.whole = self.out.get_ref().bytes;
        let mut events = 0;
        for (_, line) in std::mem::take(&mut self.unwritten) {
            match line {
                Line::Event(tracepoint) => {
                    events += 1;
                    self.untold.add_gap(Lost { tracepoint, reason: LossReason::WriteFailed, count: 1 });
                }
                Line::Gap(gap) => self.untold.add_gap(gap),
            }
        }
        self.left = self.left.saturating_add(events);
        self.shared.lost.fetch_add(events, Relaxed);
        self.out.get_mut().discards = true;
        let _ = self.out.flush();
        self.out.get_mut().discards = false;
        self.destination_mut().has_failed(torn)
    }

    fn begin_outage(&mut self, error: &io::Error) {
        self.shared.interrupted.store(true, Relaxed);
        match &mut self.outage {
            // It did not work for long.
            Some(outage) => outage.works_since = None,
            None => {
                let name = self.destination().name();
                tracing::error!(
                    "cannot write JSON lines to {name}: {error}; it is tried again every second, and what cannot wait is lost"
                );
                self.outage = Some(Outage { lost_before: self.lost_before, works_since: None });
            }
        }
    }

    fn end_outage_if_over(&mut self) {
        let works_since = self.outage.as_ref().and_then(|outage| outage.works_since);
        if works_since.is_some_and(|since| since.elapsed() >= LOOK_INTERVAL) {
            self.end_outage();
        }
    }

    fn end_outage(&mut self) {
        if let Some(Outage { lost_before, .. }) = self.outage.take() {
            let lost = self.shared.lost.load(Relaxed) - lost_before;
            tracing::info!(lost, "JSON lines are written to {} again", self.destination().name());
        }
    }

    /// Leaves the destination alone for a while, if there is time: the end, which it tells, comes first.
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

/// A writer that knows how much it has taken, that gives up what is in a buffer before it, and that waits where the one inside, set not to block, would fail.
#[derive(Debug)]
struct Counted<W> {
    writer: W,
    bytes: u64,
    /// What comes is given up.
    discards: bool,
    shared: Arc<Shared>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.discards {
            return Ok(buffer.len());
        }
        loop {
            match self.writer.write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.shared.abandoned.load(Relaxed) => {
                    thread::sleep(WRITER_INTERVAL);
                }
                result => {
                    self.bytes += *result.as_ref().unwrap_or(&0) as u64;
                    self.shared.written_bytes.store(self.bytes, Relaxed);
                    return result;
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.discards { Ok(()) } else { self.writer.flush() }
    }
}
