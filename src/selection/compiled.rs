//! A selection, prepared for many events. In: a [`Selection`]. Out: whether a record is wanted, and what of that the kernel side decides.

use std::sync::Arc;

use super::{Selection, hashes::Hashes};
use crate::{
    event::{
        names::COMMANDS_WITH_NAMES,
        net::{ConnectionType, Traits},
    },
    tracepoint::{Tracepoint, Tracepoints},
};

impl Selection {
    /// For use with many records.
    pub(crate) fn compile(&self) -> Filter {
        Filter {
            tracepoints: self.tracepoints(),
            conditions: self.has_conditions_on_traits().then(|| self.clone()),
            hashes: Hashes::of(&self.hashes).map(Arc::new),
            #[cfg(test)]
            asked: Default::default(),
        }
    }

    /// What the kernel side can evaluate.
    pub(crate) fn in_kernel(&self) -> InKernel<'_> {
        let admitted = |connection_type: &&ConnectionType| self.connection_types.admits(Some(*connection_type));
        InKernel {
            peers: self.peers.listed(),
            commands: self.listed_commands(),
            connection_types: ConnectionType::ALL.iter().filter(admitted).map(|&admitted| 1 << admitted as u32).sum(),
            min_size: self.min_size.unwrap_or(0),
            max_size: self.max_size.unwrap_or(u64::MAX),
        }
    }

    /// Those of messages that can meet the conditions on commands and hashes.
    pub(super) fn listed_commands(&self) -> Listed<'_, str> {
        if self.hashes.only.is_some() {
            let admitted = |command: &&str| self.commands.admits(Some(*command));
            return Listed::Only(COMMANDS_WITH_NAMES.into_iter().filter(admitted).collect());
        }
        self.commands.listed()
    }
}

/// A [`Selection`], prepared for many records.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    tracepoints: Tracepoints,
    conditions: Option<Selection>,
    /// Those on hashes. Clones share what they learn.
    hashes: Option<Arc<Hashes>>,
    /// How often it was asked about a record.
    #[cfg(test)]
    pub(crate) asked: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Filter {
    /// Whether some of its events may be wanted, so that lost ones matter.
    pub(crate) fn wants(&self, tracepoint: Tracepoint) -> bool {
        self.tracepoints.contains(tracepoint)
    }

    /// Whether [`Filter::may_admit`] asks for more than the tracepoint.
    pub(crate) fn has_conditions(&self) -> bool {
        self.conditions.is_some()
    }

    /// Whether a record of this tracepoint is wanted.
    pub(crate) fn admits(&self, tracepoint: Tracepoint, record: &[u8]) -> bool {
        let named = |hashes: &Arc<Hashes>| hashes.admit(tracepoint, record);
        self.may_admit(tracepoint, record) && self.hashes.as_ref().is_none_or(named)
    }

    /// The same without the conditions on hashes, which look at payloads: for events that are lost, where nobody has time for that.
    pub(crate) fn may_admit(&self, tracepoint: Tracepoint, record: &[u8]) -> bool {
        #[cfg(test)]
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let meets = |conditions: &Selection| {
            // A record that cannot be read is not left out in silence: decoding it reports the problem.
            Traits::of(tracepoint, record).is_none_or(|traits| conditions.is_met_by(&traits))
        };
        self.wants(tracepoint) && self.conditions.as_ref().is_none_or(meets)
    }
}

/// What the kernel side evaluates of a [`Selection`].
#[derive(Debug)]
pub(crate) struct InKernel<'a> {
    pub peers: Listed<'a, i64>,
    pub commands: Listed<'a, str>,
    /// One bit for each wanted type, at its number.
    pub connection_types: u32,
    pub min_size: u64,
    pub max_size: u64,
}

/// A choice as one list.
#[derive(Debug, PartialEq)]
pub(crate) enum Listed<'a, T: ?Sized> {
    All,
    Only(Vec<&'a T>),
    Not(Vec<&'a T>),
}
