//! No bytes make decoding or printing panic or take long.

use std::io;
use std::time::{Duration, Instant};

use super::decode;
use super::samples::{Sample, header, samples};
use crate::json::{BytesStyle, Style, write_line};
use crate::p2p::{COMMANDS, Message};

fn exercise(command: &str, payload: &[u8], bytes: BytesStyle) {
    let message = decode(command, payload);
    write_line(&mut io::sink(), &message, Style { bytes, ..Style::default() }).expect("a sink takes all");
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
        // Small numbers often: as lengths they lead further in.
        let small = random.usize(..2) == 0;
        let length = random.usize(..200);
        let payload: Vec<u8> = (0..length).map(|_| random.usize(..if small { 4 } else { 256 }) as u8).collect();
        exercise(command, &payload, BytesStyle::Array);
    }
}

#[test]
fn claims_of_many_items_fail_at_once() {
    let header = bitcoin::consensus::serialize(&header(1));
    let hash = &[7; 32][..];
    let before_the_list: [(&str, Vec<&[u8]>); 18] = [
        ("addr", vec![]),
        ("addrv2", vec![]),
        ("inv", vec![]),
        ("headers", vec![]),
        ("filteradd", vec![]),
        ("filterload", vec![]),
        ("alert", vec![]),
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
    let start = Instant::now();
    for (command, before) in &before_the_list {
        for claim in claims {
            let payload = [&before.concat(), claim].concat();
            let message = decode(command, &payload);
            assert!(matches!(message, Message::Undecodable { .. }), "{message:?}");
        }
    }
    // An input whose witness claims four million items.
    let witness = [&[2, 0, 0, 0, 0, 1, 1], &[0; 41][..], &[0], &[254, 0, 9, 61, 0]].concat();
    assert!(matches!(decode("tx", &witness), Message::Undecodable { .. }));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
