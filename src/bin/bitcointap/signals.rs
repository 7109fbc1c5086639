//! Signals. In: SIGINT, SIGTERM, SIGHUP, SIGUSR1. Out: when to stop, and when to do something else.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    time::Duration,
};

use bitcointap::stop::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// Stops at SIGINT, at SIGTERM, or after `duration`.
pub fn stop_after(duration: Option<Duration>) -> io::Result<Stop> {
    stop_on(&[SIGINT, SIGTERM], duration)
}

/// Also stops at SIGHUP, when the terminal hangs up.
pub fn stop_at_hangup_or_after(duration: Option<Duration>) -> io::Result<Stop> {
    stop_on(&[SIGINT, SIGTERM, SIGHUP], duration)
}

fn stop_on(signals: &[i32], duration: Option<Duration>) -> io::Result<Stop> {
    let stop = Stop::new(duration)?;
    for &signal in signals {
        let (flag, wake) = stop.for_signals()?;
        signal_hook::flag::register(signal, flag)?;
        signal_hook::low_level::pipe::register(signal, wake)?;
    }
    Ok(stop)
}

/// Receives a signal, which then does not end the process.
pub struct Received(UnixStream);

impl Received {
    /// SIGHUP.
    pub fn hangups() -> io::Result<Self> {
        Self::of(SIGHUP)
    }

    /// SIGUSR1.
    pub fn requests() -> io::Result<Self> {
        Self::of(SIGUSR1)
    }

    fn of(signal: i32) -> io::Result<Self> {
        let (received, tell) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(signal, tell)?;
        Ok(Self(received))
    }

    /// Waits for the next signal. Several that come at once count as one.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
