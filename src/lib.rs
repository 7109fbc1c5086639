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
//! another sink wait. [`capture`] is what flows: batches, runs, counters. [`process`] and [`probes`] find the node and what it can tell.
//!
//! # Events
//!
//! [`Tap::builder`](tap::Tap::builder) attaches; [`Tap::events`](tap::Tap::events) is a blocking iterator over what happens
//! then, [`Tap::stream`](tap::Tap::stream) an asynchronous stream that needs no certain executor. Dropped, they detach.
//!
//! ```no_run
//! use bitcointap::{
//!     event::Kind,
//!     selection::{Condition, Selection},
//!     tap::Tap,
//! };
//!
//! // Nothing else is copied out of the node.
//! let announcements = Selection::default().only(Condition::Command("inv".into()));
//! for captured in Tap::builder().selection(announcements).attach()?.events() {
//!     let captured = captured?;
//!     let event = captured.event();
//!     match &event.kind {
//!         Kind::Msg(message) => println!("{} {} {:?}", event.time.0, message.meta.addr, message.msg),
//!         // Nothing is lost silently.
//!         Kind::Lost(lost) => eprintln!("{} events of {} are missing", lost.count, lost.tracepoint),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), bitcointap::Error>(())
//! ```
//!
//! Where many events a second matter, [`Tap::wait`](tap::Tap::wait) and [`Tap::drain`](tap::Tap::drain) give them in batches,
//! which borrow instead of allocating.
//!
//! # What it takes
//!
//! Linux 6.1; `CAP_BPF` and `CAP_PERFMON` to attach, and `CAP_SYS_PTRACE` for a node of another user. Once attached none of
//! them is needed: [`privileges`] drops them. Reading a [`recording`], decoding ([`p2p`]) and all else take none. An [`Error`]
//! says in one line what failed, and what to do.
//!
//! # Features
//!
//! `cli`, the default, is for the program. A library needs none; `metrics` adds the Prometheus families, `http` the server
//! for them, which brings tokio.
//!
//! What Bitcoin Core may add to, such as tracepoints, messages and connection types, is `#[non_exhaustive]`. Types of
//! [`bitcoin`] appear in messages.

#![warn(missing_docs)]

#[cfg(feature = "metrics")]
mod best_chain;
pub mod capture;
#[cfg(feature = "metrics")]
mod commands;
#[cfg(feature = "metrics")]
mod connected;
pub mod doctor;
mod error;
pub mod event;
mod files;
pub mod follow;
#[cfg(any(fuzzing, all(test, feature = "http")))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
pub mod http;
pub mod json;
#[cfg(feature = "http")]
pub mod live;
mod memory;
#[cfg(feature = "metrics")]
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
pub mod spool;
pub mod stop;
#[cfg(feature = "metrics")]
mod table;
pub mod tap;
pub mod tracepoint;
pub mod units;

pub use bitcoin;
pub use error::Error;
