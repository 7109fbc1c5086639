//! Programs that do nothing, attached to the same places as bitcointap's own.

use std::{io::Read, path::Path};

use bitcointap::{
    probes,
    process::Which,
    tracepoint::{Tracepoint, Tracepoints},
};
use libbpf_rs::{Link, Object, ObjectBuilder};

use crate::Result;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));

/// Detaches when dropped.
pub struct Empty {
    _link: Link,
    _object: Object,
}

pub fn attach(pid: i32, executable: &Path, tracepoint: Tracepoint) -> Result<Empty> {
    let object = ObjectBuilder::default().open_memory(OBJECT)?.load()?;
    let program = object.progs_mut().next().ok_or("the object has a program")?;
    let link = program.attach_usdt(pid, executable, tracepoint.context(), tracepoint.event())?;
    Ok(Empty { _link: link, _object: object })
}

/// Holds them until the input ends.
pub fn hold(pid: i32) -> Result<()> {
    let executable = Which::Pid(pid).find()?.executable();
    let found = probes::read(&executable)?;
    let there: Tracepoints = found.iter().filter_map(probes::Probe::tracepoint).collect();
    let wanted = Tracepoints::default_set().iter().filter(|&tracepoint| there.contains(tracepoint));
    let attached: Vec<Empty> = wanted.map(|tracepoint| attach(pid, &executable, tracepoint)).collect::<Result<_>>()?;
    println!("{} empty programs are attached to pid {pid}, until the input ends", attached.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
