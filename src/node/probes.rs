//! The USDT probes of a binary, read from its `.note.stapsdt` section (the format is SystemTap's; binutils' `readelf
//! -n` prints it). In: a file. Out: providers, names and the place of each argument.

mod arguments;
mod loader;
mod refusal;

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path};

use object::{
    Endian, Endianness,
    elf::{NoteType, PF_X, PT_LOAD},
    read::{
        ReadCache, ReadRef,
        elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader},
    },
};

pub use self::{loader::absence, refusal::Refusal};
use crate::{Error, kernel_side::types::argument_place, node::process, tracepoint::Tracepoint};

/// The owner and the type of the notes that describe probes.
const OWNER: &[u8] = b"stapsdt";
const TYPE: NoteType = NoteType(3);
/// How many bytes of code show what a tracer would do to them.
const CODE: u64 = 6;
/// Address of the probe, of the section `.stapsdt.base` and of the semaphore, before the texts.
const ADDRESSES: usize = 3 * size_of::<u64>();

/// A probe; at several places in the code if the compiler copied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Provider and name, joined by a colon.
    pub name: String,
    /// Its places in the code.
    pub places: Vec<Location>,
    /// The address of a counter that is above zero while a tracer is attached. Otherwise the program does not fire the
    /// probe (Bitcoin Core v29 and later).
    pub semaphore: Option<u64>,
}

/// One of the places of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Its address, as the file has it.
    pub address: u64,
    /// Where each argument is, in the assembler's notation (`-8@%rax`: eight bytes with a sign, in rax).
    pub arguments: Vec<String>,
    /// The code at this address in the file: its first six bytes, or as many as there are.
    pub code: Vec<u8>,
}

impl Probe {
    /// Where its arguments stand, for its program: one for each argument.
    pub(crate) fn argument_places(&self) -> Vec<argument_place> {
        arguments::of(self)
    }

    /// Its tracepoint, if Bitcoin Core documents it.
    pub fn tracepoint(&self) -> Option<Tracepoint> {
        Tracepoint::all().find(|tracepoint| tracepoint.name() == self.name)
    }

    /// Whether it can be tapped on this machine.
    pub fn supported(&self) -> bool {
        self.refusal().is_none()
    }
}

/// The probes of a program, by name.
pub fn read(path: &Path) -> Result<Vec<Probe>, Error> {
    open(path, parse)
}

/// The lowest address of a program's code, as the file has it.
pub(crate) fn start_of_code(path: &Path) -> Result<u64, Error> {
    open(path, |file| {
        let data = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&data)?;
        let endian = elf.elf_header().endian()?;
        let parts = elf.elf_program_headers().iter();
        let code = parts.filter(|part| part.p_type(endian) == PT_LOAD && part.p_flags(endian).contains(PF_X));
        Ok(code.map(|part| part.p_vaddr(endian)).min().unwrap_or_default())
    })
}

fn open<T>(path: &Path, read: impl FnOnce(&File) -> object::read::Result<T>) -> Result<T, Error> {
    let file = File::open(path).map_err(|error| process::unreadable(path, error))?;
    read(&file).map_err(|error| Error::NotElf { path: path.to_owned(), problem: problem(&file, &error) })
}

/// What the file is instead, as far as its first bytes show.
fn problem(file: &File, error: &object::read::Error) -> String {
    if file.metadata().is_ok_and(|it| it.is_dir()) {
        return "it is a directory: name the program in it".into();
    }
    let mut start = [0; 5];
    // A shorter file is nothing known.
    let _ = file.read_exact_at(&mut start, 0);
    match start {
        [b'#', b'!', ..] => "it is a script: name the program that it starts".into(),
        [0x7f, b'E', b'L', b'F', 1] => "it is a 32-bit program".into(),
        [0x7f, b'E', b'L', b'F', ..] => error.to_string(),
        _ => "it does not begin like one".into(),
    }
}

fn parse(file: &File) -> object::read::Result<Vec<Probe>> {
    let data = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&data)?;
    let endian = elf.elf_header().endian()?;
    let code = |address: u64| {
        let mut parts = elf.elf_program_headers().iter().filter(|part| part.p_type(endian) == PT_LOAD);
        let (part, within) = parts.find_map(|part| {
            let within = address.checked_sub(part.p_vaddr(endian)).filter(|&within| within < part.p_filesz(endian))?;
            Some((part, within))
        })?;
        let size = CODE.min(part.p_filesz(endian) - within);
        (&data).read_bytes_at(part.p_offset(endian).checked_add(within)?, size).ok()
    };
    let mut probes = BTreeMap::<String, Probe>::new();
    for section in elf.elf_section_table().iter() {
        let Some(mut notes) = section.notes(endian, &data)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() != OWNER || note.n_type(endian) != TYPE {
                continue;
            }
            let Some((name, mut place, semaphore)) = describe(note.desc(), endian) else { continue };
            place.code = code(place.address).unwrap_or_default().to_vec();
            let probe = probes.entry(name.clone()).or_insert_with(|| Probe { name, places: Vec::new(), semaphore });
            probe.places.push(place);
        }
    }
    Ok(probes.into_values().collect())
}

/// Name, place, and the semaphore's address if there is one.
fn describe(description: &[u8], endian: Endianness) -> Option<(String, Location, Option<u64>)> {
    let (addresses, texts) = description.split_at_checked(ADDRESSES)?;
    let (addresses, _) = addresses.as_chunks();
    let &[address, _, semaphore] = addresses else { return None };
    let number = |bytes| endian.read_u64(bytes);
    let semaphore = Some(number(semaphore)).filter(|&semaphore| semaphore != 0);
    let mut texts = texts.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let name = format!("{}:{}", texts.next()?, texts.next()?);
    let arguments = arguments(&texts.next()?);
    Some((name, Location { address: number(address), arguments, code: Vec::new() }, semaphore))
}

/// Spaces separate them. In ARM's notation there are spaces within brackets, too: `-8@x23 8@[sp, 152]`.
fn arguments(text: &str) -> Vec<String> {
    let mut is_within = false;
    let is_between = |character: char| {
        is_within = if is_within { character != ']' } else { character == '[' };
        !is_within && character.is_whitespace()
    };
    text.split(is_between).filter(|argument| !argument.is_empty()).map(str::to_owned).collect()
}

/// An argument that this processor can read.
#[cfg(test)]
pub(crate) const READABLE: &str = if cfg!(target_arch = "aarch64") { "8@x0" } else { "8@%rax" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_two_names_and_arguments_after_three_addresses() {
        let mut note: Vec<u8> = (0..16).collect();
        note.extend([0; 8]);
        note.extend(b"net\0misbehaving_connection\0-8@(%rbx) 8@(%rax)\0");
        let (name, place, semaphore) = describe(&note, Endianness::Little).unwrap();
        assert_eq!(name, "net:misbehaving_connection");
        assert_eq!(place.arguments, ["-8@(%rbx)", "8@(%rax)"]);
        assert_eq!(place.address, 0x0706_0504_0302_0100);
        assert_eq!(semaphore, None);
        note[17] = 1;
        assert_eq!(describe(&note, Endianness::Little).unwrap().2, Some(256));
        assert_eq!(describe(&note, Endianness::Big).unwrap().2, Some(1 << 48));
        for cut in 0..26 {
            assert_eq!(describe(&note[..cut], Endianness::Little), None);
        }
    }

    #[test]
    fn arguments_have_spaces_between_and_within() {
        for (text, expected) in [
            ("8@%rdi -4@$5", &["8@%rdi", "-4@$5"][..]),
            // Bitcoin Core for aarch64.
            ("8@x21 4@[x21, 32] 4@x0 -8@[x3, 72] 1@x1", &["8@x21", "4@[x21, 32]", "4@x0", "-8@[x3, 72]", "1@x1"]),
            ("8@[sp] -4@[sp, 168]", &["8@[sp]", "-4@[sp, 168]"]),
            ("  8@x0  8@x1 ", &["8@x0", "8@x1"]),
            ("8@[sp, 8 8@x1", &["8@[sp, 8 8@x1"]),
            ("", &[]),
        ] {
            assert_eq!(arguments(text), expected, "{text}");
        }
    }

    #[test]
    fn unknown_layouts_are_not_supported() {
        let probe = |name: &str, arguments: usize| Probe {
            name: name.to_owned(),
            places: vec![Location { arguments: vec![READABLE.to_owned(); arguments], ..Location::default() }],
            semaphore: None,
        };
        assert!(probe("mempool:replaced", 7).supported());
        assert!(probe("mempool:replaced", 8).supported());
        assert!(!probe("mempool:replaced", 9).supported());
        assert!(!probe("addrman:attempt_add", 5).supported());
    }

    #[test]
    fn what_is_no_program_is_said_to_be_none() {
        let error = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap_err();
        assert!(
            error.to_string().ends_with("Cargo.toml is not a 64-bit ELF program: it does not begin like one"),
            "{error}"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        for (start, words) in [
            (&b"#!/bin/sh\n"[..], "it is a script: name the program that it starts"),
            (b"\x7fELF\x01\x01\x01", "it is a 32-bit program"),
            (b"", "it does not begin like one"),
        ] {
            std::fs::write(&path, start).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.ends_with(&format!("is not a 64-bit ELF program: {words}")), "{error}");
        }
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.ends_with("it is a directory: name the program in it"), "{error}");
        let own = read(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.iter().all(|probe| probe.tracepoint().is_none()));
    }
}
