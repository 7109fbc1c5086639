//! What events name, by rust-bitcoin's decoders. In: the trace of the simulated node, with the contents of its events. Out: which events
//! name a transaction or block, and how.

use std::{collections::BTreeSet, fs, path::Path};

use bitcointap::bitcoin::{
    BlockHash, Transaction, Wtxid,
    bip152::ShortId,
    consensus::{deserialize, serialize},
    hashes::{Hash, sha256d},
    hex::FromHex,
    p2p::{
        Magic,
        message::{NetworkMessage, RawNetworkMessage},
        message_blockdata::Inventory,
    },
};
use serde_json::Value;

/// A name of a transaction or block in an event, and what that means there.
enum Name {
    Hash(String, Meaning),
    Transaction(String, String, Meaning),
    ShortIds((u64, u64), Vec<ShortId>, Meaning),
}

/// An event that was fired.
pub struct Fired {
    /// Its line in the trace.
    pub line: Value,
    names: Vec<Name>,
}

impl Fired {
    pub fn tracepoint(&self) -> &str {
        self.line["tracepoint"].as_str().unwrap()
    }
}

/// In the words of `trace --format json`: what it is said to be, and in which block.
pub type Meaning = (&'static str, Option<String>);

/// A transaction or block, by all hashes by which events so far have told it.
pub struct Known {
    given: BTreeSet<String>,
    known: BTreeSet<String>,
}

impl Known {
    pub fn new<'a>(given: impl IntoIterator<Item = &'a str>) -> Self {
        let given: BTreeSet<String> = given.into_iter().map(str::to_owned).collect();
        Self { known: given.clone(), given }
    }

    /// The first meaning of it in an event.
    pub fn find(&mut self, event: &Fired) -> Option<Meaning> {
        let mut first = None;
        for name in &event.names {
            let (is_known, meaning) = match name {
                Name::Hash(hash, meaning) => (self.known.contains(hash), meaning),
                Name::ShortIds(keys, ids, meaning) => {
                    let id = |hash: &String| ShortId::with_siphash_keys(&hash.parse::<Wtxid>().unwrap(), *keys);
                    (self.known.iter().map(id).any(|id| ids.contains(&id)), meaning)
                }
                Name::Transaction(txid, wtxid, meaning) => {
                    if self.given.contains(txid) || self.given.contains(wtxid) {
                        self.known.extend([txid.clone(), wtxid.clone()]);
                    }
                    (self.known.contains(txid) || self.known.contains(wtxid), meaning)
                }
            };
            first = first.or(is_known.then(|| meaning.clone()));
        }
        first
    }

    /// The same, with all hashes that any of the events tells.
    pub fn having_seen(mut self, events: &[Fired]) -> Self {
        events.iter().for_each(|event| drop(self.find(event)));
        self
    }

    /// All hashes of it but those that were given.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.known.difference(&self.given).map(String::as_str)
    }
}

/// The events of a trace with contents.
pub fn events(path: &Path) -> Vec<Fired> {
    let event = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let names = names(&line);
        line.as_object_mut().unwrap().remove("payload");
        Fired { line, names }
    };
    fs::read_to_string(path).unwrap().lines().map(event).collect()
}

fn names(event: &Value) -> Vec<Name> {
    let Some(payload) = event["payload"].as_str() else {
        let hashes = event["hashes"].as_array().into_iter().flatten();
        let meanings: &[&str] = match event["tracepoint"].as_str().unwrap() {
            "mempool:added" => &["added"],
            "mempool:removed" => &["removed"],
            "mempool:rejected" => &["rejected"],
            "mempool:replaced" => &["replaced", "replaces"],
            "validation:block_connected" => &["connected"],
            // `trace` does not tell coins.
            tracepoint if tracepoint.starts_with("utxocache:") => &["coin"],
            _ => &[],
        };
        let name = |(hash, what): (&Value, &&'static str)| Name::Hash(hash.as_str().unwrap().into(), (*what, None));
        return hashes.zip(meanings).map(name).collect();
    };
    let Some(message) = decoded(event["command"].as_str().unwrap(), payload) else { return Vec::new() };
    of_message(message)
}

/// `None` if rust-bitcoin does not know it, or refuses it.
fn decoded(command: &str, payload: &str) -> Option<NetworkMessage> {
    let payload = Vec::from_hex(payload).unwrap();
    let mut framed = Magic::BITCOIN.to_bytes().to_vec();
    framed.extend(command.bytes().chain([0; 12]).take(12));
    framed.extend((payload.len() as u32).to_le_bytes());
    framed.extend(&sha256d::Hash::hash(&payload)[..4]);
    framed.extend(payload);
    deserialize::<RawNetworkMessage>(&framed).ok().map(RawNetworkMessage::into_payload)
}

fn of_message(message: NetworkMessage) -> Vec<Name> {
    let plain = |hash: String, what| Name::Hash(hash, (what, None));
    let items = |items: Vec<Inventory>, what| {
        // After the type.
        let hash = |item: &Inventory| BlockHash::from_slice(&serialize(item)[4..]).unwrap().to_string();
        items.iter().map(|item| plain(hash(item), what)).collect()
    };
    let transaction = |transaction: &Transaction, what, block: Option<BlockHash>| {
        let (txid, wtxid) = (transaction.compute_txid().to_string(), transaction.compute_wtxid().to_string());
        Name::Transaction(txid, wtxid, (what, block.map(|block| block.to_string())))
    };
    let locator = |hashes: &[BlockHash], stop: BlockHash| {
        let hashes = hashes.iter().map(|block| plain(block.to_string(), "in_locator"));
        hashes.chain([plain(stop.to_string(), "as_last_block")]).collect()
    };
    match message {
        NetworkMessage::Inv(list) => items(list, "announced"),
        NetworkMessage::GetData(list) => items(list, "requested"),
        NetworkMessage::NotFound(list) => items(list, "not_found"),
        NetworkMessage::Tx(it) => vec![transaction(&it, "sent", None)],
        NetworkMessage::Block(block) => {
            let hash = block.block_hash();
            let within = block.txdata.iter().map(|it| transaction(it, "in_block", Some(hash)));
            [plain(hash.to_string(), "sent")].into_iter().chain(within).collect()
        }
        NetworkMessage::Headers(headers) => {
            headers.iter().map(|header| plain(header.block_hash().to_string(), "sent_as_header")).collect()
        }
        NetworkMessage::CmpctBlock(it) => {
            let block = it.compact_block;
            let hash = block.header.block_hash();
            let within = block.prefilled_txs.iter().map(|it| transaction(&it.tx, "in_block", Some(hash)));
            let keys = ShortId::calculate_siphash_keys(&block.header, block.nonce);
            let short = Name::ShortIds(keys, block.short_ids, ("in_block_by_short_id", Some(hash.to_string())));
            [plain(hash.to_string(), "sent_as_compact_block")].into_iter().chain(within).chain([short]).collect()
        }
        NetworkMessage::GetBlockTxn(it) => {
            vec![plain(it.txs_request.block_hash.to_string(), "transactions_requested")]
        }
        NetworkMessage::BlockTxn(it) => {
            let hash = it.transactions.block_hash;
            let within = it.transactions.transactions.iter().map(|it| transaction(it, "in_block", Some(hash)));
            [plain(hash.to_string(), "transactions_sent")].into_iter().chain(within).collect()
        }
        NetworkMessage::MerkleBlock(block) => {
            let hash = block.header.block_hash().to_string();
            let within = block.txn.hashes().iter();
            let within = within.map(|node| Name::Hash(node.to_string(), ("in_block", Some(hash.clone()))));
            [plain(hash.clone(), "sent_as_header")].into_iter().chain(within).collect()
        }
        NetworkMessage::GetBlocks(it) => locator(&it.locator_hashes, it.stop_hash),
        NetworkMessage::GetHeaders(it) => locator(&it.locator_hashes, it.stop_hash),
        NetworkMessage::CFilter(it) => vec![plain(it.block_hash.to_string(), "filter_sent")],
        NetworkMessage::GetCFilters(it) => vec![plain(it.stop_hash.to_string(), "as_last_block")],
        NetworkMessage::GetCFHeaders(it) => vec![plain(it.stop_hash.to_string(), "as_last_block")],
        NetworkMessage::GetCFCheckpt(it) => vec![plain(it.stop_hash.to_string(), "as_last_block")],
        NetworkMessage::CFHeaders(it) => vec![plain(it.stop_hash.to_string(), "as_last_block")],
        NetworkMessage::CFCheckpt(it) => vec![plain(it.stop_hash.to_string(), "as_last_block")],
        NetworkMessage::Reject(it) => vec![plain(it.hash.to_string(), "refused")],
        _ => Vec::new(),
    }
}
