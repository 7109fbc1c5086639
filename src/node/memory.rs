//! A node's memory at the places of its probes. Only there does it show whether a tracer is attached to them. In: a
//! node, and probes of its program. Out: what was found of each. This needs the right to trace the process, reads a few
//! bytes in one system call, and keeps nothing open.

use std::{io, io::IoSliceMut, thread, time::Duration};

use nix::{
    errno::Errno,
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};
use procfs::process::Process;

use crate::{
    node::error::Error,
    node::probes::{self, Location, Probe},
    node::process::Node,
};

/// What the kernel puts in place of an instruction that has a uprobe: `int3`, and `brk` with a number of its own.
const BREAKPOINT: &[u8] = if cfg!(target_arch = "aarch64") { &[0xa0, 0x00, 0x20, 0xd4] } else { &[0xcc] };
/// How many pieces of memory one system call reads.
const MAX_PIECES: usize = 1024;
/// How long, in steps, to wait for a node while its program is still being loaded.
const LOADING: (u32, Duration) = (50, Duration::from_millis(2));

/// What was found of a probe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    places: Vec<Code>,
    /// Its semaphore, if it has one and it could be read.
    semaphore: Option<Option<u16>>,
}

/// The instruction at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    AsInFile,
    Breakpoint,
    /// Something else, such as what the kernel turns a five-byte nop into.
    Changed,
    Unknown,
}

impl Seen {
    /// Whether all hits reach the attached tracers; `None` if that does not show.
    pub(crate) fn is_armed(&self) -> Option<bool> {
        let places = self.places.iter().map(|code| match code {
            Code::Breakpoint => Some(true),
            Code::AsInFile => Some(false),
            Code::Changed | Code::Unknown => None,
        });
        let semaphore = self.semaphore.map(|value| value.map(|value| value > 0));
        let all: Vec<Option<bool>> = places.chain(semaphore).collect();
        if all.contains(&Some(false)) { Some(false) } else { all.into_iter().collect::<Option<Vec<_>>>().map(|_| true) }
    }

    /// Whether a tracer is attached. A tracer raises the semaphore; at a probe without a semaphore it changes the code.
    pub(crate) fn is_listened_to(&self) -> bool {
        match self.semaphore {
            Some(value) => value.is_some_and(|value| value > 0),
            None => self.places.iter().any(|code| matches!(code, Code::Breakpoint | Code::Changed)),
        }
    }
}

/// Looks at `probes` of the program that `node` runs.
///
/// # Errors
/// [`Error::Memory`] without the right to look, [`Error::PidGone`] if the node has ended.
pub(crate) fn look<'a>(node: &Node, probes: impl IntoIterator<Item = &'a Probe>) -> Result<Vec<Seen>, Error> {
    let probes: Vec<&Probe> = probes.into_iter().collect();
    let moved = moved_by(node)?;
    let code = |place: &Location| (place.address.wrapping_add(moved), BREAKPOINT.len());
    let semaphore = |probe: &Probe| probe.semaphore.map(|address| (address.wrapping_add(moved), size_of::<u16>()));
    let pieces: Vec<(u64, usize)> =
        probes.iter().flat_map(|probe| probe.places.iter().map(code).chain(semaphore(probe))).collect();
    let mut found = read(node.pid, &pieces).map_err(|error| refused(node, error))?.into_iter();
    let mut next = || found.next().flatten();
    let seen = probes.iter().map(|probe| Seen {
        places: probe.places.iter().map(|place| code_of(place, next().as_deref())).collect(),
        semaphore: probe.semaphore.map(|_| Some(u16::from_ne_bytes(next()?.try_into().ok()?))),
    });
    Ok(seen.collect())
}

fn code_of(place: &Location, now: Option<&[u8]>) -> Code {
    match (now, place.code.get(..BREAKPOINT.len())) {
        (Some(now), _) if now == BREAKPOINT => Code::Breakpoint,
        (Some(now), Some(before)) if now == before => Code::AsInFile,
        (Some(_), Some(_)) => Code::Changed,
        (None, _) | (_, None) => Code::Unknown,
    }
}

/// The difference between addresses in memory and in the program's file. The auxiliary vector is no source: for another
/// user's process it needs CAP_DAC_READ_SEARCH.
fn moved_by(node: &Node) -> Result<u64, Error> {
    let in_file = probes::start_of_code(&node.executable())?;
    let (attempts, step) = LOADING;
    for _ in 0..attempts {
        let stat = Process::new(node.pid).and_then(|process| process.stat()).map_err(|_| Error::PidGone(node.pid))?;
        match stat.startcode {
            0 if node.still_runs() => thread::sleep(step),
            0 => break,
            // The kernel's answer to processes that may not look.
            1 => return Err(refused(node, Errno::EPERM)),
            in_memory => return Ok(in_memory.wrapping_sub(in_file)),
        }
    }
    Err(Error::PidGone(node.pid))
}

fn refused(node: &Node, error: Errno) -> Error {
    match error {
        Errno::ESRCH => Error::PidGone(node.pid),
        Errno::EPERM | Errno::EACCES => Error::Memory(io::ErrorKind::PermissionDenied.into()),
        error => Error::Memory(error.into()),
    }
}

/// The bytes of each piece of memory, given by address and size; `None` for pieces that do not exist.
fn read(pid: i32, pieces: &[(u64, usize)]) -> nix::Result<Vec<Option<Vec<u8>>>> {
    let mut found = Vec::with_capacity(pieces.len());
    while found.len() < pieces.len() {
        let rest = &pieces[found.len()..];
        let part = &rest[..rest.len().min(MAX_PIECES)];
        let remote: Vec<_> = part.iter().map(|&(base, len)| RemoteIoVec { base: base as usize, len }).collect();
        let mut bytes = vec![0; part.iter().map(|&(_, size)| size).sum()];
        let length = match process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(&mut bytes)], &remote) {
            Err(Errno::EFAULT) => 0,
            result => result?,
        };
        let mut bytes = &bytes[..length];
        for &(_, size) in part {
            let Some((piece, others)) = bytes.split_at_checked(size) else {
                // The call has read up to a piece that does not exist.
                found.push(None);
                break;
            };
            found.push(Some(piece.to_vec()));
            bytes = others;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(places: &[Code], semaphore: Option<Option<u16>>) -> Seen {
        Seen { places: places.to_vec(), semaphore }
    }

    #[test]
    fn armed_are_those_with_a_breakpoint_at_each_place_and_a_semaphore_that_says_so() {
        use Code::{AsInFile, Breakpoint, Changed, Unknown};
        for (places, semaphore, expected) in [
            (&[Breakpoint][..], None, Some(true)),
            (&[Breakpoint, Breakpoint], Some(Some(2)), Some(true)),
            (&[Breakpoint], Some(Some(0)), Some(false)),
            (&[Breakpoint, AsInFile], Some(Some(1)), Some(false)),
            (&[Unknown, AsInFile], Some(None), Some(false)),
            (&[Breakpoint, Unknown], None, None),
            (&[Breakpoint, Changed], Some(Some(1)), None),
            (&[Breakpoint], Some(None), None),
        ] {
            assert_eq!(seen(places, semaphore).is_armed(), expected, "{places:?} {semaphore:?}");
        }
    }

    #[test]
    fn listened_to_are_those_whose_semaphore_says_so_or_whose_code_is_another() {
        use Code::{AsInFile, Breakpoint, Changed, Unknown};
        for (places, semaphore, expected) in [
            (&[AsInFile, AsInFile][..], None, false),
            (&[AsInFile, Breakpoint], None, true),
            (&[Changed], None, true),
            (&[Unknown], None, false),
            (&[AsInFile], Some(Some(1)), true),
            (&[Breakpoint], Some(Some(0)), false),
            (&[Breakpoint], Some(None), false),
        ] {
            assert_eq!(seen(places, semaphore).is_listened_to(), expected, "{places:?} {semaphore:?}");
        }
    }

    #[test]
    fn code_is_compared_with_the_file() {
        let place = Location { code: [&[0x90; 4][..], &[0xc3; 2]].concat(), ..Location::default() };
        let size = BREAKPOINT.len();
        assert_eq!(code_of(&place, Some(BREAKPOINT)), Code::Breakpoint);
        assert_eq!(code_of(&place, Some(&[0x90; 4][..size])), Code::AsInFile);
        assert_eq!(code_of(&place, Some(&[0xe8; 4][..size])), Code::Changed);
        assert_eq!(code_of(&place, None), Code::Unknown);
        assert_eq!(code_of(&Location::default(), Some(&[0x90; 4][..size])), Code::Unknown, "in no part of the file");
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_is() {
        let (first, last) = ([1u8, 2], [3u8; 4]);
        let here = |bytes: &[u8]| (bytes.as_ptr() as u64, bytes.len());
        let pid = std::process::id() as i32;
        // More than one call reads.
        let mut pieces = vec![here(&first); MAX_PIECES];
        pieces.extend([(8, 2), here(&last), (16, 2)]);
        let found = read(pid, &pieces).unwrap();
        assert_eq!(found.len(), pieces.len());
        assert!(found[..MAX_PIECES].iter().all(|bytes| bytes.as_deref() == Some(&first)));
        assert_eq!(found[MAX_PIECES..], [None, Some(last.to_vec()), None]);
        assert_eq!(read(pid, &[]).unwrap(), []);
        assert_eq!(read(i32::MAX, &[here(&first)]), Err(Errno::ESRCH));
    }
}
