//! What takes events: one contract for all outputs, and the list that holds them.
//!
//! In, from a node that is [followed](crate::follow) or a recording that is [replayed](crate::recording::Replay): when a run of the
//! node begins and ends, what was drained of it, what nobody could read any more. Out: the same to each [`Output`], in order.
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

use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use crate::{
    capture::{Batch, Counted, Counters, End, Run},
    event::Event,
    stop::Stop,
    tap::DRAIN_INTERVAL,
    tracepoint::Tracepoint,
};

/// The longest that events wait in the ring buffer, whatever outputs say.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// Why an output has failed, in a line of text.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What an output can do.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Is given the events of a batch one by one.
pub type Observer<'a> = Box<dyn FnMut(&Event<'_>) + 'a>;

/// Takes events. It is called by the thread that drains the node's tap: what takes long belongs to a thread of its own.
///
/// All but the name has a default, which does nothing.
pub trait Output {
    /// What logs and metrics call it.
    fn name(&self) -> &str;

    /// Whether everything ends when it fails, or wants no more. If not, it alone ends.
    fn is_required(&self) -> bool {
        true
    }

    /// No node is attached to, for another reason than before.
    fn waits(&mut self, _why: &Waiting<'_>) {}

    /// A run of the node is attached to; or one of a recording begins.
    fn run_begins(&mut self, _run: &Run) -> Result {
        Ok(())
    }

    /// What is to see each event of a batch. They are decoded once for all outputs.
    fn observer<'a>(&'a mut self, _batch: &'a Batch) -> Option<Observer<'a>> {
        None
    }

    /// What was drained, in order, empty batches too. Comes after its events were observed.
    fn batch(&mut self, _batch: &Arc<Batch>) -> Result {
        Ok(())
    }

    /// What was left in the ring buffer when time was up. Its events are lost.
    fn unread(&mut self, _batch: &Batch) {}

    /// The run has ended, or is let go. All of its batches were given.
    fn run_ends(&mut self, _counted: &Counted, _end: End) -> Result {
        Ok(())
    }

    /// Nothing comes at the moment. Called a few times a second while no run is attached to.
    fn idle(&mut self) {}

    /// Nothing more will come, but it may be looked at on.
    fn over(&mut self) {}

    /// The end. Writes what is not written yet, as far as there is time.
    fn finish(&mut self, _stop: &Stop) -> Result {
        Ok(())
    }

    /// Whether it wants no more.
    fn is_done(&self) -> bool {
        false
    }

    /// How long events may wait in the ring buffer: asked again and again.
    fn patience(&self) -> Duration {
        DRAIN_INTERVAL
    }

    /// Whether it wants payloads whole, where they are [limited](crate::tap::Payloads::Limited): asked again and again.
    fn wants_whole_payloads(&self) -> bool {
        false
    }

    /// The payloads of all events that come are whole by now.
    fn payloads_are_whole(&mut self) {}

    /// Who may want events sooner than the others do.
    fn askers(&self) -> Option<Box<dyn Askers>> {
        None
    }

    /// How much it has written, if metrics are to tell that.
    fn written(&self) -> Option<Written> {
        None
    }

    /// What other outputs have written by now.
    fn others(&mut self, _others: &[(&str, Written)]) {}
}

/// Why no node is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// A line of text.
    pub why: &'a str,
    /// Attaching was tried, and failed.
    pub has_failed: bool,
}

/// What an output has written since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines, packets or other records.
    pub records: u64,
    /// Events that were to be written and could not be.
    pub lost: u64,
    /// Who reads it at the moment, if it has readers that come and go.
    pub readers: Option<usize>,
}

impl Written {
    /// That of both.
    fn plus(self, later: Self) -> Self {
        Self { records: self.records + later.records, lost: self.lost + later.lost, readers: later.readers }
    }
}

/// Those who ask for what has fired by now, and wait until it was drained.
pub trait Askers {
    /// Readable when somebody has asked.
    fn wakes(&self) -> &dyn AsFd;

    /// The node is drained from now on; or no longer, and nobody needs to wait.
    fn drained(&self, is_drained: bool);

    /// How many questions there were by now: to be asked before a drain begins.
    fn asked(&self) -> u64;

    /// So many questions were followed by a drain, and what that gave is taken in.
    fn answer(&self, asked: u64);
}

/// How long it is from `now` to the next time that events are drained which are only counted. Each time is paid for with the caches
/// that it fills anew, as much as hundreds of events are. So it is once in a second, by which the live page tells them: shortly
/// before its end, so that most of what fired in it is told of it.
#[cfg(feature = "metrics")]
pub(crate) fn until_counted(now: crate::event::Moment) -> Duration {
    let [interval, place] = [1_000_000_000, 950_000_000];
    Duration::from_nanos(interval - (now.0 + interval - place) % interval)
}

/// The outputs, in the order in which they are told.
#[derive(Default)]
pub struct Outputs<'a> {
    outputs: Vec<Held<'a>>,
    changes: Option<Receiver<Change>>,
    /// What outputs have written that are there no more.
    before: BTreeMap<String, Written>,
    /// The one that is attached to.
    run: Option<Run>,
    /// Of the run, by [`Tracepoint::index`].
    counted: [Counters; Tracepoint::COUNT],
}

/// A change of the list, made by another thread.
pub struct Change {
    /// The output of this name is finished, if there is one.
    pub name: String,
    /// What takes its place.
    pub output: Option<Box<dyn Output + Send>>,
}

struct Held<'a> {
    output: Box<dyn Output + 'a>,
    has_failed: bool,
}

impl<'a> Outputs<'a> {
    /// Adds one, which is told after the others.
    #[must_use]
    pub fn with(mut self, output: impl Output + 'a) -> Self {
        self.outputs.push(Held { output: Box::new(output), has_failed: false });
        self
    }

    /// From now on it changes with what comes here.
    #[must_use]
    pub fn changed_by(self, changes: Receiver<Change>) -> Self {
        Self { changes: Some(changes), ..self }
    }

    /// What the run has counted by now, by [`Tracepoint::index`].
    pub fn counted(&self) -> &[Counters; Tracepoint::COUNT] {
        &self.counted
    }

    /// See [`Output::waits`].
    pub fn waits(&mut self, waiting: &Waiting<'_>) {
        self.working().for_each(|output| output.waits(waiting));
    }

    /// See [`Output::run_begins`].
    ///
    /// # Errors
    /// That of an output that is required, as for the next three.
    pub fn run_begins(&mut self, run: &Run) -> Result {
        self.counted = Default::default();
        self.run = Some(run.clone());
        self.each(|output| output.run_begins(run))
    }

    /// See [`Output::batch`]: gives the events of the batch to those who observe, and the batch to all.
    pub fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.count(batch.added());
        let mut observers: Vec<_> = self.working().filter_map(|output| output.observer(batch)).collect();
        if !observers.is_empty() && !batch.is_empty() {
            batch.each(|event| observers.iter_mut().for_each(|observe| observe(&event)));
        }
        drop(observers);
        self.each(|output| output.batch(batch))?;
        self.tell_written();
        self.change()
    }

    /// See [`Output::unread`].
    pub fn unread(&mut self, batch: &Batch) {
        self.count(batch.added());
        self.working().for_each(|output| output.unread(batch));
    }

    /// See [`Output::run_ends`].
    pub fn run_ends(&mut self, counted: &Counted, end: End) -> Result {
        self.count(&counted.added);
        self.run = None;
        self.each(|output| output.run_ends(counted, end))
    }

    /// See [`Output::idle`].
    pub fn idle(&mut self) {
        self.working().for_each(Output::idle);
        self.tell_written();
        // One that is required fails with the next batch.
        let _ = self.change();
    }

    /// See [`Output::over`].
    pub fn over(&mut self) {
        self.working().for_each(Output::over);
    }

    /// See [`Output::finish`]. All are finished, whatever becomes of the others.
    ///
    /// # Errors
    /// The first of an output that is required.
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

    /// Whether one that is required wants no more.
    pub fn are_done(&self) -> bool {
        self.outputs.iter().any(|held| held.output.is_required() && held.output.is_done())
    }

    /// The shortest, and not more than a second.
    pub(crate) fn patience(&self) -> Duration {
        let working = self.outputs.iter().filter(|held| !held.has_failed);
        working.map(|held| held.output.patience()).min().unwrap_or(DRAIN_INTERVAL).min(LONGEST_PATIENCE)
    }

    pub(crate) fn want_whole_payloads(&self) -> bool {
        self.outputs.iter().any(|held| !held.has_failed && held.output.wants_whole_payloads())
    }

    pub(crate) fn payloads_are_whole(&mut self) {
        self.working().for_each(Output::payloads_are_whole);
    }

    pub(crate) fn askers(&self) -> Vec<Box<dyn Askers>> {
        self.outputs.iter().filter_map(|held| held.output.askers()).collect()
    }

    fn working<'b>(&'b mut self) -> impl Iterator<Item = &'b mut (dyn Output + 'a)> {
        self.outputs.iter_mut().filter(|held| !held.has_failed).map(|held| &mut *held.output)
    }

    fn each(&mut self, tell: impl Fn(&mut dyn Output) -> Result) -> Result {
        for held in self.outputs.iter_mut().filter(|held| !held.has_failed) {
            let Err(error) = tell(&mut *held.output) else { continue };
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
                // What waits is written, but for one that stands still nobody waits.
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
                let begun = self.run.as_ref().map_or(Ok(()), |run| output.run_begins(run));
                self.outputs.insert(place.unwrap_or(self.outputs.len()), Held { output, has_failed: false });
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
        self.working().for_each(|output| output.others(&written));
    }
}

#[cfg(test)]
mod tests;
