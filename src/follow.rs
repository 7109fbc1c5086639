//! Follows a node: taps one run after another. In: which node, what to tap, when to stop. Out, to [outputs](crate::output): batches,
//! and the beginning and end of each run.
//!
//! ```no_run
//! use bitcointap::{
//!     capture::Batch,
//!     follow::Follow,
//!     output::{Observer, Output, Outputs},
//!     stop::Stop,
//! };
//!
//! /// Counts events.
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl Output for Counter {
//!     fn name(&self) -> &str {
//!         "counter"
//!     }
//!
//!     fn observer<'a>(&'a mut self, _: &'a Batch) -> Option<Observer<'a>> {
//!         Some(Box::new(|_| self.0 += 1))
//!     }
//! }
//!
//! // Over restarts and upgrades of the node, for an hour.
//! let stop = Stop::new(Some(std::time::Duration::from_secs(3_600)))?;
//! let mut counter = Counter::default();
//! let mut outputs = Outputs::default().with(&mut counter);
//! Follow::default().run(&stop, &mut outputs)?;
//! outputs.finish(&stop)?;
//! println!("{} events", counter.0);
//! # Ok::<(), bitcointap::output::Error>(())
//! ```
//!
//! A `peer_id` belongs to one run: each run of the node counts its peers from 0. [`Output::run_begins`](crate::output::Output::run_begins)
//! says when the next run begins. `examples/over_restarts.rs` is a whole program, which ends at Ctrl-C.

mod freshness;
mod search;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    freshness::{Questions, WholePayloads},
    search::Search,
};
use crate::{
    capture::{Batch, Counters, End, unshared},
    node::process::{Node, Which},
    output::{Outputs, Result, Waiting},
    privileges,
    stop::Stop,
    tap::{DRAIN_INTERVAL, Options, Tap},
    tracepoint::{Tracepoint, Tracepoints},
};

/// How often outputs are called while no events come.
pub const IDLE_INTERVAL: Duration = Duration::from_millis(100);
/// How often to check that the process still runs the same program.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The log has at most one line about losses in this time.
const LOSSES_INTERVAL: Duration = Duration::from_secs(10);
/// How long the ring buffer is still drained after a request to stop. So bitcointap ends within a second, detaching included.
const DRAIN_PATIENCE: Duration = Duration::from_millis(200);

/// Which capabilities to drop after attaching to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum DropCapabilities {
    /// All of them. bitcointap cannot attach to the node's next run.
    All,
    /// All but those needed to find the node's next run and attach to it.
    #[default]
    KeepForReattach,
}

/// Which node to follow, and how.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Which node. With a process id, only that run is followed.
    pub which: Which,
    /// What to tap.
    pub options: Options,
    /// Whether to wait for the node, and after its end for its next run. If not, the node must run, and following ends with it.
    pub over_restarts: bool,
    /// Capabilities to drop after attaching.
    pub drop_capabilities: DropCapabilities,
}

/// Follows the node that runs as `bitcoind`, `bitcoin-qt` or `bitcoin-node`, over restarts.
impl Default for Follow {
    fn default() -> Self {
        Self {
            which: Which::default(),
            options: Options::default(),
            over_restarts: true,
            drop_capabilities: DropCapabilities::default(),
        }
    }
}

impl Follow {
    /// Gives everything to `outputs`. Returns when it is time to stop, when a required output wants no more, or when no further run is
    /// followed.
    ///
    /// # Errors
    /// The errors of [`Which::find`] and [`Tap::attach`] that waiting does not solve, and the error of a required output.
    pub fn run(&self, stop: &Stop, outputs: &mut Outputs<'_>) -> Result {
        let follows = self.over_restarts && !matches!(self.which, Which::Pid(_));
        let mut search = Search::new(&self.which, follows);
        while let Some(node) = search.next(stop, outputs)? {
            let start = Instant::now();
            let options = &Options { whole_payloads: outputs.want_whole_payloads(), ..self.options.clone() };
            let mut tap = match Tap::attach(&node, options) {
                Ok(tap) => tap,
                // It is no failure that the node has ended meanwhile.
                Err(_) if follows && !node.still_runs() => continue,
                Err(error) if search.may_fail(&error) => {
                    outputs.waits(&Waiting { why: &error.to_string(), has_failed: true });
                    tracing::warn!("{error}");
                    search.leave_alone(node);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            search.found(&node);
            if self.drop_capabilities == DropCapabilities::All {
                privileges::drop_all()?;
            }
            tap.wake_on(stop)?;
            // From now on, each client that asks gets all events that have fired. This begins before the log says "attached", so that
            // it holds for whoever waits for that line.
            let mut questions = Questions::begin(outputs.askers(), &tap)?;
            outputs.run_begins(&tap.run(&node))?;
            log_attached(&tap, &node, options, start.elapsed());
            let end = pump(&mut tap, &node, stop, &mut questions, options.whole_payloads, outputs)?;
            drop(questions);
            if end == End::Requested {
                drain_rest(&mut tap, stop, outputs)?;
            }
            let unread = if end == End::NodeEnded { 0 } else { drain_unread(&mut tap, outputs)? };
            outputs.run_ends(&tap.counted()?, end)?;
            log_end(outputs.counted(), end, "the node has ended", unread);
            if end != End::NodeEnded || !follows {
                return Ok(());
            }
            tap.let_go();
            if self.drop_capabilities == DropCapabilities::All {
                tracing::info!(
                    "not waiting for the next run of the node: --drop-capabilities all has dropped what attaching needs"
                );
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Drains the tap until the end. Gives each batch to outputs, even an empty one, so that they are called regularly.
fn pump(
    tap: &mut Tap,
    node: &Node,
    stop: &Stop,
    questions: &mut [Questions],
    whole_payloads: bool,
    outputs: &mut Outputs<'_>,
) -> Result<End> {
    let mut batch = Arc::<Batch>::default();
    let (mut more, mut node_ended) = (false, false);
    let mut checked = Instant::now();
    let mut losses = Losses::default();
    let mut payloads = WholePayloads::since_now(whole_payloads);
    loop {
        if !more {
            // Records are left behind one that is still being written. They wait in the ring buffer, and cause no wake-up.
            let (_, left) = batch.ring_buffer();
            let patience = if left > 0 { DRAIN_INTERVAL } else { outputs.patience() };
            node_ended |= tap.wait(stop.at_most(patience))?.node_ended;
        }
        let checks = checked.elapsed() >= CHECK_INTERVAL;
        if checks {
            checked = Instant::now();
            node_ended |= !node.still_runs();
        }
        payloads.choose(tap, outputs)?;
        questions.iter_mut().for_each(Questions::take);
        more = tap.drain(unshared(&mut batch))?;
        outputs.batch(&batch)?;
        if checks || node_ended {
            losses.look(outputs.counted());
        }
        if outputs.are_done() {
            return Ok(End::Done);
        }
        if payloads.are_whole(batch.newest(), more) {
            outputs.payloads_are_whole();
        }
        questions.iter_mut().for_each(|questions| questions.answer(batch.newest(), more));
        if stop.is_due() {
            return Ok(End::Requested);
        }
        if node_ended && !more {
            return Ok(End::NodeEnded);
        }
    }
}

/// Which losses of a run the log has already.
#[derive(Default)]
struct Losses {
    told: [u64; Tracepoint::COUNT],
    at: Option<Instant>,
}

impl Losses {
    fn look(&mut self, counted: &[Counters; Tracepoint::COUNT]) {
        if self.at.is_some_and(|at| at.elapsed() < LOSSES_INTERVAL) {
            return;
        }
        let lost = counted.map(|counters| counters.lost_in_all());
        let new = |tracepoint: Tracepoint| lost[tracepoint.index()] - self.told[tracepoint.index()];
        let by_tracepoint: Vec<_> = Tracepoint::all()
            .filter(|&tracepoint| new(tracepoint) > 0)
            .map(|tracepoint| format!("{tracepoint} {}", new(tracepoint)))
            .collect();
        if !by_tracepoint.is_empty() {
            let words = by_tracepoint.join(", ");
            tracing::warn!(
                "events were lost: {words}; a larger --ring-buffer-size bridges longer pauses of bitcointap"
            );
            (self.told, self.at) = (lost, Some(Instant::now()));
        }
    }
}

/// Detaches, and gives outputs what the ring buffer still holds. After a request to stop this takes only a short time.
fn drain_rest(tap: &mut Tap, stop: &Stop, outputs: &mut Outputs<'_>) -> Result {
    tap.detach();
    let mut batch = Arc::<Batch>::default();
    let mut more = true;
    while more && !stop.requested_for(DRAIN_PATIENCE) && !outputs.are_done() {
        more = tap.drain(unshared(&mut batch))?;
        outputs.batch(&batch)?;
    }
    Ok(())
}

/// Counts what is still in the ring buffer, as unread.
fn drain_unread(tap: &mut Tap, outputs: &mut Outputs<'_>) -> Result<usize> {
    tap.detach();
    let mut batch = Batch::default();
    let (mut more, mut unread) = (true, 0);
    while more {
        more = tap.drain(&mut batch)?;
        unread += batch.len();
        outputs.unread(&batch);
    }
    Ok(unread)
}

fn log_attached(tap: &Tap, node: &Node, options: &Options, took: Duration) {
    let milliseconds = took.as_millis();
    let count = tap.attached().len();
    let tracepoints = if count == 1 { "tracepoint" } else { "tracepoints" };
    // If the node has ended meanwhile, that is why these failed.
    let has_ended = !node.still_runs();
    match tap.verified() {
        Ok(()) => tracing::info!("attached to {count} {tracepoints} of {node} in {milliseconds} ms"),
        Err(error) => tracing::info!(
            "attached to {count} {tracepoints} of {node} in {milliseconds} ms; not verified: {error} (see `bitcointap doctor`)"
        ),
    }
    for (tracepoint, error) in tap.failures().iter().filter(|_| !has_ended) {
        tracing::warn!("not attached to {tracepoint}: {error}");
    }
    let failed: Tracepoints = tap.failures().iter().map(|&(tracepoint, _)| tracepoint).collect();
    let absent = |&wanted: &Tracepoint| !tap.attached().contains(wanted) && !failed.contains(wanted);
    let absent: Tracepoints = options.selection.tracepoints().iter().filter(absent).collect();
    if !absent.is_empty() {
        tracing::info!(
            "tracepoints that this program lacks, or has with unknown arguments: {absent}; `bitcointap doctor` says what that means"
        );
    }
}

/// Logs what became of the events of a run. `its_end` says that the run itself has ended.
pub(crate) fn log_end(counted: &[Counters; Tracepoint::COUNT], end: End, its_end: &str, unread: usize) {
    let sum: Counters = counted.iter().sum();
    let (fired, filtered, lost) = (sum.fired, sum.filtered, sum.lost_in_all());
    let why = match end {
        End::Requested => "stopped",
        End::NodeEnded => its_end,
        End::Done => "done",
    };
    tracing::info!(fired, filtered, lost, unread, "{why}");
}
