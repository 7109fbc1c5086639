//! What the flight recorder gives is a recording of the newest events, and it stays within its memory, whoever reads it and however.

use std::{io::Read, thread};

use super::*;
use crate::{
    capture::{Batch, Counted, Counters},
    event::{Kind, Lost, Moment},
    kernel_side::{
        types::{added_record, event_header, losses_record, message_record, tracepoint},
        write,
    },
    recording::{Entry, Reader},
    selection::Condition,
    tracepoint::{LossReason, Tracepoint},
};

const MESSAGE: Tracepoint = Tracepoint::NetInboundMessage;
const ADDED: Tracepoint = Tracepoint::MempoolAdded;
const SECOND: u64 = 1_000_000_000;

fn header(of: Tracepoint) -> event_header {
    event_header { boot_ns: 9, tracepoint: of as u8, ..Default::default() }
}

fn message(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut name = [0; 16];
    name[..command.len()].copy_from_slice(command.as_bytes());
    let size = payload.len() as u64;
    write(message_record { header: header(MESSAGE), size, command: name, ..Default::default() }, payload)
}

/// Drained at this time, with a message for each command and payload, and so many of the mempool.
fn batch(drained: Time, messages: &[(&str, &[u8])], added: u64) -> Arc<Batch> {
    let mut batch = Batch::default();
    messages.iter().for_each(|(command, payload)| batch.push(&message(command, payload)));
    for _ in 0..added {
        batch.push(&write(added_record { header: header(ADDED), ..Default::default() }, b""));
    }
    batch.decoder.unix_offset_ns = drained.0 as i64 - 9;
    batch.drained = (drained, Moment(9));
    batch.added[MESSAGE.index()].fired = messages.len() as u64;
    batch.added[ADDED.index()].fired = added;
    Arc::new(batch)
}

fn pings(count: usize) -> Arc<Batch> {
    batch(now().0, &vec![("ping", &[7; 8][..]); count], 0)
}

/// Bytes that cannot be compressed.
fn noise(random: &mut fastrand::Rng, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    random.fill(&mut noise);
    noise
}

fn settings(size: usize) -> Settings {
    Settings { size, directory: None }
}

fn run() -> Run {
    Run { host: Some("a box\u{fc}".into()), ..Run::new(7, "/bitcoind".into(), 1.5, "net,mempool".parse().unwrap()) }
}

/// A recorder of 32 MiB, and what fills it, in a run.
fn recorder() -> (Recorder, Spool) {
    let recorder = Recorder::default();
    let mut spool = recorder.start(&settings(Settings::LEAST), &Selection::of("net,mempool".parse().unwrap())).unwrap();
    spool.run_begins(&Arc::new(run()));
    (recorder, spool)
}

/// Waits until it has everything.
fn settle(recorder: &Recorder) {
    let catches_up = recorder.catches_up();
    while !catches_up() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn give(recorder: &Recorder, spool: &Spool, batch: &Arc<Batch>) {
    spool.push(batch);
    settle(recorder);
}

fn whole(mut dump: Dump) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What a reader gets.
#[derive(Debug, Default, PartialEq)]
struct Found {
    runs: usize,
    messages: Vec<String>,
    others: u64,
    gaps: u64,
    /// Fired, filtered and lost.
    sums: [u64; 3],
    ends: usize,
}

impl Found {
    fn in_recording(recording: &[u8]) -> Self {
        let all = Selection::of(Tracepoint::all().collect());
        let (mut found, mut sums) = (Self::default(), Counters::default());
        for entry in Reader::new(recording, &all).unwrap() {
            match entry.unwrap() {
                Entry::Run(run) => {
                    assert!(!run.attached.is_empty());
                    found.runs += 1;
                }
                Entry::Batch(batch) => {
                    batch.each(|event| match event.kind {
                        Kind::Msg(message) => found.messages.push(message.meta.command.to_owned()),
                        Kind::Lost(lost) => found.gaps += lost.count,
                        _ => found.others += 1,
                    });
                    sums = batch.added().iter().fold(sums, |sums, added| sums.plus(added));
                }
                Entry::End(counted) => {
                    sums = counted.added.iter().fold(sums, |sums, added| sums.plus(added));
                    found.ends += 1;
                }
            }
        }
        found.sums = [sums.fired, sums.filtered, sums.lost_in_all()];
        found
    }

    fn events(&self) -> u64 {
        self.messages.len() as u64 + self.others
    }

    #[track_caller]
    fn assert_complete(&self) {
        let [fired, filtered, lost] = self.sums;
        assert_eq!((fired, self.gaps), (self.events() + filtered + lost, lost));
    }
}

#[test]
fn a_dump_is_a_recording_of_all_so_far_and_does_not_change() {
    let (recorder, spool) = recorder();
    assert_eq!(recorder.dump(None, false).err(), Some(Refusal::Nothing(None)));
    let (early, late) = (Time(1_795_931_508 * SECOND), Time(1_795_931_530 * SECOND + 5));
    give(&recorder, &spool, &batch(early, &[("inv", b"\0"), ("tx", b"")], 3));
    let first = recorder.dump(None, false).unwrap();
    assert_eq!((first.span(), first.events()), ((early, early), 5));
    give(&recorder, &spool, &batch(late, &[("ping", &[7; 8])], 0));
    let second = recorder.dump(None, false).unwrap();
    assert_eq!((second.span(), second.events()), ((early, late), 6));
    assert_eq!(second.file_name(), "20261129T055148Z.recording");
    assert_eq!(second.file_name_with_node(), "a_box_-20261129T055148Z.recording");
    // A dump of before has nothing of later.
    for (dump, messages) in [(first, &["inv", "tx"][..]), (second, &["inv", "tx", "ping"])] {
        let (bytes, events) = (dump.size(), dump.events());
        let recording = whole(dump);
        assert_eq!(recording.len() as u64, bytes);
        let found = Found::in_recording(&recording);
        assert_eq!((found.runs, found.others, found.ends, found.events()), (1, 3, 0, events));
        assert_eq!(
            (&found.messages[..], found.sums),
            (&messages.iter().map(ToString::to_string).collect::<Vec<_>>()[..], [events, 0, 0])
        );
    }
    assert!(spool.finish(|_| false).lost == 0);
    assert_eq!(recorder.dump(None, false).err(), Some(Refusal::Off));
    assert_eq!(recorder.kept().bytes, 0);
}

#[test]
fn what_was_lost_and_the_end_of_a_run_are_told_at_their_place() {
    let (recorder, mut spool) = recorder();
    give(&recorder, &spool, &pings(3));
    // Lost before it came here, by the kernel side and at the end of the run.
    spool.lose(&batch(now().0, &[("inv", b"")], 4), LossReason::QueueFull);
    let mut with_gap = Batch::default();
    let mut losses = losses_record {
        header: event_header { boot_ns: 9, tracepoint: tracepoint::LOSSES.0 as u8, ..Default::default() },
        ..Default::default()
    };
    losses.counts[ADDED.index()][0] = 6;
    with_gap.push(&write(losses, b""));
    with_gap.push(&message("tx", b""));
    with_gap.drained = (now().0, Moment(9));
    with_gap.added[MESSAGE.index()].fired = 1;
    with_gap.added[ADDED.index()] = Counters { fired: 6, lost: [6, 0, 0, 0, 0, 0, 0], ..Counters::default() };
    give(&recorder, &spool, &Arc::new(with_gap));
    let found = Found::in_recording(&whole(recorder.dump(None, false).unwrap()));
    assert_eq!((found.messages.len(), found.gaps, found.sums, found.ends), (4, 11, [15, 0, 11], 0));
    found.assert_complete();

    let mut counted = Counted::default();
    counted.added[ADDED.index()] =
        Counters { fired: 9, filtered: 2, lost: [7, 0, 0, 0, 0, 0, 0], ..Counters::default() };
    spool.run_ended(&[Lost { tracepoint: ADDED, reason: LossReason::RingFull, count: 7 }]);
    spool.run_counted(&counted.added);
    spool.run_begins(&Arc::new(run()));
    give(&recorder, &spool, &pings(2));
    let found = Found::in_recording(&whole(recorder.dump(None, false).unwrap()));
    assert_eq!((found.runs, found.messages.len(), found.gaps, found.sums), (2, 6, 18, [26, 2, 18]));
    assert_eq!(found.ends, 1);
    found.assert_complete();
}

#[test]
fn the_oldest_groups_make_room_and_the_rest_is_consistent() {
    let (recorder, spool) = recorder();
    let mut random = fastrand::Rng::with_seed(7);
    let limit = Settings::LEAST - WORK;
    let mut fired = 0;
    // Each batch has its number, and 40 MB in all do not fit.
    for number in 0..200_u64 {
        let payload = noise(&mut random, 200_000);
        let mut batch = Batch::default();
        batch.push(&message(&format!("c{number}"), &payload));
        batch.push(&message("ping", &[7; 8]));
        batch.drained = (now().0, Moment(9));
        // The kernel side has counted five before they come.
        let ahead = if number == 0 { 5 } else { 0 };
        (batch.added[MESSAGE.index()].fired, fired) = (2 + ahead, fired + 2);
        give(&recorder, &spool, &Arc::new(batch));
        let state = recorder.0.state();
        assert!(state.memory.bytes() <= limit);
    }
    let dump = recorder.dump(None, false).unwrap();
    let kept = recorder.kept();
    assert!(kept.dropped > 5 && kept.bytes > (limit - (6 << 20)) as u64, "{kept:?}");
    let found = Found::in_recording(&whole(dump));
    found.assert_complete();
    let first: u64 = found.messages[0][1..].parse().unwrap();
    assert!(first > 20, "{first}");
    let expected: Vec<String> = (first..200).flat_map(|number| [format!("c{number}"), "ping".into()]).collect();
    assert_eq!(found.messages, expected, "it has the newest ones");
    assert_eq!((found.runs, found.sums), (1, [fired - 2 * first, 0, 0]), "counters begin with its first group");
}

#[test]
fn it_stays_within_its_limit_with_messages_of_the_largest_size() {
    let (recorder, spool) = recorder();
    let mut random = fastrand::Rng::with_seed(7);
    let largest = noise(&mut random, 4_000_000);
    let mut dumps = Vec::new();
    for number in 0..60 {
        give(&recorder, &spool, &batch(now().0, &[("block", &largest), ("ping", &[7; 8])], 1));
        // Nobody reads these.
        dumps.extend(recorder.dump(None, number % 7 == 0));
        if dumps.len() > 20 {
            dumps.remove(0);
        }
        let memory = &recorder.0.state().memory;
        assert!(memory.used() <= Settings::LEAST - WORK, "{number}: {memory:?}");
    }
    // Slow ones are in nobody's way.
    assert_eq!(dumps.len(), 20);
    let found = Found::in_recording(&whole(recorder.dump(None, false).unwrap()));
    found.assert_complete();
    assert!(found.messages.len() >= 4, "{:?}", found.messages);
    assert!(spool.finish(|_| false).lost == 0);
    assert_eq!(recorder.0.state().memory.bytes(), 0);
}

#[test]
fn a_dump_that_is_read_too_slowly_breaks_off_and_another_does_not() {
    let (recorder, spool) = recorder();
    let mut random = fastrand::Rng::with_seed(7);
    let mut fill = |batches: usize| {
        for _ in 0..batches {
            give(&recorder, &spool, &batch(now().0, &[("tx", &noise(&mut random, 250_000))], 0));
        }
    };
    // It is full.
    fill(120);
    let [mut slow, mut fast] = [(); 2].map(|()| recorder.dump(None, false).unwrap());
    let mut some = vec![0; 1_000_000];
    slow.read_exact(&mut some).unwrap();
    let mut read = Vec::new();
    // Some groups are gone, and both still have them.
    fill(8);
    fast.read_to_end(&mut read).unwrap();
    slow.read_exact(&mut some).unwrap();
    let found = Found::in_recording(&read);
    assert_eq!(found.events(), fast.events());
    found.assert_complete();
    fill(40);
    let error = slow.read_to_end(&mut some).unwrap_err();
    assert_eq!(error.to_string(), "newer events took the place of those that were to come next");
    let of_dumps = || {
        let memory = &recorder.0.state().memory;
        (memory.used() - memory.bytes(), memory.reserved())
    };
    assert_eq!(of_dumps().0, of_dumps().1, "it holds no groups");
    drop((slow, fast));
    assert_eq!(of_dumps(), (0, 0));
    drop(spool);
}

#[test]
fn a_dump_can_be_of_some_events_or_of_the_last_minutes() {
    let (recorder, mut spool) = recorder();
    let (now, _) = now();
    let ago = |seconds: u64| Time(now.0 - seconds * SECOND);
    give(&recorder, &spool, &batch(ago(3_600), &[("inv", b"\0"), ("ping", &[7; 8])], 2));
    // A run begins a group.
    spool.run_begins(&Arc::new(run()));
    give(&recorder, &spool, &batch(ago(60), &[("tx", b""), ("ping", &[7; 8]), ("inv", b"\0")], 4));
    let dump = |last: u64| recorder.dump(Some(Duration::from_secs(last)), false);
    let found = Found::in_recording(&whole(dump(300).unwrap()));
    assert_eq!((&found.messages[..], found.sums), (&["tx", "ping", "inv"].map(String::from)[..], [7, 0, 0]));
    assert_eq!(dump(7_200).unwrap().events(), 11);
    assert_eq!(dump(u64::MAX).unwrap().events(), 11);
    assert_eq!(dump(30).err(), Some(Refusal::Nothing(Some(ago(60)))));

    let mut selected = Vec::new();
    let wanted = Selection::of("net,mempool".parse().unwrap()).only(Condition::Command("ping".into()));
    let dump = recorder.dump(None, true).unwrap();
    dump.write_selected(&wanted, &mut selected).unwrap();
    let found = Found::in_recording(&selected);
    assert_eq!(found.messages, ["ping", "ping"]);
    assert_eq!((found.runs, found.others, found.sums), (2, 0, [11, 9, 0]));
    found.assert_complete();
    // Selecting takes memory of its own, which is given back.
    let dumps: Vec<_> = (0..100).map_while(|_| recorder.dump(None, true).ok()).collect();
    assert!((2..10).contains(&dumps.len()), "{}", dumps.len());
    assert!(matches!(recorder.dump(None, true).err(), Some(Refusal::NoRoom(bytes)) if bytes > 2 << 20));
    drop(dumps);
    assert_eq!(recorder.0.state().memory.reserved(), 0);
}

#[test]
fn another_size_keeps_what_is_there() {
    let (recorder, spool) = recorder();
    give(&recorder, &spool, &pings(3));
    let wanted = Selection::of("net,mempool".parse().unwrap());
    let mut next = recorder.start(&settings(64 << 20), &wanted).unwrap();
    spool.push(&pings(2));
    assert!(spool.finish(|_| false).lost == 0);
    next.run_begins(&Arc::new(run()));
    give(&recorder, &next, &pings(5));
    let found = Found::in_recording(&whole(recorder.dump(None, false).unwrap()));
    assert_eq!((found.events(), found.sums, found.runs), (10, [10, 0, 0], 2));
    // A dump of before holds nothing when it is off.
    let mut dump = recorder.dump(None, false).unwrap();
    next.finish(|_| false);
    assert!(dump.read(&mut [0; 1]).is_err());
}

#[test]
fn a_file_has_its_name_once_it_is_complete_and_a_failure_is_one_line() {
    let (recorder, spool) = recorder();
    let directory = tempfile::tempdir().unwrap();
    let (early, late) = (Time(1_795_931_508 * SECOND), Time(1_795_931_520 * SECOND));
    assert_eq!(
        Recorder::default().write(),
        Err("there is no flight recorder: start export with --flight-recorder".into())
    );
    assert_eq!(recorder.write(), Err("the flight recorder has recorded nothing yet".into()));
    give(&recorder, &spool, &batch(early, &[("inv", b"\0")], 2));
    give(&recorder, &spool, &batch(late, &[("ping", &[7; 8])], 0));
    let words = "name a directory for flight recordings by --flight-recorder.dir";
    assert_eq!(recorder.write(), Err(words.into()));

    let mut settings = settings(Settings::LEAST);
    settings.directory = Some(directory.path().into());
    let wanted = Selection::of("net,mempool".parse().unwrap());
    let next = recorder.start(&settings, &wanted).unwrap();
    let names = ["20261129T055148Z.recording", "20261129T055148Z-1.recording", "20261129T055148Z-2.recording"];
    for name in names {
        let path = directory.path().join(name);
        let written = Saved { path: path.clone(), span: Duration::from_secs(12), events: 4 };
        assert_eq!(recorder.write(), Ok(written));
        assert_eq!(Found::in_recording(&std::fs::read(path).unwrap()).events(), 4);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), names.len(), "nothing else is left");
    let missing = directory.path().join("missing");
    settings.directory = Some(missing.clone());
    let last = recorder.start(&settings, &wanted).unwrap();
    let words = "No such file or directory (os error 2)";
    assert_eq!(recorder.write(), Err(format!("cannot write a flight recording into {}: {words}", missing.display())));
    drop((spool, next, last));
}
