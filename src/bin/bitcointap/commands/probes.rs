//! `probes`. In: a node's program. Out: a table of its tracepoints.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use bitcointap::{
    Error,
    probes::{self, Probe, Refusal},
    tracepoint::Tracepoint,
};

use super::print;
use crate::{arguments::NodeArgs, result::Result};

/// `probes`: lists the tracepoints of the node's program.
pub fn probes(args: &NodeArgs) -> Result<()> {
    let program = args.program()?;
    let found = probes::read(&program)?;
    if found.iter().all(|probe| probe.tracepoint().is_none()) {
        // A table would only say of each tracepoint that it is absent.
        return Err(absence(args, program).into());
    }
    let mut text = Vec::new();
    list(&mut text, &found)?;
    print(&text)
}

fn absence(args: &NodeArgs, program: PathBuf) -> Error {
    match args.named_program() {
        Some(_) => Error::NoTracepoints(program),
        None => args.which().find().map_or_else(|error| error, |node| probes::absence(&node)),
    }
}

fn list(out: &mut impl Write, found: &[Probe]) -> io::Result<()> {
    let width = Tracepoint::all().map(|tracepoint| tracepoint.name().len()).max().unwrap_or_default();
    let mut row = |name: &str, supported: &str, semaphore: &str, arguments: &str| {
        writeln!(out, "{name:width$}  {supported:9}  {semaphore:9}  {arguments}")
    };
    row("TRACEPOINT", "SUPPORTED", "SEMAPHORE", "ARGUMENTS")?;
    for tracepoint in Tracepoint::all() {
        if !found.iter().any(|probe| probe.tracepoint() == Some(tracepoint)) {
            row(tracepoint.name(), "absent", "", &format!("Bitcoin Core has it since {}", tracepoint.since()))?;
        }
    }
    for probe in found {
        let word = |yes| if yes { "yes" } else { "no" };
        for place in &probe.places {
            let reason = match probe.refusal() {
                // The arguments in this row show that.
                None | Some(Refusal::NotDocumented | Refusal::ArgumentCount(_)) => String::new(),
                Some(refusal) => format!(" ({refusal})"),
            };
            let arguments = format!("{}: {}{reason}", place.arguments.len(), place.arguments.join(" "));
            row(&probe.name, word(probe.supported()), word(probe.semaphore.is_some()), &arguments)?;
        }
    }
    Ok(())
}
