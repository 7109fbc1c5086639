//! Where events are written. In: full disks, closed pipes, directories, readers that do not read. Out: the line that says what failed,
//! or a clean end.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::failure;
use crate::{
    node::{Simnode, program},
    tool::{Attached, Exporter, bitcointap, eventually, free_address, output},
};

#[test]
fn a_full_disk() {
    let mut node = Simnode::start("v31", "--rate 2000");
    node.fire();
    let mut tap = bitcointap(&format!("tap --pid {} --log.level error", node.pid()));
    let output = tap.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    let words = failure(&output);
    assert!(words.starts_with("cannot write to standard output: No space left on device"), "{words}");

    // An exporter goes on, says it once, and counts.
    let exporter = Exporter::start(&format!("--pid {} --json /dev/full", node.pid()));
    eventually("lost lines", || {
        let lost = exporter.scrape().sum("json_lines_lost_total", &[("sink", "file")]);
        (lost > 1000.0).then_some(())
    });
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    let log = exporter.stop();
    assert_eq!(log.matches("No space left on device").count(), 1, "{log}");
}

#[test]
fn a_closed_pipe_is_a_clean_end() {
    let mut node = Simnode::start("v31", "--rate 5000");
    let mut command = bitcointap(&format!("tap --pid {}", node.pid()));
    let mut tap = Attached::spawn({
        command.stdout(Stdio::piped());
        command
    });
    node.fire();
    let mut line = String::new();
    BufReader::new(tap.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"timestamp\":"));
    let status = tap.wait();
    assert_eq!(status.code(), Some(0), "{}", tap.log);
    assert!(!tap.log.contains("were not written"), "its reader wanted no more: {}", tap.log);
}

#[test]
fn a_place_that_cannot_be_written_to_is_told_with_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    for option in ["record", "tap --pcap"] {
        let words = failure(&output(&format!("{option} {path}")));
        assert_eq!(words, format!("{path} is a directory: name a file in it"));
        let words = failure(&output(&format!("{option} {path}/no/f")));
        let expected =
            format!("cannot create {path}/no/f: No such file or directory (os error 2); its directory must exist");
        assert_eq!(words, expected);
    }
    let words = failure(&output(&format!("tap --json {path}")));
    assert_eq!(
        words,
        format!("cannot open {path} for JSON lines: it is a directory: name a file in it, or give --rotate")
    );
    let words = failure(&output(&format!("tap --json unix:{path}/{}", "x".repeat(108))));
    assert!(words.ends_with("for JSON lines: the path of a socket has at most 107 bytes"), "{words}");
    let words = failure(&output(&format!("export --web.config.file {path} --web.listen-address 127.0.0.1:0")));
    assert_eq!(words, format!("the web configuration {path}: cannot be read: it is a directory"));
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let probes = format!("probes --bitcoind {}", program("simnode-v31").display());
    let words = failure(&bitcointap(&probes).stdout(full()).output().unwrap());
    assert_eq!(words, "cannot write to standard output: No space left on device (os error 28)");
}

#[test]
fn packets_that_are_not_written_are_not_called_lines() {
    let mut node = Simnode::start("v31", "--rate 2000");
    node.fire();
    let mut tap = bitcointap(&format!("tap --pid {} --log.level warn --pcap -", node.pid()));
    let output = tap.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("some events were not written as packets") && !log.contains("JSON"), "{log}");
}

#[test]
fn json_of_the_exporter_is_appended() {
    let file = tempfile::NamedTempFile::new().unwrap();
    writeln!(File::options().append(true).open(file.path()).unwrap(), "before").unwrap();
    let mut node = Simnode::start("v31", "--count 100");
    let exporter = Exporter::start(&format!("--pid {} --events all --json {}", node.pid(), file.path().display()));
    node.fire();
    node.tally();
    exporter.last_scrape();
    let metrics = eventually("all lines", || {
        let metrics = exporter.scrape();
        (metrics.sum("json_lines_total", &[("sink", "file")]) == 100.0).then_some(metrics)
    });
    assert_eq!(metrics.sum("json_lines_lost_total", &[]), 0.0);
    exporter.stop();
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(text.starts_with("before\n{"));
    assert_eq!(text.lines().count(), 101);
}

#[test]
fn a_named_pipe_that_nobody_reads_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("events");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let node = Simnode::start("v31", "");
    let address = free_address();
    let export = format!("export --pid {} --web.listen-address {address} --json {}", node.pid(), fifo.display());
    assert!(failure(&output(&export)).ends_with("nobody reads this pipe yet: start its reader first"));
}

#[test]
fn a_duration_ends_though_nobody_reads() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000");
    node.fire();
    // Attaching takes part of the time, and long on a busy machine: then nothing is left to be written.
    let are_lost = [3, 9, 27, 81].into_iter().any(|seconds| {
        let mut command = bitcointap(&format!("tap --pid {} --duration {seconds} --events all", node.pid()));
        command.stdout(Stdio::piped());
        let mut tap = Attached::spawn(command);
        let status = tap.wait();
        assert!(status.success(), "{}", tap.log);
        tap.log.contains("some events were not written as JSON lines")
    });
    assert!(are_lost);

    // Longer than any clock runs, but a valid number of seconds.
    let output = output(&format!("tap --pid {} --duration 1e19 --count 1", node.pid()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
