//! The tracepoints that each layout's executable has, by its ELF notes: names, widths and signs of the arguments, and
//! semaphores.

use std::{collections::BTreeMap, fs};

use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};

use crate::table::{Row, rows};

/// Tracepoints and the widths of their arguments, negative where signed.
type Notes = BTreeMap<String, Vec<i8>>;

/// The tracepoints of a layout: those of the table, but for these.
fn expected(layout: i32, changed: &[(&str, &[i8])]) -> Notes {
    let row = |row: &Row| (row.name.to_str().unwrap().to_owned(), row.widths.to_vec());
    let mut notes: Notes = rows(layout).map(row).collect();
    for &(name, widths) in changed {
        *notes.get_mut(name).expect("the layout has it") = widths.to_vec();
    }
    notes
}

const REPLACED_WITH_SEVEN: (&str, &[i8]) = ("mempool:replaced", &[8, -4, -8, 8, 8, -4, -8]);
const MISBEHAVING_WITH_TWO: (&str, &[i8]) = ("net:misbehaving_connection", &[-8, 8]);

#[test]
fn v23_has_those_of_the_table() {
    check(env!("CARGO_BIN_EXE_simnode-v23"), &expected(23, &[]), false);
}

#[test]
fn v25_has_sizes_of_64_bits() {
    let wide: [(&str, &[i8]); 3] = [
        ("mempool:added", &[8, 8, -8]),
        ("mempool:removed", &[8, 8, 8, -8, 8]),
        ("mempool:replaced", &[8, 8, -8, 8, 8, 8, -8]),
    ];
    check(env!("CARGO_BIN_EXE_simnode-v25"), &expected(25, &wide), false);
}

#[test]
fn v26_has_sizes_of_32_bits() {
    check(env!("CARGO_BIN_EXE_simnode-v26"), &expected(26, &[REPLACED_WITH_SEVEN]), false);
}

#[test]
fn the_patched_v27_has_connections_and_five_arguments_for_misbehaviour() {
    check(env!("CARGO_BIN_EXE_simnode-v27-patched"), &expected(27, &[REPLACED_WITH_SEVEN]), false);
}

#[test]
fn v29_and_v31_have_semaphores_and_two_arguments_for_misbehaviour() {
    check(env!("CARGO_BIN_EXE_simnode-v29"), &expected(29, &[MISBEHAVING_WITH_TWO]), true);
    check(env!("CARGO_BIN_EXE_simnode-v31"), &expected(31, &[MISBEHAVING_WITH_TWO]), true);
}

#[test]
fn the_launcher_has_none() {
    let data = fs::read(env!("CARGO_BIN_EXE_simnode")).unwrap();
    assert!(object::File::parse(&*data).unwrap().section_by_name(".note.stapsdt").is_none());
}

/// Checks that the executable has these tracepoints, each once, all with a semaphore or none.
fn check(executable: &str, expected: &Notes, semaphores: bool) {
    let data = fs::read(executable).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let section = file.section_by_name(".note.stapsdt").expect("there are tracepoints");
    let base = file.section_by_name(".stapsdt.base").expect("the linker keeps it").address();
    let mut notes = Notes::new();
    let mut rest = section.data().unwrap();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let (name, description) = (word(0), word(4));
        let start = 12 + name.next_multiple_of(4);
        let note = &rest[start..start + description];
        // Location, base and semaphore, 8 bytes each; then provider, name and arguments.
        let address = |at: usize| u64::from_le_bytes(note[at..at + 8].try_into().unwrap());
        assert_eq!(address(8), base, "base in {executable}");
        let semaphore = address(16);
        assert_eq!(semaphore != 0, semaphores, "semaphore in {executable}");
        if semaphores {
            assert_eq!(writable_mappings(&file, semaphore), 1, "semaphore in {executable}");
        }
        let mut texts = note[24..].split(|&byte| byte == 0).map(|text| std::str::from_utf8(text).unwrap());
        let mut next = || texts.next().unwrap();
        let name = format!("{}:{}", next(), next());
        let widths = next().split(' ').map(|argument| argument.split_once('@').unwrap().0.parse().unwrap());
        let before = notes.insert(name.clone(), widths.collect());
        assert!(before.is_none(), "{name} is there twice in {executable}");
        rest = &rest[(start + description.next_multiple_of(4)).min(rest.len())..];
    }
    assert_eq!(&notes, expected, "{executable}");
}

/// How often the page of the file with this address is mapped for writing when the executable starts. If it were mapped
/// twice, the kernel could count a tracer in the wrong mapping.
fn writable_mappings(file: &object::File, address: u64) -> usize {
    const PAGE: u64 = 4096;
    let holds = |segment: &object::Segment| (segment.address()..segment.address() + segment.size()).contains(&address);
    let segment = file.segments().find(holds).expect("the address is mapped");
    let offset = address - segment.address() + segment.file_range().0;
    let writable = |segment: &object::Segment| match segment.flags() {
        SegmentFlags::Elf { p_flags, .. } => p_flags.contains(object::elf::PF_W),
        _ => false,
    };
    let maps = |segment: &object::Segment| {
        let (start, size) = segment.file_range();
        (start / PAGE * PAGE..(start + size).next_multiple_of(PAGE)).contains(&offset)
    };
    file.segments().filter(writable).filter(maps).count()
}
