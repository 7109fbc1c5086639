//! What to tap: which events, how much of payloads, with how much memory.

use crate::{capture::Named, selection::Selection, tracepoint::Tracepoints};

/// What to tap and with how much memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// The events that some output wants. What the kernel side can decide of it is decided there, before anything is copied;
    /// tracepoints whose events cannot be wanted are not attached, and the node pays nothing for them.
    pub selection: Selection,
    /// Of these, those whose events no output wants, only their [`Counters`](crate::capture::Counters). Heeded of [`Tracepoints::coins`]: they are
    /// counted and their values summed up in the kernel, which sends nothing and costs the node less.
    pub summed: Tracepoints,
    /// How much of messages' payloads is copied.
    pub payloads: Payloads,
    /// Whether they are whole at first, if they are [`Payloads::Limited`].
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
    /// All of them.
    #[default]
    Whole,
    /// None: they are [`Unavailable`](crate::p2p::Message::Unavailable).
    None,
    /// Of each command at most so many bytes, and of others none, until
    /// [`Tap::want_whole_payloads`](super::Tap::want_whole_payloads). Of what is cut only the
    /// beginning is decoded. Payloads of up to 64 bytes are whole, since deciding would cost more than copying.
    Limited(&'static [(&'static str, u32)]),
}

impl Options {
    /// 16 MiB.
    pub const DEFAULT_RING_BUFFER_SIZE: u32 = 16 << 20;
    /// Two messages of the largest size must fit.
    pub const MIN_RING_BUFFER_SIZE: u32 = 8 << 20;
    /// What the kernel allocates in one piece of addresses without trouble.
    pub const MAX_RING_BUFFER_SIZE: u32 = 1 << 30;

    /// Those whose events are sent.
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
