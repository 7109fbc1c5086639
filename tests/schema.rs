//! Lines are of docs/events.schema.json, whatever they are written to and however. In: a simulated node with hostile peers. Out: the claim
//! that each line is of the schema, and has no field that the schema lacks.

mod closed;

use std::{fs, path::Path, process::Output, sync::mpsc, thread};

use serde_json::{Deserializer, Value};

pub use self::closed::{Checker, View};
use crate::{
    node::Simnode,
    streams::Stream,
    tool::{Attached, Exporter, bitcointap, eventually, output},
};

/// A node that fires all kinds of events, and messages that nobody can decode.
const NODE: &str = "--scenario mix --hostile --seed 5 --count 6000 --rate 2000";

/// Checks what is written with these options.
pub fn checker(options: &str) -> Checker {
    let file = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.schema.json")).unwrap();
    let view = View { hex: options.contains("hex"), strings: options.contains("string") };
    Checker::closed(serde_json::from_str(&file).unwrap(), view)
}

/// Asserts that each is a line of the schema. Gives how many have something cut.
#[track_caller]
pub fn assert_lines<'a>(checker: &Checker, lines: impl IntoIterator<Item = &'a Value>) -> usize {
    lines
        .into_iter()
        .filter(|line| {
            if let Err(error) = checker.check(line) {
                panic!("{error}: {line}");
            }
            line.get("cut").is_some()
        })
        .count()
}

fn parsed(text: &[u8]) -> Vec<Value> {
    Deserializer::from_slice(text).into_iter().map(|line| line.expect("it is JSON")).collect()
}

#[test]
fn each_line_is_of_the_schema_whatever_the_options() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("recording").display().to_string();
    let mut node = Simnode::start("v31", NODE);
    let which = format!("--pid {} --node-name alice --label site=fra1 --events all", node.pid());
    let mut recorder = Attached::spawn(bitcointap(&format!("record {recording} {which} --ring-buffer-size 128MiB")));
    node.fire();
    let fired: u64 = node.tally().tracepoints().values().sum();
    assert!(recorder.wait().success(), "{}", recorder.log);

    for options in [
        "",
        "--bytes hex",
        "--bytes hex --payload none --json-source",
        "--bytes hex --payload raw --integers string --pretty",
        "--bytes array --payload raw --integers string --max-bytes 16",
        "--bytes hex --payload raw --max-bytes 0 --json-source",
    ] {
        let Output { status, stdout, stderr } =
            output(&format!("tap --replay {recording} --speed max --events all {options}"));
        assert!(status.success(), "{options}: {}", String::from_utf8_lossy(&stderr));
        let lines = parsed(&stdout);
        assert_eq!(lines.len() as u64, fired, "{options}");
        let cut = assert_lines(&checker(options), &lines);
        assert_eq!(cut > 0, options.contains("max-bytes"), "{options}: {cut}");
        let has = |pointer: &str| lines.iter().any(|line| line.pointer(pointer).is_some());
        for undecodable in ["/event/Msg/msg/Undecodable", "/event/Msg/msg/Unknown"] {
            assert_eq!(has(undecodable), !options.contains("none"), "{options}: {undecodable}");
        }
        assert_eq!(has("/source/labels/site"), options.contains("source"), "{options}");
        assert_eq!(has("/event/Msg/raw"), options.contains("raw"), "{options}");
    }
}

#[test]
fn each_output_takes_the_options_for_integers_and_long_byte_strings() {
    const OPTIONS: &str = "--bytes hex --integers string --max-bytes 20";
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut node = Simnode::start("v31", NODE);
    let table = "[outputs.second]\njson = 'SECOND'\nbytes = 'hex'\nintegers = 'string'\nmax-bytes = '20'\n";
    fs::write(path("config.toml"), table.replace("SECOND", path("second").to_str().unwrap())).unwrap();
    let (first, config) = (path("first").display().to_string(), path("config.toml").display().to_string());
    let room = "--ring-buffer-size 128MiB";
    let exporter = Exporter::start(&format!("--pid {} {room} --config {config} --json {first} {OPTIONS}", node.pid()));
    let mut stream = Stream::try_open(&exporter, "bytes=hex&integers=string&max-bytes=20", false).unwrap();
    let (streamed, received) = mpsc::channel();
    let reader = thread::spawn(move || {
        while let Some(line) = stream.next() {
            let _ = streamed.send(line);
        }
    });
    node.fire();
    let fired = node.tally().tracepoints().into_iter();
    let fired: u64 =
        fired.filter(|(name, _)| !name.starts_with("utxocache:") || name == "utxocache:flush").map(|it| it.1).sum();
    eventually("all lines", || {
        let metrics = exporter.scrape();
        let has_all = |sink| metrics.sum("json_lines_total", &[("sink", sink)]) >= fired as f64;
        ["file", "second", "http"].into_iter().all(has_all).then_some(())
    });
    exporter.stop();
    reader.join().unwrap();
    let checker = checker(OPTIONS);
    let of_file = |name: &str| parsed(&fs::read(path(name)).unwrap());
    for (name, lines) in
        [("first", of_file("first")), ("second", of_file("second")), ("/events", received.iter().collect())]
    {
        assert_eq!(lines.len() as u64, fired, "{name}");
        assert!(assert_lines(&checker, &lines) > 100, "{name}");
    }
}
