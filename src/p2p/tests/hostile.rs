//! No bytes make decoding or printing panic or take long.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::decode;
use super::samples::{Sample, header, samples};
use crate::event::{
    self, Event, Kind, Moment, Time,
    net::{ConnectionType, Meta},
};
use crate::json::{BytesStyle, Style, write_line};
use crate::p2p::{COMMANDS, Message};

fn exercise(command: &str, payload: &[u8], bytes: BytesStyle) {
    let message = decode(command, payload);
    write_line(&mut io::sink(), &message, Style { bytes, ..Style::default() }).expect("a sink takes all");
}

/// The processor time of this thread, which other work on the machine does not change.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("a time is not negative")
}

#[test]
fn payloads_cut_anywhere_do_not_panic() {
    for Sample { command, payload, .. } in samples() {
        for length in 0..=payload.len() {
            exercise(command, &payload[..length], BytesStyle::Array);
        }
    }
}

#[test]
fn payloads_with_flipped_bits_do_not_panic() {
    let mut random = fastrand::Rng::with_seed(0x9e37_79b9_7f4a_7c15);
    let samples = samples();
    for _ in 0..60_000 {
        let Sample { command, payload, .. } = &samples[random.usize(..samples.len())];
        let mut payload = payload.clone();
        for _ in 0..=random.usize(..3) {
            if !payload.is_empty() {
                let byte = random.usize(..payload.len());
                payload[byte] ^= 1 << random.usize(..8);
            }
        }
        exercise(command, &payload, BytesStyle::Hex);
    }
}

#[test]
fn random_payloads_do_not_panic() {
    let mut random = fastrand::Rng::with_seed(0xd1b5_4a32_d192_ed03);
    for _ in 0..40_000 {
        let command = COMMANDS[random.usize(..COMMANDS.len())];
        // Small numbers are frequent: as lengths they lead further in.
        let small = random.usize(..2) == 0;
        let length = random.usize(..200);
        let payload: Vec<u8> = (0..length).map(|_| random.usize(..if small { 4 } else { 256 }) as u8).collect();
        exercise(command, &payload, BytesStyle::Array);
    }
}

#[test]
fn the_largest_messages_are_decoded_and_their_lines_have_bounds() {
    let header = bitcoin::consensus::serialize(&header(1));
    let list = |count: usize, entry: &[u8]| {
        [bitcoin::consensus::serialize(&bitcoin::VarInt(count as u64)), entry.repeat(count)].concat()
    };
    let announced = [&header[..], &[0]].concat();
    for (command, payload) in [
        ("inv", list(50_000, &[1; 36])),
        ("getdata", list(50_000, &[1; 36])),
        ("headers", list(2_000, &announced)),
        ("addr", list(1_000, &[9; 30])),
        ("cmpctblock", [&header[..], &[0; 8], &list(65_535, &[9; 6]), &[0]].concat()),
        ("getblocktxn", [&[7; 32][..], &list(65_535, &[0])].concat()),
        ("block", [&header[..], &list(399_991, &[0; 10])].concat()),
        ("tx", [&[2, 0, 0, 0, 1][..], &[0; 41], &list(444_000, &[0; 9]), &[0; 4]].concat()),
        ("tx", [&[2, 0, 0, 0, 0, 1, 1][..], &[0; 41], &[0], &list(3_999_900, &[0]), &[0; 4]].concat()),
    ] {
        let message = decode(command, &payload);
        assert!(payload.len() <= 4_000_000, "{command}: {}", payload.len());
        assert!(!matches!(message, Message::Undecodable { .. }), "{command}");
        let mut line = Vec::new();
        write_line(&mut line, &message, Style::default()).unwrap();
        // Both hashes of the smallest transaction, of 10 bytes, give the most text for their bytes.
        assert!(line.len() < 30 * payload.len(), "{command}: {} of {}", line.len(), payload.len());
    }
}

#[test]
fn claims_of_many_items_fail_at_once() {
    let header = bitcoin::consensus::serialize(&header(1));
    let hash = &[7; 32][..];
    let before_the_list: [(&str, Vec<&[u8]>); 20] = [
        ("addr", vec![]),
        ("addrv2", vec![]),
        ("inv", vec![]),
        ("headers", vec![]),
        ("filteradd", vec![]),
        ("filterload", vec![]),
        ("alert", vec![]),
        ("feature", vec![]),
        ("feature", vec![b"\x04name"]),
        ("reject", vec![]),
        ("tx", vec![&[2, 0, 0, 0]]),
        ("getheaders", vec![&[0; 4]]),
        ("block", vec![&header]),
        ("cmpctblock", vec![&header, &[0; 8]]),
        ("merkleblock", vec![&header, &[0; 4]]),
        ("merkleblock", vec![&header, &[0; 5]]),
        ("blocktxn", vec![hash]),
        ("getblocktxn", vec![hash]),
        ("cfilter", vec![&[0], hash]),
        ("cfcheckpt", vec![&[0], hash]),
    ];
    let claims: [&[u8]; 4] = [&[253, 255, 255], &[254, 0, 9, 61, 0], &[254, 255, 255, 255, 255], &[255; 9]];
    let start = processor_time();
    for (command, before) in &before_the_list {
        for claim in claims {
            let payload = [&before.concat(), claim].concat();
            let message = decode(command, &payload);
            assert!(matches!(message, Message::Undecodable { .. }), "{message:?}");
        }
    }
    // An input with a witness that claims four million items.
    let witness = [&[2, 0, 0, 0, 0, 1, 1], &[0; 41][..], &[0], &[254, 0, 9, 61, 0]].concat();
    assert!(matches!(decode("tx", &witness), Message::Undecodable { .. }));
    let took = processor_time() - start;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Counts what is written to it.
#[derive(Default)]
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Messages that give the most text for their bytes, each in its way.
fn messages_with_long_lines(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let header = bitcoin::consensus::serialize(&header(1));
    let filled = |before: &[u8], entry: &[u8]| {
        let count = (size - before.len() - 5) / entry.len();
        [before, &bitcoin::consensus::serialize(&bitcoin::VarInt(count as u64)), &entry.repeat(count)].concat()
    };
    let transaction = [&[255; 4][..], &[0, 0], &[255; 4]].concat();
    let entry = [&[255; 4][..], &[0, 255, 0], &[255; 2]].concat();
    vec![
        ("merkleblock", filled(&[&header[..], &[255; 4], &[0]].concat(), &[0])),
        ("block", filled(&header, &transaction)),
        ("cmpctblock", filled(&[&header[..], &[255; 8], &[0]].concat(), &[&[0], &transaction[..]].concat())),
        ("headers", filled(&[], &[255; 81])),
        ("inv", filled(&[], &[&[1, 0, 0, 0x40][..], &[255; 32]].concat())),
        ("addr", filled(&[], &[255; 30])),
        ("addrv2", filled(&[], &entry)),
        ("getblocktxn", filled(&[255; 32], &[0])),
        ("reject", [&[0, 1][..], &filled(&[0, 0], &[0x1f])[2..]].concat()),
        ("filteradd", filled(&[], &[255])),
        ("inv", vec![255; size]),
    ]
}

/// The most text for a message of the largest size. docs/events.md has these figures.
#[test]
fn lines_are_as_long_as_the_page_says() {
    // A part of the largest size, which is faster. The length of a line grows as its message does.
    const PART: usize = 10;
    let messages = messages_with_long_lines(4_000_000 / PART);
    let longest = |style: Style| {
        let length = |(command, payload): &(&'static str, Vec<u8>)| {
            let mut counted = Counted::default();
            let msg = decode(command, payload);
            let meta = Meta::new(7, "a", ConnectionType::Inbound, command, true, payload.len() as u64);
            let kind = Kind::Msg(event::net::Message { meta, msg, payload: Some(payload) });
            write_line(&mut counted, &Event { time: Time(0), moment: Moment(0), kind }, style).unwrap();
            ((counted.0 * PART as u64).div_ceil(1_000_000), *command)
        };
        messages.iter().map(length).max().unwrap()
    };
    let page = include_str!("../../../docs/events.md");
    let [array, hex] = [BytesStyle::Array, BytesStyle::Hex].map(|bytes| Style { bytes, ..Style::default() });
    for (options, style) in [
        ("none", array),
        ("`--payload raw`", Style { raw: true, ..array }),
        ("`--max-bytes 1KiB`", Style { max_bytes: Some(1024), ..array }),
        ("`--max-bytes 1KiB --bytes hex`", Style { max_bytes: Some(1024), ..hex }),
    ] {
        let (megabytes, command) = longest(style);
        let row = format!("| {options} | {megabytes} MB | `{command}`");
        assert!(page.contains(&row), "docs/events.md lacks: {row}");
    }
}
