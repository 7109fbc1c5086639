//! The schema once more, for prost to decode, from its numbers and types. Names are those of our JSON, so that both can be compared.
//! Enumerations are numbers here.

use prost::{Message, Oneof};
use serde::Serialize;

macro_rules! messages {
    ($($name:ident { $($field:ident: $type:ty [$($attributes:tt)*],)* })*) => {$(
        #[derive(Clone, PartialEq, Message, Serialize)]
        pub struct $name { $(#[prost($($attributes)*)] pub $field: $type,)* }
    )*};
}

macro_rules! choices {
    ($($name:ident { $($variant:ident($type:ty) [$($attributes:tt)*],)* })*) => {$(
        #[derive(Clone, PartialEq, Oneof, Serialize)]
        pub enum $name { $(#[prost($($attributes)*)] $variant($type),)* }
    )*};
}

messages! {
    Event {
        kind: Option<Extractor> [oneof = "Extractor", tags = "1"],
        timestamp: u64 [uint64, required, tag = 10],
    }
    Ebpf { event: Option<Kind> [oneof = "Kind", tags = "1, 2, 4, 5"], }
}

choices! {
    Extractor { Ebpf(Ebpf) [message, tag = 1], }
    Kind {
        Msg(MessageEvent) [message, tag = 1],
        Conn(ConnectionEvent) [message, tag = 2],
        Mempool(MempoolEvent) [message, tag = 4],
        Validation(ValidationEvent) [message, tag = 5],
    }
}

// Connections, the mempool, validation.
messages! {
    ConnectionEvent { event: Option<Connection> [oneof = "Connection", tags = "1, 2, 3, 4, 5"], }
    Conn {
        peer_id: u64 [uint64, required, tag = 1],
        addr: String [string, required, tag = 2],
        conn_type: i32 [int32, required, tag = 3],
        network: u32 [uint32, required, tag = 4],
    }
    Ended {
        conn: Conn [message, required, tag = 1],
        time_established: u64 [uint64, required, tag = 2],
    }
    Opened {
        conn: Conn [message, required, tag = 1],
        existing_connections: u64 [uint64, required, tag = 2],
    }
    Misbehaving {
        id: u64 [uint64, required, tag = 1],
        xmessage: String [string, required, tag = 2],
    }
    MempoolEvent { event: Option<Mempool> [oneof = "Mempool", tags = "1, 2, 3, 4"], }
    Added {
        txid: Vec<u8> [bytes, required, tag = 1],
        vsize: i32 [int32, required, tag = 2],
        fee: i64 [int64, required, tag = 3],
    }
    Removed {
        txid: Vec<u8> [bytes, required, tag = 1],
        reason: String [string, required, tag = 2],
        vsize: i32 [int32, required, tag = 3],
        fee: i64 [int64, required, tag = 4],
        entry_time: u64 [uint64, required, tag = 5],
    }
    Rejected {
        txid: Vec<u8> [bytes, required, tag = 1],
        reason: String [string, required, tag = 2],
    }
    Replaced {
        replaced_txid: Vec<u8> [bytes, required, tag = 1],
        replaced_vsize: i32 [int32, required, tag = 2],
        replaced_fee: i64 [int64, required, tag = 3],
        replaced_entry_time: u64 [uint64, required, tag = 4],
        replacement_txid: Vec<u8> [bytes, required, tag = 5],
        replacement_vsize: i32 [int32, required, tag = 6],
        replacement_fee: i64 [int64, required, tag = 7],
        replacement_is_txid: bool [bool, required, tag = 8],
    }
    ValidationEvent { event: Option<Validation> [oneof = "Validation", tags = "1"], }
    BlockConnected {
        hash: Vec<u8> [bytes, required, tag = 1],
        height: i32 [int32, required, tag = 2],
        transactions: i64 [int64, required, tag = 3],
        inputs: i32 [int32, required, tag = 4],
        sigops: i64 [int64, required, tag = 5],
        connection_time: u64 [uint64, required, tag = 6],
    }
}

choices! {
    Connection {
        Closed(Ended) [message, tag = 1],
        InboundEvicted(Ended) [message, tag = 2],
        Inbound(Opened) [message, tag = 3],
        Outbound(Opened) [message, tag = 4],
        Misbehaving(Misbehaving) [message, tag = 5],
    }
    Mempool {
        Added(Added) [message, tag = 1],
        Replaced(Replaced) [message, tag = 2],
        Removed(Removed) [message, tag = 3],
        Rejected(Rejected) [message, tag = 4],
    }
    Validation { BlockConnected(BlockConnected) [message, tag = 1], }
}

// Parts of messages.
messages! {
    Transaction {
        txid: Vec<u8> [bytes, required, tag = 1],
        wtxid: Vec<u8> [bytes, required, tag = 2],
        raw: Option<Vec<u8>> [bytes, optional, tag = 3],
    }
    Header {
        version: i32 [sint32, required, tag = 1],
        prev_blockhash: Vec<u8> [bytes, required, tag = 2],
        merkle_root: Vec<u8> [bytes, required, tag = 3],
        time: u32 [uint32, required, tag = 4],
        bits: u32 [uint32, required, tag = 5],
        nonce: u32 [uint32, required, tag = 6],
        hash: Vec<u8> [bytes, required, tag = 7],
    }
    NetAddress {
        timestamp: u32 [uint32, required, tag = 1],
        address: Option<Address> [oneof = "Address", tags = "2, 3, 4, 5, 6, 7, 8"],
        services: u64 [uint64, required, tag = 9],
        port: u32 [uint32, required, tag = 10],
    }
    UnknownAddress {
        id: u32 [uint32, required, tag = 1],
        address: Vec<u8> [bytes, required, tag = 2],
    }
    InventoryItem { item: Option<Item> [oneof = "Item", tags = "1, 2, 3, 4, 5, 6, 7, 15"], }
    UnknownItem {
        inv_type: u32 [uint32, required, tag = 1],
        hash: Vec<u8> [bytes, required, tag = 2],
    }
    Prefilled {
        diff_index: u32 [uint32, required, tag = 1],
        tx: Transaction [message, required, tag = 2],
    }
}

choices! {
    Address {
        Ipv4(String) [string, tag = 2],
        Ipv6(String) [string, tag = 3],
        Torv2(String) [string, tag = 4],
        Torv3(String) [string, tag = 5],
        I2p(String) [string, tag = 6],
        Cjdns(String) [string, tag = 7],
        Unknown(UnknownAddress) [message, tag = 8],
    }
    Item {
        Transaction(Vec<u8>) [bytes, tag = 1],
        Block(Vec<u8>) [bytes, tag = 2],
        Wtx(Vec<u8>) [bytes, tag = 3],
        WitnessTransaction(Vec<u8>) [bytes, tag = 4],
        WitnessBlock(Vec<u8>) [bytes, tag = 5],
        CompactBlock(Vec<u8>) [bytes, tag = 6],
        Unknown(UnknownItem) [message, tag = 7],
        Error(bool) [bool, tag = 15],
    }
}

// Messages.
messages! {
    MessageEvent {
        meta: Metadata [message, required, tag = 1],
        msg: Option<Msg> [
            oneof = "Msg",
            tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, \
                31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41"
        ],
    }
    Metadata {
        peer_id: u64 [uint64, required, tag = 1],
        addr: String [string, required, tag = 2],
        conn_type: i32 [int32, required, tag = 3],
        command: String [string, required, tag = 4],
        inbound: bool [bool, required, tag = 5],
        size: u64 [uint64, required, tag = 6],
    }
    Nonce { value: u64 [fixed64, required, tag = 1], }
    Inventory { items: Vec<InventoryItem> [message, repeated, tag = 1], }
    Tx { tx: Transaction [message, required, tag = 1], }
    Headers { headers: Vec<Header> [message, repeated, tag = 1], }
    Addresses { addresses: Vec<NetAddress> [message, repeated, tag = 1], }
    Feefilter { fee: i64 [sint64, required, tag = 1], }
    Locator {
        version: u32 [uint32, required, tag = 1],
        locator_hashes: Vec<Vec<u8>> [bytes, repeated, tag = 2],
        stop_hash: Vec<u8> [bytes, required, tag = 3],
    }
    Version {
        version: u32 [uint32, required, tag = 1],
        services: u64 [uint64, required, tag = 2],
        timestamp: i64 [sint64, required, tag = 3],
        receiver: NetAddress [message, required, tag = 4],
        sender: NetAddress [message, required, tag = 5],
        nonce: u64 [uint64, required, tag = 6],
        user_agent: String [string, required, tag = 7],
        start_height: i32 [sint32, required, tag = 8],
        relay: bool [bool, required, tag = 9],
    }
    Compactblock {
        header: Header [message, required, tag = 1],
        nonce: u64 [uint64, required, tag = 2],
        short_ids: Vec<Vec<u8>> [bytes, repeated, tag = 3],
        transactions: Vec<Prefilled> [message, repeated, tag = 4],
    }
    Sendcompact {
        send_compact: bool [bool, required, tag = 1],
        version: u64 [uint64, required, tag = 2],
    }
    Block {
        header: Header [message, required, tag = 1],
        transactions: Vec<Transaction> [message, repeated, tag = 2],
    }
    Getblocktxn {
        block_hash: Vec<u8> [bytes, required, tag = 1],
        tx_indexes: Vec<u64> [uint64, repeated, packed = "false", tag = 2],
    }
    Blocktxn {
        block_hash: Vec<u8> [bytes, required, tag = 1],
        transactions: Vec<Transaction> [message, repeated, tag = 2],
    }
    Reject {
        rejected_command: String [string, required, tag = 1],
        reason: i32 [int32, required, tag = 2],
        reason_details: String [string, required, tag = 3],
        hash: Vec<u8> [bytes, required, tag = 4],
    }
    Merkleblock {
        header: Header [message, required, tag = 1],
        num_transactions: u32 [uint32, required, tag = 2],
        bits: Vec<bool> [bool, repeated, packed = "false", tag = 3],
        hashes: Vec<Vec<u8>> [bytes, repeated, tag = 4],
    }
    Alert { alert: Vec<u8> [bytes, required, tag = 1], }
    Filteradd { filter: Vec<u8> [bytes, required, tag = 1], }
    Filterload {
        filter: Vec<u8> [bytes, required, tag = 1],
        hash_funcs: u32 [uint32, required, tag = 2],
        tweak: u32 [uint32, required, tag = 3],
        flags: i32 [int32, required, tag = 4],
    }
    Getcfcheckpt {
        filter_type: u32 [uint32, required, tag = 1],
        stop_hash: Vec<u8> [bytes, required, tag = 2],
    }
    Cfcheckpt {
        filter_type: u32 [uint32, required, tag = 1],
        stop_hash: Vec<u8> [bytes, required, tag = 2],
        filter_headers: Vec<Vec<u8>> [bytes, repeated, tag = 3],
    }
    Getcf {
        filter_type: u32 [uint32, required, tag = 1],
        start_height: u32 [uint32, required, tag = 2],
        stop_hash: Vec<u8> [bytes, required, tag = 3],
    }
    Cfheaders {
        filter_type: u32 [uint32, required, tag = 1],
        stop_hash: Vec<u8> [bytes, required, tag = 2],
        previous_filter_header: Vec<u8> [bytes, required, tag = 3],
        filter_hashes: Vec<Vec<u8>> [bytes, repeated, tag = 4],
    }
    Cfilter {
        filter_type: u32 [uint32, required, tag = 1],
        block_hash: Vec<u8> [bytes, required, tag = 2],
        filter: Vec<u8> [bytes, required, tag = 3],
    }
    Unknown {
        command: String [string, required, tag = 1],
        payload: Vec<u8> [bytes, required, tag = 2],
    }
}

choices! {
    Msg {
        Ping(Nonce) [message, tag = 2],
        Pong(Nonce) [message, tag = 3],
        Inv(Inventory) [message, tag = 4],
        Getdata(Inventory) [message, tag = 5],
        Tx(Tx) [message, tag = 6],
        Headers(Headers) [message, tag = 7],
        Addr(Addresses) [message, tag = 8],
        Addrv2(Addresses) [message, tag = 9],
        Feefilter(Feefilter) [message, tag = 10],
        Getheaders(Locator) [message, tag = 11],
        Getblocks(Locator) [message, tag = 12],
        Version(Version) [message, tag = 13],
        Notfound(Inventory) [message, tag = 14],
        Compactblock(Compactblock) [message, tag = 16],
        Sendcompact(Sendcompact) [message, tag = 17],
        Block(Block) [message, tag = 18],
        Getblocktxn(Getblocktxn) [message, tag = 19],
        Blocktxn(Blocktxn) [message, tag = 20],
        Alert(Alert) [message, tag = 21],
        Filteradd(Filteradd) [message, tag = 22],
        Filterload(Filterload) [message, tag = 23],
        Getcfcheckpt(Getcfcheckpt) [message, tag = 24],
        Cfheaders(Cfheaders) [message, tag = 25],
        Cfilter(Cfilter) [message, tag = 26],
        Cfcheckpt(Cfcheckpt) [message, tag = 27],
        Getcfheaders(Getcf) [message, tag = 28],
        Getcfilter(Getcf) [message, tag = 29],
        Merkleblock(Merkleblock) [message, tag = 30],
        Unknown(Unknown) [message, tag = 31],
        Verack(bool) [bool, tag = 32],
        Sendheaders(bool) [bool, tag = 33],
        Getaddr(bool) [bool, tag = 34],
        Mempool(bool) [bool, tag = 35],
        Wtxidrelay(bool) [bool, tag = 36],
        Sendaddrv2(bool) [bool, tag = 37],
        Filterclear(bool) [bool, tag = 38],
        Reject(Reject) [message, tag = 39],
        Emptyaddrv2(bool) [bool, tag = 40],
        Oldping(bool) [bool, tag = 41],
    }
}
