//! JSON lines in a directory, plain and compressed.

use std::{fs, io::Read, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use super::{files, kill, more};
use crate::{
    node::Simnode,
    outputs::{Disk, pings},
    tool::{Attached, Exporter, bitcointap, eventually, output},
};

/// The text of a file, up to where it breaks off.
fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    if !path.to_str().unwrap().contains(".zst") {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = Vec::new();
    let read = zstd::stream::read::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut text);
    assert!(read.is_ok() || path.extension().unwrap() == "part", "{}", path.display());
    String::from_utf8(text).unwrap()
}

/// Events, events told as lost, and gaps of which nobody knows the number.
fn told(text: &str) -> (u64, u64, u64) {
    let (mut events, mut lost, mut gaps) = (0, 0, 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.300}"));
        match line["event"].get("Lost") {
            None => events += 1,
            Some(gap) if gap.get("count").is_none() => gaps += 1,
            Some(gap) => lost += gap["count"].as_u64().unwrap(),
        }
    }
    (events, lost, gaps)
}

fn all(directory: &Path, ending: &str) -> String {
    files(directory, ending).iter().map(|path| text(path)).collect()
}

#[test]
fn kills_lose_little_and_the_next_start_tells_a_gap() {
    for (compress, ending) in [("", ".ndjson"), ("--json-compress", ".ndjson.zst")] {
        let directory = tempfile::tempdir().unwrap();
        let json = directory.path().join("json");
        let mut node = Simnode::start("v31", "--scenario flood --rate 3000");
        let arguments =
            format!("tap --pid {} --json {}/ --json-rotate 1h,32KiB {compress}", node.pid(), json.display());
        let tap = || Attached::spawn(bitcointap(&arguments));
        let first = tap();
        node.fire();
        more(&json, ending, 2);
        // What was written a moment ago is there without an end of the file.
        let part = eventually("a file that is written", || {
            let part = files(&json, &format!("{ending}.part")).pop()?;
            (!text(&part).is_empty()).then_some(part)
        });
        let before = text(&part);
        kill(first);
        let mut second = tap();
        more(&json, ending, 2);
        node.signal(Signal::TERM);
        assert!(second.wait().success(), "{}", second.log);
        drop(node.tally());
        assert!(files(&json, &format!("{ending}.part")).is_empty());
        let all = all(&json, ending);
        let (events, _, gaps) = told(&all);
        assert!(events > 100 && gaps > 1, "{events} {gaps}");
        let whole = before.rsplit_once('\n').unwrap().0;
        assert!(all.contains(whole), "what could be read is there");
        let pings = pings(&all);
        assert!(pings.is_sorted_by(|a, b| a < b), "in order, and none twice");
        // One is missing only where the gap is.
        let gap = all.find("not_recorded").unwrap();
        let (before, after) = (self::pings_of(&all[..gap]), self::pings_of(&all[gap..]));
        let is_whole = |pings: &[u64]| pings.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(told(&all).1 > 0 || is_whole(&before) && is_whole(&after));
    }
}

/// The pings of the lines that are whole.
fn pings_of(text: &str) -> Vec<u64> {
    let start = text.find('\n').map_or(0, |at| if text.starts_with('{') { 0 } else { at + 1 });
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    pings(&text[start..end.max(start)])
}

#[test]
fn metrics_say_what_is_kept_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("json");
    let mut node = Simnode::start("v31", "--scenario mix --rate 5000");
    let arguments = format!("--json {} --json-rotate 32KiB --json-keep 100KiB --json-compress", json.display());
    let exporter = Exporter::start(&format!("--pid {} {arguments}", node.pid()));
    node.fire();
    let sink = [("sink", "file")];
    eventually("removed files", || (exporter.scrape().sum("json_files_removed_total", &sink) >= 2.0).then_some(()));
    node.signal(Signal::TERM);
    drop(node.tally());
    let metrics = exporter.last_line("file");
    assert!(metrics.sum("json_files", &sink) >= 1.0 && metrics.sum("json_files_bytes", &sink) > 0.0);
    let log = exporter.stop();
    assert_eq!(log.matches("as --keep says").count(), 1, "{log}");
    let kept = files(&json, ".ndjson.zst");
    let bytes: u64 = kept[..kept.len() - 1].iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 100 << 10, "{bytes}");
    assert!(kept.iter().all(|file| told(&text(file)).0 > 0));
}

#[test]
fn an_output_that_begins_again_goes_on_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (json, config) = (directory.path().join("json"), directory.path().join("c.toml"));
    let write = |rotate: &str| {
        let table = format!("[outputs.a]\njson = \"{}/\"\nrotate = \"{rotate}\"\nkeep = \"30d\"\n", json.display());
        fs::write(&config, table).unwrap();
    };
    write("16KiB");
    let mut node = Simnode::start("v31", "--scenario mix --rate 3000");
    let mut exporter = Exporter::start(&format!("--config {} --pid {}", config.display(), node.pid()));
    node.fire();
    more(&json, ".ndjson", 2);
    write("32KiB");
    exporter.process.hang_up("read the configuration file again");
    more(&json, ".ndjson", 2);
    node.signal(Signal::TERM);
    let fired: u64 = node.tally().tracepoints().values().sum();
    exporter.last_scrape();
    let log = exporter.stop();
    assert!(log.contains("the output a has begun") && !log.contains("ERROR") && !log.contains("level=error"), "{log}");
    assert!(files(&json, ".ndjson.part").is_empty());
    let (events, _, gaps) = told(&all(&json, ".ndjson"));
    assert!(gaps > 0 && events <= fired, "{events} of {fired}");
}

#[test]
fn a_full_disk_tears_no_line_and_what_is_lost_is_told() {
    for (compress, ending) in [("", ".ndjson"), ("--json-compress", ".ndjson.zst")] {
        let Some(disk) = Disk::mount("300k") else { return println!("skipped: nothing can be mounted here") };
        let json = disk.0.path().join("json");
        let mut node = Simnode::start("v31", "--scenario mix --rate 5000");
        let arguments = format!("--events all --json {}/ --json-rotate 100KiB {compress}", json.display());
        let mut exporter = Exporter::start(&format!("--pid {} {arguments}", node.pid()));
        node.fire();
        let lost = || exporter.scrape().sum("json_lines_lost_total", &[("sink", "file")]);
        eventually("lost lines", || (lost() > 0.0).then_some(()));
        assert!(files(&json, ending).iter().all(|file| text(file).ends_with("}\n")));
        disk.resize("1g");
        exporter.process.read_log_until("JSON lines are written to", 1);
        node.signal(Signal::TERM);
        let fired: u64 = node.tally().tracepoints().values().sum();
        let metrics = exporter.last_line("file");
        assert_eq!(metrics.sum("events_total", &[]), fired as f64);
        let log = exporter.stop();
        let (events, lost, gaps) = told(&all(&json, ending));
        assert_eq!((events + lost, gaps), (fired, 0), "{log}");
        assert!(lost > 0 && files(&json, &format!("{ending}.part")).is_empty(), "{log}");
        assert_eq!(log.matches("No space left on device").count(), 1, "{log}");
    }
}

#[test]
fn a_compressed_disk_that_stays_full_counts_what_it_still_holds() {
    let Some(disk) = Disk::mount("64k") else { return println!("skipped: nothing can be mounted here") };
    fs::write(disk.0.path().join("ballast"), vec![7; 60 << 10]).unwrap();
    let mut node = Simnode::start("v31", "--rate 2000 --count 2000");
    let json = disk.0.path().join("json");
    let arguments = format!("tap --pid {} --json {}/ --json-rotate 1h --json-compress", node.pid(), json.display());
    let mut tap = Attached::spawn(bitcointap(&arguments));
    node.fire();
    drop(node.tally());
    let status = tap.wait();
    assert_eq!(status.code(), Some(1), "{}", tap.log);
    assert!(
        tap.log.contains("No space left on device") && tap.log.contains("some events were not written"),
        "{}",
        tap.log
    );
}

#[test]
fn check_config_says_what_is_wrong_with_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("c.toml");
    let here = directory.path().display();
    let check = |lines: &str| {
        fs::write(&config, format!("[outputs.a]\nrotate = \"1h\"\n{lines}")).unwrap();
        let output = output(&format!("check-config {}", config.display()));
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(check(&format!("json = \"{here}/new/\"\nkeep = \"30d,1GiB\"\njson-compress = true")).0);
    assert!(!directory.path().join("new").exists());
    let (is_right, told) = check(&format!("json = \"{here}/missing/new/\""));
    assert!(!is_right && told.contains("the directory that it is in must exist"), "{told}");
    let (is_right, told) = check(&format!("json = \"{}\"\nkeep = \"30d\"", config.display()));
    assert!(!is_right && told.contains("it is no directory"), "{told}");
    let (is_right, told) = check(&format!("json = \"{here}\"\nkeep = 7"));
    assert!(
        !is_right && told.contains(":4: keep: --keep of a directory is an age")
            || told.contains("--keep of a directory"),
        "{told}"
    );
}
