//! What NATS messages say. In: events. Out: records: a subject, a newline, and a payload or a line of it.

mod json;
mod peer_observer;
mod recording;

use std::sync::{Arc, atomic::AtomicUsize};

#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) use self::json::longest_line;
pub(super) use self::{json::JsonFormat, peer_observer::PeerObserverFormat, recording::RecordingFormat};

/// How events are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum NatsFormat {
    /// JSON lines, on a subject for each kind of event
    #[default]
    Json,
    /// What peer-observer's tools read, on their subjects: one event in a message
    PeerObserver,
    /// Blocks of a recording, for another bitcointap: see --source
    Recording,
}

/// Room for the headers of a message, which count as its payload for NATS.
pub(super) const HEADERS: usize = 512;

/// The most bytes of a message that the server takes, as it said at the last connection.
pub(super) type MaxPayload = Arc<AtomicUsize>;
