//! Follows a node: taps one run of it after another. In: which node, what to tap of it, when to stop. Out: to a [`Sink`], what
//! is drained, and when a run begins and ends.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use bitcointap::{
    Error,
    capture::{self, Batch, Counted, Counters, Run, unshared},
    event::Moment,
    http::{Freshness, Tapped},
    privileges,
    process::{Node, Which},
    tap::{DRAIN_INTERVAL, Options, Tap},
    tracepoint::{Tracepoint, Tracepoints},
};

use clap::ValueEnum;

use crate::{result::Result, stop::Stop};

/// Which capabilities go once a node is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DropCapabilities {
    /// Every one: a next run of the node is not attached to.
    All,
    /// Every one but those that it takes to find the next run and attach to it.
    KeepForReattach,
}

/// How often outputs and lists are looked after while no events come.
pub const IDLE_INTERVAL: Duration = Duration::from_millis(100);
/// How often a node is looked for while none runs; with attaching it is tapped within a second of its start.
const SEARCH_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is made sure that the process has not become another program.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Losses are told in one line for so long.
const LOSSES_INTERVAL: Duration = Duration::from_secs(10);
/// How long a node that could not be attached to is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// What is still given to the ring buffer after a signal: with detaching it stays within a second.
const DRAIN_PATIENCE: Duration = Duration::from_millis(200);

/// Where events go.
pub trait Sink {
    /// A run of the node is attached to.
    fn attached(&mut self, run: &Run) -> Result<()>;

    /// Attaching failed; it will be tried again.
    fn attach_failed(&mut self) {}

    /// No node is attached to, for a new reason. It will be looked for again.
    fn waits(&mut self, why: &str) {
        let _ = why;
    }

    /// What was drained, in order, empty batches too. Breaks when it wants no more.
    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>>;

    /// What was left in the ring buffer, since time was up.
    fn unread(&mut self, batch: &Batch);

    /// How long events may wait in the ring buffer: asked again and again.
    fn patience(&self) -> Duration {
        DRAIN_INTERVAL
    }

    /// Who may want them sooner, now and then.
    fn freshness(&self) -> Option<&Freshness> {
        None
    }

    /// The run has ended, or is let go; all of its events were given.
    fn ended(&mut self, counted: &Counted, end: End) -> Result<()>;

    /// Whether it wants payloads whole, where they are limited: asked again and again.
    fn wants_whole_payloads(&self) -> bool {
        false
    }

    /// Those of all events that come are whole by now.
    fn payloads_are_whole(&mut self) {}

    /// While no node runs. Breaks when it wants no more.
    fn idle(&mut self) -> ControlFlow<()>;
}

/// What ended the tapping of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal or the time that was given.
    Requested,
    NodeEnded,
    /// The sink wants no more.
    Done,
}

impl End {
    /// Why nothing is attached to any more.
    pub fn why_not_attached(self) -> &'static str {
        match self {
            End::NodeEnded => "the node has ended",
            End::Requested | End::Done => "stopping",
        }
    }
}

/// Taps until the end. If it `follows`, the node is waited for, and its end is none: the next run is waited for, unless
/// capabilities are dropped that attaching takes.
pub fn run(
    which: &Which,
    options: &Options,
    stop: &Stop,
    follows: bool,
    drops: DropCapabilities,
    sink: &mut impl Sink,
) -> Result<()> {
    // A process id names one run.
    let follows = follows && !matches!(which, Which::Pid(_));
    let mut search = Search::new(which, follows);
    while let Some(node) = search.next(stop, sink)? {
        let start = Instant::now();
        let options = &Options { whole_payloads: sink.wants_whole_payloads(), ..options.clone() };
        let mut tap = match Tap::attach(&node, options) {
            Ok(tap) => tap,
            // That it has ended meanwhile is no failure.
            Err(_) if follows && !node.still_runs() => continue,
            Err(error) if search.may_fail(&error) => {
                sink.attach_failed();
                sink.waits(&error.to_string());
                tracing::warn!("{error}");
                search.leave_alone(node);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        search.found(&node);
        match drops {
            DropCapabilities::All => privileges::drop_all()?,
            DropCapabilities::KeepForReattach => {}
        }
        tap.wake_on(&stop.signalled)?;
        sink.attached(&tap.run(&node))?;
        log_attached(&tap, &node, options, start.elapsed());
        let end = pump(&mut tap, &node, stop, options.whole_payloads, sink)?;
        if end == End::Requested {
            drain_rest(&mut tap, stop, sink)?;
        }
        let unread = if end == End::NodeEnded { 0 } else { drain_unread(&mut tap, sink)? };
        let counted = tap.counted()?;
        sink.ended(&counted, end)?;
        log_end(&counted, end, unread);
        if end != End::NodeEnded || !follows {
            return Ok(());
        }
        tap.let_go();
        match drops {
            DropCapabilities::All => {
                tracing::info!(
                    "its next run is not attached to, which takes what --drop-capabilities all has given up"
                );
                return Ok(());
            }
            DropCapabilities::KeepForReattach => {}
        }
    }
    Ok(())
}

/// Looks for runs of the node.
struct Search<'a> {
    which: &'a Which,
    /// The last run.
    before: Option<Node>,
    follows: bool,
    /// Whether a run was tapped or waited for already: what fails then may be mended, and is no wrong usage.
    goes_on: bool,
    /// Why none is found, when that was last told.
    told: String,
    /// One that could not be attached to, and when.
    left_alone: Option<(Node, Instant)>,
}

impl<'a> Search<'a> {
    fn new(which: &'a Which, follows: bool) -> Self {
        Self { which, before: None, follows, goes_on: false, told: String::new(), left_alone: None }
    }

    /// The next run; none when it is time to stop. Without following, what is not there now is an error.
    fn next(&mut self, stop: &Stop, sink: &mut impl Sink) -> Result<Option<Node>> {
        loop {
            if stop.requested() {
                return Ok(None);
            }
            match self.which.look(self.before.as_ref()) {
                Ok(node) if !self.is_left_alone(&node) => return Ok(Some(node)),
                Ok(_) | Err(Error::NodeStarts(_)) => {}
                Err(error) if self.waits_for(&error) => self.tell(&error, sink),
                Err(error) => return Err(error.into()),
            }
            if sink.idle().is_break() {
                return Ok(None);
            }
            stop.wait(stop.at_most(SEARCH_INTERVAL));
        }
    }

    /// Whether it is only a matter of time, or of ending another node.
    fn waits_for(&self, error: &Error) -> bool {
        let is_absent = matches!(
            error,
            Error::NoNode
                | Error::NotRunning(_)
                | Error::SeveralNodes(_)
                | Error::OtherNodes { .. }
                | Error::PidGone(_)
                | Error::PidFile { .. }
        );
        self.follows && (self.goes_on || is_absent)
    }

    fn tell(&mut self, error: &Error, sink: &mut impl Sink) {
        self.goes_on = true;
        let words = error.to_string();
        if self.told != words {
            sink.waits(&words);
            tracing::info!("waiting for a node: {words}");
            self.told = words;
        }
    }

    /// Whether attaching to this run may fail without that being told by the end: others will come. What lies at us or at how
    /// we were called will fail again.
    fn may_fail(&self, error: &Error) -> bool {
        let is_ours = matches!(
            error,
            Error::Privileges(_)
                | Error::KernelTooOld(_)
                | Error::RingBufferSize(_)
                | Error::NoneChosen(..)
                | Error::Unreadable { .. }
                | Error::Bpf { .. }
                | Error::System { .. }
        );
        self.follows && (self.goes_on || !is_ours)
    }

    fn leave_alone(&mut self, node: Node) {
        self.left_alone = Some((node, Instant::now()));
    }

    fn is_left_alone(&self, node: &Node) -> bool {
        let recently = |since: &Instant| since.elapsed() < RETRY_INTERVAL;
        self.left_alone.as_ref().is_some_and(|(left, since)| left == node && recently(since))
    }

    /// A run is attached to, and its next ones are followed: not those of another data directory or chain.
    fn found(&mut self, node: &Node) {
        self.before = Some(node.clone());
        (self.goes_on, self.told, self.left_alone) = (true, String::new(), None);
    }
}

/// Drains the tap until the end, and gives each batch, empty ones too, so that sinks are looked after.
fn pump(tap: &mut Tap, node: &Node, stop: &Stop, whole_payloads: bool, sink: &mut impl Sink) -> Result<End> {
    let mut batch = Arc::<Batch>::default();
    let (mut more, mut node_ended) = (false, false);
    let mut checked = Instant::now();
    let mut losses = Losses::default();
    let mut payloads = WholePayloads::since_now(whole_payloads);
    let mut questions = sink.freshness().map(|freshness| Questions::begin(freshness, tap)).transpose()?;
    loop {
        if !more {
            // What is left stands behind a record that is being written, and fills the ring buffer without another wake-up.
            let (_, left) = batch.ring_buffer();
            let patience = if left > 0 { DRAIN_INTERVAL } else { sink.patience() };
            node_ended |= tap.wait(stop.at_most(patience))?.node_ended;
        }
        let checks = checked.elapsed() >= CHECK_INTERVAL;
        if checks {
            checked = Instant::now();
            node_ended |= !node.still_runs();
        }
        payloads.choose(tap, sink)?;
        questions.iter_mut().for_each(Questions::take);
        more = tap.drain(unshared(&mut batch))?;
        if checks || node_ended {
            losses.look(&batch);
        }
        if sink.take(&batch)?.is_break() {
            return Ok(End::Done);
        }
        if payloads.are_whole(batch.newest(), more) {
            sink.payloads_are_whole();
        }
        questions.iter_mut().for_each(|questions| questions.answer(batch.newest(), more));
        if stop.requested() {
            return Ok(End::Requested);
        }
        if node_ended && !more {
            return Ok(End::NodeEnded);
        }
    }
}

/// Those who want what has fired by now, and wait for a drain.
struct Questions {
    tapped: Tapped,
    asked: u64,
    answered: u64,
    /// When the oldest of them was taken that is not answered.
    since: Moment,
}

impl Questions {
    fn begin(freshness: &Freshness, tap: &Tap) -> Result<Self> {
        tap.wake_on(freshness)?;
        Ok(Self { tapped: freshness.tapped(), asked: 0, answered: 0, since: Moment::default() })
    }

    /// Before a drain.
    fn take(&mut self) {
        // Those that come while a flood is drained are answered with what comes after it.
        if self.asked == self.answered {
            self.asked = self.tapped.asked();
            (_, self.since) = capture::now();
        }
    }

    /// After it, by its newest event.
    fn answer(&mut self, newest: Option<Moment>, more: bool) {
        // In a flood the end may never be reached.
        if !more || newest.is_some_and(|newest| newest > self.since) {
            self.answered = self.asked;
            self.tapped.met(self.asked);
        }
    }
}

/// Whether payloads are whole just now, where they are limited.
struct WholePayloads {
    wanted: bool,
    since: Moment,
    /// How often the ring buffer was drained to its end since then: a program may have been at work when they became wanted,
    /// and when it was drained first.
    drained: u32,
}

impl WholePayloads {
    fn since_now(wanted: bool) -> Self {
        let (_, since) = capture::now();
        Self { wanted, since, drained: 0 }
    }

    fn choose(&mut self, tap: &Tap, sink: &impl Sink) -> Result<()> {
        let wanted = sink.wants_whole_payloads();
        if wanted != self.wanted {
            tap.want_whole_payloads(wanted)?;
            *self = Self::since_now(wanted);
        }
        Ok(())
    }

    /// Whether those of all events are whole that come after a batch, by its newest event.
    fn are_whole(&mut self, newest: Option<Moment>, more: bool) -> bool {
        self.drained = self.drained.saturating_add((!more).into());
        // In a flood the end may never be reached; what waited in the ring buffer has then gone out all the same.
        let is_later = newest.is_some_and(|newest| newest.since(self.since) > DRAIN_INTERVAL);
        self.wanted && (self.drained > 1 || is_later)
    }
}

/// What of a run's losses was told in the log.
#[derive(Default)]
struct Losses {
    told: [u64; Tracepoint::COUNT],
    at: Option<Instant>,
}

impl Losses {
    fn look(&mut self, batch: &Batch) {
        if self.at.is_some_and(|at| at.elapsed() < LOSSES_INTERVAL) {
            return;
        }
        let lost = batch.counters().map(|counters| counters.lost_in_all());
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

/// Detaches and gives what the ring buffer still holds; after a signal only as far as time allows.
fn drain_rest(tap: &mut Tap, stop: &Stop, sink: &mut impl Sink) -> Result<()> {
    tap.detach();
    let mut batch = Arc::<Batch>::default();
    let mut more = true;
    while more && !stop.signalled_for(DRAIN_PATIENCE) {
        more = tap.drain(unshared(&mut batch))?;
        if sink.take(&batch)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Counts what nobody will read.
fn drain_unread(tap: &mut Tap, sink: &mut impl Sink) -> Result<usize> {
    tap.detach();
    let mut batch = Batch::default();
    let (mut more, mut unread) = (true, 0);
    while more {
        more = tap.drain(&mut batch)?;
        unread += batch.len();
        sink.unread(&batch);
    }
    Ok(unread)
}

fn log_attached(tap: &Tap, node: &Node, options: &Options, took: Duration) {
    let milliseconds = took.as_millis();
    let count = tap.attached().len();
    // What failed because the node has ended meanwhile was not refused.
    let has_ended = !node.still_runs();
    match tap.verified() {
        Ok(()) => tracing::info!("attached to {count} tracepoints of {node} in {milliseconds} ms"),
        Err(error) => tracing::info!(
            "attached to {count} tracepoints of {node} in {milliseconds} ms; not verified: {error} (see `bitcointap doctor`)"
        ),
    }
    for (tracepoint, error) in tap.failures().iter().filter(|_| !has_ended) {
        tracing::warn!("not attached to {tracepoint}: {error}");
    }
    let failed: Tracepoints = tap.failures().iter().map(|&(tracepoint, _)| tracepoint).collect();
    let absent = |&wanted: &Tracepoint| !tap.attached().contains(wanted) && !failed.contains(wanted);
    let absent: Tracepoints = options.selection.tracepoints().iter().filter(absent).collect();
    if !absent.is_empty() {
        tracing::info!("this program does not have, or has with unknown arguments: {absent}");
    }
}

pub fn log_end(counted: &Counted, end: End, unread: usize) {
    let sum: Counters = counted.counters.iter().sum();
    let (fired, filtered, lost) = (sum.fired, sum.filtered, sum.lost_in_all());
    let why = match end {
        End::Requested => "stopped",
        End::NodeEnded => "the node has ended",
        End::Done => "done",
    };
    tracing::info!(fired, filtered, lost, unread, "{why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of batches, each by milliseconds from the choice to its newest event, and by whether more waited.
    fn found(wanted: bool, batches: &[(Option<u64>, bool)]) -> Vec<bool> {
        let mut payloads = WholePayloads { wanted, since: Moment(5_000_000_000), drained: 0 };
        let moment = |milliseconds: u64| Moment(5_000_000_000 + milliseconds * 1_000_000);
        batches.iter().map(|&(newest, more)| payloads.are_whole(newest.map(moment), more)).collect()
    }

    #[test]
    fn payloads_are_whole_once_all_went_out_that_may_be_limited() {
        let quiet = [(None, false), (None, false), (None, false)];
        assert_eq!(found(true, &quiet), [false, true, true]);
        assert_eq!(found(false, &quiet), [false; 3]);
        // In a flood, in which more waits always.
        let flood = [(Some(1), true), (None, true), (Some(20), true), (Some(21), true), (Some(30), true)];
        assert_eq!(found(true, &flood), [false, false, false, true, true]);
        assert_eq!(found(false, &flood), [false; 5]);
        // What waited from before the choice.
        let mut payloads = WholePayloads { wanted: true, since: Moment(5_000_000_000), drained: 0 };
        assert!(!payloads.are_whole(Some(Moment(4_000_000_000)), true));
    }
}
