//! Directories of files that follow each other: recordings here, JSON lines in `json`. Whatever is killed, restarted or full, each event is
//! in one file, or it is told that some are missing.

mod json;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bitcointap::{
    archive,
    event::{Event, Kind},
    follow::{DropCapabilities, Follow},
    output::{Output, Outputs, Result},
    p2p,
    process::Which,
    recording::{Entry, Reader, RecordingArchive, RecordingOutput},
    selection::Selection,
    stop::Stop,
    tap::Options,
    tracepoint::{LossReason, Tracepoint},
};
use rustix::process::Signal;

use crate::{
    node::{Simnode, Tally, own_program},
    outputs::Disk,
    tool::{Attached, Exporter, bitcointap, eventually, output},
};

/// The files with this ending, the oldest first.
pub fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let stem = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned());
    let order = |path: &Path| {
        let stem = stem(path)?;
        let (time, number) = stem.split_once('-').unwrap_or((&stem, "0"));
        let is_time = time.len() == "20261129T055148Z".len() && time.ends_with('Z');
        Some((time.to_owned(), number.parse::<u32>().ok()?)).filter(|_| is_time)
    };
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter_map(|path| Some((order(&path)?, path))).collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

fn complete(directory: &Path) -> Vec<PathBuf> {
    files(directory, ".recording")
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    files(directory, ".recording.part")
}

/// Waits until there are so many more complete files.
pub fn more(directory: &Path, ending: &str, more: usize) {
    let before = files(directory, ending).len();
    eventually("more files", || (files(directory, ending).len() >= before + more).then_some(()));
}

/// The lines of a replay, which must succeed.
fn replayed(path: &Path) -> Vec<String> {
    let replay = output(&format!("tap --replay {} --speed max --events all", path.display()));
    let log = String::from_utf8_lossy(&replay.stderr);
    assert!(replay.status.success(), "{}: {log}", path.display());
    String::from_utf8(replay.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What a recording has, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Ping(u64),
    Other,
    /// So many events, of them so many inbound messages, are told as lost.
    Lost(u64, u64),
    /// Nobody knows how many fired.
    Gap,
}

/// All items of a file with the process that they are of. Without `must_be_whole`, up to where it breaks off.
fn items(path: &Path, must_be_whole: bool) -> Vec<(i32, Item)> {
    let (mut items, mut pid) = (Vec::new(), 0);
    let all = Selection::of(Tracepoint::all().collect());
    let Ok(reader) = Reader::new(File::open(path).unwrap(), &all) else {
        assert!(!must_be_whole, "{}", path.display());
        return items;
    };
    for entry in reader {
        match entry {
            Ok(Entry::Run(run)) => pid = run.pid,
            Ok(Entry::Batch(batch)) => batch.each(|event| items.push((pid, item(&event)))),
            Ok(Entry::End(counted)) => items.extend(counted.untold.iter().map(|lost| (pid, lost_item(lost)))),
            Ok(_) => {}
            Err(error) => assert!(!must_be_whole, "{}: {error}", path.display()),
        }
    }
    items
}

fn item(event: &Event<'_>) -> Item {
    match &event.kind {
        Kind::Lost(lost) => lost_item(lost),
        Kind::Msg(message) if message.meta.inbound => match message.msg {
            // The handshake's ping is random.
            p2p::Message::Ping { value } if value < 1 << 32 => Item::Ping(value),
            _ => Item::Other,
        },
        _ => Item::Other,
    }
}

fn lost_item(lost: &bitcointap::event::Lost) -> Item {
    match lost.reason {
        LossReason::NotRecorded => Item::Gap,
        _ => Item::Lost(lost.count, if lost.tracepoint == Tracepoint::NetInboundMessage { lost.count } else { 0 }),
    }
}

/// Asserts that no event of a flood is there twice, and that none is missing but where that is told. `is_open` says that a gap follows.
fn assert_told(of: &str, items: &[Item], tally: &Tally, is_open: bool) {
    let (mut next, mut lost, mut is_gap) = (0, 0, false);
    let (mut events, mut told, mut unknown) = (0, 0, 0);
    for item in items {
        match *item {
            Item::Ping(value) => {
                let missing = value.checked_sub(next).unwrap_or_else(|| panic!("{of}: {value} is there twice"));
                assert!(is_gap && missing >= lost || missing == lost, "{of}: {missing} are missing before {value}");
                unknown += missing - lost;
                (next, lost, is_gap, events) = (value + 1, 0, false, events + 1);
            }
            Item::Other => events += 1,
            Item::Lost(count, inbound) => (told, lost) = (told + count, lost + inbound),
            Item::Gap => is_gap = true,
        }
    }
    let fired: u64 = tally.tracepoints().values().sum();
    let rest = fired.checked_sub(events + told + unknown).unwrap_or_else(|| panic!("{of}: more than has fired"));
    println!("{of}: {fired} fired, {events} recorded, {told} told as lost, {unknown} and {rest} in gaps");
    assert!(rest == 0 || is_open, "{of}: {rest} are missing at the end");
}

/// Starts a recorder that follows a node, and waits until it has attached.
fn follow(directory: &Path, program: &Path, options: &str) -> Attached {
    let arguments = format!("record {} {options} --events all --follow --bitcoind", directory.display());
    Attached::spawn(bitcointap(&format!("{arguments} {}", program.display())))
}

/// Kills a recorder as the kernel does.
fn kill(mut recorder: Attached) {
    recorder.child.kill().unwrap();
    recorder.wait();
}

#[test]
fn kills_and_restarts_lose_nothing_that_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    let archive = directory.path().join("archive");
    let start = || Simnode::start_program(&program, "--scenario flood --rate 3000");
    let (rotate, mut broken) = ("--rotate 1h,16KiB", Vec::new());
    // What can be read after a kill is there later, too.
    let mut kill = |recorder| {
        kill(recorder);
        let parts = parts(&archive);
        assert!(!parts.is_empty(), "the file that it was writing");
        broken.extend(parts.iter().flat_map(|part| items(part, false)));
    };
    let end = |node: Simnode| {
        node.signal(Signal::TERM);
        node.tally()
    };

    let mut first = start();
    let recorder = follow(&archive, &program, rotate);
    first.fire();
    more(&archive, ".recording", 2);
    kill(recorder);

    // The same run goes on, and another one begins.
    let mut recorder = follow(&archive, &program, rotate);
    let first_pid = first.pid() as i32;
    more(&archive, ".recording", 2);
    let first = end(first);
    recorder.read_log_until("the node has ended", 1);
    let mut second = start();
    let second_pid = second.pid() as i32;
    recorder.read_log_until("attached to", 2);
    second.fire();
    more(&archive, ".recording", 2);
    kill(recorder);

    let recorder = follow(&archive, &program, rotate);
    more(&archive, ".recording", 1);
    kill(recorder);
    let second = end(second);

    // A whole run after a kill.
    let mut third = start();
    let third_pid = third.pid() as i32;
    let mut recorder = follow(&archive, &program, rotate);
    third.fire();
    more(&archive, ".recording", 2);
    let third = end(third);
    recorder.read_log_until("the node has ended", 1);
    recorder.terminate();
    assert!(recorder.wait().success(), "{}", recorder.log);
    assert_eq!(parts(&archive), [""; 0].map(PathBuf::from));
    assert!(recorder.log.contains("was left by another process: it is complete now"), "{}", recorder.log);

    let files = complete(&archive);
    let mut all = Vec::new();
    for file in &files {
        let items = items(file, true);
        assert_eq!(replayed(file).len(), items.len(), "{}", file.display());
        all.extend(items);
    }
    let mut runs: BTreeMap<i32, Vec<Item>> = BTreeMap::new();
    all.iter().for_each(|&(pid, item)| runs.entry(pid).or_default().push(item));
    assert_eq!(runs.len(), 3);
    assert_told("first", &runs[&first_pid], &first, false);
    assert_told("second", &runs[&second_pid], &second, true);
    assert_told("third", &runs[&third_pid], &third, false);
    assert_eq!(runs[&third_pid][0], Item::Gap, "it follows the second's end");
    // Each start but the first has told a gap, of all tracepoints.
    let gaps = all.iter().filter(|(_, item)| *item == Item::Gap).count();
    assert_eq!(gaps, 3 * Tracepoint::COUNT);
    let all: BTreeSet<_> = all.into_iter().collect();
    assert!(broken.iter().all(|item| all.contains(item)));

    // In JSON and in metrics.
    let with_gap = files
        .iter()
        .map(|file| (file, replayed(file)))
        .find(|(_, lines)| lines.first().is_some_and(|line| line.contains("not_recorded")));
    let (file, lines) = with_gap.unwrap();
    assert!(
        lines[0].ends_with(r#""event":{"Lost":{"tracepoint":"net:inbound_message","reason":"not_recorded"}}}"#),
        "{}",
        lines[0]
    );
    let replay = format!("--replay {} --speed max --events all", file.display());
    let exporter = Exporter::start_by(bitcointap, &replay, " fired=");
    let metrics = exporter.last_scrape();
    assert_eq!(metrics.sum("recording_gaps_total", &[]), Tracepoint::COUNT as f64);
    assert_eq!(metrics.sum("recording_gaps_total", &[("tracepoint", "mempool:added")]), 1.0);
    assert_eq!(metrics.sum("events_lost_total", &[("reason", "not_recorded")]), 0.0);
    exporter.stop();
}

/// Lets the node begin once the tap is attached.
struct Beginning<'a>(&'a RefCell<Simnode>);

impl Output for Beginning<'_> {
    fn name(&self) -> &str {
        "beginning"
    }

    fn run_begins(&mut self, _: &bitcointap::capture::Run) -> Result {
        self.0.borrow_mut().fire();
        Ok(())
    }
}

#[test]
fn without_a_kill_all_files_have_what_one_recording_has() {
    let directory = tempfile::tempdir().unwrap();
    let (one, archive) = (directory.path().join("one"), directory.path().join("archive"));
    let simnode = Simnode::start("v31", "--scenario mix --rate 5000");
    let (pid, which) = (simnode.pid(), Which::Pid(simnode.pid() as i32));
    let options = Options { selection: Selection::of(Tracepoint::all().collect()), ..Options::default() };
    let drop_capabilities = DropCapabilities::KeepForReattach;
    let follow = Follow { which, options, over_restarts: true, drop_capabilities };
    let stop = Stop::new(None).unwrap();
    let limits = archive::Options { limits: "32KiB".parse().unwrap(), keep: None };
    let simnode = RefCell::new(simnode);
    let mut outputs = Outputs::default()
        .with(RecordingOutput::new(&one, File::create_new(&one).unwrap(), &stop).unwrap())
        .with(RecordingArchive::open(&archive, &limits).unwrap())
        .with(Beginning(&simnode));
    let watched = archive.clone();
    let watcher = thread::spawn(move || {
        more(&watched, ".recording", 4);
        crate::tool::signal(pid, Signal::TERM);
    });
    follow.run(&stop, &mut outputs).unwrap();
    outputs.finish(&stop).unwrap();
    watcher.join().unwrap();
    let fired: u64 = simnode.into_inner().tally().tracepoints().values().sum();

    let files = complete(&archive);
    assert!(files.len() > 4 && parts(&archive).is_empty());
    let each: Vec<_> = files.iter().map(|file| replayed(file)).collect();
    let all = replayed(&one);
    assert_eq!(all.len() as u64, fired);
    assert!(each.concat() == all);
    // The openings say that the run goes on.
    let joined = directory.path().join("joined");
    fs::write(&joined, files.iter().flat_map(|file| fs::read(file).unwrap()).collect::<Vec<u8>>()).unwrap();
    assert!(replayed(&joined) == all);
}

#[test]
fn a_disk_that_was_full_is_recorded_to_again() {
    let Some(disk) = Disk::mount("300k") else { return println!("skipped: nothing can be mounted here") };
    let archive = disk.0.path().join("archive");
    let directory = tempfile::tempdir().unwrap();
    let program = own_program(&directory);
    // More than fits on the disk and into memory.
    let mut node = Simnode::start_program(&program, "--scenario mix --rate 100000 --count 250000");
    let mut recorder = follow(&archive, &program, "--rotate 100KiB");
    node.fire();
    let fired: u64 = node.tally().tracepoints().values().sum();
    recorder.read_log_until("the node has ended", 1);
    let kept = complete(&archive);
    let before: Vec<_> = kept.iter().map(|file| fs::read(file).unwrap()).collect();
    // It tries again and again, and logs that once.
    thread::sleep(Duration::from_secs(2));
    disk.resize("1g");
    recorder.read_log_until("recordings are written to", 1);
    recorder.terminate();
    assert!(recorder.wait().success(), "{}", recorder.log);
    assert_eq!(recorder.log.matches("No space left on device").count(), 1, "{}", recorder.log);

    let items: Vec<_> = complete(&archive).iter().flat_map(|file| items(file, true)).collect();
    let told: u64 = items.iter().map(|(_, item)| if let Item::Lost(count, _) = item { *count } else { 0 }).sum();
    let events = items.iter().filter(|(_, item)| matches!(item, Item::Ping(_) | Item::Other)).count() as u64;
    assert_eq!(events + told, fired, "each is in a file or told as lost");
    assert!(told > 0 && parts(&archive).is_empty(), "{told}");
    assert!(kept.iter().zip(before).all(|(file, before)| fs::read(file).unwrap() == before), "what was complete stays");
}

#[test]
fn a_disk_that_stays_full_is_an_error_and_leaves_what_can_be_completed() {
    let Some(disk) = Disk::mount("200k") else { return println!("skipped: nothing can be mounted here") };
    let archive = disk.0.path().join("archive");
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000 --count 20000");
    let arguments = format!("record {} --rotate 64KiB --events all --pid {}", archive.display(), node.pid());
    let mut recorder = Attached::spawn(bitcointap(&arguments));
    node.fire();
    drop(node.tally());
    let status = recorder.wait();
    assert_eq!(status.code(), Some(1), "{}", recorder.log);
    let last = recorder.log.lines().last().unwrap();
    let words = format!("bitcointap: cannot write recordings to {}: No space left on device", archive.display());
    assert!(last.starts_with(&words) && last.ends_with(" events are lost"), "{last}");

    disk.resize("1g");
    let mut node = Simnode::start("v31", "--rate 2000 --count 200");
    let arguments = format!("record {} --rotate 1h --events all --pid {}", archive.display(), node.pid());
    let mut recorder = Attached::spawn(bitcointap(&arguments));
    node.fire();
    drop(node.tally());
    assert!(recorder.wait().success(), "{}", recorder.log);
    assert!(parts(&archive).is_empty());
    let files = complete(&archive);
    assert!(files.len() >= 2, "{files:?}");
    files.iter().for_each(|file| drop(replayed(file)));
}

#[test]
fn the_oldest_recordings_are_removed_and_nothing_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let strangers =
        ["20200101T000000Z.recording", "notes.recording", "20200101T000000Z.ndjson", "20200102T000000Z.recording.part"];
    strangers.iter().for_each(|name| fs::write(archive.join(name), "theirs").unwrap());
    let mut node = Simnode::start("v31", "--scenario mix --rate 5000");
    let arguments =
        format!("record {} --rotate 16KiB --keep 30d,100KiB --events all --pid {}", archive.display(), node.pid());
    let mut recorder = Attached::spawn(bitcointap(&arguments));
    node.fire();
    let oldest = eventually("the first file", || complete(&archive).into_iter().nth(1));
    eventually("its end", || (!oldest.exists()).then_some(()));
    more(&archive, ".recording", 0);
    recorder.read_log_until("as --keep says", 1);
    eventually("another file's end", || {
        let oldest = complete(&archive).into_iter().nth(1)?;
        eventually("its end", || (!oldest.exists()).then_some(()));
        Some(())
    });
    recorder.terminate();
    assert!(recorder.wait().success(), "{}", recorder.log);
    assert!(strangers.iter().all(|name| fs::read_to_string(archive.join(name)).unwrap() == "theirs"));
    assert_eq!(recorder.log.matches("as --keep says").count(), 1, "{}", recorder.log);
    let bytes: u64 = complete(&archive)[1..].iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 100 << 10, "{bytes}");
    assert!(recorder.log.contains("the end of recordings in"), "{}", recorder.log);
}

#[test]
fn one_recorder_at_a_time_writes_into_a_directory_that_it_may_use() {
    let directory = tempfile::tempdir().unwrap();
    let node = Simnode::start("v31", "");
    let record = |path: &Path| format!("record {} --rotate 1h --pid {}", path.display(), node.pid());
    let archive = directory.path().join("archive");
    let mut recorder = Attached::spawn(bitcointap(&record(&archive)));
    let refused = |arguments: &str| {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
    };
    let name = archive.display();
    assert_eq!(
        refused(&record(&archive)),
        format!(
            "bitcointap: cannot record into {name}: another bitcointap writes into this directory: end that one, or name another directory"
        )
    );
    recorder.terminate();
    assert!(recorder.wait().success());
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refused(&record(&file)).ends_with("it is no directory: name one, or one that does not exist yet"));
    // Root may write there now, but not without capabilities.
    std::os::unix::fs::chown(&archive, Some(65534), Some(65534)).unwrap();
    assert!(refused(&record(&archive)).contains("Permission denied (os error 13); its owner and mode must allow"));
}
