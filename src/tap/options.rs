//! Options of a tap: which events, how much of payloads, and how much memory.

use crate::{capture::Named, selection::Selection, tracepoint::Tracepoints};

/// What to tap, and with how much memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// The events that some output wants. The kernel side checks conditions where it can, before it copies anything. Tracepoints without
    /// any wanted event are not attached, so that the node pays nothing for them.
    pub selection: Selection,
    /// Tracepoints whose events no output wants, only their [`Counters`](crate::capture::Counters). Only [`Tracepoints::coins`] have an
    /// effect here: the kernel side counts their hits, sums up their values and sends nothing. That costs the node less.
    pub summed: Tracepoints,
    /// How much of payloads is copied.
    pub payloads: Payloads,
    /// Whether payloads are whole at first, if they are [`Payloads::Limited`].
    pub whole_payloads: bool,
    /// What the operator calls the node; runs have it.
    pub named: Named,
    /// Bytes of the ring buffer between kernel and reader: a power of two from 8 MiB to 1 GiB. The reader's resident
    /// memory grows by up to twice of it.
    pub ring_buffer_size: u32,
}

/// How much of messages' payloads is copied out of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payloads {
    /// Each payload completely.
    #[default]
    Whole,
    /// Nothing: messages are [`Unavailable`](crate::p2p::Message::Unavailable).
    None,
    /// At most this many bytes for each named command, and nothing of other commands, until
    /// [`Tap::want_whole_payloads`](super::Tap::want_whole_payloads) changes it. Only the beginning of a cut payload is decoded.
    /// Payloads of up to 64 bytes are always whole, since deciding would cost more than copying.
    Limited(&'static [(&'static str, u32)]),
}

impl Options {
    /// 16 MiB, the default.
    pub const DEFAULT_RING_BUFFER_SIZE: u32 = 16 << 20;
    /// Two messages of the largest size must fit.
    pub const MIN_RING_BUFFER_SIZE: u32 = 8 << 20;
    /// The kernel can allocate this much in one range of addresses without trouble.
    pub const MAX_RING_BUFFER_SIZE: u32 = 1 << 30;

    /// The tracepoints whose events are sent.
    pub fn sent(&self) -> Tracepoints {
        self.selection.tracepoints().iter().filter(|&tracepoint| !self.summed.contains(tracepoint)).collect()
    }

    /// Whether the ring buffer can have this size.
    pub fn accepts_ring_buffer_size(bytes: u32) -> bool {
        bytes.is_power_of_two() && (Self::MIN_RING_BUFFER_SIZE..=Self::MAX_RING_BUFFER_SIZE).contains(&bytes)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            summed: Tracepoints::default(),
            payloads: Payloads::Whole,
            whole_payloads: false,
            named: Named::default(),
            ring_buffer_size: Self::DEFAULT_RING_BUFFER_SIZE,
        }
    }
}
