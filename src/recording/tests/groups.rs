//! Groups: a recording can be begun, cut and joined at any of them.

use super::*;

/// One run in four groups. Each group has a batch, and the last one also has the end.
fn in_groups() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    for number in 1..=4 {
        writer.batch(&batch(number, &[message("ping", &[number as u8; 8]), added()])).unwrap();
        if number < 4 {
            writer.begin_group().unwrap();
        }
    }
    writer.end(&end()).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The entries of a recording that must be whole.
fn whole(bytes: &[u8]) -> Vec<String> {
    let (entries, result) = read(bytes, &[]);
    result.unwrap();
    entries
}

#[test]
fn a_recording_is_cut_and_joined_at_any_group() {
    let bytes = in_groups();
    let mut at = beginnings(&bytes);
    assert_eq!(at.len(), 4);
    at.push(bytes.len());
    let all = whole(&bytes);
    assert_eq!(all.len(), 6, "a run, four batches and an end: {all:?}");
    // A part begins with the run, and its counters begin at the cut.
    let those = |from: usize, to: usize| {
        let end = if to == 4 { 6 } else { to + 1 };
        [&all[..1], &all[from + 1..end]].concat()
    };
    for from in 0..4 {
        for to in from + 1..=4 {
            let part = &bytes[at[from]..at[to]];
            assert_eq!(whole(part), those(from, to), "{from} to {to}");
            // If the parts are neighbours, the run goes on. If not, it begins again.
            for next in 0..4 {
                let joined = [part, &bytes[at[next]..]].concat();
                let mut after = those(next, 4);
                if next == to {
                    after.remove(0);
                }
                assert_eq!(whole(&joined), [those(from, to), after].concat(), "{from} to {to}, {next}");
            }
        }
    }
    assert_eq!(whole(&[bytes.clone(), recording()].concat()), [all, whole(&recording())].concat());
    assert_eq!(whole(&[bytes.clone(), bytes].concat()).len(), 12);
    // A recording without any run.
    let mut empty = Vec::new();
    Writer::new(&mut empty).unwrap().finish().unwrap();
    assert_eq!(whole(&empty), [""; 0]);
    assert_eq!(whole(&[empty.clone(), recording(), empty].concat()), whole(&recording()));
}

#[test]
fn a_crash_takes_nothing_of_what_is_joined_to_it() {
    let (crashed, other) = (in_groups(), recording());
    let (all, others) = (whole(&crashed), whole(&other));
    for length in 1..crashed.len() {
        let (entries, result) = read(&[&crashed[..length], &other].concat(), &[]);
        if length < MAGIC.len() + 4 {
            assert!(matches!(result, Err(Error::NotARecording(_) | Error::Version(_))), "{length}: {result:?}");
            continue;
        }
        let (before, after) = entries.split_at(entries.len() - others.len());
        assert!(after == others, "{length}: {entries:?}");
        assert!(before == &all[..before.len()], "{length}");
        match result {
            Err(Error::Damaged { at, goes_on, .. }) => assert!(at <= length as u64 && goes_on == Some(length as u64)),
            // A recording that stops between groups lacks nothing.
            Ok(()) => assert!(beginnings(&crashed).contains(&length)),
            Err(error) => panic!("{length}: {error}"),
        }
    }
    // As after a crash of the machine: bytes that were not written yet are zeros.
    let zeros = [&crashed[..crashed.len() - 40], &[0; 100], &other].concat();
    let (entries, result) = read(&zeros, &[]);
    assert!(result.is_err() && entries.ends_with(&others));
    // Each damage gives an error, and all between is read.
    let damaged = &crashed[..crashed.len() - 40];
    let parts = [damaged, &other, damaged, &other].concat();
    let errors = Reader::new(&parts[..], &Selection::default()).unwrap().filter(Result::is_err).count();
    assert_eq!((errors, read(&parts, &[]).0.ends_with(&others)), (2, true));
}

#[test]
fn one_file_may_have_two_versions() {
    let old = include_bytes!("../../../tests/golden/version-2.recording");
    let (olds, new) = (whole(old), recording());
    let news = whole(&new);
    assert_eq!(whole(&[old, &new[..]].concat()), [&olds[..], &news].concat());
    assert_eq!(whole(&[&new[..], old].concat()), [&news[..], &olds].concat());
    let (entries, result) = read(&[&old[..old.len() - 20], &new].concat(), &[]);
    assert!(entries.ends_with(&news) && entries[..entries.len() - news.len()] == olds[..entries.len() - news.len()]);
    assert!(result.unwrap_err().to_string().ends_with("and everything from byte 208903 on"));
}

/// A peer can send the bytes of a recording.
#[test]
fn no_payload_looks_like_a_group() {
    let forged = recording();
    let mut random = fastrand::Rng::with_seed(1);
    // Random bytes do not compress, so the frame has them unchanged.
    let noise: Vec<u8> = (0..100_000).map(|_| random.u8(..)).collect();
    let payload = [&noise[..], &forged, MARK].concat();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    writer.batch(&batch(1, &[message("tx", &payload)])).unwrap();
    writer.finish().unwrap();
    assert_eq!(beginnings(&bytes), [0]);
    assert!(memchr::memmem::find_iter(&bytes, MARK).count() > 1, "it does stand there");
    let expected = told(Entry::Batch(batch(1, &[message("tx", &payload)]).into()));
    assert!(whole(&bytes)[1] == expected);
    // Damage anywhere near must not lead the reader to the forged group.
    let place = bytes.len() - 2 * BLOCK_HEADER - noise.len() - forged.len();
    for place in place - 200..place + 50 {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x40;
        assert!(read(&bytes, &[]).0.iter().skip(1).all(|entry| *entry == expected), "{place}");
    }
}

#[test]
fn a_group_begins_when_one_is_long_or_old() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    let records = [message("block", &vec![0; 2 << 20])];
    for number in 0..40 {
        writer.batch(&batch(number, &records)).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(beginnings(&bytes).len(), 2);
    assert_eq!(whole(&bytes).len(), 41);
}

#[test]
fn what_the_node_calls_itself_is_told_from_the_next_group_on() {
    let version = |connection_type, agent: &str| {
        let payload = [&[0; 80][..], &[agent.len() as u8], agent.as_bytes(), &[0; 5]].concat();
        let mut record = message("version", &payload);
        record[std::mem::offset_of!(event_header, tracepoint)] = Tracepoint::NetOutboundMessage as u8;
        record[std::mem::offset_of!(message_record, connection_type)] = connection_type;
        record
    };
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.run(&run("default")).unwrap();
    // In a private broadcast the node gives another user agent.
    let records = [version(7, "/pynode:0.0.1/"), version(1, "/Satoshi:31.0.0/"), version(1, "/later/")];
    writer.batch(&batch(1, &records)).unwrap();
    writer.begin_group().unwrap();
    writer.batch(&batch(2, &[added()])).unwrap();
    writer.finish().unwrap();
    let second = &bytes[beginnings(&bytes)[1]..];
    let Some(Ok(Entry::Run(run))) = Reader::new(second, &Selection::default()).unwrap().next() else { panic!() };
    assert_eq!(run.user_agent.as_deref(), Some("/Satoshi:31.0.0/"));
}

/// The same events in smaller batches, as if the ring buffer had been drained more often.
#[cfg(feature = "metrics")]
fn in_small_batches(entry: Entry) -> Vec<Entry> {
    let Entry::Batch(whole) = entry else { return vec![entry] };
    let records: Vec<_> = whole.records().map(<[u8]>::to_vec).collect();
    let parts = records.chunks(100).map(|records| {
        let mut part = batch(0, records);
        (part.decoder, part.drained, part.added) = (whole.decoder, whole.drained, whole.added);
        Entry::Batch(part.into())
    });
    parts.collect()
}

/// Metrics from a group on equal those of an exporter that attached at that moment. Neither knows who was connected before.
#[cfg(feature = "metrics")]
#[test]
fn a_group_gives_the_metrics_of_who_was_attached_then() {
    use crate::{
        metrics::{Metrics, Options},
        output::Outputs,
        stop::Stop,
    };
    let metrics = |entries: Vec<Entry>| {
        let metrics = Metrics::new(Default::default(), &Options { tx_response: true, ..Options::default() });
        let registry = metrics.registry();
        let mut outputs = Outputs::default().with(metrics);
        for entry in entries {
            match entry {
                Entry::Run(run) => outputs.run_begins(&run).unwrap(),
                Entry::Batch(batch) => outputs.batch(&batch).unwrap(),
                // Metrics are compared as they are while the run goes on.
                Entry::End(_) => {}
            }
        }
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        outputs.finish(&Stop::new(None).unwrap()).unwrap();
        text.lines().filter(|line| !line.contains("process_")).map(str::to_owned).collect::<Vec<_>>()
    };
    let of = |bytes: &[u8]| -> Vec<Entry> {
        let all = Selection::of(Tracepoint::all().collect());
        let entries = Reader::new(bytes, &all).unwrap().map(Result::unwrap);
        entries.flat_map(in_small_batches).collect()
    };
    let old = include_bytes!("../../../tests/golden/version-2.recording");
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    for entry in of(old) {
        match entry {
            Entry::Run(run) => writer.run(&run).unwrap(),
            Entry::Batch(batch) => {
                writer.batch(&batch).unwrap();
                writer.begin_group().unwrap();
            }
            Entry::End(counted) => writer.end(&counted).unwrap(),
        }
    }
    writer.finish().unwrap();
    assert_eq!(metrics(of(&bytes)), metrics(of(old)), "version 2 and what was made of it");
    let groups = beginnings(&bytes);
    assert!(groups.len() > 20, "{}", groups.len());
    for cut in (1..groups.len()).step_by(groups.len() / 8) {
        let mut attached_then = of(old);
        // The run, and the batches after the cut.
        attached_then.drain(1..=cut);
        assert_eq!(metrics(of(&bytes[groups[cut]..])), metrics(attached_then), "{cut}");
    }
}
