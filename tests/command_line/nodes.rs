//! Which node is tapped, and why one cannot be. In: ways to name a process, programs without tracepoints or with others, too few
//! privileges. Out: its events, or the line that says what to do.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use bitcointap::tracepoint::Tracepoint;

use super::{alone, failure};
use crate::{
    node::{Simnode, copy_program, program},
    tool::{Nobody, bitcointap, output},
};

/// A simulated node under another name.
fn named(directory: &Path, name: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    copy_program(&program("simnode-v31"), &path);
    path
}

#[test]
fn no_node_runs() {
    let words = failure(&alone("$BITCOINTAP"));
    assert!(words.starts_with("no running bitcoind, bitcoin-qt or bitcoin-node found"), "{words}");
    assert!(words.contains("--pid"), "{words}");
}

#[test]
fn the_node_that_runs_is_found_and_several_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let bitcoind = named(directory.path(), "bitcoind");
    // Until it holds the lock that identifies a node.
    let start = format!(
        "n=$((n + 1)); {0} --rate 1000 --datadir {1}/data-$n 2>/dev/null >/dev/null &
         until grep -q \" $! \" /proc/locks; do sleep 0.01; done; export RUST_BACKTRACE=1;",
        bitcoind.display(),
        directory.path().display()
    );
    let one = alone(&format!("{start} $BITCOINTAP --count 2"));
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert_eq!(one.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);

    let words = failure(&alone(&format!("{start} {start} $BITCOINTAP")));
    assert!(words.starts_with("2 nodes run, choose one by --datadir or --pid: pid "), "{words}");
    let program = bitcoind.display().to_string();
    assert_eq!(words.matches(&program).count(), 2, "{words}");
    assert!(words.contains(&format!("(data directory {}/data-2, chain main)", directory.path().display())), "{words}");
}

#[test]
fn a_replaced_program_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let bitcoind = named(directory.path(), "bitcoind");
    let mut node = Simnode::start_program(&bitcoind, "--count 5000");
    fs::remove_file(&bitcoind).unwrap();
    fs::write(&bitcoind, "an upgrade").unwrap();
    node.fire();
    let output = output(&format!("tap --pid {} --count 3", node.pid()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_node_is_named_by_pid_file_and_by_program() {
    let directory = tempfile::tempdir().unwrap();
    let bitcoind = named(directory.path(), "node-of-my-own");
    let mut node = Simnode::start_program(&bitcoind, "--rate 1000");
    node.fire();
    let pid_file = directory.path().join("bitcoind.pid");
    fs::write(&pid_file, format!("{}\n", node.pid())).unwrap();
    for which in [format!("--pid-file {}", pid_file.display()), format!("--bitcoind {}", bitcoind.display())] {
        let output = output(&format!("tap {which} --count 1"));
        assert!(output.status.success(), "{which}: {}", String::from_utf8_lossy(&output.stderr));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(&format!("pid {}", node.pid())), "{log}");
    }
    drop(node);
    let words = failure(&output(&format!("tap --bitcoind {}", bitcoind.display())));
    assert!(words.contains("start it, or name the process by --pid"), "{words}");
    let words = failure(&output(&format!("tap --pid-file {}", pid_file.display())));
    let is_stale = format!("the pid file {} is of pid ", pid_file.display());
    assert!(words.starts_with(&is_stale) && words.contains("the node has ended"), "{words}");
    fs::write(&pid_file, "bitcoind").unwrap();
    let words = failure(&output(&format!("tap --pid-file {}", pid_file.display())));
    assert!(words.ends_with("does not hold a process id, but \"bitcoind\""), "{words}");
}

#[test]
fn a_pid_that_nobody_has() {
    // Above the kernel's limit for pids.
    let words = failure(&output(&format!("tap --pid {}", i32::MAX)));
    assert!(words.starts_with(&format!("no process has the pid {}: it has ended", i32::MAX)), "{words}");
    assert!(words.ends_with("without --pid, bitcointap finds the node, and --datadir chooses one"), "{words}");
}

#[test]
fn a_thread_is_no_process() {
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receive.recv());
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().file_name().into_string().unwrap());
    let own = std::process::id().to_string();
    let id = tasks.into_iter().find(|task| *task != own).unwrap();
    let words = failure(&output(&format!("tap --pid {id}")));
    assert_eq!(words, format!("{id} is the id of a thread: name its process by --pid {own}"));
    drop(send);
    assert!(thread.join().unwrap().is_err());
}

#[test]
fn a_program_without_tracepoints() {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let words = failure(&output(&format!("tap --pid {}", sleep.id())));
    let start = format!("pid {} runs ", sleep.id());
    assert!(words.starts_with(&start) && words.contains("which has no tracepoints of Bitcoin Core"), "{words}");
    assert!(words.contains("-DWITH_USDT=ON"), "{words}");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
}

#[test]
fn tracepoints_that_the_release_does_not_have() {
    let node = Simnode::start("v23", "");
    let words = failure(&output(&format!("tap --pid {} --events mempool", node.pid())));
    assert!(words.contains("none of the chosen tracepoints (mempool:added, "), "{words}");
    assert!(words.contains("bitcointap probes"), "{words}");
}

#[test]
fn probes_are_listed_without_a_running_node() {
    let list = |layout: &str| {
        let output = output(&format!("probes --bitcoind {}", program(&format!("simnode-{layout}")).display()));
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let old = list("v23");
    assert!(old.contains("Bitcoin Core has it since v29"), "{old}");
    let newer = Tracepoint::all().filter(|it| it.since() != "v23").count();
    assert_eq!(old.matches("absent").count(), newer, "{old}");
    let new = list("v31");
    assert_eq!(new.lines().filter(|line| line.contains("  yes        yes  ")).count(), Tracepoint::COUNT, "{new}");
    assert!(!new.contains("absent"), "{new}");
    let replaced = new.lines().find(|line| line.starts_with("mempool:replaced")).unwrap();
    assert!(replaced.contains("  8: "), "{replaced}");
    // A program with a name that nobody knows, and a reader that closes early.
    let mut head = bitcointap(&format!("probes --bitcoind {}", program("simnode-v31").display()));
    let mut child = head.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    // A program without tracepoints: only why, no table.
    let none = output(&format!("probes --bitcoind {}", env!("CARGO_BIN_EXE_bitcointap")));
    assert!(none.stdout.is_empty() && failure(&none).contains("has no tracepoints of Bitcoin Core"), "{none:?}");
    let words = failure(&output("probes --bitcoind /proc/self/nothing"));
    assert!(words.starts_with("cannot read /proc/self/nothing"), "{words}");
}

#[test]
fn too_few_privileges() {
    let node = Simnode::start("v31", "");
    let nobody = Nobody::new();
    let run = |capabilities: &str| failure(&nobody.output(capabilities, &format!("--pid {}", node.pid())));
    assert!(run("-all").starts_with("too few privileges: CAP_BPF and CAP_PERFMON are missing"));
    let words = run("-all,+bpf");
    assert!(
        words.starts_with("too few privileges: CAP_PERFMON is missing; run as root, for example with sudo, or "),
        "{words}"
    );
    let mut root = Command::new("setpriv");
    root.args([
        "--bounding-set=-perfmon,-sys_admin",
        env!("CARGO_BIN_EXE_bitcointap"),
        "--pid",
        &node.pid().to_string(),
    ]);
    let words = failure(&root.output().unwrap());
    let expected = "too few privileges: CAP_PERFMON is missing; bitcointap runs as root, but a container or a service has taken \
                    capabilities away: give them back, as `bitcointap doctor` says";
    assert_eq!(words, expected);
    let words = run("-all,+bpf,+perfmon");
    assert!(words.ends_with("the process of another user needs root or CAP_SYS_PTRACE"), "{words}");
}
