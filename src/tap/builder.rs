//! What to tap, step by step. In: which node, which events, how. Out: an attached [`Tap`].

use super::{Options, Payloads, Tap};
use crate::{Error, process::Which, selection::Selection, tracepoint::Tracepoints};

/// How to attach, by [`Tap::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "it attaches to nothing until `attach` is called"]
pub struct Builder {
    which: Which,
    options: Options,
}

impl Builder {
    /// Which node; by default the one that runs as `bitcoind`, `bitcoin-qt` or `bitcoin-node`.
    pub fn node(mut self, which: Which) -> Self {
        self.which = which;
        self
    }

    /// Which events; by default those of [`Tracepoints::default_set`].
    pub fn selection(mut self, selection: Selection) -> Self {
        self.options.selection = selection;
        self
    }

    /// Events of these tracepoints, all of them.
    pub fn tracepoints(self, tracepoints: Tracepoints) -> Self {
        self.selection(Selection::of(tracepoints))
    }

    /// Whether the payloads of messages are copied, as by default. If not they are
    /// [`Unavailable`](crate::p2p::Message::Unavailable), and cost the node less.
    pub fn payloads(mut self, payloads: bool) -> Self {
        self.options.payloads = if payloads { Payloads::Whole } else { Payloads::None };
        self
    }

    /// Bytes of the ring buffer between kernel and reader, a power of two from 8 MiB to 1 GiB; 16 MiB by default. Resident
    /// memory grows by up to twice of it. A larger one bridges longer pauses of the reader.
    pub fn ring_buffer_size(mut self, bytes: u32) -> Self {
        self.options.ring_buffer_size = bytes;
        self
    }

    /// Finds the node and attaches. Takes Linux 6.1, CAP_BPF and CAP_PERFMON, and for another user's node CAP_SYS_PTRACE; they
    /// can be dropped afterwards (see [`privileges::drop_all`](crate::privileges::drop_all)).
    ///
    /// # Errors
    /// All of [`Error`]. If only some tracepoints cannot be attached to, [`Tap::failures`] tells them.
    pub fn attach(&self) -> Result<Tap, Error> {
        Tap::attach(&self.which.find()?, &self.options)
    }
}
