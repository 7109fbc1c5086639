//! The screen of `top`. In: a snapshot of the live state, keys, signals. Out: a terminal that shows the state, and is
//! restored at the end.

pub mod draw;
pub mod jobs;
pub mod keys;
mod peers;
pub mod terminal;
#[cfg(test)]
mod testing;
mod text;

pub use peers::Column;
pub use text::plain;
