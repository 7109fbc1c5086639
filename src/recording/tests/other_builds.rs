//! Recordings of builds with other tracepoints, structs and reasons than this build.

use super::*;
use crate::{
    capture::Counters,
    kernel_side::{Field, Kind},
    recording::stored::{Opening, PlacedLoss, StoredLayout, StoredRun, StoredTracepoint},
};

/// A field: name, offset, size and kind.
type Told = (&'static str, u16, u16, Kind);

fn layout(size: u16, fields: &[Told]) -> StoredLayout<'static> {
    let fields = fields.iter().map(|&(name, offset, size, kind)| Field { name, offset, size, kind });
    StoredLayout { size, fields: fields.collect() }
}

const HEADER: [Told; 4] = [
    // The clock comes last, after a field that this build does not know.
    ("tracepoint", 0, 2, Kind::Unsigned),
    ("text_length", 2, 4, Kind::Unsigned),
    ("processor", 6, 2, Kind::Unsigned),
    ("boot_ns", 8, 8, Kind::Unsigned),
];

/// A record's header, like [`HEADER`] but with two bytes for the text's length.
fn header(number: u16, text: &str) -> Vec<u8> {
    let length = text.len() as u16;
    [&number.to_le_bytes()[..], &length.to_le_bytes(), &[0xee; 4], &9u64.to_le_bytes()].concat()
}

fn fields_of_header() -> Vec<Told> {
    let mut fields = HEADER.to_vec();
    fields[1].2 = 2;
    fields[2] = ("processor", 4, 4, Kind::Unsigned);
    fields
}

const NEW: &str = "net:added_in_the_middle";
const LAST: &str = "wallet:added_at_the_end";

/// An opening of another build, with a header like the one of [`header`].
fn opening(tracepoints: Vec<(&'static str, StoredLayout<'static>)>) -> Opening<'static> {
    let run = StoredRun {
        pid: 7,
        program: "/usr/bin/bitcoind".into(),
        start_time: 1.5,
        attached: (0..tracepoints.len() as u8).collect(),
        failed: AtMost::default(),
        data_directory: None,
        chain: Some("a-new-chain"),
        host: None,
        node: None,
        labels: AtMost::default(),
        user_agent: None,
    };
    Opening {
        recording: 1,
        group: 5,
        continues: true,
        header: layout(16, &fields_of_header()),
        tracepoints: tracepoints.into_iter().map(|(name, record)| StoredTracepoint { name, record }).collect(),
        reasons: ["unreadable", "too_tired", "ring_full"].into_iter().collect(),
        run: Some(run),
        counters: Changed::default(),
    }
}

fn bytes_of(opening: &Opening<'_>, entries: &[Stored<'_>]) -> Vec<u8> {
    let entries: Vec<_> = entries.iter().map(bytes_of_entry).collect();
    group_of(&postcard::to_allocvec(opening).unwrap(), &entries.concat())
}

fn batch_of_records<'a>(records: &'a [u8], lengths: &[usize], losses: Vec<PlacedLoss>, changed: Changed) -> Stored<'a> {
    Stored::Batch(StoredBatch {
        drained: (1_001, 1),
        unix_offset_ns: 0,
        block_duration_unit_ns: 1,
        ring_buffer: (16 << 20, 1),
        changed,
        losses: AtMost(losses),
        lengths: lengths.iter().map(|&length| length as u32).collect(),
        records: Bytes::new(records),
    })
}

#[test]
fn what_a_build_with_more_tracepoints_recorded_is_read_but_for_these() {
    // The fields have other sizes and another order. One is new, and one is missing.
    let added =
        layout(56, &[("weight", 16, 4, Kind::Unsigned), ("vsize", 20, 4, Kind::Signed), ("txid", 24, 32, Kind::Bytes)]);
    let mut messages = vec![("later", 16, 8, Kind::Unsigned)];
    let ours = Tracepoint::NetInboundMessage.layout();
    messages.extend(ours.fields.iter().map(|field| (field.name, field.offset + 8, field.size, field.kind)));
    let tracepoints = vec![
        ("mempool:added", added),
        (NEW, layout(24, &[("value", 16, 8, Kind::Signed)])),
        ("net:inbound_message", layout(ours.size + 8, &messages)),
        (LAST, layout(16, &[])),
    ];
    let address = "8.8.8.8:8333";
    let records = [
        [header(0, ""), vec![0xee; 4], (-141i32).to_le_bytes().to_vec(), vec![7; 32]].concat(),
        [header(1, "text"), vec![0; 8], b"text".to_vec()].concat(),
        {
            let whole = message("ping", &[1; 8]);
            [header(2, address), vec![0xee; 8], whole[16..].to_vec()].concat()
        },
        header(3, ""),
        header(3, ""),
    ];
    let lengths: Vec<_> = records.iter().map(Vec::len).collect();
    let records = records.concat();
    let loss =
        |before, tracepoint, reason, count| PlacedLoss { before, moment: 8, loss: Loss { tracepoint, reason, count } };
    // Known and unknown tracepoints, for known and unknown reasons.
    let losses = vec![loss(2, 0, 2, 5), loss(2, 0, 0, 6), loss(2, 0, 1, 7), loss(2, 1, 0, 8), loss(2, 2, 0, u64::MAX)];
    let counted = |fired| StoredCounters { fired, filtered: 1, value: 0, lost: AtMost(vec![6, 7, 5]) };
    let changed = AtMost(vec![(0, counted(1 + 1 + 6 + 7 + 5)), (3, counted(99))]);
    let untold = AtMost(vec![Loss { tracepoint: 3, reason: 0, count: 1 }, Loss { tracepoint: 0, reason: 2, count: 3 }]);
    let entries =
        [batch_of_records(&records, &lengths, losses, changed), Stored::End { changed: Changed::default(), untold }];
    let bytes = bytes_of(&opening(tracepoints), &entries);

    let mut reader = Reader::new(&bytes[..], &Selection::of(Tracepoint::all().collect())).unwrap();
    let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.unknown().to_string(), format!("{NEW} 1, too_tired 7, {LAST} 2"));
    let [Entry::Run(run), Entry::Batch(read), Entry::End(counted)] = &read[..] else { panic!("{read:?}") };
    let attached = "mempool:added,net:inbound_message".parse().unwrap();
    assert_eq!(**run, Run::new(7, "/usr/bin/bitcoind".into(), 1.5, attached));
    let mut expected = batch(
        1,
        &[
            write(
                added_record {
                    header: super::header(Tracepoint::MempoolAdded, ""),
                    txid: [7; 32],
                    vsize: -141,
                    ..Default::default()
                },
                b"",
            ),
            {
                let mut counts = [[0; 2]; Tracepoint::COUNT];
                (counts[Tracepoint::MempoolAdded as usize], counts[0]) = ([5, 6], [0, u32::MAX]);
                let header = event_header { boot_ns: 8, tracepoint: 255, ..Default::default() };
                write(losses_record { header, counts }, b"")
            },
            message("ping", &[1; 8]),
        ],
    );
    expected.added = Default::default();
    // Events that were lost for an unknown reason do not count as fired, so the sums agree.
    expected.added[Tracepoint::MempoolAdded as usize] =
        Counters { fired: 13, filtered: 1, lost: [5, 6, 0, 0, 0, 0, 0], value: 0 };
    assert_eq!(told(Entry::Batch(std::sync::Arc::clone(read))), told(Entry::Batch(expected.into())));
    let lost = Lost { tracepoint: Tracepoint::MempoolAdded, reason: LossReason::RingFull, count: 3 };
    assert_eq!(counted.untold, [lost]);
}

/// The opening of a build with fewer tracepoints, in another order.
#[test]
fn what_a_build_with_fewer_tracepoints_recorded_is_read_whole() {
    let names = ["mempool:added", "net:outbound_message", "net:inbound_message"];
    let of = |name: &&'static str| {
        let tracepoint = Tracepoint::all().find(|it| it.name() == *name).unwrap();
        let layout = tracepoint.layout();
        (*name, StoredLayout { size: layout.size, fields: layout.fields.iter().copied().collect() })
    };
    let ours = crate::recording::opening::of(1, 0, false, None, &Default::default());
    let opening = Opening { header: ours.header, ..opening(names.iter().map(of).collect()) };
    let number = |mut record: Vec<u8>, number| {
        record[std::mem::offset_of!(event_header, tracepoint)] = number;
        record
    };
    let records = [number(message("ping", &[1; 8]), 2), number(added(), 0)];
    let lengths: Vec<_> = records.iter().map(Vec::len).collect();
    let records = records.concat();
    let entry = batch_of_records(&records, &lengths, Vec::new(), Changed::default());
    let (entries, result) = read(&bytes_of(&opening, &[entry]), &[]);
    result.unwrap();
    let mut expected = batch(1, &[message("ping", &[1; 8]), added()]);
    expected.added = Default::default();
    assert_eq!(entries[1..], [told(Entry::Batch(expected.into()))]);
}

#[test]
fn records_that_this_build_has_no_room_for_are_left_out_and_said() {
    for (field, says) in [
        (("fee", 16, 8, Kind::Signed), false),
        (("fee", 16, 8, Kind::Bytes), true),
        (("txid", 16, 33, Kind::Bytes), true),
    ] {
        let opening = opening(vec![("mempool:added", layout(56, &[field]))]);
        let record = [header(0, ""), vec![1; 40]].concat();
        let entry = batch_of_records(&record, &[56], Vec::new(), Changed::default());
        let bytes = bytes_of(&opening, &[entry]);
        let mut reader = Reader::new(&bytes[..], &Selection::default()).unwrap();
        assert!(reader.by_ref().all(|entry| entry.is_ok()));
        assert_eq!(reader.unknown().to_string() == "mempool:added 1", says, "{field:?}");
        assert_eq!(reader.unknown().is_empty(), !says);
    }
}

#[test]
fn a_group_that_opens_with_nonsense_is_damaged() {
    let sensible = || opening(vec![("mempool:added", layout(24, &[("fee", 16, 8, Kind::Signed)]))]);
    assert!(read(&bytes_of(&sensible(), &[]), &[]).1.is_ok_and(|()| true));
    let field = |name, offset, size, kind| opening(vec![("mempool:added", layout(24, &[(name, offset, size, kind)]))]);
    let header = |fields: &[Told]| Opening { header: layout(16, fields), ..sensible() };
    let mut fields = fields_of_header();
    fields[1].3 = Kind::Bytes;
    let labels = |labels: &[(&'static str, &'static str)]| {
        let mut opening = sensible();
        opening.run.as_mut().unwrap().labels = labels.iter().copied().collect();
        opening
    };
    for nonsense in [
        field("fee", 17, 8, Kind::Signed),
        field("fee", u16::MAX, 8, Kind::Signed),
        field("fee", 16, 3, Kind::Signed),
        field("fee", 16, 0, Kind::Bytes),
        field("f\x1be", 16, 8, Kind::Signed),
        opening(vec![("mempool:\n", layout(16, &[]))]),
        opening(vec![("mempool:added", layout(15, &[]))]),
        opening(vec![("mempool:added", layout(u16::MAX, &[]))]),
        header(&[]),
        header(&fields),
        Opening { reasons: [""].into_iter().collect(), ..sensible() },
        Opening { counters: AtMost(vec![(1, StoredCounters::default())]), ..sensible() },
        labels(&[("a", "b"), ("a", "c")]),
        labels(&[("a-b", "c")]),
    ] {
        let (entries, result) = read(&bytes_of(&nonsense, &[]), &[]);
        assert!(entries.is_empty() && matches!(result, Err(Error::Damaged { at: 25, .. })), "{nonsense:?}");
    }
}

#[test]
fn what_a_later_version_adds_to_the_opening_is_passed_over() {
    let mut opening = postcard::to_allocvec(&opening(Vec::new())).unwrap();
    opening.extend_from_slice(b"and more");
    let (entries, result) = read(&group_of(&opening, &batch_of(Vec::new(), Changed::default(), Vec::new())), &[]);
    assert!(result.is_ok() && entries.len() == 2, "{entries:?}");
}

#[test]
fn names_that_are_made_up_take_a_bounded_memory() {
    let mut bytes = Vec::new();
    for group in 0..100 {
        let name: &str = format!("a:{group}").leak();
        let record = header(0, "");
        let entry = batch_of_records(&record, &[16], Vec::new(), Changed::default());
        bytes.extend(bytes_of(&opening(vec![(name, layout(16, &[]))]), &[entry]));
    }
    let mut reader = Reader::new(&bytes[..], &Selection::default()).unwrap();
    assert!(reader.by_ref().all(|entry| entry.is_ok()));
    let text = reader.unknown().to_string();
    assert!(text.ends_with("others 36") && text.split(", ").count() == 65, "{text}");
}
