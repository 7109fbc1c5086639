//! The commands that count as known: a closed set for labels.

/// Every command that Bitcoin Core has ever used, sorted.
///
/// The set comes from the history of Bitcoin Core's repository: what its master branch of June 2026 lists in
/// `src/protocol.h`, newest `feature` (BIP 434), and what earlier commits sent or handled. The latter, with the date of the
/// commit that removed them:
///
/// - `review`, `getdetails`: a market that was never finished; February 2010
/// - `submitorder`, `checkorder`, `reply`: payment to an IP address; June 2011, and October 2012 the other two
/// - `publish`, `pub-cancel`, `subscribe`, `sub-cancel`: sent, never handled; April 2012
/// - `getutxos`, `utxos` (BIP 64): August 2014, before any release had them; Bitcoin XT kept them
/// - `alert`: March 2016
/// - `reject` (BIP 61): September 2018
pub const COMMANDS: &[&str] = &[
    "addr",
    "addrv2",
    "alert",
    "block",
    "blocktxn",
    "cfcheckpt",
    "cfheaders",
    "cfilter",
    "checkorder",
    "cmpctblock",
    "feature",
    "feefilter",
    "filteradd",
    "filterclear",
    "filterload",
    "getaddr",
    "getblocks",
    "getblocktxn",
    "getcfcheckpt",
    "getcfheaders",
    "getcfilters",
    "getdata",
    "getdetails",
    "getheaders",
    "getutxos",
    "headers",
    "inv",
    "mempool",
    "merkleblock",
    "notfound",
    "ping",
    "pong",
    "pub-cancel",
    "publish",
    "reject",
    "reply",
    "review",
    "sendaddrv2",
    "sendcmpct",
    "sendheaders",
    "sendtxrcncl",
    "sub-cancel",
    "submitorder",
    "subscribe",
    "tx",
    "utxos",
    "verack",
    "version",
    "wtxidrelay",
];

/// The place of `command` in [`COMMANDS`].
pub fn command_index(command: &str) -> Option<usize> {
    let first = command.as_bytes().first()?;
    // Runs for each message. Nearly as fast as a hash: few commands have the same first letter, and fewer of them the
    // same length.
    let (begin, end) = BY_FIRST[usize::from(*first)];
    let place = COMMANDS[begin..end].iter().position(|&known| known == command)?;
    Some(begin + place)
}

/// The names under which messages count in metrics and on the live page: all [`COMMANDS`], and `other` for anything else.
#[cfg(any(feature = "metrics", feature = "nats"))]
pub(crate) fn counted_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().copied().chain(["other"])
}

/// The place of a command in [`counted_names`].
#[cfg(any(feature = "metrics", feature = "nats"))]
pub(crate) fn counted_index(command: &str) -> usize {
    command_index(command).unwrap_or(COMMANDS.len())
}

/// The places of the commands that begin with a byte; they are sorted.
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

    #[test]
    fn commands_are_sorted_and_fit_the_wire() {
        assert!(COMMANDS.is_sorted_by(|a, b| a < b));
        for (index, command) in COMMANDS.iter().enumerate() {
            assert_eq!(command_index(command), Some(index));
            assert!((1..=12).contains(&command.len()), "{command}");
        }
        assert_eq!(command_index("versio"), None);
        assert_eq!(command_index(""), None);
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn each_command_counts_under_its_name_and_anything_else_as_other() {
        for (index, command) in counted_names().enumerate() {
            assert_eq!(counted_index(command), index);
        }
        let other = COMMANDS.len();
        for made_up in ["", "pin", "pings", "ping\0", "Ping", "zzz", "\u{fffd}", "sendheaders-and-more"] {
            assert_eq!(counted_index(made_up), other, "{made_up:?}");
        }
    }
}
