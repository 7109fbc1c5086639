//! What `inv`, `getdata` and `notfound` name. In: a payload. Out: [`Items`], read one by one on request: for the most
//! frequent messages nothing is copied or allocated.

use std::fmt;

use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{BlockHash, Txid, Wtxid};
use serde::{Serialize, Serializer};

use super::reader::{Reader, Result};
use super::serialize::True;
use crate::json::Hash;

/// The bytes of an item: type and hash.
const ITEM: usize = 4 + 32;

/// Transactions and blocks.
#[derive(Clone, Copy)]
pub struct Items<'a>(&'a [[u8; ITEM]]);

impl<'a> Items<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Items<'a>> {
        let count = reader.count(ITEM)?;
        let (items, _) = reader.take(count * ITEM)?.as_chunks();
        Ok(Items(items))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each item, as rust-bitcoin's decoder gives it; it does not know type 0.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Inventory> + use<'a> {
        self.0.iter().map(item)
    }

    /// The type and the hash of each item. This takes a third of the time in which rust-bitcoin's type is made and matched.
    pub(crate) fn raw(&self) -> impl Iterator<Item = (u32, &'a [u8; 32])> + use<'a> {
        self.0.iter().map(|[a, b, c, d, hash @ ..]| (u32::from_le_bytes([*a, *b, *c, *d]), hash))
    }
}

#[inline]
fn item(&[a, b, c, d, ref hash @ ..]: &[u8; ITEM]) -> Inventory {
    match u32::from_le_bytes([a, b, c, d]) {
        1 => Inventory::Transaction(Txid::from_byte_array(*hash)),
        2 => Inventory::Block(BlockHash::from_byte_array(*hash)),
        4 => Inventory::CompactBlock(BlockHash::from_byte_array(*hash)),
        5 => Inventory::WTx(Wtxid::from_byte_array(*hash)),
        0x4000_0001 => Inventory::WitnessTransaction(Txid::from_byte_array(*hash)),
        0x4000_0002 => Inventory::WitnessBlock(BlockHash::from_byte_array(*hash)),
        inv_type => Inventory::Unknown { inv_type, hash: *hash },
    }
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|item| Entry {
            item: match item {
                // rust-bitcoin decodes type 0 as unknown.
                Inventory::Error | Inventory::Unknown { inv_type: 0, .. } => Item::Error(True),
                Inventory::Transaction(txid) => Item::Transaction(Hash(txid.to_byte_array())),
                Inventory::Block(hash) => Item::Block(Hash(hash.to_byte_array())),
                Inventory::CompactBlock(hash) => Item::CompactBlock(Hash(hash.to_byte_array())),
                Inventory::WTx(wtxid) => Item::Wtx(Hash(wtxid.to_byte_array())),
                Inventory::WitnessTransaction(txid) => Item::WitnessTransaction(Hash(txid.to_byte_array())),
                Inventory::WitnessBlock(hash) => Item::WitnessBlock(Hash(hash.to_byte_array())),
                Inventory::Unknown { inv_type, hash } => Item::Unknown { inv_type, hash: Hash(hash) },
            },
        }))
    }
}

/// What is announced, requested or missing.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Entry {
    /// By its type.
    item: Item,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Item {
    /// Type 0.
    Error(True),
    /// A transaction, by its txid.
    Transaction(Hash),
    /// A block.
    Block(Hash),
    /// A block, as a compact block.
    CompactBlock(Hash),
    /// A transaction, by its wtxid.
    Wtx(Hash),
    /// A transaction with its witness, by its txid.
    WitnessTransaction(Hash),
    /// A block with its witnesses.
    WitnessBlock(Hash),
    /// Any other type.
    Unknown {
        /// The type's number.
        inv_type: u32,
        /// What it names.
        hash: Hash,
    },
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::deserialize;

    use crate::p2p::{Message, decode};

    #[test]
    fn items_are_those_that_rust_bitcoin_reads() {
        let types = [0, 1, 2, 3, 4, 5, 6, 0x4000_0001, 0x4000_0002, 0x4000_0003, 0x4000_0005, u32::MAX];
        let mut payload = vec![types.len() as u8];
        for (place, inv_type) in (0..).zip(types) {
            payload.extend(inv_type.to_le_bytes());
            payload.extend([place; 31]);
            payload.push(0xff);
        }
        let Message::Inv { items } = decode("inv", &payload) else { panic!("it is one") };
        assert_eq!(items.iter().collect::<Vec<_>>(), deserialize::<Vec<_>>(&payload).unwrap());
        assert_eq!((items.len(), items.is_empty()), (types.len(), false));
        let Message::Inv { items } = decode("inv", &[0]) else { panic!("it is one") };
        assert_eq!((items.len(), items.is_empty(), items.iter().next()), (0, true, None));
        // Bytes after them are ignored; missing items are not made up.
        assert!(matches!(decode("inv", &[&payload[..], &[1]].concat()), Message::Inv { .. }));
        assert!(matches!(decode("inv", &payload[..payload.len() - 1]), Message::Undecodable { .. }));
    }
}
