//! Which files are to be removed. In: files by their names, and limits. Out: how many of the oldest.

use super::{limits::Limits, name::Name};
use crate::event::Time;

/// A complete file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Complete {
    pub name: Name,
    pub bytes: u64,
}

/// How many of the oldest files are to be removed. Never the newest.
///
/// A file's age is that of its end. That is not later than the beginning of the next file.
pub(super) fn surplus(files: &[Complete], keep: Limits, now: Time) -> usize {
    let mut sum: u64 = files.iter().map(|file| file.bytes).sum();
    let mut surplus = 0;
    for pair in files.windows(2) {
        let is_too_much = keep.size.is_some_and(|most| sum > most);
        let age = u128::from(now.0.saturating_sub(pair[1].name.time().0));
        let is_too_old = keep.age.is_some_and(|most| age >= most.as_nanos());
        if !is_too_much && !is_too_old {
            break;
        }
        sum -= pair[0].bytes;
        surplus += 1;
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_the_newest_never_does() {
        const SECOND: u64 = 1_000_000_000;
        let file = |second: u64, bytes| Complete { name: Name::of(Time(second * SECOND)), bytes };
        let files = [file(1_000, 10), file(1_100, 20), file(1_200, 30), file(1_300, 40)];
        let surplus = |keep: &str, now: u64| surplus(&files, keep.parse().unwrap(), Time(now * SECOND));
        let kib = files.map(|file| Complete { bytes: file.bytes << 10, ..file });
        let of_size = |keep: &str| super::surplus(&kib, keep.parse().unwrap(), Time(0));
        assert_eq!(["100KiB", "99KiB", "90KiB", "70KiB", "69KiB", "1KiB"].map(of_size), [0, 1, 1, 2, 3, 3]);
        // The first one ended after 1,100 seconds.
        assert_eq!([1_159, 1_160, 1_259, 1_260, 1_360, 9_999].map(|now| surplus("60s", now)), [0, 1, 1, 2, 3, 3]);
        assert_eq!(super::surplus(&kib, "60s,60KiB".parse().unwrap(), Time(1_160 * SECOND)), 3);
        assert_eq!(super::surplus(&[], "60s".parse().unwrap(), Time(u64::MAX)), 0);
        // The clock was set back.
        assert_eq!(surplus("60s", 0), 0);
    }
}
