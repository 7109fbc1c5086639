//! Taps the USDT tracepoints of a running Bitcoin Core with eBPF.
//!
//! An event goes one way:
//!
//! ```text
//! bitcoind       bpf/               tap               event, p2p      sinks
//! tracepoint ─►  one program for ─► attach, drain, ─► typed Event, ─► metrics and http,
//! (uprobe)       each tracepoint    account losses    decoded         json and output
//! ```
//!
//! [`tap`] is the only module that knows libbpf; decoding is pure; a sink sees only events, and none makes the node or
//! another sink wait. [`process`] and [`probes`] find the node and what it can tell.

#![warn(missing_docs)]

pub mod doctor;
mod error;
pub mod event;
mod files;
pub mod http;
pub mod json;
pub mod metrics;
pub mod network;
pub mod networks;
pub mod output;
pub mod p2p;
pub mod pcap;
pub mod privileges;
pub mod probes;
pub mod process;
mod record;
pub mod recording;
pub mod selection;
pub mod tap;
pub mod tracepoint;

pub use error::Error;
