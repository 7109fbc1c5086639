//! Signals. In: SIGINT, SIGTERM, SIGHUP. Out: when to stop, and when to read files again.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    time::Duration,
};

use bitcointap::stop::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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

/// Receives SIGHUP, which then does not end the process.
pub struct Hangups(UnixStream);

impl Hangups {
    pub fn new() -> io::Result<Self> {
        let (hangups, tell) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGHUP, tell)?;
        Ok(Self(hangups))
    }

    /// Waits for the next SIGHUP. Several that come at once count as one.
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
