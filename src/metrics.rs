//! Events as Prometheus metrics. In: each event, and what the event loop knows of the tap. Out: a registry that can be
//! gathered by any thread at any time.
//!
//! A family is one definition, in the file of its group, and one line in that group's `observe`; `family.rs` says how it is
//! written. What several events say together is state in a file of its own, as in `peers.rs`; it belongs to one run of the
//! node and ends in [`Metrics::node_gone`]. Label values are closed sets (`labels.rs`) or stand alone (`free_form.rs`).

mod addresses;
mod chosen;
mod clock;
mod coin_selection;
mod coins;
mod connections;
mod contents;
#[cfg(test)]
mod core_reasons;
mod exchanges;
mod exporter;
mod family;
mod features;
mod free_form;
mod inventory;
mod labels;
mod listed;
mod mempool;
mod messages;
#[cfg(test)]
mod migration;
mod netgroups;
mod peers;
#[cfg(test)]
mod reference;
mod relay;
mod releases;
mod requests;
mod returns;
mod reversals;
mod round_trips;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod utxocache;
mod validation;
mod versions;

use std::{array, time::Duration};

use prometheus::{IntCounterVec, Registry, process_collector::ProcessCollector};

pub use self::listed::AddressList;
use self::{
    clock::Clock, coin_selection::CoinSelection, coins::Coins, connections::Connections, exchanges::Exchanges,
    exporter::Exporter, family::Registered, features::Features, mempool::Mempool, messages::Messages, state::State,
    utxocache::Utxocache, validation::Validation,
};
#[cfg(feature = "http")]
pub(crate) use self::{exporter::HTTP_PATHS, free_form::cut};
use crate::{
    event::{Event, Kind},
    networks::Networks,
    tap::Counters,
    tracepoint::{Tracepoint, Tracepoints},
};

/// What can be chosen about metrics.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many values a label can have that the world chooses, such as a peer's user agent; others are one, `other`. User agents of
    /// Bitcoin Core's releases come on top, and reasons of rejections have twice as many.
    pub max_free_form_values: usize,
    /// Follow transactions from getdata to tx, for which each transaction is hashed.
    pub tx_response: bool,
    /// The sinks that [`Metrics::json_lines`] will tell of.
    pub json_sinks: &'static [&'static str],
    /// Whether there are families of single coins, where their tracepoints are attached.
    pub utxocache_coins: bool,
    /// Whose peers count apart: at most [`AddressList::MOST`] lists, each with a name of its own.
    pub address_lists: Vec<AddressList>,
}

/// How much of payloads metrics look at, for [`Payloads::Limited`](crate::tap::Payloads::Limited): of blocks their header, of
/// `blocktxn` the hash of the block, of transactions nothing unless they are followed ([`Options::tx_response`]). Payloads of
/// commands that carry much which nobody counts, or that Bitcoin Core has never had, are not looked into: whether they can be
/// decoded is then not known.
pub fn payloads(tx_response: bool) -> &'static [(&'static str, u32)] {
    if tx_response { &WITH_TRANSACTIONS } else { &WITHOUT_TRANSACTIONS }
}

/// Any payload is shorter.
const WHOLE: u32 = u32::MAX;
const HEADER: u32 = 80;
const HASH: u32 = 32;
const WITHOUT_TRANSACTIONS: [(&str, u32); 31] = limits(0);
const WITH_TRANSACTIONS: [(&str, u32); 31] = limits(WHOLE);

const fn limits(tx: u32) -> [(&'static str, u32); 31] {
    [
        ("addr", WHOLE),
        ("addrv2", WHOLE),
        ("block", HEADER),
        ("blocktxn", HASH),
        ("cmpctblock", WHOLE),
        ("feature", WHOLE),
        ("feefilter", WHOLE),
        ("getaddr", WHOLE),
        ("getblocks", WHOLE),
        ("getblocktxn", WHOLE),
        ("getcfcheckpt", WHOLE),
        ("getcfheaders", WHOLE),
        ("getcfilters", WHOLE),
        ("getdata", WHOLE),
        ("getheaders", WHOLE),
        ("headers", WHOLE),
        ("inv", WHOLE),
        ("mempool", WHOLE),
        ("merkleblock", HEADER),
        ("notfound", WHOLE),
        ("ping", WHOLE),
        ("pong", WHOLE),
        ("reject", WHOLE),
        ("sendaddrv2", WHOLE),
        ("sendcmpct", WHOLE),
        ("sendheaders", WHOLE),
        ("sendtxrcncl", WHOLE),
        ("tx", tx),
        ("verack", WHOLE),
        ("version", WHOLE),
        ("wtxidrelay", WHOLE),
    ]
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_free_form_values: 100,
            tx_response: false,
            json_sinks: &[],
            utxocache_coins: false,
            address_lists: Vec::new(),
        }
    }
}

/// All families. Owned by the thread that observes.
pub struct Metrics {
    registry: Registry,
    registered: Registered,
    json_sinks: &'static [&'static str],
    state: State,
    clock: Clock,
    messages: Messages,
    exchanges: Exchanges,
    features: Features,
    connections: Connections,
    mempool: Mempool,
    validation: Validation,
    utxocache: Utxocache,
    coins: Option<Coins>,
    coin_selection: CoinSelection,
    exporter: Exporter,
    /// The kernel side's counters when they were last read.
    counted: [Counters; Tracepoint::COUNT],
}

impl Metrics {
    /// Those that these tracepoints feed, not attached to a node yet.
    ///
    /// # Panics
    ///
    /// If there are more lists than can be, or two of one name.
    pub fn new(attached: Tracepoints, options: &Options) -> Metrics {
        let registry = Registry::new();
        let process = registry.register(Box::new(ProcessCollector::for_self()));
        process.expect("a new registry has no other collector");
        let mut metrics = Metrics {
            registered: Registered::new(registry.clone()),
            registry,
            json_sinks: options.json_sinks,
            state: State::new(options),
            clock: Clock::default(),
            messages: Messages::new(options),
            exchanges: Exchanges::new(options),
            features: Features::new(options),
            connections: Connections::new(options),
            mempool: Mempool::new(options),
            validation: Validation::new(options),
            utxocache: Utxocache::new(options),
            coins: options.utxocache_coins.then(|| Coins::new(options)),
            coin_selection: CoinSelection::new(options),
            exporter: Exporter::new(options),
            counted: Default::default(),
        };
        metrics.tapped(attached);
        metrics
    }

    /// For the thread that serves them.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// A new tap took the place of the last: its counters start from zero, and it has these tracepoints. Families come
    /// and go with what feeds them; the counters of those that stay go on.
    pub fn tapped(&mut self, attached: Tracepoints) {
        let registered = &mut self.registered;
        self.state.attach(attached, registered);
        self.messages.attach(attached, registered);
        self.exchanges.attach(attached, registered);
        self.features.attach(attached, registered);
        self.connections.attach(attached, registered);
        self.mempool.families.attach(attached, registered);
        self.validation.families.attach(attached, registered);
        self.utxocache.attach(attached, registered);
        if let Some(coins) = &mut self.coins {
            coins.attach(attached, registered);
        }
        self.coin_selection.attach(attached, registered);
        self.exporter.families.attach(attached, registered);
        self.exporter.tapped(attached);
        self.counted = Default::default();
    }

    /// The tap is attached to a node that runs since then, UNIX time.
    pub fn attached(&mut self, node_start_time_seconds: f64) {
        self.exporter.attached(node_start_time_seconds);
    }

    /// The node has ended; all that belongs to its run is forgotten.
    pub fn node_gone(&mut self) {
        self.messages.node_gone();
        self.exchanges.node_gone();
        self.features.node_gone();
        self.connections.node_gone();
        self.mempool.node_gone();
        self.validation.node_gone();
        self.exporter.node_gone();
    }

    /// Attaching to a node failed.
    pub fn attach_failed(&self) {
        self.exporter.families.attach_failures_total.inc();
    }

    /// One of [`Options::address_lists`] has other networks from now on; peers who are connected are judged anew.
    pub fn replace_address_list(&mut self, name: &str, networks: Networks) {
        self.connections.replace_list(name, networks);
    }

    /// Counts an event. But for a series seen for the first time it takes no lock and allocates nothing.
    pub fn observe(&mut self, event: &Event<'_>) {
        self.clock.tick(event.time, event.moment);
        match &event.kind {
            Kind::Msg(message) => {
                self.messages.observe(event.moment, event.time, message);
                self.exchanges.message(event.moment, message, &self.state);
                self.features.message(event.moment, message);
                self.connections.message(event.moment, &message.meta, &self.state);
                self.exporter.message(message);
            }
            Kind::Conn { event: connection } => {
                self.exchanges.connection(event.moment, connection, &self.state);
                self.features.connection(event.moment, connection);
                self.connections.observe(event.moment, connection, &self.clock, &self.state);
            }
            Kind::Mempool { event: mempool } => self.mempool.observe(event.moment, mempool, &self.clock, &self.state),
            Kind::Validation { event: validation } => {
                let is_ahead = self.validation.observe(event.time, event.moment, validation);
                self.exchanges.validation(event, validation, is_ahead);
            }
            Kind::Utxocache { event: utxocache } => self.utxocache.observe(utxocache),
            Kind::CoinSelection { event: coin_selection } => self.coin_selection.observe(coin_selection),
            // Counted from the kernel side's counters; here only what depends on events being without gaps.
            Kind::Lost(lost) => {
                self.mempool.lost(lost);
                self.connections.lost(event.moment, lost);
            }
        }
    }

    /// The time from an event's firing to [`Metrics::observe`].
    pub fn observe_delay(&self, delay: Duration) {
        self.exporter.families.event_delay_seconds.observe(delay.as_secs_f64());
    }

    /// What the kernel side has counted since it was attached, by [`Tracepoint::index`].
    pub fn kernel_counters(&mut self, counters: &[Counters; Tracepoint::COUNT]) {
        let added = array::from_fn(|index| counters[index].since(&self.counted[index]));
        self.counted = *counters;
        self.exporter.fired(&added);
        if let Some(coins) = &self.coins {
            coins.fired(&added);
        }
    }

    /// The ring buffer's size, and what waits in it.
    pub fn ring_buffer(&self, bytes: u64, used: u64) {
        self.exporter.families.ring_buffer_bytes.at([]).set(bytes as f64);
        self.exporter.families.ring_buffer_used_bytes.at([]).set(used as f64);
    }

    /// What a sink, one of [`Options::json_sinks`], has written and lost since it was opened.
    pub fn json_lines(&mut self, sink: &str, lines: u64, lost: u64) {
        if let Some(sink) = self.json_sinks.iter().position(|&known| known == sink) {
            self.exporter.json_lines(sink, lines, lost);
        }
    }

    /// How many readers the HTTP server's stream of events has.
    pub fn http_streams(&mut self, open: usize) {
        self.exporter.http_streams(open);
    }

    /// Where the HTTP server counts its requests, by path and code.
    pub fn http_requests(&self) -> IntCounterVec {
        self.exporter.families.http_requests_total.vec()
    }
}
