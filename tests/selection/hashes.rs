//! `--hash` and `--not-hash`: events that name a transaction or block, wherever events are selected.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::Path,
};

use serde_json::Value;

use super::{last_counts, lines, to_be_told, told};
use crate::{
    node::Simnode,
    streams::Stream,
    tool::{Attached, Exporter, bitcointap, eventually, output},
    trace::truth::{self, Fired, Known},
};

/// A node that fires the same whenever it runs, and into the ring buffer of which all of it fits.
const NODE: &str = "--seed 3 --count 6000 --rate 3000 --fixed-time 1700000000";

fn node(trace: &Path) -> Simnode {
    Simnode::start("v31", &format!("{NODE} --trace {} --trace-contents", trace.display()))
}

fn fired(directory: &Path) -> Vec<Fired> {
    let trace = directory.join("truth");
    let mut node = node(&trace);
    node.fire();
    node.tally();
    truth::events(&trace)
}

/// Values for conditions: both hashes of a transaction that is sent, and leaves the mempool; and the hash of a block.
struct Hashes {
    txid: String,
    wtxid: String,
    block: String,
}

impl Hashes {
    fn of(fired: &[Fired]) -> Self {
        let of = |tracepoint: &'static str| {
            let events = fired.iter().filter(move |event| event.tracepoint() == tracepoint);
            events.map(|event| event.line["hashes"][0].as_str().unwrap().to_owned())
        };
        let with_witness = |txid: String| {
            let known = Known::new([&*txid]).having_seen(fired);
            let wtxid = known.others().next()?.to_owned();
            Some((txid, wtxid))
        };
        let (txid, wtxid) = of("mempool:removed").find_map(with_witness).unwrap();
        Self { txid, wtxid, block: of("validation:block_connected").next().unwrap() }
    }
}

/// What a selection gives: `only` and `not` are hashes, `others` another condition.
fn selected(fired: &[Fired], only: &[&str], not: &[&str], others: impl Fn(&Value) -> bool) -> Vec<Value> {
    let (mut only_known, mut not_known) = (Known::new(only.iter().copied()), Known::new(not.iter().copied()));
    let is_selected = |event: &&Fired| {
        if !others(&event.line) {
            return false;
        }
        let (is_only, is_not) = (only_known.find(event).is_some(), not_known.find(event).is_some());
        (only.is_empty() || is_only) && !is_not
    };
    fired.iter().filter(is_selected).map(|event| without_contents(&event.line)).collect()
}

fn without_contents(line: &Value) -> Value {
    let mut line = to_be_told(line);
    let fields = line.as_object_mut().unwrap();
    ["before", "after", "hashes"].into_iter().for_each(|name| drop(fields.remove(name)));
    line
}

fn is_default(event: &Value) -> bool {
    let tracepoint = event["tracepoint"].as_str().unwrap();
    !tracepoint.starts_with("utxocache:") || tracepoint == "utxocache:flush"
}

#[test]
fn what_names_it_is_selected_and_all_else_is_filtered() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let fired = fired(directory.path());
    let Hashes { txid, wtxid, block } = Hashes::of(&fired);
    let is_of = |names: &'static [&'static str]| move |event: &Value| names.iter().any(|it| event["command"] == *it);
    let is_any = |_: &Value| true;
    let cases: Vec<(String, Vec<Value>)> = vec![
        (format!("--events all --hash {txid}"), selected(&fired, &[&txid], &[], is_any)),
        (format!("--hash {wtxid}"), selected(&fired, &[&wtxid], &[], is_default)),
        (format!("--hash {}", block.to_uppercase()), selected(&fired, &[&block], &[], is_default)),
        (format!("--hash {txid},{block} --payload none"), selected(&fired, &[&txid, &block], &[], is_default)),
        (format!("--not-hash {txid} --not-hash {block}"), selected(&fired, &[], &[&txid, &block], is_default)),
        (
            format!("--hash {txid} --hash {block} --not-hash {wtxid}"),
            selected(&fired, &[&txid, &block], &[&wtxid], is_default),
        ),
        // Only messages of these commands come, and so only they tell other hashes.
        (format!("--hash {wtxid} --command inv,getdata"), selected(&fired, &[&wtxid], &[], is_of(&["inv", "getdata"]))),
        (format!("--hash {txid} --command inv,tx"), selected(&fired, &[&txid], &[], is_of(&["inv", "tx"]))),
        (
            format!("--hash {txid} --not-direction inbound"),
            selected(&fired, &[&txid], &[], |event| is_default(event) && event["direction"] != "inbound"),
        ),
        (
            format!("--hash {txid},{block} --events mempool,validation"),
            selected(&fired, &[&txid, &block], &[], |event| {
                let context = event["tracepoint"].as_str().unwrap().split(':').next().unwrap();
                ["mempool", "validation"].contains(&context)
            }),
        ),
    ];
    let mut sizes = BTreeSet::new();
    for (arguments, expected) in &cases {
        assert!(!expected.is_empty() && expected.len() < 6000, "{arguments}: {}", expected.len());
        sizes.insert(expected.len());
    }
    assert!(sizes.len() > 6, "the cases differ: {sizes:?}");

    // All at once, in one run.
    let mut simnode = node(&path("trace"));
    let which = format!("--pid {} --ring-buffer-size 64MiB", simnode.pid());
    let recording = path("recording").display().to_string();
    let mut recorder = Attached::spawn(bitcointap(&format!("record {recording} --events all {which}")));
    let of_block = path("of-block").display().to_string();
    let mut recorder_of_block =
        Attached::spawn(bitcointap(&format!("record {of_block} --hash {block} --payload none {which}")));
    let taps: Vec<Attached> = (0..)
        .zip(&cases)
        .map(|(number, (arguments, _))| {
            let mut tap = bitcointap(&format!("tap {which} --bytes hex {arguments}"));
            tap.stdout(File::create(path(&number.to_string())).unwrap());
            Attached::spawn(tap)
        })
        .collect();
    simnode.fire();
    simnode.tally();
    for (number, (mut tap, (arguments, expected))) in taps.into_iter().zip(&cases).enumerate() {
        assert!(tap.wait().success(), "{arguments}: {}", tap.log);
        let text = fs::read_to_string(path(&number.to_string())).unwrap();
        assert_given(arguments, &text, expected);
        let [fired, filtered, lost] = last_counts(&tap.log);
        assert_eq!((fired - filtered, lost), (expected.len() as u64, 0), "{arguments}: {}", tap.log);
        assert_eq!(text.contains("not_wanted"), arguments.contains("none"), "{arguments}");
    }
    for recorder in [&mut recorder, &mut recorder_of_block] {
        assert!(recorder.wait().success(), "{}", recorder.log);
    }
    let replayed = |recording: &str, arguments: &str| {
        let replay = output(&format!("tap --replay {recording} --speed max --bytes hex {arguments}"));
        assert!(replay.status.success(), "{arguments}: {replay:?}");
        String::from_utf8(replay.stdout).unwrap()
    };
    for (arguments, expected) in &cases {
        assert_given(arguments, &replayed(&recording, arguments), expected);
    }
    // The payloads that the condition needs are in the recording, too.
    let text = replayed(&of_block, "");
    assert_given("record", &text, &selected(&fired, &[&block], &[], is_default));
    assert!(text.contains(&format!("\"hash\":\"{block}\"")));
}

#[track_caller]
fn assert_given(arguments: &str, text: &str, expected: &[Value]) {
    let given: Vec<Value> = lines(text).map(|(line, _)| told(&line)).collect();
    let differs = given.iter().zip(expected).position(|(given, expected)| given != expected);
    assert_eq!(differs.map(|at| (&given[at], &expected[at])), None, "{arguments}: event {differs:?}");
    assert_eq!(given.len(), expected.len(), "{arguments}");
}

/// The exporter does not copy most payloads for its metrics. A reader with this condition gets whole ones, even if it writes none.
#[test]
fn each_output_of_an_exporter_selects_by_hash() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let fired = fired(directory.path());
    let Hashes { txid, block, .. } = Hashes::of(&fired);
    let expected = selected(&fired, &[&txid, &block], &[], is_default);
    let table = format!("[outputs.second]\njson = 'SECOND'\npayload = 'none'\nhash = ['{txid}', '{block}']\n");
    fs::write(path("config.toml"), table.replace("SECOND", path("second").to_str().unwrap())).unwrap();
    let config = path("config.toml").display().to_string();
    assert!(output(&format!("check-config {config}")).status.success());

    for has_file in [false, true] {
        let mut simnode = node(&path("trace"));
        let files = if has_file { format!("--config {config}") } else { String::new() };
        let exporter = Exporter::start(&format!("--pid {} --ring-buffer-size 64MiB {files}", simnode.pid()));
        let query = format!("hash={txid}&hash={block}&payload=none");
        let mut stream = Stream::try_open(&exporter, &query, false).unwrap();
        simnode.fire();
        simnode.tally();
        let streamed: Vec<Value> = (0..expected.len()).map(|_| told(&stream.next().expect("it goes on"))).collect();
        assert_eq!(streamed, expected);
        if has_file {
            eventually("all lines", || {
                let written = exporter.scrape().sum("json_lines_total", &[("sink", "second")]);
                (written >= expected.len() as f64).then_some(())
            });
        }
        exporter.stop();
        assert!(stream.next().is_none());
        if has_file {
            assert_given("file", &fs::read_to_string(path("second")).unwrap(), &expected);
        }
    }
    let tracepoints = expected.iter().map(|it| (it["tracepoint"].as_str().unwrap(), ()));
    assert!(tracepoints.collect::<BTreeMap<_, _>>().len() > 3);
}

#[test]
fn what_can_name_nothing_is_not_attached() {
    let mut node = Simnode::start("v31", "--count 500 --rate max");
    let hash = "11".repeat(32);
    let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {} --events all --hash {hash}", node.pid())));
    // Messages, the mempool, blocks and coins.
    assert!(tap.log.contains("attached to 10 tracepoints"), "{}", tap.log);
    node.fire();
    node.tally();
    assert!(tap.wait().success(), "{}", tap.log);
    for (arguments, words) in [
        (format!("--hash {hash} --command ping"), "no event can meet --command and --hash together"),
        (format!("--hash {hash} --not-hash {hash}"), "no event can meet --hash and --not-hash together"),
        (format!("--hash {hash} --events net:closed_connection"), "no event can meet --events and --hash together"),
        ("--hash 11".into(), "'11' is no hash of a transaction or block"),
    ] {
        let refused = output(&format!("tap {arguments}"));
        assert_eq!(refused.status.code(), Some(2), "{arguments}");
        assert!(String::from_utf8(refused.stderr).unwrap().contains(words), "{arguments}");
    }
}
