//! Which calls outputs get, and what happens to the others when one fails.

use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    event::Kind,
    kernel_side::{
        types::{added_record, event_header},
        write,
    },
};

type Log = Rc<RefCell<Vec<String>>>;

/// Writes down each call.
#[derive(Default)]
struct Noting {
    name: &'static str,
    log: Log,
    is_optional: bool,
    fails: bool,
    is_done: bool,
    patience: Option<Duration>,
    written: Option<Written>,
}

impl Noting {
    fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: Rc::clone(log), ..Self::default() }
    }

    fn note(&self, what: &str) -> Result {
        self.log.borrow_mut().push(format!("{} {what}", self.name));
        if self.fails { Err(format!("{} is broken", self.name).into()) } else { Ok(()) }
    }
}

impl Output for Noting {
    fn name(&self) -> &str {
        self.name
    }

    fn is_required(&self) -> bool {
        !self.is_optional
    }

    fn waits(&mut self, waiting: &Waiting<'_>) {
        let _ = self.note(&format!("waits: {} {}", waiting.why, waiting.has_failed));
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        self.note(&format!("begins {}", run.pid))
    }

    fn observer<'a>(&'a mut self, _: &'a Batch) -> Option<Observer<'a>> {
        Some(Box::new(|event| {
            let Kind::Mempool { .. } = event.kind else { panic!("another event") };
            let _ = self.note("event");
        }))
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.note(&format!("batch {}", batch.len()))
    }

    fn unread(&mut self, batch: &Batch) {
        let _ = self.note(&format!("unread {}", batch.len()));
    }

    fn run_ends(&mut self, _: &Counted, end: End) -> Result {
        self.note(&format!("ends {end:?}"))
    }

    fn idle(&mut self) {
        let _ = self.note("idle");
    }

    fn over(&mut self) {
        let _ = self.note("over");
    }

    fn finish(&mut self, _: &Stop) -> Result {
        self.note("finish")
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn patience(&self) -> Duration {
        self.patience.unwrap_or(DRAIN_INTERVAL)
    }

    fn written(&self) -> Option<Written> {
        self.written
    }

    fn others(&mut self, others: &[(&str, Written)]) {
        let _ = self.note(&format!("others {others:?}"));
    }
}

fn run() -> Run {
    Run::new(7, "/bitcoind".into(), 0.0, "mempool".parse().unwrap())
}

fn batch(events: usize, fired: u64) -> Arc<Batch> {
    let header = event_header { tracepoint: Tracepoint::MempoolAdded.index() as u8, ..Default::default() };
    let mut batch = Batch::default();
    (0..events).for_each(|_| batch.push(&write(added_record { header, ..Default::default() }, b"")));
    batch.added[Tracepoint::MempoolAdded.index()].fired = fired;
    Arc::new(batch)
}

fn taken(log: &Log) -> Vec<String> {
    log.take()
}

fn outputs<'a>(outputs: impl IntoIterator<Item = Noting>) -> Outputs<'a> {
    outputs.into_iter().fold(Outputs::default(), Outputs::with)
}

#[test]
fn all_are_told_of_a_run_in_order_and_each_event_is_decoded_once() {
    let log = Log::default();
    let mut outputs = outputs([Noting::new("a", &log), Noting::new("b", &log)]);
    outputs.waits(&Waiting { why: "none runs", has_failed: false });
    outputs.idle();
    outputs.run_begins(&run()).unwrap();
    outputs.batch(&batch(2, 2)).unwrap();
    outputs.batch(&batch(0, 0)).unwrap();
    outputs.unread(&batch(1, 1));
    outputs.run_ends(&Counted::default(), End::Requested).unwrap();
    outputs.over();
    outputs.finish(&Stop::new(None).unwrap()).unwrap();
    let both = |what: &str| [format!("a {what}"), format!("b {what}")];
    let expected = [
        "waits: none runs false",
        "idle",
        "begins 7",
        "event",
        "event",
        "batch 2",
        "batch 0",
        "unread 1",
        "ends Requested",
        "over",
        "finish",
    ];
    assert_eq!(taken(&log), expected.map(both).concat());
}

#[test]
fn one_that_is_not_required_fails_alone() {
    let log = Log::default();
    let broken = Noting { fails: true, is_optional: true, ..Noting::new("broken", &log) };
    let mut outputs = outputs([broken, Noting::new("b", &log)]);
    outputs.run_begins(&run()).unwrap();
    outputs.batch(&batch(1, 1)).unwrap();
    outputs.run_ends(&Counted::default(), End::NodeEnded).unwrap();
    let expected = ["broken begins 7", "b begins 7", "b event", "b batch 1", "b ends NodeEnded"];
    assert_eq!(taken(&log), expected);
    // A failed output is finished too: it may have to clean up.
    outputs.finish(&Stop::new(None).unwrap()).unwrap();
    assert_eq!(taken(&log), ["broken finish", "b finish"]);
}

#[test]
fn everything_ends_with_one_that_is_required() {
    let log = Log::default();
    let broken = || Noting { fails: true, ..Noting::new("broken", &log) };
    let mut failing = outputs([broken(), Noting::new("b", &log)]);
    assert_eq!(failing.run_begins(&run()).unwrap_err().to_string(), "broken is broken");
    let mut failing = outputs([broken(), Noting::new("b", &log)]);
    assert_eq!(failing.batch(&batch(0, 0)).unwrap_err().to_string(), "broken is broken");
    taken(&log);
    let error = outputs([broken(), Noting::new("b", &log)]).finish(&Stop::new(None).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "broken is broken");
    assert_eq!(taken(&log), ["broken finish", "b finish"], "the others are finished all the same");

    let done = |is_optional| {
        outputs([Noting { is_done: true, is_optional, ..Noting::new("a", &log) }, Noting::new("b", &log)]).are_done()
    };
    assert_eq!((done(false), done(true)), (true, false));
}

#[test]
fn what_a_run_counts_is_summed_up_here_alone() {
    let mut outputs = Outputs::default();
    let fired = |outputs: &Outputs<'_>| outputs.counted().iter().sum::<Counters>().fired;
    outputs.run_begins(&run()).unwrap();
    outputs.batch(&batch(1, 5)).unwrap();
    outputs.unread(&batch(1, 7));
    let counted = Counted { added: batch(0, 11).added, ..Counted::default() };
    outputs.run_ends(&counted, End::Requested).unwrap();
    assert_eq!(fired(&outputs), 23);
    outputs.run_begins(&run()).unwrap();
    assert_eq!(fired(&outputs), 0);
}

#[test]
fn they_are_drained_as_soon_as_one_wants_and_once_a_second_in_any_case() {
    let patience = |of: &[u64]| {
        let log = Log::default();
        let noting = |&ms| Noting { patience: Some(Duration::from_millis(ms)), ..Noting::new("a", &log) };
        outputs(of.iter().map(noting)).patience()
    };
    assert_eq!(patience(&[]), DRAIN_INTERVAL);
    assert_eq!(patience(&[300, 20, 900]), Duration::from_millis(20));
    assert_eq!(patience(&[u64::MAX]), LONGEST_PATIENCE);
}

#[test]
fn each_is_told_what_others_have_written() {
    let log = Log::default();
    let written = Written { records: 3, lost: 1, ..Written::default() };
    let writing = Noting { written: Some(written), ..Noting::new("file", &log) };
    let mut outputs = outputs([Noting::new("metrics", &log), writing]);
    outputs.idle();
    let told = format!("others {:?}", [("file", written)]);
    assert_eq!(taken(&log)[2..], [format!("metrics {told}"), format!("file {told}")]);
}

#[cfg(feature = "metrics")]
#[test]
fn events_that_nobody_waits_for_are_counted_once_near_the_end_of_each_second() {
    for (now, expected) in [(0, 950), (5_949, 1), (5_950, 1_000), (5_951, 999), (5_999, 951)] {
        assert_eq!(
            until_counted(crate::event::Moment(now * 1_000_000)),
            Duration::from_millis(expected),
            "at {now} ms"
        );
    }
}

#[test]
fn another_thread_changes_the_list() {
    let log = Log::default();
    let (change, changes) = std::sync::mpsc::channel();
    let written = |records| Some(Written { records, lost: 1, ..Written::default() });
    let first = Noting { written: written(3), ..Noting::new("a", &log) };
    let mut outputs = outputs([first, Noting::new("b", &log)]).changed_by(changes);
    outputs.run_begins(&run()).unwrap();
    outputs.batch(&batch(0, 0)).unwrap();
    let told = |records, lost| {
        let shared = Arc::new(std::sync::Mutex::new(Vec::new()));
        let output = Sent { told: Arc::clone(&shared), written: Written { records, lost, ..Written::default() } };
        (shared, Some(Box::new(output) as Box<dyn Output + Send>))
    };
    let (second, output) = told(5, 0);
    change.send(Change { name: "a".into(), output }).unwrap();
    taken(&log);
    outputs.batch(&batch(0, 0)).unwrap();
    assert!(taken(&log).contains(&"a finish".to_owned()), "what it has is written");
    assert_eq!(*second.lock().unwrap(), ["begins 7"], "it is told of the run that it came in");
    outputs.batch(&batch(0, 0)).unwrap();
    // The new output has the old one's place, and its written figures go on from the old one's.
    let expected = format!("others {:?}", [("a", Written { records: 8, lost: 1, ..Written::default() })]);
    assert_eq!(taken(&log), ["b batch 0".to_owned(), format!("b {expected}")]);

    change.send(Change { name: "a".into(), output: None }).unwrap();
    outputs.idle();
    outputs.idle();
    let (third, output) = told(1, 1);
    change.send(Change { name: "a".into(), output }).unwrap();
    outputs.run_ends(&Counted::default(), End::NodeEnded).unwrap();
    outputs.idle();
    taken(&log);
    outputs.idle();
    assert_eq!(third.lock().unwrap().len(), 0, "no run is attached to");
    let expected = format!("others {:?}", [("a", Written { records: 9, lost: 2, ..Written::default() })]);
    assert_eq!(taken(&log), ["b idle".to_owned(), format!("b {expected}")]);
}

/// An output from another thread.
struct Sent {
    told: Arc<std::sync::Mutex<Vec<String>>>,
    written: Written,
}

impl Output for Sent {
    fn name(&self) -> &str {
        "a"
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        self.told.lock().unwrap().push(format!("begins {}", run.pid));
        Ok(())
    }

    fn written(&self) -> Option<Written> {
        Some(self.written)
    }
}
