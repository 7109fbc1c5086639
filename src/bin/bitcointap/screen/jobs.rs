//! Job control. In: SIGTSTP, which the shell's user or Ctrl-Z asks to stop by; SIGCONT; whose the terminal is. Out: this process
//! stopped once its terminal is given back, and whether it goes on.

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

/// Who is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// All of the job, as the terminal does it: the shell waits for the one that it started, which may be another.
    Job,
    /// Of others the one who sent the signal has thought.
    ThisProcess,
}

/// Holds SIGTSTP back, so that no terminal is left as it is for drawing.
pub struct Jobs {
    stop: SigSet,
    asked: SignalFd,
    continued: Arc<AtomicBool>,
}

impl Jobs {
    /// To be called before any thread is started, each of which would be stopped by the signal, and all others with it.
    pub fn begin() -> io::Result<Self> {
        let stop = SigSet::from(SIGTSTP);
        stop.thread_block()?;
        let asked = SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let continued = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGCONT, Arc::clone(&continued))?;
        Ok(Self { stop, asked, continued })
    }

    /// Whether SIGTSTP came, which is then done with.
    pub fn is_asked_to_stop(&self) -> io::Result<bool> {
        Ok(self.asked.read_signal()?.is_some())
    }

    /// Returns when the process is to go on; at once where the kernel stops nobody since no shell is there to continue it.
    pub fn stop(&self, who: Who) -> io::Result<()> {
        match who {
            Who::Job => kill_current_process_group(Signal::TSTP)?,
            Who::ThisProcess => kill_process(getpid(), Signal::TSTP)?,
        }
        // It waits for that.
        self.stop.thread_unblock()?;
        self.stop.thread_block()?;
        Ok(())
    }

    /// Whether the process was continued since it was last asked, also after SIGSTOP, which cannot be held back.
    pub fn has_continued(&self) -> bool {
        self.continued.swap(false, Relaxed)
    }
}

/// Whether the terminal is this job's. Where there is no job control it is.
pub fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()).map_or(true, |group| group == getpgrp())
}
