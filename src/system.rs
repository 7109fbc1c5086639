//! Calls to the kernel and the C library, some of them unsafe. Out: the kernel's version, and whether it turns nops into calls. They
//! also return freed memory to the system.

use std::io;

/// The kernel's release, as `uname -r` prints it.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The first two numbers of a release; `None` if it has an unknown form.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns freed memory to the system. libbpf allocates some MiB for each run. glibc keeps free memory that lies between live
/// allocations, a little more after each run.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing that is allocated, and any thread may call it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes glibc return free memory at the end of a thread's heap from 128 KiB on, as it does at first. After a large allocation was
/// freed, glibc would keep twice its size. A scrape takes a MiB, in a thread that does little else.
#[cfg(feature = "http")]
pub(crate) fn keep_little_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing that is allocated, and takes the lock that allocating takes.
    unsafe {
        const TRIM_BYTES: i32 = 128 << 10;
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
    }
}

/// The kernel's estimate of the error of the system's clock. `None` if nothing synchronises the clock (adjtimex(2)).
#[cfg(feature = "nats")]
pub(crate) fn clock_error() -> Option<std::time::Duration> {
    // SAFETY: any bytes are a timex. With modes 0 the call only reads the clock's state into it.
    let (state, clock) = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut clock), clock)
    };
    let is_synchronised = state >= 0 && state != libc::TIME_ERROR;
    is_synchronised.then(|| std::time::Duration::from_micros(clock.esterror.max(0) as u64))
}

/// Whether the kernel turns a five-byte nop with a uprobe into a call. The call overwrites what a function keeps below its stack
/// pointer. Linux does so on x86-64 since 6.18, which has a system call for it.
pub(crate) fn kernel_turns_nops_into_calls() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static KNOWN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *KNOWN.get_or_init(|| {
            /// From asm/unistd_64.h.
            const SYS_UPROBE: libc::c_long = 336;
            // SAFETY: it takes no arguments. Called from anywhere but the kernel's own trampoline, it only fails.
            let result = unsafe { libc::syscall(SYS_UPROBE) };
            let exists = result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO);
            // A seccomp filter, such as that of a service or a container, may hide it.
            exists || kernel_version(&kernel_release()).is_some_and(|version| version >= (6, 18))
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
