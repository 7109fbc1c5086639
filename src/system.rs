//! The kernel and the C library: the kernel's version, whether it turns nops into calls, and memory that is given back.
//! Some of these calls are unsafe.

use std::io;

/// The kernel's release, as `uname -r` prints it.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Its first two numbers; `None` of a release in an unknown form.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Gives freed memory back to the system. libbpf allocates some MiB for each run. glibc keeps what is free between things
/// that live on, a little more after each run.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing that is allocated, and any thread may call it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes glibc give back what is free at the end of a thread's memory, as it does at first. After something large was freed
/// it would keep twice as much, and a scrape takes a MiB in a thread that does little else.
#[cfg(feature = "http")]
pub(crate) fn keep_little_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing that is allocated, and takes the lock that allocating takes.
    unsafe {
        const TRIM_BYTES: i32 = 128 << 10;
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
    }
}

/// Whether a uprobe on a five-byte nop becomes a call, which overwrites what a function keeps below its stack pointer: on x86-64
/// since Linux 6.18, which has a system call for that.
pub(crate) fn kernel_turns_nops_into_calls() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static KNOWN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *KNOWN.get_or_init(|| {
            /// Of asm/unistd_64.h.
            const SYS_UPROBE: libc::c_long = 336;
            // SAFETY: it takes no arguments. Called from elsewhere than the kernel's own trampoline it does nothing but fail.
            let result = unsafe { libc::syscall(SYS_UPROBE) };
            let exists = result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO);
            // A filter of system calls, such as that of a service or a container, may hide it.
            exists || kernel_version(&kernel_release()).is_some_and(|version| version >= (6, 18))
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
