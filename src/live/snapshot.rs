//! What can be seen at a time, as it is told to those who look. In: the state. Out: a [`Snapshot`] of it, as JSON too.

use serde::Serialize;

use super::{Happening, History, Live, NetInfo, Rates, Row, Sight, Totals, seconds, sight};
use crate::{
    capture::{Counters, Run},
    event::Time,
    node::process::Chain,
    p2p,
    tracepoint::{LossReason, Tracepoint},
};

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
