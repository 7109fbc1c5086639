//! Metrics as an [`Output`]. In: the calls that outputs get. Out: each to the metric families that it concerns.

use std::{sync::Arc, time::Duration};

use super::Metrics;
use crate::{
    capture::{Batch, Counted, End, Run, now},
    event::Kind,
    output::{Observer, Output, Result, Waiting, Written, until_counted},
};

impl Output for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    fn waits(&mut self, waiting: &Waiting<'_>) {
        if waiting.has_failed {
            self.attach_failed();
        }
    }

    fn run_begins(&mut self, run: &Run) -> Result {
        run.failed.iter().for_each(|_| self.attach_failed());
        self.tapped(run.attached);
        self.attached(run.start_time);
        Ok(())
    }

    fn observer<'a>(&'a mut self, batch: &'a Batch) -> Option<Observer<'a>> {
        // What fires after a list was read counts by that list.
        self.replace_lists();
        let (_, drained) = batch.drained();
        Some(Box::new(move |event| {
            if !matches!(event.kind, Kind::Lost(_)) {
                self.observe_delay(drained.since(event.moment));
            }
            self.observe(event);
        }))
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result {
        let (bytes, used) = batch.ring_buffer();
        self.ring_buffer(bytes, used);
        self.counted(batch.added());
        Ok(())
    }

    fn unread(&mut self, batch: &Batch) {
        self.counted(batch.added());
    }

    fn run_ends(&mut self, counted: &Counted, _: End) -> Result {
        self.counted(&counted.added);
        self.node_gone();
        Ok(())
    }

    fn idle(&mut self) {
        self.replace_lists();
    }

    fn patience(&self) -> Duration {
        let (_, now) = now();
        until_counted(now)
    }

    fn others(&mut self, others: &[(&str, Written)]) {
        for &(name, Written { records, lost, readers, files, kept: _ }) in others {
            self.json_lines(name, records, lost);
            if let Some(files) = files {
                self.json_files(name, files);
            }
            if let Some(readers) = readers {
                self.http_streams(readers);
            }
        }
        self.kept(others.iter().find_map(|(_, written)| written.kept));
    }
}
