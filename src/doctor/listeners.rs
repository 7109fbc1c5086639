//! Who else listens: a tracepoint that is listened to shows in the node's memory. In: a process, its program's file and
//! probes. Out: those of the probes that somebody listens to.

use std::{fs::File, io, os::unix::fs::FileExt};

use object::{
    Endianness,
    elf::PT_LOAD,
    read::{
        ReadCache,
        elf::{ElfFile64, FileHeader, ProgramHeader},
    },
};
use procfs::{ProcError, process::Process};

use crate::{
    probes::{Place, Probe},
    process::Node,
    tracepoint::{Tracepoint, Tracepoints},
};

/// Of the auxiliary vector: where the program begins to run (linux/auxvec.h).
const AT_ENTRY: u64 = 9;

/// The tracepoints of `probes` that somebody listens to.
pub(super) fn listened_to(node: &Node, probes: &[Probe]) -> io::Result<Tracepoints> {
    let memory = Memory::open(node)?;
    let mut listened = Vec::<Tracepoint>::new();
    for probe in probes {
        if let Some(tracepoint) = probe.tracepoint()
            && memory.is_listened_to(probe)?
        {
            listened.push(tracepoint);
        }
    }
    Ok(listened.into_iter().collect())
}

/// A program in memory and in its file.
struct Memory {
    memory: File,
    file: File,
    /// What is added to an address in the file for that in memory.
    moved: u64,
    /// For each part of the file that is loaded: address, size, offset in the file.
    segments: Vec<(u64, u64, u64)>,
}

impl Memory {
    fn open(node: &Node) -> io::Result<Memory> {
        let process = Process::new(node.pid).map_err(system)?;
        let file = File::open(node.executable())?;
        let data = ReadCache::new(&file);
        let elf = ElfFile64::<Endianness, _>::parse(&data).map_err(io::Error::other)?;
        let endian = elf.endian();
        let loaded = elf.elf_program_headers().iter().filter(|part| part.p_type(endian) == PT_LOAD);
        let segments =
            loaded.map(|part| (part.p_vaddr(endian), part.p_filesz(endian), part.p_offset(endian))).collect();
        // A process that has just ended has none.
        let entry = *process.auxv().map_err(system)?.get(&AT_ENTRY).ok_or(io::ErrorKind::NotFound)?;
        let moved = entry.wrapping_sub(elf.elf_header().e_entry(endian));
        let memory = process.mem().map_err(system)?;
        drop(data);
        Ok(Memory { memory, file, moved, segments })
    }

    /// By the semaphore, which whoever listens makes larger (once for each place, however many listen). A probe without has
    /// a breakpoint in its code.
    fn is_listened_to(&self, probe: &Probe) -> io::Result<bool> {
        let Some(semaphore) = probe.semaphore else {
            return probe.places.iter().try_fold(false, |any, place| Ok(any || self.has_breakpoint(place)?));
        };
        let mut value = [0; 2];
        self.memory.read_exact_at(&mut value, semaphore.wrapping_add(self.moved))?;
        Ok(u16::from_ne_bytes(value) > 0)
    }

    fn has_breakpoint(&self, place: &Place) -> io::Result<bool> {
        let at =
            |&&(address, size, _): &&(u64, u64, u64)| (address..address.saturating_add(size)).contains(&place.address);
        let Some(&(address, _, offset)) = self.segments.iter().find(at) else { return Ok(false) };
        let (mut now, mut before) = ([0], [0]);
        self.memory.read_exact_at(&mut now, place.address.wrapping_add(self.moved))?;
        self.file.read_exact_at(&mut before, offset.wrapping_add(place.address - address))?;
        Ok(now != before)
    }
}

fn system(error: ProcError) -> io::Error {
    match error {
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        ProcError::Io(error, _) => error,
        error @ (ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_)) => {
            io::Error::other(error)
        }
    }
}
