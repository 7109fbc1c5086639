//! Which of the processes is the node, and that it stays the same one: nodes started as daemons, nodes that start other
//! processes, several nodes of one program, several chains in one data directory.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    doctor::Report,
    exposition::{get, get_any},
    node::{Simnode, own_program},
    tool::{Exporter, bitcointap, eventually, signal},
};

/// Longer than some looks at the processes take.
const SOME_LOOKS: Duration = Duration::from_millis(1500);

/// A node that another process started.
struct Daemon {
    launcher: Child,
    pid: u32,
}

impl Daemon {
    fn start(program: &Path, seconds: u32, data_directory: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(["--wait", "--daemon", &seconds.to_string(), "--datadir"]).arg(data_directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut launcher = eventually("a start", || command.spawn().ok());
        let mut line = String::new();
        BufReader::new(launcher.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().unwrap();
        let mut ready = [0; 7];
        launcher.stderr.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"simnode");
        Self { launcher, pid }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        signal(self.pid, Signal::KILL);
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

#[test]
fn a_daemon_is_attached_to_once_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let data = tempfile::tempdir().unwrap();
    let mut exporter = Exporter::start_waiting(&format!("--bitcoind {}", program.display()));
    // As with -daemon, and as with -daemonwait and a slow node.
    for (start, seconds) in (1..).zip([0, 2, 0, 2, 0, 2]) {
        let node = Daemon::start(&program, seconds, data.path());
        exporter.process.read_log_until("attached to", start);
        let line = exporter.process.log.lines().rfind(|line| line.contains("attached to")).unwrap();
        assert!(line.contains(&format!("of pid {} ", node.pid)), "{line}");
        thread::sleep(Duration::from_secs(seconds.into()));
        let metrics = exporter.scrape();
        assert_eq!(metrics.sum("attachments_total", &[]), start as f64);
        assert_eq!((metrics.sum("up", &[]), metrics.sum("attach_failures_total", &[])), (1.0, 0.0));
        drop(node);
        eventually("the end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
    }
    let log = exporter.stop();
    assert!(!log.contains("level=warn") && !log.contains("level=error"), "{log}");
}

#[test]
fn a_node_that_starts_others_is_tapped_and_the_others_are_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let node = Simnode::start_program(&program, "--children");
    let runs_it = |entry: fs::DirEntry| fs::read_link(entry.path().join("exe")).is_ok_and(|path| path == program);
    let running = || fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(runs_it);
    eventually("a child", || (running().filter(|&it| it).count() > 1).then_some(()));
    for _ in 0..5 {
        let exporter = Exporter::start(&format!("--bitcoind {}", program.display()));
        assert_eq!(exporter.scrape().sum("attachments_total", &[]), 1.0);
        let log = exporter.stop();
        assert!(log.contains(&format!("of pid {} ", node.pid())) && !log.contains("waiting"), "{log}");
    }
}

#[test]
fn what_is_followed_stays_with_its_data_directory_and_chain() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let in_one = format!("--datadir {} --chain regtest", one.path().display());
    let exporter = Exporter::start_waiting(&format!("--bitcoind {}", program.display()));
    let first = Simnode::start_program(&program, &in_one);
    exporter.wait_for_attachment(1.0);
    let other = Simnode::start_program(&program, &format!("--datadir {}", two.path().display()));
    let same_directory = Simnode::start_program(&program, &format!("--datadir {}", one.path().display()));
    let live = || serde_json::from_str::<Value>(&get(&exporter.address, "/api/live").unwrap()).unwrap();
    let node = live()["node"].clone();
    assert_eq!((&node["chain"], &node["data_directory"]), (&"regtest".into(), &one.path().to_str().unwrap().into()));

    drop(first);
    let why = eventually("a reason", || {
        let (status, why) = get_any(&exporter.address, "/-/ready")?;
        (status == 503 && why.contains("no node with")).then_some(why)
    });
    let expected =
        format!("no node with the data directory {} and the chain regtest runs any more", one.path().display());
    assert!(why.starts_with(&expected), "{why}");
    assert!(why.trim_end().ends_with("runs any more: start it again"), "other nodes do not take its place: {why}");
    eventually("the page's reason", || (live()["waiting"].as_str() == Some(why.trim_end())).then_some(()));
    thread::sleep(SOME_LOOKS);
    assert_eq!(exporter.scrape().sum("attachments_total", &[]), 1.0, "it stays with the first");
    assert_eq!(exporter.scrape().sum("attach_failures_total", &[]), 0.0);

    let again = Simnode::start_program(&program, &in_one);
    exporter.wait_for_attachment(2.0);
    let log = exporter.stop();
    assert!(log.contains(&format!("of pid {} ", again.pid())), "{log}");
    drop((other, same_directory));
}

#[test]
fn several_nodes_are_told_once_and_chosen_by_data_directory_and_chain() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (one, two) = (one.path().display(), two.path().display());
    let nodes = [format!("{one} --chain main"), format!("{one} --chain signet"), format!("{two} --chain signet")]
        .map(|arguments| Simnode::start_program(&program, &format!("--datadir {arguments}")));
    let bitcoind = format!("--bitcoind {}", program.display());

    let exporter = Exporter::start_waiting(&bitcoind);
    let (status, why) = get_any(&exporter.address, "/-/ready").unwrap();
    assert_eq!(status, 503);
    assert!(why.starts_with("3 nodes run, choose one by --datadir and --chain or --pid: pid "), "{why}");
    thread::sleep(SOME_LOOKS);
    let log = exporter.stop();
    assert_eq!(log.matches("waiting for a node: 3 nodes run").count(), 1, "{log}");

    for (arguments, expected) in [
        ("--chain main", Some(0)),
        ("--chain signet", None),
        (&format!("--datadir {two}"), Some(2)),
        (&format!("--datadir {one}"), None),
        (&format!("--datadir {one}/signet"), Some(1)),
        (&format!("--datadir {one} --chain signet"), Some(1)),
        (&format!("--datadir {two} --chain main"), None),
        ("--chain regtest", None),
        // By another path.
        (&format!("--datadir {one}/../{}", Path::new(&two.to_string()).file_name().unwrap().display()), Some(2)),
    ] {
        let Some(expected) = expected else {
            let refused = bitcointap(&format!("tap {bitcoind} {arguments}")).output().unwrap();
            let words = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{words}");
            let is_told =
                words.contains("2 nodes run, choose one by --") || words.contains("runs: start it, or choose");
            assert!(is_told && words.contains(" (data directory ") && words.contains(", chain "), "{words}");
            continue;
        };
        let (_, node) = Report::run(&format!("{bitcoind} {arguments}")).told("node");
        assert!(node.starts_with(&format!("pid {} ", nodes[expected].pid())), "{arguments}: {node}");
    }
}
