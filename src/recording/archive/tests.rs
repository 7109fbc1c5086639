//! What goes into a directory is what one recording would have, and says what is missing.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use tempfile::TempDir;

use super::*;
use crate::{
    capture::{Counters, End},
    event::{Kind, Lost, Moment, Time},
    json::{self, Style},
    kernel_side::{
        types::{added_record, event_header, message_record},
        write,
    },
    recording::{Entry, Reader},
    selection::Selection,
    tracepoint::{LossReason, Tracepoint},
};

const PING: Tracepoint = Tracepoint::NetInboundMessage;
const ADDED: Tracepoint = Tracepoint::MempoolAdded;

fn archive(directory: &Path, limits: Limits) -> RecordingArchive {
    RecordingArchive::open(directory, &Options { limits, keep: None }).unwrap()
}

fn limits(text: &str) -> Limits {
    text.parse().unwrap()
}

fn run(pid: i32) -> Run {
    Run::new(pid, "/bitcoind".into(), 1.5, "net,mempool".parse().unwrap())
}

/// A batch of messages with so many bytes that cannot be compressed, and as many transactions.
fn batch(events: u64, bytes: usize) -> Arc<Batch> {
    let header = |of: Tracepoint| event_header { boot_ns: 9, tracepoint: of as u8, ..Default::default() };
    // What one has is in no other.
    static NEXT: AtomicU64 = AtomicU64::new(7);
    let mut batch = Batch::default();
    let mut random = NEXT.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..events {
        let payload = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        });
        let payload: Vec<u8> = payload.take(bytes).collect();
        let fixed = message_record { header: header(PING), size: bytes as u64, ..Default::default() };
        batch.push(&write(fixed, &payload));
        batch.push(&write(added_record { header: header(ADDED), ..Default::default() }, b""));
    }
    batch.drained = (Time(1_000), Moment(9));
    for tracepoint in [PING, ADDED] {
        batch.added[tracepoint.index()].fired = events;
    }
    Arc::new(batch)
}

/// The complete files, the oldest first, and how many others there are.
fn files(directory: &Path) -> (Vec<Vec<u8>>, usize) {
    let all: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let (mut complete, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|path| path.extension().unwrap() == "recording");
    let number = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (time, number) = stem.split_once('-').unwrap_or((&stem, "0"));
        (time.to_owned(), number.parse::<u32>().unwrap())
    };
    complete.sort_by_key(number);
    (complete.iter().map(|path| fs::read(path).unwrap()).collect(), others.len())
}

/// What a whole recording has: runs, lines without times, and the sums of counters.
#[derive(Debug, Default, PartialEq)]
struct Read {
    runs: usize,
    ends: usize,
    lines: Vec<String>,
    sums: Counters,
}

fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    for entry in Reader::new(bytes, &Selection::of(Tracepoint::all().collect())).unwrap() {
        match entry.unwrap() {
            Entry::Run(_) => read.runs += 1,
            Entry::Batch(batch) => {
                batch.each(|event| {
                    let mut line = Vec::new();
                    json::write_line(&mut line, &event, Style::default()).unwrap();
                    read.lines.push(String::from_utf8(line).unwrap());
                });
                read.sums = batch.added().iter().fold(read.sums, |sums, it| sums.plus(it));
            }
            Entry::End(counted) => {
                read.ends += 1;
                read.sums = counted.added.iter().fold(read.sums, |sums, it| sums.plus(it));
            }
        }
    }
    read
}

/// The gaps among lines: how many say a number, the sum of these numbers, and how many say that nobody knows.
fn gaps(lines: &[String]) -> (u64, usize) {
    let gaps = lines.iter().filter_map(|line| line.split_once(r#""event":{"Lost":"#));
    let (mut told, mut unknown) = (0, 0);
    for (_, gap) in gaps {
        match gap.split_once(r#""count":"#) {
            None => unknown += 1,
            Some((_, count)) => told += count.trim_end_matches(['}', '\n']).parse::<u64>().unwrap(),
        }
    }
    (told, unknown)
}

#[test]
fn all_files_have_what_one_recording_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = archive(&directory.path().join("new"), limits("100KiB"));
    let mut one = Writer::new(Vec::new()).unwrap();
    let untold = vec![Lost { tracepoint: ADDED, reason: LossReason::RingFull, count: 3 }];
    let counted = Counted { untold, ..Counted::default() };
    for pid in [1, 2] {
        archive.run_begins(&run(pid)).unwrap();
        one.run(&run(pid)).unwrap();
        for number in 0..20 {
            let batch = batch(3, 100_000 + number);
            archive.batch(&batch).unwrap();
            one.batch(&batch).unwrap();
            archive.archive.wait();
        }
        archive.run_ends(&counted, End::NodeEnded).unwrap();
        one.end(&counted).unwrap();
    }
    archive.finish(&Stop::new(None).unwrap()).unwrap();
    one.end_group().unwrap();
    let one = read(one.out_mut());
    let (files, others) = files(&directory.path().join("new"));
    assert!(files.len() > 4 && others == 0, "{} {others}", files.len());
    let each: Vec<_> = files.iter().map(|file| read(file)).collect();
    assert!(each.iter().all(|file| file.runs > 0));
    // Each begins with the run. Together they have it once.
    assert_eq!(each.iter().map(|file| file.ends).sum::<usize>(), 2);
    assert!(each.iter().flat_map(|file| &file.lines).eq(&one.lines));
    assert_eq!(each.iter().fold(Counters::default(), |sums, file| sums.plus(&file.sums)), one.sums);
    assert!(read(&files.concat()) == one, "joined, they are the one recording");
    assert_eq!(gaps(&one.lines), (0, 0));
}

#[test]
fn a_file_without_events_does_not_give_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = archive(directory.path(), Limits { age: Some(Duration::ZERO), size: None });
    archive.idle();
    assert_eq!(files(directory.path()), (vec![], 0), "none begins before the first run");
    archive.run_begins(&run(1)).unwrap();
    for _ in 0..3 {
        archive.batch(&batch(0, 0)).unwrap();
        archive.archive.wait();
    }
    assert_eq!(files(directory.path()).0.len(), 0);
    archive.batch(&batch(1, 8)).unwrap();
    archive.archive.wait();
    assert_eq!((files(directory.path()).0.len(), files(directory.path()).1), (1, 1));
    // The node has ended, and the file is due.
    archive.run_ends(&Counted::default(), End::NodeEnded).unwrap();
    archive.archive.wait();
    assert_eq!((files(directory.path()).0.len(), files(directory.path()).1), (2, 0));
    archive.idle();
    archive.finish(&Stop::new(None).unwrap()).unwrap();
    assert_eq!((files(directory.path()).0.len(), files(directory.path()).1), (2, 0));
}

#[test]
fn the_next_start_tells_a_gap_that_nobody_has_counted() {
    let directory = tempfile::tempdir().unwrap();
    let record = |events| {
        let mut archive = archive(directory.path(), limits("1h"));
        archive.run_begins(&run(1)).unwrap();
        archive.batch(&batch(events, 8)).unwrap();
        archive.run_ends(&Counted::default(), End::NodeEnded).unwrap();
        archive
    };
    let stop = Stop::new(None).unwrap();
    record(2).finish(&stop).unwrap();
    // It is killed: what it has not written is not there, and its file has no end.
    let mut killed = record(3);
    killed.archive.wait();
    assert_eq!((files(directory.path()).0.len(), files(directory.path()).1), (1, 1));
    drop(killed);
    record(4).finish(&stop).unwrap();
    let (files, others) = files(directory.path());
    let each: Vec<_> = files.iter().map(|file| read(file)).collect();
    assert_eq!((files.len(), others), (3, 0));
    let attached = run(1).attached.len();
    let told: Vec<_> = each.iter().map(|file| (file.lines.len() - gaps(&file.lines).1, gaps(&file.lines))).collect();
    assert_eq!(told, [(4, (0, 0)), (6, (0, attached)), (8, (0, attached))]);
    let first = &each[1].lines[0];
    let gap = r#""event":{"Lost":{"tracepoint":"net:inbound_message","reason":"not_recorded"}}}"#;
    let at = |line: &String| line.split_once(r#","event""#).unwrap().0.to_owned();
    assert!(first.contains(gap), "{first}");
    assert_eq!(at(first), at(&each[1].lines[attached]), "at the time of the first event after it");
    // It changes no counter.
    assert_eq!(
        each.iter().map(|file| (file.sums.fired, file.sums.lost_in_all())).collect::<Vec<_>>(),
        [(4, 0), (6, 0), (8, 0)]
    );
}

#[test]
fn what_was_not_read_by_the_end_is_told_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = archive(directory.path(), limits("1h"));
    archive.run_begins(&run(1)).unwrap();
    archive.batch(&batch(3, 8)).unwrap();
    archive.unread(&batch(2, 8));
    archive.run_ends(&Counted::default(), End::Requested).unwrap();
    archive.finish(&Stop::new(None).unwrap()).unwrap();
    let (files, _) = files(directory.path());
    let read = read(&files[0]);
    assert_eq!((read.lines.len(), read.sums.fired, read.sums.lost[LossReason::Stopped as usize]), (6, 10, 4));
}

/// A directory in which no file can be begun.
fn blocked(directory: &TempDir) -> (PathBuf, RecordingArchive) {
    let path = directory.path().join("d");
    let archive = archive(&path, limits("1h"));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    (path, archive)
}

#[test]
fn what_does_not_fit_into_memory_is_told_where_it_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut archive) = blocked(&directory);
    let mut fired = 0;
    let mut give = |archive: &mut RecordingArchive, batches: usize, events: u64, bytes| {
        for _ in 0..batches {
            archive.batch(&batch(events, bytes)).unwrap();
            fired += 2 * events;
        }
    };
    for pid in [1, 2, 3] {
        archive.run_begins(&run(pid)).unwrap();
        give(&mut archive, 9, 1, 1 << 20);
        let mut counted = Counted::default();
        counted.added[ADDED.index()] = Counters { fired: 5, filtered: 5, ..Counters::default() };
        archive.run_ends(&counted, End::NodeEnded).unwrap();
    }
    assert!(archive.lost > 0 && archive.writer.out_mut().bytes() < 10 << 20);
    fs::remove_file(&path).unwrap();
    archive.run_begins(&run(4)).unwrap();
    while archive.outage.is_some() {
        thread::sleep(Duration::from_millis(50));
        give(&mut archive, 1, 1, 8);
    }
    give(&mut archive, 5, 2, 8);
    let lost = archive.lost;
    archive.run_ends(&Counted::default(), End::Requested).unwrap();
    archive.finish(&Stop::new(None).unwrap()).unwrap();
    let (files, others) = files(&path);
    assert_eq!((files.len(), others), (1, 0));
    let read = read(&files[0]);
    let (told, unknown) = gaps(&read.lines);
    let is_event = |line: &&String| !line.contains(r#""event":{"Lost":"#);
    let events = read.lines.iter().filter(is_event).count() as u64;
    // Those lost after the last record of a run are in its end.
    let Counters { fired: counted, filtered, .. } = read.sums;
    assert_eq!((events + lost, counted, filtered), (fired, fired + 15, 15));
    assert_eq!(read.sums.lost[LossReason::WriteFailed as usize], lost);
    assert_eq!(read.sums.lost_in_all(), lost);
    assert!(unknown == 0 && 0 < told && told <= lost, "{told} of {lost}");
    assert_eq!((read.runs, read.ends), (2, 2), "of runs 2 and 3 there was nothing to write");
}

#[test]
fn what_cannot_be_written_at_the_end_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut archive) = blocked(&directory);
    archive.run_begins(&run(1)).unwrap();
    archive.batch(&batch(3, 8)).unwrap();
    archive.run_ends(&Counted::default(), End::Requested).unwrap();
    let error = archive.finish(&Stop::new(None).unwrap()).unwrap_err().to_string();
    assert!(
        error.ends_with("it is no directory: name one, or one that does not exist yet; 6 events are lost"),
        "{error}"
    );
}

#[test]
fn a_recording_that_breaks_off_anywhere_is_completed_up_to_there() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run(1)).unwrap();
    for number in 1..4 {
        writer.batch(&batch(number, 20)).unwrap();
        writer.begin_group().unwrap();
    }
    writer.end(&Counted::default()).unwrap();
    writer.finish().unwrap();
    let all = read(&bytes);
    let mended = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let file =
            fs::OpenOptions::new().read(true).write(true).open(file.path()).map(|opened| (opened, file)).unwrap();
        (mend::RECORDING.mend)(&file.0).unwrap();
        fs::read(file.1.path()).unwrap()
    };
    assert!(mended(&bytes) == bytes, "it is whole");
    let mut lengths = std::collections::BTreeSet::new();
    for length in 25..bytes.len() {
        let read = read(&mended(&bytes[..length]));
        assert!(all.lines.starts_with(&read.lines) && read.ends <= all.ends, "{length}");
        lengths.insert(read.lines.len());
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 2, 6, 12]);
    // What is damaged elsewhere, and what is none, stays as it is.
    let joined = [&bytes[..], b"something else"].concat();
    let mut damaged = [&bytes[..], &vec![7; 40 << 20]].concat();
    damaged[26] = 0xff;
    for bytes in [&joined[..], &damaged, b"", b"bitcointap recording", b"x"] {
        assert!(mended(bytes) == bytes);
    }
    assert!((mend::RECORDING.is_one)(&mut &bytes[..]) && !(mend::RECORDING.is_one)(&mut &b"bitcointap recording"[..]));
}

#[test]
fn a_gap_of_unknown_length_stays_one_whatever_a_recording_claims() {
    let lost = Lost { tracepoint: PING, reason: LossReason::NotRecorded, count: 7 };
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.run(&run(1)).unwrap();
    let mut missed = Missed::default();
    missed.end(&Counted { untold: vec![lost], ..Counted::default() });
    writer.batch_after(&missed, &batch(1, 8)).unwrap();
    writer.end_group().unwrap();
    let mut counts = Vec::new();
    for entry in Reader::new(&writer.out_mut()[..], &Selection::default()).unwrap() {
        if let Entry::Batch(batch) = entry.unwrap() {
            batch.each(|event| {
                if let Kind::Lost(lost) = event.kind {
                    counts.push(lost.count);
                }
            });
        }
    }
    assert_eq!(counts, [0]);
}
