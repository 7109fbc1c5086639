//! A recording in place of a node. In: a recording, and how fast. Out: to [outputs](crate::output), what it was when it was recorded.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Entry, Error, Reader};
use crate::{
    capture::{Counted, End, Run},
    event::Moment,
    follow::{IDLE_INTERVAL, log_end},
    output::{self, Outputs},
    process::Chain,
    selection::Selection,
    stop::Stop,
};

/// Longer than anybody waits, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_secs(1 << 32);

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was recorded; more than 0.
    Times(f64),
    /// As fast as outputs take it.
    Max,
}

/// A recording to be replayed.
pub struct Replay {
    path: PathBuf,
    reader: Reader<Box<dyn io::Read>>,
    pace: Pace,
}

impl Replay {
    /// Opens a recording; `-` is standard input. Only events that are `wanted` will be given.
    ///
    /// # Errors
    /// A line that names the recording.
    pub fn open(path: &Path, speed: Speed, wanted: &Selection) -> Result<Self, String> {
        let input: Box<dyn io::Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            let cannot = |error| format!("cannot open the recording {}: {error}", path.display());
            Box::new(File::open(path).map_err(cannot)?)
        };
        let reader = Reader::new(input, wanted).map_err(|error| words(path, &error))?;
        Ok(Self { path: path.to_owned(), reader, pace: Pace { speed, start: None } })
    }

    /// Gives all of it, until it is time to stop.
    ///
    /// # Errors
    /// Where the recording is damaged or cut off, after all else was given; and that of an output that is required.
    pub fn run(mut self, stop: &Stop, outputs: &mut Outputs<'_>) -> output::Result {
        let mut is_in_run = false;
        let (mut errors, mut first) = (0, None);
        let end = loop {
            match self.reader.next() {
                Some(Ok(Entry::Run(run))) => {
                    if is_in_run {
                        // It was cut off.
                        outputs.run_ends(&Counted::default(), End::NodeEnded)?;
                        log_end(outputs.counted(), End::NodeEnded, 0);
                    }
                    log_run(&run);
                    outputs.run_begins(&run)?;
                    is_in_run = true;
                }
                Some(Ok(Entry::Batch(batch))) => {
                    let due = self.pace.due(batch.drained().1);
                    if !wait_until(due, stop, outputs) {
                        break End::Requested;
                    }
                    outputs.batch(&batch)?;
                    if outputs.are_done() {
                        break End::Done;
                    }
                }
                Some(Ok(Entry::End(counted))) => {
                    is_in_run = false;
                    outputs.run_ends(&counted, End::NodeEnded)?;
                    log_end(outputs.counted(), End::NodeEnded, 0);
                }
                None => break End::Done,
                Some(Err(error)) => {
                    errors += 1;
                    first.get_or_insert(error);
                }
            }
            if stop.is_due() {
                break End::Requested;
            }
        };
        if is_in_run {
            let end = if first.is_some() { End::NodeEnded } else { end };
            outputs.run_ends(&Counted::default(), end)?;
            log_end(outputs.counted(), end, 0);
        }
        if !self.reader.unknown().is_empty() {
            let unknown = self.reader.unknown();
            tracing::warn!("left out of the recording, as only a newer bitcointap knows what they say: {unknown}");
        }
        match first {
            None => Ok(()),
            Some(error) if errors == 1 => Err(words(&self.path, &error).into()),
            Some(error) => Err(format!("{}; so it is in {} more places", words(&self.path, &error), errors - 1).into()),
        }
    }
}

fn log_run(run: &Run) {
    let (pid, program, attached) = (run.pid, run.program.display(), run.attached.len());
    let (node, chain) = (run.named.node(), run.chain.map(Chain::name));
    // Whoever made the recording chose these.
    let of =
        [node, chain, run.user_agent.as_deref()].into_iter().flatten().map(|it| format!(", {}", it.escape_debug()));
    let of: String = of.collect();
    tracing::info!("replaying {attached} tracepoints of pid {pid} {program}{of}, of the recording");
    if attached == 0 {
        tracing::warn!("this run of the recording has none of the chosen events: see --events");
    }
}

fn words(path: &Path, error: &Error) -> String {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    format!("cannot replay {name}: {error}")
}

/// False if it is time to stop.
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

/// When what was recorded is due.
struct Pace {
    speed: Speed,
    start: Option<(Instant, Moment)>,
}

impl Pace {
    fn due(&mut self, moment: Moment) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        // A machine that was started anew counts from zero.
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
