//! A recording in place of a node. In: its file, and how fast. Out: to a [`Sink`], what it was when it was recorded.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bitcointap::{
    capture::Counted,
    event::Moment,
    recording::{Entry, Reader},
    selection::Selection,
};

use crate::{
    arguments::Speed,
    follow::{End, IDLE_INTERVAL, Sink, log_end},
    result::Result,
    stop::Stop,
};

/// Longer than anybody waits, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_secs(1 << 32);

/// A recording to be replayed.
pub struct Replay {
    path: PathBuf,
    reader: Reader<Box<dyn io::Read>>,
    pace: Pace,
}

impl Replay {
    /// `-` is standard input.
    pub fn open(path: &Path, speed: Speed, wanted: &Selection) -> Result<Self> {
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
    pub fn run(mut self, stop: &Stop, sink: &mut impl Sink) -> Result<()> {
        let mut last = None;
        let end = loop {
            match self.reader.next() {
                Some(Ok(Entry::Run(run))) => {
                    let (pid, program, attached) = (run.pid, run.program.display(), run.attached.len());
                    tracing::info!("replaying {attached} tracepoints of pid {pid} {program}, of the recording");
                    if attached == 0 {
                        tracing::warn!("this run of the recording has none of the chosen events: see --events");
                    }
                    sink.attached(&run)?;
                    last = Some(Counted::default());
                }
                Some(Ok(Entry::Batch(batch))) => {
                    let due = self.pace.due(batch.drained().1);
                    if !wait_until(due, stop, sink) {
                        break Ok(End::Requested);
                    }
                    last = last.map(|_| Counted::of(*batch.counters()));
                    if sink.take(&batch)?.is_break() {
                        break Ok(End::Done);
                    }
                }
                Some(Ok(Entry::End(counted))) => {
                    last = None;
                    sink.ended(&counted, End::NodeEnded)?;
                    log_end(&counted, End::NodeEnded, 0);
                }
                Some(Ok(_)) => {}
                None => break Ok(End::Done),
                Some(Err(error)) => break Err(words(&self.path, &error).into()),
            }
            if stop.requested() {
                break Ok(End::Requested);
            }
        };
        // In the middle of a run.
        if let Some(counted) = last {
            let end = *end.as_ref().unwrap_or(&End::NodeEnded);
            sink.ended(&counted, end)?;
            log_end(&counted, end, 0);
        }
        end.map(drop)
    }
}

fn words(path: &Path, error: &bitcointap::recording::Error) -> String {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    format!("cannot replay {name}: {error}")
}

/// False if it is time to stop.
fn wait_until(due: Option<Instant>, stop: &Stop, sink: &mut impl Sink) -> bool {
    let Some(due) = due else { return true };
    while !stop.requested() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if sink.idle().is_break() {
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
