//! The tool has few privileges, and fewer once it is attached: what each of its threads holds, as the kernel shows.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    node::{Simnode, copy_program, program},
    tool::{Attached, Exporter, Nobody, bitcointap, eventually, output},
};

/// Bits of linux/capability.h.
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// As setpriv writes them.
const TRACING: &str = "-all,+bpf,+perfmon";
const TRACING_OTHERS: &str = "-all,+bpf,+perfmon,+sys_ptrace";

/// A line of a thread's status.
fn line(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("Linux says it").trim().to_owned()
}

fn capabilities(status: &str, set: &str) -> u64 {
    u64::from_str_radix(&line(status, set), 16).expect("a number")
}

/// The status of each thread, that of the main one first.
fn threads(pid: u32) -> Vec<String> {
    let read = |id: &Path| fs::read_to_string(id.join("status")).ok();
    let main = read(Path::new(&format!("/proc/{pid}/task/{pid}"))).expect("it runs");
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").map(|entry| entry.expect("it runs").path());
    let others = tasks.filter(|path| !path.ends_with(pid.to_string())).filter_map(|path| read(&path));
    [main].into_iter().chain(others).collect()
}

/// Asserts what the main thread and all others hold, and that none can gain more. Returns the others' names.
fn assert_held(pid: u32, main: u64) -> Vec<String> {
    let holds = |status: &str, set: u64| ["CapPrm", "CapEff"].iter().all(|name| capabilities(status, name) == set);
    // A thread that has just started drops its own first.
    let threads = eventually("as few capabilities", || {
        let threads = threads(pid);
        let (first, others) = threads.split_first()?;
        (holds(first, main) && others.iter().all(|status| holds(status, 0))).then_some(threads)
    });
    for status in &threads {
        assert_eq!((capabilities(status, "CapInh"), capabilities(status, "CapAmb")), (0, 0), "{status}");
        assert_eq!((line(status, "NoNewPrivs"), line(status, "Seccomp")), ("1".into(), "2".into()), "{status}");
    }
    let mut names: Vec<String> = threads[1..].iter().map(|status| line(status, "Name")).collect();
    names.sort();
    names
}

fn ended(exporter: &Exporter) {
    eventually("the node's end", || (exporter.scrape().sum("up", &[]) == 0.0).then_some(()));
}

#[test]
fn two_capabilities_follow_a_node_of_the_same_user() {
    let nobody = Nobody::new();
    let program = nobody.copy_of("simnode-v31");
    let list = program.with_file_name("list");
    fs::write(&list, "192.0.2.0/24\n").unwrap();
    let arguments = format!(
        "--events all --json /dev/null --address-list list={} --bitcoind {}",
        list.display(),
        program.display()
    );
    let start = |arguments: &str| nobody.bitcointap(TRACING, arguments);
    let exporter = Exporter::start_by(start, &arguments, "waiting for a node");
    let pid = exporter.process.pid();
    let others = ["dump", "http", "log", "output", "reload"];
    assert_eq!(assert_held(pid, BPF | PERFMON), others);
    let mut fired = 0;
    for run in [1.0, 2.0] {
        let mut node =
            Simnode::start_command(nobody.command(&program, "-all").args(["--count", "1000", "--rate", "max"]));
        exporter.wait_for_attachment(run);
        assert_held(pid, BPF | PERFMON);
        node.fire();
        fired += node.tally().tracepoints().values().sum::<u64>();
        ended(&exporter);
        assert_eq!(exporter.scrape().sum("events_total", &[]), fired as f64, "run {run}");
    }
    exporter.stop();
}

#[test]
fn a_third_one_follows_a_node_of_root() {
    let nobody = Nobody::new();
    let program = nobody.copy_of("simnode-v31");
    let start = |arguments: &str| nobody.bitcointap(&format!("{TRACING_OTHERS},+net_admin"), arguments);
    let exporter =
        Exporter::start_by(start, &format!("--bitcoind {} --events all", program.display()), "waiting for a node");
    for run in [1.0, 2.0] {
        let mut node = Simnode::start_program(&program, "--count 1000 --rate max --linger");
        exporter.wait_for_attachment(run);
        assert_held(exporter.process.pid(), BPF | PERFMON | SYS_PTRACE);
        node.fire();
        let fired: u64 = node.read_tally().tracepoints().values().sum();
        eventually("all events", || (exporter.scrape().sum("events_total", &[]) == fired as f64 * run).then_some(()));
        node.signal(Signal::KILL);
        ended(&exporter);
    }
    exporter.stop();
}

#[test]
fn once_all_are_dropped_the_run_is_counted_to_its_end_and_none_is_followed() {
    let nobody = Nobody::new();
    let program = nobody.copy_of("simnode-v31");
    let arguments = format!("--events all --drop-capabilities all --bitcoind {}", program.display());
    let start = |arguments: &str| nobody.bitcointap(TRACING_OTHERS, arguments);
    let mut exporter = Exporter::start_by(start, &arguments, "waiting for a node");
    let pid = exporter.process.pid();
    assert_eq!(assert_held(pid, BPF | PERFMON | SYS_PTRACE), ["dump", "http", "log", "reload"]);
    let mut node = Simnode::start_program(&program, "--count 1000 --rate max");
    exporter.process.read_log_until("attached to", 1);
    assert_eq!(assert_held(pid, 0), ["dump", "http", "log", "reload"]);
    // It is looked after each second, now without reaching its program.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    node.fire();
    let fired: u64 = node.tally().tracepoints().values().sum();
    exporter.process.read_log_until("not waiting for the next run of the node", 1);

    let next = Simnode::start_program(&program, "");
    thread::sleep(Duration::from_secs(1));
    let metrics = exporter.scrape();
    assert_eq!((metrics.sum("up", &[]), metrics.sum("attachments_total", &[])), (0.0, 1.0));
    assert_eq!(metrics.sum("events_total", &[]), fired as f64, "served on");
    drop(next);
    assert_eq!(exporter.stop().matches("waiting for a node").count(), 1, "before the first only");
}

#[test]
fn a_tap_of_one_run_holds_none_while_it_reads() {
    let nobody = Nobody::new();
    let directory = tempfile::tempdir().unwrap();
    let lines = directory.path().join("lines");
    for (capabilities, drops, held) in [
        (TRACING_OTHERS, "", 0),
        (TRACING_OTHERS, "--drop-capabilities keep-for-reattach", BPF | PERFMON | SYS_PTRACE),
        ("-all,+sys_admin,+sys_ptrace", "--drop-capabilities keep-for-reattach", SYS_ADMIN | SYS_PTRACE),
    ] {
        let mut node = Simnode::start("v31", "--count 1000 --rate max");
        let mut command = nobody.bitcointap(capabilities, &format!("tap --events all --pid {} {drops}", node.pid()));
        command.stdout(fs::File::create(&lines).unwrap());
        let mut tap = Attached::spawn(command);
        assert_eq!(assert_held(tap.pid(), held), ["log", "output"]);
        node.fire();
        let fired: u64 = node.tally().tracepoints().values().sum();
        assert!(tap.wait().success(), "{}", tap.log);
        assert_eq!(fs::read_to_string(&lines).unwrap().lines().count() as u64, fired);
    }
}

#[test]
fn root_keeps_no_more_than_others() {
    let own = capabilities(&fs::read_to_string("/proc/self/status").unwrap(), "CapEff");
    let kept = own & (BPF | PERFMON | SYS_PTRACE | DAC_READ_SEARCH);
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("bitcoind");
    copy_program(&program("simnode-v31"), &copy);
    // Owned by another user, and closed to others.
    chown(&copy, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    let exporter = Exporter::start_waiting(&format!("--bitcoind {}", copy.display()));
    let pid = exporter.process.pid();
    for run in [1.0, 2.0] {
        let node = Simnode::start_program(&copy, "");
        exporter.wait_for_attachment(run);
        assert_held(pid, kept);
        drop(node);
        ended(&exporter);
    }
    assert_eq!(capabilities(&threads(pid)[0], "CapBnd"), 0);
    exporter.stop();

    let node = Simnode::start("v31", "");
    let tap = Attached::spawn(bitcointap(&format!("tap --pid {}", node.pid())));
    assert_held(tap.pid(), 0);
}

#[test]
fn what_will_be_read_again_without_capabilities_is_read_so_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("others");
    fs::write(&file, "").unwrap();
    chown(&file, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for option in ["--web.config.file ", "--address-list list="] {
        let output = output(&format!("export --web.listen-address 127.0.0.1:0 {option}{}", file.display()));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(file.to_str().unwrap()) && words.contains("Permission denied"), "{words}");
    }
}

#[test]
fn what_reaching_a_program_takes_is_named() {
    let nobody = Nobody::new();
    let program = nobody.copy_of("simnode-v31");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).unwrap();
    let node = Simnode::start_program(&program, "");
    let words = |capabilities: &str| {
        let output = nobody.output(capabilities, &format!("tap --count 1 --pid {}", node.pid()));
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
    };
    let others = words(TRACING);
    assert!(others.ends_with("the process of another user needs root or CAP_SYS_PTRACE"), "{others}");
    let unreadable = words(TRACING_OTHERS);
    assert!(unreadable.ends_with("needs its owner, root or CAP_DAC_READ_SEARCH"), "{unreadable}");
    let all = format!("{TRACING_OTHERS},+dac_read_search");
    let tap = Attached::spawn(nobody.bitcointap(&all, &format!("tap --pid {}", node.pid())));
    assert_held(tap.pid(), 0);
}
