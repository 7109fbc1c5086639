//! A destination that takes as many bytes as it has room for, and what its output makes of that.

use std::sync::{Arc, Mutex};

use super::*;
use crate::record::{
    types::{attempting_aps_record, event_header},
    write,
};
use crate::{selection::Condition, tracepoint::Tracepoint};

const APS: Tracepoint = Tracepoint::CoinSelectionAttemptingApsCreateTx;

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    taken: Vec<u8>,
    room: usize,
    /// Bytes of torn lines, by failure.
    torn: Vec<u64>,
}

impl Disk {
    fn with_room(room: usize) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().room = room;
        disk
    }

    /// What follows the time in each line.
    fn events(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().taken.clone()).unwrap();
        assert!(text.is_empty() || text.ends_with("}\n"), "{text}");
        let event = |line: &str| line.split_once(r#""event":"#).unwrap().1.trim_end_matches('}').to_owned();
        text.lines().map(event).collect()
    }
}

impl Write for Disk {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        let taken = buffer.len().min(state.room);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.taken.extend_from_slice(&buffer[..taken]);
        state.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for Disk {
    fn name(&self) -> String {
        "a disk".into()
    }

    fn has_failed(&mut self, torn: u64) -> bool {
        let mut state = self.0.lock().unwrap();
        let whole = state.taken.len() - torn as usize;
        state.taken.truncate(whole);
        state.torn.push(torn);
        true
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event for each wallet.
fn batch(wallets: &[&str]) -> Arc<Batch> {
    let mut batch = Batch::default();
    for wallet in wallets {
        let header =
            event_header { tracepoint: APS.index() as u8, text_length: wallet.len() as u16, ..Default::default() };
        batch.push(&write(attempting_aps_record { header }, wallet.as_bytes()));
    }
    Arc::new(batch)
}

fn line(wallet: &str) -> String {
    format!(r#"{{"CoinSelection":{{"event":{{"AttemptingApsCreateTx":{{"wallet":"{wallet}""#)
}

fn lost(reason: &str, count: u64) -> String {
    format!(r#"{{"Lost":{{"tracepoint":"{APS}","reason":"{reason}","count":{count}"#)
}

/// Bytes of a line of a wallet whose name has one letter.
fn line_bytes() -> usize {
    r#"{"timestamp":0,"timestamp_subsec_micros":0,"event":"#.len() + line("w").len() + "}}}}}\n".len()
}

fn start(disk: &Disk, count: Option<u64>) -> Spool {
    let selection = Selection::of([APS].into_iter().collect());
    Spool::start_to(disk.clone(), JsonLines::default(), &selection, count).unwrap()
}

/// Until it fails, or works again.
fn wait_for(output: &Spool, is_interrupted: bool) {
    while output.is_interrupted() != is_interrupted {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_lost_is_told_when_it_works_again_and_no_line_is_torn() {
    let disk = Disk::with_room(line_bytes() + 10);
    let output = start(&disk, None);
    output.push(&batch(&["a", "b", "c"]));
    wait_for(&output, true);
    assert_eq!(disk.events(), [line("a")]);
    assert_eq!((output.lines_written(), output.lines_lost()), (1, 2));
    // What comes meanwhile waits.
    output.push(&batch(&["d"]));
    disk.0.lock().unwrap().room = 10_000;
    wait_for(&output, false);
    output.push(&batch(&["e"]));
    let outcome = output.finish(|_| false);
    assert_eq!(disk.events(), [line("a"), lost("write_failed", 2), line("d"), line("e")]);
    assert_eq!((outcome.written, outcome.lost), (4, 2));
    assert!(outcome.failure.is_none());
    assert_eq!(disk.0.lock().unwrap().torn, [10]);
}

#[test]
fn what_is_told_in_vain_is_told_again() {
    let disk = Disk::with_room(5);
    let output = start(&disk, None);
    output.push(&batch(&["a"]));
    wait_for(&output, true);
    // Some room, but not for the line that tells.
    disk.0.lock().unwrap().room = 7;
    while disk.0.lock().unwrap().torn.len() < 2 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(output.is_interrupted());
    disk.0.lock().unwrap().room = 10_000;
    output.push(&batch(&["b"]));
    let outcome = output.finish(|_| false);
    assert_eq!(disk.events(), [lost("write_failed", 1), line("b")]);
    assert_eq!((outcome.written, outcome.lost, outcome.failure.is_none()), (2, 1, true));
    assert_eq!(disk.0.lock().unwrap().torn, [5, 7]);
}

#[test]
fn lost_lines_do_not_count() {
    let disk = Disk::with_room(line_bytes());
    let output = start(&disk, Some(3));
    output.push(&batch(&["a", "b", "c"]));
    wait_for(&output, true);
    disk.0.lock().unwrap().room = 10_000;
    output.push(&batch(&["d", "e", "f"]));
    while !output.has_ended() {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(disk.events(), [line("a"), lost("write_failed", 2), line("d"), line("e")]);
}

#[test]
fn what_does_not_work_again_by_the_end_is_a_failure() {
    let disk = Disk::with_room(0);
    let output = start(&disk, None);
    output.push(&batch(&["a", "b"]));
    wait_for(&output, true);
    output.push(&batch(&["c"]));
    let outcome = output.finish(|_| false);
    assert_eq!((outcome.written, outcome.lost), (0, 3));
    assert_eq!(outcome.failure.unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.events(), [""; 0]);
}

#[test]
fn a_plain_writer_ends_with_its_first_failure() {
    let disk = Disk::with_room(line_bytes());
    let selection = Selection::of([APS].into_iter().collect());
    let output = Spool::start(disk.clone(), JsonLines::default(), &selection, None).unwrap();
    output.push(&batch(&["a", "b"]));
    while !output.has_ended() {
        thread::sleep(Duration::from_millis(1));
    }
    disk.0.lock().unwrap().room = 10_000;
    output.push(&batch(&["c"]));
    let outcome = output.finish(|_| false);
    assert_eq!((outcome.written, outcome.lost), (1, 2));
    assert_eq!(outcome.failure.unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.events(), [line("a")]);
}

#[test]
fn each_record_is_asked_about_once() {
    let disk = Disk::with_room(usize::MAX);
    let wanted = Selection::of([APS].into_iter().collect()).not(Condition::Peer(7));
    let output = Spool::start_to(disk.clone(), JsonLines::default(), &wanted, None).unwrap();
    let asked = Arc::clone(&output.shared.filter.asked);
    output.push(&batch(&["a", "b", "c"]));
    assert_eq!(output.finish(|_| false).written, 3);
    assert_eq!(asked.load(Relaxed), 3);
}
