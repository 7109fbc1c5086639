//! A recording gives what was recorded. If it is damaged, it gives all before the damage, and all groups after it.

mod groups;
mod info;
mod joined;
mod other_builds;

use serde_bytes::Bytes;

use super::{
    entries::{frame, serialize},
    stored::{AtMost, Changed, Loss, Stored, StoredBatch, StoredCounters},
    *,
};
use crate::{
    capture::{Batch, Counted, Counters, Joined, Named, Run},
    event::{Event, Kind, Lost, Moment, Time},
    json::{self, Style},
    kernel_side::{
        types::{added_record, event_header, losses_record, message_record},
        write,
    },
    process::Chain,
    selection::Selection,
    tracepoint::{LossReason, Tracepoint},
};

fn header(tracepoint: Tracepoint, text: &str) -> event_header {
    event_header { boot_ns: 9, tracepoint: tracepoint as u8, text_length: text.len() as u16, ..Default::default() }
}

fn message(command: &str, payload: &[u8]) -> Vec<u8> {
    let address = "8.8.8.8:8333";
    let mut name = [0; 16];
    name[..command.len()].copy_from_slice(command.as_bytes());
    let fixed = message_record {
        header: header(Tracepoint::NetInboundMessage, address),
        size: payload.len() as u64,
        command: name,
        ..Default::default()
    };
    write(fixed, &[address.as_bytes(), payload].concat())
}

fn added() -> Vec<u8> {
    write(
        added_record { header: header(Tracepoint::MempoolAdded, ""), vsize: 141, fee: 500, ..Default::default() },
        b"",
    )
}

/// A loss before the next record.
fn losses() -> Vec<u8> {
    let mut record = losses_record {
        header: event_header { boot_ns: 8, tracepoint: 255, ..Default::default() },
        ..Default::default()
    };
    (record.counts[Tracepoint::MempoolAdded as usize], record.counts[0][1]) = ([5, 6], 7);
    write(record, b"")
}

fn run(attached: &str) -> Run {
    Run {
        data_directory: Some("/data".into()),
        chain: Some(Chain::Signet),
        host: Some("host".into()),
        named: Named::default().with_node("alice").unwrap().with_label("rack", "7").unwrap(),
        failed: "utxocache:add".parse().unwrap(),
        ..Run::new(7, "/usr/bin/bitcoind".into(), 1_747_158_913.25, attached.parse().unwrap())
    }
}

fn batch(number: u64, records: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|record| batch.push(record));
    batch.drained = (Time(1_000 + number), Moment(number));
    batch.ring_buffer = (16 << 20, number);
    for counters in &mut batch.added[..2] {
        counters.fired = number;
        counters.lost[0] = number / 2;
    }
    batch
}

fn end() -> Counted {
    let lost = Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: 3 };
    Counted { added: batch(9, &[]).added, untold: vec![lost] }
}

fn first() -> [Vec<u8>; 4] {
    [message("ping", &[1; 8]), losses(), added(), losses()]
}

/// Two runs, and so two groups. Each entry is in a block of its own.
fn recording() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    writer.batch(&batch(1, &first())).unwrap();
    // Fills a block.
    writer.batch(&batch(2, &[message("tx", &vec![2; 1 << 20])])).unwrap();
    // An empty batch, of which nothing is written.
    writer.batch(&batch(0, &[])).unwrap();
    writer.end(&end()).unwrap();
    writer.run(&run("net")).unwrap();
    writer.batch(&batch(3, &[message("pong", &[3; 8])])).unwrap();
    writer.end(&end()).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The entries that are read, and the first error.
fn read(bytes: &[u8], words: &[(&str, &str)]) -> (Vec<String>, Result<(), Error>) {
    let mut selection = Selection::of(Tracepoint::all().collect());
    words.iter().for_each(|(word, values)| selection.add(word, values).unwrap());
    let mut entries = Vec::new();
    let mut reader = match Reader::new(bytes, &selection) {
        Ok(reader) => reader,
        Err(error) => return (entries, Err(error)),
    };
    let mut result = Ok(());
    for entry in reader.by_ref() {
        match entry {
            Ok(entry) => entries.push(told(entry)),
            // Only the first error is kept.
            Err(error) => result = result.and(Err(error)),
        }
    }
    assert!(reader.next().is_none(), "it has ended");
    (entries, result)
}

fn told(entry: Entry) -> String {
    match entry {
        Entry::Run(run) => format!("{run:?}"),
        Entry::Batch(batch) => {
            let mut text = format!("{:?} {:?} {:?}\n", batch.drained(), batch.ring_buffer(), batch.added());
            batch.each(|event: Event<'_>| {
                let mut line = Vec::new();
                json::write_line(&mut line, &event, Style::default()).unwrap();
                text += &String::from_utf8(line).unwrap();
            });
            text
        }
        Entry::End(counted) => format!("{counted:?}"),
    }
}

#[test]
fn what_is_recorded_is_read_again() {
    let expected = [
        Entry::Run(run("default").into()),
        Entry::Batch(batch(1, &first()).into()),
        Entry::Batch(batch(2, &[message("tx", &vec![2; 1 << 20])]).into()),
        Entry::End(end().into()),
        Entry::Run(run("net").into()),
        Entry::Batch(batch(3, &[message("pong", &[3; 8])]).into()),
        Entry::End(end().into()),
    ];
    let (entries, result) = read(&recording(), &[]);
    result.unwrap();
    assert!(entries == expected.map(told), "{entries:.300?}");
    assert!(recording().len() < 5_000, "a megabyte of twos is compressed");
}

#[test]
fn what_is_not_wanted_of_it_is_counted_as_filtered() {
    let (entries, result) = read(&recording(), &[("not-command", "ping"), ("not-events", "mempool")]);
    result.unwrap();
    let mut expected = batch(1, &[losses(), losses()]);
    expected.added[Tracepoint::NetInboundMessage as usize].filtered = 1;
    expected.added[Tracepoint::MempoolAdded as usize].filtered = 1;
    assert_eq!(entries[1], told(Entry::Batch(expected.into())));
    assert!(!entries[0].contains("mempool:added") && !entries[0].contains("MempoolAdded"), "{}", entries[0]);
}

#[test]
fn of_what_is_cut_off_all_before_the_cut_is_given() {
    let whole = recording();
    let (all, _) = read(&whole, &[]);
    let second = beginnings(&whole)[1];
    let mut most = 0;
    for length in 0..whole.len() {
        let (entries, result) = read(&whole[..length], &[]);
        assert!(entries[..] == all[..entries.len()]);
        assert!(entries.len() >= most, "more bytes, no less entries");
        most = entries.len();
        if length == second {
            // A group ends here, so nothing is missing.
            result.unwrap();
            continue;
        }
        match result.unwrap_err() {
            Error::NotARecording(what) => {
                assert!(length < MAGIC.len() + 4);
                let words = if length == 0 { "it is empty" } else { "it breaks off within its first bytes" };
                assert!(what.starts_with(words), "{length}: {what}");
            }
            Error::Truncated { at, goes_on } => assert!(at as usize <= length && goes_on.is_none()),
            error => panic!("{length}: {error}"),
        }
    }
    assert_eq!(most, all.len(), "only its end is missing");
}

/// Where groups begin.
fn beginnings(bytes: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(bytes, MAGIC).collect()
}

#[test]
fn of_what_is_damaged_all_is_given_but_the_rest_of_the_group() {
    let whole = recording();
    let (all, _) = read(&whole, &[]);
    let second = beginnings(&whole)[1];
    let of_second = all.iter().rposition(|entry| entry.starts_with("Run")).unwrap();
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let (entries, result) = read(&bytes, &[]);
        let error = result.unwrap_err();
        match place {
            0..21 => assert!(matches!(error, Error::NotARecording(_))),
            21..25 => assert!(matches!(error, Error::Version(_))),
            _ if place < second => {
                let (before, after) = entries.split_at(entries.len() - (all.len() - of_second));
                assert!(before[..] == all[..before.len()] && after[..] == all[of_second..], "{place}");
                let (Error::Damaged { at, goes_on, .. } | Error::Truncated { at, goes_on }) = error else {
                    panic!("{place}")
                };
                assert!(at as usize <= place && goes_on == Some(second as u64), "{place}: {error}");
            }
            _ => {
                assert!(entries[..] == all[..entries.len()], "{place}");
                let goes_on = |error: &Error| error.to_string().contains("from byte");
                assert!(entries.len() >= of_second && !goes_on(&error), "{place}: {error}");
            }
        }
    }
}

/// A group of these entries, with this build's opening.
fn group(entries: &[u8]) -> Vec<u8> {
    let mut opening = Vec::new();
    serialize(&opening::of(1, 0, false, None, &Default::default()), &mut opening).unwrap();
    group_of(&opening, entries)
}

fn group_of(opening: &[u8], entries: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    let blocks = [opening, entries].into_iter().filter(|block| !block.is_empty());
    let framed = blocks.flat_map(|block| {
        let mut framed = Vec::new();
        frame(&mut compressor, block, &mut framed).unwrap();
        framed
    });
    let blocks: Vec<_> = framed.collect();
    [opening::beginning(), blocks, vec![0; BLOCK_HEADER]].concat()
}

fn bytes_of_entry(entry: &Stored<'_>) -> Vec<u8> {
    postcard::to_allocvec(entry).unwrap()
}

fn batch_of(lengths: Vec<u32>, changed: Changed, losses: Vec<(u32, Loss)>) -> Vec<u8> {
    let losses = losses.into_iter().map(|(before, loss)| stored::PlacedLoss { before, moment: 8, loss });
    bytes_of_entry(&Stored::Batch(StoredBatch {
        drained: (0, 0),
        unix_offset_ns: 0,
        block_duration_unit_ns: 1,
        ring_buffer: (0, 0),
        changed,
        losses: losses.collect(),
        lengths: AtMost(lengths),
        records: Bytes::new(&[0; 200]),
    }))
}

#[test]
fn entries_that_make_no_sense_are_damage() {
    const COUNT: u8 = Tracepoint::COUNT as u8;
    let lengths = |lengths: &[u32]| batch_of(lengths.to_vec(), Changed::default(), Vec::new());
    let changed = |number, lost: Vec<u64>| {
        let counters = StoredCounters { lost: AtMost(lost), ..StoredCounters::default() };
        batch_of(Vec::new(), AtMost(vec![(number, counters)]), Vec::new())
    };
    let loss = |tracepoint, reason| Loss { tracepoint, reason, count: 1 };
    let lost = |befores: &[u32]| {
        let losses = befores.iter().map(|&before| (before, loss(0, 0))).collect();
        batch_of(vec![56, 56], Changed::default(), losses)
    };
    let end = |loss| bytes_of_entry(&Stored::End { changed: Changed::default(), untold: AtMost(vec![loss]) });
    for entries in [
        vec![77],
        lengths(&[56, 145]),
        lengths(&[56, 55]),
        lengths(&[15]),
        lengths(&[0; 1_000]),
        lengths(&[u32::MAX]),
        changed(COUNT, vec![0, 0]),
        changed(0, vec![0; LossReason::ALL.len() + 1]),
        lost(&[3]),
        lost(&[1, 0]),
        end(loss(COUNT, 0)),
        end(loss(0, LossReason::ALL.len() as u8)),
    ] {
        let (given, result) = read(&group(&entries), &[]);
        assert!(given.is_empty() && matches!(result, Err(Error::Damaged { .. })), "{entries:?}: {given:?}");
    }
    for sensible in [lengths(&[56, 57]), changed(0, vec![0, 0]), lost(&[0, 1, 2]), end(loss(0, 1))] {
        let (given, result) = read(&group(&sensible), &[]);
        assert!(given.len() == 1 && result.is_ok(), "{sensible:?}: {result:?}");
    }
    let impossible = [&opening::beginning()[..], &[0xff; BLOCK_HEADER]].concat();
    assert!(matches!(read(&impossible, &[]).1, Err(Error::Damaged { at: 25, .. })));
    // The memory for a sequence is bounded, whatever its claimed length is.
    for (count, is_taken) in [(65_536, true), (65_537, false)] {
        let untold = AtMost(vec![loss(0, 0); count]);
        let entry = bytes_of_entry(&Stored::End { changed: Changed::default(), untold });
        assert_eq!(read(&group(&entry), &[]).1.is_ok(), is_taken, "{count}");
    }
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(0x2545_f491_4f6c_dd1d);
    let mut next = || random.u64(..);
    for _ in 0..2_000 {
        let mut entries: Vec<u8> = (0..next() % 300).map(|_| next() as u8).collect();
        if let Some(kind) = entries.first_mut() {
            *kind %= 3;
        }
        let (version_2, opening) = (next() % 3 == 0, next() % 3 == 0);
        let mut bytes = if opening { group_of(&entries, &entries) } else { group(&entries) };
        if version_2 {
            bytes[MAGIC.len()] = 2;
        }
        assert!(read(&bytes, &[]).1.is_err() || entries.is_empty());
    }
}

#[test]
fn what_a_run_gave_is_written_when_it_ends() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    writer.batch(&batch(1, &[message("ping", &[1; 8])])).unwrap();
    writer.end(&end()).unwrap();
    // As if bitcointap was killed while it waited for the node's next run.
    drop(writer);
    let entries: Vec<_> = Reader::new(&bytes[..], &Selection::default()).unwrap().collect();
    let [Ok(Entry::Run(_)), Ok(Entry::Batch(_)), Ok(Entry::End(counted)), Err(Error::Truncated { .. })] = &entries[..]
    else {
        panic!("{entries:?}")
    };
    assert_eq!(**counted, end());
}

#[test]
fn the_largest_numbers_are_decoded_without_a_panic() {
    let mut made_up = batch(1, &[added()]);
    made_up.decoder.unix_offset_ns = i64::MAX;
    let mut times = Vec::new();
    made_up.each(|event| times.push(event.time));
    assert_eq!(times, [Time(9 + i64::MAX as u64)]);
}

#[test]
fn what_is_no_recording_is_told_apart() {
    for (bytes, words) in [
        (&b"\x1f\x8b\x08\0"[..], "it is compressed: decompress it first"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0", "it has packets for Wireshark (pcapng), not events"),
        (b"{\"timestamp\":1}\n", "it has JSON, which is not replayed"),
        (b"\x7fELF", "it is no recording: `bitcointap record` makes them"),
        (b"bitcointap recording\0\x04\0\0\0", "and this bitcointap reads versions 2 and 3 only: use the newer one"),
        (b"bitcointap recording\0\x01\0\0\0", "and this bitcointap reads versions 2 and 3 only: use the older one"),
    ] {
        let error = Reader::new(bytes, &Selection::default()).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
