//! Follows a node over restarts and counts the messages of all its runs: `sudo target/debug/examples/over_restarts [PID_FILE]`, until
//! Ctrl-C. PID_FILE is the file of `bitcoind -pid`; without it, the node that runs as `bitcoind` is followed.

use std::{error::Error, process};

use bitcointap::{
    capture::{Batch, Run},
    event::Kind,
    follow::Follow,
    output::{self, Observer, Output, Outputs},
    process::Which,
    stop::Stop,
    tap::{Options, Payloads},
};
use signal_hook::consts::{SIGINT, SIGTERM};

/// An output that counts.
#[derive(Default)]
struct Counter {
    runs: u64,
    messages: u64,
}

impl Output for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn run_begins(&mut self, run: &Run) -> output::Result {
        self.runs += 1;
        // A state by `peer_id` would end here: each run counts its peers from 0.
        println!("run {} is pid {}", self.runs, run.pid);
        Ok(())
    }

    fn observer<'a>(&'a mut self, _: &'a Batch) -> Option<Observer<'a>> {
        Some(Box::new(|event| self.messages += u64::from(matches!(event.kind, Kind::Msg(_)))))
    }
}

fn main() {
    if let Err(error) = run() {
        // The error says what to do.
        eprintln!("{error}");
        process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let which = std::env::args().nth(1).map_or_else(Which::default, |file| Which::PidFile(file.into()));
    let stop = Stop::new(None)?;
    for signal in [SIGINT, SIGTERM] {
        let (flag, wake) = stop.for_signals()?;
        signal_hook::flag::register(signal, flag)?;
        signal_hook::low_level::pipe::register(signal, wake)?;
    }
    // Payloads are not needed to count messages.
    let options = Options { payloads: Payloads::None, ..Options::default() };
    let mut counter = Counter::default();
    let mut outputs = Outputs::default().with(&mut counter);
    Follow { which, options, ..Follow::default() }.run(&stop, &mut outputs)?;
    outputs.finish(&stop)?;
    println!("{} messages in {} runs", counter.messages, counter.runs);
    Ok(())
}
