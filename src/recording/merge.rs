//! Joins strands. In: strands, in the order in which they begin. Out: their entries: of one strand after another, or of all that run at
//! the same time in the order in which events fired.
//!
//! A strand is opened once its first event is due. So memory is that of the strands that overlap: a block and a batch of each.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Entry, Error, strand::Strand};
use crate::{capture::Batch, event::Time};

/// How strands are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One after another.
    Strands,
    /// By the times of events. A batch is cut where an event of another strand comes between.
    Events,
}

/// What comes next of a strand.
pub(super) enum Step {
    Entry(Entry),
    Failed(Error),
    /// The strand has ended.
    Over(Box<Strand>),
}

pub(super) struct Merge {
    order: Order,
    /// Strands that have not begun.
    later: VecDeque<Strand>,
    /// Those that have, by rank.
    open: BTreeMap<usize, Open>,
}

/// A strand that was begun.
struct Open {
    strand: Box<Strand>,
    /// `None` if the strand must be read on.
    head: Option<Head>,
}

/// A batch of a strand.
struct Head {
    batch: Arc<Batch>,
    /// The first record that was not given, and when it fired.
    from: usize,
    time: Time,
    /// When each record fired, once that is needed.
    times: Option<Vec<Time>>,
}

impl Merge {
    pub(super) fn new(strands: Vec<Strand>, order: Order) -> Self {
        Self { order, later: strands.into(), open: BTreeMap::new() }
    }

    /// The strand with this rank, until it is over.
    pub(super) fn strand(&self, rank: usize) -> Option<&Strand> {
        self.open.get(&rank).map(|open| &*open.strand)
    }

    /// What comes next, and the rank of its strand. `None` at the end.
    pub(super) fn next(&mut self) -> Option<(usize, Step)> {
        loop {
            if let Some(rank) = self.open.iter().find(|(_, open)| open.head.is_none()).map(|(&rank, _)| rank) {
                match self.read(rank) {
                    Some(step) => return Some((rank, step)),
                    None => continue,
                }
            }
            let heads = self.open.iter().filter_map(|(&rank, open)| Some((open.head.as_ref()?.time, rank)));
            let first = heads.min();
            let begins = self.later.front().is_some_and(|strand| {
                first.is_none_or(|(time, _)| strand.beginning.is_none_or(|beginning| beginning <= time))
            });
            match first {
                _ if begins => self.begin(),
                Some((_, rank)) => return Some((rank, Step::Entry(Entry::Batch(self.give(rank)?)))),
                None => return None,
            }
        }
    }

    fn begin(&mut self) {
        let Some(strand) = self.later.pop_front() else { return };
        self.open.insert(strand.rank, Open { strand: Box::new(strand), head: None });
    }

    /// Reads a strand on. `None` if it has a head now.
    fn read(&mut self, rank: usize) -> Option<Step> {
        let open = self.open.get_mut(&rank)?;
        match open.strand.next() {
            Some(Ok(Entry::Batch(batch))) if self.order == Order::Events && !batch.is_empty() => {
                let time = batch.first().map_or(Time(0), |(time, _)| time);
                open.head = Some(Head { batch, from: 0, time, times: None });
                None
            }
            Some(Ok(entry)) => Some(Step::Entry(entry)),
            Some(Err(error)) => Some(Step::Failed(error)),
            None => self.open.remove(&rank).map(|open| Step::Over(open.strand)),
        }
    }

    /// The records of the strand that come before those of all others.
    fn give(&mut self, rank: usize) -> Option<Arc<Batch>> {
        let others = self.open.iter().filter(|(other, _)| **other != rank);
        let others = others.filter_map(|(&other, open)| Some((open.head.as_ref()?.time, other)));
        let later = self.later.front().and_then(|strand| Some((strand.beginning?, strand.rank)));
        let limit = others.chain(later).min();
        let open = self.open.get_mut(&rank)?;
        let head = open.head.as_mut()?;
        let Some(limit) = limit else {
            let Head { batch, from, .. } = open.head.take()?;
            return Some(if from == 0 { batch } else { Arc::new(batch.part(from..batch.len())) });
        };
        let times = head.times.get_or_insert_with(|| head.batch.times());
        // At least one comes before.
        let more = times[head.from + 1..].iter().take_while(|&&time| (time, rank) < limit).count();
        let (from, to) = (head.from, head.from + 1 + more);
        let part =
            if (from, to) == (0, times.len()) { Arc::clone(&head.batch) } else { Arc::new(head.batch.part(from..to)) };
        match times.get(to) {
            Some(&time) => (head.from, head.time) = (to, time),
            None => open.head = None,
        }
        Some(part)
    }
}
