//! The tool as a process.

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

/// Long enough for a slow machine; what takes it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn bitcointap(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcointap"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn output(arguments: &str) -> Output {
    bitcointap(arguments).output().expect("bitcointap starts")
}

/// A user without privileges, who has a copy of the tool: the build directory may be out of its reach.
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

    /// A copy of a program of the workspace.
    pub fn copy_of(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        copy_program(&program(name), &path);
        path
    }

    /// The tool, with `capabilities` as setpriv writes them.
    pub fn bitcointap(&self, capabilities: &str, arguments: &str) -> Command {
        let mut command = self.command(&self.tool(), capabilities);
        command.args(arguments.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Any program that this user may run.
    pub fn command(&self, program: &Path, capabilities: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(format!("--inh-caps={capabilities}")).arg(format!("--ambient-caps={capabilities}")).arg(program);
        command
    }

    /// Runs it to its end, with `capabilities` as setpriv writes them.
    pub fn output(&self, capabilities: &str, arguments: &str) -> Output {
        self.bitcointap(capabilities, arguments).output().expect("util-linux has setpriv")
    }
}

/// Where `make test` puts what only tests want.
pub fn fetched_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

/// Where the programs of it are. `make test-matrix` gives them in other versions.
pub fn tools() -> PathBuf {
    std::env::var_os("TOOLS").map_or_else(fetched_tools, PathBuf::from)
}

/// A program that `make test` puts into target/tools, or that is installed. Without it a test is skipped, but not in a run in
/// whose environment `required` stands.
pub fn fetched(name: &str, required: &str) -> Option<PathBuf> {
    let fetched = tools().join(name);
    let path = if fetched.exists() { fetched } else { name.into() };
    // tmux knows the short option only.
    let runs = |option| {
        let status = Command::new(&path).arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if runs("--version") || runs("-V") {
        return Some(path);
    }
    // A run that must not skip says so.
    assert!(std::env::var_os(required).is_none(), "{name} is not here");
    println!("skipped: {name} is not here");
    None
}

/// Stops an exporter again and again, until what comes meanwhile is more than its ring buffer holds: how long that takes depends on how
/// fast the node is.
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

/// Repeats until it gives something.
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

/// How many a process has of what is a folder in /proc: `fd`, open files; `task`, threads.
pub fn entries(pid: u32, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{folder}")).expect("it runs").count()
}

/// KiB that are resident now and are its own: neither the ring buffer's nor its program's.
pub fn memory(pid: u32) -> u64 {
    kib(pid, "RssAnon:")
}

/// Whether none of its threads has anything to do.
fn is_idle(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").all(|task| {
        let stat = fs::read_to_string(task.expect("it runs").path().join("stat")).unwrap_or_default();
        // Behind the name, which may have brackets.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

/// What the status of a process says in KiB.
fn kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let number = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
    number.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of KiB")
}

/// `bitcointap tap` or `export`, attached.
pub struct Attached {
    pub child: Child,
    stderr: BufReader<ChildStderr>,
    pub log: String,
}

impl Attached {
    pub fn spawn(command: Command) -> Self {
        Self::spawn_until(command, "attached to")
    }

    /// Waits until its log has these words.
    pub fn spawn_until(mut command: Command, words: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("bitcointap starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut attached = Self { child, stderr, log: String::new() };
        attached.read_log_until(words, 1);
        attached
    }

    /// Reads its log until it has the words so often.
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

    /// Sends SIGHUP, and reads what it logs up to a line with `words`.
    pub fn hang_up(&mut self, words: &str) {
        signal(self.pid(), Signal::HUP);
        let before = self.log.len();
        while !self.log[before..].contains(words) {
            assert!(self.stderr.read_line(&mut self.log).expect("it logs") > 0, "bitcointap ended: {}", self.log);
        }
    }

    /// Waits for its end.
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

    /// Without a node yet.
    pub fn start_waiting(arguments: &str) -> Self {
        Self::start_by(bitcointap, arguments, "waiting for a node")
    }

    /// By a command that is given all arguments, until its log has `words`.
    pub fn start_by(command: impl FnOnce(&str) -> Command, arguments: &str, words: &str) -> Self {
        let address = free_address();
        let command = command(&format!("export --web.listen-address {address} {arguments}"));
        Self { process: Attached::spawn_until(command, words), address }
    }

    pub fn scrape(&self) -> Exposition {
        eventually("a scrape", || Exposition::scrape(&self.address))
    }

    /// Waits until it has attached so often.
    pub fn wait_for_attachment(&self, number: f64) {
        eventually("an attachment", || (self.scrape().sum("attachments_total", &[]) == number).then_some(()));
    }

    /// The text of a scrape after all that `tally` has was counted, of a node that lingers.
    pub fn settled(&self, tally: &Tally) -> String {
        self.settled_events(tally);
        // That one may have begun before the last events.
        eventually("a scrape", || get(&self.address, "/metrics"))
    }

    /// Waits for all that `tally` has.
    pub fn settled_events(&self, tally: &Tally) {
        all_counted(tally, || Some(self.scrape()));
    }

    /// A scrape after the node's end, when all that it fired is drained.
    pub fn last_scrape(&self) -> Exposition {
        eventually("the node's end", || (self.scrape().sum("up", &[]) == 0.0).then_some(()));
        // That one may have begun before the last counts, and `up` is written near its end.
        self.scrape()
    }

    /// What it holds while no node runs, when all links are let go of and their memory is given back; `descriptors` are those that
    /// it had without any.
    pub fn memory_at_rest(&self, descriptors: usize) -> u64 {
        let pid = self.process.pid();
        eventually("rest", || (entries(pid, "fd") <= descriptors && is_idle(pid)).then(|| memory(pid)))
    }

    /// A scrape after the node's end, when what a sink of JSON had to write is written or lost, but for some gaps.
    pub fn last_line(&self, sink: &str) -> Exposition {
        let delivered = self.last_scrape().sum("event_delay_seconds_count", &[]);
        eventually("the last line", || {
            let metrics = self.scrape();
            let lines: f64 =
                ["json_lines_total", "json_lines_lost_total"].map(|it| metrics.sum(it, &[("sink", sink)])).iter().sum();
            (lines >= delivered).then_some(metrics)
        })
    }

    /// Ends it; it must have nothing against that.
    pub fn stop(mut self) -> String {
        self.process.terminate();
        let status = self.process.wait();
        assert!(status.success(), "{}", self.process.log);
        std::mem::take(&mut self.process.log)
    }
}

/// The first scrape that has all that `tally` has, of a node that lingers.
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

/// The tracepoint of an event, found in its JSON alone; of a gap `lost`.
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
