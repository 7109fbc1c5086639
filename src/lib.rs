//! Taps the USDT tracepoints of a running Bitcoin Core with eBPF.
//!
//! An event goes one way:
//!
//! ```text
//! bitcoind       bpf/               tap               event, p2p      output
//! tracepoint ─►  one program for ─► attach, drain, ─► typed Event, ─► metrics, http, live,
//! (uprobe)       each tracepoint    account losses    decoded         spool, recording
//! ```
//!
//! [`tap`] is the only module that knows libbpf. Decoding is pure. An output sees only events, and never makes the node
//! or another output wait. [`capture`] has what flows: batches, runs and counters. [`process`] and [`probes`] find the
//! node and its tracepoints.
//!
//! # Events
//!
//! [`Tap::builder`](tap::Tap::builder) attaches. [`Tap::events`](tap::Tap::events) is a blocking iterator over the events,
//! and [`Tap::stream`](tap::Tap::stream) an asynchronous stream that works with any executor. Dropping them detaches.
//!
//! ```no_run
//! use bitcointap::{
//!     event::Kind,
//!     selection::{Condition, Selection},
//!     tap::Tap,
//! };
//!
//! // The kernel side copies nothing else out of the node.
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
//! For many events a second, [`Tap::wait`](tap::Tap::wait) and [`Tap::drain`](tap::Tap::drain) give them in batches, which
//! borrow instead of allocating. [`follow`] taps one run of a node after another, and gives what it drains to any number of
//! [outputs](output), yours too.
//!
//! # Requirements
//!
//! Linux 6.1; `CAP_BPF` and `CAP_PERFMON` to attach, and `CAP_SYS_PTRACE` for a node of another user. After attaching none
//! of them is needed: [`privileges`] drops them. Reading a [`recording`], decoding ([`p2p`]) and everything else need none.
//! An [`Error`] says in one line what failed, and what to do.
//!
//! # Features
//!
//! `cli`, the default, is for the program. Users of the library need no feature. `metrics` adds the Prometheus families,
//! and `http` the server for them, which brings tokio. `nats` adds the encoder of what peer-observer's tools read.
//!
//! Types that Bitcoin Core may extend, such as tracepoints, messages and connection types, are `#[non_exhaustive]`. Messages
//! contain types of [`bitcoin`].

#![warn(missing_docs)]

pub mod address_set;
pub mod archive;
#[cfg(feature = "metrics")]
mod best_chain;
pub mod capture;
#[cfg(feature = "metrics")]
mod connected;
pub mod doctor;
pub mod event;
mod files;
#[cfg(feature = "http")]
pub mod flight_recorder;
pub mod follow;
#[cfg(any(fuzzing, all(test, feature = "http", feature = "nats")))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
pub mod http;
pub mod json;
mod kernel_side;
#[cfg(feature = "http")]
pub mod live;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "nats")]
pub mod nats;
pub mod network;
mod node;
pub mod output;
pub mod p2p;
pub mod pcap;
#[cfg(feature = "nats")]
pub mod peer_observer;
pub mod privileges;
pub mod recording;
pub mod redact;
pub mod selection;
pub mod spool;
pub mod stop;
mod system;
#[cfg(feature = "metrics")]
mod table;
pub mod tap;
pub mod tracepoint;
pub mod units;

pub use bitcoin;
pub use node::{error::Error, probes, process};
