//! A table of tracepoints that records instead of firing.

use std::{
    cell::RefCell,
    ffi::{CStr, c_char},
    slice,
    sync::{Arc, atomic::AtomicBool},
};

use simnode::{Clock, Emitter, Layout, Limits, Options, Probes, Rate, Report};

use crate::table;

/// The arguments of a tracepoint that tests look at, or the name of another.
#[derive(Clone, Debug, PartialEq)]
#[allow(dead_code)]
pub enum Event {
    Message { inbound: bool, id: i64, address: String, connection_type: String, command: String, payload: Vec<u8> },
    Opened { inbound: bool, id: i64, address: String, connection_type: String, network: u32, existing: usize },
    Closed { id: i64, address: String, connection_type: String, network: u32, established: i64 },
    Evicted { id: i64 },
    Misbehaving { id: i64, reason: String },
    Block { hash: [u8; 32], height: i32, transactions: u64, inputs: i32, sigops: i64, duration: i64 },
    Flush { microseconds: i64, mode: u32, coins: u64, bytes: u64, for_prune: bool },
    Coin { kind: &'static str, txid: [u8; 32], output: u32, height: u32, value: i64, coinbase: bool },
    Added { txid: [u8; 32], vsize: i32, fee: i64 },
    Removed { txid: [u8; 32], reason: String, vsize: i32, fee: i64, entered: u64 },
    Replaced { txid: [u8; 32], by: [u8; 32], by_fee: i64, is_txid: bool },
    Rejected { txid: [u8; 32], reason: String },
    Other { tracepoint: &'static str },
}

thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

pub fn record(event: Event) {
    EVENTS.with_borrow_mut(|events| events.push(event));
}

unsafe fn text(text: *const c_char) -> String {
    // SAFETY: the emitter passes texts that end with a zero byte.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

unsafe fn id(bytes: *const u8) -> [u8; 32] {
    // SAFETY: the emitter passes ids of 32 bytes.
    unsafe { slice::from_raw_parts(bytes, 32) }.try_into().unwrap()
}

macro_rules! message {
    ($name:ident, $inbound:literal) => {
        unsafe extern "C" fn $name(
            id: i64,
            address: *const c_char,
            connection_type: *const c_char,
            command: *const c_char,
            size: usize,
            payload: *const u8,
        ) {
            assert_eq!(payload.is_null(), size == 0);
            // SAFETY: the emitter passes texts that end with a zero byte, and a payload of `size` bytes.
            let event = unsafe {
                Event::Message {
                    inbound: $inbound,
                    id,
                    address: text(address),
                    connection_type: text(connection_type),
                    command: text(command),
                    payload: if size == 0 { Vec::new() } else { slice::from_raw_parts(payload, size).to_vec() },
                }
            };
            record(event);
        }
    };
}
message!(inbound_message, true);
message!(outbound_message, false);

macro_rules! opened {
    ($name:ident, $inbound:literal) => {
        unsafe extern "C" fn $name(
            id: i64,
            address: *const c_char,
            connection_type: *const c_char,
            network: u32,
            existing: usize,
        ) {
            // SAFETY: the emitter passes texts that end with a zero byte.
            let (address, connection_type) = unsafe { (text(address), text(connection_type)) };
            record(Event::Opened { inbound: $inbound, id, address, connection_type, network, existing });
        }
    };
}
opened!(inbound_connection, true);
opened!(outbound_connection, false);

unsafe extern "C" fn closed(
    id: i64,
    address: *const c_char,
    connection_type: *const c_char,
    network: u32,
    established: i64,
) {
    // SAFETY: the emitter passes texts that end with a zero byte.
    let (address, connection_type) = unsafe { (text(address), text(connection_type)) };
    record(Event::Closed { id, address, connection_type, network, established });
}

unsafe extern "C" fn evicted(id: i64, _: *const c_char, _: *const c_char, _: u32, _: i64) {
    record(Event::Evicted { id });
}

unsafe extern "C" fn misbehaving(id: i64, _: i32, _: i32, reason: *const c_char, _: bool) {
    // SAFETY: the emitter passes texts that end with a zero byte.
    record(Event::Misbehaving { id, reason: unsafe { text(reason) } });
}

unsafe extern "C" fn block_connected(
    hash: *const u8,
    height: i32,
    transactions: u64,
    inputs: i32,
    sigops: i64,
    duration: i64,
) {
    // SAFETY: the emitter passes ids of 32 bytes.
    let hash = unsafe { id(hash) };
    record(Event::Block { hash, height, transactions, inputs, sigops, duration });
}

unsafe extern "C" fn flush(microseconds: i64, mode: u32, coins: u64, bytes: u64, for_prune: bool) {
    record(Event::Flush { microseconds, mode, coins, bytes, for_prune });
}

macro_rules! coin {
    ($name:ident, $kind:literal) => {
        unsafe extern "C" fn $name(txid: *const u8, output: u32, height: u32, value: i64, coinbase: bool) {
            // SAFETY: the emitter passes ids of 32 bytes.
            let txid = unsafe { id(txid) };
            record(Event::Coin { kind: $kind, txid, output, height, value, coinbase });
        }
    };
}
coin!(add, "add");
coin!(spent, "spent");
coin!(uncache, "uncache");

unsafe extern "C" fn mempool_added(txid: *const u8, vsize: i32, fee: i64) {
    // SAFETY: the emitter passes ids of 32 bytes.
    record(Event::Added { txid: unsafe { id(txid) }, vsize, fee });
}

unsafe extern "C" fn mempool_removed(txid: *const u8, reason: *const c_char, vsize: i32, fee: i64, entered: u64) {
    // SAFETY: the emitter passes ids of 32 bytes and texts that end with a zero byte.
    let (txid, reason) = unsafe { (id(txid), text(reason)) };
    record(Event::Removed { txid, reason, vsize, fee, entered });
}

unsafe extern "C" fn mempool_replaced(
    txid: *const u8,
    _: i32,
    _: i64,
    _: u64,
    by: *const u8,
    _: i32,
    by_fee: i64,
    is_txid: bool,
) {
    // SAFETY: the emitter passes ids of 32 bytes.
    let (txid, by) = unsafe { (id(txid), id(by)) };
    record(Event::Replaced { txid, by, by_fee, is_txid });
}

unsafe extern "C" fn mempool_rejected(txid: *const u8, reason: *const c_char) {
    // SAFETY: the emitter passes ids of 32 bytes and texts that end with a zero byte.
    let (txid, reason) = unsafe { (id(txid), text(reason)) };
    record(Event::Rejected { txid, reason });
}

/// A table that records, with all tracepoints of v31.
pub fn probes() -> Probes {
    Probes {
        inbound_message: Some(inbound_message),
        outbound_message: Some(outbound_message),
        inbound_connection: Some(inbound_connection),
        outbound_connection: Some(outbound_connection),
        evicted_inbound_connection: Some(evicted),
        closed_connection: Some(closed),
        misbehaving_connection: Some(misbehaving),
        block_connected: Some(block_connected),
        utxocache_flush: Some(flush),
        utxocache_add: Some(add),
        utxocache_spent: Some(spent),
        utxocache_uncache: Some(uncache),
        mempool_added: Some(mempool_added),
        mempool_removed: Some(mempool_removed),
        mempool_replaced: Some(mempool_replaced),
        mempool_rejected: Some(mempool_rejected),
        ..table::probes()
    }
}

/// Plays `scenario` for `count` events from `seed`. Returns the events and the report.
pub fn play(scenario: &str, seed: u64, count: u64) -> (Vec<Event>, Report) {
    let seed = seed.to_string();
    let arguments = ["simnode", "--scenario", scenario, "--seed", &seed, "--rate", "max"];
    let options = Options::parse_and_check(arguments).unwrap();
    let limits = Limits { rate: Rate::Max, count: Some(count), duration: None, stop: Arc::new(AtomicBool::new(false)) };
    let probes = probes();
    let mut emitter = Emitter::new(&probes, limits, Clock::Fixed(1_750_000_000), None);
    simnode::play(&options, Layout::V31, 0, &mut emitter, || {});
    let tally = emitter.into_tally();
    let events = EVENTS.with_borrow_mut(std::mem::take);
    (events, tally.report("v31", options.scenario.name(), options.seed, 0.0))
}
