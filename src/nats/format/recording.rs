//! Recordings of version 3, published as they are written. In: parts of batches, runs, counters. Out: messages whose payloads are, one
//! after another, a recording. A message has a block; or the end of the group before, a group's header and its opening. The last message
//! of a publisher has the end of a group.
//!
//! A record of the spool is `SUBJECT NAME=VALUE NAME=VALUE…`, a newline, and the payload. `NAME` is a header's.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{HEADERS, MaxPayload};
use crate::{
    capture::{Counters, Run},
    event::{Event, Time},
    nats::{heartbeat::Heartbeat, subjects::Subjects},
    recording::{self, Parts, Sums},
    selection::Selection,
    spool::{Format, Line, Part, Sink},
    tracepoint::Tracepoint,
};

/// A new group begins when one is so old: a reader who comes late waits for it.
const GROUP_INTERVAL: Duration = Duration::from_secs(2);

/// Blocks of a recording.
pub(in crate::nats) struct RecordingFormat {
    parts: Parts,
    subjects: Subjects,
    /// The subject of this run.
    subject: String,
    max_payload: MaxPayload,
    heartbeat: Arc<Heartbeat>,
    /// How many connections there were to servers, and when the last group began.
    connections: Arc<AtomicU64>,
    connection: u64,
    /// When the group began. `None` if another must begin, since a reader cannot have all of this one.
    begun: Option<Instant>,
    /// Whether any group has begun, and whether it is of this run.
    has_begun: bool,
    continues: bool,
    /// What is counted, and will be told once more, since the first time is lost.
    retold: [Counters; Tracepoint::COUNT],
    block: Vec<u8>,
    framed: Vec<u8>,
}

impl RecordingFormat {
    pub(in crate::nats) fn new(
        wanted: &Selection,
        subjects: Subjects,
        max_payload: MaxPayload,
        heartbeat: Arc<Heartbeat>,
        connections: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        Ok(Self {
            parts: Parts::new(wanted)?,
            subject: of_run(&subjects, None),
            subjects,
            max_payload,
            heartbeat,
            connections,
            connection: 0,
            begun: None,
            has_begun: false,
            continues: false,
            retold: Default::default(),
            block: Vec::new(),
            framed: Vec::new(),
        })
    }

    /// Begins a group if it is time. `before` are the counters of those who begin to read with it.
    fn be_in_group(&mut self, out: &mut impl Sink, before: &Sums) -> io::Result<()> {
        let connection = self.connections.load(Relaxed);
        let is_new = self.begun.is_none_or(|begun| begun.elapsed() >= GROUP_INTERVAL);
        if !is_new && connection == self.connection {
            return Ok(());
        }
        let end = if self.has_begun { &recording::END_OF_GROUP[..] } else { &[] };
        let opening = self.parts.entries.opening_at(self.continues, before)?;
        let piece = [end, &recording::beginning(), &opening].concat();
        let heads = format!(" Bitcointap-Group={}", self.parts.entries.group());
        self.write(out, &heads, &piece)?;
        out.end(Line::Frame);
        (self.begun, self.connection) = (Some(Instant::now()), connection);
        (self.has_begun, self.continues) = (true, true);
        Ok(())
    }

    /// Writes records with these bytes, all but the end of the last one.
    fn write(&self, out: &mut impl Sink, heads: &str, piece: &[u8]) -> io::Result<()> {
        let most = self.max_payload.load(Relaxed).saturating_sub(HEADERS).max(1);
        let parts = piece.len().div_ceil(most);
        for (place, part) in piece.chunks(most).enumerate() {
            if place > 0 {
                out.end(Line::Frame);
            }
            match parts {
                1 => writeln!(out, "{}{heads} ", self.subject)?,
                _ => writeln!(out, "{}{heads} Bitcointap-Part={}/{parts}", self.subject, place + 1)?,
            }
            out.write_all(part)?;
        }
        Ok(())
    }
}

fn of_run(subjects: &Subjects, run: Option<&Run>) -> String {
    format!("{}.recording", subjects.of_run(run))
}

impl Format for RecordingFormat {
    const RECORDS: &'static str = "recorded events";

    fn takes_parts(&self) -> bool {
        true
    }

    fn run_begins(&mut self, run: &Run) {
        self.heartbeat.begins(&self.subjects.of_run(Some(run)));
        self.subject = of_run(&self.subjects, Some(run));
        self.parts.run_begins(run);
        (self.begun, self.continues) = (None, false);
        // What is lost of the run before, and not told yet, is told as of this one.
        self.parts.entries.count(&self.retold);
    }

    /// Takes no single events.
    fn event(&mut self, _: &mut impl io::Write, _: &Event<'_>, _: Line) -> io::Result<()> {
        Ok(())
    }

    fn part(&mut self, out: &mut impl Sink, part: &Part<'_>) -> io::Result<()> {
        if !self.parts.has_run() {
            return Ok(());
        }
        // Who begins to read with this part is told what is lost before it, too: as if it had fired in this part.
        let mut before = self.parts.entries.sums_mut().clone();
        for (counters, retold) in before.counters.iter_mut().zip(&self.retold) {
            *counters = counters.since(retold);
        }
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let mut result = self.parts.add(part, &mut block);
        if !block.is_empty() {
            result = result.and_then(|()| self.block(out, &block, part, &before));
        }
        if result.is_ok() {
            self.retold = Default::default();
        }
        block.shrink_to(1 << 20);
        self.block = block;
        result
    }

    fn end(&mut self, out: &mut impl io::Write, _: Time) -> io::Result<()> {
        if std::mem::take(&mut self.has_begun) {
            writeln!(out, "{} ", self.subject)?;
            out.write_all(&recording::END_OF_GROUP)?;
        }
        Ok(())
    }

    fn given_up(&mut self, line: Line) {
        match line {
            Line::Gap(gap) => {
                // What is told once more counts once more.
                self.parts.change_lost(&gap, |lost| lost.saturating_sub(gap.count));
                let retold = &mut self.retold[gap.tracepoint.index()];
                retold.fired = retold.fired.saturating_add(gap.count);
                if gap.reason.is_of_kernel() {
                    retold.lost[gap.reason as usize] += gap.count;
                }
            }
            Line::Event(tracepoint) => {
                self.retold[tracepoint.index()].fired += 1;
                let delivered = &mut self.parts.entries.sums_mut().delivered[tracepoint.index()];
                *delivered = delivered.saturating_sub(1);
            }
            Line::Frame => {}
        }
        self.begun = None;
        self.parts.tell_again();
    }
}

impl RecordingFormat {
    fn block(&mut self, out: &mut impl Sink, block: &[u8], part: &Part<'_>, before: &Sums) -> io::Result<()> {
        self.be_in_group(out, before)?;
        let mut framed = std::mem::take(&mut self.framed);
        let result = self.parts.entries.frame(block, &mut framed).and_then(|()| self.write(out, "", &framed));
        framed.clear();
        framed.shrink_to(1 << 20);
        self.framed = framed;
        result?;
        let mut any = false;
        part.lines(|line| {
            any = true;
            out.end(line);
        });
        if !any {
            out.end(Line::Frame);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        capture::{Batch, Counted},
        event::Kind,
        kernel_side::{
            types::{added_record, event_header, message_record},
            write,
        },
        recording::{Entry, Reader},
        selection::Condition,
        spool::{Destination, Records, Spool},
        tracepoint::LossReason,
    };

    /// Keeps payloads, or fails.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<(Vec<Vec<u8>>, bool)>>);

    impl Kept {
        fn fail(&self, fails: bool) {
            self.0.lock().unwrap().1 = fails;
        }

        fn joined(&self, from: usize) -> Vec<u8> {
            self.0.lock().unwrap().0[from..].concat()
        }
    }

    impl Destination for Kept {
        fn name(&self) -> String {
            "kept".into()
        }

        fn wants_whole_records(&self) -> bool {
            true
        }

        fn take(&mut self, records: &mut Records) -> io::Result<usize> {
            let (kept, fails) = &mut *self.0.lock().unwrap();
            if *fails {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            for record in records.iter().filter(|record| !record.bytes.is_empty()) {
                let newline = record.bytes.iter().position(|&byte| byte == b'\n').unwrap();
                kept.push(record.bytes[newline + 1..].to_vec());
            }
            Ok(records.bytes().len())
        }

        fn has_failed(&mut self) -> bool {
            true
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PING: Tracepoint = Tracepoint::NetInboundMessage;
    const ADDED: Tracepoint = Tracepoint::MempoolAdded;

    fn batch(pings: u64, added: u64) -> Arc<Batch> {
        let header = |of: Tracepoint| event_header { boot_ns: 9, tracepoint: of as u8, ..Default::default() };
        let mut batch = Batch::default();
        for _ in 0..pings {
            batch.push(&write(message_record { header: header(PING), ..Default::default() }, b""));
        }
        for _ in 0..added {
            batch.push(&write(added_record { header: header(ADDED), ..Default::default() }, b""));
        }
        (batch.added[PING.index()].fired, batch.added[ADDED.index()].fired) = (pings, added);
        Arc::new(batch)
    }

    fn spool(kept: &Kept, wanted: &Selection) -> Spool {
        let subjects = Subjects::new("a", Some("b")).unwrap();
        let most = Arc::new(std::sync::atomic::AtomicUsize::new(1 << 20));
        let heartbeat = Arc::new(Heartbeat::new("run".into()));
        let format = RecordingFormat::new(wanted, subjects, most, heartbeat, Arc::default()).unwrap();
        let mut spool = Spool::start_any(kept.clone(), format, wanted, None).unwrap();
        spool.run_begins(&Arc::new(Run::new(7, "/bitcoind".into(), 1.5, "net,mempool".parse().unwrap())));
        spool
    }

    /// How many events and gaps a reader gets, and what it counts: fired, filtered, lost.
    fn read(recording: &[u8]) -> (u64, u64, [u64; 3]) {
        let all = Selection::of(Tracepoint::all().collect());
        let (mut events, mut gaps, mut sums) = (0, 0, Counters::default());
        let mut count = |added: &[Counters; Tracepoint::COUNT]| added.iter().for_each(|it| sums = sums.plus(it));
        for entry in Reader::new(recording, &all).unwrap() {
            match entry.unwrap() {
                Entry::Run(run) => assert!(!run.attached.is_empty()),
                Entry::Batch(batch) => {
                    batch.each(|event| match event.kind {
                        Kind::Lost(lost) => {
                            gaps += lost.count;
                            // No event follows these. They have the time of their report.
                            assert!(lost.reason != LossReason::Stopped || event.time.0 > 1_700_000_000 * 1_000_000_000);
                        }
                        _ => events += 1,
                    });
                    count(batch.added());
                }
                Entry::End(counted) => count(&counted.added),
            }
        }
        (events, gaps, [sums.fired, sums.filtered, sums.lost_in_all()])
    }

    fn wait_until(is_so: impl Fn() -> bool) {
        while !is_so() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_not_selected_counts_as_filtered() {
        let kept = Kept::default();
        let wanted = Selection::of("net,mempool".parse().unwrap()).only(Condition::Peer(0));
        let spool = spool(&kept, &wanted);
        for batch in [batch(2, 3), batch(0, 4), batch(5, 0), batch(0, 1)] {
            spool.push(&batch);
        }
        let mut counted = Counted::default();
        counted.added[ADDED.index()].fired = 6;
        counted.added[ADDED.index()].filtered = 6;
        spool.run_ended(&counted.untold);
        spool.run_counted(&counted.added);
        let outcome = spool.finish(|_| false);
        assert_eq!((outcome.written, outcome.lost), (7, 0));
        // Events of the mempool are of no peer.
        assert_eq!(read(&kept.joined(0)), (7, 0, [21, 14, 0]));
    }

    #[test]
    fn what_is_lost_is_told_and_counted_once_whenever_a_reader_begins() {
        let kept = Kept::default();
        let wanted = Selection::of("net,mempool".parse().unwrap());
        let spool = spool(&kept, &wanted);
        spool.push(&batch(2, 3));
        wait_until(|| spool.lines_written() == 5);
        kept.fail(true);
        spool.push(&batch(4, 0));
        wait_until(|| spool.lines_lost() == 4);
        spool.push(&batch(10, 10));
        let before = kept.0.lock().unwrap().0.len();
        kept.fail(false);
        wait_until(|| spool.lines_written() >= 25);
        let unread = batch(7, 0);
        spool.lose(&unread, LossReason::Stopped);
        spool.run_counted(&Default::default());
        let outcome = spool.finish(|_| false);
        assert_eq!(outcome.lost, 4 + 7);
        assert_eq!(read(&kept.joined(0)), (25, 11, [36, 0, 11]));
        // Who begins to read after the loss is told of it.
        let late = kept.joined(before);
        assert_eq!(read(late.strip_prefix(&recording::END_OF_GROUP).unwrap()), (20, 11, [31, 0, 11]));
    }
}
