//! What is remembered across events, for a while and with a bound. In: values by key, each from a moment on. Out: the
//! value while it lasts; and what falls out, to be counted.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeBounds,
    time::Duration,
};

use crate::event::Moment;

/// Values by key: at most a number of them, and none for longer than it lasts.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    entries: BTreeMap<K, (Moment, V)>,
    /// The keys by when they were entered, including some that are no longer there.
    ages: VecDeque<(Moment, K)>,
    most: usize,
    lasts: Duration,
}

impl<K: Copy + Ord, V> Table<K, V> {
    pub(crate) fn new(most: usize, lasts: Duration) -> Self {
        Self { entries: BTreeMap::new(), ages: VecDeque::new(), most, lasts }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Enters a value in place of the key's previous one. Returns what had to go for it.
    pub(crate) fn insert(&mut self, now: Moment, key: K, value: V) -> Option<(K, V)> {
        self.entries.insert(key, (now, value));
        self.ages.push_back((now, key));
        // Each entry has one valid age. So the queue is swept seldom, and stays in proportion.
        if self.ages.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.ages.retain(|(entered, key)| is_entered(entries, *entered, key));
        }
        if self.entries.len() > self.most { self.oldest(|_| true) } else { None }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Removes an entry, and returns it with the moment when it was entered.
    pub(crate) fn remove(&mut self, key: &K) -> Option<(Moment, V)> {
        self.entries.remove(key)
    }

    /// Removes the entries of some keys, and returns how many.
    pub(crate) fn remove_all(&mut self, keys: impl RangeBounds<K>) -> usize {
        let found: Vec<K> = self.entries.range(keys).map(|(&key, _)| key).collect();
        found.iter().for_each(|key| {
            self.entries.remove(key);
        });
        found.len()
    }

    /// Removes the oldest entry, if it is too old.
    pub(crate) fn pop_old(&mut self, now: Moment) -> Option<(K, V)> {
        let lasts = self.lasts;
        self.oldest(|entered| now.since(entered) >= lasts)
    }

    /// Removes the entry that was entered first, if its moment is as wanted.
    fn oldest(&mut self, wanted: impl Fn(Moment) -> bool) -> Option<(K, V)> {
        while let Some(&(entered, key)) = self.ages.front() {
            let is_there = is_entered(&self.entries, entered, &key);
            if is_there && !wanted(entered) {
                return None;
            }
            self.ages.pop_front();
            if is_there {
                return self.entries.remove(&key).map(|(_, value)| (key, value));
            }
        }
        None
    }

    /// Removes and returns all of them.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.ages.clear();
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }
}

/// Whether the key still has the entry of that moment, and not a later one.
fn is_entered<K: Ord, V>(entries: &BTreeMap<K, (Moment, V)>, entered: Moment, key: &K) -> bool {
    entries.get(key).is_some_and(|(moment, _)| *moment == entered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::moment;

    fn table(most: usize) -> Table<(i64, u8), char> {
        Table::new(most, Duration::from_secs(60))
    }

    #[test]
    fn an_entry_lasts_until_it_is_taken_or_too_old() {
        let mut table = table(9);
        assert_eq!(table.insert(moment(1), (1, 0), 'a'), None);
        assert_eq!(table.insert(moment(2), (2, 0), 'b'), None);
        assert_eq!(table.insert(moment(3), (3, 0), 'c'), None);
        assert_eq!(table.remove(&(2, 0)), Some((moment(2), 'b')));
        assert_eq!(table.remove(&(2, 0)), None);
        assert_eq!(table.pop_old(moment(60)), None);
        assert_eq!(table.pop_old(moment(61)), Some(((1, 0), 'a')));
        assert_eq!(table.pop_old(moment(62)), None);
        assert_eq!((table.get(&(3, 0)), table.len()), (Some(&'c'), 1));
    }

    #[test]
    fn a_key_entered_anew_is_as_old_as_its_last_entry() {
        let mut table = table(9);
        table.insert(moment(1), (1, 0), 'a');
        table.insert(moment(50), (1, 0), 'b');
        assert_eq!(table.pop_old(moment(100)), None);
        assert_eq!(table.pop_old(moment(110)), Some(((1, 0), 'b')));
    }

    #[test]
    fn the_oldest_goes_for_want_of_room() {
        let mut table = table(2);
        table.insert(moment(1), (9, 0), 'a');
        table.insert(moment(2), (1, 0), 'b');
        table.remove(&(9, 0));
        table.insert(moment(3), (2, 0), 'c');
        assert_eq!(table.insert(moment(4), (3, 0), 'd'), Some(((1, 0), 'b')));
        assert_eq!(table.entries.keys().collect::<Vec<_>>(), [&(2, 0), &(3, 0)]);
    }

    #[test]
    fn all_of_a_peer_go_at_once() {
        let mut table = table(9);
        for key in [(1, 0), (1, 255), (2, 0), (0, 255)] {
            table.insert(moment(1), key, 'x');
        }
        assert_eq!(table.remove_all((1, 0)..=(1, 255)), 2);
        assert_eq!(table.entries.keys().collect::<Vec<_>>(), [&(0, 255), &(2, 0)]);
    }

    #[test]
    fn memory_stays_in_proportion_to_what_is_there() {
        let mut table = table(100);
        for second in 0..100_000 {
            table.insert(moment(second), (1, 0), 'x');
            table.insert(moment(second), (second as i64, 0), 'x');
            table.remove(&(second as i64, 0));
        }
        assert_eq!(table.len(), 1);
        assert!(table.ages.len() <= 20, "{}", table.ages.len());
    }
}
