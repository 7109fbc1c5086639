//! What is in recordings, as plain data. In: paths. Out: an [`Info`], whose JSON docs/operation.md describes.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{
    Error, Limits, Progress,
    source::{self, Input},
    strand::{self, Found},
    survey::Survey,
};
use crate::{
    capture::Run,
    selection::Selection,
    tracepoint::{LossReason, Tracepoint},
};

/// What is in a recording, or in all of a directory. Times are UNIX times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Info {
    /// The path.
    pub name: String,
    /// How many files there are.
    pub files: u64,
    /// Recordings, and the groups and blocks in them.
    pub recordings: u64,
    /// See [`Info::recordings`].
    pub groups: u64,
    /// See [`Info::recordings`].
    pub blocks: u64,
    /// When the first and the last event fired.
    pub from: Option<f64>,
    /// See [`Info::from`].
    pub to: Option<f64>,
    /// Runs of nodes.
    pub runs: Vec<RunInfo>,
    /// Further runs, after the first ones.
    pub runs_left_out: u64,
    /// How many peers there are: connections by the node's numbers, in each run.
    pub peers: u64,
    /// Whether there are more peers than were counted.
    pub peers_are_more: bool,
    /// All counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// Places where events are missing.
    pub gaps: u64,
    /// By name. Tracepoints without any event and without any loss are left out.
    pub tracepoints: BTreeMap<String, Counts>,
    /// By name. Once there are too many names, messages with others count as `other_commands`.
    pub commands: BTreeMap<String, CommandInfo>,
    /// Events and losses that only a newer bitcointap knows.
    pub unknown: u64,
    /// Bytes.
    pub bytes: Bytes,
    /// Bytes of files for each event.
    pub bytes_per_event: Option<f64>,
    /// Files that are still being written, or were left by a crash.
    pub unfinished: Vec<String>,
    /// What is damaged or missing.
    pub damage: Vec<Damage>,
    /// Further damage.
    pub damage_left_out: u64,
}

/// What happened to events.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Events that are there.
    pub events: u64,
    /// How often tracepoints fired, what was not wanted, and what was lost, by the reason, as counted when it was recorded.
    pub fired: u64,
    /// See [`Counts::fired`].
    pub filtered: u64,
    /// See [`Counts::fired`].
    pub lost: BTreeMap<&'static str, u64>,
}

/// A run of a node, or its part that is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunInfo {
    /// What its operator calls the node.
    pub node: Option<String>,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// The name of the machine.
    pub host: Option<String>,
    /// The chain.
    pub chain: Option<String>,
    /// The node's user agent, which names its version.
    pub user_agent: Option<String>,
    /// The process.
    pub pid: i32,
    /// The path of the program.
    pub program: String,
    /// The data directory.
    pub data_directory: Option<String>,
    /// When it was started.
    pub start_time: f64,
    /// When its first and its last event fired.
    pub from: Option<f64>,
    /// See [`RunInfo::from`].
    pub to: Option<f64>,
    /// How many events it has.
    pub events: u64,
    /// Whether its end is there.
    pub has_end: bool,
}

/// Messages of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommandInfo {
    /// To the node, and from it.
    pub inbound: u64,
    /// See [`CommandInfo::inbound`].
    pub outbound: u64,
    /// Bytes of their payloads that are there.
    pub payload_bytes: u64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bytes {
    /// Of the files.
    pub files: u64,
    /// Of blocks, compressed and decompressed.
    pub compressed: u64,
    /// See [`Bytes::compressed`].
    pub decompressed: u64,
    /// Of the payloads of messages in them.
    pub payloads: u64,
}

/// Something that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where it begins.
    pub at: Option<u64>,
    /// Where reading went on.
    pub goes_on: Option<u64>,
    /// What is wrong, in words.
    pub error: String,
}

impl From<Run> for RunInfo {
    fn from(run: Run) -> Self {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        Self {
            node: run.named.node().map(str::to_owned),
            labels: run.named.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            host: run.host,
            chain: run.chain.map(|chain| chain.name().to_owned()),
            user_agent: run.user_agent,
            pid: run.pid,
            program: path(run.program),
            data_directory: run.data_directory.map(path),
            start_time: run.start_time,
            ..Self::default()
        }
    }
}

impl RunInfo {
    /// How many bytes this takes.
    pub(super) fn texts(&self) -> usize {
        let labels = self.labels.iter().map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len());
        let texts = [&self.node, &self.host, &self.chain, &self.user_agent, &self.data_directory];
        let texts = texts.into_iter().flatten().map(String::len);
        size_of::<Self>() + self.program.len() + labels.chain(texts).sum::<usize>()
    }
}

impl CommandInfo {
    pub(super) fn add(&mut self, other: &Self) {
        self.inbound += other.inbound;
        self.outbound += other.outbound;
        self.payload_bytes += other.payload_bytes;
    }
}

impl Damage {
    pub(super) fn new(file: impl fmt::Display, error: &Error) -> Self {
        let (at, goes_on) = match *error {
            Error::Damaged { at, goes_on, .. } | Error::Truncated { at, goes_on } => (Some(at), goes_on),
            Error::Io(_) | Error::NotARecording(_) | Error::Version(_) => (None, None),
        };
        Self { file: file.to_string(), at, goes_on, error: error.to_string() }
    }
}

impl Counts {
    pub(super) fn lose(&mut self, reason: LossReason, count: u64) {
        if count > 0 {
            let lost = self.lost.entry(reason.name()).or_default();
            *lost = lost.saturating_add(count);
        }
    }

    /// Events that were lost, for any reason.
    pub fn lost_in_all(&self) -> u64 {
        self.lost.values().fold(0, |sum, &lost| sum.saturating_add(lost))
    }
}

/// A recording, or all of a directory, to be read for an [`Info`].
pub struct Inspection {
    name: String,
    inputs: Vec<Input>,
}

impl Inspection {
    /// Opens the files; `-` is standard input.
    ///
    /// # Errors
    /// A line that names what cannot be opened.
    pub fn open(path: &Path) -> Result<Self, String> {
        Ok(Self { name: path.display().to_string(), inputs: source::open(&[path])? })
    }

    /// Reads it. `tell` gets how much was read, and how many events these were, again and again.
    ///
    /// # Errors
    /// A line that names what is no recording. Damage is no error.
    pub fn read(self, tell: impl FnMut(&Progress, u64)) -> Result<Info, String> {
        let (progress, files) = (Arc::default(), self.inputs.len() as u64);
        let all = Selection::of(Tracepoint::all().collect());
        let Found { strands, errors } = strand::strands(self.inputs, Limits::default(), &all, &progress)?;
        let mut survey = Survey::new(progress, tell);
        errors.iter().for_each(|(name, error)| survey.damaged(name, error));
        strands.into_iter().for_each(|strand| survey.strand(strand));
        Ok(Info { name: self.name, files, ..survey.finish() })
    }
}
