//! What the kernel and our capabilities allow. This is checked before trying, since the kernel's refusals name nothing.
//! Also drops what is not needed any more.

mod confinement;
mod dropping;

use procfs::process::Process;
use rustix::process::geteuid;

pub use self::{
    confinement::confine,
    dropping::{drop_all, drop_all_of_thread, keep_for_attaching, without_any},
};
use crate::{
    node::error::Error,
    system::{kernel_release, kernel_version},
};

/// The first release with everything that the kernel side uses (`bpf_ktime_get_tai_ns`).
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// From this release on libbpf attaches without perf events.
const UPROBE_MULTI: (u32, u32) = (6, 6);

/// Bits of linux/capability.h.
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What to do if this user may not open a file, where its capabilities do not count. It begins with a separator.
pub const BY_OWNER_AND_MODE: &str =
    "; its owner and mode must allow bitcointap's user, even root, since capabilities do not count here (chown, chmod)";

/// A set of capabilities, a bit for each, as /proc has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(pub u64);

impl Capabilities {
    /// The capabilities in force; `None` without /proc, in which case the kernel itself refuses.
    pub(crate) fn effective() -> Option<Self> {
        Process::myself().and_then(|process| process.status()).ok().map(|status| Self(status.capeff))
    }

    /// Whether it has the capability that includes all rights for tracing.
    pub(crate) fn has_sys_admin(self) -> bool {
        self.has(CAP_SYS_ADMIN)
    }

    /// Whether it may reach into processes of other users, which `/proc/<pid>/exe` needs.
    pub(crate) fn has_sys_ptrace(self) -> bool {
        self.has(CAP_SYS_PTRACE)
    }

    /// The names of the needed capabilities that it lacks.
    pub(crate) fn missing(self, other_users_node: bool) -> Vec<&'static str> {
        let has = |bit| self.has(bit) || bit != CAP_SYS_PTRACE && self.has_sys_admin();
        needed(other_users_node).filter(|&(_, bit)| !has(bit)).map(|(name, _)| name).collect()
    }

    fn has(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }
}

/// Names of the capabilities that attaching takes.
pub(crate) fn needed_names(other_users_node: bool) -> Vec<&'static str> {
    needed(other_users_node).map(|(name, _)| name).collect()
}

fn needed(other_users_node: bool) -> impl Iterator<Item = (&'static str, u32)> {
    let ptrace = other_users_node.then_some(("CAP_SYS_PTRACE", CAP_SYS_PTRACE));
    [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)].into_iter().chain(ptrace)
}

/// Whether BPF programs can be loaded and attached to uprobes.
///
/// # Errors
/// [`Error::KernelTooOld`] and [`Error::Privileges`].
pub fn check() -> Result<(), Error> {
    check_kernel(&kernel_release())?;
    // Only opening the program shows which user the process belongs to.
    match Capabilities::effective().map(|capabilities| capabilities.missing(false)).as_deref() {
        None | Some([]) => Ok(()),
        Some(names) => Err(Error::Privileges { missing: are(names), is_root: geteuid().is_root() }),
    }
}

/// Whether a kernel of this release is new enough. A release in an unknown form counts as new.
pub(crate) fn check_kernel(release: &str) -> Result<(), Error> {
    match kernel_version(release) {
        Some(version) if version < OLDEST_KERNEL => Err(Error::KernelTooOld(release.to_owned())),
        _ => Ok(()),
    }
}

/// Whether attaching may need CAP_SYS_ADMIN besides CAP_PERFMON. Perf events on uprobes need it since the fix of
/// CVE-2025-38466, which stable kernels have, too, whatever perf_event_paranoid says.
pub(crate) fn perf_events_may_take_sys_admin(release: &str) -> bool {
    kernel_version(release).is_some_and(|version| version < UPROBE_MULTI)
}

/// The names as the beginning of a sentence.
pub(crate) fn are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", list(names))
}

/// `A, B and C`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [first @ .., before_last, last] => {
            let first: String = first.iter().map(|name| format!("{name}, ")).collect();
            format!("{first}{before_last} and {last}")
        }
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(kernel_version("6.18.44-fc-v669"), Some((6, 18)));
        assert!(check_kernel("5.15.0-generic").is_err());
        assert!(check_kernel("6.1.0-37-amd64").is_ok());
        assert_eq!(kernel_version("odd"), None);
        assert!(perf_events_may_take_sys_admin("6.1.0-37-amd64"));
        assert!(perf_events_may_take_sys_admin("6.5.13"));
        assert!(!perf_events_may_take_sys_admin("6.6.1"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |bits: &[u32]| Capabilities(bits.iter().map(|bit| 1 << bit).sum()).missing(false);
        assert_eq!(missing(&[]), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(&[CAP_BPF]), ["CAP_PERFMON"]);
        assert!(missing(&[CAP_BPF, CAP_PERFMON]).is_empty());
        assert!(missing(&[CAP_SYS_ADMIN]).is_empty());
    }

    #[test]
    fn names_read_as_a_list() {
        assert_eq!(are(&["A"]), "A is");
        assert_eq!(are(&["A", "B"]), "A and B are");
        assert_eq!(list(&["A", "B", "C", "D"]), "A, B, C and D");
    }

    #[test]
    fn another_users_node_takes_one_more() {
        let missing = |bits: &[u32]| Capabilities(bits.iter().map(|bit| 1 << bit).sum()).missing(true);
        assert_eq!(missing(&[]), ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"]);
        assert_eq!(missing(&[CAP_SYS_ADMIN]), ["CAP_SYS_PTRACE"]);
        assert!(missing(&[CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE]).is_empty());
    }
}
