//! What `bitcointap doctor` says of a node that can be tapped, and of nodes and machines where it cannot.

use std::{fs, path::Path, process::Output};

use bitcointap::tracepoint::{Tracepoint, Tracepoints};
use serde_json::{Value, json};

use crate::{
    command_line::alone,
    node::{Simnode, copy_program, program},
    tool::{Exporter, Nobody, eventually, output},
};

/// The checks, in their order.
const NAMES: [&str; 16] = [
    "kernel",
    "architecture",
    "kernel_config",
    "btf",
    "lockdown",
    "capabilities",
    "perf_event_paranoid",
    "processes",
    "seccomp",
    "open_files",
    "load",
    "node",
    "program",
    "tracepoints",
    "other_taps",
    "attach",
];

/// A report as JSON.
pub struct Report(Value);

impl Report {
    pub fn of(output: &Output) -> Self {
        let text = str::from_utf8(&output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty());
        let report = Self(serde_json::from_str(text).unwrap());
        let names: Vec<_> = report.checks().iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
        let failed = report.0["verdict"] == "failed";
        assert_eq!(output.status.code(), Some(if failed { 1 } else { 0 }));
        assert_eq!(report.checks().iter().any(|check| check["status"] == "failed"), failed);
        report
    }

    pub fn run(arguments: &str) -> Self {
        Self::of(&output(&format!("doctor --format json {arguments}")))
    }

    fn checks(&self) -> &[Value] {
        self.0["checks"].as_array().unwrap()
    }

    fn check(&self, name: &str) -> &Value {
        self.checks().iter().find(|check| check["name"] == name).unwrap()
    }

    /// Status and detail of a check.
    pub fn told(&self, name: &str) -> (String, String) {
        let text = |key: &str| self.check(name)[key].as_str().unwrap().to_owned();
        (text("status"), text("detail"))
    }

    #[track_caller]
    fn says(&self, name: &str, status: &str, detail: &str) {
        let check = self.check(name);
        assert_eq!((&check["status"], &check["detail"]), (&json!(status), &json!(detail)));
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.checks().iter().filter(|check| check["status"] == "failed");
        failed.map(|check| check["name"].as_str().unwrap()).collect()
    }
}

#[test]
fn a_node_that_can_be_tapped() {
    let node = Simnode::start("v31", "");
    let report = Report::run(&format!("--pid {}", node.pid()));
    assert_eq!(report.failed(), [""; 0]);
    let simnode = program("simnode-v31").canonicalize().unwrap();
    let found = report.check("node")["detail"].as_str().unwrap();
    assert!(found.starts_with(&format!("pid {} {}", node.pid(), simnode.display())), "{found}");
    report.says("capabilities", "ok", "all needed ones are there: CAP_BPF and CAP_PERFMON");
    report.says("load", "ok", "the kernel accepts all BPF programs");
    report.says("program", "ok", &format!("{} can be read", simnode.display()));
    let all = Tracepoint::COUNT;
    report.says("tracepoints", "ok", &format!("{all} of {all}"));
    report.says("other_taps", "ok", "no other tracer is attached to the node's tracepoints");
    report.says("attach", "ok", "coin_selection:attempting_aps_create_tx was attached for a moment");
}

#[test]
fn it_leaves_nothing_behind_and_the_node_fires_as_before() {
    let mut node = Simnode::start("v31", "--count 1000");
    for _ in 0..2 {
        let report = Report::run(&format!("--pid {}", node.pid()));
        report.says("other_taps", "ok", "no other tracer is attached to the node's tracepoints");
    }
    node.fire();
    assert_eq!(node.tally().tracepoints().values().sum::<u64>(), 1000);
}

/// Whether a node of this release, older than v29, lacks what later releases have.
#[track_caller]
fn assert_lacks(detail: &str, release: &str) {
    let all = Tracepoint::COUNT;
    let has = Tracepoint::all().filter(|it| it.since() <= release).count();
    assert!(detail.starts_with(&format!("{has} of {all}; absent: ")), "{detail}");
    let of_v29: Tracepoints = Tracepoint::all().filter(|it| it.since() == "v29").collect();
    assert!(detail.contains(&format!("{of_v29} (since v29)")), "{detail}");
}

#[test]
fn people_get_a_line_for_each_check_and_a_verdict() {
    let node = Simnode::start("v25", "");
    let output = output(&format!("doctor --pid {}", node.pid()));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for (name, line) in NAMES.iter().zip(text.lines().filter(|line| !line.starts_with(' '))) {
        assert_eq!(line.split_whitespace().nth(1), Some(*name), "{text}");
    }
    let line = text.lines().find(|line| line.starts_with("warn  tracepoints          ")).expect("it warns");
    assert_lacks(line.trim_start_matches("warn  tracepoints          "), "v25");
    assert!(text.lines().last().unwrap().starts_with("bitcointap works here"), "{text}");
}

#[test]
fn other_taps_are_seen_with_semaphores_and_without() {
    for layout in ["v31", "v26"] {
        let node = Simnode::start(layout, "");
        let exporter = Exporter::start(&format!("--pid {} --events mempool:added,utxocache:flush", node.pid()));
        let report = Report::run(&format!("--pid {}", node.pid()));
        assert_eq!(report.0["verdict"], "warning", "{layout}");
        let detail = "another tracer is attached to 2 tracepoints: mempool:added, utxocache:flush";
        report.says("other_taps", "warning", detail);
        let advice = report.check("other_taps")["advice"].as_str().unwrap();
        let (_, pids) = advice.split_once("\nbitcointap runs as pid ").expect("there is one");
        assert!(pids.split(", ").any(|pid| pid == exporter.process.pid().to_string()), "{advice}");
        report.says("attach", "ok", "coin_selection:attempting_aps_create_tx was attached for a moment");

        exporter.stop();
        eventually("nobody listens", || {
            let report = Report::run(&format!("--pid {}", node.pid()));
            (report.check("other_taps")["status"] == "ok").then_some(())
        });
    }
}

/// A copy, so that no other test runs it.
fn copied(directory: &Path, program: &Path) -> String {
    let path = directory.join("program");
    copy_program(program, &path);
    path.display().to_string()
}

#[test]
fn a_program_that_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = copied(directory.path(), &program("simnode-v23"));
    let report = Report::run(&format!("--bitcoind {path}"));
    assert_eq!(report.failed(), ["node"]);
    let problem = format!("no process runs {path}: start it, or name the process by --pid");
    report.says("node", "failed", &problem);
    report.says("program", "ok", &format!("{path} can be read"));
    let (status, detail) = report.told("tracepoints");
    assert_eq!(status, "warning");
    assert_lacks(&detail, "v23");
    report.says("load", "ok", "the kernel accepts all BPF programs");
    report.says("attach", "unknown", "not tried without a node that has tracepoints");

    let text = String::from_utf8(output(&format!("doctor --bitcoind {path}")).stdout).unwrap();
    assert!(text.contains(&format!("\nFAIL  node                 {problem}\n")), "{text}");
    assert!(text.ends_with("\nbitcointap does not work here yet: fix what the FAIL line says: node\n"), "{text}");
}

#[test]
fn a_program_without_tracepoints() {
    // A program that runs: this test.
    let path = std::env::current_exe().unwrap().display().to_string();
    let report = Report::run(&format!("--pid {}", std::process::id()));
    assert_eq!(report.failed(), ["tracepoints"]);
    let is_it_the_node = format!(
        "pid {} runs {path}, which has no tracepoints of Bitcoin Core: is it the node? Without --pid, --pid-file and --bitcoind, \
         bitcointap finds the node; own builds need cmake -DWITH_USDT=ON",
        std::process::id()
    );
    report.says("tracepoints", "failed", &is_it_the_node);
    report.says("attach", "unknown", "not tried without a node that has tracepoints");

    let directory = tempfile::tempdir().unwrap();
    let path = copied(directory.path(), Path::new(env!("CARGO_BIN_EXE_bitcointap")));
    let report = Report::run(&format!("--bitcoind {path}"));
    assert_eq!(report.failed(), ["node", "tracepoints"]);
    let no_tracepoints = format!(
        "{path} has no tracepoints of Bitcoin Core: the release binaries for Linux have them, own builds need cmake \
         -DWITH_USDT=ON"
    );
    report.says("tracepoints", "failed", &no_tracepoints);

    let path = directory.path().join("script").display().to_string();
    fs::write(&path, "#!/bin/sh\n").unwrap();
    let report = Report::run(&format!("--bitcoind {path}"));
    assert_eq!(report.failed(), ["node", "program"]);
    let words = report.check("program")["detail"].as_str().unwrap();
    assert!(words.starts_with(&format!("{path} is not a 64-bit ELF program: ")), "{words}");
}

#[test]
fn no_node_in_a_container() {
    let report = Report::of(&alone("$BITCOINTAP doctor --format json"));
    assert_eq!(report.failed(), ["node"]);
    report.says(
        "processes",
        "warning",
        "bitcointap sees only its own pid namespace (a container), and the node is not in it",
    );
    let words = report.check("node")["detail"].as_str().unwrap();
    assert!(words.starts_with("no running bitcoind, bitcoin-qt or bitcoin-node found"), "{words}");
}

#[test]
fn too_few_capabilities() {
    let node = Simnode::start("v31", "");
    let nobody = Nobody::new();
    let run = |capabilities: &str| {
        Report::of(&nobody.output(capabilities, &format!("doctor --format json --pid {}", node.pid())))
    };
    let report = run("-all");
    assert_eq!(report.failed(), ["capabilities", "program"]);
    let missing = "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are missing; the node is another user's";
    report.says("capabilities", "failed", missing);
    let advice = format!(
        "run bitcointap as root, for example with sudo, or give it what it needs:\n\
         a program:  setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep {}\n\
         a service:  AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_SYS_PTRACE\n\
         a container:  docker run --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE",
        nobody.tool().display()
    );
    assert_eq!(report.check("capabilities")["advice"], advice);
    report.says("load", "unknown", "not tried, since capabilities are missing");

    let report = run("-all,+bpf,+perfmon");
    assert_eq!(report.failed(), ["capabilities", "program"]);
    report.says("capabilities", "failed", "CAP_SYS_PTRACE is missing; the node is another user's");
    report.says("load", "ok", "the kernel accepts all BPF programs");
    let words = report.check("program")["detail"].as_str().unwrap();
    assert!(words.ends_with("the process of another user needs root or CAP_SYS_PTRACE"), "{words}");

    let report = run("-all,+bpf,+perfmon,+sys_ptrace");
    assert_eq!(report.failed(), [""; 0]);
    report.says("attach", "ok", "coin_selection:attempting_aps_create_tx was attached for a moment");
    report.says("other_taps", "ok", "no other tracer is attached to the node's tracepoints");
}

#[test]
fn few_open_files_are_told() {
    let node = Simnode::start("v31", "");
    let script =
        format!("ulimit -n 64; {} doctor --format json --pid {}", env!("CARGO_BIN_EXE_bitcointap"), node.pid());
    let report = Report::of(&std::process::Command::new("sh").args(["-c", &script]).output().unwrap());
    report.says("open_files", "warning", "up to 64, too few to attach all tracepoints: each takes about ten");
    assert_eq!(report.0["verdict"], "warning");
}

#[test]
fn wrong_usage_is_no_verdict() {
    for wrong in ["--format xml", "--pid 1 --bitcoind /bin/true", "--events net"] {
        let output = output(&format!("doctor {wrong}"));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(output.stdout.is_empty());
    }
}
