//! What a story shows. In: events, also with texts that would harm a terminal. Out: lines of the table, and of JSON.

use bitcointap::{
    capture::Run,
    event::{
        Event, Kind, Lost, Moment, Time,
        mempool::Mempool,
        net::{ConnectionType, Message, Meta},
    },
    json::Hash,
    p2p,
    spool::{Format, Line},
    tracepoint::{LossReason, Tracepoint},
};
use serde_json::Value;

use super::Story;
use crate::arguments::ReportFormat;

const HASH: Hash = Hash([7; 32]);

/// After so many microseconds of a run.
fn event(micros: u64, kind: Kind<'_>) -> Event<'_> {
    Event { time: Time(1_764_351_000_000_000_000 + micros * 1_000), moment: Moment(5_000 + micros * 1_000), kind }
}

fn message<'a>(address: &'a str, command: &'a str, inbound: bool, payload: &'a [u8]) -> Kind<'a> {
    let size = payload.len() as u64;
    let meta = Meta::new(3, address, ConnectionType::OutboundFullRelay, command, inbound, size);
    Kind::Msg(Message { meta, msg: p2p::decode(command, payload), payload: Some(payload) })
}

fn inv() -> Vec<u8> {
    [&[1, 1, 0, 0, 0][..], &HASH.0].concat()
}

fn reject(details: &str) -> Vec<u8> {
    [&[2, b't', b'x', 0x10, details.len() as u8], details.as_bytes(), &HASH.0].concat()
}

fn written(format: ReportFormat, tell: impl FnOnce(&mut Story, &mut Vec<u8>)) -> String {
    let (mut story, mut out) = (Story::new([HASH], format), Vec::new());
    tell(&mut story, &mut out);
    String::from_utf8(out).unwrap()
}

fn tell(story: &mut Story, out: &mut Vec<u8>, events: &[Event<'_>]) {
    events.iter().for_each(|event| story.event(out, event, Line::Frame).unwrap());
}

fn run(pid: i32) -> Run {
    let mut run = Run::new(pid, "/bitcoind".into(), 0.0, Default::default());
    run.host = Some("a\u{1b}[31mhost".into());
    run
}

#[test]
fn a_table_says_who_said_what_when() {
    let inv = inv();
    let rejected = || Kind::Mempool { event: Mempool::Rejected { txid: HASH, reason: "dust".into() } };
    let replaced = |replaced_txid, replacement_txid| Kind::Mempool {
        event: Mempool::Replaced {
            replaced_txid,
            replaced_vsize: 1,
            replaced_fee: 2,
            replaced_entry_time: 3,
            replacement_txid,
            replacement_vsize: 4,
            replacement_fee: 5,
            replacement_is_txid: true,
        },
    };
    let lost = Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: 12 };
    let table = written(ReportFormat::Text, |story, out| {
        story.run_begins(&run(7));
        tell(
            story,
            out,
            &[
                event(0, Kind::Lost(lost)),
                event(0, message("192.0.2.1:8333", "ping", true, &[0; 8])),
                event(1, message("192.0.2.1:8333", "inv", true, &inv)),
                event(1_500_002, message("192.0.2.1:8333", "inv", false, &inv)),
                event(1_500_003, message("192.0.2.1:8333", "notfound", false, &inv)),
                event(61_000_001, rejected()),
                event(61_000_001, replaced(HASH, Hash([8; 32]))),
                event(61_000_001, replaced(Hash([8; 32]), HASH)),
            ],
        );
        story.run_begins(&run(8));
        tell(story, out, &[event(62_000_001, rejected())]);
    });
    let eight = "08".repeat(32);
    let expected = format!(
        "                                                                       mempool                                12 events of mempool:added are \
         missing here, which may have named it: ring_full\n\
         Seconds since 2025-11-28T17:30:00.000001Z\n      \
         SECONDS    PEER  CONNECTION TYPE      DIRECTION  EVENT         ADDRESS                  WHAT\n     \
         0.000000       3  outbound-full-relay  inbound    inv           192.0.2.1:8333           announced by the peer\n     \
         1.500001       3  outbound-full-relay  outbound   inv           192.0.2.1:8333           announced to the peer\n     \
         1.500002       3  outbound-full-relay  outbound   notfound      192.0.2.1:8333           the node does not have it\n    \
         61.000000                                          mempool                                rejected by the mempool: dust\n    \
         61.000000                                          mempool                                replaced by {eight}, 1 vbytes, \
         fee 2 satoshis\n    \
         61.000000                                          mempool                                replaces {eight}, 4 vbytes, fee 5 \
         satoshis\n\
         Run 2 of the node: pid 8, a\u{fffd}[31mhost. It counts its peers from 0.\n    \
         62.000000                                          mempool                                rejected by the mempool: dust\n"
    );
    let without_margins = |text: &str| {
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_margins(&table), without_margins(&expected));
    // Columns stand below each other.
    let places = |word: &str| table.lines().filter_map(|line| line.find(word)).collect::<Vec<_>>();
    assert_eq!(places("192.0.2.1"), [places("ADDRESS")[0]; 3]);
    assert_eq!(places("rejected by"), [places("WHAT")[0]; 2]);
}

#[test]
fn hostile_texts_stay_in_their_line_and_harm_no_terminal() {
    let harm = "\u{1b}[2J\r\nSeconds since\u{202e}\t\u{0}";
    let reject = reject(harm);
    let events = [
        event(0, message(harm, "reject", true, &reject)),
        event(1, Kind::Mempool { event: Mempool::Rejected { txid: HASH, reason: harm.into() } }),
    ];
    let table = written(ReportFormat::Text, |story, out| tell(story, out, &events));
    assert_eq!(table.lines().count(), 4, "{table:?}");
    let is_harmful = |letter: char| letter != '\n' && letter.is_control() || letter == '\u{202e}';
    assert!(!table.contains(is_harmful), "{table:?}");

    let json = written(ReportFormat::Json, |story, out| tell(story, out, &events));
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["peer"]["address"], &rows[1]["reason"]), (&harm.into(), &harm.into()));
    assert_eq!(rows[0]["reason"], harm);
    assert_eq!((&rows[0]["what"], &rows[1]["since_first"]), (&"refused".into(), &0.000001.into()));
}
