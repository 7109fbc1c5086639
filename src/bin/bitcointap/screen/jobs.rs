//! Job control. In: SIGTSTP, by which the shell's user or Ctrl-Z asks to stop; SIGCONT; and which job has the terminal.
//! Out: a process that stops once its terminal is given back, and whether it goes on.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use nix::sys::{
    signal::{SigSet, Signal::SIGTSTP},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process},
    stdio::stdin,
    termios::tcgetpgrp,
};
use signal_hook::consts::SIGCONT;

/// What to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The whole job, as the terminal does it: the shell waits for the process that it started, which may be another
    /// one.
    Job,
    /// Whoever sent the signal has thought of the others.
    ThisProcess,
}

/// Holds SIGTSTP back, so that the terminal is never left in the state for drawing.
pub struct Jobs {
    stop: SigSet,
    asked: SignalFd,
    continued: Arc<AtomicBool>,
}

impl Jobs {
    /// Call it before any thread starts. The signal would stop a thread that exists already, and with it all others.
    pub fn begin() -> io::Result<Self> {
        let stop = SigSet::from(SIGTSTP);
        stop.thread_block()?;
        let asked = SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let continued = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGCONT, Arc::clone(&continued))?;
        Ok(Self { stop, asked, continued })
    }

    /// Whether SIGTSTP came. This clears it.
    pub fn is_asked_to_stop(&self) -> io::Result<bool> {
        Ok(self.asked.read_signal()?.is_some())
    }

    /// Returns when the process goes on. Returns at once where the kernel stops nothing because no shell is there to
    /// continue it.
    pub fn stop(&self, who: Who) -> io::Result<()> {
        match who {
            Who::Job => kill_current_process_group(Signal::TSTP)?,
            Who::ThisProcess => kill_process(getpid(), Signal::TSTP)?,
        }
        // The signal is already waiting.
        self.stop.thread_unblock()?;
        self.stop.thread_block()?;
        Ok(())
    }

    /// Whether the process was continued since the last call, also after SIGSTOP, which cannot be held back.
    pub fn has_continued(&self) -> bool {
        self.continued.swap(false, Relaxed)
    }
}

/// Whether this job has the terminal. Without job control it has.
pub fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()).map_or(true, |group| group == getpgrp())
}
