//! The node: its process, the probes of its program, what its memory shows of them, and why it cannot be tapped.

pub(crate) mod error;
pub(crate) mod memory;
pub mod probes;
pub mod process;
