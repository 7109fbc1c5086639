//! How what is done ends.

use bitcointap::output;

/// What failed is told in one line.
pub type Result<T, E = output::Error> = std::result::Result<T, E>;
