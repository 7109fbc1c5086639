//! What is in recordings, without decoding it: the same as what a reader gives, within bounds.

use std::{fs, path::Path};

use super::{joined::Folder, *};
use crate::recording::Inspection;

fn info(path: &Path) -> Info {
    Inspection::open(path).unwrap().read(|_, _| {}).unwrap()
}

fn info_of(bytes: &[u8]) -> Info {
    info(&Folder::new(&[("f", bytes)]).path("f"))
}

#[test]
fn it_counts_what_a_reader_gives() {
    let old = include_bytes!("../../../tests/golden/version-2.recording");
    for bytes in [&recording()[..], old, &[&recording()[..], old].concat()] {
        let info = info_of(bytes);
        let all = Selection::of(Tracepoint::all().collect());
        let (mut events, mut counted, mut lost, mut runs) = (0, [Counters::default(); Tracepoint::COUNT], 0, 0);
        let mut add = |added: &[Counters; Tracepoint::COUNT]| {
            counted.iter_mut().zip(added).for_each(|(sum, added)| *sum = sum.plus(added));
        };
        for entry in Reader::new(bytes, &all).unwrap() {
            match entry.unwrap() {
                Entry::Run(_) => runs += 1,
                Entry::Batch(batch) => {
                    add(batch.added());
                    batch.each(|event| match event.kind {
                        Kind::Lost(_) => lost += 1,
                        _ => events += 1,
                    });
                }
                Entry::End(counted) => add(&counted.added),
            }
        }
        assert!(events > 3 && runs > 0);
        let sum: Counters = counted.iter().sum();
        assert_eq!((info.counts.events, info.runs.len(), info.counts.fired), (events, runs, sum.fired));
        assert_eq!((info.counts.lost_in_all(), info.counts.filtered), (sum.lost_in_all(), sum.filtered));
        assert!(info.gaps <= lost + runs as u64 && (info.gaps > 0) == (lost > 0));
        assert_eq!(info.bytes.files, bytes.len() as u64);
        assert!(info.damage.is_empty());
    }
}

#[test]
fn it_says_whose_a_recording_is_and_what_it_has() {
    let info = info_of(&recording());
    let [first, second] = &info.runs[..] else { panic!("{info:?}") };
    assert_eq!(
        (first.node.as_deref(), first.host.as_deref(), first.chain.as_deref()),
        (Some("alice"), Some("host"), Some("signet"))
    );
    assert_eq!((first.pid, &*first.program, first.start_time), (7, "/usr/bin/bitcoind", 1_747_158_913.25));
    assert_eq!((first.labels["rack"].as_str(), first.data_directory.as_deref()), ("7", Some("/data")));
    assert_eq!((first.events, second.events, first.has_end), (3, 1, true));
    assert_eq!(info.counts.lost, [("ring_full", 20)].into());
    assert_eq!((info.gaps, info.peers, info.recordings, info.groups), (4, 2, 1, 2));
    assert_eq!(info.commands.keys().collect::<Vec<_>>(), ["ping", "pong", "tx"]);
    assert_eq!((info.commands["tx"].inbound, info.commands["tx"].payload_bytes), (1, 1 << 20));
    assert_eq!(info.bytes.payloads, 8 + 8 + (1 << 20));
    assert_eq!(info.tracepoints["net:inbound_message"].events, 3);
    assert_eq!((info.from, info.to), (Some(0.0), Some(0.0)));
}

/// The node's version, though no opening has it yet.
#[test]
fn it_finds_the_nodes_own_user_agent() {
    let payload = [&[0; 80][..], &[16], b"/Satoshi:31.0.0/", &[0; 5]].concat();
    let mut record = message("version", &payload);
    record[std::mem::offset_of!(event_header, tracepoint)] = Tracepoint::NetOutboundMessage as u8;
    record[std::mem::offset_of!(message_record, connection_type)] = 1;
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    writer.batch(&batch(1, &[record])).unwrap();
    writer.finish().unwrap();
    assert_eq!(info_of(&bytes).runs[0].user_agent.as_deref(), Some("/Satoshi:31.0.0/"));
}

#[test]
fn what_peers_choose_takes_a_bounded_memory() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    for number in 0..400_u64 {
        let record = |peer: u64| {
            let mut record = message(&format!("x{number}"), b"");
            let at = std::mem::offset_of!(message_record, peer_id);
            record[at..at + 8].copy_from_slice(&(number * 2_000 + peer).to_le_bytes());
            record
        };
        writer.batch(&batch(1, &(0..2_000).map(record).collect::<Vec<_>>())).unwrap();
    }
    writer.finish().unwrap();
    let info = info_of(&bytes);
    assert_eq!((info.peers, info.peers_are_more), (500_000, true));
    assert_eq!((info.commands.len(), info.commands["other_commands"].inbound), (257, (400 - 256) * 2_000));
    // Each peer has one message, and each is counted.
    assert_eq!((info.counts.events, info.commands["x0"].inbound), (800_000, 2_000));
}

#[test]
fn damage_is_told_with_its_place_and_all_else_is_counted() {
    let whole = recording();
    let second = super::beginnings(&whole)[1];
    let of_second = info_of(&whole[second..]);
    for place in (25..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let info = info_of(&bytes);
        let [damage] = &info.damage[..] else { panic!("{place}: {:?}", info.damage) };
        assert!(damage.at.is_some_and(|at| at as usize <= place), "{place}: {damage:?}");
        if place < second {
            assert!(info.counts.events >= of_second.counts.events, "{place}");
            assert_eq!(damage.goes_on, Some(second as u64), "{place}");
        }
    }
    let cut_off = info_of(&whole[..second - 1]);
    assert!(cut_off.damage[0].error.contains("it breaks off after"), "{:?}", cut_off.damage);
}

#[test]
fn a_directory_is_summed_up_and_unfinished_files_are_no_damage() {
    let folder = Folder::new(&[]);
    fs::create_dir(folder.path("d")).unwrap();
    let whole = recording();
    for (name, bytes) in [("1.recording", &whole[..]), ("2.recording.part", &whole[..whole.len() - 1]), ("x", b"")] {
        fs::write(folder.path("d").join(name), bytes).unwrap();
    }
    let one = info(&folder.path("d/1.recording"));
    let both = info(&folder.path("d"));
    assert_eq!((both.files, both.counts.events, both.runs.len()), (2, 2 * one.counts.events, 4));
    assert_eq!((both.unfinished.len(), both.damage.len()), (1, 0));
    fs::write(folder.path("d/3.recording"), b"garbage").unwrap();
    let damaged = info(&folder.path("d"));
    assert_eq!((damaged.counts.events, damaged.damage.len()), (both.counts.events, 1));
    assert!(damaged.damage[0].error.starts_with("it is no recording") && damaged.damage[0].at.is_none());
}

#[test]
fn any_bytes_are_looked_at_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    let folder = Folder::new(&[]);
    let whole = [recording(), recording()].concat();
    for _ in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..20) {
            let at = random.usize(..bytes.len());
            match random.usize(..3) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.drain(at..bytes.len().min(at + random.usize(..200)))),
                _ => bytes.extend_from_within(at..bytes.len().min(at + random.usize(..2_000))),
            }
        }
        fs::write(folder.path("f"), &bytes).unwrap();
        let path = folder.path("f");
        if let Ok(info) = Inspection::open(&path).unwrap().read(|_, _| {}) {
            assert!(info.bytes.files >= bytes.len() as u64 / 2);
        }
        let window = Window { since: Some(Time(5)), until: Some(Time(10)) };
        let all = Selection::of(Tracepoint::all().collect());
        if let Ok(replay) = Replay::open(&[path], Speed::Max, window, &all) {
            let stop = crate::stop::Stop::new(None).unwrap();
            let _ = replay.joined().run(&stop, &mut crate::output::Outputs::default());
        }
    }
}
