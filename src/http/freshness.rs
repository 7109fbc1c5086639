//! Makes answers include what the node has fired by then. In: questions, from the thread that answers. Out: a message
//! to the thread that drains the tap that somebody waits; and back, that it has drained and counted the events.
//!
//! So bitcointap drains the tap seldom while nobody looks, and still no answer is older for it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::{sync::watch, time::timeout};

use crate::output::Askers;

/// The longest time that an answer waits. Only an overloaded machine takes longer; there an old answer is better than
/// none.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same for a recording, which nobody asks for each second.
const LONG_PATIENCE: Duration = Duration::from_secs(1);

/// What both threads share. Clones are one.
#[derive(Clone, Debug)]
pub struct Freshness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Readable when somebody has asked.
    wakes: OwnedFd,
    asked: AtomicU64,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Whether there is a tap; without one nobody waits.
    is_drained: bool,
    /// How many questions were followed by a drain.
    met: u64,
}

impl Freshness {
    /// Without a tap, everything known is fresh.
    ///
    /// # Errors
    /// If the system has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let wakes = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared { wakes, asked: AtomicU64::new(0), state: watch::Sender::default() })))
    }

    /// Ends the wait of the thread that drains. It then decides again how long to wait.
    pub(super) fn wake(&self) -> u64 {
        let number = self.0.asked.fetch_add(1, SeqCst) + 1;
        // Fails only if the thread has not drained for 2^64 questions; it will drain.
        let _ = rustix::io::write(&self.0.wakes, &1u64.to_ne_bytes());
        number
    }

    /// Waits until outputs have everything that has fired by now, for a second at most.
    ///
    /// # Errors
    /// The system has no file descriptor left.
    pub fn wait(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(self.at_most(LONG_PATIENCE));
        Ok(())
    }

    /// Waits until bitcointap has counted everything that has fired by now.
    pub(super) async fn now(&self) {
        self.at_most(PATIENCE).await;
    }

    /// The same for a recording.
    pub(super) async fn for_recording(&self) {
        self.at_most(LONG_PATIENCE).await;
    }

    async fn at_most(&self, patience: Duration) {
        let mut state = self.0.state.subscribe();
        if !state.borrow().is_drained {
            return;
        }
        let number = self.wake();
        let is_met = state.wait_for(|state| !state.is_drained || state.met >= number);
        if timeout(patience, is_met).await.is_err() {
            tracing::debug!("an HTTP answer does not wait for the tap to be drained any longer");
        }
    }
}

impl Askers for Freshness {
    fn wakes(&self) -> &dyn AsFd {
        &self.0.wakes
    }

    fn drained(&self, is_drained: bool) {
        self.0.state.send_modify(|state| state.is_drained = is_drained);
    }

    fn asked(&self) -> u64 {
        // In this order a question may be counted twice, and none is missed.
        let _ = rustix::io::read(&self.0.wakes, &mut [0; 8]);
        self.0.asked.load(SeqCst)
    }

    fn answer(&self, asked: u64) {
        self.0.state.send_if_modified(|state| {
            let is_new = state.met < asked;
            state.met = state.met.max(asked);
            is_new
        });
    }
}
