//! Events as Prometheus metrics. In: each event, and what the event loop knows of the tap. Out: a registry that any
//! thread can gather at any time.
//!
//! A family is one definition, in the file of its group, and one line in that group's `observe`; `family.rs` says how
//! to write it. A group is a file and a line in the list below; `group.rs` says what a group receives. State that
//! combines several events has a file of its own, as in `peers.rs`. It belongs to one run of the node and ends in
//! `Metrics::node_gone`. Label values are closed sets (`labels.rs`), or are the only label of their family
//! (`free_form.rs`).

mod chosen;
mod clock;
mod coin_selection;
mod coins;
mod connections;
mod exchanges;
mod exporter;
mod family;
mod features;
mod free_form;
mod group;
mod labels;
mod mempool;
mod messages;
mod netgroups;
mod output;
mod releases;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod utxocache;
mod validation;

use std::{
    collections::BTreeMap,
    sync::{LazyLock, mpsc::Receiver},
    time::Duration,
};

use prometheus::{IntCounterVec, Registry, process_collector::ProcessCollector};

pub use self::connections::AddressList;
use self::{
    coin_selection::CoinSelection,
    coins::Coins,
    connections::Connections,
    exchanges::Exchanges,
    exporter::Exporter,
    family::Registered,
    features::Features,
    group::{Group, Shared, groups},
    mempool::Mempool,
    messages::Messages,
    utxocache::Utxocache,
    validation::Validation,
};
#[cfg(feature = "http")]
pub(crate) use self::{exporter::HTTP_PATHS, free_form::cut};
use crate::{
    archive::Files,
    capture::Counters,
    event::Event,
    output::Kept,
    tracepoint::{Tracepoint, Tracepoints},
};

groups! {
    messages: Messages,
    exchanges: Exchanges,
    features: Features,
    connections: Connections,
    mempool: Mempool,
    validation: Validation,
    utxocache: Utxocache,
    coins: Coins,
    coin_selection: CoinSelection,
    exporter: Exporter,
}

/// Options of the metrics.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many values to keep of a label with texts that peers or the node choose, such as a peer's user agent. All
    /// other values count as `other`. User agents of Bitcoin Core's releases come on top, and reasons of rejections
    /// have twice as many.
    pub max_free_form_values: usize,
    /// Follow transactions from getdata to tx. This hashes each transaction.
    pub tx_response: bool,
    /// The names of the outputs whose lines are counted from the start. Those that come later are counted from then on.
    pub json_sinks: Vec<String>,
    /// Whether to have families of single coins, where their tracepoints are attached.
    pub utxocache_coins: bool,
    /// Lists of addresses to count apart: at most [`AddressList::MOST`], each with a name of its own.
    pub address_lists: Vec<AddressList>,
}

/// How much of payloads metrics read, for [`Payloads::Limited`](crate::tap::Payloads::Limited): the header of blocks,
/// the block's hash of `blocktxn`, and nothing of transactions unless they are followed ([`Options::tx_response`]).
/// Metrics do not read payloads of commands that carry much that nobody counts, nor of commands that Bitcoin Core has
/// never had. bitcointap then does not know whether these would decode.
pub fn payloads(tx_response: bool) -> &'static [(&'static str, u32)] {
    static READ: LazyLock<[Vec<(&str, u32)>; 2]> = LazyLock::new(|| {
        [false, true]
            .map(|tx_response| Groups::reads(&Options { tx_response, ..Options::default() }).into_iter().collect())
    });
    &READ[usize::from(tx_response)]
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_free_form_values: 100,
            tx_response: false,
            json_sinks: Vec::new(),
            utxocache_coins: false,
            address_lists: Vec::new(),
        }
    }
}

/// All families. The thread that observes events owns them.
pub struct Metrics {
    registry: Registry,
    registered: Registered,
    /// Who has read lists of addresses again.
    lists: Option<Receiver<AddressList>>,
    shared: Shared,
    groups: Groups,
}

impl Metrics {
    /// The families that these tracepoints feed, not attached to a node yet.
    ///
    /// # Panics
    ///
    /// If there are more lists than [`AddressList::MOST`], or two with one name.
    pub fn new(attached: Tracepoints, options: &Options) -> Metrics {
        let registry = Registry::new();
        let process = registry.register(Box::new(ProcessCollector::for_self()));
        process.expect("a new registry has no other collector");
        let mut metrics = Metrics {
            registered: Registered::new(registry.clone()),
            registry,
            lists: None,
            shared: Shared::new(options),
            groups: Groups::new(options),
        };
        metrics.tapped(attached);
        metrics
    }

    /// For the thread that serves them.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// A new tap took the place of the last, and it has these tracepoints. Families come
    /// and go with what feeds them; the counters of those that stay go on.
    pub(crate) fn tapped(&mut self, attached: Tracepoints) {
        self.shared.state.attach(attached, &mut self.registered);
        self.groups.attach(attached, &mut self.registered);
    }

    /// The tap is attached to a node that started at this UNIX time.
    pub(crate) fn attached(&mut self, node_start_time_seconds: f64) {
        self.groups.exporter.attached(node_start_time_seconds);
    }

    /// The node has ended; forget everything that belongs to its run.
    pub(crate) fn node_gone(&mut self) {
        self.shared.node_gone();
        self.groups.node_gone();
    }

    /// Attaching to a node failed.
    pub(crate) fn attach_failed(&self) {
        self.groups.exporter.families.attach_failures_total.inc();
    }

    /// Each list that comes, which has the name of one of [`Options::address_lists`], takes that one's place as soon as the next
    /// batch comes; peers who are connected are judged anew.
    pub fn replace_lists_by(&mut self, lists: Receiver<AddressList>) {
        self.lists = Some(lists);
    }

    fn replace_lists(&mut self) {
        let lists: Vec<_> = self.lists.iter().flat_map(Receiver::try_iter).collect();
        for AddressList { name, addresses } in lists {
            self.groups.connections.replace_list(&name, addresses);
        }
    }

    /// Counts an event. It takes no lock and allocates nothing, except when it sees a series for the first time.
    pub fn observe(&mut self, event: &Event<'_>) {
        self.shared.observe(event);
        self.groups.observe(event, &self.shared);
    }

    /// The time from an event's firing to [`Metrics::observe`].
    pub(crate) fn observe_delay(&self, delay: Duration) {
        self.groups.exporter.families.event_delay_seconds.observe(delay.as_secs_f64());
    }

    /// What the kernel side has counted since the last time, by [`Tracepoint::index`].
    pub(crate) fn counted(&mut self, added: &[Counters; Tracepoint::COUNT]) {
        self.groups.counted(added);
    }

    /// The ring buffer's size, and what waits in it.
    pub(crate) fn ring_buffer(&self, bytes: u64, used: u64) {
        self.groups.exporter.families.ring_buffer_bytes.at([]).set(bytes as f64);
        self.groups.exporter.families.ring_buffer_used_bytes.at([]).set(used as f64);
    }

    /// What an output has written and lost since it was made.
    fn json_lines(&mut self, sink: &str, lines: u64, lost: u64) {
        self.groups.exporter.json_lines(sink, lines, lost);
    }

    /// The files of a directory that an output writes into.
    fn json_files(&mut self, sink: &str, files: Files) {
        self.groups.exporter.json_files(sink, files);
    }

    /// How many readers the HTTP server's stream of events has.
    fn http_streams(&mut self, open: usize) {
        self.groups.exporter.http_streams(open);
    }

    /// What the flight recorder keeps, if there is one.
    fn kept(&mut self, kept: Option<Kept>) {
        self.groups.exporter.kept(kept);
    }

    /// The counter of the HTTP server's requests, by path and code.
    pub fn http_requests(&self) -> IntCounterVec {
        self.groups.exporter.families.http_requests_total.vec()
    }
}
