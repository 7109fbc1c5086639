//! The result of a command.

use std::error::Error;

/// An error is one line that says what failed.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;
