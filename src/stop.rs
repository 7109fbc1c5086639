//! When to stop. In: a request, from a signal handler or another thread, and a given time. Out: whether to stop, and how long outputs
//! may still take.

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

/// How long the reader of an output may still take after a request. So bitcointap ends within a second, the rest included.
const PATIENCE: Duration = Duration::from_millis(400);

/// When to stop: at a request, or when the given time is over.
#[derive(Debug)]
pub struct Stop {
    is_requested: Arc<AtomicBool>,
    /// Readable after the request.
    wakes: UnixStream,
    wake: UnixStream,
    /// When the request was first noticed.
    seen: OnceLock<Instant>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Stops at a request; with a time, also after that time.
    ///
    /// # Errors
    /// The system has no file descriptor left.
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

    /// Lets another thread request to stop.
    ///
    /// # Errors
    /// The system has no file descriptor left.
    pub fn requester(&self) -> io::Result<Requester> {
        let (flag, wake) = self.for_signals()?;
        Ok(Requester { flag, wake })
    }

    /// Lets a signal handler request to stop: it sets the flag, and then writes a byte to the socket. With the crate signal-hook:
    ///
    #[cfg_attr(feature = "cli", doc = "```")]
    #[cfg_attr(not(feature = "cli"), doc = "```ignore")]
    /// use signal_hook::{consts::SIGINT, flag, low_level::pipe};
    ///
    /// let stop = bitcointap::stop::Stop::new(None)?;
    /// let (is_requested, wake) = stop.for_signals()?;
    /// flag::register(SIGINT, is_requested)?;
    /// pipe::register(SIGINT, wake)?;
    /// # assert!(!stop.is_due());
    /// # signal_hook::low_level::raise(SIGINT)?;
    /// # assert!(stop.is_due());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system has no file descriptor left.
    pub fn for_signals(&self) -> io::Result<(Arc<AtomicBool>, UnixStream)> {
        Ok((Arc::clone(&self.is_requested), self.wake.try_clone()?))
    }

    /// Whether it is time to stop.
    pub fn is_due(&self) -> bool {
        self.is_requested.load(Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether stopping was requested at least this long ago.
    pub fn requested_for(&self, time: Duration) -> bool {
        if !self.is_requested.load(Relaxed) {
            return false;
        }
        self.seen.get_or_init(Instant::now).elapsed() >= time
    }

    /// Whether to wait no longer for an output that has written nothing for `stalled_for`. After a request it has a short time. When the
    /// given time is over, it may go on while it writes.
    pub fn is_over(&self, stalled_for: Duration) -> bool {
        let is_overdue = self.deadline.is_some_and(|deadline| deadline.elapsed() >= PATIENCE);
        self.requested_for(PATIENCE) || stalled_for >= PATIENCE && is_overdue
    }

    /// How much of the given time is left, but at most `limit`.
    pub fn at_most(&self, limit: Duration) -> Duration {
        self.deadline.map_or(limit, |deadline| limit.min(deadline.saturating_duration_since(Instant::now())))
    }

    /// Sleeps for `interval`, or until a request. Gives whether stopping was requested.
    pub fn wait(&self, interval: Duration) -> bool {
        let timeout = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
        // A signal interrupts the call or makes the socket readable. Either way the flag says what happened.
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

/// Requests to stop when it is dropped. So a thread that panics requests it, too.
#[derive(Debug)]
pub struct Requester {
    flag: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.flag.store(true, Relaxed);
        // It fails only if nobody waits any more.
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
