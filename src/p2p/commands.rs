//! The names of messages, for use as a closed set of labels.

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

/// Where `command` stands in [`COMMANDS`].
pub fn command_index(command: &str) -> Option<usize> {
    NUMBERS.binary_search(&number(command)?).ok()
}

/// [`COMMANDS`] as numbers, which are compared faster than texts: each message is looked up.
static NUMBERS: [u128; COMMANDS.len()] = {
    let mut numbers = [0; COMMANDS.len()];
    let mut place = 0;
    while place < numbers.len() {
        numbers[place] = number(COMMANDS[place]).expect("it is short");
        place += 1;
    }
    numbers
};

/// A text as a number that has the same order, and differs for texts that differ in zeros at their end; none if it is too long.
const fn number(text: &str) -> Option<u128> {
    let mut bytes = [0; size_of::<u128>()];
    let Some((length, place)) = bytes.split_last_mut() else { return None };
    let Some((place, _)) = place.split_at_mut_checked(text.len()) else { return None };
    place.copy_from_slice(text.as_bytes());
    *length = text.len() as u8;
    Some(u128::from_be_bytes(bytes))
}

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
        assert_eq!(command_index("ping\0"), None);
        assert_eq!(command_index("a command of more than sixteen bytes"), None);
    }
}
