//! How what is done ends.

use std::error::Error;

/// What failed is told in one line.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;
