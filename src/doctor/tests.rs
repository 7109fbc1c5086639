//! Made-up machines and nodes, and what the doctor says of each. In: facts of a machine and a node on which all is well, which
//! `tests/machine.rs` and `tests/target.rs` change. Out: the report of these, and the form of any report.

mod machine;
mod target;

use std::{collections::BTreeSet, io};

use super::{
    Check, Report, Status, checks,
    facts::{Attached, Machine, Program, Target},
};
use crate::{
    node::error::Error,
    node::probes::{Location, Probe, READABLE},
    node::process::{DataDirectory, Image, Node},
    privileges::Capabilities,
    tracepoint::{Tracepoint, Tracepoints},
};

const CAP_SYS_PTRACE: u64 = 1 << 19;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;
const ALL: u64 = (1 << 41) - 1;

fn good_machine() -> Machine {
    let options =
        ["CONFIG_BPF_EVENTS", "CONFIG_BPF_SYSCALL", "CONFIG_PERF_EVENTS", "CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"];
    Machine {
        release: "6.12.0-amd64".into(),
        architecture: "x86_64".into(),
        options: Some(options.map(String::from).into()),
        uprobes: Some(true),
        btf: true,
        lockdown: Some("[none] integrity confidentiality".into()),
        perf_event_paranoid: Some(2),
        capabilities: Some(Capabilities(ALL)),
        is_root: false,
        no_new_privileges: false,
        seccomp_filter: false,
        initial_user_namespace: Some(true),
        initial_pid_namespace: Some(true),
        hidepid: None,
        open_files: Some(1024),
        tool: "/usr/bin/bitcointap".into(),
        loaded: Some(Ok(())),
    }
}

fn probe(tracepoint: Tracepoint, arguments: usize) -> Probe {
    let place = Location { address: 0x1000, arguments: vec![READABLE.into(); arguments], code: vec![0x90] };
    Probe { name: tracepoint.name().into(), places: vec![place], semaphore: Some(0x2000) }
}

/// Probes of a release that has these tracepoints.
fn probes(words: &str) -> Vec<Probe> {
    probes_of(set(words))
}

fn probes_of(tracepoints: Tracepoints) -> Vec<Probe> {
    let arguments = |tracepoint: Tracepoint| (0..9).find(|&number| tracepoint.supports(number)).unwrap();
    tracepoints.iter().map(|tracepoint| probe(tracepoint, arguments(tracepoint))).collect()
}

fn set(words: &str) -> Tracepoints {
    words.parse().unwrap()
}

fn program(probes: Result<Vec<Probe>, Error>) -> Program {
    Program { path: "/bin/bitcoind".into(), probes, absence: Error::NoTracepoints("/bin/bitcoind".into()) }
}

fn good_target() -> Target {
    let node = Node {
        pid: 7,
        program: "/bin/bitcoind".into(),
        start_time: 0.0,
        started: 0,
        data: DataDirectory { directory: Some("/data".into()), ..DataDirectory::default() },
        image: Image::default(),
        file: None,
    };
    Target {
        program: Some(program(Ok(probes("all")))),
        node: Ok(node),
        other_users: false,
        listened_to: Some(Ok(Tracepoints::default())),
        ptrace_scope: None,
        other_bitcointaps: vec![],
        attached: Some((Tracepoint::UtxocacheFlush, Ok(Attached::Verified))),
    }
}

fn no_node() -> Target {
    Target { node: Err(Error::NoNode), program: None, listened_to: None, attached: None, ..good_target() }
}

fn without_caps(bits: u64) -> Machine {
    let machine = Machine { capabilities: Some(Capabilities(ALL & !bits)), ..good_machine() };
    Machine { loaded: machine.may_load().then_some(Ok(())), ..machine }
}

fn check(name: &str, machine: &Machine, target: &Target) -> Check {
    checks(machine, target).into_iter().find(|check| check.name == name).expect("each is always there")
}

#[track_caller]
fn says(check: Check, status: Status, detail: &str, advice: &str) {
    assert_eq!((check.status, check.detail.as_str()), (status, detail));
    assert_eq!(check.advice.as_deref().unwrap_or_default(), advice);
}

#[track_caller]
fn machine_says(name: &str, machine: Machine, status: Status, detail: &str, advice: &str) {
    says(check(name, &machine, &good_target()), status, detail, advice);
}

#[track_caller]
fn target_says(name: &str, target: Target, status: Status, detail: &str, advice: &str) {
    says(check(name, &good_machine(), &target), status, detail, advice);
}

#[test]
fn all_is_fine() {
    let report = Report::new(checks(&good_machine(), &good_target()));
    assert_eq!(report.verdict(), Status::Ok);
    assert_eq!(
        report.to_string(),
        format!(
            "\
ok    kernel               Linux 6.12.0-amd64
ok    architecture         x86_64
ok    kernel_config        the kernel is built with uprobes and BPF
ok    btf                  the kernel has /sys/kernel/btf/vmlinux, which is not needed
ok    lockdown             none, which permits tracing
ok    capabilities         all needed ones are there: CAP_BPF and CAP_PERFMON
ok    perf_event_paranoid  2, which does not matter with CAP_PERFMON
ok    processes            bitcointap sees all processes of the machine
ok    seccomp              no filter of system calls is active
ok    open_files           up to 1024
ok    load                 the kernel accepts all BPF programs
ok    node                 pid 7 /bin/bitcoind (data directory /data)
ok    program              /bin/bitcoind can be read
ok    tracepoints          {all} of {all}
ok    other_taps           no other tracer is attached to the node's tracepoints
ok    attach               utxocache:flush was attached for a moment
bitcointap works here",
            all = Tracepoint::COUNT
        )
    );
}

#[test]
fn the_worst_decides_and_advice_is_indented() {
    let report = |statuses: &[Status]| {
        let checks = statuses.iter().map(|&status| Check::new("name", status, "detail")).collect();
        Report::new(checks)
    };
    use Status::{Failed, Ok, Unknown, Warning};
    assert_eq!(report(&[Ok, Unknown]).verdict(), Ok);
    assert_eq!(report(&[Ok, Warning, Unknown]).verdict(), Warning);
    assert_eq!(report(&[Failed, Warning, Unknown]).verdict(), Failed);

    let checks = vec![
        Check::warning("short", "odd").advise("one way\nanother way"),
        Check::failed("longer", "bad"),
        Check::unknown("x", "dark"),
    ];
    let report = Report::new(checks);
    assert_eq!(
        report.to_string(),
        "\
warn  short   odd
                one way
                another way
FAIL  longer  bad
?     x       dark
bitcointap does not work here yet: fix what the FAIL line says: longer"
    );
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::json!({"verdict": "failed", "checks": [
            {"name": "short", "status": "warning", "detail": "odd", "advice": "one way\nanother way"},
            {"name": "longer", "status": "failed", "detail": "bad"},
            {"name": "x", "status": "unknown", "detail": "dark"},
        ]})
    );
    let two = Report::new(vec![Check::failed("node", "bad"), Check::failed("load", "bad")]);
    assert!(two.to_string().ends_with("\nbitcointap does not work here yet: fix what the FAIL lines say: node, load"));
    let warned = Report::new(vec![Check::warning("short", "odd")]);
    assert!(warned.to_string().ends_with("\nbitcointap works here; look at: short"));
}
