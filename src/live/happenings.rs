//! What happened last. In: connections, blocks, rejections and replacements. Out: the newest of each.

use std::collections::VecDeque;

use serde::Serialize;

use super::seconds;
use crate::{
    event::{Time, net::Conn},
    network::Network,
};

/// How many are kept of each list: connections, blocks, mempool.
const CONNECTIONS: usize = 100;
const BLOCKS: usize = 20;
const MEMPOOL: usize = 50;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Happening {
    /// A number that rises by one with each happening of any kind.
    pub number: u64,
    /// UNIX time in seconds.
    pub time: f64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
}

/// What happened. Texts that peers choose may be any text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Happened {
    NodeAttached {
        pid: i32,
    },
    NodeDetached {
        why: &'static str,
    },
    Opened {
        #[serde(flatten)]
        connection: ConnectionRow,
    },
    Closed {
        #[serde(flatten)]
        connection: ConnectionRow,
        /// Seconds.
        lasted: u64,
        user_agent: Option<String>,
    },
    Evicted {
        #[serde(flatten)]
        connection: ConnectionRow,
        /// Seconds.
        lasted: u64,
    },
    Misbehaving {
        id: i64,
        address: Option<String>,
        reason: String,
    },
    BlockConnected {
        height: i64,
        hash: String,
        transactions: u64,
        connection_seconds: f64,
    },
    Replaced {
        txid: String,
        /// Satoshis.
        fee: i64,
        replacement: String,
        /// Satoshis.
        replacement_fee: i64,
    },
    Rejected {
        txid: String,
        reason: String,
    },
}

/// The connection that it happened to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConnectionRow {
    /// The node's number of the peer.
    pub id: i64,
    /// Address and port as the node writes them; `None` if addresses are hidden.
    pub address: Option<String>,
    /// Bitcoin Core's name.
    pub connection_type: &'static str,
    /// Bitcoin Core's name.
    pub network: &'static str,
}

impl ConnectionRow {
    pub(super) fn of(conn: &Conn<'_>) -> Self {
        Self {
            id: conn.peer_id,
            address: Some(conn.addr.as_ref().to_owned()),
            connection_type: conn.conn_type.name(),
            network: Network::from_number(conn.network).name(),
        }
    }
}

impl Happened {
    fn address_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            Happened::Opened { connection }
            | Happened::Closed { connection, .. }
            | Happened::Evicted { connection, .. } => Some(&mut connection.address),
            Happened::Misbehaving { address, .. } => Some(address),
            Happened::NodeAttached { .. }
            | Happened::NodeDetached { .. }
            | Happened::BlockConnected { .. }
            | Happened::Replaced { .. }
            | Happened::Rejected { .. } => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Happenings {
    numbered: u64,
    connections: VecDeque<Happening>,
    blocks: VecDeque<Happening>,
    mempool: VecDeque<Happening>,
}

impl Happenings {
    pub(super) fn connection(&mut self, time: Time, what: Happened) {
        let happening = self.numbered(time, what);
        keep(&mut self.connections, CONNECTIONS, happening);
    }

    pub(super) fn block(&mut self, time: Time, what: Happened) {
        let happening = self.numbered(time, what);
        keep(&mut self.blocks, BLOCKS, happening);
    }

    pub(super) fn mempool(&mut self, time: Time, what: Happened) {
        let happening = self.numbered(time, what);
        keep(&mut self.mempool, MEMPOOL, happening);
    }

    /// The lists of connections, blocks and the mempool.
    pub(super) fn newest_first(&self, hides_addresses: bool) -> [Vec<Happening>; 3] {
        [&self.connections, &self.blocks, &self.mempool].map(|kept| {
            let shown = kept.iter().rev().cloned().map(|mut happening| {
                if hides_addresses && let Some(address) = happening.what.address_mut() {
                    *address = None;
                }
                happening
            });
            shown.collect()
        })
    }

    fn numbered(&mut self, time: Time, what: Happened) -> Happening {
        self.numbered += 1;
        Happening { number: self.numbered, time: seconds(time), what }
    }
}

fn keep(kept: &mut VecDeque<Happening>, most: usize, happening: Happening) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(happening);
}

/// Whole seconds from `time_established` to `time`. 0 if the clock was set back.
pub(super) fn lasted(time: Time, time_established: u64) -> u64 {
    (time.0 / 1_000_000_000).saturating_sub(time_established)
}
