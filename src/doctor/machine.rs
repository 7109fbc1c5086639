//! Checks of the machine and this process. In: facts. Out: checks. Pure.

use super::{
    Check,
    facts::{Machine, Target},
};
use crate::node::error::{Error, TAKEN_AWAY};
use crate::{
    privileges::{self, are, list, perf_events_may_take_sys_admin},
    system::kernel_version,
};

/// Options that attaching BPF programs to uprobes needs.
const OPTIONS: [&str; 5] =
    ["CONFIG_BPF_SYSCALL", "CONFIG_PERF_EVENTS", "CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS", "CONFIG_BPF_EVENTS"];
/// With all tracepoints attached, bitcointap has about 200 open.
const ENOUGH_OPEN_FILES: u64 = 256;

pub(super) fn checks(machine: &Machine, target: &Target) -> [Check; 11] {
    [
        kernel(machine),
        architecture(machine),
        kernel_config(machine),
        btf(machine),
        lockdown(machine),
        capabilities(machine, target),
        perf_event_paranoid(machine, target),
        processes(machine, target),
        seccomp(machine),
        open_files(machine),
        load(machine),
    ]
}

fn kernel(machine: &Machine) -> Check {
    const NAME: &str = "kernel";
    match privileges::check_kernel(&machine.release) {
        Err(error) => Check::error(NAME, &error),
        Ok(()) => match kernel_version(&machine.release) {
            Some(_) => Check::ok(NAME, format!("Linux {}", machine.release)),
            None => Check::unknown(NAME, format!("Linux {:?} does not tell its version", machine.release)),
        },
    }
}

fn architecture(machine: &Machine) -> Check {
    const NAME: &str = "architecture";
    match machine.architecture.as_str() {
        tested @ ("x86_64" | "aarch64") => Check::ok(NAME, tested),
        other => Check::warning(NAME, format!("bitcointap was not tested on {other}, only on x86_64 and aarch64"))
            .advise("compare what it shows with the node's debug.log before you rely on it"),
    }
}

fn kernel_config(machine: &Machine) -> Check {
    const NAME: &str = "kernel_config";
    let missing = |names: &[&str]| {
        Check::failed(NAME, format!("the kernel is built without {}", names.join(", ")))
            .advise("run a kernel that has them: those of the large distributions do")
    };
    let Some(options) = &machine.options else {
        return match machine.uprobes {
            Some(true) => Check::ok(NAME, "the kernel has uprobes; its configuration cannot be read"),
            Some(false) => missing(&["CONFIG_UPROBE_EVENTS"]),
            None => Check::unknown(NAME, "neither the kernel's configuration nor /sys can be read"),
        };
    };
    match OPTIONS.into_iter().filter(|&option| !options.contains(option)).collect::<Vec<_>>().as_slice() {
        [] => Check::ok(NAME, "the kernel is built with uprobes and BPF"),
        names => missing(names),
    }
}

fn btf(machine: &Machine) -> Check {
    let has = if machine.btf { "has" } else { "has no" };
    Check::ok("btf", format!("the kernel {has} /sys/kernel/btf/vmlinux, which is not needed"))
}

fn lockdown(machine: &Machine) -> Check {
    const NAME: &str = "lockdown";
    let Some(modes) = &machine.lockdown else {
        if matches!(machine.loaded, Some(Ok(()))) {
            return Check::ok(NAME, "it cannot be read, but the kernel accepts programs that it could forbid");
        }
        return Check::unknown(NAME, "/sys/kernel/security/lockdown cannot be read: is securityfs mounted?");
    };
    let mode = modes.split_whitespace().find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'));
    match mode {
        Some(mode @ ("none" | "integrity")) => Check::ok(NAME, format!("{mode}, which permits tracing")),
        Some("confidentiality") => {
            Check::failed(NAME, "confidentiality: the kernel lets no BPF program read a tracepoint's arguments")
                .advise("boot with lockdown=integrity, or without lockdown=confidentiality")
        }
        _ => Check::unknown(NAME, format!("{modes:?} is a mode that bitcointap does not know")),
    }
}

fn capabilities(machine: &Machine, target: &Target) -> Check {
    const NAME: &str = "capabilities";
    let Some(capabilities) = machine.capabilities else {
        return Check::unknown(NAME, "/proc/self/status cannot be read: is /proc mounted?");
    };
    let needed = privileges::needed_names(target.other_users);
    let why = if target.other_users { "; the node is another user's" } else { "" };
    match capabilities.missing(target.other_users).as_slice() {
        [] => {}
        missing => {
            let why = if capabilities.has_sys_ptrace() { "" } else { why };
            return Check::failed(NAME, format!("{} missing{why}", are(missing))).advise(how_to_give(&needed, machine));
        }
    }
    if machine.initial_user_namespace == Some(false) {
        return Check::warning(
            NAME,
            "they are those of a user namespace (a rootless container), which do not count for tracing",
        )
        .advise("run bitcointap outside, as root or with its capabilities, or in a container that is not rootless");
    }
    Check::ok(NAME, format!("all needed ones are there: {}{why}", list(&needed)))
}

/// All ways, since the tool cannot know how it will be run.
fn how_to_give(needed: &[&str], machine: &Machine) -> String {
    let mut lines = vec![if machine.is_root {
        format!("{TAKEN_AWAY}:")
    } else {
        "run bitcointap as root, for example with sudo, or give it what it needs:".to_owned()
    }];
    let lower = needed.join(",").to_lowercase();
    lines.push(format!("a program:  setcap {lower}+ep {}", machine.tool.display()));
    lines.push(format!("a service:  AmbientCapabilities={}", needed.join(" ")));
    let added: Vec<String> =
        needed.iter().map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_"))).collect();
    lines.push(format!("a container:  docker run {}", added.join(" ")));
    if machine.no_new_privileges {
        lines.push(
            "sudo and setcap have no effect here, since no_new_privs is set (NoNewPrivileges= of systemd)".into(),
        );
    }
    lines.join("\n")
}

fn perf_event_paranoid(machine: &Machine, target: &Target) -> Check {
    const NAME: &str = "perf_event_paranoid";
    let Some(value) = machine.perf_event_paranoid else {
        return Check::unknown(NAME, "/proc/sys/kernel/perf_event_paranoid cannot be read");
    };
    let attached = matches!(target.attached, Some((_, Ok(_))));
    let all = machine.capabilities.is_none_or(|capabilities| capabilities.has_sys_admin());
    if perf_events_may_take_sys_admin(&machine.release) && !all && !attached {
        return Check::warning(NAME, format!("{value}; Linux before 6.6 may need CAP_SYS_ADMIN, whatever the value"))
            .advise("if attaching fails: add CAP_SYS_ADMIN, or run as root, or use Linux 6.6 or later");
    }
    Check::ok(NAME, format!("{value}, which does not matter with CAP_PERFMON"))
}

fn processes(machine: &Machine, target: &Target) -> Check {
    const NAME: &str = "processes";
    let found = target.node.is_ok();
    let reaches_all = machine.capabilities.is_none_or(|capabilities| capabilities.has_sys_ptrace());
    let hidden = machine.hidepid.as_ref().filter(|_| !reaches_all);
    match (hidden, machine.initial_pid_namespace) {
        (Some(value), _) if !found => {
            Check::warning(NAME, format!("/proc is mounted with hidepid={value}, which hides processes of other users"))
                .advise("run as root or with CAP_SYS_PTRACE, or in the group that the mount option gid= names")
        }
        (_, Some(false)) if !found => {
            Check::warning(NAME, "bitcointap sees only its own pid namespace (a container), and the node is not in it")
                .advise(
                    "start the container in the node's pid namespace: docker run --pid=container:NODE, or --pid=host",
                )
        }
        (Some(value), _) => Check::ok(NAME, format!("bitcointap sees the node, although /proc has hidepid={value}")),
        (None, Some(false)) => Check::ok(NAME, "bitcointap sees the node from its own pid namespace (a container)"),
        (None, Some(true)) => Check::ok(NAME, "bitcointap sees all processes of the machine"),
        (None, None) => Check::unknown(NAME, "/proc/self/ns cannot be read: is /proc mounted?"),
    }
}

fn seccomp(machine: &Machine) -> Check {
    const NAME: &str = "seccomp";
    match (&machine.loaded, machine.seccomp_filter) {
        (_, false) => Check::ok(NAME, "no filter of system calls is active"),
        (Some(Ok(())), true) => Check::ok(NAME, "a filter of system calls is active, and allows the needed ones"),
        (None | Some(Err(_)), true) => {
            Check::warning(NAME, "a filter of system calls is active, and may refuse needed ones").advise(
                "a service: SystemCallFilter=bpf perf_event_open process_vm_readv besides the others\n\
                 a container: a recent docker allows them together with the capabilities; otherwise --security-opt \
                 seccomp=PROFILE",
            )
        }
    }
}

fn open_files(machine: &Machine) -> Check {
    const NAME: &str = "open_files";
    match machine.open_files {
        None => Check::ok(NAME, "any number"),
        Some(limit) if limit >= ENOUGH_OPEN_FILES => Check::ok(NAME, format!("up to {limit}")),
        Some(limit) => {
            Check::warning(NAME, format!("up to {limit}, too few to attach all tracepoints: each takes about ten"))
                .advise("ulimit -n 1024, or LimitNOFILE=1024 for a systemd service")
        }
    }
}

fn load(machine: &Machine) -> Check {
    const NAME: &str = "load";
    match &machine.loaded {
        Some(Ok(())) => Check::ok(NAME, "the kernel accepts all BPF programs"),
        Some(Err(error @ Error::KernelTooOld(_))) => Check::error(NAME, error),
        Some(Err(error)) => Check::error(NAME, error).advise(
            "if no check above says why, a security module may forbid it (SELinux, AppArmor): see the kernel's log",
        ),
        None => Check::unknown(NAME, "not tried, since capabilities are missing"),
    }
}
