//! How much in how long. In: what is counted, second by second. Out: totals, means of the last seconds, and a history.

use std::collections::VecDeque;

use serde::Serialize;

/// Whole seconds that a rate is the mean of.
pub(super) const WINDOW: usize = 10;
/// Those, and the one that is not over.
const SLOTS: usize = WINDOW + 1;
/// Seconds of the history.
pub(super) const HISTORY: usize = 180;

/// Messages and their bytes, in total and lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    messages: u64,
    bytes: u64,
    slots: [(u32, u64); SLOTS],
}

/// The same for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// In total.
    pub messages: u64,
    /// Their payloads in total.
    pub bytes: u64,
    /// Each second, on the mean of the last 10.
    pub messages_per_second: f64,
    /// The same of bytes.
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

    /// This second begins.
    pub(super) fn begin(&mut self, second: u64) {
        self.slots[slot(second)] = (0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// As of this second, which is not over and not in it.
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

/// The seconds that begin after `before`, up to `now`; no more than matter.
pub(super) fn begun(before: u64, now: u64) -> impl Iterator<Item = u64> {
    (before + 1).max(now.saturating_sub(HISTORY as u64))..=now
}

/// What is counted of a second, once for the second and once for the lists of the history.
macro_rules! history {
    ($($name:ident: $number:ty,)*) => {
        /// What there was in a second.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub(super) struct Second {
            $(pub(super) $name: $number,)*
        }

        /// What there was in each of the last seconds, oldest first: one value for each second in each list. The second that is
        /// not over is not among them.
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
