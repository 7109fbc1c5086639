//! The messages that bitcointap tells apart, each in the shape of its JSON.

use std::borrow::Cow;

use bitcoin::bip152::ShortId;
use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::hashes::sha256d;
use bitcoin::p2p::message_network::RejectReason;
use bitcoin::{BlockHash, TxMerkleNode, block};
use serde::Serialize;

use super::address::NetAddress;
use super::inventory::Items;
use super::serialize::{AsBits, AsHash, AsHashes, AsHeader, AsHeaders, AsRejectReason, AsShortIds, True};
use super::transaction::{PrefilledTx, Tx};
use crate::json::Bytes;

/// A message between two nodes.
///
/// A variant and its fields are what serde writes: `{"Ping":{"value":7}}`. Formats without a BIP are those of Bitcoin
/// Core's `src/protocol.h` and `src/net_processing.cpp`. Numbers are little-endian on the wire, hashes in internal byte order.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Message<'a> {
    /// `version`: a node presents itself.
    Version {
        /// Version of the protocol.
        version: u32,
        /// Service bits of the sender.
        services: u64,
        /// The sender's clock, UNIX time in seconds.
        timestamp: i64,
        /// The receiver as the sender sees it.
        receiver: NetAddress<'static>,
        /// The sender as it sees itself; unspecified if it does not say.
        sender: NetAddress<'static>,
        /// Random, by which a node knows that it is talking to itself; 1 where missing.
        nonce: u64,
        /// The sender's software (BIP 14).
        user_agent: Cow<'a, str>,
        /// Height of the sender's chain; −1 where missing.
        start_height: i32,
        /// Whether transactions shall be announced (BIP 37); true where missing.
        relay: bool,
    },
    /// `verack`: the `version` was received.
    Verack(True),
    /// `sendheaders`: announce blocks by headers (BIP 130).
    Sendheaders(True),
    /// `getaddr`: send addresses of nodes.
    Getaddr(True),
    /// `mempool`: announce the mempool (BIP 35).
    Mempool(True),
    /// `wtxidrelay`: announce transactions by wtxid (BIP 339).
    Wtxidrelay(True),
    /// `sendaddrv2`: send addresses as `addrv2` (BIP 155).
    Sendaddrv2(True),
    /// `filterclear`: forget the bloom filter (BIP 37).
    Filterclear(True),
    /// An `addrv2` of no bytes, which is not valid.
    Emptyaddrv2(True),
    /// A `ping` of no bytes, as before BIP 31.
    Oldping(True),
    /// `addr`: addresses of nodes.
    Addr {
        /// The addresses.
        addresses: Vec<NetAddress<'static>>,
    },
    /// `addrv2`: addresses of nodes in any network (BIP 155).
    Addrv2 {
        /// The addresses.
        addresses: Vec<NetAddress<'a>>,
    },
    /// `inv`: what the sender has.
    Inv {
        /// Transactions and blocks.
        items: Items<'a>,
    },
    /// `getdata`: what the sender wants.
    Getdata {
        /// Transactions and blocks.
        items: Items<'a>,
    },
    /// `notfound`: requested items that the sender does not have.
    Notfound {
        /// Transactions and blocks.
        items: Items<'a>,
    },
    /// `getblocks`: announce the blocks after a known one.
    Getblocks {
        /// Version of the protocol.
        version: u32,
        /// Blocks that the sender has, newest first.
        #[serde(with = "AsHashes")]
        locator_hashes: Vec<BlockHash>,
        /// The last wanted block; zeros for as many as there are.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
    },
    /// `getheaders`: send the headers after a known one.
    Getheaders {
        /// Version of the protocol.
        version: u32,
        /// Blocks that the sender has, newest first.
        #[serde(with = "AsHashes")]
        locator_hashes: Vec<BlockHash>,
        /// The last wanted block; zeros for as many as there are.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
    },
    /// `headers`: headers of blocks.
    Headers {
        /// The headers.
        #[serde(with = "AsHeaders")]
        headers: Vec<block::Header>,
    },
    /// `tx`: a transaction (BIP 144).
    Tx {
        /// The transaction.
        tx: Tx<'a>,
    },
    /// `block`: a block (BIP 144).
    Block {
        /// Its header.
        #[serde(with = "AsHeader")]
        header: block::Header,
        /// Its transactions.
        transactions: Vec<Tx<'a>>,
    },
    /// `ping`: answer with the same value (BIP 31).
    Ping {
        /// Random.
        value: u64,
    },
    /// `pong`: answer to a `ping` (BIP 31).
    Pong {
        /// The value of the `ping`.
        value: u64,
    },
    /// `feefilter`: announce no transaction that pays less (BIP 133).
    Feefilter {
        /// Satoshis for 1000 vbytes.
        fee: i64,
    },
    /// `alert`: a message to all users, which Bitcoin Core dropped in 2016.
    Alert {
        /// What is signed, without its signature.
        alert: Bytes<'a>,
    },
    /// `sendcmpct`: send compact blocks (BIP 152).
    Sendcompact {
        /// Whether to announce blocks by them, high-bandwidth mode.
        send_compact: bool,
        /// That byte, if it is neither 0 nor 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        send_compact_byte: Option<u8>,
        /// Version of compact blocks.
        version: u64,
    },
    /// `feature`: what the sender can do (BIP 434), between `version` and `verack`.
    Feature {
        /// The feature's name.
        feature: Cow<'a, str>,
        /// Bytes that the feature's specification defines.
        data: Bytes<'a>,
    },
    /// `sendtxrcncl`: announce transactions by reconciliation (BIP 330), between `version` and `verack`.
    Sendtxrcncl {
        /// The highest version of reconciliation that the sender has.
        version: u32,
        /// The sender's part of the salt of short transaction ids.
        salt: u64,
    },
    /// `cmpctblock`: a compact block (BIP 152).
    Compactblock {
        /// The block's header.
        #[serde(with = "AsHeader")]
        header: block::Header,
        /// Part of the key by which the short ids are made.
        nonce: u64,
        /// Short ids of the transactions that the message does not contain.
        #[serde(with = "AsShortIds")]
        short_ids: Vec<ShortId>,
        /// Transactions that the receiver will not have.
        transactions: Vec<PrefilledTx<'a>>,
    },
    /// `getblocktxn`: send transactions of a compact block (BIP 152).
    Getblocktxn {
        /// The block.
        #[serde(with = "AsHash")]
        block_hash: BlockHash,
        /// Places of the transactions in the block, counted from 0.
        tx_indexes: Vec<u64>,
    },
    /// `blocktxn`: answer to a `getblocktxn` (BIP 152).
    Blocktxn {
        /// The block.
        #[serde(with = "AsHash")]
        block_hash: BlockHash,
        /// The transactions.
        transactions: Vec<Tx<'a>>,
    },
    /// `reject`: why a message was refused (BIP 61).
    Reject {
        /// Command of the refused message.
        rejected_command: Cow<'a, str>,
        /// The reason, written as its place in BIP 61's list of codes: 0–7.
        #[serde(with = "AsRejectReason")]
        reason: RejectReason,
        /// The reason in words.
        reason_details: Cow<'a, str>,
        /// The refused transaction or block; zeros where missing.
        #[serde(with = "AsHash")]
        hash: sha256d::Hash,
    },
    /// `filteradd`: add to the bloom filter (BIP 37).
    Filteradd {
        /// The element.
        filter: Bytes<'a>,
    },
    /// `filterload`: set the bloom filter (BIP 37).
    Filterload {
        /// The filter's bits.
        filter: Bytes<'a>,
        /// How many hash functions it uses.
        hash_funcs: u32,
        /// Seed of the hash functions.
        tweak: u32,
        /// How matches update the filter: 0 not, 1 all, 2 pay-to-pubkey and multisig only.
        flags: u8,
    },
    /// `merkleblock`: a header and a partial merkle tree (BIP 37).
    Merkleblock {
        /// The block's header.
        #[serde(with = "AsHeader")]
        header: block::Header,
        /// How many transactions the block has.
        num_transactions: u32,
        /// The tree's flags, eight in each byte, lowest bit first; written as booleans.
        #[serde(with = "AsBits")]
        bits: &'a [u8],
        /// The tree's hashes, depth first.
        #[serde(with = "AsHashes")]
        hashes: Vec<TxMerkleNode>,
    },
    /// `getcfilters`: send compact filters (BIP 157).
    Getcfilter {
        /// Type of filter; 0 is basic.
        filter_type: u8,
        /// Height of the first block.
        start_height: u32,
        /// The last block.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
    },
    /// `getcfheaders`: send headers of compact filters (BIP 157).
    Getcfheaders {
        /// Type of filter; 0 is basic.
        filter_type: u8,
        /// Height of the first block.
        start_height: u32,
        /// The last block.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
    },
    /// `getcfcheckpt`: send evenly spaced headers of compact filters (BIP 157).
    Getcfcheckpt {
        /// Type of filter; 0 is basic.
        filter_type: u8,
        /// The last block.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
    },
    /// `cfilter`: a compact filter (BIP 157, BIP 158).
    Cfilter {
        /// Type of filter; 0 is basic.
        filter_type: u8,
        /// The block.
        #[serde(with = "AsHash")]
        block_hash: BlockHash,
        /// The filter.
        filter: Bytes<'a>,
    },
    /// `cfheaders`: hashes of compact filters (BIP 157).
    Cfheaders {
        /// Type of filter; 0 is basic.
        filter_type: u8,
        /// The last block.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
        /// Header of the filter before the first.
        #[serde(with = "AsHash")]
        previous_filter_header: FilterHeader,
        /// Hashes of the filters, a block each.
        #[serde(with = "AsHashes")]
        filter_hashes: Vec<FilterHash>,
    },
    /// `cfcheckpt`: headers of compact filters, every 1000 blocks (BIP 157).
    Cfcheckpt {
        /// Type of filter; 0 is basic.
        filter_type: u8,
        /// The last block.
        #[serde(with = "AsHash")]
        stop_hash: BlockHash,
        /// The headers.
        #[serde(with = "AsHashes")]
        filter_headers: Vec<FilterHeader>,
    },
    /// A message of another command.
    Unknown {
        /// The command.
        command: &'a str,
        /// What came with it.
        payload: Bytes<'a>,
    },
    /// A message that is not what its command says.
    Undecodable {
        /// The command.
        command: &'a str,
        /// What came with it.
        payload: Bytes<'a>,
        /// Why it cannot be decoded.
        error: String,
    },
    /// The beginning of a `block` or `merkleblock`; nobody wanted the rest.
    HeaderOnly {
        /// The command.
        command: &'a str,
        /// The block's header.
        #[serde(with = "AsHeader")]
        header: block::Header,
    },
    /// The beginning of a `blocktxn`; nobody wanted the rest.
    BlockHashOnly {
        /// The command.
        command: &'a str,
        /// The block.
        #[serde(with = "AsHash")]
        block_hash: BlockHash,
    },
    /// A message without its payload: it could not be read from the node, or nobody wanted it (`payloads(false)`).
    Unavailable {
        /// The command.
        command: &'a str,
        /// Why there is no payload: `unreadable`, `too_large` or `not_wanted`.
        reason: &'static str,
    },
}
