//! The trace: a line of JSON for each event, as ground truth for what others say of events. In: an event and the call
//! that fires it. Out: when it fired, and what it is about.
//!
//! ```text
//! {"tracepoint":"net:inbound_message","before":N,"after":N,"peer":7,"address":"127.0.0.1:40000",
//!  "connection_type":"inbound","network":"onion","direction":"inbound","command":"ping","size":8}
//! ```
//!
//! `before` and `after` are UNIX nanoseconds right before and after the call. Messages have all of the others,
//! connections all except `command` and `size`. Misbehaviour has only `peer`, since its tracepoint has nothing else,
//! and events of no peer have none. `network` is the peer's, which the tracepoints of messages do not carry. If contents are
//! wanted, messages also have `payload`, in hex, and events of the mempool, of blocks and of coins have `hashes`, as explorers show them.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use bitcoin::hex::DisplayHex;
use serde::{Serialize, Serializer};

use crate::{
    names::{Command, Direction, Tracepoint},
    peers::Peer,
};

/// Writes a line for each event to a file.
pub struct Trace {
    file: Mutex<BufWriter<File>>,
    has_contents: bool,
}

impl Trace {
    /// Writes to a new file at `path`, also what events contain if that is wanted.
    pub fn create(path: &Path, has_contents: bool) -> io::Result<Self> {
        Ok(Self { file: Mutex::new(BufWriter::new(File::create(path)?)), has_contents })
    }

    pub(super) fn around(&self, tracepoint: Tracepoint, about: About<'_>, call: impl FnOnce()) {
        let about = if self.has_contents { about } else { about.without_contents() };
        let before = unix_nanoseconds();
        call();
        let after = unix_nanoseconds();
        let line = Line { tracepoint: tracepoint.name(), before, after, about }.to_json();
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A failed write fails again when the rest is flushed, and is reported then.
        let _ = writeln!(file, "{line}");
    }

    /// Writes out what is left.
    pub fn finish(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).flush()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    tracepoint: &'static str,
    before: u128,
    after: u128,
    #[serde(flatten)]
    about: About<'a>,
}

impl Line<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }
}

/// What an event is about.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum About<'a> {
    Message {
        #[serde(flatten)]
        peer: PeerAttributes<'a>,
        direction: &'static str,
        command: &'static str,
        size: usize,
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hex")]
        payload: Option<&'a [u8]>,
    },
    Connection {
        #[serde(flatten)]
        peer: PeerAttributes<'a>,
        /// Who opened it.
        direction: &'static str,
    },
    Misbehaviour {
        peer: i64,
    },
    NoPeer {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hashes: Vec<String>,
    },
}

fn hex<S: Serializer>(bytes: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.map(|bytes| bytes.to_lower_hex_string()).serialize(serializer)
}

#[derive(Serialize)]
pub(super) struct PeerAttributes<'a> {
    peer: i64,
    address: &'a str,
    connection_type: &'static str,
    network: &'static str,
}

impl<'a> About<'a> {
    pub(super) fn message(direction: Direction, peer: &'a Peer, command: Command, payload: &'a [u8]) -> Self {
        let (size, payload) = (payload.len(), Some(payload));
        Self::Message { peer: peer.into(), direction: direction.name(), command: command.name(), size, payload }
    }

    pub(super) fn hashes(hashes: &[&[u8; 32]]) -> Self {
        let shown = |hash: &&[u8; 32]| {
            let mut reversed = **hash;
            reversed.reverse();
            reversed.to_lower_hex_string()
        };
        Self::NoPeer { hashes: hashes.iter().map(shown).collect() }
    }

    fn without_contents(self) -> Self {
        match self {
            Self::Message { peer, direction, command, size, payload: _ } => {
                Self::Message { peer, direction, command, size, payload: None }
            }
            Self::NoPeer { hashes: _ } => Self::NoPeer { hashes: Vec::new() },
            Self::Connection { .. } | Self::Misbehaviour { .. } => self,
        }
    }

    pub(super) fn connection(peer: &'a Peer) -> Self {
        Self::Connection { peer: peer.into(), direction: peer.connection_type.direction().name() }
    }

    pub(super) fn misbehaviour(peer: &Peer) -> Self {
        Self::Misbehaviour { peer: peer.id }
    }
}

impl<'a> From<&'a Peer> for PeerAttributes<'a> {
    fn from(peer: &'a Peer) -> Self {
        Self {
            peer: peer.id,
            address: peer.address.to_str().expect("addresses are ASCII"),
            connection_type: peer.connection_type.name(),
            network: peer.network.name(),
        }
    }
}

fn unix_nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_what_it_is_about_and_nothing_else() {
        let line = |about| Line { tracepoint: "net:inbound_message", before: 1, after: 2, about }.to_json();
        let start = r#"{"tracepoint":"net:inbound_message","before":1,"after":2"#;
        let attributes = || PeerAttributes {
            peer: 7,
            address: "[fc00::1]:8333",
            connection_type: "outbound-full-relay",
            network: "cjdns",
        };
        let peer = r#""peer":7,"address":"[fc00::1]:8333","connection_type":"outbound-full-relay","network":"cjdns""#;
        let ping = |payload| {
            line(About::Message { peer: attributes(), direction: "inbound", command: "ping", size: 2, payload })
        };
        let message = format!(r#"{start},{peer},"direction":"inbound","command":"ping","size":2"#);
        assert_eq!(ping(None), format!("{message}}}"));
        assert_eq!(ping(Some(&[1, 0xff])), format!(r#"{message},"payload":"01ff"}}"#));
        assert_eq!(
            line(About::Connection { peer: attributes(), direction: "outbound" }),
            format!(r#"{start},{peer},"direction":"outbound"}}"#)
        );
        assert_eq!(line(About::Misbehaviour { peer: 7 }), format!(r#"{start},"peer":7}}"#));
        let mut hash = [0; 32];
        hash[0] = 0xab;
        let hashes = || About::hashes(&[&hash]);
        assert_eq!(line(hashes()), format!(r#"{start},"hashes":["{}ab"]}}"#, "00".repeat(31)));
        assert_eq!(line(hashes().without_contents()), format!("{start}}}"));
    }
}
