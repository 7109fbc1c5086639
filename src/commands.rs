//! What a message's type is counted as, in metrics and on the live page: one of those that Bitcoin Core has ever had, or any
//! other, whatever peers make up.

use crate::p2p::COMMANDS;

/// All types, the other ones last.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().copied().chain(["other"])
}

/// Where a command stands in [`names`]. Each message asks, some more than once.
pub(crate) fn place(command: &str) -> usize {
    let Some(&first) = command.as_bytes().first() else { return COMMANDS.len() };
    // Nearly as fast as a hash: few have the same first letter, and of them fewer the same length.
    let (begin, end) = BY_FIRST[usize::from(first)];
    let alike = &COMMANDS[begin..end];
    alike.iter().position(|&known| known == command).map_or(COMMANDS.len(), |place| begin + place)
}

/// Where those stand that begin with a byte; they are sorted.
const BY_FIRST: [(usize, usize); 256] = {
    let mut by_first = [(0, 0); 256];
    let mut place = 0;
    while place < COMMANDS.len() {
        let (begin, end) = &mut by_first[COMMANDS[place].as_bytes()[0] as usize];
        if *end == 0 {
            *begin = place;
        }
        *end = place + 1;
        place += 1;
    }
    by_first
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::command_index;

    #[test]
    fn each_command_is_at_its_place_and_what_is_made_up_at_the_last() {
        let other = COMMANDS.len();
        for (index, command) in names().enumerate() {
            assert_eq!(place(command), index);
            assert_eq!(command_index(command).unwrap_or(other), index);
        }
        for made_up in ["", "pin", "pings", "ping\0", "Ping", "zzz", "\u{fffd}", "sendheaders-and-more"] {
            assert_eq!(place(made_up), other, "{made_up:?}");
        }
    }
}
