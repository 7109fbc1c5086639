//! The live state: what the node does now, for people to look at. In: events, counters, and the time. Out: [`Snapshot`]s, which can be
//! JSON.
//!
//! All viewers share one state, in a browser or a terminal. Its memory is bounded, whatever peers send. Texts that peers choose, such as
//! user agents, may be any text.

mod happenings;
mod netinfo;
mod output;
mod peers;
mod rates;
mod sight;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem};

use serde::Serialize;

use self::{
    happenings::Happenings,
    peers::Peers,
    rates::{HISTORY, Second, Traffic},
};
pub use self::{
    happenings::{ConnectionRow, Happened, Happening},
    netinfo::{NetInfo, NetworkCount},
    peers::Row,
    rates::{History, Rates},
    sight::Sight,
    snapshot::{CommandRow, Events, Loss, Node, Snapshot, Tip},
};
use crate::{
    best_chain::{self, BestChain},
    capture::{Batch, Counted, Counters, Run},
    event::{
        Event, Kind, Moment, Time,
        mempool::Mempool,
        net::{Connection, Message},
        validation::Validation,
    },
    p2p,
    tracepoint::{Tracepoint, Tracepoints},
};

/// The live state.
#[derive(Debug)]
pub struct Live {
    wanted: Tracepoints,
    hides_addresses: bool,
    origin: Origin,
    is_watched: bool,
    is_over: bool,
    time: Time,
    moment: Moment,
    /// Whole seconds of `moment`.
    second: u64,
    run: Result<Run, String>,
    /// When bitcointap attached to the run. `None` until [`Live::at`] gives the first time after that.
    attached_at: Option<Time>,
    /// Why the recorded run has ended. The run stays visible until the next one begins.
    past: Option<&'static str>,
    /// The node's own user agent.
    user_agent: Option<String>,
    /// Counters of all runs, by [`Tracepoint::index`].
    counted: [Counters; Tracepoint::COUNT],
    ring_buffer: (u64, u64),
    /// Inbound and outbound messages, by [`p2p::counted_index`].
    commands: Vec<[Traffic; 2]>,
    current: Second,
    history: VecDeque<Second>,
    peers: Peers,
    chain: BestChain,
    happenings: Happenings,
    totals: Totals,
}

/// Where the events come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A node of this machine.
    #[default]
    Node,
    /// A recording. Time passes with its events, and what it ends with stays visible.
    Recording,
    /// Another bitcointap, whose clock may differ from that of this machine. Time passes with its events.
    Publisher,
}

/// How often something happened since bitcointap was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub struct Totals {
    pub connections_opened: u64,
    pub connections_closed: u64,
    pub connections_evicted: u64,
    pub mempool_added: u64,
    pub mempool_removed: u64,
    pub mempool_replaced: u64,
    pub mempool_rejected: u64,
    pub blocks_connected: u64,
}

impl Live {
    /// A state without a node. These tracepoints are `wanted`. If it `hides_addresses`, snapshots have no addresses of peers.
    pub fn new(wanted: Tracepoints, hides_addresses: bool) -> Self {
        Self {
            wanted,
            hides_addresses,
            origin: Origin::default(),
            is_watched: false,
            is_over: false,
            time: Time::default(),
            moment: Moment::default(),
            second: 0,
            run: Err("looking for the node".into()),
            attached_at: None,
            past: None,
            user_agent: None,
            counted: Default::default(),
            ring_buffer: (0, 0),
            commands: p2p::counted_names().map(|_| Default::default()).collect(),
            current: Second::default(),
            history: VecDeque::new(),
            peers: Peers::default(),
            chain: BestChain::default(),
            happenings: Happenings::default(),
            totals: Totals::default(),
        }
    }

    /// The state of what comes from there.
    pub fn of(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Somebody always looks at the state. So it takes events at once, and not once a second.
    pub fn watched(self) -> Self {
        Self { is_watched: true, ..self }
    }

    /// The tracepoints whose events a snapshot shows.
    pub fn tracepoints() -> Tracepoints {
        let is_seen = |tracepoint: &Tracepoint| matches!(tracepoint.context(), "net" | "mempool" | "validation");
        Tracepoint::all().filter(is_seen).collect()
    }

    /// Sets the time, by both clocks. Events count for the second of this time.
    pub fn at(&mut self, time: Time, moment: Moment) {
        self.time = time;
        self.moment = moment;
        self.date_attachment();
        let second = moment.0 / 1_000_000_000;
        if second < self.second || self.second == 0 {
            // It is the first time, or the recording is now of another machine.
            self.second = second;
            self.begin(second);
            return;
        }
        for begun in rates::begun(self.second, second) {
            self.begin(begun);
            self.history.push_back(mem::take(&mut self.current));
        }
        self.history.drain(..self.history.len().saturating_sub(HISTORY));
        self.second = second;
    }

    fn begin(&mut self, second: u64) {
        self.commands.iter_mut().flatten().for_each(|traffic| traffic.begin(second));
        self.peers.begin(second, self.moment);
    }

    /// bitcointap has attached to a run of the node. The next [`Live::at`] says when.
    pub fn attached(&mut self, run: &Run) {
        if let Some(why) = self.past.take() {
            self.let_go(why);
        }
        self.peers.attach(run.attached);
        self.run = Ok(run.clone());
        self.attached_at = None;
        self.user_agent = run.user_agent.clone();
    }

    fn date_attachment(&mut self) {
        if let Ok(run) = &self.run
            && self.attached_at.is_none()
        {
            self.attached_at = Some(self.time);
            self.happenings.connection(self.time, Happened::NodeAttached { pid: run.pid });
        }
    }

    /// Nothing more will come.
    pub fn over(&mut self) {
        self.is_over = true;
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether a recording is replayed.
    pub fn is_replay(&self) -> bool {
        self.origin == Origin::Recording
    }

    /// No node is attached, for a new reason: a line of text.
    pub fn waits(&mut self, why: &str) {
        if self.run.is_err() {
            self.run = Err(why.to_owned());
        }
    }

    /// The run has ended or was detached, for a reason in a few words. The last run of a recording stays visible.
    pub fn detached(&mut self, counted: &Counted, why: &'static str) {
        self.added(&counted.added);
        if self.is_replay() {
            self.past = Some(why);
        } else {
            self.let_go(why);
        }
    }

    fn let_go(&mut self, why: &'static str) {
        self.ring_buffer = (0, 0);
        self.peers.clear();
        self.chain = BestChain::default();
        // Without a time of the attachment, there was no line about it either.
        if self.run.is_ok() && self.attached_at.is_some() {
            self.happenings.connection(self.time, Happened::NodeDetached { why });
        }
        self.run = Err(why.to_owned());
    }

    /// Takes time, counters and ring buffer of a batch, before its events.
    pub fn batch(&mut self, batch: &Batch) {
        let (time, moment) = batch.drained();
        self.at(time, moment);
        self.added(batch.added());
        self.ring_buffer = batch.ring_buffer();
    }

    fn added(&mut self, added: &[Counters; Tracepoint::COUNT]) {
        let sum: Counters = added.iter().sum();
        self.current.events_fired = self.current.events_fired.saturating_add(sum.fired);
        self.current.events_lost = self.current.events_lost.saturating_add(sum.lost_in_all());
        for (counted, added) in self.counted.iter_mut().zip(added) {
            *counted = counted.plus(added);
        }
    }

    /// Takes an event. It counts for the second that was set last.
    pub fn observe(&mut self, event: &Event<'_>) {
        let (time, moment) = (event.time, event.moment);
        match &event.kind {
            Kind::Msg(message) => {
                self.message(message);
                self.peers.message(time, moment, self.second, message);
            }
            Kind::Conn { event } => self.connection(time, moment, event),
            Kind::Mempool { event } => self.mempool(time, event),
            Kind::Validation { event } => self.validation(time, moment, event),
            // Snapshots do not show these events. Counters have the losses.
            Kind::Utxocache { .. } | Kind::CoinSelection { .. } | Kind::Lost(_) => {}
        }
    }

    fn message(&mut self, message: &Message<'_>) {
        let meta = &message.meta;
        self.commands[p2p::counted_index(meta.command)][usize::from(!meta.inbound)].count(self.second, meta.size);
        let (messages, bytes) = if meta.inbound {
            (&mut self.current.inbound_messages, &mut self.current.inbound_bytes)
        } else {
            (&mut self.current.outbound_messages, &mut self.current.outbound_bytes)
        };
        *messages += 1;
        *bytes = bytes.saturating_add(meta.size);
        if let Some(user_agent) = message.own_user_agent() {
            self.user_agent = Some(user_agent.to_owned());
        }
    }

    fn connection(&mut self, time: Time, moment: Moment, event: &Connection<'_>) {
        let happened = match event {
            Connection::Inbound { conn, .. } | Connection::Outbound { conn, .. } => {
                self.totals.connections_opened += 1;
                self.current.connections_opened += 1;
                self.peers.opened(time, moment, conn);
                Happened::Opened { connection: ConnectionRow::of(conn) }
            }
            Connection::Closed { conn, time_established } => {
                self.totals.connections_closed += 1;
                self.current.connections_closed += 1;
                let user_agent = self.peers.closed(moment, conn.peer_id).and_then(|peer| peer.user_agent);
                let lasted = happenings::lasted(time, *time_established);
                Happened::Closed { connection: ConnectionRow::of(conn), lasted, user_agent }
            }
            Connection::InboundEvicted { conn, time_established } => {
                self.totals.connections_evicted += 1;
                self.current.connections_evicted += 1;
                let lasted = happenings::lasted(time, *time_established);
                Happened::Evicted { connection: ConnectionRow::of(conn), lasted }
            }
            Connection::Misbehaving { id, xmessage, .. } => {
                let peer = self.peers.misbehaved(*id);
                let address = peer.map(|peer| peer.address.clone());
                Happened::Misbehaving { id: *id, address, reason: xmessage.as_ref().to_owned() }
            }
        };
        self.happenings.connection(time, happened);
    }

    fn mempool(&mut self, time: Time, event: &Mempool<'_>) {
        match event {
            // These are too many to be shown one by one.
            Mempool::Added { .. } => {
                self.totals.mempool_added += 1;
                self.current.mempool_added += 1;
            }
            Mempool::Removed { .. } => {
                self.totals.mempool_removed += 1;
                self.current.mempool_removed += 1;
            }
            Mempool::Replaced { replaced_txid, replaced_fee, replacement_txid, replacement_fee, .. } => {
                self.totals.mempool_replaced += 1;
                self.current.mempool_replaced += 1;
                let happened = Happened::Replaced {
                    txid: replaced_txid.to_string(),
                    fee: *replaced_fee,
                    replacement: replacement_txid.to_string(),
                    replacement_fee: *replacement_fee,
                };
                self.happenings.mempool(time, happened);
            }
            Mempool::Rejected { txid, reason } => {
                self.totals.mempool_rejected += 1;
                self.current.mempool_rejected += 1;
                let happened = Happened::Rejected { txid: txid.to_string(), reason: reason.as_ref().to_owned() };
                self.happenings.mempool(time, happened);
            }
        }
    }

    fn validation(&mut self, time: Time, moment: Moment, event: &Validation) {
        match event {
            Validation::BlockConnected { hash, height, transactions, connection_time, .. } => {
                self.totals.blocks_connected += 1;
                self.chain.connect(best_chain::Block { height: *height, hash: hash.0, time, moment });
                let happened = Happened::BlockConnected {
                    height: *height,
                    hash: hash.to_string(),
                    transactions: *transactions,
                    connection_seconds: *connection_time as f64 / 1e9,
                };
                self.happenings.block(time, happened);
            }
        }
    }
}

/// UNIX time in seconds.
fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1e9
}
