//! The tool follows its node through ends, restarts and upgrades. The soak checks that it misses nothing of many runs, and leaks
//! nothing.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    exposition::get,
    node::{Simnode, copy_program, own_program, program},
    tool::{Attached, Exporter, bitcointap, eventually, output},
};

#[test]
fn the_exporter_starts_without_a_node_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let exporter = Exporter::start_waiting(&format!("--bitcoind {}", program.display()));
    let metrics = exporter.scrape();
    assert_eq!((metrics.sum("up", &[]), metrics.sum("attachments_total", &[])), (0.0, 0.0));
    assert!(!metrics.has("p2p_headers_total"), "families of events are absent while no node is attached");
    assert_eq!(get(&exporter.address, "/-/ready"), None);
    assert_eq!(get(&exporter.address, "/-/healthy").as_deref(), Some("ok\n"));
    let node = Simnode::start_program(&program, "");
    eventually("readiness", || get(&exporter.address, "/-/ready"));
    let metrics = exporter.scrape();
    assert_eq!(metrics.sum("up", &[]), 1.0);
    assert!(metrics.has("p2p_headers_total") && metrics.has("node_start_time_seconds"));
    drop(node);
    eventually("the end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
    assert!(!exporter.scrape().has("node_start_time_seconds"));
    let log = exporter.stop();
    assert_eq!(log.matches("waiting for a node").count(), 2, "once before the run and once after: {log}");
}

#[test]
fn a_pid_file_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bitcoind.pid");
    let exporter = Exporter::start_waiting(&format!("--pid-file {}", file.display()));
    let first = Simnode::start("v31", "");
    fs::write(&file, first.pid().to_string()).unwrap();
    exporter.wait_for_attachment(1.0);
    drop(first);
    eventually("the end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
    let second = Simnode::start("v29", "");
    fs::write(&file, second.pid().to_string()).unwrap();
    exporter.wait_for_attachment(2.0);
    drop(second);
    exporter.stop();
}

#[test]
fn a_pid_names_one_run_and_a_program_that_cannot_be_tapped_is_no_end() {
    let node = Simnode::start("v31", "");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    drop(node);
    eventually("the end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
    assert!(!exporter.stop().contains("waiting for a node"));

    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let exporter = Exporter::start_waiting(&format!("--bitcoind {}", program.display()));
    let tapped = fs::read(&program).unwrap();
    fs::remove_file(&program).unwrap();
    copy_program(Path::new("/bin/sleep"), &program);
    let mut other = Command::new(&program).arg("60").stdin(Stdio::null()).spawn().unwrap();
    eventually("a failure", || (exporter.scrape().sum("attach_failures_total", &[]) == 1.0).then_some(()));
    other.kill().unwrap();
    other.wait().unwrap();
    fs::remove_file(&program).unwrap();
    fs::write(&program, tapped).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let node = Simnode::start_program(&program, "");
    exporter.wait_for_attachment(1.0);
    drop(node);
    assert!(exporter.stop().contains("has no tracepoints"));
}

#[test]
fn two_nodes_of_one_file_are_told_apart_and_one_left_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let [mut first, mut second] =
        [(); 2].map(|()| Simnode::start_program(&program, "--count 1000 --rate max --linger"));
    let words = output(&format!("tap --bitcoind {}", program.display()));
    assert!(String::from_utf8_lossy(&words.stderr).contains("2 nodes run, choose one by --datadir or --pid: pid "));
    let exporter = Exporter::start(&format!("--pid {} --events all", first.pid()));
    second.fire();
    second.read_tally();
    first.fire();
    let tally = first.read_tally();
    exporter.settled_events(&tally);
    exporter.stop();

    // With --follow it does not end if several nodes run: it waits until there is one.
    let exporter = Exporter::start_waiting(&format!("--bitcoind {}", program.display()));
    drop(first);
    exporter.wait_for_attachment(1.0);
    drop(second);
    exporter.stop();
}

/// As in a container: no path of ours leads to the program, and the node's own pid is 1 or 2.
#[test]
fn a_node_in_other_namespaces_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let script = "mount -t tmpfs none /mnt && cp \"$1\" /mnt/bitcoind && shift && exec /mnt/bitcoind --count 500 --rate max \"$@\"";
    let start = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"]);
        Simnode::start_command(command.arg(program("simnode-v31")))
    };
    if !Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).status().is_ok_and(|it| it.success()) {
        return println!("skipped: unshare cannot make namespaces here");
    }
    let exporter = Exporter::start_waiting(&format!("--pid-file {} --events all", pid_file.display()));
    let mut fired = 0;
    for run in [1.0, 2.0] {
        let mut node = start();
        // The child in the new namespace.
        let children = format!("/proc/{0}/task/{0}/children", node.pid());
        let child = fs::read_to_string(children).unwrap();
        fs::write(&pid_file, child.trim()).unwrap();
        exporter.wait_for_attachment(run);
        node.fire();
        fired += node.tally().tracepoints().values().sum::<u64>();
        eventually("the end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
        assert_eq!(exporter.scrape().sum("events_total", &[]), fired as f64);
    }
    exporter.stop();
}

#[test]
fn a_tap_follows_if_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let lines = directory.path().join("lines");
    let mut command = bitcointap(&format!("tap --follow --events all --bitcoind {}", program.display()));
    command.stdout(fs::File::create(&lines).unwrap());
    let mut tap = Attached::spawn_until(command, "waiting for a node");
    let mut fired = 0;
    for run in 1..=2 {
        let mut node = Simnode::start_program(&program, "--count 1000 --rate max");
        tap.read_log_until("attached to", run);
        node.fire();
        fired += node.tally().tracepoints().values().sum::<u64>();
    }
    let written = || fs::read_to_string(&lines).unwrap().lines().count() as u64;
    eventually("all lines", || (written() == fired).then_some(()));
    tap.terminate();
    assert!(tap.wait().success(), "{}", tap.log);
    assert_eq!(written(), fired);
}
