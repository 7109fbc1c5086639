//! What an event takes of bitcointap itself, step by step. In: [`samples`]. Out: a table of time and allocations for
//! each step, by command of the message or by tracepoint. The package in `bench/` measures the whole, with a node.

mod samples;

use std::{sync::Arc, time::Duration};

use bitcointap::{
    capture::Batch,
    event::Event,
    json::{BytesStyle, Style, write_line},
    metrics::{Metrics, Options},
    p2p, peer_observer,
    recording::{Entry, Reader},
    selection::{Condition, Selection},
    tracepoint::Tracepoint,
};
use divan::{AllocProfiler, Bencher, Divan, black_box, counter::ItemsCount};
use samples::{Sample, happenings, messages};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    Divan::default().min_time(Duration::from_millis(50)).config_with_args().main();
}

/// Decoding a payload, and dropping the message.
#[divan::bench(args = messages())]
fn decode(bencher: Bencher, sample: &Sample) {
    let (command, payload) = sample.message();
    assert!(!matches!(p2p::decode(command, payload), p2p::Message::Undecodable { .. }), "{sample} is a good message");
    bencher.bench_local(|| drop(black_box(p2p::decode(black_box(command), black_box(payload)))));
}

/// The work of all families for a decoded event, once they have its series. A millisecond lies between two events.
#[divan::bench(args = messages().into_iter().chain(happenings()))]
fn observe(bencher: Bencher, sample: &Sample) {
    let mut events = sample.events();
    let mut metrics = Metrics::new(Tracepoint::all().collect(), &Options::default());
    let mut observe = || {
        for event in black_box(&mut events) {
            event.time.0 += 1_000_000;
            event.moment.0 += 1_000_000;
            metrics.observe(event);
        }
    };
    (0..100).for_each(|_| observe());
    bencher.bench_local(observe);
}

/// An event's line, with byte strings in the default style.
#[divan::bench(args = messages().into_iter().chain(happenings()))]
fn json(bencher: Bencher, sample: &Sample) {
    line(bencher, &sample.events(), BytesStyle::Array);
}

#[divan::bench(args = messages().into_iter().chain(happenings()))]
fn json_hex(bencher: Bencher, sample: &Sample) {
    line(bencher, &sample.events(), BytesStyle::Hex);
}

fn line(bencher: Bencher, events: &[Event<'_>], bytes: BytesStyle) {
    let style = Style { bytes, ..Style::default() };
    let mut out = Vec::new();
    let mut write = || {
        out.clear();
        for event in black_box(events) {
            write_line(&mut out, event, style).expect("a Vec takes all");
        }
    };
    write();
    bencher.bench_local(write);
}

/// An event's message for peer-observer's tools.
#[divan::bench(args = messages().into_iter().chain(happenings()))]
fn peer_observer(bencher: Bencher, sample: &Sample) {
    let events = sample.events();
    let mut out = Vec::new();
    let mut write = || {
        out.clear();
        for event in black_box(&events) {
            black_box(peer_observer::encode(event, peer_observer::Options::default(), &mut out));
        }
    };
    write();
    bencher.bench_local(write);
}

/// Records of a recorded node, as the kernel side writes them, to typed events. Items are events.
#[divan::bench(args = ["ping", "inv", "tx", "headers", "net:inbound_connection", "mempool:added", "mempool:rejected",
    "validation:block_connected", "utxocache:add"])]
fn record(bencher: Bencher, events: &str) {
    let batches = recorded(events);
    let count: usize = batches.iter().map(|batch| batch.len()).sum();
    assert!(count > 0, "the recording has {events}");
    let bencher = bencher.counter(ItemsCount::new(count));
    bencher.bench_local(|| batches.iter().for_each(|batch| batch.each(|event| drop(black_box(event)))));
}

/// The events of a tracepoint, or messages of a command, in the recording of the tests.
fn recorded(events: &str) -> Vec<Arc<Batch>> {
    let recording = include_bytes!("../../tests/golden/version-2.recording");
    let wanted = match events.parse() {
        Ok(tracepoints) => Selection::of(tracepoints),
        Err(_) => Selection::default().only(Condition::Command(events.into())),
    };
    let entries = Reader::new(recording.as_slice(), &wanted).expect("it is a recording");
    let batch = |entry| match entry {
        Entry::Batch(batch) => Some(batch),
        _ => None,
    };
    entries.filter_map(|entry| batch(entry.expect("it is whole"))).collect()
}
