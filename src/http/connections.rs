//! Which connection makes room when there are too many. In: connections, and the state of each. Out: the one to close
//! for a new one, so that a client cannot keep others out by holding all connections.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hyper::body::Bytes;
use tokio::task::{JoinHandle, yield_now};

/// The state of a connection, in the order in which connections make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// It has had no request since then. Half a request, or half a TLS handshake, is none.
    Waiting(Instant),
    /// It has been answering a request since then.
    Answering(Instant),
    /// It has a stream of events. There are fewer of these than connections.
    Streaming,
}

/// The state of one connection. Clones share it.
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

    /// Makes it a stream until its end.
    pub(super) fn stream(&self) {
        *self.at() = At::Streaming;
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered until this is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    activity: Activity,
    since: Instant,
}

impl Answering {
    /// Answers until the kernel has taken the last of these bytes.
    pub(super) fn with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Answer { bytes, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut at = self.activity.at();
        // The next request may have come together with this one.
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
        // First looks at what new connections have sent.
        yield_now().await;
        self.forget_ended();
        let all: Vec<At> = self.0.iter().map(|(_, activity)| *activity.at()).collect();
        if let Some(place) = makes_room(&all, most) {
            let (task, _) = self.0.swap_remove(place);
            task.abort();
            // Only its end matters.
            let _ = task.await;
        }
    }

    fn forget_ended(&mut self) {
        self.0.retain(|(task, _)| !task.is_finished());
    }
}

/// The connection to close, if there are `most`. A quarter of the places is for connections without a request. If these
/// always made room, a new connection would be closed while all others do not read their answers.
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
