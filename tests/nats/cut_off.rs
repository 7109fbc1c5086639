//! A server on another host, in a network namespace, that the network cuts off for ten seconds. No side is told by the other.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    are_in_order, events, lines, published,
    recording::{EVENTS, counted},
    server::{Server, Subscriber, servers},
    source::source,
    told_lost,
};
use crate::{
    node::Simnode,
    tool::{Exporter, bitcointap, eventually},
};

/// Of the addresses for documentation: no host of the world has them.
const HERE: &str = "198.51.100.1/30";
const FAR: &str = "198.51.100.2";

/// Another host, at the other end of a cable.
struct Host {
    name: String,
    directory: tempfile::TempDir,
}

impl Host {
    /// `None` if this machine lets nobody make hosts.
    fn make() -> Option<Self> {
        let name = format!("tap{}", std::process::id());
        if !ip(&format!("netns add {name}")) {
            println!("skipped: there are no network namespaces");
            return None;
        }
        let host = Self { name, directory: tempfile::tempdir().unwrap() };
        let name = &host.name;
        for arguments in [
            format!("link add {name} type veth peer name far netns {name}"),
            format!("addr add {HERE} dev {name}"),
            format!("link set {name} up"),
            format!("-n {name} addr add {FAR}/30 dev far"),
            format!("-n {name} link set far up"),
            format!("-n {name} link set lo up"),
        ] {
            assert!(ip(&arguments), "ip {arguments}");
        }
        Some(host)
    }

    /// The far end of the cable, whose state both ends see. The near end stays up: it has the route to the host.
    fn plug(&self, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        assert!(ip(&format!("-n {} link set far {state}", self.name)));
    }

    /// A program that runs this one there.
    fn program(&self, program: &Path) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;

        let path = self.directory.path().join("there");
        std::fs::write(&path, format!("#!/bin/sh\nexec ip netns exec {} {} \"$@\"\n", self.name, program.display()))
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Does something there. Its threads stay there.
    fn there<T: Send>(&self, something: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        let within = || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
            something()
        };
        thread::scope(|scope| scope.spawn(within).join().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.name));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn ten_seconds_without_a_network_lose_only_what_is_told() {
    let Some(host) = Host::make() else { return };
    for program in servers() {
        let server = host.there(|| Server::start_at(&host.program(&program), &format!("{FAR}:4222"), ""));
        let subscriber = host.there(|| Subscriber::start(&server, "bitcointap.alice.>"));
        let reader = host.there(|| {
            let source = source(&server.url()).replace("alice", "bob");
            Exporter::start_by(bitcointap, &source, "reading bitcointap.bob.recording from NATS")
        });
        let mut node = Simnode::start("v31", "--scenario mix --rate 1000 --count 20000");
        let start = |options: &str| {
            Exporter::start(&format!("--pid {} {EVENTS} --nats {} {options}", node.pid(), server.url()))
        };
        let exporters = ["--node-name alice", "--node-name bob --nats.format recording"].map(start);
        node.fire();
        subscriber.until(|messages| messages.len() > 20);
        host.plug(false);
        thread::sleep(Duration::from_secs(10));
        host.plug(true);
        let fired = published(&node.tally());
        let [alice, bob] = exporters.map(|exporter| {
            let metrics = exporter.last_line("nats");
            assert_eq!(metrics.sum("events_lost_total", &[]), 0.0, "the node and the tap do not wait for a network");
            let lost = metrics.sum("json_lines_lost_total", &[("sink", "nats")]) as u64;
            (lost, exporter.stop())
        });
        let (lost, log) = alice;
        let messages = subscriber.until(|messages| events(messages) + lost >= fired);
        let messages = subscriber.rest(messages);
        let has_holes = are_in_order(&messages, "bitcointap.alice");
        assert!(events(&messages) + lost >= fired || has_holes, "{} + {lost} of {fired}: {log}", events(&messages));
        assert_eq!(told_lost(&lines(&messages)), lost, "{log}");
        // Who reads the recording misses what did not come, and not more.
        let counted = host.there(|| {
            eventually("all events", || {
                let counted = counted(&reader.scrape());
                (counted["events_total"] as u64 == fired).then_some(counted)
            })
        });
        let missing = counted["events_lost_total"] as u64;
        assert_eq!(counted["event_delay_seconds_count"] as u64 + missing, fired);
        assert!(missing <= bob.0, "{missing} of {}: {}", bob.0, bob.1);
    }
}
