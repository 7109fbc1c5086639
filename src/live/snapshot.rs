//! Snapshots of the live state. In: the state. Out: a [`Snapshot`], which can be JSON.

use serde::Serialize;

use super::{Happening, History, Live, NetInfo, Rates, Row, Sight, Totals, seconds, sight};
use crate::{
    capture::{Counters, Run},
    event::Time,
    node::process::Chain,
    p2p,
    tracepoint::{LossReason, Tracepoint},
};

/// The live state at one moment. All times are UNIX times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The version of bitcointap.
    pub version: &'static str,
    /// When the snapshot was taken. In a replay: the recorded time.
    pub time: f64,
    /// Whether a recording is replayed.
    pub replay: bool,
    /// Whether nothing more will come.
    pub over: bool,
    /// The attached node, if there is one.
    pub node: Option<Node>,
    /// Why no node is attached, in a line of text.
    pub waiting: Option<String>,
    /// What cannot be seen, and why.
    pub sight: Sight,
    /// How many events fired, were filtered and were lost.
    pub events: Events,
    /// How often each thing happened.
    pub totals: Totals,
    /// Counts of the last seconds, oldest first.
    pub history: History,
    /// A row for each message type that was seen.
    pub commands: Vec<CommandRow>,
    /// The connected peers, by number.
    pub peers: Vec<Row>,
    /// How many peers are connected, by network and direction.
    pub networks: NetInfo,
    /// How many peers were dropped from the list, since there were too many or they were silent for too long.
    pub peers_dropped: u64,
    /// The last connections that were opened or closed, newest first.
    pub connections: Vec<Happening>,
    /// The tip of the node's chain, once a block was connected. It differs from the last of `blocks` while the node connects older
    /// blocks, as in background validation.
    pub tip: Option<Tip>,
    /// The last blocks that were connected, newest first.
    pub blocks: Vec<Happening>,
    /// The last replacements and rejections of the mempool, newest first.
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

/// The attached node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub struct Node {
    pub pid: i32,
    pub start_time: f64,
    /// When bitcointap attached to it.
    pub attached_time: f64,
    /// Its user agent, which has its version. `None` before its first connection.
    pub user_agent: Option<String>,
    pub data_directory: Option<String>,
    pub chain: Option<&'static str>,
    /// The name of the machine. `None` in a replay.
    pub host: Option<String>,
    /// The attached tracepoints.
    pub attached: Vec<&'static str>,
    /// The wanted tracepoints that its program lacks, or that could not be attached.
    pub missing: Vec<&'static str>,
}

/// How many events fired, were filtered and were lost since bitcointap was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Events {
    /// Hits of tracepoints.
    pub fired: u64,
    /// Of these, hits that were not wanted.
    pub filtered: u64,
    /// Of these, hits whose events were lost.
    pub lost: u64,
    /// Lost events by tracepoint and reason, without zeros.
    pub losses: Vec<Loss>,
    /// Size of the ring buffer in bytes.
    pub ring_buffer_bytes: u64,
    /// Bytes that waited in the ring buffer before the last drain.
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
    /// Its name. `other` stands for all types that Bitcoin Core never had.
    pub command: &'static str,
    /// Messages to the node.
    pub inbound: Rates,
    /// Messages from the node.
    pub outbound: Rates,
}

impl Live {
    /// Takes a snapshot.
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
            replay: self.is_replay(),
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
        sight::Of { wanted: self.wanted, run, origin: self.origin, before, since }.sight()
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
            let lost = LossReason::ALL.into_iter().zip(self.counted[tracepoint.index()].lost);
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
