//! The USDT probes that a binary has, read from its `.note.stapsdt` section (the format is SystemTap's; binutils'
//! `readelf -n` prints it). In: a file. Out: providers, names and where each argument stands.

use std::{collections::BTreeMap, fs::File, path::Path};

use object::{
    Endianness,
    elf::NoteType,
    read::{
        ReadCache,
        elf::{ElfFile64, FileHeader, SectionHeader},
    },
};

use crate::{error::Error, process, tracepoint::Tracepoint};

/// The owner and the type of the notes that describe probes.
const OWNER: &[u8] = b"stapsdt";
const TYPE: NoteType = NoteType(3);
/// Address of the probe, of the section `.stapsdt.base` and of the semaphore, before the texts.
const ADDRESSES: usize = 3 * size_of::<u64>();

/// A probe; at several places in the code if the compiler copied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Provider and name, joined by a colon.
    pub name: String,
    /// Where each argument stands, in the assembler's notation (`-8@%rax`: eight bytes with a sign, in rax), for each place.
    pub places: Vec<Vec<String>>,
    /// Whether the program fires it only while somebody listens (Bitcoin Core v29 and later).
    pub semaphore: bool,
}

impl Probe {
    /// The tracepoint that it is, if Bitcoin Core documents it.
    pub fn tracepoint(&self) -> Option<Tracepoint> {
        Tracepoint::all().find(|tracepoint| tracepoint.name() == self.name)
    }

    /// Whether it can be tapped: a tracepoint that we know, with arguments as we know them.
    pub fn supported(&self) -> bool {
        self.tracepoint()
            .is_some_and(|tracepoint| self.places.iter().all(|arguments| tracepoint.supports(arguments.len())))
    }
}

/// The probes of a program, by name.
pub fn read(path: &Path) -> Result<Vec<Probe>, Error> {
    let file = File::open(path).map_err(|error| process::unreadable(path, error))?;
    parse(&file).map_err(|error| Error::NotElf { path: path.to_owned(), problem: error.to_string() })
}

fn parse(file: &File) -> object::read::Result<Vec<Probe>> {
    let data = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&data)?;
    let endian = elf.elf_header().endian()?;
    let mut probes = BTreeMap::<String, Probe>::new();
    for section in elf.elf_section_table().iter() {
        let Some(mut notes) = section.notes(endian, &data)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() != OWNER || note.n_type(endian) != TYPE {
                continue;
            }
            let Some((name, arguments, semaphore)) = describe(note.desc()) else { continue };
            let probe = probes.entry(name.clone()).or_insert_with(|| Probe { name, places: Vec::new(), semaphore });
            probe.places.push(arguments);
        }
    }
    Ok(probes.into_values().collect())
}

/// Name, arguments and whether there is a semaphore.
fn describe(description: &[u8]) -> Option<(String, Vec<String>, bool)> {
    let (addresses, texts) = description.split_at_checked(ADDRESSES)?;
    let semaphore = addresses[ADDRESSES - size_of::<u64>()..].iter().any(|&byte| byte != 0);
    let mut texts = texts.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let name = format!("{}:{}", texts.next()?, texts.next()?);
    let arguments = texts.next()?.split_whitespace().map(str::to_owned).collect();
    Some((name, arguments, semaphore))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_two_names_and_arguments_after_three_addresses() {
        let mut note = vec![1; 16];
        note.extend([0; 8]);
        note.extend(b"net\0misbehaving_connection\0-8@(%rbx) 8@(%rax)\0");
        let (name, arguments, semaphore) = describe(&note).unwrap();
        assert_eq!(name, "net:misbehaving_connection");
        assert_eq!(arguments, ["-8@(%rbx)", "8@(%rax)"]);
        assert!(!semaphore);
        note[16] = 1;
        assert!(describe(&note).unwrap().2);
        for cut in 0..26 {
            assert_eq!(describe(&note[..cut]), None);
        }
    }

    #[test]
    fn unknown_layouts_are_not_supported() {
        let probe = |name: &str, arguments: usize| Probe {
            name: name.to_owned(),
            places: vec![vec!["8@%rax".to_owned(); arguments]],
            semaphore: false,
        };
        assert!(probe("mempool:replaced", 7).supported());
        assert!(probe("mempool:replaced", 8).supported());
        assert!(!probe("mempool:replaced", 9).supported());
        assert!(!probe("addrman:attempt_add", 5).supported());
    }

    #[test]
    fn what_is_no_program_is_said_to_be_none() {
        let error = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap_err();
        assert!(error.to_string().contains("Cargo.toml is not a 64-bit ELF program"), "{error}");
        let own = read(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.iter().all(|probe| probe.tracepoint().is_none()));
    }
}
