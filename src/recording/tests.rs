//! What is recorded is read again, and of what is damaged all that comes before the damage.

use super::*;
use crate::{
    capture::{Batch, Counted, Run},
    event::{Event, Lost, Moment, Time},
    json::{self, Style},
    record::{
        types::{added_record, event_header, message_record},
        write,
    },
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

fn run(attached: &str) -> Run {
    Run {
        pid: 7,
        program: "/usr/bin/bitcoind".into(),
        data_directory: None,
        chain: None,
        host: None,
        start_time: 1_747_158_913.25,
        attached: attached.parse().unwrap(),
        failed: "utxocache:add".parse().unwrap(),
    }
}

fn batch(number: u64, records: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|record| batch.push(record));
    batch.drained = (Time(1_000 + number), Moment(number));
    batch.ring_buffer = (16 << 20, number);
    for counters in &mut batch.added[..2] {
        counters.fired = number;
        counters.lost = [number / 2, 0];
    }
    batch
}

fn end() -> Counted {
    let lost = Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: 3 };
    Counted { added: batch(9, &[]).added, untold: vec![lost] }
}

/// Two runs, in blocks of their own.
fn recording() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    writer.batch(&batch(1, &[message("ping", &[1; 8]), added()])).unwrap();
    // Fills a block.
    writer.batch(&batch(2, &[message("tx", &vec![2; 1 << 20])])).unwrap();
    // There is nothing to be told.
    writer.batch(&batch(0, &[])).unwrap();
    writer.end(&end()).unwrap();
    writer.run(&run("net")).unwrap();
    writer.batch(&batch(3, &[message("pong", &[3; 8])])).unwrap();
    writer.end(&end()).unwrap();
    writer.finish().unwrap();
    bytes
}

/// What is read, and how that ended.
fn read(bytes: &[u8], words: &[(&str, &str)]) -> (Vec<String>, Result<(), Error>) {
    let mut selection = Selection::of(Tracepoint::all().collect());
    words.iter().for_each(|(word, values)| selection.add(word, values).unwrap());
    let mut entries = Vec::new();
    let mut reader = match Reader::new(bytes, &selection) {
        Ok(reader) => reader,
        Err(error) => return (entries, Err(error)),
    };
    let result = loop {
        match reader.next() {
            Some(Ok(entry)) => entries.push(told(entry)),
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
        }
    };
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
    let records = [message("ping", &[1; 8]), added()];
    let expected = [
        Entry::Run(run("default")),
        Entry::Batch(batch(1, &records).into()),
        Entry::Batch(batch(2, &[message("tx", &vec![2; 1 << 20])]).into()),
        Entry::End(end().into()),
        Entry::Run(run("net")),
        Entry::Batch(batch(3, &[message("pong", &[3; 8])]).into()),
        Entry::End(end().into()),
    ];
    let (entries, result) = read(&recording(), &[]);
    result.unwrap();
    assert!(entries == expected.map(told), "{entries:.300?}");
    assert!(recording().len() < 1_500, "a megabyte of twos is compressed");
}

#[test]
fn what_is_not_wanted_of_it_is_counted_as_filtered() {
    let (entries, result) = read(&recording(), &[("not-command", "ping"), ("not-events", "mempool")]);
    result.unwrap();
    let mut expected = batch(1, &[]);
    expected.added[Tracepoint::NetInboundMessage as usize].filtered = 1;
    expected.added[Tracepoint::MempoolAdded as usize].filtered = 1;
    assert_eq!(entries[1], told(Entry::Batch(expected.into())));
    assert!(!entries[0].contains("mempool:added") && !entries[0].contains("MempoolAdded"), "{}", entries[0]);
}

#[test]
fn of_what_is_cut_off_all_before_the_cut_is_given() {
    let whole = recording();
    let (all, _) = read(&whole, &[]);
    let mut most = 0;
    for length in 0..whole.len() {
        let (entries, result) = read(&whole[..length], &[]);
        assert!(entries[..] == all[..entries.len()]);
        assert!(entries.len() >= most, "more bytes, no less entries");
        most = entries.len();
        match result.unwrap_err() {
            Error::NotARecording(what) => {
                assert!(length < MAGIC.len() + 4);
                let words = if length == 0 { "it is empty" } else { "it breaks off within its first bytes" };
                assert!(what.starts_with(words), "{length}: {what}");
            }
            Error::Truncated(at) => assert!(at as usize <= length),
            error => panic!("{length}: {error}"),
        }
    }
    assert_eq!(most, all.len(), "only its end is missing");
}

#[test]
fn of_what_is_damaged_all_before_the_damage_is_given() {
    let whole = recording();
    let (all, _) = read(&whole, &[]);
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        let (entries, result) = read(&bytes, &[]);
        assert!(entries[..] == all[..entries.len()], "{place}");
        let error = result.unwrap_err();
        match place {
            0..21 => assert!(matches!(error, Error::NotARecording(_))),
            21..25 => assert!(matches!(error, Error::Version(_))),
            _ => assert!(matches!(error, Error::Damaged { .. } | Error::Truncated(_)), "{place}: {error}"),
        }
    }
}

#[test]
fn entries_that_make_no_sense_are_damage() {
    let block = |entries: &[u8]| {
        let frame = zstd::bulk::compress(entries, 3).unwrap();
        let numbers = [frame.len() as u32, entries.len() as u32, crc32fast::hash(&frame)].map(u32::to_le_bytes);
        [MAGIC, &VERSION.to_le_bytes()[..], &numbers.concat(), &frame].concat()
    };
    let batch = |lengths, changed| {
        let stored = Stored::Batch {
            drained: (0, 0),
            unix_offset_ns: 0,
            block_duration_unit_ns: 1,
            ring_buffer: (0, 0),
            changed,
            lengths,
            records: Bytes::new(&[0; 40]),
        };
        postcard::to_allocvec(&stored).unwrap()
    };
    let end = |untold| postcard::to_allocvec(&Stored::End { changed: Vec::new(), untold }).unwrap();
    for entries in [
        vec![77],
        batch(vec![20, 21], Vec::new()),
        batch(vec![20, 15], Vec::new()),
        batch(vec![0; 1_000], Vec::new()),
        batch(vec![u32::MAX], Vec::new()),
        batch(Vec::new(), vec![(Tracepoint::COUNT as u8, Counters::default())]),
        end(vec![(Tracepoint::COUNT as u8, 0, 1)]),
        end(vec![(0, 2, 1)]),
    ] {
        let (given, result) = read(&block(&entries), &[]);
        assert!(given.is_empty() && matches!(result, Err(Error::Damaged { at: 25, .. })), "{entries:?}");
    }
    assert_eq!(read(&block(&batch(vec![20, 16], Vec::new())), &[]).0.len(), 1, "records of a header and of bytes");
    let impossible = [MAGIC, &VERSION.to_le_bytes()[..], &[0xff; BLOCK_HEADER]].concat();
    assert!(matches!(read(&impossible, &[]).1, Err(Error::Damaged { at: 25, .. })));
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(0x2545_f491_4f6c_dd1d);
    let mut next = || random.u64(..);
    for _ in 0..2_000 {
        let mut entries: Vec<u8> = (0..next() % 300).map(|_| next() as u8).collect();
        if let Some(kind) = entries.first_mut() {
            *kind %= 4;
        }
        let frame = zstd::bulk::compress(&entries, 1).unwrap();
        let numbers = [frame.len() as u32, entries.len() as u32, crc32fast::hash(&frame)].map(u32::to_le_bytes);
        let bytes = [MAGIC, &VERSION.to_le_bytes()[..], &numbers.concat(), &frame].concat();
        assert!(read(&bytes, &[]).1.is_err());
    }
}

#[test]
fn what_a_run_gave_is_written_when_it_ends() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    writer.batch(&batch(1, &[message("ping", &[1; 8])])).unwrap();
    writer.end(&end()).unwrap();
    // Killed while it waits for the node's next run.
    drop(writer);
    let entries: Vec<_> = Reader::new(&bytes[..], &Selection::default()).unwrap().collect();
    let [Ok(Entry::Run(_)), Ok(Entry::Batch(_)), Ok(Entry::End(counted)), Err(Error::Truncated(_))] = &entries[..]
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
        (b"bitcointap recording\0\x03\0\0\0", "and this bitcointap reads version 2 only: use the newer one"),
        (b"bitcointap recording\0\x01\0\0\0", "and this bitcointap reads version 2 only: use the older one"),
    ] {
        let error = Reader::new(bytes, &Selection::default()).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
