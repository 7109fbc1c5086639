//! What the kernel and our capabilities allow, checked before trying, since the kernel's refusals name nothing.

use procfs::process::Process;

use crate::error::Error;

/// The first release with all that the kernel side uses (`bpf_ktime_get_tai_ns`).
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Bits of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Whether BPF programs can be loaded and attached to uprobes.
///
/// # Errors
/// [`Error::KernelTooOld`] and [`Error::Privileges`].
pub fn check() -> Result<(), Error> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    if kernel_version(&release).is_some_and(|version| version < OLDEST_KERNEL) {
        return Err(Error::KernelTooOld(release.into_owned()));
    }
    // Without /proc the kernel itself will say no.
    let effective = Process::myself().and_then(|process| process.status()).map_or(u64::MAX, |status| status.capeff);
    match missing(effective).as_slice() {
        [] => Ok(()),
        names => Err(Error::Privileges(names.join(" and ") + if names.len() == 1 { " is" } else { " are" })),
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let needed = [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)];
    needed.into_iter().filter(|&(_, bit)| !has(bit) && !has(CAP_SYS_ADMIN)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(kernel_version("6.18.44-fc-v669"), Some((6, 18)));
        assert!(kernel_version("5.15.0-generic").unwrap() < OLDEST_KERNEL);
        assert!(kernel_version("6.1.0-37-amd64").unwrap() >= OLDEST_KERNEL);
        assert_eq!(kernel_version("odd"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(1 << CAP_BPF), ["CAP_PERFMON"]);
        assert!(missing(1 << CAP_BPF | 1 << CAP_PERFMON).is_empty());
        assert!(missing(1 << CAP_SYS_ADMIN).is_empty());
    }
}
