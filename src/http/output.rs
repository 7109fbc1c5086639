//! The server as an [`Output`]. In: the calls that outputs get. Out: events to the readers of streams, and whether the node is
//! attached, for readiness.

use std::{sync::Arc, time::Duration};

use super::{Server, Told};
use crate::{
    capture::{Batch, Counted, End, Run},
    output::{Askers, Output, Result, Waiting, Written},
    stop::Stop,
    tap::DRAIN_INTERVAL,
    tracepoint::LossReason,
};

impl Output for Server {
    fn name(&self) -> &str {
        "http"
    }

    fn waits(&mut self, waiting: &Waiting<'_>) {
        self.readiness.not_attached(waiting.why);
    }

    fn run_begins(&mut self, _: &Run) -> Result {
        self.readiness.attached();
        Ok(())
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        self.streams.push(batch);
        Ok(())
    }

    fn unread(&mut self, batch: &Batch) {
        self.streams.lose(batch, LossReason::Stopped);
    }

    fn run_ends(&mut self, counted: &Counted, end: End) -> Result {
        self.streams.run_ended(&counted.untold);
        self.readiness.not_attached(end.why_not_attached());
        Ok(())
    }

    /// There is no tap now, and the next one begins with whole payloads if readers want them.
    fn idle(&mut self) {
        self.streams.begin();
    }

    fn finish(&mut self, stop: &Stop) -> Result {
        self.streams.finish(|| stop.is_over(Duration::ZERO));
        Ok(())
    }

    fn patience(&self) -> Duration {
        if self.streams.have_readers() { DRAIN_INTERVAL } else { Duration::MAX }
    }

    fn wants_whole_payloads(&self) -> bool {
        self.streams.want_payloads()
    }

    fn payloads_are_whole(&mut self) {
        self.streams.begin();
    }

    fn askers(&self) -> Option<Box<dyn Askers>> {
        self.freshness.clone().map(|freshness| Box::new(freshness) as Box<dyn Askers>)
    }

    fn written(&self) -> Option<Written> {
        let Told { open, lines, lost } = self.streams.told();
        self.streams.are_on().then_some(Written { records: lines, lost, readers: Some(open), ..Written::default() })
    }
}
