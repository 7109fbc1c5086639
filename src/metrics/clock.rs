//! Durations since times of the wall clock, which may have been set in between. In: each event, by both clocks. Out:
//! durations from UNIX times that the node gives, such as when a connection was established.

use std::time::Duration;

use crate::event::{Moment, Time};

/// A smaller difference means that the wall clock is being adjusted slowly, not set.
const STEP: u64 = 1_000_000_000;

/// How many settings of the clock to remember. A machine that sets its clock more often has other troubles.
const MOST_STEPS: usize = 16;

/// The wall clock in terms of the clock that is never set: from which moment on it was ahead by how many nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead: Vec<(Moment, i64)>,
    now: Moment,
}

impl Clock {
    /// An event's two times.
    pub(super) fn tick(&mut self, time: Time, now: Moment) {
        self.now = now;
        let ahead = (time.0 as i64).wrapping_sub(now.0 as i64);
        if self.ahead.last().is_none_or(|(_, before)| ahead.abs_diff(*before) > STEP) {
            if self.ahead.len() == MOST_STEPS {
                self.ahead.remove(0);
            }
            self.ahead.push((now, ahead));
        }
    }

    /// The time from a UNIX time in seconds to the last event. If the clock showed a time twice, before and after it
    /// was set back, the later one counts. A time in the future gives zero.
    pub(super) fn since(&self, unix_seconds: u64) -> Duration {
        let unix = i64::try_from(unix_seconds.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
        let (mut until, mut is_before_later) = (self.now, false);
        for (place, &(from, ahead)) in self.ahead.iter().enumerate().rev() {
            let then = unix.saturating_sub(ahead);
            if then > until.0 as i64 {
                // The clock never showed this time: it was set forwards past it.
                if is_before_later {
                    return self.now.since(until);
                }
            } else if then >= from.0 as i64 || place == 0 {
                return Duration::from_nanos((self.now.0 as i64).saturating_sub(then) as u64);
            } else {
                is_before_later = true;
            }
            until = from;
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{SECOND, moment};

    /// A clock that showed these seconds of wall-clock time at these seconds since the start.
    fn clock(ticks: &[(u64, u64)]) -> Clock {
        let mut clock = Clock::default();
        for &(now, shown) in ticks {
            clock.tick(Time(shown * SECOND), moment(now));
        }
        clock
    }

    #[track_caller]
    fn assert_since(clock: &Clock, unix_seconds: u64, seconds: u64) {
        assert_eq!(clock.since(unix_seconds), Duration::from_secs(seconds), "{unix_seconds}");
    }

    #[test]
    fn a_clock_that_nobody_sets_is_subtracted_from() {
        let clock = clock(&[(100, 10_100), (200, 10_200)]);
        assert_since(&clock, 10_150, 50);
        assert_since(&clock, 10_200, 0);
        assert_since(&clock, 10_201, 0);
        assert_since(&clock, u64::MAX, 0);
        // Before the first event, and before the machine was started.
        assert_since(&clock, 10_050, 150);
        assert_since(&clock, 9_000, 1_200);
    }

    #[test]
    fn an_hour_forwards_makes_nothing_an_hour_older() {
        let clock = clock(&[(100, 10_100), (200, 10_200), (201, 13_801), (300, 13_900)]);
        assert_since(&clock, 13_850, 50);
        assert_since(&clock, 10_150, 150);
        assert_since(&clock, 10_050, 250);
        // A time that the clock never showed counts as the moment when it was set.
        assert_since(&clock, 12_000, 99);
    }

    #[test]
    fn an_hour_backwards_makes_nothing_an_hour_younger() {
        let clock = clock(&[(100, 10_100), (200, 10_200), (201, 6_601), (300, 6_700)]);
        assert_since(&clock, 6_650, 50);
        assert_since(&clock, 10_150, 150);
        assert_since(&clock, 10_050, 250);
    }

    #[test]
    fn settings_are_remembered_up_to_a_number() {
        let ticks: Vec<_> = (0..1_000).map(|hour| (hour, 10_000 + hour * 3_600)).collect();
        let clock = clock(&ticks);
        assert_eq!(clock.ahead.len(), MOST_STEPS);
        assert_since(&clock, 10_000 + 990 * 3_600, 9);
    }
}
