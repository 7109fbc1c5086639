//! Drops capabilities, which each thread has of its own. In: those of the calling thread. Out: it has fewer, for good,
//! and so have the threads that it starts from then on.

use rustix::{
    io,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities,
    },
};

use crate::{
    node::error::{Error, Trying},
    privileges::perf_events_may_take_sys_admin,
    system::kernel_release,
};

/// What loading and attaching BPF programs needs.
const TRACING: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);
/// What reaching another user's process needs, and reading its program or pid file if others may not.
const REACHING: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// Keeps only those capabilities of the calling thread that finding a node and attaching to it may need.
///
/// # Errors
/// [`Error::System`], if the system refuses even that, as a filter of system calls can.
pub fn keep_for_attaching() -> Result<(), Error> {
    let held = held()?.effective;
    keep(for_attaching(held, perf_events_may_take_sys_admin(&kernel_release())))
}

/// Drops all capabilities of the calling thread. Draining, reading counters and detaching need none.
///
/// # Errors
/// [`Error::System`], if the system refuses even that, as a filter of system calls can.
pub fn drop_all() -> Result<(), Error> {
    keep(CapabilitySet::empty())
}

/// [`drop_all`] for the beginning of a thread. If it fails, only the log says so.
pub fn drop_all_of_thread() {
    if let Err(error) = drop_all() {
        let thread = std::thread::current();
        tracing::warn!(thread = thread.name(), "{error}; the thread goes on with those that it has");
    }
}

/// Does something as a thread without capabilities. What such a thread will do again later thus fails at the start if
/// it must fail.
///
/// # Errors
/// [`Error::System`], if the system refuses even that, as a filter of system calls can.
pub fn without_any<T>(action: impl FnOnce() -> T) -> Result<T, Error> {
    let held = held()?;
    set(CapabilitySets { effective: CapabilitySet::empty(), ..held })?;
    let result = action();
    set(held)?;
    Ok(result)
}

/// CAP_SYS_ADMIN, which tracing used to need, still counts if one of the others is missing.
fn for_attaching(held: CapabilitySet, perf_events_take_sys_admin: bool) -> CapabilitySet {
    let takes_sys_admin = perf_events_take_sys_admin || !held.contains(TRACING);
    let sys_admin = if takes_sys_admin { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
    held & (TRACING | REACHING | sys_admin)
}

fn keep(kept: CapabilitySet) -> Result<(), Error> {
    // Ambient capabilities matter only for starting programs, which this process does not. It clears them all the same.
    clear_ambient_capability_set().trying(action)?;
    let held = held()?.effective;
    if held.contains(CapabilitySet::SETPCAP) {
        clear_bounding_set().trying(action)?;
    }
    set(CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    if kept != held {
        tracing::debug!(thread = std::thread::current().name(), "capabilities left: {}", names(kept));
    }
    Ok(())
}

fn clear_bounding_set() -> io::Result<()> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(io::Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn held() -> Result<CapabilitySets, Error> {
    capabilities(None).trying(|| "read the capabilities".into())
}

fn set(sets: CapabilitySets) -> Result<(), Error> {
    set_capabilities(None, sets).trying(action)
}

fn action() -> String {
    "drop capabilities".into()
}

fn names(set: CapabilitySet) -> String {
    let names: Vec<String> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_attaching_takes_is_kept_and_nothing_else() {
        let (none, all) = (CapabilitySet::empty(), CapabilitySet::from_bits_retain(0x1ff_ffff_ffff));
        let (sys_admin, ptrace) = (CapabilitySet::SYS_ADMIN, CapabilitySet::SYS_PTRACE);
        assert_eq!(for_attaching(all, false), TRACING | REACHING);
        assert_eq!(for_attaching(all, true), TRACING | REACHING | sys_admin);
        assert_eq!(for_attaching(none, true), none);
        assert_eq!(for_attaching(TRACING | ptrace, true), TRACING | ptrace);
        assert_eq!(for_attaching(TRACING | sys_admin, false), TRACING);
        for old_style in [sys_admin, sys_admin | CapabilitySet::BPF, sys_admin | CapabilitySet::PERFMON] {
            assert_eq!(for_attaching(old_style | CapabilitySet::NET_ADMIN, false), old_style);
        }
    }

    #[test]
    fn a_thread_gives_up_its_own() {
        let before = held().unwrap();
        thread::spawn(move || {
            assert_eq!(without_any(|| held().unwrap().effective).unwrap(), CapabilitySet::empty());
            assert_eq!(held().unwrap(), before);
            drop_all().unwrap();
            let nothing = CapabilitySet::empty();
            assert_eq!(
                held().unwrap(),
                CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing }
            );
            // Dropping again is no error.
            drop_all().unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(held().unwrap(), before, "another thread's are its own");
    }

    #[test]
    fn sets_are_told_by_name() {
        assert_eq!(names(TRACING), "CAP_PERFMON, CAP_BPF");
        assert_eq!(names(CapabilitySet::empty()), "none");
    }
}
