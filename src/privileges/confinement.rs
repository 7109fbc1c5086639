//! What this process gives up for good. In: nothing. Out: it gains no privileges by starting programs, and the kernel
//! refuses it system calls that it does not need.

use std::env::consts::ARCH;

use libc::c_long;
use rustix::thread::set_no_new_privs;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// A list of refused calls instead of allowed ones, since libbpf and the C library choose theirs themselves, and future
/// versions may choose others. The numbers are those of the architecture.
const REFUSED: [c_long; 48] = [
    // Other programs: it starts none.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: it reads what /proc has, and reads by process_vm_readv whether tracepoints are armed.
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Its view of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    // Its user.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    // Calls that attacks on the kernel like best, and that nothing here uses.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_personality,
];

/// Confines the calling thread and all that it starts: it gains no privileges by starting programs, and system calls
/// that nothing here needs fail with EPERM. If the kernel cannot do that, the log says so.
pub fn confine() {
    if let Err(error) = set_no_new_privs(true) {
        tracing::warn!(%error, "cannot set no_new_privs");
    }
    match filter() {
        Ok(filter) => {
            if let Err(error) = seccompiler::apply_filter(&filter) {
                tracing::warn!(%error, "cannot filter system calls");
            }
        }
        Err(error) => tracing::debug!(%error, "cannot filter system calls"),
    }
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = REFUSED.map(|number| (number, Vec::new())).into_iter().collect();
    let refusal = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, io, process::Command, thread};

    use nix::{
        errno::Errno,
        sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev},
        unistd::Pid,
    };
    use rustix::thread::no_new_privs;

    use super::*;

    #[test]
    fn a_confined_thread_starts_no_program() {
        // Confines only this thread, and what it starts.
        let confined = thread::spawn(|| {
            confine();
            (Command::new("true").status(), no_new_privs().unwrap(), thread::spawn(no_new_privs).join().unwrap())
        });
        let (status, bound, child_bound) = confined.join().unwrap();
        assert_eq!(status.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(bound && child_bound.unwrap());
        assert!(Command::new("true").status().unwrap().success());
    }

    #[test]
    fn a_confined_thread_reads_memory_and_writes_none() {
        let (value, read) = thread::spawn(|| {
            confine();
            let (mut value, own) = ([1u8; 2], [7u8; 2]);
            let remote = [RemoteIoVec { base: own.as_ptr() as usize, len: own.len() }];
            let read = process_vm_readv(Pid::this(), &mut [io::IoSliceMut::new(&mut value)], &remote);
            let written = process_vm_writev(Pid::this(), &[io::IoSlice::new(&value)], &remote);
            assert_eq!(written, Err(Errno::EPERM));
            (value, read)
        })
        .join()
        .unwrap();
        assert_eq!((read, value), (Ok(2), [7; 2]));
    }

    #[test]
    fn each_is_refused_once() {
        let distinct: BTreeSet<_> = REFUSED.into_iter().collect();
        assert_eq!(distinct.len(), REFUSED.len());
    }
}
