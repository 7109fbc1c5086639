//! The shape of the JSON line on stdout. Counts are tracepoint hits. A tracepoint that the layout lacks leaves its
//! counts at 0. Lists and maps have rows only for what was fired, except `tracepoints`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::names::{ConnectionType, Request, Responder};

/// Everything that was fired.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// For example `v31`.
    pub layout: &'static str,
    /// For example `mix`.
    pub scenario: &'static str,
    /// As given.
    pub seed: u64,
    /// From the first event to the end.
    pub seconds: f64,
    /// The sum of `tracepoints`.
    pub events: u64,
    /// Hits by `provider:name`: every tracepoint that the layout has, and no other.
    pub tracepoints: BTreeMap<&'static str, u64>,
    /// Sorted by direction, command and connection type.
    pub messages: Vec<MessageTally>,
    /// Sorted by event, connection type and network.
    pub connections: Vec<ConnectionTally>,
    /// One for each reason.
    pub misbehaving: Vec<MisbehavingTally>,
    /// mempool:*
    pub mempool: MempoolTally,
    /// validation:*
    pub validation: BlockTally,
    /// utxocache:*
    pub utxocache: UtxoTally,
    /// coin_selection:*
    pub coin_selection: CoinSelectionTally,
    /// What several events say together.
    pub exchanges: ExchangesTally,
}

/// Messages of one direction, command and connection type.
#[derive(Clone, Debug, Serialize)]
pub struct MessageTally {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// As in the tracepoint.
    pub command: &'static str,
    /// As in the tracepoint.
    pub connection_type: &'static str,
    /// Messages.
    pub count: u64,
    /// Of payload.
    pub bytes: u64,
    /// Messages with a known command and a payload that does not decode.
    pub undecodable: u64,
}

/// Connections that were opened, closed or evicted.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionTally {
    /// `opened`, `closed` or `evicted`; an evicted one is closed too.
    pub event: &'static str,
    /// Who opened it: `inbound` or `outbound`.
    pub direction: &'static str,
    /// As in the tracepoint.
    pub connection_type: &'static str,
    /// `ipv4`, `ipv6`, `onion`, `i2p`, `cjdns` or `unroutable`.
    pub network: &'static str,
    /// Connections.
    pub count: u64,
}

/// Misbehaviour by reason.
#[derive(Clone, Debug, Serialize)]
pub struct MisbehavingTally {
    /// As in the tracepoint.
    pub reason: &'static str,
    /// Offences.
    pub count: u64,
}

/// Sums over transactions.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TransactionTally {
    /// Transactions.
    pub count: u64,
    /// Their virtual sizes.
    pub vbytes: u64,
    /// In satoshis.
    pub fees: i64,
}

impl TransactionTally {
    pub(crate) fn count(&mut self, vsize: i32, fee: i64) {
        self.count += 1;
        self.vbytes += u64::from(vsize.unsigned_abs());
        self.fees += fee;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.vbytes += other.vbytes;
        self.fees += other.fees;
    }
}

/// The mempool's events.
#[derive(Clone, Debug, Serialize)]
pub struct MempoolTally {
    /// mempool:added
    pub added: TransactionTally,
    /// mempool:removed
    pub removed: RemovedTally,
    /// mempool:replaced
    pub replaced: ReplacedTally,
    /// mempool:rejected
    pub rejected: RejectedTally,
}

/// Transactions that left the mempool.
#[derive(Clone, Debug, Serialize)]
pub struct RemovedTally {
    /// Their sums.
    #[serde(flatten)]
    pub transactions: TransactionTally,
    /// Their number by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Replaced transactions. A replacement counts once for each transaction that it replaces.
#[derive(Clone, Debug, Serialize)]
pub struct ReplacedTally {
    /// Sums over the replaced.
    #[serde(flatten)]
    pub transactions: TransactionTally,
    /// Virtual sizes of the replacements.
    pub replacement_vbytes: u64,
    /// Fees of the replacements in satoshis.
    pub replacement_fees: i64,
}

/// Rejected transactions.
#[derive(Clone, Debug, Serialize)]
pub struct RejectedTally {
    /// Transactions.
    pub count: u64,
    /// Their number by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Connected blocks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BlockTally {
    /// Blocks.
    pub blocks: u64,
    /// The last one's height.
    pub last_height: Option<i32>,
    /// In them.
    pub transactions: u64,
    /// In them.
    pub inputs: i64,
    /// In them.
    pub sigops: i64,
    /// In nanoseconds, also where the layout fires microseconds.
    pub duration_ns: i64,
}

impl BlockTally {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.last_height = self.last_height.max(other.last_height);
        self.transactions += other.transactions;
        self.inputs += other.inputs;
        self.sigops += other.sigops;
        self.duration_ns += other.duration_ns;
    }
}

/// The UTXO cache's events; values in satoshis.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct UtxoTally {
    pub flush: FlushTally,
    pub add: u64,
    pub add_value: i64,
    pub spent: u64,
    pub spent_value: i64,
    pub uncache: u64,
    pub uncache_value: i64,
    /// Coins of coinbases in all three.
    pub coinbase: u64,
}

/// Flushes and the sums of what they carry.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct FlushTally {
    pub count: u64,
    pub duration_us: i64,
    pub coins: u64,
    pub bytes: u64,
    pub for_prune: u64,
    /// Flushes by Bitcoin Core's name of the mode.
    pub modes: BTreeMap<&'static str, u64>,
}

impl UtxoTally {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.flush.count += other.flush.count;
        self.flush.duration_us += other.flush.duration_us;
        self.flush.coins += other.flush.coins;
        self.flush.bytes += other.flush.bytes;
        self.flush.for_prune += other.flush.for_prune;
        merge_maps(&mut self.flush.modes, &other.flush.modes);
        self.add += other.add;
        self.add_value += other.add_value;
        self.spent += other.spent;
        self.spent_value += other.spent_value;
        self.uncache += other.uncache;
        self.uncache_value += other.uncache_value;
        self.coinbase += other.coinbase;
    }
}

/// The wallet's events, by the tracepoints' names; amounts in satoshis.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct CoinSelectionTally {
    pub selected_coins: SelectedCoinsTally,
    pub normal_create_tx_internal: CreatedTally,
    pub attempting_aps_create_tx: u64,
    pub aps_create_tx_internal: CreatedTally,
}

/// Selections and the sums of what they carry.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct SelectedCoinsTally {
    pub count: u64,
    pub target: i64,
    pub waste: i64,
    pub selected: i64,
    /// Selections by algorithm.
    pub algorithms: BTreeMap<&'static str, u64>,
}

/// Attempts at a transaction.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct CreatedTally {
    pub count: u64,
    /// Used rather than the first attempt's; 0 for first attempts.
    pub used: u64,
    pub success: u64,
    pub fees: i64,
}

impl CoinSelectionTally {
    pub(crate) fn merge(&mut self, other: &Self) {
        let (ours, theirs) = (&mut self.selected_coins, &other.selected_coins);
        ours.count += theirs.count;
        ours.target += theirs.target;
        ours.waste += theirs.waste;
        ours.selected += theirs.selected;
        merge_maps(&mut ours.algorithms, &theirs.algorithms);
        self.attempting_aps_create_tx += other.attempting_aps_create_tx;
        self.normal_create_tx_internal.merge(&other.normal_create_tx_internal);
        self.aps_create_tx_internal.merge(&other.aps_create_tx_internal);
    }
}

impl CreatedTally {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.used += other.used;
        self.success += other.success;
        self.fees += other.fees;
    }
}

/// Exchanges that ended, or are open at the end of the run. Each thread has its own: an exchange that one thread closes
/// and another opens counts in neither.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExchangesTally {
    /// Pings of the node that were answered with their nonce.
    pub pings_answered: u64,
    /// Connections that were opened and then sent a verack, by connection type.
    #[serde(serialize_with = "by_connection_type")]
    pub handshakes_completed: [u64; ConnectionType::ALL.len()],
    /// A row for each request and responder.
    #[serde(serialize_with = "by_request")]
    pub requests: [[RequestTally; Responder::ALL.len()]; Request::ALL.len()],
    /// Blocks that came as compact blocks before they were connected.
    pub compact_blocks: CompactBlockTally,
    /// Blocks that were connected after an unasked inv, headers or cmpctblock, above all earlier ones.
    pub announced_blocks_connected: u64,
    /// Blocks that were connected at or below the height of an earlier one.
    pub reorganised_blocks: u64,
    /// Openings within an hour after a closing of the same host, by connection type. Excludes hosts that share an
    /// address.
    #[serde(serialize_with = "by_connection_type")]
    pub reconnections: [u64; ConnectionType::ALL.len()],
    /// Outbound openings within a minute after one of the same address and type was closed without an inbound message.
    /// They also count as reconnections.
    pub transport_retries: u64,
}

/// What became of requests. Items of getdata count one by one. A request repeated while it is open is the same request.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RequestTally {
    /// By the requested item.
    pub answered: u64,
    /// By notfound.
    pub notfound: u64,
    /// Open when the connection was closed.
    pub closed: u64,
    /// getheaders that another one followed.
    pub repeated: u64,
    /// Open at the end.
    pub open: u64,
}

/// How blocks that came as compact blocks got their transactions.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CompactBlockTally {
    /// All were there.
    pub from_mempool: u64,
    /// By getblocktxn.
    pub requested_transactions: u64,
    /// The block came whole before it was connected.
    pub full_block: u64,
    /// It was not connected.
    pub unfinished: u64,
}

impl ExchangesTally {
    pub(crate) fn request(&mut self, request: Request, responder: Responder) -> &mut RequestTally {
        &mut self.requests[request as usize][responder as usize]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.pings_answered += other.pings_answered;
        self.announced_blocks_connected += other.announced_blocks_connected;
        self.reorganised_blocks += other.reorganised_blocks;
        self.transport_retries += other.transport_retries;
        let pairs = [
            (&mut self.handshakes_completed, &other.handshakes_completed),
            (&mut self.reconnections, &other.reconnections),
        ];
        for (ours, theirs) in pairs {
            super::add(ours, theirs);
        }
        for (ours, theirs) in self.requests.iter_mut().flatten().zip(other.requests.iter().flatten()) {
            ours.answered += theirs.answered;
            ours.notfound += theirs.notfound;
            ours.closed += theirs.closed;
            ours.repeated += theirs.repeated;
            ours.open += theirs.open;
        }
        let (ours, theirs) = (&mut self.compact_blocks, &other.compact_blocks);
        ours.from_mempool += theirs.from_mempool;
        ours.requested_transactions += theirs.requested_transactions;
        ours.full_block += theirs.full_block;
        ours.unfinished += theirs.unfinished;
    }
}

fn by_connection_type<S: Serializer>(
    counts: &[u64; ConnectionType::ALL.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (connection_type, count) in ConnectionType::ALL.iter().zip(counts).filter(|(_, count)| **count > 0) {
        map.serialize_entry(connection_type.name(), count)?;
    }
    map.end()
}

fn by_request<S: Serializer>(
    counts: &[[RequestTally; Responder::ALL.len()]; Request::ALL.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row {
        request: &'static str,
        responder: &'static str,
        #[serde(flatten)]
        outcomes: RequestTally,
    }
    let rows = Request::ALL.iter().zip(counts).flat_map(|(request, by_responder)| {
        Responder::ALL.iter().zip(by_responder).map(|(responder, outcomes)| Row {
            request: request.name(),
            responder: responder.name(),
            outcomes: *outcomes,
        })
    });
    serializer.collect_seq(rows)
}

fn merge_maps(ours: &mut BTreeMap<&'static str, u64>, theirs: &BTreeMap<&'static str, u64>) {
    for (name, count) in theirs {
        *ours.entry(name).or_default() += count;
    }
}
