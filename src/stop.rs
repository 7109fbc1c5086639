//! When to stop. In: a request, from a handler of signals or another thread, and the time that was given. Out: whether to stop, and
//! how long outputs may still take.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What the reader of an output is given after a request: with the rest the end stays within a second.
const PATIENCE: Duration = Duration::from_millis(400);

/// When to stop: at a request, or when the time is over.
#[derive(Debug)]
pub struct Stop {
    is_requested: Arc<AtomicBool>,
    /// Readable from the request on.
    wakes: UnixStream,
    wake: UnixStream,
    /// When the request was first seen.
    seen: OnceLock<Instant>,
    deadline: Option<Instant>,
}

impl Stop {
    /// At a request only, unless a time is given.
    ///
    /// # Errors
    /// Where the system has no file descriptor left.
    pub fn new(after: Option<Duration>) -> io::Result<Self> {
        let (wakes, wake) = UnixStream::pair()?;
        Ok(Self {
            is_requested: Arc::default(),
            wakes,
            wake,
            seen: OnceLock::new(),
            deadline: after.and_then(|after| Instant::now().checked_add(after)),
        })
    }

    /// For another thread.
    ///
    /// # Errors
    /// Where the system has no file descriptor left.
    pub fn requester(&self) -> io::Result<Requester> {
        let (flag, wake) = self.for_signals()?;
        Ok(Requester { flag, wake })
    }

    /// For a handler of signals: it sets the first, and then writes a byte to the second.
    ///
    /// # Errors
    /// Where the system has no file descriptor left.
    pub fn for_signals(&self) -> io::Result<(Arc<AtomicBool>, UnixStream)> {
        Ok((Arc::clone(&self.is_requested), self.wake.try_clone()?))
    }

    /// Whether it is time to stop.
    pub fn is_due(&self) -> bool {
        self.is_requested.load(Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether stopping was requested at least so long ago.
    pub fn requested_for(&self, time: Duration) -> bool {
        if !self.is_requested.load(Relaxed) {
            return false;
        }
        self.seen.get_or_init(Instant::now).elapsed() >= time
    }

    /// Whether to wait no longer for an output that has written nothing for this time: some time after a request, and after the
    /// given time if nothing has been written for a while.
    pub fn is_over(&self, stalled_for: Duration) -> bool {
        let is_overdue = self.deadline.is_some_and(|deadline| deadline.elapsed() >= PATIENCE);
        self.requested_for(PATIENCE) || stalled_for >= PATIENCE && is_overdue
    }

    /// What is left of the time, up to `limit`.
    pub fn at_most(&self, limit: Duration) -> Duration {
        self.deadline.map_or(limit, |deadline| limit.min(deadline.saturating_duration_since(Instant::now())))
    }

    /// Sleeps until a request, which it tells, or for `interval`.
    pub fn wait(&self, interval: Duration) -> bool {
        let timeout = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
        // A signal interrupts it or makes the socket readable; either way the flag is looked at.
        let _ = poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&timeout));
        self.is_requested.load(Relaxed)
    }
}

/// Readable once stopping is requested.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }
}

/// Requests to stop when it is dropped: so a thread that panics does too.
#[derive(Debug)]
pub struct Requester {
    flag: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.flag.store(true, Relaxed);
        // It fails only where nobody waits any more.
        let _ = self.wake.write(&[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_a_request_or_when_the_time_is_over() {
        let stop = Stop::new(None).unwrap();
        assert!(!stop.is_due() && !stop.requested_for(Duration::ZERO) && !stop.is_over(Duration::MAX));
        assert_eq!(stop.at_most(Duration::from_secs(7)), Duration::from_secs(7));
        assert!(!stop.wait(Duration::ZERO));
        drop(stop.requester().unwrap());
        assert!(stop.is_due() && stop.requested_for(Duration::ZERO));
        assert!(stop.wait(Duration::from_secs(600)), "it waits no longer");

        let stop = Stop::new(Some(Duration::ZERO)).unwrap();
        assert!(stop.is_due() && !stop.requested_for(Duration::ZERO));
        assert_eq!(stop.at_most(Duration::MAX), Duration::ZERO);
        std::thread::sleep(PATIENCE);
        assert!(stop.is_over(PATIENCE) && !stop.is_over(Duration::ZERO), "one that writes on may go on");
    }
}
