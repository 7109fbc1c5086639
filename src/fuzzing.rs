//! What the fuzz targets in `fuzz/` drive, much of which is not public. In: any bytes. Out: nothing, unless something panics or
//! a line is no JSON.

use std::{cell::RefCell, io, iter, path::Path};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    http,
    json::{BytesStyle, Style, write_line},
    live::Live,
    metrics::{Metrics, Options},
    p2p::{self, COMMANDS},
    recording::{self, Entry, Reader},
    selection::Selection,
    tap::{self, Batch},
    tracepoint::{Tracepoint, Tracepoints},
};

/// Records as they come out of the ring buffer, each after its length in two bytes.
pub fn records(data: &[u8]) {
    batch(data).each(|event| drop(line(&event, Style::default())));
}

/// A payload, after a byte that chooses its command.
pub fn payload(data: &[u8]) {
    let Some((&command, payload)) = data.split_first() else { return };
    let command = COMMANDS.get(usize::from(command)).copied().unwrap_or("other");
    line(&p2p::decode(command, payload), Style::default());
    if let Some(beginning) = p2p::decode_beginning(command, payload) {
        line(&beginning, Style::default());
    }
}

/// Records, whose lines must be JSON in each style: the same value but for byte strings, and no name twice in an object.
pub fn json(data: &[u8]) {
    batch(data).each(|event| {
        let compact = line(&event, Style::default());
        let value = parsed(&compact);
        assert_eq!(value.to_string().len() + 1, compact.len());
        // Each of these takes as long as all else.
        if data.len().is_multiple_of(8) {
            assert_eq!(value, parsed(&line(&event, Style { pretty: true, ..Style::default() })));
            return;
        }
        let hex = parsed(&line(&event, Style { bytes: BytesStyle::Hex, raw: true, ..Style::default() }));
        assert_eq!(value["timestamp"], hex["timestamp"]);
        assert!(value["event"].as_object().map(Map::len) == Some(1) && hex["event"].is_object());
    });
}

/// Records, as those of one run of a node.
pub fn state(data: &[u8]) {
    with_states(|states| {
        states.take(&batch(data));
        states.look_at(data);
    });
}

/// What comes after the header of a recording, after a byte that says whether it is framed as a block.
pub fn recorded(data: &[u8]) {
    let Some((&framed, data)) = data.split_first() else { return };
    let bytes = recording::fuzzing::after_header(data, framed & 1 == 1);
    let Ok(reader) = Reader::new(&bytes[..], &Selection::default()) else { return };
    with_states(|states| {
        for entry in reader {
            match entry {
                Ok(Entry::Run(run)) => {
                    states.live.attached(&run);
                    // Here `tapped` would be called in truth, which takes longer than all else.
                    states.metrics.attached(run.start_time);
                }
                Ok(Entry::Batch(batch)) => states.take(&batch),
                Ok(Entry::End(counted)) => {
                    states.metrics.kernel_counters(&counted.counters);
                    states.live.detached(&counted.counters, "the node has ended");
                    states.metrics.node_gone();
                }
                Err(_) => {}
            }
        }
        states.look_at(data);
    });
}

/// What holds what events left behind.
struct States {
    metrics: Metrics,
    live: Live,
}

impl States {
    fn take(&mut self, batch: &Batch) {
        self.live.batch(batch);
        self.metrics.kernel_counters(batch.counters());
        batch.each(|event| {
            self.live.observe(&event);
            self.metrics.observe(&event);
        });
    }

    /// At one input of eight, as that takes longer than all else.
    fn look_at(&self, data: &[u8]) {
        if data.len().is_multiple_of(8) {
            serde_json::to_writer(io::sink(), &self.live.snapshot()).expect("a sink takes all");
        }
    }
}

/// Nothing of one input is left for the next, but for what metrics have counted: these take long to make.
fn with_states(then: impl FnOnce(&mut States)) {
    thread_local! {
        static STATES: RefCell<States> = RefCell::new(States {
            metrics: Metrics::new(all(), &Options { tx_response: true, utxocache_coins: true, ..Options::default() }),
            live: Live::new(all(), false),
        });
    }
    STATES.with_borrow_mut(|states| {
        then(states);
        states.metrics.node_gone();
        states.live = Live::new(all(), false);
    });
}

/// A web configuration file.
pub fn web_config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        http::fuzzing::web_config(text, Path::new("/nonexistent"));
    }
}

/// The query of a stream.
pub fn query(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        http::fuzzing::query(text, all());
    }
}

fn all() -> Tracepoints {
    Tracepoint::all().collect()
}

fn batch(mut data: &[u8]) -> Batch {
    tap::fuzzing::batch(iter::from_fn(|| {
        let (length, rest) = data.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let record;
        (record, data) = rest.split_at(length);
        Some(record)
    }))
}

fn line<T: Serialize>(value: &T, style: Style) -> Vec<u8> {
    let mut line = Vec::new();
    write_line(&mut line, value, style).expect("memory takes all");
    line
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).expect("a line is JSON")
}
