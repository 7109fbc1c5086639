//! What SIGUSR1 does to `export`. In: SIGUSR1, the flight recorder. Out: a recording in its directory, and a line of the log.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use bitcointap::{
    flight_recorder::{Recorder, Saved},
    http::Freshness,
    privileges,
};

use crate::signals::Received;

/// How long to wait for events that are on their way to the recorder, and how often to look.
const CATCHING_UP: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Starts a thread, without capabilities, that writes a recording at each SIGUSR1.
pub fn at_requests(mut requests: Received, recorder: Recorder, freshness: Freshness) -> io::Result<()> {
    thread::Builder::new().name("dump".into()).spawn(move || {
        privileges::drop_all_of_thread();
        while requests.wait().is_ok() {
            match write(&recorder, &freshness) {
                Ok(Saved { path, span, events }) => {
                    let seconds = span.as_secs_f64();
                    tracing::info!(path = %path.display(), seconds, events, "wrote a flight recording");
                }
                Err(words) => tracing::error!("SIGUSR1: {words}"),
            }
        }
    })?;
    Ok(())
}

fn write(recorder: &Recorder, freshness: &Freshness) -> Result<Saved, String> {
    // Without the newest events it is better than none.
    if let Err(error) = freshness.wait() {
        tracing::warn!("the flight recording may lack the last second: {error}");
    }
    let (catches_up, begun) = (recorder.catches_up(), Instant::now());
    while !catches_up() && begun.elapsed() < CATCHING_UP {
        thread::sleep(LOOK_INTERVAL);
    }
    recorder.write()
}
