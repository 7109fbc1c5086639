//! Counts what is in recordings. In: blocks. Out: an [`Info`]. Payloads are not decoded, and no events are made. Memory is bounded,
//! whatever recordings have.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    sync::Arc,
};

use super::{
    Error, Info, Progress, Unknown,
    blocks::{Blocks, Piece},
    dialect::Dialect,
    entries::own_user_agent,
    info::{Bytes, CommandInfo, Counts, Damage, RunInfo},
    items::{Item, take},
    reader::SENSELESS,
    source::Name,
    stored::{Opening, Stored, StoredBatch, StoredRun},
    strand::Strand,
    version2,
};
use crate::{
    capture::Counters,
    event::tracepoint_of,
    kernel_side::{
        self,
        types::{event_header, message_record},
    },
    tracepoint::{About, LossReason, Tracepoint, Tracepoints},
};

/// The most peers that are counted, names of commands, places of damage, and bytes of what is said of runs.
const MOST_PEERS: usize = 500_000;
const MOST_COMMANDS: usize = 256;
const MOST_DAMAGE: usize = 1_000;
const MOST_TEXTS: usize = 4 << 20;
/// Peers that were seen last are looked up here first.
const RECENT: usize = 4096;
/// What messages of other commands count as. No command has so many letters.
const OTHER: &str = "other_commands";

pub(super) struct Survey<F> {
    info: Info,
    progress: Arc<Progress>,
    tell: F,
    /// The group that is read.
    version: u32,
    dialect: Option<Dialect>,
    /// Recording and number of the group in which the run would go on, and the recording that is read.
    next: Option<(u64, u64)>,
    recording: Option<u64>,
    counters: [Counters; Tracepoint::COUNT],
    unknown: Unknown,
    /// By [`Tracepoint::index`].
    events: [u64; Tracepoint::COUNT],
    counted: [Counters; Tracepoint::COUNT],
    /// The first and the last event of all, in nanoseconds.
    times: Times,
    /// The run that is read.
    run: Option<(RunInfo, Times)>,
    run_number: u64,
    texts: usize,
    peers: HashSet<(u64, i64)>,
    recent: Vec<(u64, i64)>,
    commands: HashMap<[u8; 16], CommandInfo>,
    others: CommandInfo,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times(Option<(u64, u64)>);

impl Times {
    fn add(&mut self, time: u64) {
        let (from, to) = self.0.unwrap_or((time, time));
        self.0 = Some((from.min(time), to.max(time)));
    }

    fn from(self) -> Option<f64> {
        self.0.map(|(from, _)| seconds(from))
    }

    fn to(self) -> Option<f64> {
        self.0.map(|(_, to)| seconds(to))
    }
}

/// With microseconds, as JSON lines have it.
fn seconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1_000) as f64 / 1e6
}

impl<F: FnMut(&Progress, u64)> Survey<F> {
    pub(super) fn new(progress: Arc<Progress>, tell: F) -> Self {
        Self {
            info: Info::default(),
            progress,
            tell,
            version: 0,
            dialect: None,
            next: None,
            recording: None,
            counters: Default::default(),
            unknown: Unknown::default(),
            events: Default::default(),
            counted: Default::default(),
            times: Times::default(),
            run: None,
            run_number: 0,
            texts: 0,
            peers: HashSet::new(),
            recent: vec![(0, 0); RECENT],
            commands: HashMap::new(),
            others: CommandInfo::default(),
        }
    }

    pub(super) fn damaged(&mut self, name: &Name, error: &Error) {
        if self.info.damage.len() < MOST_DAMAGE {
            self.info.damage.push(Damage::new(name, error));
        } else {
            self.info.damage_left_out += 1;
        }
        (self.next, self.dialect) = (None, None);
    }

    /// Reads a strand.
    pub(super) fn strand(&mut self, mut strand: Strand) {
        while let Some((input, at)) = strand.next_input() {
            match Blocks::new(input, at) {
                Ok(blocks) => self.blocks(strand.name(), blocks),
                Err(error) => self.damaged(strand.name(), &error),
            }
        }
        self.run_ends(false);
        self.next = None;
    }

    fn blocks(&mut self, name: &Name, mut blocks: Blocks<impl Read>) {
        let mut block = Vec::new();
        loop {
            match blocks.next(&mut block) {
                Ok(Piece::End) => return,
                Ok(Piece::Group(version)) => {
                    self.info.groups += 1;
                    (self.version, self.dialect) = (version, None);
                    if version == version2::VERSION {
                        self.info.recordings += 1;
                        (self.next, self.dialect) = (None, Dialect::of(&version2::opening()));
                    }
                }
                Ok(Piece::Block) => {
                    let Bytes { compressed, decompressed, .. } = &mut self.info.bytes;
                    *compressed += blocks.frame() as u64;
                    *decompressed += block.len() as u64;
                    self.info.blocks += 1;
                    if self.block(&block).is_none() {
                        let error = blocks.refuse(SENSELESS);
                        self.damaged(name, &error);
                    }
                    (self.tell)(&self.progress, self.events.iter().sum());
                }
                Err(Error::Truncated { goes_on: None, .. }) if name.is_unfinished() => {
                    self.info.unfinished.push(name.to_string());
                    (self.next, self.dialect) = (None, None);
                }
                Err(error) => self.damaged(name, &error),
            }
        }
    }

    /// `None` if it makes no sense.
    fn block(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let item;
            (item, rest) = take(self.version, self.dialect.is_some(), rest)?;
            match item {
                Item::Opening(opening, _) => self.open(&opening)?,
                Item::Run(run) => {
                    self.counters = Default::default();
                    self.run_begins(&run)?;
                }
                Item::Entry(Stored::Batch(batch)) => self.batch(&batch)?,
                Item::Entry(Stored::End { changed, untold }) => {
                    let dialect = self.dialect.as_ref()?;
                    count(dialect, &changed, &mut self.counters, &mut self.counted)?;
                    for loss in &untold.0 {
                        dialect.loss(loss, &mut self.unknown)?;
                    }
                    self.info.gaps += u64::from(!untold.0.is_empty());
                    self.next = None;
                    self.run_ends(true);
                }
            }
        }
        Some(())
    }

    fn open(&mut self, opening: &Opening<'_>) -> Option<()> {
        let dialect = Dialect::of(opening)?;
        if self.recording.replace(opening.recording) != Some(opening.recording) {
            self.info.recordings += 1;
        }
        let continues = opening.continues && self.next == Some((opening.recording, opening.group));
        self.next = opening.group.checked_add(1).map(|next| (opening.recording, next));
        if !continues {
            self.counters = Default::default();
            dialect.change(&opening.counters, &mut self.counters)?;
        }
        self.dialect = Some(dialect);
        match &opening.run {
            Some(run) if !continues => self.run_begins(run)?,
            // It may be known by now.
            Some(run) => {
                if let Some((known, _)) = &mut self.run
                    && known.user_agent.is_none()
                {
                    known.user_agent = self.dialect.as_ref()?.run(run, Tracepoints::default())?.user_agent;
                }
            }
            None => {}
        }
        Some(())
    }

    fn run_begins(&mut self, run: &StoredRun<'_>) -> Option<()> {
        let run = self.dialect.as_ref()?.run(run, Tracepoints::default())?;
        self.run_ends(false);
        self.run_number += 1;
        self.run = Some((run.into(), Times::default()));
        Some(())
    }

    fn run_ends(&mut self, has_end: bool) {
        let Some((run, times)) = self.run.take() else { return };
        self.texts += run.texts();
        if self.texts <= MOST_TEXTS {
            self.info.runs.push(RunInfo { from: times.from(), to: times.to(), has_end, ..run });
        } else {
            self.info.runs_left_out += 1;
        }
    }

    fn batch(&mut self, stored: &StoredBatch<'_>) -> Option<()> {
        let dialect = self.dialect.as_mut()?;
        count(dialect, &stored.changed, &mut self.counters, &mut self.counted)?;
        let mut place = None;
        for loss in &stored.losses.0 {
            dialect.loss(&loss.loss, &mut self.unknown)?;
            self.info.gaps += u64::from(place.replace((loss.before, loss.moment)) != Some((loss.before, loss.moment)));
        }
        let mut records = &stored.records[..];
        let mut events = 0;
        let mut times = [None; 2];
        for &length in &stored.lengths.0 {
            let record;
            (record, records) = records.split_at_checked(length as usize)?;
            if self.version == version2::VERSION && dialect.number_of(record)? == version2::LOSSES {
                self.info.gaps += 1;
                continue;
            }
            let Some(record) = dialect.record(record, &mut self.unknown)? else { continue };
            let Some(tracepoint) = tracepoint_of(record) else { continue };
            self.events[tracepoint.index()] += 1;
            events += 1;
            let (header, _) = kernel_side::split::<event_header>(record)?;
            let time = Some(header.boot_ns.saturating_add_signed(stored.unix_offset_ns));
            times = [times[0].or(time), time];
            if let about @ (About::MessageToNode | About::MessageToPeer) = tracepoint.about()
                && let Some((fixed, rest)) = kernel_side::split::<message_record>(record)
            {
                if let Some((run, _)) = &mut self.run
                    && run.user_agent.is_none()
                {
                    run.user_agent = own_user_agent(record);
                }
                let payload = (rest.len() as u64).saturating_sub(header.text_length.into());
                self.info.bytes.payloads += payload;
                let is_counted = self.commands.len() < MOST_COMMANDS || self.commands.contains_key(&fixed.command);
                let command = match is_counted {
                    true => self.commands.entry(fixed.command).or_default(),
                    false => &mut self.others,
                };
                command.payload_bytes += payload;
                command.inbound += u64::from(about == About::MessageToNode);
                command.outbound += u64::from(about == About::MessageToPeer);
                let peer = (self.run_number, fixed.peer_id);
                let recent = &mut self.recent[fixed.peer_id.rem_euclid(RECENT as i64) as usize];
                if std::mem::replace(recent, peer) != peer {
                    if self.peers.len() < MOST_PEERS {
                        self.peers.insert(peer);
                    } else {
                        self.info.peers_are_more |= !self.peers.contains(&peer);
                    }
                }
            }
        }
        let run = self.run.as_mut();
        for time in times.into_iter().flatten() {
            self.times.add(time);
        }
        if let Some((run, of_run)) = run {
            run.events += events;
            times.into_iter().flatten().for_each(|time| of_run.add(time));
        }
        Some(())
    }

    pub(super) fn finish(self) -> Info {
        let mut info = self.info;
        for (place, tracepoint) in Tracepoint::all().enumerate() {
            let Counters { fired, filtered, lost, .. } = self.counted[place];
            let mut counts = Counts { events: self.events[place], fired, filtered, ..Counts::default() };
            let all = &mut info.counts;
            all.events += counts.events;
            all.fired = all.fired.saturating_add(fired);
            all.filtered = all.filtered.saturating_add(filtered);
            for (reason, count) in LossReason::ALL.into_iter().zip(lost) {
                all.lose(reason, count);
                counts.lose(reason, count);
            }
            if counts != Counts::default() {
                info.tracepoints.insert(tracepoint.name().to_owned(), counts);
            }
        }
        for (command, counts) in &self.commands {
            let name = command.split(|&byte| byte == 0).next().unwrap_or_default();
            info.commands.entry(String::from_utf8_lossy(name).into_owned()).or_default().add(counts);
        }
        if self.others != CommandInfo::default() {
            info.commands.insert(OTHER.to_owned(), self.others);
        }
        (info.from, info.to) = (self.times.from(), self.times.to());
        info.unknown = self.unknown.count();
        info.peers = self.peers.len() as u64;
        info.bytes.files = self.progress.read();
        info.bytes_per_event = (info.counts.events > 0).then(|| info.bytes.files as f64 / info.counts.events as f64);
        info
    }
}

/// Adds what counters have grown by.
fn count(
    dialect: &Dialect,
    changed: &super::stored::Changed,
    counters: &mut [Counters; Tracepoint::COUNT],
    counted: &mut [Counters; Tracepoint::COUNT],
) -> Option<()> {
    let before = *counters;
    dialect.change(changed, counters)?;
    for ((sum, now), before) in counted.iter_mut().zip(counters).zip(&before) {
        *sum = sum.plus(&now.since(before));
    }
    Some(())
}

#[cfg(any(fuzzing, all(test, feature = "http", feature = "nats")))]
pub(crate) mod fuzzing {
    use super::{Arc, Blocks, Name, Survey};

    /// Counts what is in these bytes.
    pub(crate) fn survey(bytes: &[u8]) {
        let mut survey = Survey::new(Arc::default(), |_, _| {});
        if let Ok(blocks) = Blocks::new(bytes, 0) {
            survey.blocks(&Name::default(), blocks);
        }
        survey.finish();
    }
}
