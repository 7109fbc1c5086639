//! A builder for taps. In: which node, which events, and how. Out: an attached [`Tap`].

use super::{Options, Payloads, Tap};
use crate::{Error, process::Which, selection::Selection, tracepoint::Tracepoints};

/// Builds a [`Tap`]. Made by [`Tap::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "it attaches to nothing until `attach` is called"]
pub struct Builder {
    which: Which,
    options: Options,
}

impl Builder {
    /// Which node. The default is the one that runs as `bitcoind`, `bitcoin-qt` or `bitcoin-node`.
    pub fn node(mut self, which: Which) -> Self {
        self.which = which;
        self
    }

    /// Which events. The default is all events of [`Tracepoints::default_set`].
    pub fn selection(mut self, selection: Selection) -> Self {
        self.options.selection = selection;
        self
    }

    /// All events of these tracepoints.
    pub fn tracepoints(self, tracepoints: Tracepoints) -> Self {
        self.selection(Selection::of(tracepoints))
    }

    /// Whether to copy payloads of messages; true by default. Without them, messages cost the node less, and are
    /// [`Unavailable`](crate::p2p::Message::Unavailable).
    pub fn payloads(mut self, payloads: bool) -> Self {
        self.options.payloads = if payloads { Payloads::Whole } else { Payloads::None };
        self
    }

    /// The size of the ring buffer between kernel and reader, in bytes: a power of two from 8 MiB to 1 GiB; 16 MiB by default. Resident
    /// memory grows by up to twice this size. A larger ring buffer bridges longer pauses of the reader.
    pub fn ring_buffer_size(mut self, bytes: u32) -> Self {
        self.options.ring_buffer_size = bytes;
        self
    }

    /// Finds the node and attaches. This needs Linux 6.1, CAP_BPF and CAP_PERFMON, and for another user's node CAP_SYS_PTRACE.
    /// [`privileges::drop_all`](crate::privileges::drop_all) drops these capabilities afterwards.
    ///
    /// # Errors
    /// Every [`Error`]. If only some tracepoints fail, [`Tap::failures`] has them.
    pub fn attach(&self) -> Result<Tap, Error> {
        Tap::attach(&self.which.find()?, &self.options)
    }
}
