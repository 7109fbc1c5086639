//! Payloads are what Bitcoin Core would send: the `bitcoin` crate decodes them completely, except those that must not
//! decode.

use bitcoin::{
    Block,
    consensus::{Encodable, deserialize},
    hashes::{Hash, sha256d},
    p2p::{
        Magic,
        message::{NetworkMessage, RawNetworkMessage},
    },
};
use simnode::Command;

use crate::recorder::{Event, play};

/// The message, if its payload decodes without a rest.
pub fn decode(command: &str, payload: &[u8]) -> Option<NetworkMessage> {
    let mut raw = Magic::BITCOIN.to_bytes().to_vec();
    raw.extend(command.bytes().chain(std::iter::repeat(0)).take(12));
    raw.extend((payload.len() as u32).to_le_bytes());
    raw.extend(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
    raw.extend(payload);
    let message = deserialize::<RawNetworkMessage>(&raw).ok()?.into_payload();
    let mut again = Vec::new();
    message.consensus_encode(&mut again).unwrap();
    (again == payload).then_some(message)
}

fn decodes(command: &str, payload: &[u8]) -> bool {
    // Core's ping and addrv2 may be empty, which the crate does not know.
    if payload.is_empty() && matches!(command, "ping" | "addrv2") {
        return true;
    }
    let Some(message) = decode(command, payload) else { return false };
    let unknown = matches!(message, NetworkMessage::Unknown { .. });
    let meant = matches!(command, "feature" | "sendtxrcncl" | "xyzunknown12" | "protoconf" | "x");
    assert_eq!(unknown, meant, "{command}");
    true
}

#[test]
fn all_payloads_decode_but_those_tallied_as_undecodable() {
    for (scenario, count) in
        [("mix", 60_000), ("churn", 10_000), ("flood", 1_000), ("blocks", 300), ("hostile", 10_000)]
    {
        let (events, report) = play(scenario, 5, count);
        let mut undecodable = 0;
        for event in &events {
            if let Event::Message { command, payload, .. } = event {
                undecodable += u64::from(!decodes(command, payload));
            }
        }
        let tallied: u64 = report.messages.iter().map(|row| row.undecodable).sum();
        assert_eq!(undecodable, tallied, "{scenario}");
        assert_eq!(tallied > 0, ["mix", "hostile"].contains(&scenario));
    }
}

#[test]
fn the_first_thousands_of_the_mix_have_every_command_and_tracepoint() {
    for seed in 1..10 {
        let (_, report) = play("mix", seed, 4_000);
        for command in Command::ALL {
            assert!(
                report.messages.iter().any(|row| row.command == command.name()),
                "{} in seed {seed}",
                command.name()
            );
        }
        for (tracepoint, &count) in &report.tracepoints {
            assert!(count > 0, "{tracepoint} in seed {seed}");
        }
    }
}

#[test]
fn a_block_as_long_as_a_message_may_be_is_among_the_first_ten_events_of_blocks() {
    let (events, _) = play("blocks", 1, 10);
    let blocks: Vec<Block> = events
        .iter()
        .filter_map(|event| match event {
            Event::Message { command, payload, .. } if command == "block" && payload.len() == 4_000_000 => {
                Some(deserialize(payload).unwrap())
            }
            _ => None,
        })
        .collect();
    assert_eq!(blocks.len(), 1);
    assert!(blocks[0].txdata.len() > 5_000);
    assert!(blocks[0].check_merkle_root());
}

#[test]
fn blocks_of_the_mix_have_right_merkle_roots() {
    let (events, _) = play("mix", 1, 60_000);
    let mut whole = 0;
    for event in &events {
        if let Event::Message { command, payload, .. } = event
            && command == "block"
        {
            let block: Block = deserialize(payload).unwrap();
            assert!(block.check_merkle_root());
            whole += 1;
        }
    }
    assert!(whole > 2);
}
