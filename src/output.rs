//! The contract for everything that takes events, and the list of outputs.
//!
//! In, from [following](crate::follow) a node or [replaying](crate::recording::Replay) a recording: the beginning and the end of each
//! run, batches, and batches that came too late to be read. Out: the same to each [`Output`], in order.
//!
//! ```
//! use bitcointap::output::{Observer, Output};
//! use bitcointap::{capture::Batch, event::Kind};
//!
//! /// Counts connections.
//! #[derive(Default)]
//! struct Connections(u64);
//!
//! impl Output for Connections {
//!     fn name(&self) -> &str {
//!         "connections"
//!     }
//!
//!     fn observer<'a>(&'a mut self, _: &'a Batch) -> Option<Observer<'a>> {
//!         Some(Box::new(|event| self.0 += u64::from(matches!(event.kind, Kind::Conn { .. }))))
//!     }
//! }
//! ```

mod borrowed;

use std::{
    collections::BTreeMap,
    iter,
    os::fd::AsFd,
    ptr,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use crate::{
    archive::Files,
    capture::{Batch, Counted, Counters, End, Run},
    event::Event,
    redact::Redactor,
    stop::Stop,
    tap::DRAIN_INTERVAL,
    tracepoint::Tracepoint,
};

/// The longest that events may wait in the ring buffer, even if all outputs allow more.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// Why an output failed, in a line of text.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a call to an output.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Gets the events of a batch one by one.
pub type Observer<'a> = Box<dyn FnMut(&Event<'_>) + 'a>;

/// Takes events. The thread that drains the ring buffer calls it: slow work belongs to a thread of its own.
///
/// All methods but `name` have a default, which does nothing.
pub trait Output {
    /// Its name in logs and metrics.
    fn name(&self) -> &str;

    /// Whether everything ends when this output fails or wants no more. If not, only this output ends.
    fn is_required(&self) -> bool {
        true
    }

    /// No node is attached, and the reason is new, or attaching has failed again.
    fn waits(&mut self, _why: &Waiting<'_>) {}

    /// A run begins: bitcointap has attached to a node, or a recording has come to the run.
    fn run_begins(&mut self, _run: &Run) -> Result {
        Ok(())
    }

    /// What comes next is of this run, which has begun and has not ended. Called only where
    /// [recordings are joined](crate::recording::Replay::joined): there, runs of several nodes go on at the same time.
    fn run_goes_on(&mut self, _run: &Arc<Run>) {}

    /// Gives what shall see each event of a batch. Each event is decoded once for all outputs.
    fn observer<'a>(&'a mut self, _batch: &'a Batch) -> Option<Observer<'a>> {
        None
    }

    /// A batch was drained. Batches come in order, empty ones too, and each one after its events were observed.
    fn batch(&mut self, _batch: &Arc<Batch>) -> Result {
        Ok(())
    }

    /// This batch was left in the ring buffer when the time was over. Its events are lost.
    fn unread(&mut self, _batch: &Batch) {}

    /// The run has ended, or is tapped no longer. All of its batches were given.
    fn run_ends(&mut self, _counted: &Counted, _end: End) -> Result {
        Ok(())
    }

    /// Called a few times a second while no run is attached.
    fn idle(&mut self) {}

    /// Nothing more will come. People may still look at what there is.
    fn over(&mut self) {}

    /// The end: writes what is not written yet, while there is time.
    fn finish(&mut self, _stop: &Stop) -> Result {
        Ok(())
    }

    /// Whether it wants no more.
    fn is_done(&self) -> bool {
        false
    }

    /// How long events may wait in the ring buffer. Asked before each wait.
    fn patience(&self) -> Duration {
        DRAIN_INTERVAL
    }

    /// Whether it wants whole payloads where they are [limited](crate::tap::Payloads::Limited). Asked before each drain.
    fn wants_whole_payloads(&self) -> bool {
        false
    }

    /// From now on, payloads of all events are whole.
    fn payloads_are_whole(&mut self) {}

    /// Clients of this output that may ask for a drain at once.
    fn askers(&self) -> Option<Box<dyn Askers>> {
        None
    }

    /// How much it has written, if metrics shall show that.
    fn written(&self) -> Option<Written> {
        None
    }

    /// How much each output has written by now.
    fn others(&mut self, _others: &[(&str, Written)]) {}
}

/// Why no node is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// A line of text.
    pub why: &'a str,
    /// Whether attaching was tried and failed.
    pub has_failed: bool,
}

/// How much an output has written since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Written {
    /// Lines, packets or other records.
    pub records: u64,
    /// Events that should have been written and could not be.
    pub lost: u64,
    /// How many readers it has now, if its readers come and go.
    pub readers: Option<usize>,
    /// The files of the directory that it writes into, if it does.
    pub files: Option<Files>,
    /// What it keeps in memory, if that is what it is for.
    pub kept: Option<Kept>,
}

/// What an output keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kept {
    /// Bytes of events.
    pub bytes: u64,
    /// The age of the oldest event.
    pub seconds: f64,
    /// How many groups of events it has dropped to make room.
    pub dropped: u64,
}

impl Written {
    /// The sum of both; readers, files and what is kept are those of `later`, and removed files those of both.
    fn plus(self, later: Self) -> Self {
        let removed = self.files.map_or(0, |files| files.removed);
        let files = later.files.map(|files| Files { removed: files.removed + removed, ..files });
        Self { records: self.records + later.records, lost: self.lost + later.lost, files, ..later }
    }
}

/// Clients that ask for all that has fired by now, and wait until it is drained.
pub trait Askers {
    /// Readable when a client has asked.
    fn wakes(&self) -> &dyn AsFd;

    /// Whether a node is drained from now on. If not, no client needs to wait.
    fn drained(&self, is_drained: bool);

    /// How many questions there were so far. Called before a drain begins.
    fn asked(&self) -> u64;

    /// The first `asked` questions are answered: a drain followed them, and all outputs have its events.
    fn answer(&self, asked: u64);
}

/// The time from `now` until events are drained again, for outputs that only count them. Each drain has to fill the processor's caches
/// anew, which costs as much as hundreds of events. So there is one drain a second. It comes shortly before the end of the second,
/// because the live page counts by seconds: so most events are counted in the second in which they fired.
#[cfg(feature = "metrics")]
pub(crate) fn until_counted(now: crate::event::Moment) -> Duration {
    let [interval, place] = [1_000_000_000, 950_000_000];
    Duration::from_nanos(interval - (now.0 + interval - place) % interval)
}

/// The outputs, in the order in which they are called.
#[derive(Default)]
pub struct Outputs<'a> {
    outputs: Vec<Held<'a>>,
    changes: Option<Receiver<Change>>,
    /// How much outputs had written that are gone, by name.
    before: BTreeMap<String, Written>,
    /// What outputs shall not get.
    redactor: Option<Redactor>,
    /// The run that is attached now.
    run: Option<Arc<Run>>,
    /// What was counted in the run, by [`Tracepoint::index`].
    counted: [Counters; Tracepoint::COUNT],
}

/// A change of the list, from another thread.
pub struct Change {
    /// The output with this name is finished, if there is one.
    pub name: String,
    /// The output that takes its place.
    pub output: Option<Box<dyn Output + Send>>,
}

struct Held<'a> {
    output: Box<dyn Output + 'a>,
    has_failed: bool,
    /// Whether it gets everything, also what is redacted.
    gets_all: bool,
}

/// What outputs get: all of it, or what is left when it is redacted.
struct Given<'a, T> {
    all: &'a T,
    /// `None` if nothing is redacted.
    redacted: Option<T>,
}

impl<T> Given<'_, T> {
    fn to(&self, gets_all: bool) -> &T {
        self.redacted.as_ref().filter(|_| !gets_all).unwrap_or(self.all)
    }

    fn each(&self) -> impl Iterator<Item = &T> {
        iter::once(self.all).chain(&self.redacted)
    }
}

impl<'a> Outputs<'a> {
    /// Adds an output, which is called after the others. With `&mut`, it can be read again after [`finish`](Self::finish).
    #[must_use]
    pub fn with(self, output: impl Output + 'a) -> Self {
        self.with_boxed(Box::new(output))
    }

    /// The same for an output of which only the contract is known.
    #[must_use]
    pub fn with_boxed(mut self, output: Box<dyn Output + 'a>) -> Self {
        self.outputs.push(Held { output, has_failed: false, gets_all: false });
        self
    }

    /// The same for an output that gets what others shall not: it shows nothing of that.
    #[must_use]
    pub fn with_unredacted(mut self, output: impl Output + 'a) -> Self {
        self.outputs.push(Held { output: Box::new(output), has_failed: false, gets_all: true });
        self
    }

    /// Takes out of all runs and batches, before outputs get them, what the redactor takes out.
    #[must_use]
    pub fn redacted_by(self, redactor: Option<Redactor>) -> Self {
        Self { redactor, ..self }
    }

    /// From now on, changes that come here change the list.
    #[must_use]
    pub fn changed_by(self, changes: Receiver<Change>) -> Self {
        Self { changes: Some(changes), ..self }
    }

    /// What was counted in the run so far, by [`Tracepoint::index`].
    pub fn counted(&self) -> &[Counters; Tracepoint::COUNT] {
        &self.counted
    }

    /// See [`Output::waits`].
    pub fn waits(&mut self, waiting: &Waiting<'_>) {
        self.working_mut().for_each(|output| output.waits(waiting));
    }

    /// See [`Output::run_begins`].
    ///
    /// # Errors
    /// The error of a required output. The same holds for the next calls.
    pub fn run_begins(&mut self, run: &Run) -> Result {
        self.counted = Default::default();
        self.run = Some(Arc::new(run.clone()));
        let given = self.given(run, |redactor| redactor.run(run));
        self.each(|output, gets_all| output.run_begins(given.to(gets_all)))
    }

    /// See [`Output::run_goes_on`]. `counted` is what was counted in the run before.
    pub(crate) fn run_goes_on(&mut self, run: &Arc<Run>, counted: &[Counters; Tracepoint::COUNT]) {
        self.counted = *counted;
        self.run = Some(Arc::clone(run));
        let given = self.given(run, |redactor| Arc::new(redactor.run(run)));
        for held in self.outputs.iter_mut().filter(|held| !held.has_failed) {
            held.output.run_goes_on(given.to(held.gets_all));
        }
    }

    /// See [`Output::batch`]. Gives the events of the batch to all observers, and then the batch to all outputs.
    pub fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.count(batch.added());
        let given = self.given(batch, |redactor| redactor.batch(batch));
        for batch in given.each() {
            let is_for = |held: &&mut Held<'_>| !held.has_failed && ptr::eq(given.to(held.gets_all), batch);
            let observers = self.outputs.iter_mut().filter(is_for).filter_map(|held| held.output.observer(batch));
            let mut observers: Vec<_> = observers.collect();
            if !observers.is_empty() && !batch.is_empty() {
                batch.each(|event| observers.iter_mut().for_each(|observe| observe(&event)));
            }
        }
        self.each(|output, gets_all| output.batch(given.to(gets_all)))?;
        self.tell_written();
        self.change()
    }

    /// See [`Output::unread`].
    pub fn unread(&mut self, batch: &Batch) {
        self.count(batch.added());
        self.working_mut().for_each(|output| output.unread(batch));
    }

    /// See [`Output::run_ends`].
    pub fn run_ends(&mut self, counted: &Counted, end: End) -> Result {
        self.count(&counted.added);
        self.run = None;
        self.each(|output, _| output.run_ends(counted, end))
    }

    /// See [`Output::idle`].
    pub fn idle(&mut self) {
        self.working_mut().for_each(Output::idle);
        self.tell_written();
        // If a required output failed to begin here, it fails again with the next batch.
        let _ = self.change();
    }

    /// See [`Output::over`].
    pub fn over(&mut self) {
        self.working_mut().for_each(Output::over);
    }

    /// See [`Output::finish`]. Finishes all outputs, even if some fail.
    ///
    /// # Errors
    /// The first error of a required output.
    pub fn finish(mut self, stop: &Stop) -> Result {
        let mut first = Ok(());
        for Held { output, .. } in &mut self.outputs {
            if let Err(error) = output.finish(stop) {
                match output.is_required() {
                    true => first = first.and(Err(error)),
                    false => tracing::error!("the output {} has failed: {error}", output.name()),
                }
            }
        }
        first
    }

    /// Whether a required output wants no more.
    pub fn are_done(&self) -> bool {
        self.outputs.iter().any(|held| held.output.is_required() && held.output.is_done())
    }

    /// The shortest patience of all outputs, but at most a second.
    pub(crate) fn patience(&self) -> Duration {
        self.working().map(|output| output.patience()).min().unwrap_or(DRAIN_INTERVAL).min(LONGEST_PATIENCE)
    }

    pub(crate) fn want_whole_payloads(&self) -> bool {
        self.working().any(Output::wants_whole_payloads)
    }

    pub(crate) fn payloads_are_whole(&mut self) {
        self.working_mut().for_each(Output::payloads_are_whole);
    }

    pub(crate) fn askers(&self) -> Vec<Box<dyn Askers>> {
        self.outputs.iter().filter_map(|held| held.output.askers()).collect()
    }

    fn working(&self) -> impl Iterator<Item = &(dyn Output + 'a)> {
        self.outputs.iter().filter(|held| !held.has_failed).map(|held| &*held.output)
    }

    fn working_mut<'b>(&'b mut self) -> impl Iterator<Item = &'b mut (dyn Output + 'a)> {
        self.outputs.iter_mut().filter(|held| !held.has_failed).map(|held| &mut *held.output)
    }

    fn given<'b, T>(&self, all: &'b T, redact: impl FnOnce(&Redactor) -> T) -> Given<'b, T> {
        Given { all, redacted: self.redactor.as_ref().map(redact) }
    }

    fn each(&mut self, tell: impl Fn(&mut dyn Output, bool) -> Result) -> Result {
        for held in self.outputs.iter_mut().filter(|held| !held.has_failed) {
            let Err(error) = tell(&mut *held.output, held.gets_all) else { continue };
            held.has_failed = true;
            if held.output.is_required() {
                return Err(error);
            }
            tracing::error!("the output {} has failed, and gets nothing more: {error}", held.output.name());
        }
        Ok(())
    }

    fn change(&mut self) -> Result {
        let changes: Vec<_> = self.changes.iter().flat_map(Receiver::try_iter).collect();
        for Change { name, output } in changes {
            let place = self.outputs.iter().position(|held| held.output.name() == name);
            if let Some(place) = place {
                let mut old = self.outputs.remove(place).output;
                // It writes what waits. If it makes no progress, nobody waits for it.
                let finished = Stop::new(Some(Duration::ZERO)).map_err(Error::from).and_then(|stop| old.finish(&stop));
                if let Err(error) = finished {
                    tracing::error!("the output {name} has failed: {error}");
                }
                if let Some(written) = old.written() {
                    let before = self.before.entry(name).or_default();
                    *before = before.plus(written);
                }
            }
            if let Some(mut output) = output {
                let begin =
                    |run: &Arc<Run>| output.run_begins(self.given(&**run, |redactor| redactor.run(run)).to(false));
                let begun = self.run.as_ref().map_or(Ok(()), begin);
                let held = Held { output, has_failed: false, gets_all: false };
                self.outputs.insert(place.unwrap_or(self.outputs.len()), held);
                begun?;
            }
        }
        Ok(())
    }

    fn count(&mut self, added: &[Counters; Tracepoint::COUNT]) {
        for (counted, added) in self.counted.iter_mut().zip(added) {
            *counted = counted.plus(added);
        }
    }

    fn tell_written(&mut self) {
        let all = |held: &Held<'_>| {
            let name = held.output.name();
            let before = self.before.get(name).copied().unwrap_or_default();
            Some((name.to_owned(), before.plus(held.output.written()?)))
        };
        let written: Vec<_> = self.outputs.iter().filter_map(all).collect();
        if written.is_empty() {
            return;
        }
        let written: Vec<_> = written.iter().map(|(name, written)| (&**name, *written)).collect();
        self.working_mut().for_each(|output| output.others(&written));
    }
}

#[cfg(test)]
mod tests;
