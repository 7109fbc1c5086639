//! Several recordings at once: they follow each other by time, and are joined by it. A part of them is read without the rest.

use std::{cell::RefCell, fs, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::{
    capture::End,
    output::{self, Output, Outputs},
    stop::Stop,
};

const SECOND: u64 = 1_000_000_000;
/// The wall clock is ahead of the boot clock by this many seconds.
const AHEAD: u64 = 1_000;

/// A batch with a ping at each of these moments, in nanoseconds of the boot clock.
fn pings(moments: &[u64]) -> Batch {
    let mut batch = Batch::default();
    for &moment in moments {
        let mut record = message("ping", &moment.to_le_bytes());
        record[..8].copy_from_slice(&moment.to_le_bytes());
        batch.push(&record);
    }
    let last = moments.last().copied().unwrap_or(0);
    batch.decoder.unix_offset_ns = (AHEAD * SECOND) as i64;
    batch.drained = (Time(last + AHEAD * SECOND), Moment(last));
    batch.added[0].fired = moments.len() as u64;
    batch
}

fn node(name: &str) -> Run {
    Run { named: Named::default().with_node(name).unwrap(), ..run("default") }
}

/// A recording of these batches. A new group begins after every `in_group`.
fn of(run: &Run, batches: &[Batch], in_group: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(run).unwrap();
    for (number, batch) in batches.iter().enumerate() {
        if number > 0 && number % in_group == 0 {
            writer.begin_group().unwrap();
        }
        writer.batch(batch).unwrap();
    }
    writer.end(&end()).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Notes all that it is told.
#[derive(Default)]
struct Notes {
    noted: Rc<RefCell<Vec<String>>>,
    node: String,
}

impl Notes {
    fn note(&self, what: &str) {
        self.noted.borrow_mut().push(format!("{} {what}", self.node));
    }
}

impl Output for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn run_begins(&mut self, run: &Run) -> output::Result {
        self.run_goes_on(&Arc::new(run.clone()));
        self.note("begins");
        Ok(())
    }

    fn run_goes_on(&mut self, run: &Arc<Run>) {
        self.node = run.named.node().unwrap_or("?").into();
        if let Some(Joined { recording: Some(recording) }) = &run.joined {
            self.node = format!("{}@{}", self.node, recording.rsplit('/').next().unwrap());
        }
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> output::Result {
        let fired = batch.added()[0].fired;
        self.note(&format!("counts {fired}"));
        batch.each(|event| match event.kind {
            Kind::Msg(_) => self.note(&format!("{}", event.time.0 - AHEAD * SECOND)),
            Kind::Lost(lost) => self.note(&format!("lost {}", lost.count)),
            other => panic!("{other:?}"),
        });
        Ok(())
    }

    fn run_ends(&mut self, counted: &Counted, end: End) -> output::Result {
        self.note(&format!("ends {} {end:?}", counted.untold.len()));
        Ok(())
    }
}

/// Files in a folder.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, bytes)| fs::write(folder.path(name), bytes).unwrap());
        folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, names: &[&str], limits: impl Into<Limits>) -> Result<Replay, String> {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        Replay::open(&paths, Speed::Max, limits, &Selection::of(Tracepoint::all().collect()))
    }
}

/// What an output is told, without counts, and the result.
fn told_by(replay: Replay) -> (Vec<String>, output::Result) {
    let notes = Notes::default();
    let noted = Rc::clone(&notes.noted);
    let stop = Stop::new(None).unwrap();
    let mut outputs = Outputs::default().with(notes);
    let result = replay.run(&stop, &mut outputs);
    outputs.finish(&stop).unwrap();
    (noted.take(), result)
}

fn events(told: &[String]) -> Vec<&str> {
    let is_event = |line: &&str| !["begins", "ends", "counts"].iter().any(|word| line.contains(word));
    told.iter().map(String::as_str).filter(is_event).collect()
}

#[test]
fn nodes_are_joined_by_the_times_of_their_events() {
    // Batches are cut where an event of the other comes between.
    let alice = of(&node("alice"), &[pings(&[10, 20, 50, 60]), pings(&[70])], 9);
    let bob = of(&node("bob"), &[pings(&[15, 20, 30]), pings(&[65, 80])], 9);
    let folder = Folder::new(&[("b", &bob), ("a", &alice), ("both", &[bob.clone(), alice.clone()].concat())]);
    let expected = [
        "alice begins",
        "alice counts 4",
        "alice 10",
        "bob begins",
        "bob counts 3",
        "bob 15",
        "alice counts 0",
        "alice 20",
        "bob counts 0",
        "bob 20",
        "bob 30",
        "alice counts 0",
        "alice 50",
        "alice 60",
        "bob counts 2",
        "bob 65",
        "alice counts 1",
        "alice 70",
        "alice ends 1 NodeEnded",
        "bob counts 0",
        "bob 80",
        "bob ends 1 NodeEnded",
    ];
    for names in [&["b", "a"][..], &["a", "b"], &["both"]] {
        let (told, result) = told_by(folder.open(names, Window::default()).unwrap().joined());
        result.unwrap();
        assert_eq!(told, expected, "{names:?}");
        // For outputs that take one run at a time.
        let (told, _) = told_by(folder.open(names, Window::default()).unwrap());
        let (of_alice, of_bob) = told.split_at(told.iter().position(|line| line == "bob begins").unwrap());
        assert!(
            of_alice.iter().all(|line| line.starts_with("alice")) && of_bob.iter().all(|line| line.starts_with("bob"))
        );
        assert_eq!(events(&told).len(), 10);
    }
}

/// So a part of recordings comes in the same order as they do.
#[test]
fn events_of_the_same_time_come_in_the_order_of_nodes() {
    let alice = of(&node("alice"), &[pings(&[20, 40])], 9);
    let bob = of(&node("bob"), &[pings(&[10, 20, 30])], 9);
    let folder = Folder::new(&[("a", &alice), ("b", &bob)]);
    let told = |window| told_by(folder.open(&["b", "a"], window).unwrap().joined()).0;
    assert_eq!(events(&told(Window::default())), ["bob 10", "alice 20", "bob 20", "bob 30", "alice 40"]);
    let since = Window { since: Some(Time(20 + AHEAD * SECOND)), until: None };
    assert_eq!(events(&told(since)), ["alice 20", "bob 20", "bob 30", "alice 40"]);
}

#[test]
fn what_does_not_name_its_node_is_told_by_its_file() {
    let unnamed =
        |directory: &str| Run { data_directory: Some(directory.into()), named: Named::default(), ..run("default") };
    let file = |run: &Run, at| of(run, &[pings(&[at])], 9);
    let (one, other, alice) = (file(&unnamed("/1"), 1), file(&unnamed("/2"), 2), file(&node("alice"), 3));
    let old = include_bytes!("../../../tests/golden/version-2.recording");
    let folder = Folder::new(&[("1", &one), ("2", &other), ("a", &alice), ("b", &alice), ("old", old)]);
    let nodes = |names: &[&str]| {
        let (told, _) = told_by(folder.open(names, Window { until: Some(Time(2_000 * SECOND)), since: None }).unwrap());
        events(&told).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Nothing more is told of a single node, however many files it has.
    assert_eq!(nodes(&["1"]), ["?"]);
    assert_eq!(nodes(&["a", "b"]), ["alice", "alice"]);
    assert_eq!(nodes(&["1", "2"]), ["?@1", "?@2"]);
    assert_eq!(nodes(&["1", "a"]), ["?", "alice"]);
    assert_eq!(nodes(&["1", "old"]), ["?"]);
}

#[test]
fn gaps_stay_before_the_event_that_they_were_before() {
    let mut batch = pings(&[10, 30]);
    let (first, second): (Vec<_>, Vec<_>) =
        batch.records().map(<[u8]>::to_vec).enumerate().partition(|(at, _)| *at == 0);
    let drained = batch.drained;
    batch.clear();
    // The gap was noticed at 8, before bob's event.
    for record in [&first[0].1, &losses(), &second[0].1] {
        batch.push(record);
    }
    batch.drained = drained;
    let bob = of(&node("bob"), &[pings(&[5, 20])], 9);
    let folder = Folder::new(&[("a", &of(&node("alice"), &[batch], 9)), ("b", &bob)]);
    let (told, _) = told_by(folder.open(&["a", "b"], Window::default()).unwrap().joined());
    assert_eq!(
        events(&told),
        ["bob 5", "alice 10", "bob 20", "alice lost 7", "alice lost 5", "alice lost 6", "alice 30"]
    );
}

#[test]
fn the_files_of_one_recording_are_one() {
    let batches: Vec<_> = (1..=6).map(|at| pings(&[at * SECOND])).collect();
    let whole = of(&node("alice"), &batches, 2);
    let at = beginnings(&whole);
    let [one, two, three] = [at[0]..at[1], at[1]..at[2], at[2]..whole.len()].map(|range| whole[range].to_vec());
    // Their names say nothing.
    let folder = Folder::new(&[("whole", &whole), ("3", &one), ("1", &two), ("2", &three), ("copy", &two)]);
    let replayed = |names: &[&str]| {
        let (told, result) = told_by(folder.open(names, Window::default()).unwrap().joined());
        result.unwrap();
        told
    };
    let expected = replayed(&["whole"]);
    assert_eq!(expected.iter().filter(|line| line.ends_with("begins")).count(), 1);
    assert_eq!(replayed(&["1", "2", "3"]), expected);
    // What lies between is missing, so the run begins anew.
    let lacking = replayed(&["2", "3"]);
    assert_eq!(events(&lacking), ["alice 1000000000", "alice 2000000000", "alice 5000000000", "alice 6000000000"]);
    assert_eq!(lacking.iter().filter(|line| line.ends_with("begins")).count(), 2);
    // A copy is another recording.
    let doubled = replayed(&["1", "2", "3", "copy"]);
    assert_eq!(doubled.iter().filter(|line| line.ends_with("begins")).count(), 2);
    let seconds = |told: &[String]| {
        let second = |line: &&str| line.strip_prefix("alice ").unwrap().parse::<u64>().unwrap() / SECOND;
        events(told).iter().map(second).collect::<Vec<_>>()
    };
    assert_eq!(seconds(&doubled), [1, 2, 3, 3, 4, 4, 5, 6]);
}

/// A long recording, with a batch each second, and noise that does not compress.
fn long(seconds: u64, step: impl Fn(u64) -> u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let batches = (1..=seconds).map(|second| {
        let mut batch = pings(&[second * SECOND]);
        let noise: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
        let mut record = message("tx", &noise);
        record[..8].copy_from_slice(&(second * SECOND).to_le_bytes());
        batch.push(&record);
        batch.decoder.unix_offset_ns += (step(second) * SECOND) as i64;
        batch.drained.0.0 += step(second) * SECOND;
        batch
    });
    of(&node("alice"), &batches.collect::<Vec<_>>(), 5)
}

#[test]
fn a_part_by_time_is_found_without_reading_the_rest() {
    let folder = Folder::new(&[("f", &long(300, |_| 0))]);
    let at = |seconds: u64| Time((AHEAD + seconds) * SECOND);
    for (since, until) in [(100, 120), (1, 3), (290, 400), (0, 0), (301, 400), (150, 150)] {
        let window = Window { since: Some(at(since)), until: Some(at(until)) };
        let replay = folder.open(&["f"], window).unwrap();
        let (progress, all) = (replay.progress(), replay.progress().all().unwrap());
        let (told, result) = told_by(replay);
        result.unwrap();
        let expected = (since.max(1)..=until.min(300)).flat_map(|second| vec![format!("alice {}", second * SECOND); 2]);
        assert_eq!(events(&told), expected.collect::<Vec<_>>(), "{since} to {until}");
        assert!(progress.read() * 4 < all, "{since} to {until}: {} of {all}", progress.read());
        assert_eq!(progress.all(), Some(progress.read()));
    }
    // Open on one side.
    let since = Window { since: Some(at(298)), until: None };
    let until = Window { since: None, until: Some(at(2)) };
    let of = |window| events(&told_by(folder.open(&["f"], window).unwrap()).0).len();
    assert_eq!((of(since), of(until)), (6, 4));
}

#[test]
fn what_was_put_between_parts_of_a_recording_is_found() {
    let alice = long(100, |_| 0);
    let cut = beginnings(&alice)[10];
    let bob = of(&node("bob"), &[pings(&[500 * SECOND])], 9);
    let folder =
        Folder::new(&[("f", &[&alice[..cut], &bob, &alice[cut..]].concat()), ("g", &[&alice[..], &alice].concat())]);
    let at = |seconds: u64| Time((AHEAD + seconds) * SECOND);
    let of = |name, since, until| {
        let window = Window { since: Some(at(since)), until: Some(at(until)) };
        events(&told_by(folder.open(&[name], window).unwrap()).0).join(", ")
    };
    assert_eq!(of("f", 500, 500), "bob 500000000000");
    assert_eq!(of("g", 7, 7), ["alice 7000000000"; 4].join(", "));
}

#[test]
fn nothing_is_left_out_if_the_wall_clock_was_set() {
    // It is put forward by an hour in the middle, and then back.
    let folder = Folder::new(&[
        ("f", &long(200, |second| if second > 100 { 3_600 } else { 0 })),
        ("g", &long(200, |second| if second > 100 { 0 } else { 3_600 })),
    ]);
    for name in ["f", "g"] {
        let window =
            Window { since: Some(Time((AHEAD + 3_600) * SECOND)), until: Some(Time((AHEAD + 3_900) * SECOND)) };
        let (told, _) = told_by(folder.open(&[name], window).unwrap());
        assert_eq!(events(&told).len(), 200, "{name}");
    }
}

#[test]
fn durations_count_over_all_recordings() {
    let alice = of(&node("alice"), &[pings(&[10 * SECOND, 20 * SECOND])], 9);
    let bob = of(&node("bob"), &[pings(&[15 * SECOND, 30 * SECOND])], 9);
    let folder = Folder::new(&[("a", &alice), ("b", &bob)]);
    let seconds = |limit: fn(Duration) -> Limit, seconds| Some(limit(Duration::from_secs(seconds)));
    let limited = |since, until| {
        let (told, _) = told_by(folder.open(&["b", "a"], Limits { since, until }).unwrap().joined());
        events(&told)
            .iter()
            .map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap() / SECOND)
            .collect::<Vec<_>>()
    };
    assert_eq!(limited(seconds(Limit::FromBeginning, 5), None), [15, 20, 30]);
    assert_eq!(limited(seconds(Limit::FromBeginning, 5), seconds(Limit::FromEnd, 10)), [15, 20]);
    assert_eq!(limited(None, seconds(Limit::FromBeginning, 0)), [10]);
    assert_eq!(limited(seconds(Limit::FromEnd, 0), None), [30]);
    let empty = Limits { since: seconds(Limit::FromEnd, 1), until: seconds(Limit::FromBeginning, 1) };
    assert_eq!(folder.open(&["a"], empty).err().unwrap(), "--since is later than --until in these recordings");
}

#[test]
fn what_is_no_recording_or_has_no_end_keeps_no_other_from_being_read() {
    let alice = of(&node("alice"), &[pings(&[10])], 9);
    let broken = &alice[..alice.len() - 20];
    let folder = Folder::new(&[]);
    fs::create_dir(folder.path("archive")).unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(folder.path("archive").join(name), bytes).unwrap();
    file("1.recording", &alice);
    // As it is written, or was left by a crash.
    let second = of(&node("alice"), &[pings(&[20])], 9);
    file("2.recording.part", &second[..second.len() - BLOCK_HEADER]);
    file("3.recording.part", b"");
    let (told, result) = told_by(folder.open(&["archive"], Window::default()).unwrap());
    result.unwrap();
    assert_eq!(events(&told), ["alice 10", "alice 20"]);
    file("4.recording", broken);
    file("5.recording", b"garbage");
    let (told, result) = told_by(folder.open(&["archive"], Window::default()).unwrap());
    assert!(events(&told).ends_with(&["alice 20"]));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("5.recording: it is no recording") && error.ends_with("further errors: 1"), "{error}");
    // A file that was named itself must be one.
    assert!(folder.open(&["archive/5.recording"], Window::default()).err().unwrap().contains("it is no recording"));
}

#[test]
fn what_follows_a_recording_and_is_none_is_damage_with_its_place() {
    let (alice, bob) = (of(&node("alice"), &[pings(&[10])], 9), of(&node("bob"), &[pings(&[5])], 9));
    let folder = Folder::new(&[("f", &[&alice[..], b"some garbage", &bob].concat())]);
    let (told, result) = told_by(folder.open(&["f"], Window::default()).unwrap().joined());
    // Nobody knows what the garbage was, so both are one.
    assert_eq!(events(&told), ["alice 10", "bob 5"]);
    let (at, goes_on) = (alice.len(), alice.len() + 12);
    let words = format!(
        "damaged in the block at byte {at}, after its end, where only another recording may follow: everything before that was read, \
         and everything from byte {goes_on} on"
    );
    let error = result.unwrap_err().to_string();
    assert!(error.ends_with(&words), "{error}");
}

/// The kernel side counts what fires before it is drained.
#[test]
fn counters_of_a_part_are_those_of_its_events() {
    let mut batches = [1, 2, 3, 4].map(|second| pings(&[second * SECOND, second * SECOND + 1]));
    for (batch, fired) in batches.iter_mut().zip([6, 2, 0, 0]) {
        batch.added[0].fired = fired;
    }
    let folder = Folder::new(&[("f", &of(&node("alice"), &batches, 2))]);
    let counts = |since| {
        let window = Window { since: Some(Time((AHEAD + since) * SECOND)), until: Some(Time((AHEAD + 4) * SECOND)) };
        let (told, _) = told_by(folder.open(&["f"], window).unwrap());
        told.into_iter().filter(|line| line.contains("counts")).collect::<Vec<_>>()
    };
    // What is not wanted of the last batch counts as filtered.
    assert_eq!(counts(1), ["alice counts 2"; 4]);
    assert_eq!(counts(2), ["alice counts 2"; 3]);
    let (told, _) = told_by(folder.open(&["f"], Window::default()).unwrap());
    assert_eq!(told.iter().filter(|line| line.contains("counts")).count(), 4);
    assert!(told.contains(&"alice counts 6".to_owned()), "a whole recording has what was counted");
}
