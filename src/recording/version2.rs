//! Reads version 2 of the format. In: an entry of version 2. Out: the same entry in version 3. Version 2 did not describe its tracepoints
//! and records; the tables here do. They never change.

use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;

use super::stored::{
    AtMost, Changed, Loss, Opening, Stored, StoredBatch, StoredCounters, StoredLayout, StoredRun, StoredTracepoint,
};
use crate::kernel_side::{
    Field,
    Kind::{self, Bytes as B, Signed as I, Unsigned as U},
};

pub(super) const VERSION: u32 = 2;

/// The tracepoint number of a record of losses.
pub(super) const LOSSES: u64 = 255;
const REASONS: [&str; 2] = ["ring_full", "unreadable"];

type Fields = &'static [(&'static str, u16, u16, Kind)];

const HEADER: Fields = &[("boot_ns", 0, 8, U), ("tracepoint", 8, 1, U), ("text_length", 14, 2, U)];
const MESSAGE: (u16, Fields) = (
    56,
    &[
        ("peer_id", 16, 8, I),
        ("size", 24, 8, U),
        ("command", 32, 16, B),
        ("connection_type", 48, 1, U),
        ("payload", 49, 1, U),
        ("peer_network", 50, 1, U),
        ("is_known_peer", 51, 1, U),
        ("copied", 52, 4, U),
    ],
);
const CONNECTION: (u16, Fields) =
    (40, &[("peer_id", 16, 8, I), ("detail", 24, 8, U), ("network", 32, 4, U), ("connection_type", 36, 1, U)]);
const MISBEHAVING: (u16, Fields) = (
    40,
    &[
        ("peer_id", 16, 8, I),
        ("score_before", 24, 4, I),
        ("score_increase", 28, 4, I),
        ("threshold_exceeded", 32, 1, U),
    ],
);
const ADDED: (u16, Fields) = (64, &[("txid", 16, 32, B), ("vsize", 48, 8, I), ("fee", 56, 8, I)]);
const REMOVED: (u16, Fields) =
    (72, &[("txid", 16, 32, B), ("vsize", 48, 8, I), ("fee", 56, 8, I), ("entry_time", 64, 8, U)]);
const REPLACED: (u16, Fields) = (
    128,
    &[
        ("replaced_txid", 16, 32, B),
        ("replaced_vsize", 48, 8, I),
        ("replaced_fee", 56, 8, I),
        ("replaced_entry_time", 64, 8, U),
        ("replacement_txid", 72, 32, B),
        ("replacement_vsize", 104, 8, I),
        ("replacement_fee", 112, 8, I),
        ("replacement_is_txid", 120, 1, U),
    ],
);
const REJECTED: (u16, Fields) = (48, &[("txid", 16, 32, B)]);
const BLOCK_CONNECTED: (u16, Fields) = (
    88,
    &[
        ("hash", 16, 32, B),
        ("height", 48, 8, I),
        ("transactions", 56, 8, U),
        ("inputs", 64, 8, I),
        ("sigops", 72, 8, U),
        ("duration", 80, 8, U),
    ],
);
const FLUSH: (u16, Fields) = (
    48,
    &[
        ("duration_us", 16, 8, I),
        ("coins", 24, 8, U),
        ("memory", 32, 8, U),
        ("mode", 40, 4, U),
        ("for_prune", 44, 1, U),
    ],
);
const COIN: (u16, Fields) = (
    72,
    &[("txid", 16, 32, B), ("value", 48, 8, I), ("vout", 56, 4, U), ("height", 60, 4, U), ("is_coinbase", 64, 1, U)],
);
const SELECTED_COINS: (u16, Fields) =
    (64, &[("algorithm", 16, 24, B), ("target", 40, 8, I), ("waste", 48, 8, I), ("selected", 56, 8, I)]);
const CREATE_TX: (u16, Fields) =
    (32, &[("fee", 16, 8, I), ("change_position", 24, 4, I), ("use_aps", 28, 1, U), ("success", 29, 1, U)]);
const ATTEMPTING_APS: (u16, Fields) = (16, &[]);

const TRACEPOINTS: [(&str, (u16, Fields)); 20] = [
    ("net:inbound_message", MESSAGE),
    ("net:outbound_message", MESSAGE),
    ("net:inbound_connection", CONNECTION),
    ("net:outbound_connection", CONNECTION),
    ("net:evicted_inbound_connection", CONNECTION),
    ("net:closed_connection", CONNECTION),
    ("net:misbehaving_connection", MISBEHAVING),
    ("mempool:added", ADDED),
    ("mempool:removed", REMOVED),
    ("mempool:replaced", REPLACED),
    ("mempool:rejected", REJECTED),
    ("validation:block_connected", BLOCK_CONNECTED),
    ("utxocache:flush", FLUSH),
    ("utxocache:add", COIN),
    ("utxocache:spent", COIN),
    ("utxocache:uncache", COIN),
    ("coin_selection:selected_coins", SELECTED_COINS),
    ("coin_selection:normal_create_tx_internal", CREATE_TX),
    ("coin_selection:attempting_aps_create_tx", ATTEMPTING_APS),
    ("coin_selection:aps_create_tx_internal", CREATE_TX),
];

/// The opening that version 3 would have.
pub(super) fn opening() -> Opening<'static> {
    let layout = |(size, fields): (u16, Fields)| StoredLayout {
        size,
        fields: fields.iter().map(|&(name, offset, size, kind)| Field { name, offset, size, kind }).collect(),
    };
    Opening {
        recording: 0,
        group: 0,
        continues: false,
        header: layout((16, HEADER)),
        tracepoints: TRACEPOINTS.into_iter().map(|(name, it)| StoredTracepoint { name, record: layout(it) }).collect(),
        reasons: REASONS.into_iter().collect(),
        run: None,
        counters: Changed::default(),
    }
}

/// The run's counters that have changed, by the tracepoint's number.
type Changed2 = AtMost<(u8, Counters2), 255>;

#[derive(Debug, Serialize, Deserialize)]
struct Counters2 {
    fired: u64,
    filtered: u64,
    lost: [u64; REASONS.len()],
    value: u64,
}

/// An entry as it is stored. A set of tracepoints has a bit for each.
#[derive(Debug, Serialize, Deserialize)]
enum Stored2<'a> {
    Run {
        pid: i32,
        program: &'a str,
        start_time: f64,
        attached: u32,
        failed: u32,
    },
    Batch {
        drained: (u64, u64),
        unix_offset_ns: i64,
        block_duration_unit_ns: u64,
        ring_buffer: (u64, u64),
        changed: Changed2,
        lengths: AtMost<u32, { 1 << 16 }>,
        #[serde(borrow)]
        records: &'a Bytes,
    },
    End {
        changed: Changed2,
        untold: AtMost<(u8, u8, u64), { 1 << 16 }>,
    },
}

/// An entry of this version.
pub(super) enum Entry<'a> {
    Run(StoredRun<'a>),
    Other(Stored<'a>),
}

/// The first entry in the bytes, and the bytes after it.
pub(super) fn take(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (stored, rest) = postcard::take_from_bytes(bytes).ok()?;
    let entry = match stored {
        Stored2::Run { pid, program, start_time, attached, failed } => {
            let numbers = |bits: u32| (0..TRACEPOINTS.len() as u8).filter(|&number| bits >> number & 1 == 1).collect();
            let (attached, failed) = (numbers(attached), numbers(failed));
            Entry::Run(StoredRun {
                pid,
                program: program.into(),
                start_time,
                attached,
                failed,
                data_directory: None,
                chain: None,
                host: None,
                node: None,
                labels: AtMost::default(),
                user_agent: None,
            })
        }
        Stored2::Batch { drained, unix_offset_ns, block_duration_unit_ns, ring_buffer, changed, lengths, records } => {
            let (changed, losses) = (of_counters(changed), AtMost::default());
            Entry::Other(Stored::Batch(StoredBatch {
                drained,
                unix_offset_ns,
                block_duration_unit_ns,
                ring_buffer,
                changed,
                losses,
                lengths,
                records,
            }))
        }
        Stored2::End { changed, untold } => {
            let loss = |(tracepoint, reason, count)| Loss { tracepoint, reason, count };
            let untold = untold.0.into_iter().map(loss).collect();
            Entry::Other(Stored::End { changed: of_counters(changed), untold })
        }
    };
    Some((entry, rest))
}

fn of_counters(changed: Changed2) -> Changed {
    let counters = |(number, it): (u8, Counters2)| {
        let lost = it.lost.into_iter().collect();
        (number, StoredCounters { fired: it.fired, filtered: it.filtered, value: it.value, lost })
    };
    changed.0.into_iter().map(counters).collect()
}

/// The losses in a record of losses: after its header it has a count for each tracepoint and reason.
pub(super) fn losses(record: &[u8]) -> Option<impl Iterator<Item = Loss>> {
    let counts = record.get(16..16 + 4 * REASONS.len() * TRACEPOINTS.len())?;
    let (counts, _) = counts.as_chunks::<4>();
    let losses = counts.iter().enumerate().map(|(index, count)| Loss {
        tracepoint: (index / REASONS.len()) as u8,
        reason: (index % REASONS.len()) as u8,
        count: u32::from_le_bytes(*count).into(),
    });
    Some(losses.filter(|loss| loss.count > 0))
}
