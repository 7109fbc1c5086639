//! What the fuzz targets in `fuzz/` drive, much of which is not public. The tests below drive it with what the targets
//! have found. In: any bytes. Out: nothing, unless something panics, a line is no JSON, or the tests cannot decode a message for
//! peer-observer.

use std::{cell::RefCell, io, iter, path::Path};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    capture::{self, Batch},
    event::{
        Event, Kind, Moment, Time,
        names::is_command_with_names,
        net::{ConnectionType, Message, Meta},
    },
    http,
    json::{BytesStyle, Hash, IntegersStyle, Style, write_line},
    live::Live,
    metrics::{Metrics, Options},
    nats::{self, longest_line},
    p2p::{self, COMMANDS},
    peer_observer,
    recording::{self, Entry, Reader},
    selection::{Followed, Selection},
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
    let msg = p2p::decode(command, payload);
    line(&msg, Style::default());
    let meta = Meta::new(0, "", ConnectionType::Inbound, command, true, payload.len() as u64);
    let kind = Kind::Msg(Message { meta, msg, payload: Some(payload) });
    let event = Event { time: Time(0), moment: Moment(0), kind };
    encode(&event);
    let mut names_something = false;
    event.names(|_| names_something = true);
    assert!(!names_something || is_command_with_names(command));
    // Some hash of zeros, as at the end of a locator.
    Followed::new([Hash([0; 32])]).are_named_by(&event);
    if let Some(beginning) = p2p::decode_beginning(command, payload) {
        line(&beginning, Style::default());
    }
}

/// Records. Their lines must be JSON in each style, with the same value except for byte strings, and no name twice in
/// an object.
pub fn json(data: &[u8]) {
    batch(data).each(|event| {
        encode(&event);
        let compact = line(&event, Style::default());
        let value = parsed(&compact);
        assert_eq!(value.to_string().len() + 1, compact.len());
        assert!(compact.len() <= longest_line(&event));
        // Each of these takes as long as everything else.
        if data.len().is_multiple_of(8) {
            assert_eq!(value, parsed(&line(&event, Style { pretty: true, ..Style::default() })));
            return;
        }
        if data.len() % 8 == 1 {
            let cut = parsed(&line(&event, Style { max_bytes: Some(8), ..Style::default() }));
            assert_eq!(cut.get("cut").is_some(), cut["event"] != value["event"]);
            return;
        }
        let (bytes, integers) = (BytesStyle::Hex, IntegersStyle::String);
        let raw = line(&event, Style { bytes, integers, raw: true, ..Style::default() });
        assert!(raw.len() <= longest_line(&event));
        let hex = parsed(&raw);
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

/// What comes after the header of a recording, after a byte that says of which version that is, and what of it is to be whole.
pub fn recorded(data: &[u8]) {
    let Some((&form, data)) = data.split_first() else { return };
    let bytes = recording::fuzzing::recording(data, recording::fuzzing::Form(form));
    recording::fuzzing::survey(&bytes);
    let Ok(reader) = Reader::new(&bytes[..], &Selection::default()) else { return };
    with_states(|states| {
        reader.flatten().for_each(|entry| states.take_entry(entry));
        states.look_at(data);
    });
}

/// Messages of a publisher of a recording. Each is a byte for its form, its length in two bytes, and its payload; if that makes up a
/// recording, a byte comes first as in [`recorded`].
pub fn published(mut data: &[u8]) {
    let all = data;
    let messages = iter::from_fn(|| {
        let (&[form, low, high], rest) = data.split_first_chunk()?;
        let (form, length) = (nats::reading::Form(form), usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
        let payload;
        (payload, data) = rest.split_at(length);
        Some(match payload.split_first() {
            Some((&of, bytes)) if form.is_recording() => {
                (form, recording::fuzzing::recording(bytes, recording::fuzzing::Form(of)))
            }
            _ => (form, payload.to_vec()),
        })
    });
    with_states(|states| {
        nats::reading::read(messages, |entry| states.take_entry(entry));
        states.look_at(all);
    });
}

/// What holds the effects of events.
struct States {
    metrics: Metrics,
    live: Live,
}

impl States {
    fn take_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Run(run) => {
                self.live.attached(&run);
                // `tapped` belongs here, but takes longer than everything else.
                self.metrics.attached(run.start_time);
            }
            Entry::Batch(batch) => self.take(&batch),
            Entry::End(counted) => {
                self.metrics.counted(&counted.added);
                self.live.detached(&counted, "the node has ended");
                self.metrics.node_gone();
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        self.live.batch(batch);
        self.metrics.counted(batch.added());
        batch.each(|event| {
            self.live.observe(&event);
            self.metrics.observe(&event);
        });
    }

    /// For one input in eight, since it takes longer than everything else.
    fn look_at(&self, data: &[u8]) {
        if data.len().is_multiple_of(8) {
            serde_json::to_writer(io::sink(), &self.live.snapshot()).expect("a sink takes all");
        }
    }
}

/// Nothing of one input is left for the next, except what metrics have counted: these take long to make.
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
    capture::fuzzing::batch(iter::from_fn(|| {
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

/// Encodes an event for peer-observer's tools.
fn encode(event: &Event<'_>) {
    for low_data in [false, true] {
        let mut message = Vec::new();
        let subject = peer_observer::encode(event, peer_observer::Options { low_data }, &mut message);
        assert_eq!(subject.is_none(), message.is_empty());
    }
    #[cfg(test)]
    peer_observer::tests::said(event);
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).expect("a line is JSON")
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    /// Each kept input of a target, and many made from these by what goes wrong on the way: flipped bits, cuts,
    /// missing, repeated or foreign parts.
    fn withstands(target: &str, hook: fn(&[u8]), inputs: usize) {
        let corpus = tempfile::tempdir().unwrap();
        let packed = format!("{}/fuzz/corpora/{target}.tar.gz", env!("CARGO_MANIFEST_DIR"));
        let unpacked = Command::new("tar").arg("-xzf").arg(&packed).arg("-C").arg(corpus.path()).status().unwrap();
        assert!(unpacked.success(), "{packed}");
        let mut kept: Vec<_> = fs::read_dir(corpus.path()).unwrap().map(|file| file.unwrap().path()).collect();
        kept.sort();
        let kept: Vec<Vec<u8>> = kept.iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(kept.len() > 20, "{}", kept.len());
        kept.iter().for_each(|input| hook(input));

        let mut random = fastrand::Rng::with_seed(inputs as u64);
        for _ in 0..inputs {
            let mut input = kept[random.usize(..kept.len())].clone();
            for _ in 0..=random.usize(..4) {
                change(&mut input, &kept, &mut random);
            }
            hook(&input);
        }
    }

    fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], random: &mut fastrand::Rng) {
        let mut part = |bytes: &[u8]| {
            let start = random.usize(..=bytes.len());
            start..random.usize(start..=bytes.len())
        };
        let (here, other) = (part(input), &kept[input.len() % kept.len()]);
        let there = part(other);
        match random.usize(..6) {
            0 => input.truncate(here.start),
            1 => drop(input.drain(here)),
            2 => drop(input.splice(here, other[there].iter().copied())),
            3 => input.extend_from_within(here),
            // Lengths and counts at their edges.
            4 => input[here].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            _ => input[here].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.usize(..8)),
        }
    }

    #[test]
    fn no_records_make_it_panic() {
        withstands("records", records, 60_000);
    }

    #[test]
    fn no_payload_makes_it_panic() {
        withstands("p2p", payload, 60_000);
    }

    #[test]
    fn no_event_is_a_line_that_is_no_json() {
        withstands("json", json, 20_000);
    }

    #[test]
    fn no_events_confuse_what_is_kept_of_peers() {
        withstands("state", state, 10_000);
    }

    #[test]
    fn no_publisher_makes_its_reader_panic() {
        withstands("published", published, 10_000);
    }

    #[test]
    fn no_recording_makes_it_panic() {
        withstands("recording", recorded, 10_000);
    }

    #[test]
    fn no_web_configuration_makes_it_panic() {
        withstands("web_config", web_config, 10_000);
    }

    #[test]
    fn no_query_makes_it_panic_or_is_told_unescaped() {
        withstands("query", query, 60_000);
    }
}
