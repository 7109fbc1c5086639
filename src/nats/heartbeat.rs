//! Heartbeats: each second a message says what a reader must have by then. In: numbers of what was published, and the tap's counters.
//! Out: a JSON object each second, while there is a connection.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Client, Subject};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    capture::{Counters, now},
    system,
    tracepoint::Tracepoint,
};

const INTERVAL: Duration = Duration::from_secs(1);

/// What heartbeats say.
#[derive(Debug)]
pub(super) struct Heartbeat {
    run: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The subject of heartbeats, once a node is known.
    subject: Option<Subject>,
    events: u64,
    lost: u64,
    numbers: HashMap<String, u64>,
    counted: [Counters; Tracepoint::COUNT],
}

/// A heartbeat as JSON.
#[derive(Debug, Serialize)]
struct Beat<'a> {
    /// The publisher's number.
    run: &'a str,
    /// UNIX time in seconds.
    timestamp: f64,
    /// The kernel's estimate of the clock's error in seconds; `null` if the clock is not synchronised.
    clock_error: Option<f64>,
    /// The number of the last event that was published.
    event: u64,
    /// Events that the publisher lost: the queue was full, the server did not confirm, or did not take them.
    lost: u64,
    /// The number of the last message on each subject.
    numbers: BTreeMap<&'a str, u64>,
    /// By tracepoint, since the publisher was started. Tracepoints that never fired are left out.
    tracepoints: BTreeMap<&'static str, Sums>,
}

/// What was counted of a tracepoint: fired = delivered + filtered + lost.
#[derive(Debug, Serialize)]
struct Sums {
    fired: u64,
    filtered: u64,
    /// Lost in the kernel.
    lost: u64,
}

impl Heartbeat {
    pub(super) fn new(run: String) -> Self {
        Self { run, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins, whose subjects begin so.
    pub(super) fn begins(&self, beginning: &str) {
        self.state().subject = Some(format!("{beginning}.heartbeat").into());
    }

    /// Messages were published: the last event's number, and the last number on each subject.
    pub(super) fn published<'a>(&self, event: u64, numbers: impl Iterator<Item = (&'a str, u64)>) {
        let mut state = self.state();
        state.events = event;
        for (subject, number) in numbers {
            match state.numbers.get_mut(subject) {
                Some(last) => *last = number,
                None => drop(state.numbers.insert(subject.to_owned(), number)),
            }
        }
    }

    /// Takes what was counted since the last call, and how many events the publisher has lost so far.
    pub(super) fn counted(&self, added: &[Counters; Tracepoint::COUNT], lost: u64) {
        let mut state = self.state();
        state.lost = lost;
        for (counted, added) in state.counted.iter_mut().zip(added) {
            *counted = counted.plus(added);
        }
    }

    fn text(&self) -> Option<(Subject, Vec<u8>)> {
        let state = self.state();
        let sums = |it: &Counters| Sums { fired: it.fired, filtered: it.filtered, lost: it.lost_in_all() };
        let counted = Tracepoint::all().zip(&state.counted).filter(|(_, counted)| counted.fired > 0);
        let beat = Beat {
            run: &self.run,
            timestamp: now().0.0 as f64 / 1e9,
            clock_error: system::clock_error().map(|error| error.as_secs_f64()),
            event: state.events,
            lost: state.lost,
            numbers: state.numbers.iter().map(|(subject, &number)| (&**subject, number)).collect(),
            tracepoints: counted.map(|(tracepoint, counted)| (tracepoint.name(), sums(counted))).collect(),
        };
        Some((state.subject.clone()?, serde_json::to_vec(&beat).ok()?))
    }

    /// Publishes heartbeats as long as the connection is there.
    pub(super) async fn beat(self: Arc<Self>, client: Client) {
        let mut interval = interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Some((subject, text)) = self.text() {
                // If the server stands still, this heartbeat is left out.
                let _ = timeout(INTERVAL, client.publish(subject, text.into())).await;
            }
        }
    }
}
