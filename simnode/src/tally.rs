//! What was fired. In: each event, which steps a counter in an array. Out: the [`Report`]; its JSON is the last line on
//! stdout.

use crate::{
    names::{
        Command, ConnectionEvent, ConnectionType, Direction, FlushMode, Misbehaviour, Network, Rejection,
        RemovalReason, Tracepoint,
    },
    peers::Peer,
    probes::Probes,
};

const COMMANDS: usize = Command::ALL.len();
const TYPES: usize = ConnectionType::ALL.len();
const NETWORKS: usize = Network::ALL.len();

/// Counters of one thread.
pub struct Tally {
    /// Tracepoint hits.
    pub events: u64,
    pub(crate) hits: [u64; Tracepoint::ALL.len()],
    /// Which tracepoints the layout has.
    has: [bool; Tracepoint::ALL.len()],
    /// By direction, command and connection type.
    messages: Vec<Cell>,
    /// By event, connection type and network.
    connections: Vec<u64>,
    pub(crate) misbehaving: [u64; Misbehaviour::ALL.len()],
    pub(crate) added: TransactionTally,
    pub(crate) removed: TransactionTally,
    pub(crate) replaced: TransactionTally,
    pub(crate) replacements: TransactionTally,
    pub(crate) removals: [u64; RemovalReason::ALL.len()],
    pub(crate) rejections: [u64; Rejection::ALL.len()],
    pub(crate) blocks: BlockTally,
    utxo: UtxoTally,
    pub(crate) coin_selection: CoinSelectionTally,
    pub(crate) exchanges: ExchangesTally,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    count: u64,
    bytes: u64,
    undecodable: u64,
}

impl Tally {
    /// Nothing yet, for a layout with these tracepoints.
    pub fn new(probes: &Probes) -> Self {
        Self {
            events: 0,
            hits: Default::default(),
            has: std::array::from_fn(|index| probes.has(Tracepoint::ALL[index])),
            messages: vec![Cell::default(); Direction::ALL.len() * COMMANDS * TYPES],
            connections: vec![0; ConnectionEvent::ALL.len() * TYPES * NETWORKS],
            misbehaving: Default::default(),
            added: Default::default(),
            removed: Default::default(),
            replaced: Default::default(),
            replacements: Default::default(),
            removals: Default::default(),
            rejections: Default::default(),
            blocks: Default::default(),
            utxo: Default::default(),
            coin_selection: Default::default(),
            exchanges: Default::default(),
        }
    }

    pub(crate) fn hit(&mut self, tracepoint: Tracepoint) {
        self.events += 1;
        self.hits[tracepoint as usize] += 1;
    }

    fn cell(&mut self, direction: Direction, command: Command, connection_type: ConnectionType) -> &mut Cell {
        let row = direction as usize * COMMANDS + command as usize;
        &mut self.messages[row * TYPES + connection_type as usize]
    }

    pub(crate) fn message(
        &mut self,
        direction: Direction,
        command: Command,
        connection_type: ConnectionType,
        bytes: usize,
    ) {
        let cell = self.cell(direction, command, connection_type);
        cell.count += 1;
        cell.bytes += bytes as u64;
    }

    pub(crate) fn undecodable(&mut self, command: Command, connection_type: ConnectionType) {
        self.cell(Direction::Inbound, command, connection_type).undecodable += 1;
    }

    pub(crate) fn connection(&mut self, event: ConnectionEvent, peer: &Peer) {
        let row = event as usize * TYPES + peer.connection_type as usize;
        self.connections[row * NETWORKS + peer.network as usize] += 1;
    }

    pub(crate) fn flush(&mut self, microseconds: i64, mode: FlushMode, coins: u64, bytes: u64, for_prune: bool) {
        let flush = &mut self.utxo.flush;
        flush.count += 1;
        flush.duration_us += microseconds;
        flush.coins += coins;
        flush.bytes += bytes;
        flush.for_prune += u64::from(for_prune);
        *flush.modes.entry(mode.name()).or_default() += 1;
    }

    pub(crate) fn coin(&mut self, tracepoint: Tracepoint, value: i64, coinbase: bool) {
        let utxo = &mut self.utxo;
        let (count, sum) = match tracepoint {
            Tracepoint::UtxocacheAdd => (&mut utxo.add, &mut utxo.add_value),
            Tracepoint::UtxocacheSpent => (&mut utxo.spent, &mut utxo.spent_value),
            _ => (&mut utxo.uncache, &mut utxo.uncache_value),
        };
        *count += 1;
        *sum += value;
        utxo.coinbase += u64::from(coinbase);
    }

    /// Adds what another thread fired.
    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        add(&mut self.hits, &other.hits);
        for (ours, theirs) in self.messages.iter_mut().zip(&other.messages) {
            ours.count += theirs.count;
            ours.bytes += theirs.bytes;
            ours.undecodable += theirs.undecodable;
        }
        add(&mut self.connections, &other.connections);
        add(&mut self.misbehaving, &other.misbehaving);
        add(&mut self.removals, &other.removals);
        add(&mut self.rejections, &other.rejections);
        self.added.merge(&other.added);
        self.removed.merge(&other.removed);
        self.replaced.merge(&other.replaced);
        self.replacements.merge(&other.replacements);
        self.blocks.merge(&other.blocks);
        self.utxo.merge(&other.utxo);
        self.coin_selection.merge(&other.coin_selection);
        self.exchanges.merge(&other.exchanges);
    }

    /// What is printed at the end.
    pub fn report(&self, layout: &'static str, scenario: &'static str, seed: u64, seconds: f64) -> Report {
        let mut messages = Vec::new();
        for (index, cell) in self.messages.iter().enumerate() {
            if cell.count > 0 {
                messages.push(MessageTally {
                    direction: Direction::ALL[index / TYPES / COMMANDS].name(),
                    command: Command::ALL[index / TYPES % COMMANDS].name(),
                    connection_type: ConnectionType::ALL[index % TYPES].name(),
                    count: cell.count,
                    bytes: cell.bytes,
                    undecodable: cell.undecodable,
                });
            }
        }
        messages.sort_by_key(|row| (row.direction, row.command, row.connection_type));
        let mut connections = Vec::new();
        for (index, &count) in self.connections.iter().enumerate() {
            if count > 0 {
                let connection_type = ConnectionType::ALL[index / NETWORKS % TYPES];
                connections.push(ConnectionTally {
                    event: ConnectionEvent::ALL[index / NETWORKS / TYPES].name(),
                    direction: connection_type.direction().name(),
                    connection_type: connection_type.name(),
                    network: Network::ALL[index % NETWORKS].name(),
                    count,
                });
            }
        }
        connections.sort_by_key(|row| (row.event, row.connection_type, row.network));
        Report {
            layout,
            scenario,
            seed,
            seconds,
            events: self.events,
            tracepoints: Tracepoint::ALL
                .iter()
                .filter(|&&tracepoint| self.has[tracepoint as usize])
                .map(|&tracepoint| (tracepoint.name(), self.hits[tracepoint as usize]))
                .collect(),
            messages,
            connections,
            misbehaving: Misbehaviour::ALL
                .iter()
                .zip(self.misbehaving)
                .filter(|&(_, count)| count > 0)
                .map(|(reason, count)| MisbehavingTally { reason: reason.name(), count })
                .collect(),
            mempool: MempoolTally {
                added: self.added,
                removed: RemovedTally {
                    transactions: self.removed,
                    reasons: RemovalReason::ALL
                        .iter()
                        .zip(self.removals)
                        .filter(|&(_, count)| count > 0)
                        .map(|(reason, count)| (reason.name(), count))
                        .collect(),
                },
                replaced: ReplacedTally {
                    transactions: self.replaced,
                    replacement_vbytes: self.replacements.vbytes,
                    replacement_fees: self.replacements.fees,
                },
                rejected: RejectedTally {
                    count: self.rejections.iter().sum(),
                    reasons: Rejection::ALL
                        .iter()
                        .zip(self.rejections)
                        .filter(|&(_, count)| count > 0)
                        .map(|(reason, count)| (reason.name(), count))
                        .collect(),
                },
            },
            validation: self.blocks.clone(),
            utxocache: self.utxo.clone(),
            coin_selection: self.coin_selection.clone(),
            exchanges: self.exchanges.clone(),
        }
    }
}

fn add(ours: &mut [u64], theirs: &[u64]) {
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        *ours += theirs;
    }
}

mod exchanges;
mod report;

pub(crate) use exchanges::Exchanges;
pub use report::{
    BlockTally, CoinSelectionTally, CompactBlockTally, ConnectionTally, CreatedTally, ExchangesTally, FlushTally,
    MempoolTally, MessageTally, MisbehavingTally, RejectedTally, RemovedTally, ReplacedTally, Report, RequestTally,
    SelectedCoinsTally, TransactionTally, UtxoTally,
};
