//! Prints what peers announce: `sudo target/debug/examples/inventory [PID]`, until the node ends.

use std::{error::Error, process};

use bitcointap::{
    event::{
        Kind,
        net::{Direction, Message},
    },
    p2p,
    process::Which,
    selection::{Condition, Selection},
    tap::Tap,
};

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
    // The kernel decides: the node pays little for other messages, and nothing for other tracepoints.
    let announcements =
        Selection::default().only(Condition::Command("inv".into())).only(Condition::Direction(Direction::Inbound));
    for captured in Tap::builder().node(node).selection(announcements).attach()?.events() {
        match &captured?.event().kind {
            Kind::Msg(Message { meta, msg: p2p::Message::Inv { items }, .. }) => {
                for item in items.iter() {
                    println!("peer {} at {} has {item:?}", meta.peer_id, meta.addr);
                }
            }
            Kind::Msg(Message { meta, msg, .. }) => eprintln!("peer {} sent an odd inv: {msg:?}", meta.peer_id),
            Kind::Lost(lost) => eprintln!("{} announcements are missing: {}", lost.count, lost.reason.name()),
            _ => {}
        }
    }
    Ok(())
}
