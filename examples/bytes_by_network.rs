//! Feeds a Prometheus counter of its own from the asynchronous stream, without tokio: the bytes that peers of each network
//! send and receive. `sudo target/debug/examples/bytes_by_network [PID]` prints it as Prometheus scrapes it, once the node has
//! ended.

use std::{error::Error, process};

use bitcointap::{event::Kind, process::Which, tap::Tap};
use futures_lite::{StreamExt, future};
use prometheus::{IntCounterVec, Opts, Registry, TextEncoder};

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
    let registry = Registry::new();
    let options = Opts::new("my_message_bytes_total", "Bytes of payload by network and direction.");
    let bytes = IntCounterVec::new(options, &["network", "direction"])?;
    registry.register(Box::new(bytes.clone()))?;

    // Sizes come without payloads, so there is no need to copy these.
    let mut stream = Tap::builder().node(node).payloads(false).attach()?.stream()?;
    future::block_on(async {
        while let Some(captured) = stream.next().await {
            if let Kind::Msg(message) = &captured?.event().kind {
                let meta = &message.meta;
                let direction = if meta.inbound { "inbound" } else { "outbound" };
                bytes.with_label_values(&[meta.network.name(), direction]).inc_by(meta.size);
            }
        }
        Ok::<(), bitcointap::Error>(())
    })?;
    print!("{}", TextEncoder::new().encode_to_string(&registry.gather())?);
    Ok(())
}
