//! The Rust side of the table of tracepoints in `probes.c`. Nothing here calls them; that is [`crate::Emitter`]'s.

use std::ffi::{c_char, c_uchar};

type Bytes = *const c_uchar;
type Text = *const c_char;

/// id, address, connection type, command, size, payload.
pub(crate) type Message = unsafe extern "C" fn(i64, Text, Text, Text, usize, Bytes);
/// id, address, connection type, network, connections of this direction.
pub(crate) type Opened = unsafe extern "C" fn(i64, Text, Text, u32, usize);
/// id, address, connection type, network, time established in UNIX seconds.
pub(crate) type Ended = unsafe extern "C" fn(i64, Text, Text, u32, i64);
/// txid, output, height, value in satoshis, coinbase.
pub(crate) type Coin = unsafe extern "C" fn(Bytes, u32, u32, i64, bool);

/// One function for each tracepoint, [`None`] where the layout lacks it: `struct probes` of `probes.c`.
///
/// Pointers must be valid for reading during the call; texts end with a zero byte.
#[repr(C)]
#[allow(missing_docs)]
pub struct Probes {
    /// The value of `LAYOUT`, for example 31.
    pub layout: i32,
    pub inbound_message: Option<Message>,
    pub outbound_message: Option<Message>,
    pub inbound_connection: Option<Opened>,
    pub outbound_connection: Option<Opened>,
    pub evicted_inbound_connection: Option<Ended>,
    pub closed_connection: Option<Ended>,
    /// id, score before, score increase, reason, threshold exceeded.
    pub misbehaving_connection: Option<unsafe extern "C" fn(i64, i32, i32, Text, bool)>,
    /// hash, height, transactions, inputs, sigops, nanoseconds.
    pub block_connected: Option<unsafe extern "C" fn(Bytes, i32, u64, i32, i64, i64)>,
    /// microseconds, mode, coins, bytes, for prune.
    pub utxocache_flush: Option<unsafe extern "C" fn(i64, u32, u64, u64, bool)>,
    pub utxocache_add: Option<Coin>,
    pub utxocache_spent: Option<Coin>,
    pub utxocache_uncache: Option<Coin>,
    /// wallet, algorithm, target, waste, selected.
    pub selected_coins: Option<unsafe extern "C" fn(Text, Text, i64, i64, i64)>,
    /// wallet, success, fee, change position.
    pub normal_create_tx: Option<unsafe extern "C" fn(Text, bool, i64, i32)>,
    /// wallet.
    pub attempting_aps: Option<unsafe extern "C" fn(Text)>,
    /// wallet, used, success, fee, change position.
    pub aps_create_tx: Option<unsafe extern "C" fn(Text, bool, bool, i64, i32)>,
    /// txid, vbytes, fee.
    pub mempool_added: Option<unsafe extern "C" fn(Bytes, i32, i64)>,
    /// txid, reason, vbytes, fee, entry time in UNIX seconds.
    pub mempool_removed: Option<unsafe extern "C" fn(Bytes, Text, i32, i64, u64)>,
    /// txid, vbytes, fee, entry time, new id, its vbytes, its fee, whether the new id is a txid.
    pub mempool_replaced: Option<unsafe extern "C" fn(Bytes, i32, i64, u64, Bytes, i32, i64, bool)>,
    /// txid, reason.
    pub mempool_rejected: Option<unsafe extern "C" fn(Bytes, Text)>,
}
