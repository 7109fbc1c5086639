//! What a node does just now, for people to look at. In: events, what the kernel side has counted, and the time. Out:
//! [`Snapshot`]s, as JSON too.
//!
//! It is one state for whoever looks, in a browser or a terminal, and bounded whatever peers send. What peers choose, such as
//! user agents, is any text.

mod happenings;
mod netinfo;
mod output;
mod peers;
mod rates;
mod sight;
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
};
use crate::{
    best_chain::{self, BestChain},
    capture::{Batch, Counted, Counters, Run},
    event::{
        Event, Kind, Moment, Time,
        mempool::Mempool,
        net::{Connection, ConnectionType, Message},
        validation::Validation,
    },
    node::process::Chain,
    p2p,
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};

/// The state.
#[derive(Debug)]
pub struct Live {
    wanted: Tracepoints,
    hides_addresses: bool,
    is_replay: bool,
    is_watched: bool,
    is_over: bool,
    time: Time,
    moment: Moment,
    /// Whole seconds of `moment`.
    second: u64,
    run: Result<Run, String>,
    /// When it was attached to; none before the time is told for the first time after that.
    attached_at: Option<Time>,
    /// Why a run of a recording has ended, which is looked at on until the next begins.
    past: Option<&'static str>,
    /// The node's own.
    user_agent: Option<String>,
    /// By [`Tracepoint::index`], of all runs.
    counted: [Counters; Tracepoint::COUNT],
    ring_buffer: (u64, u64),
    /// By [`p2p::counted_index`]; inbound and outbound.
    commands: Vec<[Traffic; 2]>,
    current: Second,
    history: VecDeque<Second>,
    peers: Peers,
    chain: BestChain,
    happenings: Happenings,
    totals: Totals,
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

/// What can be seen at a time. All times are UNIX times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// bitcointap's.
    pub version: &'static str,
    /// When it was taken; of a recording that is replayed, when that was.
    pub time: f64,
    /// Whether it is of a recording.
    pub replay: bool,
    /// Whether nothing more will come.
    pub over: bool,
    /// The node that is attached to.
    pub node: Option<Node>,
    /// If none is: why, in a line of text.
    pub waiting: Option<String>,
    /// What cannot be seen, and why.
    pub sight: Sight,
    /// What became of events.
    pub events: Events,
    /// How often what happened.
    pub totals: Totals,
    /// The last seconds, oldest first.
    pub history: History,
    /// Of commands that came.
    pub commands: Vec<CommandRow>,
    /// Who is connected, by number.
    pub peers: Vec<Row>,
    /// How many of them, by network and direction.
    pub networks: NetInfo,
    /// Peers of which it is not known any more whether they are connected, as there were too many or they were silent for long.
    pub peers_dropped: u64,
    /// The last connections that came and went, newest first.
    pub connections: Vec<Happening>,
    /// Where the node's chain is, once a block was connected. Not the last of `blocks` while older ones are connected, as in
    /// background validation.
    pub tip: Option<Tip>,
    /// The last blocks that were connected, newest first.
    pub blocks: Vec<Happening>,
    /// What the mempool replaced and rejected last, newest first.
    pub mempool: Vec<Happening>,
}

/// The last block of the node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Tip {
    /// Its height.
    pub height: i64,
    /// When it was connected, UNIX time in seconds.
    pub time: f64,
}

/// The node that is attached to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub struct Node {
    pub pid: i32,
    pub start_time: f64,
    /// When it was attached to.
    pub attached_time: f64,
    /// What it says to its peers, of which its version is a part; none before the first connection.
    pub user_agent: Option<String>,
    pub data_directory: Option<String>,
    pub chain: Option<&'static str>,
    /// The name of the machine; of a recording none.
    pub host: Option<String>,
    /// Tracepoints that are attached.
    pub attached: Vec<&'static str>,
    /// Those that are wanted, but that its program lacks, or that could not be attached to.
    pub missing: Vec<&'static str>,
}

/// What became of events since bitcointap was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Events {
    /// Hits of tracepoints.
    pub fired: u64,
    /// Of these, those that were not wanted.
    pub filtered: u64,
    /// Of these, those that were lost.
    pub lost: u64,
    /// By tracepoint and reason, those that are not zero.
    pub losses: Vec<Loss>,
    /// Size of the ring buffer in bytes.
    pub ring_buffer_bytes: u64,
    /// Bytes that waited in it when it was looked at last.
    pub ring_buffer_used_bytes: u64,
}

/// Events lost in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub struct Loss {
    pub tracepoint: &'static str,
    pub reason: &'static str,
    pub count: u64,
}

/// Messages of one type.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CommandRow {
    /// Its name; `other` for all that Bitcoin Core has never had.
    pub command: &'static str,
    /// To the node.
    pub inbound: Rates,
    /// From the node.
    pub outbound: Rates,
}

impl Live {
    /// Not attached to a node yet; these tracepoints are `wanted`. It tells no addresses of peers if it `hides_addresses`.
    pub fn new(wanted: Tracepoints, hides_addresses: bool) -> Self {
        Self {
            wanted,
            hides_addresses,
            is_replay: false,
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

    /// What it is told of is a recording.
    pub fn of_recording(self) -> Self {
        Self { is_replay: true, ..self }
    }

    /// Somebody looks at it all the time: it takes events as they come, and not once in a second.
    pub fn watched(self) -> Self {
        Self { is_watched: true, ..self }
    }

    /// Those whose events can be seen in it.
    pub fn tracepoints() -> Tracepoints {
        let is_seen = |tracepoint: &Tracepoint| matches!(tracepoint.context(), "net" | "mempool" | "validation");
        Tracepoint::all().filter(is_seen).collect()
    }

    /// The time, by both clocks. What is observed counts for the second that this is in.
    pub fn at(&mut self, time: Time, moment: Moment) {
        self.time = time;
        self.moment = moment;
        self.date_attachment();
        let second = moment.0 / 1_000_000_000;
        if second < self.second || self.second == 0 {
            // The first, or that of another machine in a recording.
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

    /// A tap is attached to a run of the node. When, is what is told next: the time before may be long past, or of another run.
    pub fn attached(&mut self, run: &Run) {
        if let Some(why) = self.past.take() {
            self.let_go(why);
        }
        self.peers.attach(run.attached);
        self.run = Ok(run.clone());
        self.attached_at = None;
        self.user_agent = None;
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

    /// Whether it is of a recording.
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// None is attached to, for another reason than before, in a line of text.
    pub fn waits(&mut self, why: &str) {
        if self.run.is_err() {
            self.run = Err(why.to_owned());
        }
    }

    /// It is attached no more, for a reason in a few words. What a recording ends with is looked at on.
    pub fn detached(&mut self, counted: &Counted, why: &'static str) {
        self.added(&counted.added);
        if self.is_replay {
            self.past = Some(why);
        } else {
            self.let_go(why);
        }
    }

    fn let_go(&mut self, why: &'static str) {
        self.ring_buffer = (0, 0);
        self.peers.clear();
        self.chain = BestChain::default();
        // Of what was attached to without anything having been told of it, it is not known when that was.
        if self.run.is_ok() && self.attached_at.is_some() {
            self.happenings.connection(self.time, Happened::NodeDetached { why });
        }
        self.run = Err(why.to_owned());
    }

    /// What is known with a batch, before its events.
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

    /// An event of the second that it is.
    pub fn observe(&mut self, event: &Event<'_>) {
        let (time, moment) = (event.time, event.moment);
        match &event.kind {
            Kind::Msg(message) => {
                self.message(message);
                self.peers.message(time, moment, self.second, message);
            }
            Kind::Conn { event } => self.connection(time, moment, event),
            Kind::Mempool { event } => self.mempool(time, event),
            Kind::Validation { event } => {
                let Validation::BlockConnected { hash, height, .. } = event;
                self.totals.blocks_connected += 1;
                self.chain.connect(best_chain::Block { height: *height, hash: hash.0, time, moment });
                self.happenings.block(time, event);
            }
            // Of these there is nothing to see but that they are attached; losses are told by the counters.
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
        // To those whom it sends a transaction in private it says something else.
        if let p2p::Message::Version { user_agent, .. } = &message.msg
            && !meta.inbound
            && meta.conn_type != ConnectionType::PrivateBroadcast
        {
            self.user_agent = Some(user_agent.clone().into_owned());
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
            Mempool::Added { .. } => {
                self.totals.mempool_added += 1;
                self.current.mempool_added += 1;
            }
            Mempool::Removed { .. } => {
                self.totals.mempool_removed += 1;
                self.current.mempool_removed += 1;
            }
            Mempool::Replaced { .. } => {
                self.totals.mempool_replaced += 1;
                self.current.mempool_replaced += 1;
                self.happenings.mempool(time, event);
            }
            Mempool::Rejected { .. } => {
                self.totals.mempool_rejected += 1;
                self.current.mempool_rejected += 1;
                self.happenings.mempool(time, event);
            }
        }
    }

    /// What can be seen now.
    pub fn snapshot(&self) -> Snapshot {
        let came =
            p2p::counted_names().zip(&self.commands).filter(|(_, traffic)| traffic.iter().any(|it| !it.is_empty()));
        let commands = came.map(|(command, traffic)| {
            let [inbound, outbound] = traffic.each_ref().map(|it| it.rates(self.second));
            CommandRow { command, inbound, outbound }
        });
        let [connections, blocks, mempool] = self.happenings.newest_first(self.hides_addresses);
        let peers = self.peers.rows(self.second, self.hides_addresses);
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            time: seconds(self.time),
            replay: self.is_replay,
            over: self.is_over,
            node: self.run.as_ref().ok().zip(self.attached_at).map(|(run, attached_at)| self.node(run, attached_at)),
            waiting: match (&self.run, self.attached_at) {
                (Ok(_), Some(_)) => None,
                (Ok(_), None) => Some("attaching".into()),
                (Err(why), _) => Some(why.clone()),
            },
            sight: self.sight(),
            events: self.events(),
            totals: self.totals,
            history: History::of(&self.history),
            commands: commands.collect(),
            networks: NetInfo::of(&peers),
            peers,
            peers_dropped: self.peers.dropped(),
            connections,
            tip: self.chain.tip().map(|block| Tip { height: block.height, time: seconds(block.time) }),
            blocks,
            mempool,
        }
    }

    fn sight(&self) -> Sight {
        let run = self.run.as_ref().ok();
        let attached = seconds(self.attached_at.unwrap_or(self.time));
        let (before, since) = (attached - run.map_or(attached, |run| run.start_time), seconds(self.time) - attached);
        sight::Of { wanted: self.wanted, run, is_replay: self.is_replay, before, since }.sight()
    }

    fn node(&self, run: &Run, attached_at: Time) -> Node {
        let wanted = |is_attached| {
            let those = self.wanted.iter().filter(move |&it| run.attached.contains(it) == is_attached);
            those.map(Tracepoint::name).collect()
        };
        Node {
            pid: run.pid,
            start_time: run.start_time,
            attached_time: seconds(attached_at),
            user_agent: self.user_agent.clone(),
            data_directory: run.data_directory.as_ref().map(|path| path.display().to_string()),
            chain: run.chain.map(Chain::name),
            host: run.host.clone(),
            attached: wanted(true),
            missing: wanted(false),
        }
    }

    fn events(&self) -> Events {
        let (ring_buffer_bytes, ring_buffer_used_bytes) = self.ring_buffer;
        let losses = Tracepoint::all().flat_map(|tracepoint| {
            let lost = LossReason::KERNEL.into_iter().zip(self.counted[tracepoint.index()].lost);
            let loss = move |(reason, count): (LossReason, u64)| Loss {
                tracepoint: tracepoint.name(),
                reason: reason.name(),
                count,
            };
            lost.filter(|(_, count)| *count > 0).map(loss)
        });
        let sum: Counters = self.counted.iter().sum();
        Events {
            fired: sum.fired,
            filtered: sum.filtered,
            lost: sum.lost_in_all(),
            losses: losses.collect(),
            ring_buffer_bytes,
            ring_buffer_used_bytes,
        }
    }
}

/// UNIX time in seconds.
fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1e9
}
