//! How far recordings are read, for a person who waits. In: bytes and events. Out: a line on standard error that is drawn again and
//! again, if that is a terminal. Lines of the log come above it.

use std::{
    cell::Cell,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bitcointap::{
    capture::Batch,
    output::{Output, Result},
    recording::Progress,
};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

const KNOWN: &str = "{wide_bar} {bytes} of {total_bytes}, {msg} events, {bytes_per_sec}, {eta} left";
const UNKNOWN: &str = "{spinner} {bytes}, {msg} events, {bytes_per_sec}";

/// The line that is drawn now.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The line, until it is dropped.
pub struct Bar {
    bar: ProgressBar,
    /// Whether it says how much there is in all.
    is_known: Cell<bool>,
}

impl Bar {
    /// Shows nothing yet.
    pub fn new() -> Self {
        // It draws on standard error, and hides itself if that is no terminal.
        let bar = ProgressBar::no_length().with_style(style(UNKNOWN));
        *drawn() = Some(bar.clone());
        Self { bar, is_known: Cell::new(false) }
    }

    /// Shows how much is read. Cheap: it draws a few times a second.
    pub fn show(&self, progress: &Progress, events: u64) {
        if let Some(all) = progress.all() {
            self.bar.set_length(all);
            if !self.is_known.replace(true) {
                self.bar.set_style(style(KNOWN));
            }
        }
        self.bar.set_message(HumanCount(events).to_string());
        self.bar.set_position(progress.read());
    }

    /// An output that shows it with each batch.
    pub fn output(&self, progress: &Arc<Progress>) -> impl Output {
        Shown { bar: self, progress: Arc::clone(progress), events: 0 }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        *drawn() = None;
    }
}

struct Shown<'a> {
    bar: &'a Bar,
    progress: Arc<Progress>,
    events: u64,
}

impl Output for Shown<'_> {
    fn name(&self) -> &str {
        "progress"
    }

    fn is_required(&self) -> bool {
        false
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.events += batch.len() as u64;
        self.bar.show(&self.progress, self.events);
        Ok(())
    }
}

/// Standard error, whose lines come above the line that is drawn.
pub struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = drawn().clone();
        match bar {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("it is sound")
}

fn drawn() -> MutexGuard<'static, Option<ProgressBar>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}
