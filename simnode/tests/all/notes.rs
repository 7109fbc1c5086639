//! The tracepoints that each layout's executable has, by its ELF notes: names, widths and signs of the arguments, and
//! semaphores.

use std::{collections::BTreeMap, fs};

use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};
use simnode::Tracepoint;

/// Tracepoints and the widths of their arguments, negative where signed.
type Notes = BTreeMap<String, Vec<i8>>;

/// The widths in v31. Pointers are 8.
const V31: [(&str, &[i8]); Tracepoint::ALL.len()] = [
    ("net:inbound_message", &[-8, 8, 8, 8, 8, 8]),
    ("net:outbound_message", &[-8, 8, 8, 8, 8, 8]),
    ("net:inbound_connection", &[-8, 8, 8, 4, 8]),
    ("net:outbound_connection", &[-8, 8, 8, 4, 8]),
    ("net:evicted_inbound_connection", &[-8, 8, 8, 4, -8]),
    ("net:closed_connection", &[-8, 8, 8, 4, -8]),
    ("net:misbehaving_connection", &[-8, 8]),
    ("validation:block_connected", &[8, -4, 8, -4, -8, -8]),
    ("utxocache:flush", &[-8, 4, 8, 8, 1]),
    ("utxocache:add", &[8, 4, 4, -8, 1]),
    ("utxocache:spent", &[8, 4, 4, -8, 1]),
    ("utxocache:uncache", &[8, 4, 4, -8, 1]),
    ("coin_selection:selected_coins", &[8, 8, -8, -8, -8]),
    ("coin_selection:normal_create_tx_internal", &[8, 1, -8, -4]),
    ("coin_selection:attempting_aps_create_tx", &[8]),
    ("coin_selection:aps_create_tx_internal", &[8, 1, 1, -8, -4]),
    ("mempool:added", &[8, -4, -8]),
    ("mempool:removed", &[8, 8, -4, -8, 8]),
    ("mempool:replaced", &[8, -4, -8, 8, 8, -4, -8, 1]),
    ("mempool:rejected", &[8, 8]),
];

/// The tracepoints of a layout, as differences from v31.
fn expected(without: &[&str], changed: &[(&str, &[i8])]) -> Notes {
    let mut notes: Notes = V31.iter().map(|&(name, widths)| (name.to_owned(), widths.to_vec())).collect();
    notes.retain(|name, _| !without.iter().any(|prefix| name.starts_with(prefix)));
    for &(name, widths) in changed {
        notes.insert(name.to_owned(), widths.to_vec());
    }
    notes
}

const CONNECTIONS: [&str; 5] = [
    "net:inbound_connection",
    "net:outbound_connection",
    "net:evicted_inbound_connection",
    "net:closed_connection",
    "net:misbehaving_connection",
];
const REPLACED_WITH_SEVEN: (&str, &[i8]) = ("mempool:replaced", &[8, -4, -8, 8, 8, -4, -8]);

#[test]
fn v23_has_messages_blocks_and_the_utxo_cache() {
    let without = [&CONNECTIONS[..], &["mempool:", "coin_selection:"]].concat();
    check(env!("CARGO_BIN_EXE_simnode-v23"), &expected(&without, &[]), false);
}

#[test]
fn v25_has_sizes_of_64_bits() {
    let wide: [(&str, &[i8]); 3] = [
        ("mempool:added", &[8, 8, -8]),
        ("mempool:removed", &[8, 8, 8, -8, 8]),
        ("mempool:replaced", &[8, 8, -8, 8, 8, 8, -8]),
    ];
    check(env!("CARGO_BIN_EXE_simnode-v25"), &expected(&CONNECTIONS, &wide), false);
}

#[test]
fn v26_has_sizes_of_32_bits() {
    check(env!("CARGO_BIN_EXE_simnode-v26"), &expected(&CONNECTIONS, &[REPLACED_WITH_SEVEN]), false);
}

#[test]
fn the_patched_v27_has_connections_and_five_arguments_for_misbehaviour() {
    let changed: [(&str, &[i8]); 2] = [REPLACED_WITH_SEVEN, ("net:misbehaving_connection", &[-8, -4, -4, 8, 1])];
    check(env!("CARGO_BIN_EXE_simnode-v27-patched"), &expected(&[], &changed), false);
}

#[test]
fn v29_and_v31_have_all_with_semaphores() {
    check(env!("CARGO_BIN_EXE_simnode-v29"), &expected(&[], &[]), true);
    check(env!("CARGO_BIN_EXE_simnode-v31"), &expected(&[], &[]), true);
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
