//! A spool with destinations that take only as much as they have room for.

use std::sync::{Arc, Mutex};

use super::{destination::BUFFER_BYTES, *};
use crate::{
    kernel_side::{
        types::{attempting_aps_record, event_header},
        write,
    },
    selection::Condition,
    tracepoint::Tracepoint,
};

const APS: Tracepoint = Tracepoint::CoinSelectionAttemptingApsCreateTx;

/// Takes as many bytes as it has room for.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    taken: Vec<u8>,
    room: usize,
    /// How many bytes at the end belong to no whole line.
    begun: usize,
    /// How many bytes of a torn line it had at each failure.
    torn: Vec<usize>,
    /// How many bytes each call handed over.
    handed: Vec<usize>,
}

impl Disk {
    fn with_room(room: usize) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().room = room;
        disk
    }

    /// Each line without its time.
    fn events(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().taken.clone()).unwrap();
        assert!(text.is_empty() || text.ends_with("}\n"), "{text}");
        text.lines().map(event).collect()
    }
}

fn event(line: &str) -> String {
    line.split_once(r#""event":"#).unwrap().1.trim_end_matches(['}', '\n']).to_owned()
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

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        let taken = self.write(records.bytes())?;
        let mut state = self.0.lock().unwrap();
        state.handed.push(records.bytes().len());
        state.begun = records.end_within(taken).map_or(state.begun + taken, |end| taken - end);
        Ok(taken)
    }

    fn has_failed(&mut self) -> bool {
        let mut state = self.0.lock().unwrap();
        let torn = std::mem::take(&mut state.begun);
        let whole = state.taken.len() - torn;
        state.taken.truncate(whole);
        state.torn.push(torn);
        true
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Publishes each record as a message, as many as it has room for.
#[derive(Clone, Debug, Default)]
struct Broker(Arc<Mutex<Published>>);

#[derive(Debug, Default)]
struct Published {
    messages: Vec<(Line, String)>,
    room: usize,
}

impl Destination for Broker {
    fn name(&self) -> String {
        "a broker".into()
    }

    fn wants_whole_records(&self) -> bool {
        true
    }

    fn take(&mut self, records: &mut Records) -> io::Result<usize> {
        let mut published = self.0.lock().unwrap();
        let mut bytes = 0;
        for record in records.iter().take(published.room) {
            bytes += record.bytes.len();
            published.messages.push((record.line, String::from_utf8(record.bytes.into()).unwrap()));
            published.room -= 1;
        }
        if bytes == 0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(bytes) }
    }

    fn has_failed(&mut self) -> bool {
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

/// The length of a line, for a wallet with a name of one letter.
fn line_bytes() -> usize {
    r#"{"timestamp":0,"timestamp_subsec_micros":0,"event":"#.len() + line("w").len() + "}}}}}\n".len()
}

fn wanted() -> Selection {
    Selection::of([APS].into_iter().collect())
}

fn start(disk: &Disk, count: Option<u64>) -> Spool {
    Spool::start_to(disk.clone(), JsonLines::default(), &wanted(), count).unwrap()
}

/// Waits until it fails, or works again.
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
    // What comes meanwhile waits in the queue.
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
    // There is some room, but not enough for the line of the gap.
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
    let output = Spool::start(disk.clone(), JsonLines::default(), &wanted(), None).unwrap();
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
fn what_a_destination_of_messages_does_not_take_is_lost_and_told() {
    let broker = Broker::default();
    broker.0.lock().unwrap().room = 2;
    let output = Spool::start_to(broker.clone(), JsonLines::default(), &wanted(), None).unwrap();
    output.push(&batch(&["a", "b", "c", "d"]));
    wait_for(&output, true);
    assert_eq!((output.lines_written(), output.lines_lost()), (2, 2));
    broker.0.lock().unwrap().room = 10;
    wait_for(&output, false);
    output.push(&batch(&["e"]));
    let outcome = output.finish(|_| false);
    assert_eq!((outcome.written, outcome.lost, outcome.failure.is_none()), (4, 2, true));
    let published = broker.0.lock().unwrap();
    let gap = Lost { tracepoint: APS, reason: LossReason::WriteFailed, count: 2 };
    let of = Line::Event(APS);
    let lines: Vec<_> = published.messages.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [of, of, Line::Gap(gap), of]);
    let events: Vec<_> = published.messages.iter().map(|(_, text)| event(text)).collect();
    assert_eq!(events, [line("a"), line("b"), lost("write_failed", 2), line("e")]);
}

#[test]
fn a_record_larger_than_the_buffer_comes_in_parts_or_whole_as_is_wanted() {
    // Each character takes two bytes in JSON.
    let long = "\"".repeat(60_000);
    let wallets = ["a", &long, "b"];
    let expected = ["a", &long.replace('"', r#"\""#), "b"].map(line);

    let disk = Disk::with_room(usize::MAX);
    let output = start(&disk, None);
    output.push(&batch(&wallets));
    assert_eq!(output.finish(|_| false).written, 3);
    assert!(disk.events() == expected);
    // The whole record comes first, alone.
    let (short, large) = (line_bytes(), line_bytes() - 1 + 2 * long.len());
    assert_eq!(disk.0.lock().unwrap().handed, [short, BUFFER_BYTES, large - BUFFER_BYTES + short]);

    let broker = Broker::default();
    broker.0.lock().unwrap().room = usize::MAX;
    let output = Spool::start_to(broker.clone(), JsonLines::default(), &wanted(), None).unwrap();
    output.push(&batch(&wallets));
    assert_eq!(output.finish(|_| false).written, 3);
    let published = broker.0.lock().unwrap();
    assert!(published.messages.iter().map(|(_, text)| event(text)).eq(expected));
}

#[test]
fn a_record_that_fails_in_a_later_part_is_lost_whole() {
    let long = "x".repeat(65_535);
    let disk = Disk::with_room(line_bytes() + BUFFER_BYTES + 3);
    let output = start(&disk, None);
    output.push(&batch(&["a", &long, "b"]));
    wait_for(&output, true);
    assert_eq!(disk.events(), [line("a")]);
    disk.0.lock().unwrap().room = 10_000;
    wait_for(&output, false);
    let outcome = output.finish(|_| false);
    assert_eq!(disk.events(), [line("a"), lost("write_failed", 2)]);
    assert_eq!((outcome.written, outcome.lost), (2, 2));
    assert_eq!(disk.0.lock().unwrap().torn, [BUFFER_BYTES + 3]);
}

#[test]
fn each_record_is_asked_about_once() {
    let disk = Disk::with_room(usize::MAX);
    let wanted = wanted().not(Condition::Peer(7));
    let output = Spool::start_to(disk.clone(), JsonLines::default(), &wanted, None).unwrap();
    let asked = Arc::clone(&output.shared.filter.asked);
    output.push(&batch(&["a", "b", "c"]));
    assert_eq!(output.finish(|_| false).written, 3);
    assert_eq!(asked.load(Relaxed), 3);
}
