//! Where lines of the log go. In: lines. Out: standard error, without waiting for it. While a screen is up, a list
//! holds the last lines, and they are written when the screen is gone.

mod queue;

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use self::queue::Queue;
use crate::{
    arguments::{LogArgs, LogFormat, LogLevel},
    progress,
};

/// How many lines to hold; a screen can be up for months.
const MOST: usize = 200;

/// Lines that come before the writing thread starts wait in here.
static QUEUE: LazyLock<Queue> = LazyLock::new(Queue::default);

static HELD: Mutex<Option<Lines>> = Mutex::new(None);

#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    /// How many older lines made room.
    left_out: u64,
    /// Standard error is not the screen, so nothing waits.
    written: bool,
}

/// By which the level is changed.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sets up the log.
pub fn start(args: &LogArgs) {
    let (level, handle) = reload::Layer::new(filter(args.level));
    let log = tracing_subscriber::registry().with(level).with(filter_fn(is_for_operators));
    match args.format {
        LogFormat::Logfmt => log.with(tracing_logfmt::builder().with_target(false).layer().with_writer(|| Log)).init(),
        LogFormat::Json => {
            let format = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            log.with(format.with_writer(|| Log)).init();
        }
    }
    // It is set up once.
    let _ = LEVEL.set(handle);
}

/// From now on lines of this level and above are written.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::error!("the level of the log stays as it was: {error}");
    }
}

/// The client of NATS logs each connection, which our own lines say in better words. Its lines for debugging stay.
fn is_for_operators(line: &Metadata<'_>) -> bool {
    !line.target().starts_with("async_nats") || *line.level() >= Level::DEBUG
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// A thread of its own writes lines until this ends.
pub struct Writing(());

impl Writing {
    /// Call it once this process is confined, so that the thread is, too.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn begin() -> io::Result<Self> {
        let tell = |lines| tracing::warn!(lines, "the log was not read for a while; lines of it were dropped");
        QUEUE.start(progress::Above, tell)?;
        write_before_panics();
        Ok(Self(()))
    }

    /// Waits for a while until everything is written. Returns false if nobody reads standard error; write nothing more
    /// there then.
    pub fn finish(self) -> bool {
        QUEUE.flush()
    }
}

/// A panic prints its message after the lines before it. The process ends even if nobody reads that.
fn write_before_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if QUEUE.flush() {
            tell(panic);
        }
    }));
}

/// Standard error, or the list that holds its lines. One write is one line.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match held().as_mut() {
            Some(lines) => {
                if lines.written {
                    QUEUE.push(line);
                }
                lines.keep(String::from_utf8_lossy(line).into_owned());
            }
            None => QUEUE.push(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn keep(&mut self, line: String) {
        if self.lines.len() >= MOST {
            self.lines.pop_front();
            self.left_out += 1;
        }
        self.lines.push_back(line);
    }
}

/// Holds lines until it is dropped. There is one at a time.
pub struct Holding(());

impl Holding {
    pub fn begin() -> Self {
        *held() = Some(Lines { written: !io::stderr().is_terminal(), ..Lines::default() });
        Self(())
    }

    /// The last line.
    pub fn last() -> Option<String> {
        held().as_ref()?.lines.back().cloned()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let Some(Lines { lines, left_out, written: false }) = held().take() else { return };
        if left_out > 0 {
            QUEUE.push(format!("({left_out} older lines are left out)\n").as_bytes());
        }
        lines.iter().for_each(|line| QUEUE.push(line.as_bytes()));
    }
}

/// Writes panics into the log while lines are held. On a screen their messages would be lost.
pub fn hold_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match held().as_mut() {
        Some(lines) => lines.keep(format!("{panic}\n{}\n", std::backtrace::Backtrace::capture())),
        None => tell(panic),
    }));
}

fn held() -> MutexGuard<'static, Option<Lines>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_held_and_what_made_room_is_counted() {
        let mut lines = Lines::default();
        (0..MOST + 3).for_each(|number| lines.keep(number.to_string()));
        assert_eq!((lines.lines.len(), lines.left_out), (MOST, 3));
        assert_eq!((&*lines.lines[0], &*lines.lines[MOST - 1]), ("3", "202"));
    }
}
