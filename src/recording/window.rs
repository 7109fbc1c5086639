//! Which part of recordings is wanted, by the time at which events fired. In: times, or durations from the beginning or the end. Out:
//! times, and whether an event is wanted.

use std::time::Duration;

use crate::event::Time;

/// The time in which events must have fired to be replayed. Both ends are part of it. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The earliest time.
    pub since: Option<Time>,
    /// The latest time.
    pub until: Option<Time>,
}

impl Window {
    pub(super) fn contains(self, time: Time) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until)
    }

    pub(super) fn is_limited(self) -> bool {
        self != Self::default()
    }
}

/// A limit of a [`Window`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// This time.
    At(Time),
    /// So long after the first event.
    FromBeginning(Duration),
    /// So long before the last event.
    FromEnd(Duration),
}

/// A [`Window`] that may depend on when the recordings begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The earliest time.
    pub since: Option<Limit>,
    /// The latest time.
    pub until: Option<Limit>,
}

impl Limits {
    fn each(self) -> impl Iterator<Item = Limit> {
        self.since.into_iter().chain(self.until)
    }

    pub(super) fn need_beginning(self) -> bool {
        self.each().any(|limit| matches!(limit, Limit::FromBeginning(_)))
    }

    pub(super) fn need_end(self) -> bool {
        self.each().any(|limit| matches!(limit, Limit::FromEnd(_)))
    }

    /// The window, if recordings begin and end at these times.
    pub(super) fn of(self, beginning: Time, end: Time) -> Window {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let time = |limit| match limit {
            Limit::At(time) => time,
            Limit::FromBeginning(after) => Time(beginning.0.saturating_add(nanoseconds(after))),
            Limit::FromEnd(before) => Time(end.0.saturating_sub(nanoseconds(before))),
        };
        Window { since: self.since.map(time), until: self.until.map(time) }
    }
}

impl From<Window> for Limits {
    fn from(Window { since, until }: Window) -> Self {
        Self { since: since.map(Limit::At), until: until.map(Limit::At) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_count_from_the_beginning_or_from_the_end() {
        let (beginning, end) = (Time(100_000_000_000), Time(200_000_000_000));
        let [one, ten] = [1, 10].map(Duration::from_secs);
        let limits = Limits { since: Some(Limit::FromBeginning(one)), until: Some(Limit::FromEnd(ten)) };
        let window = limits.of(beginning, end);
        assert_eq!(window, Window { since: Some(Time(101_000_000_000)), until: Some(Time(190_000_000_000)) });
        assert!(window.contains(Time(101_000_000_000)) && window.contains(Time(190_000_000_000)));
        assert!(!window.contains(Time(100_999_999_999)) && !window.contains(Time(190_000_000_001)));
        assert!(limits.need_beginning() && limits.need_end());
        let times = Limits::from(window);
        assert!(!times.need_beginning() && !times.need_end());
        assert_eq!(times.of(Time(0), Time(0)), window);
        let longest =
            Limits { since: Some(Limit::FromEnd(Duration::MAX)), until: Some(Limit::FromBeginning(Duration::MAX)) };
        assert_eq!(longest.of(beginning, end), Window { since: Some(Time(0)), until: Some(Time(u64::MAX)) });
    }
}
