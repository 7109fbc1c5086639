//! A row of the story. In: an event, and what is followed. Out: what the event says of it.

use std::time::Duration;

use bitcointap::{
    event::{
        Event, Kind,
        mempool::Mempool,
        names::{Named, Role},
        net,
        validation::Validation,
    },
    json::Hash,
    p2p,
    selection::Followed,
};
use serde::{Serialize, Serializer};

/// What an event says of what is followed.
#[derive(Debug, Serialize)]
pub struct Row<'a> {
    pub timestamp: u64,
    pub timestamp_subsec_micros: u32,
    /// The number of the run, from 1. Each run counts its peers from 0.
    pub run: u64,
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub since_first: Option<Duration>,
    pub tracepoint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'a str>,
    pub what: What,
    #[serde(flatten)]
    pub details: Details<'a>,
}

/// The peer that sent or got a message. Names are Bitcoin Core's.
#[derive(Debug, Serialize)]
pub struct Peer<'a> {
    pub id: i64,
    pub address: &'a str,
    pub connection_type: &'static str,
    pub direction: &'static str,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Announced,
    Requested,
    NotFound,
    Sent,
    SentAsHeader,
    SentAsCompactBlock,
    TransactionsRequested,
    TransactionsSent,
    InBlock,
    InBlockByShortId,
    InLocator,
    AsLastBlock,
    FilterSent,
    Refused,
    Added,
    Removed,
    Rejected,
    Replaced,
    Replaces,
    Connected,
    /// Events are missing here, which may have named it.
    Lost,
}

/// More of it, as far as the event says it.
#[derive(Debug, Default, Serialize)]
pub struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hash")]
    pub txid: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hash")]
    pub wtxid: Option<Hash>,
    /// The block that it is in.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hash")]
    pub block: Option<Hash>,
    /// What replaces it, or what it replaces.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hash")]
    pub other: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsize: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

fn hash<S: Serializer>(hash: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
    hash.map(|hash| hash.to_string()).serialize(serializer)
}

fn seconds<S: Serializer>(since: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    since.map(|since| since.as_secs_f64()).serialize(serializer)
}

/// How an event names what is followed.
#[derive(Clone, Copy)]
struct Found {
    role: Role,
    /// Both hashes of a whole transaction.
    ids: Option<(Hash, Hash)>,
    by_short_id: bool,
}

impl<'a> Row<'a> {
    /// `None` if the event does not name it.
    pub fn of(event: &'a Event<'a>, followed: &mut Followed) -> Option<Self> {
        let mut found = None;
        event.names(|name| {
            // The last one may tell another hash, too.
            if followed.is(&name) && found.is_none() {
                let (ids, by_short_id) = match name.named {
                    Named::Transaction { txid, wtxid } => (Some((txid, wtxid)), false),
                    Named::ShortIds(_) => (None, true),
                    _ => (None, false),
                };
                found = Some(Found { role: name.role, ids, by_short_id });
            }
        });
        let (tracepoint, peer, command, what, mut details) = match &event.kind {
            Kind::Msg(message) => {
                let (what, details) = of_message(&message.msg, &found?)?;
                let direction = if message.meta.inbound { "inbound" } else { "outbound" };
                let tracepoint = if message.meta.inbound { "net:inbound_message" } else { "net:outbound_message" };
                let net::Meta { peer_id, addr, conn_type, command, .. } = &message.meta;
                let peer = Peer { id: *peer_id, address: addr, connection_type: conn_type.name(), direction };
                (tracepoint, Some(peer), Some(*command), what, details)
            }
            Kind::Mempool { event } => {
                let (tracepoint, what, details) = of_mempool(event, &found?)?;
                (tracepoint, None, None, what, details)
            }
            Kind::Validation { event: Validation::BlockConnected { height, transactions, .. } } => {
                found?;
                let details =
                    Details { height: Some(*height), transactions: Some(*transactions), ..Details::default() };
                ("validation:block_connected", None, None, What::Connected, details)
            }
            Kind::Lost(lost) => {
                let (reason, count) = (Some(lost.reason.name()), Some(lost.count));
                (lost.tracepoint.name(), None, None, What::Lost, Details { reason, count, ..Details::default() })
            }
            // `trace` does not attach to others.
            _ => return None,
        };
        if let Some(Found { ids: Some((txid, wtxid)), .. }) = found {
            (details.txid, details.wtxid) = (Some(txid), Some(wtxid));
        }
        if let Some(Found { role: Role::Within(block), .. }) = found {
            details.block = Some(block);
        }
        let (timestamp, nanoseconds) = (event.time.0 / 1_000_000_000, event.time.0 % 1_000_000_000);
        let timestamp_subsec_micros = (nanoseconds / 1_000) as u32;
        let (run, since_first) = (0, None);
        Some(Self { timestamp, timestamp_subsec_micros, run, since_first, tracepoint, peer, command, what, details })
    }

    /// Whether it stands for events that are missing.
    pub fn is_gap(&self) -> bool {
        self.what == What::Lost
    }
}

fn of_message<'a>(message: &'a p2p::Message<'_>, found: &Found) -> Option<(What, Details<'a>)> {
    use p2p::Message;
    let what = match (message, found.role) {
        (_, Role::Within(_)) if found.by_short_id => What::InBlockByShortId,
        (_, Role::Within(_)) => What::InBlock,
        (_, Role::Locator) => What::InLocator,
        (_, Role::Stop) => What::AsLastBlock,
        (Message::Inv { .. }, _) => What::Announced,
        (Message::Getdata { .. }, _) => What::Requested,
        (Message::Notfound { .. }, _) => What::NotFound,
        (Message::Headers { .. } | Message::Merkleblock { .. }, _) => What::SentAsHeader,
        (Message::HeaderOnly { command: "merkleblock", .. }, _) => What::SentAsHeader,
        (Message::Tx { .. } | Message::Block { .. } | Message::HeaderOnly { .. }, _) => What::Sent,
        (Message::Compactblock { .. }, _) => What::SentAsCompactBlock,
        (Message::Getblocktxn { .. }, _) => What::TransactionsRequested,
        (Message::Blocktxn { .. } | Message::BlockHashOnly { .. }, _) => What::TransactionsSent,
        (Message::Cfilter { .. }, _) => What::FilterSent,
        (Message::Reject { .. }, _) => What::Refused,
        _ => return None,
    };
    let reason = match message {
        Message::Reject { reason_details, .. } => Some(&**reason_details),
        _ => None,
    };
    Some((what, Details { reason, ..Details::default() }))
}

fn of_mempool<'a>(event: &'a Mempool<'a>, found: &Found) -> Option<(&'static str, What, Details<'a>)> {
    let details = |reason, vsize, fee| Details { reason, vsize, fee, ..Details::default() };
    Some(match event {
        Mempool::Added { vsize, fee, .. } => ("mempool:added", What::Added, details(None, Some(*vsize), Some(*fee))),
        Mempool::Removed { reason, vsize, fee, .. } => {
            ("mempool:removed", What::Removed, details(Some(&**reason), Some(*vsize), Some(*fee)))
        }
        Mempool::Rejected { reason, .. } => ("mempool:rejected", What::Rejected, details(Some(&**reason), None, None)),
        Mempool::Replaced {
            replaced_txid,
            replaced_vsize,
            replaced_fee,
            replacement_txid,
            replacement_vsize,
            replacement_fee,
            ..
        } => match found.role {
            Role::Replacement => {
                let of_it = details(None, Some(*replacement_vsize), Some(*replacement_fee));
                ("mempool:replaced", What::Replaces, Details { other: Some(*replaced_txid), ..of_it })
            }
            _ => {
                let of_it = details(None, Some(*replaced_vsize), Some(*replaced_fee));
                ("mempool:replaced", What::Replaced, Details { other: Some(*replacement_txid), ..of_it })
            }
        },
        _ => return None,
    })
}
