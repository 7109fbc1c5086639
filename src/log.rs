//! Where the log goes: to standard error, or, while a screen is shown, to a few lines that are kept for it and for after it. In:
//! lines. Out: the same, none of them in the middle of the screen.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::filter::LevelFilter;

use crate::cli::{LogArgs, LogFormat, LogLevel};

/// Lines that are kept while a screen is shown.
const MOST: usize = 100;

static HELD: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<VecDeque<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on lines are kept.
pub fn hold() {
    held().get_or_insert_default();
}

/// Writes what was kept, and again what comes.
pub fn release() {
    let lines = held().take().unwrap_or_default();
    lines.iter().for_each(|line| eprintln!("{line}"));
}

/// The last warning or error that was kept.
pub fn last_warning() -> Option<String> {
    let is_warning = |line: &&String| {
        ["level=warn", "level=error", "\"level\":\"WARN\"", "\"level\":\"ERROR\""]
            .iter()
            .any(|level| line.contains(level))
    };
    held().as_ref()?.iter().rev().find(is_warning).cloned()
}

/// Sets the log up.
pub fn start(args: &LogArgs) {
    let level = match args.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    match args.format {
        LogFormat::Logfmt => {
            let format = tracing_logfmt::builder().with_target(false);
            format.subscriber_builder().with_writer(|| Log).with_max_level(level).init();
        }
        LogFormat::Json => {
            let format = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
            format.with_writer(|| Log).with_max_level(level).init();
        }
    }
}

struct Log;

impl Write for Log {
    /// A line, always whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut held = held();
        let Some(lines) = held.as_mut() else { return io::stderr().write(line) };
        if lines.len() >= MOST {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
