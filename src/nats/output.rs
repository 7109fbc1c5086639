//! NATS as an [`Output`]. In: the calls that outputs get. Out: batches to a spool that publishes, counters to the heartbeat.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use super::{
    destination::{NatsDestination, Publishing},
    format::{JsonFormat, NatsFormat, PeerObserverFormat, RecordingFormat},
    heartbeat::Heartbeat,
    server::Server,
    subjects::Subjects,
};
use crate::{
    capture::{Batch, Counted, End, Run},
    output::{Output, Result, Written},
    selection::Selection,
    spool::{JsonLines, Spool, SpoolOutput},
    stop::Stop,
};

/// The most that a server takes by default. It is told anew at each connection.
const MAX_PAYLOAD: usize = 1 << 20;

/// What to publish, and where.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// The servers.
    pub server: Server,
    /// The subjects.
    pub subjects: Subjects,
    /// What messages say.
    pub format: NatsFormat,
    /// The lines of JSON.
    pub lines: JsonLines,
    /// How long events may wait until those of a subject are published together.
    pub batch: Duration,
    /// Whether JetStream must store each message.
    pub jetstream: bool,
}

/// Publishes the `wanted` events, until there were `count` of them if that is given. `role` gives the output its name and its role.
///
/// # Errors
/// The thread cannot be started. A server that cannot be reached is no error: it is tried every second.
pub fn start<'a>(
    options: &NatsOptions,
    wanted: &Selection,
    count: Option<u64>,
    role: impl FnOnce(Spool) -> SpoolOutput<'a>,
) -> io::Result<Box<dyn Output + Send + 'a>> {
    let run = format!("{:016x}", RandomState::new().build_hasher().finish());
    let heartbeat = Arc::new(Heartbeat::new(run.clone()));
    let max_payload = Arc::new(AtomicUsize::new(MAX_PAYLOAD));
    let confirm = format!("{}.confirm.{run}", options.subjects.of_run(None));
    let json = JsonFormat::new(
        options.lines.into(),
        options.subjects.clone(),
        Arc::clone(&max_payload),
        Arc::clone(&heartbeat),
    );
    let connections = Arc::new(AtomicU64::new(0));
    let destination = NatsDestination::new(Publishing {
        server: options.server.clone(),
        run,
        confirm,
        jetstream: options.jetstream,
        in_order: matches!(options.format, NatsFormat::Recording),
        max_payload: Arc::clone(&max_payload),
        connections: Arc::clone(&connections),
        heartbeat: Arc::clone(&heartbeat),
    });
    let spool = match options.format {
        NatsFormat::Json => Spool::start_any(destination, json, wanted, count)?,
        NatsFormat::PeerObserver => Spool::start_any(destination, PeerObserverFormat::new(json), wanted, count)?,
        NatsFormat::Recording => {
            let (subjects, heartbeat) = (options.subjects.clone(), Arc::clone(&heartbeat));
            let recording = RecordingFormat::new(wanted, subjects, max_payload, heartbeat, connections)?;
            Spool::start_any(destination, recording, wanted, count)?
        }
    };
    Ok(Box::new(NatsOutput { spool: role(spool), batch: options.batch, heartbeat }))
}

struct NatsOutput<'a> {
    spool: SpoolOutput<'a>,
    batch: Duration,
    heartbeat: Arc<Heartbeat>,
}

impl NatsOutput<'_> {
    fn lost(&self) -> u64 {
        self.spool.written().map_or(0, |written| written.lost)
    }
}

impl Output for NatsOutput<'_> {
    fn name(&self) -> &str {
        self.spool.name()
    }

    fn is_required(&self) -> bool {
        self.spool.is_required()
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        self.spool.run_begins(run)
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.heartbeat.counted(batch.added(), self.lost());
        self.spool.batch(batch)
    }

    fn unread(&mut self, batch: &Batch) {
        self.heartbeat.counted(batch.added(), self.lost());
        self.spool.unread(batch);
    }

    fn run_ends(&mut self, counted: &Counted, end: End) -> Result {
        self.heartbeat.counted(&counted.added, self.lost());
        self.spool.run_ends(counted, end)
    }

    fn idle(&mut self) {
        self.spool.idle();
    }

    fn is_done(&self) -> bool {
        self.spool.is_done()
    }

    fn patience(&self) -> Duration {
        self.batch
    }

    fn wants_whole_payloads(&self) -> bool {
        self.spool.wants_whole_payloads()
    }

    fn payloads_are_whole(&mut self) {
        self.spool.payloads_are_whole();
    }

    fn written(&self) -> Option<Written> {
        self.spool.written()
    }

    fn finish(&mut self, stop: &Stop) -> Result {
        self.spool.finish(stop)
    }
}
