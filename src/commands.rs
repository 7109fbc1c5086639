//! What a message's type is counted as, in metrics and on the live page: one of those that Bitcoin Core has ever had, or any
//! other, whatever peers make up.

use crate::p2p::{COMMANDS, command_index};

/// All types, the other ones last.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().copied().chain(["other"])
}

/// Where a command stands in [`names`].
pub(crate) fn place(command: &str) -> usize {
    command_index(command).unwrap_or(COMMANDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_at_its_place_and_what_is_made_up_at_the_last() {
        let other = COMMANDS.len();
        for (index, command) in names().enumerate() {
            assert_eq!(place(command), index);
        }
        for made_up in ["", "pin", "pings", "ping\0", "Ping", "zzz", "\u{fffd}", "sendheaders-and-more"] {
            assert_eq!(place(made_up), other, "{made_up:?}");
        }
    }
}
