//! Who makes room when all places are taken. In: connections, and what each of them is at. Out: the one that is closed for a new
//! one, lest a client keeps the others out by holding as many as there can be.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hyper::body::Bytes;
use tokio::task::{JoinHandle, yield_now};

/// What a connection is at, in the order in which they make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// It has no request in hand, since then: a half one, or one half of the words by which TLS is agreed on, is none.
    Waiting(Instant),
    /// It has had one in hand since then.
    Answering(Instant),
    /// It has got a stream of events, of which there are fewer than connections.
    Streaming,
}

/// That of one connection. Its clones are one.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<At>>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(At::Waiting(Instant::now()))))
    }
}

impl Activity {
    /// A request has come.
    pub(super) fn answer(&self) -> Answering {
        let since = Instant::now();
        *self.at() = At::Answering(since);
        Answering { activity: self.clone(), since }
    }

    /// What it is at to its end.
    pub(super) fn stream(&self) {
        *self.at() = At::Streaming;
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is in hand until this is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    activity: Activity,
    since: Instant,
}

impl Answering {
    /// Until the kernel has taken the last of these bytes.
    pub(super) fn with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Answer { bytes, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut at = self.activity.at();
        // The next request may have come with this one.
        if *at == At::Answering(self.since) {
            *at = At::Waiting(Instant::now());
        }
    }
}

struct Answer {
    bytes: Bytes,
    _answering: Answering,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All connections, each a task.
#[derive(Default)]
pub(super) struct Connections(Vec<(JoinHandle<()>, Activity)>);

impl Connections {
    pub(super) fn spawn(&mut self, activity: Activity, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push((tokio::spawn(task), activity));
    }

    /// Closes one if there are `most`.
    pub(super) async fn make_room(&mut self, most: usize) {
        self.forget_ended();
        if self.0.len() < most {
            return;
        }
        // What those that came just now have sent is looked at first.
        yield_now().await;
        self.forget_ended();
        let all: Vec<At> = self.0.iter().map(|(_, activity)| *activity.at()).collect();
        if let Some(place) = makes_room(&all, most) {
            let (task, _) = self.0.swap_remove(place);
            task.abort();
            // Its end is all that there is to know.
            let _ = task.await;
        }
    }

    fn forget_ended(&mut self) {
        self.0.retain(|(task, _)| !task.is_finished());
    }
}

/// The place of the one that is closed, if there are so many. A quarter of the places is left to those who wait: if it were their
/// turn always, who has come just now would be closed while all others do not read their answers.
fn makes_room(all: &[At], most: usize) -> Option<usize> {
    if all.len() < most {
        return None;
    }
    let is_waiting = |at: &At| matches!(at, At::Waiting(_));
    let of_waiting = all.iter().filter(|at| is_waiting(at)).count() > most / 4;
    (0..all.len()).filter(|&place| is_waiting(&all[place]) == of_waiting).min_by_key(|&place| all[place])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_activity_is_the_newest_request_until_its_last_byte() {
        let activity = Activity::default();
        let is_waiting = || matches!(*activity.at(), At::Waiting(_));
        assert!(is_waiting());
        let one = activity.answer();
        let next = activity.answer();
        drop(one);
        assert!(!is_waiting(), "the next is in hand");
        let bytes = next.with(Bytes::from_static(b"the end"));
        let clone = bytes.clone();
        drop(bytes);
        assert!(!is_waiting());
        drop(clone);
        assert!(is_waiting());
        let stream = activity.answer();
        activity.stream();
        drop(stream);
        assert_eq!(*activity.at(), At::Streaming);
    }

    #[test]
    fn who_is_longest_at_it_makes_room() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let (waiting, answering) = (|second| At::Waiting(at(second)), |second| At::Answering(at(second)));
        let all =
            [answering(1), At::Streaming, waiting(4), waiting(3), waiting(5), answering(0), At::Streaming, waiting(2)];
        assert_eq!(makes_room(&all, 9), None);
        assert_eq!(makes_room(&all, 8), Some(7));
        assert_eq!(makes_room(&all[..7], 7), Some(3));
        // A quarter waits.
        assert_eq!(makes_room(&[&all[..4], &all[5..7], &[answering(6), answering(2)]].concat(), 8), Some(4));
        // More streams than there can be.
        assert_eq!(makes_room(&[At::Streaming; 2], 2), Some(0));
    }
}
