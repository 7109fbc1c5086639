//! Makes the live state an [`Output`] that viewers share. In: runs, batches, events. Out: calls to the state.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Live, Origin};
use crate::{
    capture::{Batch, Counted, End, Run, now},
    output::{Observer, Output, Result, Waiting, until_counted},
    tap::DRAIN_INTERVAL,
};

impl Output for Arc<Mutex<Live>> {
    fn name(&self) -> &str {
        "live state"
    }

    fn waits(&mut self, waiting: &Waiting<'_>) {
        lock(self).waits(waiting.why);
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        lock(self).attached(run);
        Ok(())
    }

    fn observer<'a>(&'a mut self, batch: &'a Batch) -> Option<Observer<'a>> {
        let mut live = lock(self);
        // Sets the time of its events.
        live.batch(batch);
        Some(Box::new(move |event| live.observe(event)))
    }

    fn unread(&mut self, batch: &Batch) {
        lock(self).added(batch.added());
    }

    fn run_ends(&mut self, counted: &Counted, end: End) -> Result {
        lock(self).detached(counted, end.why_not_attached());
        Ok(())
    }

    /// What comes from elsewhere has times of its own in its batches.
    fn idle(&mut self) {
        let mut live = lock(self);
        if live.origin == Origin::Node {
            let (time, moment) = now();
            live.at(time, moment);
        }
    }

    fn over(&mut self) {
        lock(self).over();
    }

    fn patience(&self) -> Duration {
        if lock(self).is_watched {
            return DRAIN_INTERVAL;
        }
        let (_, now) = now();
        until_counted(now)
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
