//! The flight recorder keeps the newest events in memory, so that somebody can look at the minutes before an alert. In: the events that a
//! spool gives. Out: at any time, a recording of what is held, which ends with the newest event.
//!
//! It holds groups of a [recording](crate::recording), compressed. Each group can be read alone. When they have reached the size, the
//! oldest makes room for the next. `writing` makes groups, `memory` holds them, and a [`Dump`] reads them: it shares them with the memory,
//! and does not copy them.
//!
//! What the size includes: groups, also those that only a dump still has, and the work of dumps. Beyond that, and within 8 MiB, is
//! what waits in the spool's queue and is being compressed.

mod dump;
mod file;
mod memory;
#[cfg(test)]
mod tests;
mod writing;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use self::{dump::Dump, file::Saved};
use self::{memory::Memory, writing::Writing};
use crate::{
    capture::{Run, now},
    event::{Event, Time},
    output::Kept,
    selection::Selection,
    spool::{Format, Line, Part, Progress, Sink, Spool},
};

/// How much of its size is left for work, so that it never takes more than 8 MiB beyond its size. At most 8.2 MiB wait in the spool's
/// queue, 4.3 MB are the entries of a block before they are compressed, and 1.5 MiB is for compressing and for lists.
const WORK: usize = 7 << 20;

/// Keeps the newest events. It is off until [`Recorder::start`]. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Shared>);

/// How much to keep, and where to write it at a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of memory, at least [`Settings::LEAST`].
    pub size: usize,
    /// Where [`Recorder::write`] writes.
    pub directory: Option<PathBuf>,
}

impl Settings {
    /// The least size. Beside all that downloads may take, it has room for a group and for a block with a message of the largest size.
    pub const LEAST: usize = 32 << 20;
}

/// Why there is no dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The recorder is off.
    Off,
    /// Nothing was recorded in that time. The time of the newest event, if there is one.
    Nothing(Option<Time>),
    /// It takes so many bytes of memory for its work, and others already use what may be used for that.
    NoRoom(usize),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    kept: Counts,
    /// That of the newest spool.
    progress: Mutex<Option<Progress>>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    /// One for each spool that has not ended.
    writings: Vec<(u64, Writing)>,
    /// The number of the newest spool.
    newest: u64,
    directory: Option<PathBuf>,
    /// What the node of the newest run is called.
    node: Option<String>,
}

/// For metrics, which must not wait for the lock.
#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    /// The time of the oldest event; 0 if there is none.
    since: AtomicU64,
    dropped: AtomicU64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts the thread that records the `wanted` events of the batches that the spool gets. What is already held stays, as far as the
    /// size allows. When the spool has ended and no other has started, the recorder is off, and holds nothing.
    ///
    /// # Errors
    /// The thread cannot start.
    ///
    /// # Panics
    /// If the size is less than [`Settings::LEAST`].
    pub fn start(&self, settings: &Settings, wanted: &Selection) -> io::Result<Spool> {
        assert!(settings.size >= Settings::LEAST, "it can hold a message of the largest size");
        let writing = Writing::new(wanted)?;
        let number = {
            let mut state = self.0.state();
            state.newest += 1;
            let number = state.newest;
            state.writings.push((number, writing));
            state.memory.limit(settings.size - WORK);
            state.directory.clone_from(&settings.directory);
            number
        };
        // Its text goes nowhere: the format keeps it.
        let format = FlightFormat { shared: Arc::clone(&self.0), number };
        let spool = Spool::start(io::sink(), format, wanted, None)?;
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(spool.progress());
        Ok(spool)
    }

    /// Whether it records.
    pub fn is_on(&self) -> bool {
        self.0.state().memory.is_on()
    }

    /// What it holds. Never waits.
    pub fn kept(&self) -> Kept {
        let Counts { bytes, since, dropped } = &self.0.kept;
        let since = since.load(Relaxed);
        let seconds = if since == 0 { 0.0 } else { now().0.0.saturating_sub(since) as f64 / 1e9 };
        Kept { bytes: bytes.load(Relaxed), seconds, dropped: dropped.load(Relaxed) }
    }

    /// A question, to be repeated: whether all that the spool got before this call is held.
    pub fn catches_up(&self) -> impl Fn() -> bool + Send + use<> {
        let progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pushed = progress.as_ref().map_or(0, Progress::pushed);
        move || progress.as_ref().is_none_or(|progress| progress.is_past(pushed))
    }

    /// A recording of what is held: all, or of the time from so long ago. It begins with a whole group, so it may begin some seconds
    /// earlier. `is_selected` says that it will be written by [`Dump::write_selected`], which takes more memory.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn dump(&self, last: Option<Duration>, is_selected: bool) -> Result<Dump, Refusal> {
        let state = &mut *self.0.state();
        if !state.memory.is_on() {
            return Err(Refusal::Off);
        }
        let unfinished = state.unfinished();
        let since = last.map(|last| {
            let last = u64::try_from(last.as_nanos()).unwrap_or(u64::MAX);
            Time(now().0.0.saturating_sub(last))
        });
        let dump = state.memory.dump(since, is_selected, unfinished).map(|dump| dump.of(state.node.clone()));
        self.0.kept.note(&state.memory);
        dump
    }

    /// Writes all that is held into the directory of the settings, as a new file.
    ///
    /// # Errors
    /// A line that says why there is no such file.
    pub fn write(&self) -> Result<Saved, String> {
        let directory = self.0.state().directory.clone();
        let dump = self.dump(None, false).map_err(|refusal| match refusal {
            Refusal::Off => "there is no flight recorder: start export with --flight-recorder".to_owned(),
            Refusal::Nothing(_) => "the flight recorder has recorded nothing yet".into(),
            Refusal::NoRoom(_) => "too many flight recordings are being read: try again later".into(),
        })?;
        let directory = directory.ok_or("name a directory for flight recordings by --flight-recorder.dir")?;
        file::write(dump, Path::new(&directory))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A block of what is in no block yet, and its bytes before it was compressed. It stays where it is: whoever asks for dumps again and
    /// again shall not make blocks small.
    fn unfinished(&mut self) -> Option<(Vec<u8>, usize)> {
        let made =
            self.writings.iter_mut().rev().find_map(|(_, writing)| writing.unfinished(&mut self.memory).transpose());
        made.transpose().unwrap_or_else(|error| {
            tracing::error!("the flight recorder cannot compress events: {error}");
            None
        })
    }

    /// Puts into memory what is not in a block yet.
    fn flush(&mut self) {
        for (_, writing) in &mut self.writings {
            if let Err(error) = writing.flush(&mut self.memory) {
                tracing::error!("the flight recorder cannot compress events: {error}");
            }
        }
    }

    fn writing(&mut self, number: u64) -> Option<(&mut Writing, &mut Memory)> {
        let (_, writing) = self.writings.iter_mut().find(|(other, _)| *other == number)?;
        Some((writing, &mut self.memory))
    }
}

impl Counts {
    fn note(&self, memory: &Memory) {
        self.bytes.store(memory.bytes() as u64, Relaxed);
        self.since.store(memory.since().map_or(0, |Time(since)| since), Relaxed);
        self.dropped.store(memory.dropped(), Relaxed);
    }
}

/// Gives each part to the memory. It writes no text.
struct FlightFormat {
    shared: Arc<Shared>,
    number: u64,
}

impl Format for FlightFormat {
    const RECORDS: &'static str = "recorded events";

    fn takes_parts(&self) -> bool {
        true
    }

    fn run_begins(&mut self, run: &Run) {
        let mut state = self.shared.state();
        state.flush();
        state.node = run.named.node().map(str::to_owned).or_else(|| run.host.clone());
        if let Some((writing, _)) = state.writing(self.number) {
            writing.run_begins(run);
        }
    }

    /// Takes no single events.
    fn event(&mut self, _: &mut impl Write, _: &Event<'_>, _: Line) -> io::Result<()> {
        Ok(())
    }

    fn part(&mut self, out: &mut impl Sink, part: &Part<'_>) -> io::Result<()> {
        {
            let mut state = self.shared.state();
            if let Some((writing, memory)) = state.writing(self.number) {
                writing.add(part, memory)?;
                self.shared.kept.note(memory);
            }
        }
        part.lines(|line| out.end(line));
        Ok(())
    }
}

impl Drop for FlightFormat {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.flush();
        state.writings.retain(|(number, _)| *number != self.number);
        if state.newest == self.number {
            state.memory.turn_off();
        }
        self.shared.kept.note(&state.memory);
    }
}
