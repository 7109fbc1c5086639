//! Replays recordings. In: recordings, a speed, a window of time. Out: their runs and batches, to [outputs](crate::output), as from a
//! node.

use std::{
    fs::File,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Entry, Error, Reader};
use crate::{
    capture::{Counted, End, Run},
    event::{Moment, Time},
    follow::{IDLE_INTERVAL, log_end},
    output::{self, Outputs},
    process::Chain,
    selection::Selection,
    stop::Stop,
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

/// The time in which events must have fired to be replayed. Both ends are part of it. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The earliest time.
    pub since: Option<Time>,
    /// The latest time.
    pub until: Option<Time>,
}

impl Window {
    pub(super) fn contains(self, time: Time) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until)
    }

    fn is_limited(self) -> bool {
        self != Self::default()
    }
}

/// Recordings to be replayed, one after another.
pub struct Replay {
    recordings: Vec<(PathBuf, Reader<Box<dyn io::Read>>)>,
    pace: Pace,
    window: Window,
}

/// What went wrong in a recording, and how often.
#[derive(Default)]
struct Errors {
    first: Option<(PathBuf, Error)>,
    count: usize,
}

impl Replay {
    /// Opens recordings; `-` is standard input. Only events that are `wanted` and fired in the `window` will be replayed.
    ///
    /// # Errors
    /// A line that names the recording.
    pub fn open<P: AsRef<Path>>(paths: &[P], speed: Speed, window: Window, wanted: &Selection) -> Result<Self, String> {
        let recording = |path: &P| {
            let path = path.as_ref();
            let input: Box<dyn io::Read> = if path == Path::new("-") {
                Box::new(io::stdin())
            } else {
                let cannot = |error| format!("cannot open the recording {}: {error}", path.display());
                Box::new(File::open(path).map_err(cannot)?)
            };
            let reader = Reader::new(input, wanted).map_err(|error| words(path, &error))?;
            Ok((path.to_owned(), reader.within(window)))
        };
        let recordings = paths.iter().map(recording).collect::<Result<_, String>>()?;
        Ok(Self { recordings, pace: Pace { speed, start: None }, window })
    }

    /// Replays all recordings, until it is time to stop.
    ///
    /// # Errors
    /// A recording is damaged or cut off; all else was replayed before the error is given. Or a required output has failed.
    pub fn run(mut self, stop: &Stop, outputs: &mut Outputs<'_>) -> output::Result {
        let mut errors = Errors::default();
        for (path, mut reader) in std::mem::take(&mut self.recordings) {
            self.pace.start = None;
            let end = self.play(&path, &mut reader, stop, outputs, &mut errors)?;
            let unknown = reader.unknown();
            if !unknown.is_empty() {
                tracing::warn!("left out events of the recording that only a newer bitcointap knows: {unknown}");
            }
            if end.is_break() {
                break;
            }
        }
        match errors.first {
            None => Ok(()),
            Some((path, error)) if errors.count == 1 => Err(words(&path, &error).into()),
            Some((path, error)) => {
                Err(format!("{}; further errors: {}", words(&path, &error), errors.count - 1).into())
            }
        }
    }

    /// Replays one recording. Breaks if the others shall not be replayed.
    fn play(
        &mut self,
        path: &Path,
        reader: &mut Reader<Box<dyn io::Read>>,
        stop: &Stop,
        outputs: &mut Outputs<'_>,
        errors: &mut Errors,
    ) -> output::Result<ControlFlow<()>> {
        // A run that outputs do not know yet, since it may have no events in the window.
        let mut waiting: Option<Box<Run>> = None;
        let mut is_in_run = false;
        let count = errors.count;
        let end = loop {
            match reader.next() {
                Some(Ok(Entry::Run(run))) => {
                    if is_in_run {
                        // The recording of the run before was cut off.
                        run_ends(&Counted::default(), End::NodeEnded, outputs)?;
                        is_in_run = false;
                    }
                    waiting = Some(run);
                    if !self.window.is_limited() {
                        is_in_run = begin(&mut waiting, outputs)?;
                    }
                }
                Some(Ok(Entry::Batch(batch))) => {
                    is_in_run |= begin(&mut waiting, outputs)?;
                    let due = self.pace.due(batch.drained().1);
                    if !wait_until(due, stop, outputs) {
                        break Some(End::Requested);
                    }
                    outputs.batch(&batch)?;
                    // Payloads stay as they were recorded. Nobody shall wait for whole ones.
                    outputs.payloads_are_whole();
                    if outputs.are_done() {
                        break Some(End::Done);
                    }
                }
                Some(Ok(Entry::End(counted))) => {
                    waiting = None;
                    if std::mem::take(&mut is_in_run) {
                        run_ends(&counted, End::NodeEnded, outputs)?;
                    }
                }
                None => break None,
                Some(Err(error)) => {
                    errors.count += 1;
                    errors.first.get_or_insert_with(|| (path.to_owned(), error));
                }
            }
            if stop.is_due() {
                break Some(End::Requested);
            }
        };
        if is_in_run {
            let is_whole = errors.count == count;
            let end = if is_whole { end.unwrap_or(End::Done) } else { End::NodeEnded };
            run_ends(&Counted::default(), end, outputs)?;
        }
        Ok(if end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Tells outputs about the waiting run, if there is one. Gives whether there was one.
fn begin(waiting: &mut Option<Box<Run>>, outputs: &mut Outputs<'_>) -> output::Result<bool> {
    let Some(run) = waiting.take() else { return Ok(false) };
    log_run(&run, "replaying");
    outputs.run_begins(&run)?;
    Ok(true)
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

fn words(path: &Path, error: &Error) -> String {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    format!("cannot replay {name}: {error}")
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
