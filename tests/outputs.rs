//! Destinations of JSON lines: files that are rotated, full disks, and sockets with readers that come and go. Each event that fired is
//! there once or reported as lost, and each line is whole.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    node::Simnode,
    overload::told,
    tool::{Attached, Exporter, Nobody, bitcointap, eventually, output},
};

/// FILE.1 is the newest old file.
fn old(path: &Path, number: usize) -> PathBuf {
    format!("{}.{number}", path.display()).into()
}

/// The contents of the old files and FILE, the oldest first.
fn files(path: &Path) -> Vec<String> {
    let count = (1..).take_while(|&number| old(path, number).exists()).count();
    let old = (1..=count).rev().map(|number| old(path, number));
    old.chain([path.to_owned()]).map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The values of the inbound pings of a flood, which rise by one. Leaves out the handshake's ping, which is random.
pub fn pings(text: &str) -> Vec<u64> {
    let value = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["event"]["Msg"];
        message["msg"]["Ping"]["value"].as_u64().filter(|&value| value < 1 << 32)
    };
    text.lines().filter_map(value).collect()
}

fn lines_lost(exporter: &Exporter, sink: &str) -> f64 {
    exporter.scrape().sum("json_lines_lost_total", &[("sink", sink)])
}

fn words(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

#[test]
fn rotation_keeps_each_line_once() {
    const SIZE: usize = 256 << 10;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.ndjson");
    let mut node = Simnode::start("v31", "--scenario flood --rate 5000 --count 20000");
    let rotation = format!("--json {} --json-rotate 256KiB,1h --json-keep 100", path.display());
    let exporter = Exporter::start(&format!("--pid {} --events all {rotation}", node.pid()));
    node.fire();
    let fired: u64 = node.tally().tracepoints().values().sum();
    exporter.last_line("file");
    exporter.stop();

    let files = files(&path);
    let (_, last) = files.split_last().unwrap();
    assert!(last.len() >= 10, "{} files", files.len());
    for file in last {
        let last_line = file.lines().last().unwrap().len() + 1;
        assert!(file.ends_with('\n') && file.len() >= SIZE && file.len() - last_line < SIZE, "{}", file.len());
    }
    let text = files.concat();
    let (lost, events) = told(&text);
    assert_eq!(events + lost.values().sum::<f64>(), fired as f64);
    let pings = pings(&text);
    assert!(pings.len() > 1000 && pings.is_sorted_by(|a, b| a < b), "in order, and none twice");
}

#[test]
fn a_file_of_age_gives_way_and_only_so_many_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.ndjson");
    fs::write(&path, "{\"event\":\"of another time\"}\n").unwrap();
    let mut node = Simnode::start("v31", "--scenario flood --rate 500");
    let rotation = format!("--json {} --json-rotate 1s --json-keep 2", path.display());
    let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {} {rotation}", node.pid())));
    node.fire();
    let first = eventually("the first rotation", || fs::read_to_string(old(&path, 1)).ok());
    assert!(first.starts_with("{\"event\":\"of another time\"}\n"), "tap appends to the file");
    eventually("another", || old(&path, 2).exists().then_some(()));
    eventually("the oldest to be removed", || (fs::read_to_string(old(&path, 2)).unwrap() != first).then_some(()));
    tap.terminate();
    assert!(tap.wait().success(), "{}", tap.log);
    assert!(!old(&path, 3).exists());
    let pings = pings(&files(&path).concat());
    assert!(pings.is_sorted_by(|a, b| a < b), "in order, and none twice");
}

/// A file system of its own.
pub struct Disk(pub TempDir);

impl Disk {
    /// `None` if nothing can be mounted here.
    pub fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(directory.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(directory))
    }

    pub fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_was_full_is_written_to_again() {
    let Some(disk) = Disk::mount("300k") else { return println!("skipped: nothing can be mounted here") };
    let path = disk.0.path().join("events.ndjson");
    let mut node = Simnode::start("v31", "--scenario mix --rate 5000");
    let mut exporter = Exporter::start(&format!("--pid {} --events all --json {}", node.pid(), path.display()));
    node.fire();
    eventually("lost lines", || (lines_lost(&exporter, "file") > 0.0).then_some(()));
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > 200 << 10 && whole.ends_with(b"}\n"), "no line is torn");
    // It tries again and again, and logs that once.
    thread::sleep(Duration::from_secs(2));
    disk.resize("1g");
    exporter.process.read_log_until("JSON lines are written to", 1);
    node.signal(Signal::TERM);
    let fired: u64 = node.tally().tracepoints().values().sum();
    let metrics = exporter.last_line("file");
    assert_eq!(metrics.sum("events_total", &[]), fired as f64);
    let log = exporter.stop();

    let text = fs::read_to_string(&path).unwrap();
    let (lost, events) = told(&text);
    assert_eq!(events + lost.values().sum::<f64>(), fired as f64, "each is in the file or reported as lost");
    assert!(lost.values().sum::<f64>() > 0.0 && text.contains("\"reason\":\"write_failed\""));
    assert_eq!(log.matches("No space left on device").count(), 1, "{log}");
    assert_eq!(log.matches("JSON lines are written to").count(), 1, "{log}");
}

#[test]
fn a_disk_that_stays_full_is_a_failure_of_tap_in_the_end() {
    let mut node = Simnode::start("v31", "--rate 2000 --count 2000");
    let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {} --json /dev/full", node.pid())));
    node.fire();
    let status = tap.wait();
    assert_eq!(status.code(), Some(1), "{}", tap.log);
    let last = tap.log.lines().last().unwrap();
    assert_eq!(last, "bitcointap: cannot write to /dev/full: No space left on device (os error 28)");
    assert!(tap.log.contains("some events were not written as JSON lines"), "{}", tap.log);
}

#[test]
fn a_file_that_others_rename_or_whose_directory_goes_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("events.ndjson");
    let mut node = Simnode::start("v31", "--scenario flood --rate 500");
    let exporter = Exporter::start(&format!("--pid {} --json {}", node.pid(), path.display()));
    node.fire();
    let has_lines = || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')).then_some(());
    eventually("lines", has_lines);
    fs::rename(&path, directory.path().join("renamed")).unwrap();
    eventually("lines in a new file", has_lines);
    fs::rename(&inner, directory.path().join("gone")).unwrap();
    thread::sleep(Duration::from_secs(2));
    fs::create_dir(&inner).unwrap();
    eventually("lines in a new directory", has_lines);
    drop(node);
    exporter.last_line("file");
    let log = exporter.stop();
    assert_eq!(log.matches("No such file or directory").count(), 1, "{log}");
    let files = ["renamed", "gone/events.ndjson", "inner/events.ndjson"];
    let text: String = files.map(|file| fs::read_to_string(directory.path().join(file)).unwrap()).concat();
    let pings = pings(&text);
    assert!(pings.len() > 500 && pings.windows(2).all(|pair| pair[0] + 1 == pair[1]), "nothing that waited is lost");
}

/// Listens for connections of the tool.
fn listen(path: &Path) -> UnixListener {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}

fn accept(listener: &UnixListener) -> BufReader<UnixStream> {
    BufReader::new(listener.accept().unwrap().0)
}

fn read_lines(reader: &mut BufReader<UnixStream>, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        assert!(reader.read_line(&mut text).unwrap() > 0, "{count} lines");
    }
    text
}

#[test]
fn a_reader_that_comes_later_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut node = Simnode::start("v31", "--scenario flood --rate 100");
    let arguments = format!("tap --pid {} --json unix:{} --count 250", node.pid(), path.display());
    let mut tap = Attached::spawn(bitcointap(&arguments));
    node.fire();
    tap.read_log_until("cannot write JSON lines to unix:", 1);
    let listener = listen(&path);
    let mut text = String::new();
    accept(&listener).read_to_string(&mut text).unwrap();
    assert!(tap.wait().success(), "{}", tap.log);
    let (lost, events) = told(&text);
    assert_eq!((lost.len(), events), (0, 250.0), "{}", tap.log);
    let pings = pings(&text);
    assert!(pings.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none is missing");
}

#[test]
fn a_reader_that_is_killed_and_started_again_is_told_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = listen(&path);
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000");
    let exporter = Exporter::start(&format!("--pid {} --json unix:{}", node.pid(), path.display()));
    node.fire();
    let mut reader = accept(&listener);
    let before = read_lines(&mut reader, 1000);
    drop((reader, listener));
    let lost = || lines_lost(&exporter, "socket");
    eventually("lost lines", || (lost() > 0.0).then_some(()));
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);

    let listener = listen(&path);
    let reader = thread::spawn(move || {
        let mut text = String::new();
        accept(&listener).read_to_string(&mut text).unwrap();
        text
    });
    let written = || exporter.scrape().sum("json_lines_total", &[("sink", "socket")]);
    let resumed = written();
    eventually("it goes on", || (written() > resumed + 1000.0).then_some(()));
    // The node ends; the output writes the rest.
    drop(node);
    let metrics = exporter.last_line("socket");
    // On a busy machine the ring buffer may lose events, too.
    let lost = metrics.sum("json_lines_lost_total", &[("sink", "socket")]) + metrics.sum("events_lost_total", &[]);
    let log = exporter.stop();
    let (told_before, _) = told(&before);
    let after = reader.join().unwrap();
    let (told_after, events) = told(&after);
    assert!(after.contains("\"Lost\"") && events > 1000.0);
    let told: f64 = told_before.values().chain(told_after.values()).sum();
    assert_eq!(told, lost, "each lost event is reported");
    assert_eq!(log.matches("cannot write JSON lines to unix:").count(), 1, "{log}");
    assert_eq!(log.matches("JSON lines are written to unix:").count(), 1, "{log}");
}

#[test]
fn a_reader_that_has_stopped_holds_up_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = listen(&path);
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000");
    let json = format!("--pid {} --json unix:{}", node.pid(), path.display());
    let exporter = Exporter::start(&json);
    let mut tap = Attached::spawn(bitcointap(&format!("tap {json}")));
    node.fire();
    eventually("lost lines", || (lines_lost(&exporter, "socket") > 0.0).then_some(()));
    exporter.process.terminate();
    tap.terminate();
    for process in [&mut tap, &mut { exporter }.process] {
        let status = process.wait();
        assert!(status.success(), "{}", process.log);
    }
}

#[test]
fn what_cannot_be_opened_is_told_at_once() {
    let nobody = Nobody::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.ndjson");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let denied = nobody.output("-all", &format!("tap --json {}", path.display()));
    let why = "Permission denied (os error 13); its owner and mode must allow bitcointap's user, even root, since capabilities do not \
               count here (chown, chmod)";
    assert_eq!(words(&denied), format!("bitcointap: cannot open {} for JSON lines: {why}", path.display()));
    assert_eq!(denied.status.code(), Some(1));

    // Root may write there now, but cannot once it has dropped its capabilities.
    chown(directory.path(), Some(65534), Some(65534)).unwrap();
    fs::write(&path, "").unwrap();
    let export = format!("export --web.listen-address 127.0.0.1:0 --json {}", path.display());
    let refused = output(&format!("{export} --json-rotate 1d"));
    assert_eq!(
        words(&refused),
        format!("bitcointap: cannot open {} for JSON lines: its directory: {why}", path.display())
    );
    let node = Simnode::start("v31", "");
    let rotated = nobody.output("-all", &format!("tap --json {} --json-rotate 1d", path.display()));
    assert!(words(&rotated).contains("Permission denied"), "the file is root's");
    let other = output(&format!("tap --pid {} --duration 0.1 --json {}.other", node.pid(), path.display()));
    assert!(other.status.success(), "{}", words(&other));
}
