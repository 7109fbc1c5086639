//! How often tracepoints fired, and what became of their events. In: the kernel side's counts. Out: sums and differences.

use std::{array, iter};

use crate::tracepoint::LossReason;

/// How often a tracepoint fired, and what became of its events: fired = delivered + filtered + lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hits, counted in the kernel.
    pub fired: u64,
    /// Hits whose events no output selected, or that are only summed up.
    pub filtered: u64,
    /// Hits whose events could not be delivered, by [`LossReason::ALL`]. A tap has only those of [`LossReason::KERNEL`]; others come from
    /// what was published over a network.
    pub lost: [u64; LossReason::ALL.len()],
    /// The total value of all hits in satoshis, including lost and filtered ones. Only [`Tracepoints::coins`](crate::tracepoint::Tracepoints::coins) have it.
    pub value: u64,
}

impl Counters {
    /// What the kernel side has counted.
    pub(crate) fn of_kernel(fired: u64, filtered: u64, kernel: [u64; LossReason::KERNEL.len()], value: u64) -> Self {
        let mut lost = [0; LossReason::ALL.len()];
        lost[..kernel.len()].copy_from_slice(&kernel);
        Self { fired, filtered, lost, value }
    }

    /// The increase of each counter from `before` to `now`.
    pub(crate) fn added<const N: usize>(now: &[Self; N], before: &[Self; N]) -> [Self; N] {
        array::from_fn(|index| now[index].since(&before[index]))
    }

    /// The increase since `before`; 0 for a counter that has become smaller.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            fired: self.fired.saturating_sub(before.fired),
            filtered: self.filtered.saturating_sub(before.filtered),
            lost: array::from_fn(|reason| self.lost[reason].saturating_sub(before.lost[reason])),
            value: self.value.saturating_sub(before.value),
        }
    }

    /// The sum of both. It stops at the largest number, since a recording may contain any counts.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            fired: self.fired.saturating_add(other.fired),
            filtered: self.filtered.saturating_add(other.filtered),
            lost: array::from_fn(|reason| self.lost[reason].saturating_add(other.lost[reason])),
            value: self.value.saturating_add(other.value),
        }
    }

    /// Hits whose events could not be delivered, for any reason.
    pub fn lost_in_all(&self) -> u64 {
        self.lost.into_iter().fold(0, u64::saturating_add)
    }
}

impl<'a> iter::Sum<&'a Self> for Counters {
    fn sum<I: Iterator<Item = &'a Self>>(counters: I) -> Self {
        counters.fold(Self::default(), |sum, it| sum.plus(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_the_difference_and_never_less_than_nothing() {
        let of = |fired, filtered, lost, value| Counters { fired, filtered, lost, value };
        let of = |fired, filtered, [full, unreadable]: [u64; 2], value| {
            of(fired, filtered, [full, unreadable, 0, 0, 0, 0, 0], value)
        };
        let before = [of(1, 2, [3, 4], 5), of(9, 9, [9, 9], 9)];
        let now = [of(11, 22, [33, 44], 55), of(0, 9, [0, 10], 0)];
        let added = Counters::added(&now, &before);
        assert_eq!(added, [of(10, 20, [30, 40], 50), of(0, 0, [0, 1], 0)]);
        assert_eq!(before[0].plus(&added[0]), now[0]);
        assert_eq!(added[0].lost_in_all(), 70);
        let most = of(u64::MAX, u64::MAX, [u64::MAX; 2], u64::MAX);
        assert_eq!((most.plus(&most), most.lost_in_all()), (most, u64::MAX));
    }
}
