//! Events one by one, for callers that do not want batches. In: a [`Tap`]. Out: a blocking iterator, or an asynchronous stream that
//! works with any executor.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use async_channel::{Receiver, Sender};
use futures_core::Stream;

use super::{DRAIN_INTERVAL, Stopper, Tap};
use crate::{
    capture::{Batch, now, unshared},
    event::{Event, Kind, Lost, Moment, Time},
    node::error::{Error, Trying},
    privileges,
};

/// How many batches may wait for a stream's reader, each of about 256 KiB at most. Further events wait in the ring buffer.
const QUEUED_BATCHES: usize = 16;

/// A captured event, or a gap. It holds the record, and decodes it when asked.
#[derive(Clone, Debug)]
pub struct Captured(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Record { batch: Arc<Batch>, index: usize },
    Gap { time: Time, moment: Moment, lost: Lost },
}

impl Captured {
    /// Decodes it at each call.
    pub fn event(&self) -> Event<'_> {
        match &self.0 {
            Inner::Record { batch, index } => {
                let mut event = None;
                batch.event_or_gaps(*index, true, |given| event = Some(given));
                event.expect("it was an event when it was captured")
            }
            &Inner::Gap { time, moment, lost } => Event { time, moment, kind: Kind::Lost(lost) },
        }
    }
}

/// Goes through the events and gaps of a batch.
#[derive(Debug, Default)]
struct Walk {
    batch: Arc<Batch>,
    next: usize,
    gaps: VecDeque<(Time, Moment, Lost)>,
}

impl Walk {
    fn of(batch: Arc<Batch>) -> Self {
        Self { batch, ..Self::default() }
    }

    /// Gaps that no event follows.
    fn of_gaps(gaps: Vec<Lost>) -> Self {
        let (time, moment) = now();
        Self { gaps: gaps.into_iter().map(|lost| (time, moment, lost)).collect(), ..Self::default() }
    }

    fn next(&mut self) -> Option<Captured> {
        loop {
            if let Some((time, moment, lost)) = self.gaps.pop_front() {
                return Some(Captured(Inner::Gap { time, moment, lost }));
            }
            if self.next == self.batch.len() {
                return None;
            }
            let index = self.next;
            self.next += 1;
            let mut is_event = false;
            self.batch.event_or_gaps(index, false, |event| match event.kind {
                Kind::Lost(lost) => self.gaps.push_back((event.time, event.moment, lost)),
                _ => is_event = true,
            });
            if is_event {
                return Some(Captured(Inner::Record { batch: Arc::clone(&self.batch), index }));
            }
        }
    }
}

/// The events of a [`Tap`], from [`Tap::events`]. It waits for events, and ends when the node has ended or a [`Stopper`] was used. It
/// also ends after an error. It detaches when dropped.
#[derive(Debug)]
pub struct Events {
    tap: Tap,
    walk: Walk,
    more: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The rest is being drained.
    Ending,
    /// The last gaps are given.
    Ended,
}

impl Events {
    pub(super) fn new(tap: Tap) -> Self {
        Self { tap, walk: Walk::default(), more: false, state: State::Running }
    }

    /// The tap, to ask it for counters and attached tracepoints.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The next drained events; `None` at the end.
    fn batch(&mut self) -> Result<Option<Walk>, Error> {
        loop {
            if self.state == State::Ended {
                return Ok(None);
            }
            if self.state == State::Ending && !self.more {
                self.state = State::Ended;
                return Ok(Some(Walk::of_gaps(self.tap.untold_losses()?)));
            }
            if self.state == State::Running {
                // Also checked while more events wait: for a caller that is slower than the node, they always do.
                let woken = self.tap.wait(if self.more { Duration::ZERO } else { DRAIN_INTERVAL })?;
                if woken.stopped {
                    self.tap.detach();
                }
                if woken.stopped || woken.node_ended {
                    self.state = State::Ending;
                }
            }
            // Takes the position, too, so that nothing of the old batch is left after an error.
            let Walk { mut batch, .. } = std::mem::take(&mut self.walk);
            self.more = self.tap.drain(unshared(&mut batch))?;
            if !batch.is_empty() {
                return Ok(Some(Walk::of(batch)));
            }
            self.walk = Walk::of(batch);
        }
    }
}

impl Iterator for Events {
    type Item = Result<Captured, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(captured) = self.walk.next() {
                return Some(Ok(captured));
            }
            match self.batch() {
                Ok(Some(walk)) => self.walk = walk,
                Ok(None) => return None,
                Err(error) => {
                    self.state = State::Ended;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The events of a [`Tap`], from [`Tap::stream`]; the same as [`Events`] gives. A thread waits for them, so that it works with any
/// executor. That thread detaches and ends soon after the stream is dropped.
#[derive(Debug)]
pub struct EventStream {
    batches: Pin<Box<Receiver<Result<Walk, Error>>>>,
    walk: Walk,
    stopper: Stopper,
}

impl EventStream {
    pub(super) fn start(tap: Tap) -> Result<Self, Error> {
        let stopper = tap.stopper();
        let (sender, receiver) = async_channel::bounded(QUEUED_BATCHES);
        let thread = thread::Builder::new().name("tap".into());
        thread.spawn(move || feed(Events::new(tap), &sender)).trying(|| "start a thread".into())?;
        Ok(Self { batches: Box::pin(receiver), walk: Walk::default(), stopper })
    }

    /// Ends it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

fn feed(mut events: Events, sender: &Sender<Result<Walk, Error>>) {
    privileges::drop_all_of_thread();
    while let Some(walk) = events.batch().transpose() {
        let failed = walk.is_err();
        if sender.send_blocking(walk).is_err() || failed {
            return;
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Captured, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(captured) = self.walk.next() {
                return Poll::Ready(Some(Ok(captured)));
            }
            match self.batches.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(walk))) => self.walk = walk,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}
