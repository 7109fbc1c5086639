//! Makes the opening of a group. In: a run, and its counters. Out: these, with the tables of this build: tracepoints, structs, reasons.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::{
    MAGIC, VERSION,
    stored::{AtMost, Changed, Delivered, Opening, StoredCounters, StoredLayout, StoredRun, StoredTracepoint},
};
use crate::{
    capture::{Counters, Run},
    kernel_side::{HEADER, Layout},
    process::Chain,
    tracepoint::{LossReason, Tracepoint, Tracepoints},
};

/// A random number, by which a reader knows the groups of a recording.
pub(super) fn recording() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A group's header.
pub(crate) fn beginning() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

/// The opening of a group.
pub(super) fn of<'a>(
    recording: u64,
    group: u64,
    continues: bool,
    run: Option<&'a Run>,
    now: &[Counters; Tracepoint::COUNT],
) -> Opening<'a> {
    let tracepoint = |it: Tracepoint| StoredTracepoint { name: it.name(), record: layout(it.layout()) };
    Opening {
        recording,
        group,
        continues,
        header: layout(&HEADER),
        tracepoints: Tracepoint::all().map(tracepoint).collect(),
        reasons: LossReason::ALL.into_iter().map(LossReason::name).collect(),
        run: run.map(stored),
        counters: counters(now, |index| now[index] != Counters::default()),
    }
}

fn layout<'a>(layout: &Layout<'a>) -> StoredLayout<'a> {
    StoredLayout { size: layout.size, fields: layout.fields.iter().copied().collect() }
}

fn stored(run: &Run) -> StoredRun<'_> {
    let numbers = |tracepoints: Tracepoints| tracepoints.iter().map(|it| it as u8).collect::<AtMost<_, _>>();
    StoredRun {
        pid: run.pid,
        program: run.program.to_string_lossy(),
        start_time: run.start_time,
        attached: numbers(run.attached),
        failed: numbers(run.failed),
        data_directory: run.data_directory.as_ref().map(|path| path.to_string_lossy()),
        chain: run.chain.map(Chain::name),
        host: run.host.as_deref(),
        node: run.named.node(),
        labels: run.named.labels().collect(),
        user_agent: run.user_agent.as_deref(),
    }
}

/// How many events came before the group.
pub(super) fn delivered(delivered: &[u64; Tracepoint::COUNT]) -> Delivered {
    let counts = delivered.iter().enumerate().filter(|(_, count)| **count > 0);
    counts.map(|(index, &count)| (index as u8, count)).collect()
}

/// The counters that shall be written.
pub(super) fn counters(counters: &[Counters; Tracepoint::COUNT], is_told: impl Fn(usize) -> bool) -> Changed {
    let stored = |(index, it): (usize, &Counters)| {
        // Most are zeros, and a reader takes what is not there for zeros.
        let last = it.lost.iter().rposition(|&count| count > 0);
        let lost = it.lost[..last.map_or(0, |last| last + 1)].iter().copied().collect();
        (index as u8, StoredCounters { fired: it.fired, filtered: it.filtered, value: it.value, lost })
    };
    counters.iter().enumerate().filter(|&(index, _)| is_told(index)).map(stored).collect()
}
