//! Where payloads have what can be taken out of them: addresses, texts and transactions. In: a command and its payload. Out: places in
//! it, or the payload with hashes in place of transactions.

use std::ops::Range;

use bitcoin::hashes::Hash as _;

use super::{
    Message, Tx, address, read_beginning, read_message,
    reader::{Reader, Result},
};

/// A part of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: Range<usize>,
    pub(crate) what: What,
}

/// What a part of a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An address in the 16 bytes of the first release.
    AddressV1,
    /// An address in a network of BIP 155.
    AddressV2(u8),
    /// A text.
    Text,
}

/// The addresses and texts of a payload. `None` if more than these may hold an address: it does not decode, something follows the message,
/// or the message has bytes or texts of any meaning.
pub(crate) fn of(command: &str, payload: &[u8]) -> Option<Vec<Place>> {
    let reader = &mut Reader::new(payload);
    match read_message(command, reader).ok().filter(|_| reader.is_empty())? {
        Message::Version { .. } => in_version(payload).ok(),
        Message::Addr { .. } => in_addr(payload).ok(),
        Message::Addrv2 { .. } => in_addrv2(payload).ok(),
        Message::Verack(_)
        | Message::Sendheaders(_)
        | Message::Getaddr(_)
        | Message::Mempool(_)
        | Message::Wtxidrelay(_)
        | Message::Sendaddrv2(_)
        | Message::Filterclear(_)
        | Message::Emptyaddrv2(_)
        | Message::Oldping(_)
        | Message::Inv { .. }
        | Message::Getdata { .. }
        | Message::Notfound { .. }
        | Message::Getblocks { .. }
        | Message::Getheaders { .. }
        | Message::Headers { .. }
        | Message::Tx { .. }
        | Message::Block { .. }
        | Message::Ping { .. }
        | Message::Pong { .. }
        | Message::Feefilter { .. }
        | Message::Sendcompact { .. }
        | Message::Sendtxrcncl { .. }
        | Message::Compactblock { .. }
        | Message::Getblocktxn { .. }
        | Message::Blocktxn { .. }
        | Message::Merkleblock { .. }
        | Message::Getcfilter { .. }
        | Message::Getcfheaders { .. }
        | Message::Getcfcheckpt { .. }
        | Message::Cfilter { .. }
        | Message::Cfheaders { .. }
        | Message::Cfcheckpt { .. } => Some(Vec::new()),
        // Anything can stand in these.
        Message::Alert { .. }
        | Message::Reject { .. }
        | Message::Feature { .. }
        | Message::Filteradd { .. }
        | Message::Filterload { .. }
        | Message::HeaderOnly { .. }
        | Message::BlockHashOnly { .. }
        | Message::Unknown { .. }
        | Message::Undecodable { .. }
        | Message::Unavailable { .. } => None,
    }
}

/// How many bytes of a payload's beginning say what it has. `None` if it alone means nothing.
pub(crate) fn of_beginning(command: &str, beginning: &[u8]) -> Option<usize> {
    let reader = &mut Reader::new(beginning);
    read_beginning(command, reader)?;
    Some(beginning.len() - reader.rest().len())
}

/// The payload with the txid and the wtxid of each transaction in its place. `None` if it does not decode, or something follows the message.
pub(crate) fn with_ids_only(command: &str, payload: &[u8]) -> Option<Vec<u8>> {
    let reader = &mut Reader::new(payload);
    let message = read_message(command, reader).ok().filter(|_| reader.is_empty())?;
    let (mut shorter, mut end) = (Vec::new(), 0);
    let mut replace = |tx: &Tx<'_>| {
        let Some(raw) = tx.raw() else { return };
        // It is a part of the payload.
        let start = raw.as_ptr().addr() - payload.as_ptr().addr();
        let (txid, wtxid) = tx.ids();
        shorter.extend_from_slice(&payload[end..start]);
        shorter.extend_from_slice(&txid.to_byte_array());
        shorter.extend_from_slice(&wtxid.to_byte_array());
        end = start + raw.len();
    };
    match &message {
        Message::Tx { tx } => replace(tx),
        Message::Block { transactions, .. } | Message::Blocktxn { transactions, .. } => {
            transactions.iter().for_each(replace);
        }
        Message::Compactblock { transactions, .. } => transactions.iter().for_each(|prefilled| replace(&prefilled.tx)),
        _ => return None,
    }
    shorter.extend_from_slice(&payload[end..]);
    Some(shorter)
}

/// Whether messages with this command have transactions.
pub(crate) fn has_transactions(command: &str) -> bool {
    matches!(command, "tx" | "block" | "cmpctblock" | "blocktxn")
}

/// Reads on, and says where.
struct Places<'a> {
    payload: &'a [u8],
    reader: Reader<'a>,
    places: Vec<Place>,
}

impl<'a> Places<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Self { payload, reader: Reader::new(payload), places: Vec::new() }
    }

    fn here(&self) -> usize {
        self.payload.len() - self.reader.rest().len()
    }

    /// Skips so many bytes.
    fn skip(&mut self, bytes: usize) -> Result<()> {
        self.reader.take(bytes).map(drop)
    }

    /// These bytes are such a place.
    fn take(&mut self, bytes: usize, what: What) -> Result<()> {
        let start = self.here();
        self.skip(bytes)?;
        self.places.push(Place { at: start..start + bytes, what });
        Ok(())
    }

    /// The same for bytes after their number.
    fn take_counted(&mut self, what: What) -> Result<()> {
        let bytes = self.reader.count(1)?;
        self.take(bytes, what)
    }
}

fn in_version(payload: &[u8]) -> Result<Vec<Place>> {
    const SERVICES: usize = 8;
    const PORT: usize = 2;
    let mut places = Places::new(payload);
    let address = |places: &mut Places<'_>| {
        places.skip(SERVICES)?;
        places.take(16, What::AddressV1)?;
        places.skip(PORT)
    };
    // Version, services, time.
    places.skip(4 + SERVICES + 8)?;
    address(&mut places)?;
    if !places.reader.is_empty() {
        address(&mut places)?;
        // A random number.
        places.skip(8)?;
    }
    if !places.reader.is_empty() {
        places.take_counted(What::Text)?;
    }
    Ok(places.places)
}

fn in_addr(payload: &[u8]) -> Result<Vec<Place>> {
    let mut places = Places::new(payload);
    for _ in 0..places.reader.count(address::ADDR_ENTRY)? {
        // Time, services.
        places.skip(4 + 8)?;
        places.take(16, What::AddressV1)?;
        places.skip(2)?;
    }
    Ok(places.places)
}

fn in_addrv2(payload: &[u8]) -> Result<Vec<Place>> {
    let mut places = Places::new(payload);
    for _ in 0..places.reader.count(address::SHORTEST_ADDRV2_ENTRY)? {
        places.skip(4)?;
        places.reader.compact_size()?;
        let network = places.reader.decode()?;
        places.take_counted(What::AddressV2(network))?;
        places.skip(2)?;
    }
    Ok(places.places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::{
        decode, decode_ids,
        tests::samples::{Sample, samples},
    };

    #[test]
    fn only_what_can_hold_no_other_address_has_places() {
        for Sample { command, payload, .. } in samples() {
            let places = of(command, &payload);
            let may_hold = ["alert", "reject", "feature", "filteradd", "filterload"].contains(&command);
            let decodes = !matches!(decode(command, &payload), Message::Undecodable { .. } | Message::Unknown { .. });
            assert_eq!(places.is_some(), decodes && !may_hold, "{command}");
            // What follows a message may be anything.
            let more = [&payload[..], &[1, 2, 3, 4]].concat();
            assert_eq!(of(command, &more), None, "{command}");
        }
    }

    #[test]
    fn places_are_where_the_addresses_are() {
        let addr = [&[2][..], &[1; 12], &[7; 16], &[3; 2], &[1; 12], &[8; 16], &[3; 2]].concat();
        let at = |start: usize, end: usize, what: What| Place { at: start..end, what };
        assert_eq!(of("addr", &addr).unwrap(), [at(13, 29, What::AddressV1), at(43, 59, What::AddressV1)]);
        let addrv2 = [&[1][..], &[1; 4], &[0xfd, 0x09, 0x04], &[1, 4, 192, 0, 2, 1], &[3; 2]].concat();
        assert_eq!(of("addrv2", &addrv2).unwrap(), [at(10, 14, What::AddressV2(1))]);
        let version = [&[0; 20][..], &[0; 26], &[0; 26], &[9; 8], &[3], b"/a/", &[0; 5]].concat();
        let [receiver, sender, agent] = &of("version", &version).unwrap()[..] else { panic!() };
        assert_eq!((receiver.at.clone(), sender.at.clone()), (28..44, 54..70));
        assert_eq!((&version[agent.at.clone()], agent.what), (&b"/a/"[..], What::Text));
    }

    #[test]
    fn hashes_take_the_places_of_transactions() {
        let mut transactions = 0;
        for Sample { command, payload, .. } in samples() {
            let shorter = with_ids_only(command, &payload);
            let decodes = !matches!(decode(command, &payload), Message::Undecodable { .. });
            assert_eq!(shorter.is_some(), decodes && has_transactions(command), "{command}");
            let Some(shorter) = shorter else { continue };
            let mut written = serde_json::to_value(decode(command, &payload)).unwrap();
            transactions += without_raw(&mut written);
            assert_eq!(serde_json::to_value(decode_ids(command, &shorter).unwrap()).unwrap(), written, "{command}");
            assert!(decode_ids(command, &shorter[..shorter.len() - 1]).is_none(), "{command}");
        }
        assert!(transactions > 3);
    }

    /// Removes each `raw`, and counts them.
    fn without_raw(value: &mut serde_json::Value) -> usize {
        match value {
            serde_json::Value::Object(fields) => {
                usize::from(fields.remove("raw").is_some()) + fields.values_mut().map(without_raw).sum::<usize>()
            }
            serde_json::Value::Array(items) => items.iter_mut().map(without_raw).sum(),
            _ => 0,
        }
    }
}
