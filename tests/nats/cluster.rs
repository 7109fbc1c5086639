//! Three servers with JetStream, of which the one that leads the stream dies: what was acknowledged is in the stream, once and in order.

use std::path::Path;

use super::{
    are_in_order, lines, published,
    recording::{joined, printed, publish},
    server::{Server, servers, stream_of},
};
use crate::{
    node::Simnode,
    tool::{Exporter, eventually, free_address},
};

struct Cluster(Vec<Server>);

impl Cluster {
    fn start(program: &Path) -> Self {
        let routes = [(); 3].map(|()| free_address());
        let all = routes.each_ref().map(|it| format!("nats://{it}")).join(", ");
        let start = |(place, route): (usize, &String)| {
            let configuration = format!(
                "server_name: server{place}\njetstream {{ store_dir: \"STORE\" }}\n\
                 cluster {{ name: three, listen: \"{route}\", routes: [{all}] }}\n"
            );
            Server::start(program, &configuration)
        };
        Self(routes.iter().enumerate().map(start).collect())
    }

    fn urls(&self) -> String {
        self.0.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// Makes a stream with a replica on each server.
    fn make_stream(&self, subjects: &[&str]) {
        let config = async_nats::jetstream::stream::Config { num_replicas: 3, ..stream_of("all", subjects) };
        // The servers must have met first.
        eventually("a stream", || self.0[0].try_make(&config).ok());
    }

    /// Kills the server that leads the stream, waits until another does, and starts it again.
    fn lose_leader(&mut self) {
        let place = |name: String| name.strip_prefix("server").unwrap().parse::<usize>().unwrap();
        let first = eventually("a leader", || self.0[0].leader("all").map(place));
        self.0[first].kill();
        let other = &self.0[(first + 1) % 3];
        eventually("another leader", || other.leader("all").map(place).filter(|&it| it != first));
        self.0[first].restart();
    }
}

#[test]
fn what_was_acknowledged_outlives_the_leader() {
    for program in servers() {
        let mut cluster = Cluster::start(&program);
        cluster.make_stream(&["bitcointap.*.net.>", "bitcointap.*.mempool.>", "bitcointap.*.validation.>"]);
        let mut node = Simnode::start("v31", "--scenario mix --rate 1000 --count 10000");
        let options = format!("--nats {} --node-name alice --nats.jetstream --bytes hex", cluster.urls());
        let exporter = Exporter::start(&format!("--pid {} --events net,mempool,validation {options}", node.pid()));
        node.fire();
        eventually("some messages", || (cluster.0[0].stored("all").len() > 20).then_some(()));
        cluster.lose_leader();
        let fired = published(&node.tally());
        let metrics = exporter.last_line("nats");
        assert_eq!(metrics.sum("json_lines_lost_total", &[("sink", "nats")]), 0.0, "it is tried until it is stored");
        assert_eq!(metrics.sum("events_lost_total", &[]), 0.0, "the tap does not wait for it");
        let log = exporter.stop();
        let mut messages = cluster.0[0].stored("all");
        // What was tried again may be stored after what came later. Numbers and events tell the order.
        let number = |name: &str, message: &super::Message| message.header(name).parse::<u64>().unwrap();
        messages.sort_by_key(|message| number("Bitcointap-Event", message));
        assert!(!are_in_order(&messages, "bitcointap.alice"), "{log}");
        assert_eq!(lines(&messages).len() as u64, fired, "{log}");
    }
}

#[test]
fn a_recording_in_a_cluster_outlives_the_leader() {
    for program in servers() {
        let mut cluster = Cluster::start(&program);
        cluster.make_stream(&["bitcointap.*.recording"]);
        let published = publish(&cluster.urls(), "mix --rate 1000 --count 10000", "--nats.jetstream", |_| {
            eventually("some messages", || (cluster.0[0].stored("all").len() > 20).then_some(()));
            cluster.lose_leader();
        });
        let log = published.exporter.stop();
        assert_eq!(published.lost, 0, "it is tried until it is stored: {log}");
        let recording = joined(&cluster.0[0].stored("all"));
        assert!(printed(&recording) == published.lines, "{log}");
    }
}
