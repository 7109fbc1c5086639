//! The node: its process, the probes of its program, the state of these probes in its memory, and why it cannot be tapped.

pub(crate) mod error;
pub(crate) mod memory;
pub mod probes;
pub mod process;
