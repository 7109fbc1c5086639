//! Alerts on connections that end within a minute, whoever closes them: `sudo target/debug/examples/short_lived_peers [PID]`, until the node ends.

use std::{error::Error, process, time::Duration};

use bitcointap::{
    event::{Kind, Time, net::Connection},
    privileges,
    process::Which,
    tap::Tap,
    tracepoint::{Tracepoint, Tracepoints},
};

const SHORT: Duration = Duration::from_secs(60);

fn main() {
    if let Err(error) = run() {
        // The error says what to do.
        eprintln!("{error}");
        process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let node = match std::env::args().nth(1) {
        Some(pid) => Which::Pid(pid.parse()?),
        None => Which::default(),
    };
    let closings = Tracepoints::from_iter([Tracepoint::NetClosedConnection]);
    let tap = Tap::builder().node(node).tracepoints(closings).attach()?;
    // Reading needs no capabilities.
    privileges::drop_all()?;
    for captured in tap.events() {
        let captured = captured?;
        let event = captured.event();
        if let Kind::Conn { event: Connection::Closed { conn, time_established } } = &event.kind {
            let lasted = lasted(event.time, *time_established);
            if lasted < SHORT {
                println!("ALERT: peer {} at {} left after {} s", conn.peer_id, conn.addr, lasted.as_secs());
            }
        }
    }
    Ok(())
}

/// How long a connection lasted that was established at a UNIX time in seconds.
fn lasted(now: Time, established: u64) -> Duration {
    Duration::from_nanos(now.0).saturating_sub(Duration::from_secs(established))
}
