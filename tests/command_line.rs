//! What a user sees who does something wrong: one clear line, and a status. In: command lines. Out: that line; here ends and logs;
//! nodes, usage, the server and what is written in files of their own.

mod nodes;
mod usage;
mod web;
mod writing;

use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::{
    node::Simnode,
    tool::{Attached, Exporter, bitcointap, output, signal},
};

/// The only line on stderr of a failure, without the program's name.
fn failure(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let [line] = lines[..] else { panic!("not one line: {text}") };
    line.strip_prefix("bitcointap: ").expect("it says who speaks").to_owned()
}

/// A shell in a pid namespace of its own, where no other node runs.
pub fn alone(script: &str) -> Output {
    let mut shell = Command::new("unshare");
    shell.args(["--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", script]).stdin(Stdio::null());
    shell.env("BITCOINTAP", env!("CARGO_BIN_EXE_bitcointap")).output().expect("util-linux has unshare")
}

#[test]
fn a_signal_is_a_clean_end() {
    let node = Simnode::start("v31", "");
    for number in [Signal::INT, Signal::TERM] {
        let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {}", node.pid())));
        signal(tap.pid(), number);
        let status = tap.wait();
        assert_eq!(status.code(), Some(0), "{}", tap.log);
    }
}

#[test]
fn the_exporter_stays_when_the_node_is_gone() {
    let mut node = Simnode::start("v31", "--count 500");
    let mut exporter = Exporter::start(&format!("--pid {}", node.pid()));
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    node.fire();
    node.tally();
    exporter.last_scrape();
    assert!(exporter.process.child.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(exporter.scrape().sum("attachments_total", &[]), 1.0);
    assert!(exporter.stop().contains("has ended"));
}

#[test]
fn logs_are_logfmt_or_json() {
    let node = Simnode::start("v31", "");
    let logged = |format: &str| {
        let output = output(&format!("tap --pid {} --duration 0.1 --log.format {format}", node.pid()));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(logged("logfmt").lines().all(|line| line.starts_with("ts=") && line.contains(" level=info ")));
    let one = output(&format!("tap --pid {} --duration 0.1 --events mempool:added", node.pid()));
    let log = String::from_utf8(one.stderr).unwrap();
    assert!(log.contains(&format!("attached to 1 tracepoint of pid {}", node.pid())), "{log}");
    for line in logged("json").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "INFO");
    }
    let output = output(&format!("tap --pid {} --duration 0.1 --log.level warn", node.pid()));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_hangup_reads_again_and_ends_nothing() {
    let mut node = Simnode::start("v31", "--count 10");
    let mut exporter = Exporter::start(&format!("--pid {}", node.pid()));
    exporter.process.hang_up("there is nothing to read again");
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    // Nor when the node has ended.
    node.fire();
    node.tally();
    exporter.last_scrape();
    exporter.process.hang_up("there is nothing to read again");
    exporter.stop();
}
