//! When events may fire: the rate, the end, and the time. In: the limits. Out: grants of events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{cli::Rate, emit::Stop};

/// The most events between two looks at the clock and at the stop flag.
const LARGEST_GRANT: u64 = 2048;
/// The shortest sleep: at high rates the events of a millisecond fire together.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// The longest sleep. It limits how late a signal is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// How fast one thread fires, and when it ends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events per second of this thread.
    pub rate: Rate,
    /// Events of this thread.
    pub count: Option<u64>,
    /// Time from its first event.
    pub duration: Option<Duration>,
    /// Ends the thread when set.
    pub stop: Arc<AtomicBool>,
}

/// The time that events carry.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system's.
    System,
    /// Always this, in UNIX seconds.
    Fixed(u32),
}

impl Clock {
    /// UNIX seconds.
    pub fn now(self) -> u32 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX)),
        }
    }
}

impl Rate {
    /// How many events are due in total, this long after the start.
    fn due(self, elapsed: Duration) -> u64 {
        match self {
            Rate::Max => u64::MAX,
            // The first is due at once. The cut is meant.
            Rate::PerSecond(rate) => (elapsed.as_secs_f64() * rate) as u64 + 1,
        }
    }
}

/// Gives out events to fire as the limits allow.
pub(crate) struct Pacer {
    limits: Limits,
    start: Option<Instant>,
    granted: u64,
}

impl Pacer {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, start: None, granted: 0 }
    }

    /// Waits until at least one event may fire. Returns how many may, or that it is over.
    pub(crate) fn grant(&mut self) -> Result<u64, Stop> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let left = match self.limits.count {
            Some(count) => count - self.granted,
            None => u64::MAX,
        };
        if left == 0 {
            return Err(Stop);
        }
        loop {
            let elapsed = start.elapsed();
            if self.limits.stop.load(Ordering::Relaxed) || self.limits.duration.is_some_and(|limit| elapsed >= limit) {
                return Err(Stop);
            }
            let grant = self.limits.rate.due(elapsed).saturating_sub(self.granted).min(left).min(LARGEST_GRANT);
            if grant > 0 {
                self.granted += grant;
                return Ok(grant);
            }
            thread::sleep(self.until_next(elapsed));
        }
    }

    /// How long to sleep when no event is due `elapsed` after the start.
    fn until_next(&self, elapsed: Duration) -> Duration {
        let Rate::PerSecond(rate) = self.limits.rate else {
            return SHORTEST_SLEEP;
        };
        let next = self.granted as f64 / rate;
        let mut wait = (next - elapsed.as_secs_f64()).max(0.0);
        if let Some(limit) = self.limits.duration {
            wait = wait.min(limit.saturating_sub(elapsed).as_secs_f64());
        }
        Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_SLEEP).clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rate: Rate, count: Option<u64>, duration: Option<Duration>) -> Limits {
        Limits { rate, count, duration, stop: Arc::new(AtomicBool::new(false)) }
    }

    fn total(limits: Limits) -> u64 {
        let mut pacer = Pacer::new(limits);
        let mut total = 0;
        while let Ok(grant) = pacer.grant() {
            total += grant;
        }
        total
    }

    #[test]
    fn grants_exactly_the_count() {
        assert_eq!(total(limits(Rate::Max, Some(5000), None)), 5000);
        assert_eq!(total(limits(Rate::Max, Some(0), None)), 0);
    }

    #[test]
    fn keeps_the_rate() {
        let due = |rate, milliseconds| Rate::PerSecond(rate).due(Duration::from_millis(milliseconds));
        assert_eq!([0, 1, 499, 500].map(|after| due(10_000.0, after)), [1, 11, 4991, 5001]);
        assert_eq!([0, 1_999, 2_000].map(|after| due(0.5, after)), [1, 1, 2]);
        assert_eq!(Rate::Max.due(Duration::ZERO), u64::MAX);
    }

    #[test]
    fn the_duration_ends_it() {
        // Fewer, if this thread had no processor at the end.
        let half_second = Some(Duration::from_millis(500));
        let fired = total(limits(Rate::PerSecond(10_000.0), None, half_second));
        assert!((1..=5001).contains(&fired), "{fired}");
    }

    #[test]
    fn a_set_flag_ends_it() {
        let limits = limits(Rate::PerSecond(1.0), None, None);
        limits.stop.store(true, Ordering::Relaxed);
        assert_eq!(total(limits), 0);
    }
}
