//! Runs the tool as a process. In: arguments. Out: its output, its log, and scrapes of its metrics.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    exposition::{Exposition, get},
    node::{Tally, copy_program, program},
};

/// Long enough for a slow machine: whatever takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn bitcointap(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcointap"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs the tool to its end.
pub fn output(arguments: &str) -> Output {
    bitcointap(arguments).output().expect("bitcointap starts")
}

/// A user without privileges. It has a copy of the tool, since it may not be able to read the build directory.
pub struct Nobody {
    directory: TempDir,
}

impl Nobody {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
        let nobody = Self { directory: directory.expect("a directory can be made") };
        copy_program(Path::new(env!("CARGO_BIN_EXE_bitcointap")), &nobody.tool());
        nobody
    }

    pub fn tool(&self) -> PathBuf {
        self.directory.path().join("bitcointap")
    }

    /// Copies a program of the workspace.
    pub fn copy_of(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        copy_program(&program(name), &path);
        path
    }

    /// The tool with `capabilities`, in setpriv's notation.
    pub fn bitcointap(&self, capabilities: &str, arguments: &str) -> Command {
        let mut command = self.command(&self.tool(), capabilities);
        command.args(arguments.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Any program that this user can run.
    pub fn command(&self, program: &Path, capabilities: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(format!("--inh-caps={capabilities}")).arg(format!("--ambient-caps={capabilities}")).arg(program);
        command
    }

    /// Runs the tool to its end with `capabilities`, in setpriv's notation.
    pub fn output(&self, capabilities: &str, arguments: &str) -> Output {
        self.bitcointap(capabilities, arguments).output().expect("util-linux has setpriv")
    }
}

/// Where `make test` puts what only tests need.
pub fn fetched_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

/// Where its programs are. `make test-matrix` sets another folder, with other versions.
pub fn tools() -> PathBuf {
    std::env::var_os("TOOLS").map_or_else(fetched_tools, PathBuf::from)
}

/// A program that `make test` puts into target/tools, or that is installed. If it is missing, the test is skipped, or fails if the
/// environment has the variable `required`.
pub fn fetched(name: &str, required: &str) -> Option<PathBuf> {
    let fetched = tools().join(name);
    let path = if fetched.exists() { fetched } else { name.into() };
    // tmux knows only the short option.
    let runs = |option| {
        let status = Command::new(&path).arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if runs("--version") || runs("-V") {
        return Some(path);
    }
    // The variable says that no test may be skipped.
    assert!(std::env::var_os(required).is_none(), "{name} is missing");
    println!("skipped: {name} is not here");
    None
}

/// Stops an exporter again and again, until its ring buffer has overflowed meanwhile: how long that takes depends on how fast the node
/// fires. Gives how many events were lost.
pub fn pause_until_lost(exporter: &Exporter) -> f64 {
    let pid = exporter.process.pid();
    eventually("a loss", || {
        signal(pid, Signal::STOP);
        thread::sleep(Duration::from_secs(2));
        signal(pid, Signal::CONT);
        Some(exporter.scrape().sum("events_lost_total", &[])).filter(|&lost| lost > 0.0)
    })
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid is not 0");
    kill_process(pid, signal).expect("the process is there");
}

/// Repeats a question until it has an answer.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(10));
    }
}

/// How many entries a folder of a process in /proc has: open files in `fd`, threads in `task`.
pub fn entries(pid: u32, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{folder}")).expect("it runs").count()
}

/// Resident memory in KiB, without the ring buffer and the program file.
pub fn memory(pid: u32) -> u64 {
    kib(pid, "RssAnon:")
}

/// Whether none of its threads is doing anything.
fn is_idle(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").all(|task| {
        let stat = fs::read_to_string(task.expect("it runs").path().join("stat")).unwrap_or_default();
        // After the name, which may contain brackets.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

/// A value in KiB of a process' status in /proc.
fn kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let number = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
    number.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of KiB")
}

/// `bitcointap tap` or `export` as a process that has attached.
pub struct Attached {
    pub child: Child,
    stderr: BufReader<ChildStderr>,
    pub log: String,
}

impl Attached {
    pub fn spawn(command: Command) -> Self {
        Self::spawn_until(command, "attached to")
    }

    /// Starts it, and waits until its log has these words.
    pub fn spawn_until(mut command: Command, words: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("bitcointap starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut attached = Self { child, stderr, log: String::new() };
        attached.read_log_until(words, 1);
        attached
    }

    /// Reads its log until it has the words `times` times.
    pub fn read_log_until(&mut self, words: &str, times: usize) {
        while self.log.matches(words).count() < times {
            assert!(self.stderr.read_line(&mut self.log).expect("it logs") > 0, "bitcointap ended: {}", self.log);
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&self) {
        signal(self.pid(), Signal::TERM);
    }

    /// Sends SIGHUP, and reads its log up to a line with `words`.
    pub fn hang_up(&mut self, words: &str) {
        self.signal(Signal::HUP, words);
    }

    /// Sends a signal, and reads its log up to a line with `words`, which it gives.
    pub fn signal(&mut self, signal: Signal, words: &str) -> &str {
        self::signal(self.pid(), signal);
        let before = self.log.len();
        while !self.log[before..].contains(words) {
            assert!(self.stderr.read_line(&mut self.log).expect("it logs") > 0, "bitcointap ended: {}", self.log);
        }
        self.log[before..].lines().last().unwrap_or_default()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the end", || self.child.try_wait().expect("it can be waited for"));
        self.stderr.read_to_string(&mut self.log).expect("its log is text");
        status
    }

    /// The largest resident memory so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        kib(self.pid(), "VmHWM:")
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `bitcointap export`, attached and listening.
pub struct Exporter {
    pub process: Attached,
    pub address: String,
}

impl Exporter {
    pub fn start(arguments: &str) -> Self {
        Self::start_by(bitcointap, arguments, "attached to")
    }

    /// Starts it without a node.
    pub fn start_waiting(arguments: &str) -> Self {
        Self::start_by(bitcointap, arguments, "waiting for a node")
    }

    /// Starts it by a command that has all arguments, and waits until its log has `words`.
    pub fn start_by(command: impl FnOnce(&str) -> Command, arguments: &str, words: &str) -> Self {
        let address = free_address();
        let command = command(&format!("export --web.listen-address {address} {arguments}"));
        Self { process: Attached::spawn_until(command, words), address }
    }

    pub fn scrape(&self) -> Exposition {
        eventually("a scrape", || Exposition::scrape(&self.address))
    }

    /// Waits until it has attached `number` times.
    pub fn wait_for_attachment(&self, number: f64) {
        eventually("an attachment", || (self.scrape().sum("attachments_total", &[]) == number).then_some(()));
    }

    /// The text of a scrape that has counted all events of `tally`, while the node lingers.
    pub fn settled(&self, tally: &Tally) -> String {
        self.settled_events(tally);
        // The scrape that showed this may have begun before the last events.
        eventually("a scrape", || get(&self.address, "/metrics"))
    }

    /// Waits until all events of `tally` are counted.
    pub fn settled_events(&self, tally: &Tally) {
        all_counted(tally, || Some(self.scrape()));
    }

    /// A scrape after the node's end, when all events are drained.
    pub fn last_scrape(&self) -> Exposition {
        eventually("the node's end", || (self.scrape().sum("up", &[]) == 0.0).then_some(()));
        // The scrape that showed this may have begun before the last counts: `up` comes near its end.
        self.scrape()
    }

    /// Its memory while no node runs, after all links are detached and their memory is freed. `descriptors` is how many files were open
    /// without a link.
    pub fn memory_at_rest(&self, descriptors: usize) -> u64 {
        let pid = self.process.pid();
        eventually("rest", || (entries(pid, "fd") <= descriptors && is_idle(pid)).then(|| memory(pid)))
    }

    /// A scrape after the node's end, when each event for an output of JSON lines is written or lost. Some gaps may still wait.
    pub fn last_line(&self, sink: &str) -> Exposition {
        let delivered = self.last_scrape().sum("event_delay_seconds_count", &[]);
        eventually("the last line", || {
            let metrics = self.scrape();
            let lines: f64 =
                ["json_lines_total", "json_lines_lost_total"].map(|it| metrics.sum(it, &[("sink", sink)])).iter().sum();
            (lines >= delivered).then_some(metrics)
        })
    }

    /// Ends it, and asserts that it succeeds. Gives its log.
    pub fn stop(mut self) -> String {
        self.process.terminate();
        let status = self.process.wait();
        assert!(status.success(), "{}", self.process.log);
        std::mem::take(&mut self.process.log)
    }
}

/// The first scrape that has counted all events of `tally`, while the node lingers.
pub fn all_counted(tally: &Tally, mut scrape: impl FnMut() -> Option<Exposition>) -> Exposition {
    let fired: u64 = tally.tracepoints().values().sum();
    eventually("all is counted", || {
        let metrics = scrape()?;
        let counted = ["event_delay_seconds_count", "events_filtered_total", "events_lost_total"];
        (counted.iter().map(|family| metrics.sum(family, &[])).sum::<f64>() == fired as f64).then_some(metrics)
    })
}

pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

/// The tracepoint of an event, derived from its JSON alone; `lost` for a gap.
pub fn tracepoint_of(event: &Value) -> String {
    let (group, event) = event["event"].as_object().unwrap().iter().next().unwrap();
    if group == "Msg" {
        let direction = if event["meta"]["inbound"] == true { "inbound" } else { "outbound" };
        return format!("net:{direction}_message");
    }
    if group == "Lost" {
        return "lost".into();
    }
    let event = event["event"].as_object().unwrap().keys().next().unwrap();
    match (&**group, &**event) {
        ("Conn", "InboundEvicted") => "net:evicted_inbound_connection".into(),
        ("Conn", event) => format!("net:{}_connection", snake_case(event)),
        (group, event) => format!("{}:{}", snake_case(group), snake_case(event)),
    }
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
