//! Replays recordings. In: recordings, a speed, a window of time. Out: their runs and batches, to [outputs](crate::output), as from a
//! node.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Entry, Error, Limits, Progress,
    merge::{Merge, Order, Step},
    source::{self, Name},
    strand::{self, Found, Strand},
};
use crate::{
    capture::{Batch, Counted, Counters, End, Run},
    event::Moment,
    follow::{IDLE_INTERVAL, log_end},
    output::{self, Outputs},
    process::Chain,
    selection::Selection,
    stop::Stop,
    tracepoint::Tracepoint,
};

/// Longer than anybody waits, and short enough to be added to any [`Instant`].
const LONGEST: Duration = Duration::from_secs(1 << 32);

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as it was recorded. Must be more than 0.
    Times(f64),
    /// As fast as outputs take it.
    Max,
}

/// Recordings to be replayed, in the order in which they begin. The files of one recording are one: a run goes on in the next file.
pub struct Replay {
    strands: Vec<Strand>,
    /// In what is no recording.
    errors: Errors,
    speed: Speed,
    order: Order,
    /// Whether no limits of time were given.
    is_whole: bool,
    progress: Arc<Progress>,
}

/// What went wrong in recordings, and how often.
#[derive(Default)]
struct Errors {
    first: Option<String>,
    count: usize,
}

impl Errors {
    fn add(&mut self, name: &Name, error: &Error) {
        self.first.get_or_insert_with(|| format!("cannot read {name}: {error}"));
        self.count += 1;
    }

    fn result(self) -> output::Result {
        match self.first {
            None => Ok(()),
            Some(words) if self.count == 1 => Err(words.into()),
            Some(words) => Err(format!("{words}; further errors: {}", self.count - 1).into()),
        }
    }
}

impl Replay {
    /// Opens files of recordings, and all recordings of directories; `-` is standard input. Only events that are `wanted` and fired
    /// within `limits` will be replayed.
    ///
    /// # Errors
    /// A line that names what cannot be opened, or is no recording.
    pub fn open<P: AsRef<Path>>(
        paths: &[P],
        speed: Speed,
        limits: impl Into<Limits>,
        wanted: &Selection,
    ) -> Result<Self, String> {
        let (limits, progress) = (limits.into(), Arc::default());
        let Found { strands, errors: found } = strand::strands(source::open(paths)?, limits, wanted, &progress)?;
        let mut errors = Errors::default();
        found.iter().for_each(|(name, error)| errors.add(name, error));
        let is_whole = limits == Limits::default();
        Ok(Self { strands, errors, speed, order: Order::Strands, is_whole, progress })
    }

    /// Joins recordings that overlap, by the times of their events: for an output that takes runs of several nodes at once. See
    /// [`Output::run_goes_on`](output::Output::run_goes_on).
    #[must_use]
    pub fn joined(self) -> Self {
        Self { order: Order::Events, ..self }
    }

    /// How much is read. It goes on to say so while recordings are replayed.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Whether this is a file that will be read.
    pub fn reads(&self, file: &Metadata) -> bool {
        self.strands.iter().any(|strand| strand.reads(file))
    }

    /// Replays all recordings, until it is time to stop.
    ///
    /// # Errors
    /// A recording is damaged or cut off; all else was replayed before the error is given. Or a required output has failed.
    pub fn run(self, stop: &Stop, outputs: &mut Outputs<'_>) -> output::Result {
        let Self { strands, mut errors, speed, order, is_whole, .. } = self;
        Playing::new(strands, order, speed, is_whole).run(stop, outputs, &mut errors)?;
        errors.result()
    }

    /// Replays one recording after another, each to outputs of its own. `make` makes them when the first run begins. The inner result is
    /// about recordings, as for [`run`](Self::run).
    ///
    /// # Errors
    /// A required output has failed, or could not be made.
    pub fn run_each<'a>(
        self,
        stop: &Stop,
        mut make: impl FnMut() -> output::Result<Outputs<'a>>,
    ) -> output::Result<output::Result> {
        let mut errors = self.errors;
        for strand in self.strands {
            let mut outputs = Outputs::default();
            let playing = Playing::new(vec![strand], Order::Strands, self.speed, self.is_whole);
            let playing = Playing { make: Some(&mut make), is_apart: true, ..playing };
            let played = playing.run(stop, &mut outputs, &mut errors);
            outputs.finish(stop).and(played)?;
            if stop.is_due() {
                break;
            }
        }
        Ok(errors.result())
    }
}

/// Makes outputs when they are needed.
type Make<'a, 'b> = &'b mut dyn FnMut() -> output::Result<Outputs<'a>>;

/// Strands that are replayed to outputs.
struct Playing<'a, 'b> {
    merge: Merge,
    speed: Speed,
    is_whole: bool,
    /// The state of each strand that has begun, by rank.
    states: BTreeMap<usize, State>,
    /// The strand whose run outputs take events of.
    current: Option<usize>,
    make: Option<Make<'a, 'b>>,
    /// Whether each strand has outputs of its own.
    is_apart: bool,
}

/// How far a strand was replayed.
struct State {
    /// A run that outputs do not know yet, since it may have no events in the window.
    waiting: Option<Box<Run>>,
    /// The run that outputs know.
    run: Option<Arc<Run>>,
    /// What was counted in it by the time when outputs turned to another, by [`Tracepoint::index`].
    counted: [Counters; Tracepoint::COUNT],
    pace: Pace,
    errors: usize,
}

impl State {
    fn new(speed: Speed) -> Self {
        let pace = Pace { speed, start: None };
        Self { waiting: None, run: None, counted: Default::default(), pace, errors: 0 }
    }
}

impl<'a> Playing<'a, '_> {
    fn new(strands: Vec<Strand>, order: Order, speed: Speed, is_whole: bool) -> Self {
        Self {
            merge: Merge::new(strands, order),
            speed,
            is_whole,
            states: BTreeMap::new(),
            current: None,
            make: None,
            is_apart: false,
        }
    }

    fn run(mut self, stop: &Stop, outputs: &mut Outputs<'a>, errors: &mut Errors) -> output::Result {
        let end = loop {
            let Some((rank, step)) = self.merge.next() else { break End::Done };
            self.states.entry(rank).or_insert_with(|| State::new(self.speed));
            match step {
                Step::Entry(Entry::Run(run)) => {
                    // The recording of the run before was cut off.
                    self.run_ends(rank, &Counted::default(), End::NodeEnded, outputs)?;
                    self.state(rank).waiting = Some(run);
                    if self.is_whole {
                        self.begin(rank, outputs)?;
                    }
                }
                Step::Entry(Entry::Batch(batch)) => {
                    let due = self.state(rank).pace.due(batch.drained().1);
                    if !wait_until(due, stop, outputs) {
                        break End::Requested;
                    }
                    self.batch(rank, &batch, outputs)?;
                    if outputs.are_done() {
                        break End::Done;
                    }
                }
                Step::Entry(Entry::End(counted)) => {
                    self.state(rank).waiting = None;
                    self.run_ends(rank, &counted, End::NodeEnded, outputs)?;
                }
                Step::Failed(error) => {
                    if let Some(strand) = self.merge.strand(rank) {
                        errors.add(strand.name(), &error);
                    }
                    self.state(rank).errors += 1;
                }
                Step::Over(strand) => {
                    if let Some(unknown) = strand.unknown() {
                        tracing::warn!(
                            "left out events of the recording that only a newer bitcointap knows: {unknown}"
                        );
                    }
                    let end = if self.state(rank).errors == 0 { End::Done } else { End::NodeEnded };
                    self.run_ends(rank, &Counted::default(), end, outputs)?;
                    self.states.remove(&rank);
                }
            }
            if stop.is_due() {
                break End::Requested;
            }
        };
        let left: Vec<_> = self.states.keys().copied().collect();
        left.into_iter().try_for_each(|rank| self.run_ends(rank, &Counted::default(), end, outputs))
    }

    fn state(&mut self, rank: usize) -> &mut State {
        self.states.get_mut(&rank).expect("it has begun")
    }

    fn batch(&mut self, rank: usize, batch: &Arc<Batch>, outputs: &mut Outputs<'a>) -> output::Result {
        self.begin(rank, outputs)?;
        self.turn_to(rank, outputs);
        outputs.batch(batch)?;
        // Payloads stay as they were recorded. Nobody shall wait for whole ones.
        outputs.payloads_are_whole();
        Ok(())
    }

    /// Tells outputs about the waiting run, if there is one.
    fn begin(&mut self, rank: usize, outputs: &mut Outputs<'a>) -> output::Result {
        let Some(run) = self.state(rank).waiting.take() else { return Ok(()) };
        self.leave(outputs);
        log_run(&run, if self.is_apart { "cutting" } else { "replaying" });
        if let Some(make) = self.make.take() {
            *outputs = make()?;
        }
        outputs.run_begins(&run)?;
        self.state(rank).run = Some(Arc::from(run));
        self.current = Some(rank);
        Ok(())
    }

    /// What comes next is of this strand's run.
    fn turn_to(&mut self, rank: usize, outputs: &mut Outputs<'a>) {
        if self.current != Some(rank) {
            self.leave(outputs);
            let state = self.state(rank);
            state.run.iter().for_each(|run| outputs.run_goes_on(run, &state.counted));
            self.current = Some(rank);
        }
    }

    fn leave(&mut self, outputs: &Outputs<'a>) {
        if let Some(state) = self.current.take().and_then(|current| self.states.get_mut(&current)) {
            state.counted = *outputs.counted();
        }
    }

    /// Ends the run, if outputs know one.
    fn run_ends(&mut self, rank: usize, counted: &Counted, end: End, outputs: &mut Outputs<'a>) -> output::Result {
        if self.state(rank).run.is_some() {
            self.turn_to(rank, outputs);
            self.current = None;
            self.state(rank).run = None;
            run_ends(counted, end, outputs)?;
        }
        Ok(())
    }
}

/// Tells outputs, and then the log, how a run has ended.
pub(crate) fn run_ends(counted: &Counted, end: End, outputs: &mut Outputs<'_>) -> output::Result {
    outputs.run_ends(counted, end)?;
    log_end(outputs.counted(), end, "end of the run", 0);
    Ok(())
}

/// Logs which run is `replaying`, or what else is done with it.
pub(crate) fn log_run(run: &Run, replaying: &str) {
    let (pid, program, attached) = (run.pid, run.program.display(), run.attached.len());
    let (node, chain) = (run.named.node(), run.chain.map(Chain::name));
    // These come from the recording, and may be any text.
    let of =
        [node, chain, run.user_agent.as_deref()].into_iter().flatten().map(|it| format!(", {}", it.escape_debug()));
    let of: String = of.collect();
    let tracepoints = if attached == 1 { "tracepoint" } else { "tracepoints" };
    tracing::info!("{replaying} a run of pid {pid} {program}{of}, with {attached} {tracepoints}");
    if attached == 0 {
        tracing::warn!("this run of the recording has none of the chosen events: see --events");
    }
}

/// Waits. False if it is time to stop.
fn wait_until(due: Option<Instant>, stop: &Stop, outputs: &mut Outputs<'_>) -> bool {
    let Some(due) = due else { return true };
    while !stop.is_due() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        outputs.idle();
        if outputs.are_done() {
            return false;
        }
        stop.wait(stop.at_most(left.min(IDLE_INTERVAL)));
    }
    false
}

/// When a batch of the recording is due.
struct Pace {
    speed: Speed,
    start: Option<(Instant, Moment)>,
}

impl Pace {
    fn due(&mut self, moment: Moment) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        // After a reboot the boot clock starts at zero again.
        let (start, first) = match self.start {
            Some((start, first)) if first <= moment => (start, first),
            _ => *self.start.insert((Instant::now(), moment)),
        };
        let after = Duration::try_from_secs_f64(moment.since(first).as_secs_f64() / times);
        Some(start + after.map_or(LONGEST, |after| after.min(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_recording_or_so_many_times_of_it() {
        let seconds = |seconds: u64| Moment(seconds * 1_000_000_000);
        for (times, expected) in [(1.0, 60), (2.0, 30), (0.5, 120)] {
            let mut pace = Pace { speed: Speed::Times(times), start: None };
            let start = pace.due(seconds(100)).unwrap();
            assert_eq!(pace.due(seconds(160)), Some(start + Duration::from_secs(expected)));
            // After a reboot.
            let start = pace.due(seconds(7)).unwrap();
            assert_eq!(pace.due(seconds(67)), Some(start + Duration::from_secs(expected)));
        }
        let mut slowest = Pace { speed: Speed::Times(f64::MIN_POSITIVE), start: None };
        let start = slowest.due(seconds(100)).unwrap();
        assert_eq!(slowest.due(Moment(100_000_000_001)), Some(start + LONGEST));
        assert_eq!(Pace { speed: Speed::Max, start: None }.due(seconds(100)), None);
    }
}
