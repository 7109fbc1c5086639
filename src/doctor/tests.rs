//! Made-up bad machines and nodes, and what the doctor says of each.

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
    let arguments = |tracepoint: Tracepoint| (0..9).find(|&number| tracepoint.supports(number)).unwrap();
    set(words).iter().map(|tracepoint| probe(tracepoint, arguments(tracepoint))).collect()
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
bitcointap does not work here yet: longer"
    );
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::json!({"verdict": "failed", "checks": [
            {"name": "short", "status": "warning", "detail": "odd", "advice": "one way\nanother way"},
            {"name": "longer", "status": "failed", "detail": "bad"},
            {"name": "x", "status": "unknown", "detail": "dark"},
        ]})
    );
    let warned = Report::new(vec![Check::warning("short", "odd")]);
    assert!(warned.to_string().ends_with("\nbitcointap works here; look at: short"));
}

#[test]
fn an_old_kernel() {
    machine_says(
        "kernel",
        Machine { release: "5.15.0-91-generic".into(), ..good_machine() },
        Status::Failed,
        "the kernel 5.15.0-91-generic is too old: bitcointap needs Linux 6.1 or later",
        "",
    );
    machine_says(
        "kernel",
        Machine { release: "custom".into(), ..good_machine() },
        Status::Unknown,
        "Linux \"custom\" does not tell its version",
        "",
    );
}

#[test]
fn another_architecture() {
    machine_says(
        "architecture",
        Machine { architecture: "riscv64".into(), ..good_machine() },
        Status::Warning,
        "bitcointap was not tested on riscv64, only on x86_64 and aarch64",
        "compare what it shows with the node's debug.log before you rely on it",
    );
}

#[test]
fn a_kernel_without_uprobes() {
    let advice = "run a kernel that has them: those of the large distributions do";
    let options: BTreeSet<String> =
        ["CONFIG_BPF_SYSCALL", "CONFIG_PERF_EVENTS", "CONFIG_UPROBES"].map(String::from).into();
    machine_says(
        "kernel_config",
        Machine { options: Some(options), ..good_machine() },
        Status::Failed,
        "the kernel is built without CONFIG_UPROBE_EVENTS, CONFIG_BPF_EVENTS",
        advice,
    );
    machine_says(
        "kernel_config",
        Machine { options: None, uprobes: Some(false), ..good_machine() },
        Status::Failed,
        "the kernel is built without CONFIG_UPROBE_EVENTS",
        advice,
    );
    machine_says(
        "kernel_config",
        Machine { options: None, ..good_machine() },
        Status::Ok,
        "the kernel has uprobes; its configuration cannot be read",
        "",
    );
    machine_says(
        "kernel_config",
        Machine { options: None, uprobes: None, ..good_machine() },
        Status::Unknown,
        "neither the kernel's configuration nor /sys can be read",
        "",
    );
}

#[test]
fn a_kernel_without_its_types() {
    machine_says(
        "btf",
        Machine { btf: false, ..good_machine() },
        Status::Ok,
        "the kernel has no /sys/kernel/btf/vmlinux, which is not needed",
        "",
    );
}

#[test]
fn a_kernel_that_is_locked_down() {
    let machine = |modes: &str| Machine { lockdown: Some(modes.into()), ..good_machine() };
    machine_says(
        "lockdown",
        machine("none integrity [confidentiality]"),
        Status::Failed,
        "confidentiality: the kernel lets no BPF program read a tracepoint's arguments",
        "boot with lockdown=integrity, or without lockdown=confidentiality",
    );
    let detail = "integrity, which permits tracing";
    machine_says("lockdown", machine("none [integrity] confidentiality"), Status::Ok, detail, "");
    let detail = "\"none [secrecy]\" is a mode that bitcointap does not know";
    machine_says("lockdown", machine("none [secrecy]"), Status::Unknown, detail, "");

    let unreadable = || Machine { lockdown: None, ..good_machine() };
    let detail = "it cannot be read, but the kernel accepts programs that it could forbid";
    machine_says("lockdown", unreadable(), Status::Ok, detail, "");
    machine_says(
        "lockdown",
        Machine { loaded: None, ..unreadable() },
        Status::Unknown,
        "/sys/kernel/security/lockdown cannot be read: is securityfs mounted?",
        "",
    );
}

#[test]
fn too_few_capabilities() {
    machine_says(
        "capabilities",
        without_caps(ALL),
        Status::Failed,
        "CAP_BPF and CAP_PERFMON are missing",
        "run it as root, for example with sudo, or give it what it needs:\n\
         a program:  setcap cap_bpf,cap_perfmon+ep /usr/bin/bitcointap\n\
         a service:  AmbientCapabilities=CAP_BPF CAP_PERFMON\n\
         a container:  docker run --cap-add BPF --cap-add PERFMON",
    );
    machine_says("load", without_caps(ALL), Status::Unknown, "not tried, since capabilities are missing", "");
    let attach = check("attach", &without_caps(ALL), &Target { attached: None, ..good_target() });
    says(attach, Status::Unknown, "not tried, since capabilities are missing", "");

    let confined = Machine { no_new_privileges: true, ..without_caps(CAP_PERFMON | CAP_SYS_ADMIN) };
    let check = check("capabilities", &confined, &good_target());
    assert_eq!((check.status, check.detail.as_str()), (Status::Failed, "CAP_PERFMON is missing"));
    let last = "sudo and setcap have no effect here, since no_new_privs is set (NoNewPrivileges= of systemd)";
    assert_eq!(check.advice.unwrap().lines().last(), Some(last));

    let enough = "all needed ones are there: CAP_BPF and CAP_PERFMON";
    machine_says("capabilities", without_caps(!(CAP_BPF | CAP_PERFMON)), Status::Ok, enough, "");
    machine_says("capabilities", without_caps(!CAP_SYS_ADMIN), Status::Ok, enough, "");
    let detail = "/proc/self/status cannot be read: is /proc mounted?";
    machine_says("capabilities", Machine { capabilities: None, ..good_machine() }, Status::Unknown, detail, "");
}

#[test]
fn another_users_node_takes_cap_sys_ptrace() {
    let target = Target { other_users: true, ..good_target() };
    let machine = without_caps(CAP_SYS_PTRACE);
    says(
        check("capabilities", &machine, &target),
        Status::Failed,
        "CAP_SYS_PTRACE is missing; the node is another user's",
        "run it as root, for example with sudo, or give it what it needs:\n\
         a program:  setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep /usr/bin/bitcointap\n\
         a service:  AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_SYS_PTRACE\n\
         a container:  docker run --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE",
    );
    says(
        check("capabilities", &good_machine(), &target),
        Status::Ok,
        "all needed ones are there: CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE; the node is another user's",
        "",
    );
    machine_says("capabilities", machine, Status::Ok, "all needed ones are there: CAP_BPF and CAP_PERFMON", "");
}

#[test]
fn a_rootless_container() {
    machine_says(
        "capabilities",
        Machine { initial_user_namespace: Some(false), ..good_machine() },
        Status::Warning,
        "they are those of a user namespace (a rootless container), which do not count for tracing",
        "run bitcointap outside, as root or with its capabilities, or in a container that is not rootless",
    );
}

#[test]
fn perf_events_for_administrators_only() {
    let machine = |release: &str, paranoid: i32, capabilities: u64| Machine {
        release: release.into(),
        perf_event_paranoid: Some(paranoid),
        capabilities: Some(Capabilities(capabilities)),
        ..good_machine()
    };
    let enough = CAP_BPF | CAP_PERFMON;
    let untried = Target { attached: None, ..good_target() };
    let words = |machine: Machine, target: &Target| check("perf_event_paranoid", &machine, target);
    says(
        words(machine("6.1.0-37-amd64", 3, enough), &untried),
        Status::Warning,
        "3; Linux before 6.6 may need CAP_SYS_ADMIN, whatever the value",
        "if attaching fails: add CAP_SYS_ADMIN, or run as root, or use Linux 6.6 or later",
    );
    let fine = "4, which does not matter with CAP_PERFMON";
    says(words(machine("6.1.0-37-amd64", 4, enough), &good_target()), Status::Ok, fine, "");
    says(words(machine("6.6.0", 4, enough), &untried), Status::Ok, fine, "");
    says(words(machine("6.1.0-37-amd64", 4, ALL), &untried), Status::Ok, fine, "");
    let lowest = words(machine("6.1.0-37-amd64", -1, enough), &untried);
    assert_eq!(lowest.detail, "-1; Linux before 6.6 may need CAP_SYS_ADMIN, whatever the value");
    let detail = "/proc/sys/kernel/perf_event_paranoid cannot be read";
    let unreadable = Machine { perf_event_paranoid: None, ..good_machine() };
    machine_says("perf_event_paranoid", unreadable, Status::Unknown, detail, "");
}

#[test]
fn processes_that_cannot_be_seen() {
    let contained = Machine { initial_pid_namespace: Some(false), ..good_machine() };
    says(
        check("processes", &contained, &no_node()),
        Status::Warning,
        "bitcointap sees only its own pid namespace (a container), and the node is not in it",
        "start the container in the node's pid namespace: docker run --pid=container:NODE, or --pid=host",
    );
    let detail = "bitcointap sees the node from its own pid namespace (a container)";
    machine_says("processes", contained, Status::Ok, detail, "");

    let hidden = || Machine { hidepid: Some("invisible".into()), ..without_caps(CAP_SYS_PTRACE) };
    says(
        check("processes", &hidden(), &no_node()),
        Status::Warning,
        "/proc is mounted with hidepid=invisible, which hides processes of other users",
        "run as root or with CAP_SYS_PTRACE, or in the group that the mount option gid= names",
    );
    let detail = "bitcointap sees the node, although /proc has hidepid=invisible";
    machine_says("processes", hidden(), Status::Ok, detail, "");
    let reaching = Machine { capabilities: Some(Capabilities(ALL)), ..hidden() };
    says(check("processes", &reaching, &no_node()), Status::Ok, "bitcointap sees all processes of the machine", "");
    let unknown = Machine { initial_pid_namespace: None, ..good_machine() };
    machine_says("processes", unknown, Status::Unknown, "/proc/self/ns cannot be read: is /proc mounted?", "");
}

fn refused() -> Error {
    Error::System { action: "create the BPF maps".into(), error: io::ErrorKind::PermissionDenied.into() }
}

#[test]
fn a_filter_of_system_calls() {
    let filtered = |loaded| Machine { seccomp_filter: true, loaded, ..good_machine() };
    let detail = "a filter of system calls is active, and allows the needed ones";
    machine_says("seccomp", filtered(Some(Ok(()))), Status::Ok, detail, "");
    for loaded in [Some(Err(refused())), None] {
        machine_says(
            "seccomp",
            filtered(loaded),
            Status::Warning,
            "a filter of system calls is active, and may refuse needed ones",
            "a service: SystemCallFilter=bpf perf_event_open process_vm_readv besides the others\n\
             a container: a recent docker allows them together with the capabilities; otherwise --security-opt seccomp=PROFILE",
        );
    }
}

#[test]
fn few_open_files() {
    let machine = |open_files| Machine { open_files, ..good_machine() };
    machine_says(
        "open_files",
        machine(Some(255)),
        Status::Warning,
        "up to 255, too few to attach all tracepoints: each takes about ten",
        "ulimit -n 1024, or LimitNOFILE=1024 for a systemd service",
    );
    machine_says("open_files", machine(Some(256)), Status::Ok, "up to 256", "");
    machine_says("open_files", machine(None), Status::Ok, "any number", "");
}

#[test]
fn a_kernel_that_refuses() {
    machine_says(
        "load",
        Machine { loaded: Some(Err(refused())), ..good_machine() },
        Status::Failed,
        "cannot create the BPF maps: permission denied",
        "if no check above says why, a security module may forbid it (SELinux, AppArmor): see the kernel's log",
    );
    let old = Error::KernelTooOld("5.15.0".into());
    let detail = "the kernel 5.15.0 is too old: bitcointap needs Linux 6.1 or later";
    machine_says("load", Machine { loaded: Some(Err(old)), ..good_machine() }, Status::Failed, detail, "");
}

#[test]
fn no_node_runs() {
    let report = Report::new(checks(&good_machine(), &no_node()));
    assert_eq!(report.verdict(), Status::Failed);
    let rest: Vec<_> =
        report.checks()[11..].iter().map(|check| (check.name, check.status, check.detail.as_str())).collect();
    assert_eq!(
        rest,
        [
            (
                "node",
                Status::Failed,
                "no running bitcoind, bitcoin-qt or bitcoin-node found: start one, or name another program by --pid or \
                 --bitcoind"
            ),
            ("program", Status::Unknown, "not known without a node"),
            ("tracepoints", Status::Unknown, "not known without the program"),
            ("other_taps", Status::Unknown, "not known without a node that has tracepoints"),
            ("attach", Status::Unknown, "not tried without a node that has tracepoints"),
        ]
    );
}

#[test]
fn a_program_that_does_not_run_is_looked_at() {
    let target =
        || Target { node: Err(Error::NotRunning("/bin/bitcoind".into())), program: good_target().program, ..no_node() };
    let detail = "no process runs /bin/bitcoind: start it, or name the process by --pid";
    target_says("node", target(), Status::Failed, detail, "");
    target_says("program", target(), Status::Ok, "/bin/bitcoind can be read", "");
    let all = Tracepoint::COUNT;
    target_says("tracepoints", target(), Status::Ok, &format!("{all} of {all}"), "");
}

fn with_probes(probes: Result<Vec<Probe>, Error>) -> Target {
    Target { program: Some(program(probes)), ..good_target() }
}

#[test]
fn a_program_that_cannot_be_read() {
    let problem = Error::NotElf { path: "/bin/bitcoind".into(), problem: "it is a script".into() };
    let target = with_probes(Err(problem));
    says(check("tracepoints", &good_machine(), &target), Status::Unknown, "not known without the program", "");
    let detail = "/bin/bitcoind is not a 64-bit ELF program: it is a script";
    target_says("program", target, Status::Failed, detail, "");
}

#[test]
fn a_program_without_tracepoints() {
    let of_others = Probe { name: "libc:setjmp".into(), ..probe(Tracepoint::NetInboundMessage, 6) };
    target_says(
        "tracepoints",
        with_probes(Ok(vec![of_others])),
        Status::Failed,
        "/bin/bitcoind has no tracepoints of Bitcoin Core: the release binaries for Linux have them, own builds need \
         cmake -DWITH_USDT=ON",
        "",
    );
}

#[test]
fn an_older_release_has_fewer_tracepoints() {
    let mempool = "bitcointap does not see the mempool, nor why transactions are rejected: that needs Bitcoin Core v25 or \
         later";
    let churn = "bitcointap does not see connections that open, close and are evicted (churn), and alerts on them cannot \
     fire: that needs Bitcoin Core v29 or later";
    let v23 = probes("net:inbound_message,net:outbound_message,validation,utxocache");
    target_says(
        "tracepoints",
        with_probes(Ok(v23)),
        Status::Warning,
        "7 of 20; absent: coin_selection (since v24), mempool (since v25), net:inbound_connection, \
         net:outbound_connection, net:evicted_inbound_connection, net:closed_connection, \
         net:misbehaving_connection (since v29)",
        &format!("{mempool}\n{churn}"),
    );
    let v28 = probes("net:inbound_message,net:outbound_message,mempool,validation,utxocache,coin_selection");
    target_says(
        "tracepoints",
        with_probes(Ok(v28)),
        Status::Warning,
        "15 of 20; absent: net:inbound_connection, net:outbound_connection, net:evicted_inbound_connection, \
         net:closed_connection, net:misbehaving_connection (since v29)",
        churn,
    );
}

#[test]
fn tracepoints_with_unknown_arguments() {
    let advice =
        "bitcointap does not attach to these: look for a release of bitcointap that knows this release of Bitcoin Core";
    let mut newer = probes("all");
    newer[Tracepoint::MempoolReplaced.index()] = probe(Tracepoint::MempoolReplaced, 9);
    let detail = "19 of 20; with unknown arguments: mempool:replaced";
    target_says("tracepoints", with_probes(Ok(newer)), Status::Warning, detail, advice);

    let all = Tracepoint::all().map(|tracepoint| probe(tracepoint, 12)).collect();
    let detail = "0 of 20; with unknown arguments: net, mempool, validation, utxocache, coin_selection";
    target_says("tracepoints", with_probes(Ok(all)), Status::Failed, detail, advice);
}

#[test]
fn a_program_that_the_loader_has_started() {
    let absence = Error::StartedByLoader { loader: "/lib/ld-linux.so.2".into(), program: Some("/bin/bitcoind".into()) };
    let target = Target { program: Some(Program { absence, ..program(Ok(vec![])) }), ..good_target() };
    let detail = "/bin/bitcoind was started by the dynamic loader /lib/ld-linux.so.2, which has no tracepoints and which the \
                  kernel takes for the program: start the program itself";
    target_says("tracepoints", target, Status::Failed, detail, "");
    let unknown = Error::StartedByLoader { loader: "/lib/ld-linux.so.2".into(), program: None }.to_string();
    assert!(unknown.starts_with("the process was started by the dynamic loader /lib/ld-linux.so.2, "), "{unknown}");
}

#[test]
fn tracepoints_that_cannot_be_read() {
    let mut odd = probes("all");
    odd[Tracepoint::MempoolAdded.index()].places[0].arguments[2] = "8@%ah".into();
    let detail = "19 of 20; mempool:added: argument 3 has a form that bitcointap cannot read: 8@%ah";
    let advice = "bitcointap does not attach to tracepoints that it cannot read: build the node with another compiler, or \
     other compiler options";
    target_says("tracepoints", with_probes(Ok(odd)), Status::Warning, detail, advice);
}

#[test]
fn somebody_else_listens() {
    let target = |words: &str, other_bitcointaps| Target {
        listened_to: Some(Ok(set(words))),
        other_bitcointaps,
        ..good_target()
    };
    let advice = "each attached tracepoint costs the node, and so does each tracer: stop those that nobody needs";
    let detail = "another tracer is attached to 1 tracepoint: net:inbound_message";
    target_says("other_taps", target("net:inbound_message", vec![]), Status::Warning, detail, advice);
    target_says(
        "other_taps",
        target("default", vec![8, 9]),
        Status::Warning,
        &format!(
            "another tracer is attached to {} tracepoints: net, mempool, validation, utxocache:flush, \
             coin_selection",
            set("default").len()
        ),
        &format!("{advice}\nbitcointap runs as pid 8, 9"),
    );
    let idle = Target { other_bitcointaps: vec![8], ..good_target() };
    target_says("other_taps", idle, Status::Ok, "no other tracer is attached to the node's tracepoints", "");
}

#[test]
fn memory_that_cannot_be_read() {
    let refused = || Error::Memory(io::ErrorKind::PermissionDenied.into());
    let target = |ptrace_scope| Target {
        listened_to: Some(Err(refused())),
        attached: Some((Tracepoint::UtxocacheFlush, Ok(Attached::Unverified(refused())))),
        ptrace_scope,
        ..good_target()
    };
    let takes = "reading the node's memory needs CAP_SYS_PTRACE";
    let filtered = "a filter of system calls, or a security module (SELinux, AppArmor), forbids reading the node's memory\n\
     a service: SystemCallFilter=process_vm_readv besides the others";
    let never = "kernel.yama.ptrace_scope is 3: nobody may read the node's memory until the machine reboots without that \
         setting";
    for (may_trace, scope, advice) in [
        (true, None, filtered.to_owned()),
        (true, Some(2), filtered.to_owned()),
        (true, Some(3), never.to_owned()),
        (false, None, takes.to_owned()),
        (false, Some(0), takes.to_owned()),
        (false, Some(1), format!("kernel.yama.ptrace_scope is 1: {takes}")),
        (false, Some(2), format!("kernel.yama.ptrace_scope is 2: {takes}")),
        (false, Some(3), never.to_owned()),
    ] {
        let machine = if may_trace { good_machine() } else { without_caps(CAP_SYS_PTRACE) };
        let detail = "the node's memory cannot be read: permission denied";
        says(check("other_taps", &machine, &target(scope)), Status::Unknown, detail, &advice);
        let detail = "utxocache:flush was attached for a moment; bitcointap could not verify that it was armed: the node's \
         memory cannot be read: permission denied";
        says(check("attach", &machine, &target(scope)), Status::Warning, detail, &advice);
    }
}

#[test]
fn an_attachment_to_what_nobody_runs() {
    let target = |error| Target { attached: Some((Tracepoint::UtxocacheFlush, Err(error))), ..good_target() };
    let detail = "no event of /bin/bitcoind can be seen: its file was changed (chmod, touch, mv) on an overlay file system after \
                  the node had started, and the kernel attaches to the changed copy instead of the file that runs: restart the \
                  node";
    target_says("attach", target(Error::CopiedUp("/bin/bitcoind".into())), Status::Failed, detail, "");
    let detail = "the kernel attached to utxocache:flush, but the node's memory does not show it, and no event of it would be \
     seen: restart the node";
    target_says("attach", target(Error::NotArmed(Tracepoint::UtxocacheFlush)), Status::Failed, detail, "");
}

#[test]
fn an_attachment_that_fails() {
    let error = Error::System {
        action: "attach to utxocache:flush of pid 7".into(),
        error: io::ErrorKind::PermissionDenied.into(),
    };
    let target = Target { attached: Some((Tracepoint::UtxocacheFlush, Err(error))), ..good_target() };
    let detail = "cannot attach to utxocache:flush of pid 7: permission denied";
    target_says("attach", target, Status::Failed, detail, "");
}
