//! Reads a recording. In: any bytes, which may be damaged or made up. Out: the entries of all whole blocks, within bounded memory.

use std::{io::Read, ops::Range, sync::Arc};

use super::{
    Error, VERSION, Window,
    blocks::{Blocks, Piece},
    dialect::{Dialect, Unknown},
    received::Received,
    stored::{AtMost, Delivered, Opening, PlacedLoss, Stored, StoredBatch, StoredRun},
    version2,
};
use crate::{
    capture::{Batch, Counted, Counters, Intake, Named, Run},
    event::{Decoder, Lost, Moment, Time, push_other_loss, tracepoint_of},
    kernel_side::{
        bytes_of,
        types::{event_header, losses_record, tracepoint},
    },
    selection::Selection,
    tracepoint::{Tracepoint, Tracepoints},
};

/// An entry of a recording.
#[derive(Debug)]
#[non_exhaustive]
pub enum Entry {
    /// A run begins, or its part that the recording has. If the run before has no end, the recording was cut off there.
    Run(Box<Run>),
    /// A batch of the run.
    Batch(Arc<Batch>),
    /// The run has ended, or bitcointap has detached from it.
    End(Box<Counted>),
}

/// Reads a recording.
pub struct Reader<R> {
    blocks: Blocks<R>,
    /// The contents of a block, and the part of them that is not read yet.
    block: Vec<u8>,
    rest: Range<usize>,
    version: u32,
    /// `None` before the group's opening is read.
    dialect: Option<Dialect>,
    /// Recording and number of the group in which the run would go on.
    next: Option<(u64, u64)>,
    intake: Intake,
    selection: Selection,
    /// The run's counters as recorded, and as given so far.
    counters: [Counters; Tracepoint::COUNT],
    given: [Counters; Tracepoint::COUNT],
    unknown: Unknown,
    window: Window,
    /// Events that fired outside the window, by [`Tracepoint::index`].
    left_out: [u64; Tracepoint::COUNT],
    /// `None` for a recording that is whole or ends.
    stream: Option<Received>,
    /// When the last batch was drained.
    newest: Moment,
}

const SENSELESS: &str = "whose entries make no sense";

impl<R: Read> Reader<R> {
    /// Reads the first header. The reader gives only events that are `wanted`. It reads `input` in large pieces.
    pub fn new(input: R, wanted: &Selection) -> Result<Self, Error> {
        Ok(Self {
            blocks: Blocks::new(input)?,
            block: Vec::new(),
            rest: 0..0,
            version: VERSION,
            dialect: None,
            next: None,
            intake: Intake::new(wanted),
            selection: wanted.clone(),
            counters: Default::default(),
            given: Default::default(),
            unknown: Unknown::default(),
            window: Window::default(),
            left_out: [0; Tracepoint::COUNT],
            stream: None,
            newest: Moment(0),
        })
    }

    /// For an input that lacks groups or blocks, and that more is put into while it is read: the iterator ends where nothing is there at
    /// the moment, and goes on later. What is missing of a run counts as lost.
    #[cfg(feature = "nats")]
    pub(crate) fn of_stream(self) -> Self {
        Self { stream: Some(Received::default()), ..self }
    }

    /// Gives only events that fired in the window. Counters are those of whole batches that have events in the window. Other events of
    /// these batches count as filtered.
    #[must_use]
    pub fn within(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// How many events of the run have not come.
    #[cfg(feature = "nats")]
    pub(crate) fn missed(&self) -> u64 {
        self.stream.as_ref().map_or(0, Received::missed)
    }

    /// What was left out so far, since this build does not know it.
    pub fn unknown(&self) -> &Unknown {
        &self.unknown
    }

    fn read(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            if self.rest.is_empty() {
                if self.stream.is_some() && self.blocks.is_dry()? {
                    return Ok(None);
                }
                match self.blocks.next(&mut self.block)? {
                    Piece::End => return Ok(None),
                    Piece::Group(version) => {
                        (self.version, self.dialect) = (version, None);
                        if version == version2::VERSION {
                            (self.next, self.dialect) = (None, Dialect::of(&version2::opening()));
                        }
                        continue;
                    }
                    Piece::Block => self.rest = 0..self.block.len(),
                }
            }
            let block = std::mem::take(&mut self.block);
            let entry = self.entry(&block);
            self.block = block;
            match entry {
                Some(Some(entry)) => return Ok(Some(entry)),
                // It was an opening that begins no run.
                Some(None) => {}
                None => return Err(self.blocks.refuse(SENSELESS)),
            }
        }
    }

    /// Reads an entry. `Some(None)` if it gives nothing. `None` if it makes no sense.
    fn entry(&mut self, block: &[u8]) -> Option<Option<Entry>> {
        let bytes = &block[self.rest.clone()];
        if self.version == version2::VERSION {
            let (entry, rest) = version2::take(bytes)?;
            self.rest.start = self.rest.end - rest.len();
            return Some(Some(match entry {
                version2::Entry::Run(run) => {
                    (self.counters, self.given) = Default::default();
                    self.run(&run)?
                }
                version2::Entry::Other(stored) => return self.stored(stored),
            }));
        }
        if self.dialect.is_none() {
            // If more comes after it, a later bitcointap has added that.
            self.rest = 0..0;
            let (opening, more) = postcard::take_from_bytes(bytes).ok()?;
            return self
                .open(&opening, &postcard::take_from_bytes(more).map_or_else(|_| Delivered::default(), |(it, _)| it));
        }
        let (stored, rest) = postcard::take_from_bytes(bytes).ok()?;
        self.rest.start = self.rest.end - rest.len();
        self.stored(stored)
    }

    fn open(&mut self, opening: &Opening<'_>, delivered: &Delivered) -> Option<Option<Entry>> {
        let dialect = Dialect::of(opening)?;
        let is_next = self.next == Some((opening.recording, opening.group));
        let goes_on = |stream: &Received| stream.is_of(opening);
        let continues = opening.continues && (is_next || self.stream.as_ref().is_some_and(goes_on));
        self.next = opening.group.checked_add(1).map(|next| (opening.recording, next));
        if !continues {
            self.counters = Default::default();
            dialect.change(&opening.counters, &mut self.counters)?;
            self.given = self.counters;
        } else if !is_next {
            dialect.change(&opening.counters, &mut self.counters)?;
        }
        let received = self.stream.as_mut().map(|stream| stream.opens(opening, delivered, &dialect, continues));
        self.dialect = Some(dialect);
        if let Some(missing) = received {
            self.miss(missing?);
        }
        match &opening.run {
            Some(run) if !continues => Some(Some(self.run(run)?)),
            Some(_) | None => Some(None),
        }
    }

    fn run(&mut self, stored: &StoredRun<'_>) -> Option<Entry> {
        const LONGEST: usize = 4096;
        let paths = [Some(&*stored.program), stored.data_directory.as_deref()];
        let texts = paths.into_iter().chain([stored.chain, stored.host, stored.user_agent]);
        if texts.flatten().any(|text| text.len() > LONGEST) {
            return None;
        }
        self.intake = Intake::new(&self.selection);
        self.left_out = [0; Tracepoint::COUNT];
        let dialect = self.dialect.as_ref()?;
        let wanted = self.selection.tracepoints();
        let those = |numbers: &AtMost<u8, 255>| -> Option<Tracepoints> {
            let known: Vec<_> = numbers.0.iter().map(|&number| dialect.tracepoint(number)).collect::<Option<_>>()?;
            Some(known.into_iter().flatten().filter(|&it| wanted.contains(it)).collect())
        };
        let labels = |named: Named, (name, value): &(&str, &str)| named.with_label(name, value).ok();
        let named = stored.labels.0.iter().try_fold(Named::default(), labels)?;
        let named = stored.node.map_or(Some(named.clone()), |node| named.with_node(node).ok())?;
        let run = Run::new(stored.pid, (*stored.program).into(), stored.start_time, those(&stored.attached)?);
        Some(Entry::Run(Box::new(Run {
            failed: those(&stored.failed)?,
            data_directory: stored.data_directory.as_deref().map(Into::into),
            chain: stored.chain.and_then(|name| name.parse().ok()),
            host: stored.host.map(Into::into),
            named,
            user_agent: stored.user_agent.map(Into::into),
            ..run
        })))
    }

    fn stored(&mut self, stored: Stored<'_>) -> Option<Option<Entry>> {
        match stored {
            Stored::Batch(stored) => self.batch(&stored),
            Stored::End { changed, untold } => {
                let dialect = self.dialect.as_ref()?;
                dialect.change(&changed, &mut self.counters)?;
                let untold = untold.0.iter().map(|loss| dialect.loss(loss, &mut self.unknown));
                let untold: Vec<_> = untold.collect::<Option<_>>()?;
                let untold = untold.into_iter().flatten().collect();
                // The next group does not go on with this run.
                self.next = None;
                if let Some(stream) = &mut self.stream {
                    stream.ends();
                }
                Some(Some(Entry::End(Box::new(Counted { added: self.added(), untold }))))
            }
        }
    }

    /// `Some(None)` if the batch is outside the window.
    fn batch(&mut self, stored: &StoredBatch<'_>) -> Option<Option<Entry>> {
        self.dialect.as_ref()?.change(&stored.changed, &mut self.counters)?;
        let (mut any, mut losses) = (false, &stored.losses.0[..]);
        let mut records = &stored.records[..];
        for (place, &length) in stored.lengths.0.iter().enumerate() {
            let record;
            (record, records) = records.split_at_checked(length as usize)?;
            self.losses_before(place, &mut losses)?;
            let dialect = self.dialect.as_mut()?;
            if self.version == version2::VERSION && dialect.number_of(record)? == version2::LOSSES {
                let moment = u64::from_le_bytes(*record.first_chunk()?);
                let losses = version2::losses(record)?;
                let losses: Vec<_> = losses.map(|loss| PlacedLoss { before: 0, moment, loss }).collect();
                self.lose(&losses)?;
            } else if let Some(record) = dialect.record(record, &mut self.unknown)? {
                if let (Some(stream), Some(of)) = (&mut self.stream, tracepoint_of(record)) {
                    stream.takes(of);
                }
                let fired =
                    Time(u64::from_le_bytes(*record.first_chunk()?).saturating_add_signed(stored.unix_offset_ns));
                let is_in_window = self.window.contains(fired);
                any |= is_in_window;
                let left_out = if is_in_window { None } else { tracepoint_of(record) };
                match left_out {
                    Some(of) => self.left_out[of.index()] += 1,
                    None => drop(self.intake.take(record)),
                }
            }
        }
        self.losses_before(stored.lengths.0.len(), &mut losses)?;
        if !losses.is_empty() {
            return None;
        }
        let mut batch = Batch::default();
        self.intake.swap(&mut batch);
        let &StoredBatch { unix_offset_ns, block_duration_unit_ns, drained: (time, moment), .. } = stored;
        batch.decoder = Decoder { unix_offset_ns, block_duration_unit_ns };
        batch.drained = (Time(time), Moment(moment));
        self.newest = Moment(moment);
        batch.ring_buffer = stored.ring_buffer;
        batch.added = self.added();
        let is_in_window = any || self.window.contains(batch.drained.0);
        Some(is_in_window.then(|| Entry::Batch(Arc::new(batch))))
    }

    fn losses_before(&mut self, place: usize, losses: &mut &[PlacedLoss]) -> Option<()> {
        while let Some(first) = losses.first().filter(|loss| loss.before as usize == place) {
            // Losses of one moment become one record.
            let is_other = |loss: &PlacedLoss| (loss.before, loss.moment) != (first.before, first.moment);
            let count = losses.iter().position(is_other).unwrap_or(losses.len());
            let those;
            (those, *losses) = losses.split_at(count);
            self.lose(those)?;
        }
        Some(())
    }

    /// Tells of events that did not come.
    fn miss(&mut self, missing: Vec<Lost>) {
        let mut record = bytes_of(&losses_record {
            header: event_header {
                boot_ns: self.newest.0,
                tracepoint: tracepoint::LOSSES.0 as u8,
                ..Default::default()
            },
            ..Default::default()
        })
        .to_vec();
        missing.iter().for_each(|lost| push_other_loss(&mut record, lost));
        if !missing.is_empty() {
            self.intake.take(&record);
        }
    }

    /// Adds a record of losses, all of one moment.
    fn lose(&mut self, losses: &[PlacedLoss]) -> Option<()> {
        let (dialect, unknown) = (self.dialect.as_ref()?, &mut self.unknown);
        let moment = losses.first().map_or(0, |loss| loss.moment);
        let header = event_header { boot_ns: moment, tracepoint: tracepoint::LOSSES.0 as u8, ..Default::default() };
        let mut record = losses_record { header, ..Default::default() };
        let (mut any, mut others) = (false, Vec::new());
        for PlacedLoss { loss, .. } in losses {
            let Some(lost) = dialect.loss(loss, unknown)? else { continue };
            any = true;
            if !lost.reason.is_of_kernel() {
                push_other_loss(&mut others, &lost);
                continue;
            }
            let count = &mut record.counts[lost.tracepoint.index()][lost.reason as usize];
            *count = count.saturating_add(u32::try_from(lost.count).unwrap_or(u32::MAX));
        }
        if any {
            self.intake.take(&[bytes_of(&record), &others].concat());
        }
        Some(())
    }

    /// What was counted since the last call: as recorded, and with what this reader left out.
    fn added(&mut self) -> [Counters; Tracepoint::COUNT] {
        let mut counters = self.counters;
        for ((counters, filtered), left_out) in counters.iter_mut().zip(self.intake.filtered()).zip(&self.left_out) {
            counters.filtered = counters.filtered.saturating_add(*filtered).saturating_add(*left_out);
        }
        if let Some(stream) = &self.stream {
            stream.correct(&mut counters);
        }
        let before = std::mem::replace(&mut self.given, counters);
        Counters::added(&counters, &before)
    }
}

/// The entries. After an error of a damaged or cut-off group, the iterator may go on with the next group.
impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read();
        if result.is_err() {
            // The next group does not go on where this one broke off.
            (self.rest, self.next, self.dialect) = (0..0, None, None);
        }
        result.transpose()
    }
}
