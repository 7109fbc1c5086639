//! The result of a command.

use bitcointap::output;

/// An error is one line that says what failed.
pub type Result<T, E = output::Error> = std::result::Result<T, E>;
