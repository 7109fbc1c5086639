//! What holds for the records of all tracepoints. In: records, without any kernel. Out: lines of JSON, also for the tests beside each
//! group's decoding. There each field has its own value, so that swapped fields are found.

use super::*;
use crate::{
    json::{
        self, BytesStyle, Style,
        tests::schema::{View, assert_line},
    },
    kernel_side::{
        types::{event_header, losses_record, message_record},
        write,
    },
};

pub(crate) const DECODER: Decoder = Decoder { unix_offset_ns: 1_747_158_913_356_588_654, block_duration_unit_ns: 1 };

/// At 1747158913.356600999.
pub(super) fn header(tracepoint: Tracepoint, text: &str) -> event_header {
    event_header {
        boot_ns: 12_345,
        tracepoint: tracepoint.index() as u8,
        text_length: text.len() as u16,
        ..Default::default()
    }
}

/// The events of a record, each as the part of its line after `"event":`.
pub(super) fn events(decoder: &Decoder, record: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let known = decoder.decode(record, true, |event| {
        assert_eq!(event.moment, Moment(12_345));
        let mut line = Vec::new();
        json::write_line(&mut line, &event, Style { bytes: BytesStyle::Hex, ..Style::default() }).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_line(&line, View { hex: true, strings: false });
        let time = r#"{"timestamp":1747158913,"timestamp_subsec_micros":356600,"event":"#;
        lines.push(line.strip_prefix(time).expect("its time").trim_end().strip_suffix('}').unwrap().to_owned());
    });
    assert_eq!(known, !lines.is_empty());
    lines
}

#[track_caller]
pub(super) fn assert_event(record: &[u8], expected: &str) {
    assert_eq!(events(&DECODER, record), [expected]);
    // Any shorter record must not panic.
    for short in 0..record.len() {
        events(&DECODER, &record[..short]);
    }
}

pub(super) fn hash(first: u8) -> ([u8; 32], String) {
    let bytes: [u8; 32] = std::array::from_fn(|index| first.wrapping_add(index as u8));
    (bytes, bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn array<const N: usize>(text: &str) -> [u8; N] {
    let mut array = [0; N];
    array[..text.len()].copy_from_slice(text.as_bytes());
    array
}

#[test]
fn each_tracepoint_has_events() {
    for tracepoint in Tracepoint::all() {
        let fixed = message_record { header: header(tracepoint, ""), ..Default::default() };
        // A message has its text and payload after the struct. For other records, bytes after the struct are ignored.
        let after = if tracepoint.name().ends_with("_message") { &[][..] } else { &[0; 256] };
        assert_eq!(events(&DECODER, &write(fixed, after)).len(), 1, "{tracepoint}");
    }
}

#[test]
fn losses_are_one_event_for_each_tracepoint_and_reason() {
    let mut losses = losses_record { header: header(Tracepoint::NetInboundMessage, ""), ..Default::default() };
    losses.header.tracepoint = types::tracepoint::LOSSES.0 as u8;
    losses.counts[Tracepoint::NetInboundMessage.index()][LossReason::RingFull as usize] = 12;
    losses.counts[Tracepoint::MempoolAdded.index()][LossReason::Unreadable as usize] = 3;
    let expected = [
        r#"{"Lost":{"tracepoint":"net:inbound_message","reason":"ring_full","count":12}}"#,
        r#"{"Lost":{"tracepoint":"mempool:added","reason":"unreadable","count":3}}"#,
    ];
    assert_eq!(events(&DECODER, &write(losses, b"")), expected);
}

#[test]
fn any_bytes_are_an_event_or_none() {
    let mut random = fastrand::Rng::with_seed(0x9e37_79b9_7f4a_7c15);
    let mut next = || random.u64(..);
    for _ in 0..20_000 {
        let mut record: Vec<u8> = (0..next() % 200).map(|_| next() as u8).collect();
        if let Some(tracepoint) = record.get_mut(std::mem::offset_of!(event_header, tracepoint)) {
            *tracepoint %= Tracepoint::COUNT as u8 + 2;
        }
        DECODER.decode(&record, true, |event| {
            json::write_line(&mut std::io::sink(), &event, Style::default()).unwrap();
        });
    }
}

/// What the table says is what is decoded.
#[test]
fn each_tracepoint_has_the_record_of_its_row() {
    for tracepoint in Tracepoint::all() {
        let mut record = write(header(tracepoint, ""), b"");
        record.resize(tracepoint.layout().size.into(), 0);
        assert_eq!(events(&DECODER, &record).len(), 1, "{tracepoint}");
        record.pop();
        assert_eq!(events(&DECODER, &record).len(), 0, "{tracepoint}");
    }
}
