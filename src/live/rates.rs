//! Rates. In: counts, second by second. Out: totals, means over the last seconds, and a history.

use std::collections::VecDeque;

use serde::Serialize;

/// A rate is the mean over this many whole seconds.
pub(super) const WINDOW: usize = 10;
/// These seconds, and the current one.
const SLOTS: usize = WINDOW + 1;
/// The length of the history in seconds.
pub(super) const HISTORY: usize = 180;

/// Messages and their bytes: in total, and in the last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    messages: u64,
    bytes: u64,
    slots: [(u32, u64); SLOTS],
}

/// Totals and rates of messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Messages in total.
    pub messages: u64,
    /// Bytes of payloads in total.
    pub bytes: u64,
    /// Messages per second: the mean over the last 10 seconds.
    pub messages_per_second: f64,
    /// Bytes per second: the mean over the last 10 seconds.
    pub bytes_per_second: f64,
}

impl Traffic {
    pub(super) fn count(&mut self, second: u64, bytes: u64) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let (messages, sum) = &mut self.slots[slot(second)];
        *messages += 1;
        *sum = sum.saturating_add(bytes);
    }

    /// Begins this second.
    pub(super) fn begin(&mut self, second: u64) {
        self.slots[slot(second)] = (0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// The rates before this second. It is not over, so it does not count.
    pub(super) fn rates(&self, second: u64) -> Rates {
        let past = self.slots.iter().enumerate().filter(|&(index, _)| index != slot(second));
        let (messages, bytes) = past.fold((0.0, 0.0), |(messages, bytes), (_, &(more, more_bytes))| {
            (messages + f64::from(more), bytes + more_bytes as f64)
        });
        Rates {
            messages: self.messages,
            bytes: self.bytes,
            messages_per_second: messages / WINDOW as f64,
            bytes_per_second: bytes / WINDOW as f64,
        }
    }
}

fn slot(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

/// The seconds after `before`, up to `now`; only as many as the history can show.
pub(super) fn begun(before: u64, now: u64) -> impl Iterator<Item = u64> {
    (before + 1).max(now.saturating_sub(HISTORY as u64))..=now
}

/// Makes two structs from one list of names: the counts of a second, and the lists of the history.
macro_rules! history {
    ($($name:ident: $number:ty,)*) => {
        /// The counts of a second.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub(super) struct Second {
            $(pub(super) $name: $number,)*
        }

        /// The counts of the last seconds, oldest first. Each list has a value for each second. The current second, which is not
        /// over, is not among them.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        #[expect(missing_docs, reason = "the names say it")]
        #[non_exhaustive]
        pub struct History {
            $(pub $name: Vec<$number>,)*
        }

        impl History {
            pub(super) fn of(seconds: &VecDeque<Second>) -> Self {
                Self { $($name: seconds.iter().map(|second| second.$name).collect(),)* }
            }
        }
    };
}

history! {
    events_fired: u64,
    inbound_messages: u32,
    outbound_messages: u32,
    inbound_bytes: u64,
    outbound_bytes: u64,
    connections_opened: u32,
    connections_closed: u32,
    connections_evicted: u32,
    mempool_added: u32,
    mempool_removed: u32,
    mempool_replaced: u32,
    mempool_rejected: u32,
    events_lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_ten_seconds_before_this_one() {
        let mut traffic = Traffic::default();
        assert!(traffic.is_empty());
        let mut rates = Vec::new();
        for second in 100..=125 {
            traffic.begin(second);
            if second < 110 {
                traffic.count(second, 50);
                traffic.count(second, 150);
            }
            rates.push(traffic.rates(second).messages_per_second);
        }
        assert_eq!(rates[..12], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 1.8]);
        assert_eq!(rates[18..21], [0.4, 0.2, 0.0]);
        assert_eq!(
            traffic.rates(125),
            Rates { messages: 20, bytes: 2_000, messages_per_second: 0.0, bytes_per_second: 0.0 }
        );
    }

    #[test]
    fn only_seconds_that_matter_begin() {
        assert_eq!(begun(5, 5).count(), 0);
        assert_eq!(begun(5, 8).collect::<Vec<_>>(), [6, 7, 8]);
        assert_eq!(begun(5, 1_000_000).count(), HISTORY + 1);
    }
}
