//! Machines on which something is missing or forbidden. In: the good machine, changed in one thing. Out: what the check of that
//! thing says, and what it advises.

use super::*;

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
        "run bitcointap as root, for example with sudo, or give it what it needs:\n\
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

    let root = Machine { is_root: true, ..without_caps(CAP_PERFMON | CAP_SYS_ADMIN) };
    let advice = super::check("capabilities", &root, &good_target()).advice.unwrap();
    let first = "bitcointap runs as root, but a container or a service has taken capabilities away: give them back:";
    assert_eq!(advice.lines().next(), Some(first));

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
        "run bitcointap as root, for example with sudo, or give it what it needs:\n\
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
