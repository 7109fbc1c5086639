//! When to stop. In: signals, and the time that was given. Out: whether to stop, and for how long to go on waiting for others.

use std::{
    cell::Cell,
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bitcointap::spool::Spool;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What is still given to a reader of the output after a signal: with the rest it stays within a second.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(400);

/// When to stop: at SIGINT, at SIGTERM, or when the time is over.
pub struct Stop {
    signal: Arc<AtomicBool>,
    /// Readable from the signal on.
    pub signalled: UnixStream,
    signals: UnixStream,
    /// When the signal was first seen.
    seen: Cell<Option<Instant>>,
    deadline: Option<Instant>,
}

impl Stop {
    pub fn on_signals(duration: Option<Duration>) -> io::Result<Stop> {
        Self::on(&[SIGINT, SIGTERM], duration)
    }

    /// Also when the terminal is hung up.
    pub fn on_signals_and_hangup(duration: Option<Duration>) -> io::Result<Stop> {
        Self::on(&[SIGINT, SIGTERM, SIGHUP], duration)
    }

    fn on(signals: &[i32], duration: Option<Duration>) -> io::Result<Stop> {
        let (signalled, write) = UnixStream::pair()?;
        let signal = Arc::new(AtomicBool::new(false));
        for &number in signals {
            signal_hook::flag::register(number, Arc::clone(&signal))?;
            signal_hook::low_level::pipe::register(number, write.try_clone()?)?;
        }
        Ok(Stop {
            signal,
            signalled,
            signals: write,
            seen: Cell::new(None),
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
        })
    }

    /// Stops as a signal does, from another thread.
    pub fn requester(&self) -> io::Result<Requester> {
        Ok(Requester { signal: Arc::clone(&self.signal), signals: self.signals.try_clone()? })
    }

    pub fn requested(&self) -> bool {
        self.signal.load(Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether a signal came at least so long ago.
    pub fn signalled_for(&self, time: Duration) -> bool {
        if !self.signal.load(Relaxed) {
            return false;
        }
        let seen = self.seen.get().unwrap_or_else(Instant::now);
        self.seen.set(Some(seen));
        seen.elapsed() >= time
    }

    /// Whether to wait no longer for the reader of an output: some time after a signal, and after the given time when it
    /// has read nothing for a while.
    pub fn over(&self, output: &mut Spool) -> bool {
        let is_overdue = self.deadline.is_some_and(|deadline| deadline.elapsed() >= OUTPUT_PATIENCE);
        self.late() || output.stalled_for() >= OUTPUT_PATIENCE && is_overdue
    }

    /// Whether a signal came some time ago.
    pub fn late(&self) -> bool {
        self.signalled_for(OUTPUT_PATIENCE)
    }

    /// What is left of the time, up to `limit`.
    pub fn at_most(&self, limit: Duration) -> Duration {
        self.deadline.map_or(limit, |deadline| limit.min(deadline.saturating_duration_since(Instant::now())))
    }

    /// Sleeps until a signal, which it tells, or for `interval`.
    pub fn wait(&self, interval: Duration) -> bool {
        let timeout = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
        // A signal interrupts it or makes the pipe readable; either way the flag is looked at.
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.signalled.as_fd(), PollFlags::IN)], Some(&timeout));
        self.signal.load(Relaxed)
    }
}

/// Stops as a signal does, when it is dropped: so a thread that panics does too.
pub struct Requester {
    signal: Arc<AtomicBool>,
    signals: UnixStream,
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.signal.store(true, Relaxed);
        // It fails only where nobody waits any more.
        let _ = (&self.signals).write(&[0]);
    }
}
