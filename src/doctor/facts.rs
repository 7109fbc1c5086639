//! The facts behind the checks: about the machine and this process, and about the node. In: /proc, /sys and an attempt.
//! It judges nothing.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use flate2::read::GzDecoder;
use procfs::{
    ConfigSetting, FromRead, KernelConfig,
    process::{MountInfo, Process},
};
use rustix::process::{Resource, geteuid, getrlimit};

use crate::{
    node::error::Error,
    node::memory,
    node::probes::{self, Probe},
    node::process::{self, Node},
    privileges::Capabilities,
    selection::Selection,
    system,
    tap::{self, Options, Tap},
    tracepoint::{Tracepoint, Tracepoints},
};

/// The numbers of the namespaces that a machine starts with (linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Facts about the machine and this process. A fact that cannot be read is `None`.
pub(super) struct Machine {
    /// As `uname -r` prints it.
    pub release: String,
    /// As `uname -m` prints it.
    pub architecture: String,
    /// The options that are on in the kernel's configuration.
    pub options: Option<BTreeSet<String>>,
    /// Whether the kernel offers uprobes.
    pub uprobes: Option<bool>,
    /// Whether the kernel provides its types in /sys.
    pub btf: bool,
    /// The modes of lockdown, with the active one in brackets.
    pub lockdown: Option<String>,
    pub perf_event_paranoid: Option<i32>,
    pub capabilities: Option<Capabilities>,
    /// Whether the user is root, who usually has all of them.
    pub is_root: bool,
    /// Whether programs that it starts get no privileges from their files.
    pub no_new_privileges: bool,
    /// Whether a filter of system calls is active.
    pub seccomp_filter: bool,
    pub initial_user_namespace: Option<bool>,
    pub initial_pid_namespace: Option<bool>,
    /// The option of /proc that hides processes of others, if set.
    pub hidepid: Option<String>,
    /// How many file descriptors this process may open; `None` means any number.
    pub open_files: Option<u64>,
    /// Where this program is.
    pub tool: PathBuf,
    /// Whether the kernel accepts maps and programs; `None` if capabilities to try that are missing.
    pub loaded: Option<Result<(), Error>>,
}

impl Machine {
    pub(super) fn gather() -> Machine {
        let process = Process::myself().ok();
        let status = process.as_ref().and_then(|process| process.status().ok());
        let namespace = |name: &str, initial: &str| {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
            Some(link.as_os_str() == OsStr::from_bytes(initial.as_bytes()))
        };
        let release = system::kernel_release();
        let mounts = process.and_then(|process| process.mountinfo().ok());
        let capabilities = Capabilities::effective();
        Machine {
            architecture: rustix::system::uname().machine().to_string_lossy().into_owned(),
            options: options(&release),
            release,
            uprobes: exists_beside("/sys/bus/event_source/devices", "uprobe"),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            lockdown: lockdown(),
            perf_event_paranoid: read("/proc/sys/kernel/perf_event_paranoid"),
            capabilities,
            is_root: geteuid().is_root(),
            no_new_privileges: status.as_ref().and_then(|status| status.nonewprivs) == Some(1),
            seccomp_filter: status.as_ref().and_then(|status| status.seccomp).is_some_and(|mode| mode != 0),
            initial_user_namespace: namespace("user", INITIAL_USER_NAMESPACE),
            initial_pid_namespace: namespace("pid", INITIAL_PID_NAMESPACE),
            hidepid: mounts.as_ref().and_then(|mounts| hidepid(&mounts.0)),
            open_files: getrlimit(Resource::Nofile).current,
            tool: std::env::current_exe().unwrap_or_else(|_| env!("CARGO_PKG_NAME").into()),
            loaded: may_load(capabilities).then(tap::try_loading),
        }
    }

    /// Whether the capabilities are there that every attempt needs.
    pub(super) fn may_load(&self) -> bool {
        may_load(self.capabilities)
    }
}

fn may_load(capabilities: Option<Capabilities>) -> bool {
    capabilities.is_none_or(|capabilities| capabilities.missing(false).is_empty())
}

/// Facts about the node.
pub(super) struct Target {
    pub node: Result<Node, Error>,
    /// Whether its process belongs to another user, or the kernel protects it as if it did.
    pub other_users: bool,
    /// Its program, or the named one.
    pub program: Option<Program>,
    /// The tracepoints that a tracer is attached to, for a node with tracepoints that can be tapped.
    pub listened_to: Option<Result<Tracepoints, Error>>,
    /// `kernel.yama.ptrace_scope`, where the kernel has it.
    pub ptrace_scope: Option<u8>,
    /// Processes of bitcointap, for this node or another.
    pub other_bitcointaps: Vec<i32>,
    /// The result of attaching for a moment, and to which tracepoint; `None` if that was not tried.
    pub attached: Option<(Tracepoint, Result<Attached, Error>)>,
}

/// Whether bitcointap found it armed in the node's memory, or why it could not look.
#[derive(Debug)]
pub(super) enum Attached {
    Verified,
    Unverified(Error),
}

/// The node's program.
pub(super) struct Program {
    /// Its path, for people.
    pub path: PathBuf,
    pub probes: Result<Vec<Probe>, Error>,
    /// Why it has no tracepoints of Bitcoin Core, if it has none.
    pub absence: Error,
}

impl Target {
    pub(super) fn gather(node: Result<Node, Error>, named: Option<&Path>, may_attach: bool) -> Target {
        let owner = |node: &Node| Process::new(node.pid).and_then(|process| process.uid()).ok();
        let other_users = node.as_ref().ok().and_then(owner).is_some_and(|owner| owner != geteuid().as_raw());
        let program = match (&node, named) {
            (Ok(node), _) => Some(Program {
                path: node.program.clone(),
                probes: probes::read(&node.executable()),
                absence: probes::absence(node),
            }),
            (Err(_), Some(path)) => Some(Program {
                path: path.to_owned(),
                probes: probes::read(path),
                absence: Error::NoTracepoints(path.to_owned()),
            }),
            (Err(_), None) => None,
        };
        let probes = program.as_ref().and_then(|program| program.probes.as_ref().ok());
        let found = node.as_ref().ok().zip(probes).and_then(|(node, probes)| Some((node, probes, rarest(probes)?)));
        // Before attaching, which would show up here.
        let listened_to = found.map(|(node, probes, _)| listened_to(node, probes));
        let attached = found.filter(|_| may_attach).map(|(node, _, tracepoint)| {
            let selection = Selection::of([tracepoint].into_iter().collect());
            let options = Options { selection, ..Options::default() };
            let attached = Tap::attach(node, &options).map(|tap| match tap.into_unverified() {
                None => Attached::Verified,
                Some(error) => Attached::Unverified(error),
            });
            (tracepoint, attached)
        });
        Target {
            other_users,
            listened_to,
            ptrace_scope: read("/proc/sys/kernel/yama/ptrace_scope"),
            other_bitcointaps: process::other_bitcointaps(),
            attached,
            program,
            node,
        }
    }
}

/// The tracepoints of `probes` that a tracer is attached to.
fn listened_to(node: &Node, probes: &[Probe]) -> Result<Tracepoints, Error> {
    let of_core = || probes.iter().filter(|probe| probe.tracepoint().is_some());
    let seen = memory::look(node, of_core())?;
    let listened = of_core().zip(seen).filter(|(_, seen)| seen.is_listened_to());
    Ok(listened.filter_map(|(probe, _)| probe.tracepoint()).collect())
}

/// The tracepoint that costs the node least while attached, since it hardly ever fires.
fn rarest(probes: &[Probe]) -> Option<Tracepoint> {
    let supported: Tracepoints =
        probes.iter().filter(|probe| probe.supported()).filter_map(Probe::tracepoint).collect();
    // Fired by a wallet that avoids partial spends; once an hour; once for a block.
    let rare = [
        Tracepoint::CoinSelectionAttemptingApsCreateTx,
        Tracepoint::UtxocacheFlush,
        Tracepoint::ValidationBlockConnected,
    ];
    rare.into_iter().chain(supported.iter()).find(|&tracepoint| supported.contains(tracepoint))
}

fn options(release: &str) -> Option<BTreeSet<String>> {
    let packed = |path: &str| Some(KernelConfig::from_read(GzDecoder::new(File::open(path).ok()?)));
    let plain = |path: &str| Some(KernelConfig::from_read(File::open(path).ok()?));
    let config = packed("/proc/config.gz")
        .or_else(|| plain(&format!("/boot/config-{release}")))
        .or_else(|| plain(&format!("/lib/modules/{release}/config")))?;
    let set = config.ok()?.0.into_iter().filter(|(_, setting)| match setting {
        ConfigSetting::Yes | ConfigSetting::Module => true,
        ConfigSetting::Value(_) => false,
    });
    Some(set.map(|(name, _)| name).collect())
}

fn lockdown() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown");
    match modes {
        Ok(modes) => Some(modes.trim().to_owned()),
        // A kernel that has the other files of its kind, but not this one, has no lockdown.
        Err(_) => (exists_beside("/sys/kernel/security/lsm", ".") == Some(true)).then(|| "[none]".to_owned()),
    }
}

fn hidepid(mounts: &[MountInfo]) -> Option<String> {
    // The one mounted last is the visible one.
    let proc = mounts.iter().rfind(|mount| mount.mount_point == Path::new("/proc"))?;
    let value = proc.super_options.get("hidepid")?.clone()?;
    (!matches!(value.as_str(), "0" | "off")).then_some(value)
}

/// Whether a directory has an entry; `None` if there is no such directory.
fn exists_beside(directory: &str, name: &str) -> Option<bool> {
    let directory = Path::new(directory);
    directory.exists().then(|| directory.join(name).exists())
}

fn read<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
