//! Reads a recording. In: any bytes, which may be damaged or made up. Out: the entries of all whole blocks, within bounded memory.

use std::{io::Read, ops::Range, sync::Arc};

use super::{
    Error, Limits, VERSION, Window,
    blocks::{Blocks, Piece},
    dialect::{Dialect, Unknown},
    items::{Item, take},
    received::Received,
    stored::{Delivered, Opening, PlacedLoss, Stored, StoredBatch, StoredRun},
    version2,
};
use crate::{
    capture::{Batch, Counted, Counters, Intake, Run},
    event::{Decoder, Lost, Moment, Time, push_other_loss, tracepoint_of},
    kernel_side::{
        bytes_of,
        types::{event_header, losses_record, tracepoint},
    },
    selection::Selection,
    tracepoint::Tracepoint,
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
    /// What the window depends on, before the first event.
    limits: Option<Limits>,
    /// Whether only a part is wanted.
    is_part: bool,
    /// Events of the run that came, and those of them that fired outside the window; by [`Tracepoint::index`].
    came: [u64; Tracepoint::COUNT],
    left_out: [u64; Tracepoint::COUNT],
    /// `None` for a recording that is whole or ends.
    stream: Option<Received>,
    /// When the last batch was drained.
    newest: Moment,
}

pub(super) const SENSELESS: &str = "whose entries make no sense";

impl<R: Read> Reader<R> {
    /// Reads the first header. The reader gives only events that are `wanted`. It reads `input` in large pieces.
    pub fn new(input: R, wanted: &Selection) -> Result<Self, Error> {
        Self::starting_at(input, 0, wanted)
    }

    /// The same. Errors count bytes from `at`, where the input begins.
    pub(super) fn starting_at(input: R, at: u64, wanted: &Selection) -> Result<Self, Error> {
        Ok(Self {
            blocks: Blocks::new(input, at)?,
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
            limits: None,
            is_part: false,
            came: [0; Tracepoint::COUNT],
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
        Self { window, is_part: window.is_limited(), ..self }
    }

    /// The same with limits that count from the first event.
    pub(super) fn within_limits(self, limits: Limits) -> Self {
        Self { limits: Some(limits), is_part: true, ..self }
    }

    /// Goes on with another input, once this one is over. A run goes on if the next group is there.
    pub(super) fn go_on_with(&mut self, input: R, at: u64) {
        self.blocks.go_on_with(input, at);
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
        let (item, rest) = take(self.version, self.dialect.is_some(), &block[self.rest.clone()])?;
        self.rest.start = self.rest.end - rest.len();
        match item {
            Item::Opening(opening, delivered) => self.open(&opening, &delivered),
            Item::Run(run) => {
                (self.counters, self.given, self.came) = Default::default();
                Some(Some(self.run(&run)?))
            }
            Item::Entry(stored) => self.stored(stored),
        }
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
            self.came = [0; Tracepoint::COUNT];
            self.given = self.counted();
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
        let run = self.dialect.as_ref()?.run(stored, self.selection.tracepoints())?;
        self.intake = Intake::new(&self.selection);
        self.left_out = [0; Tracepoint::COUNT];
        Some(Entry::Run(Box::new(run)))
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
                let of = tracepoint_of(record);
                if let (Some(stream), Some(of)) = (&mut self.stream, of) {
                    stream.takes(of);
                }
                if let Some(of) = of {
                    self.came[of.index()] += 1;
                }
                let fired =
                    Time(u64::from_le_bytes(*record.first_chunk()?).saturating_add_signed(stored.unix_offset_ns));
                if let Some(limits) = self.limits.take() {
                    self.window = limits.of(fired, fired);
                }
                let is_in_window = self.window.contains(fired);
                any |= is_in_window;
                match of.filter(|_| !is_in_window) {
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
        let mut counters = self.counted();
        for ((counters, filtered), left_out) in counters.iter_mut().zip(self.intake.filtered()).zip(&self.left_out) {
            counters.filtered = counters.filtered.saturating_add(*filtered).saturating_add(*left_out);
        }
        if let Some(stream) = &self.stream {
            stream.correct(&mut counters);
        }
        let before = std::mem::replace(&mut self.given, counters);
        Counters::added(&counters, &before)
    }

    /// The run's counters as recorded. The kernel side counts what fires before it is drained. So in a part of a run, what has fired is
    /// what came, was filtered and was lost.
    fn counted(&self) -> [Counters; Tracepoint::COUNT] {
        let mut counters = self.counters;
        for (counters, &came) in counters.iter_mut().zip(&self.came).filter(|_| self.is_part) {
            counters.fired = came.saturating_add(counters.filtered).saturating_add(counters.lost_in_all());
        }
        counters
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
