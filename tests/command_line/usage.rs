//! What is wrong before anything is attached. In: options, conditions and lists that cannot be meant. Out: status 2, or the line that
//! says what is accepted; a warning of what may be misspelled.

use std::fs;

use super::failure;
use crate::{
    node::Simnode,
    tool::{Attached, Exporter, bitcointap, free_address, output},
};

#[test]
fn wrong_usage_has_status_2() {
    for wrong in ["--ring-buffer-size 10MiB", "--pid 0", "tap --events nett", "serve", "--count 1 probes"] {
        let output = output(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(output.stdout.is_empty(), "{wrong}");
    }
}

#[test]
fn options_that_cannot_go_together_are_wrong_usage() {
    for (arguments, words) in [
        ("tap --events mempool --command inv", "no event can meet --events and --command together"),
        ("record f --command inv --not-command inv", "no event can meet --command and --not-command together"),
        ("export --json f --min-size 9 --max-size 8", "no event can meet --min-size and --max-size together"),
        ("export --command inv", "filter only what --json writes, and --json is missing"),
        ("export --not-peer 3 --events net", "filter only what --json writes, and --json is missing"),
        ("tap --follow --pid 1", "name the node by --datadir, --chain or --pid-file"),
        ("tap --peer=-1", "'-1' is no peer number"),
        ("tap --command inv,", "'' is no command"),
        ("tap --not-min-size 3", "unexpected argument '--not-min-size'"),
        ("--network tor", "'tor' is not one of unroutable, ipv4"),
        ("--command inv export", "the options of a command come after its name"),
    ] {
        let output = output(arguments);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {log}");
        assert!(output.stdout.is_empty() && log.contains(words), "{arguments}: {log}");
        // The usage is that of the command, for which it is more than a list of commands.
        let command = arguments.split(' ').next().filter(|word| ["tap", "record", "export"].contains(word));
        if let Some((command, (_, usage))) = command.zip(log.split_once("\nUsage: ")) {
            assert!(usage.starts_with(&format!("bitcointap {command} ")), "{arguments}: {log}");
        }
    }
}

#[test]
fn a_command_that_may_be_misspelled_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Simnode::start("v31", "--count 100");
    let path = directory.path().join("recording").display().to_string();
    let record = format!("record {path} --command pign,ping --not-command verak --pid {}", node.pid());
    let mut recorder = Attached::spawn(bitcointap(&record));
    node.fire();
    assert!(recorder.wait().success(), "{}", recorder.log);
    let told = |log: &str| {
        let told = log.lines().filter(|line| line.contains("level=warn")).map(|line| {
            assert!(line.contains("is it misspelled?"), "{log}");
            line.split_once("no message called ").unwrap().1.split_once(':').unwrap().0.to_owned()
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(&recorder.log), ["pign", "verak"]);
    for (command, expected) in
        [("tap --command pign,ping --not-command pign", vec!["pign"]), ("tap --not-command ping", vec![])]
    {
        let output = output(&format!("{command} --replay {path} --speed max"));
        assert!(output.status.success());
        assert_eq!(told(&String::from_utf8(output.stderr).unwrap()), expected, "{command}");
    }
    let json = directory.path().join("json").display().to_string();
    let exporter = Exporter::start_by(
        bitcointap,
        &format!("--replay {path} --speed max --json {json} --command pign"),
        "end of the run",
    );
    assert_eq!(told(&exporter.stop()), ["pign"]);
}

#[test]
fn a_wrong_address_list_is_told_before_anything_is_attached() {
    let node = Simnode::start("v31", "");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, "192.0.2.0/24\n# a comment\n192.0.2.0/33\n").unwrap();
    let export = |lists: &str| {
        let address = free_address();
        output(&format!("export --pid {} --web.listen-address {address} {lists}", node.pid()))
    };
    let words = failure(&export(&format!("--address-list a={}", path.display())));
    let expected = "3: \"192.0.2.0/33\" is neither an IP address nor a network such as 192.0.2.0/24 or 2001:db8::/32";
    assert_eq!(words, format!("the address list a: {}:{expected}", path.display()));
    for text in ["192.0.2.1:8333", "[2001:db8::1]:8333"] {
        fs::write(&path, text).unwrap();
        let words = failure(&export(&format!("--address-list a={}", path.display())));
        assert!(words.ends_with("192.0.2.0/24 or 2001:db8::/32: leave out the port"), "{words}");
    }
    let words = failure(&export(&format!("--address-list a={}", directory.path().join("none").display())));
    assert!(words.ends_with("none: No such file or directory (os error 2)"), "{words}");
    let words = failure(&export(&format!("--address-list a={}", directory.path().display())));
    assert!(words.ends_with(" is not a regular file"), "{words}");

    let usage = |lists: &str| {
        let output = export(lists);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let nine: Vec<String> = (0..9).map(|number| format!("--address-list {number}=f")).collect();
    assert!(usage(&nine.join(" ")).starts_with("error: there can be at most 8 of --address-list"));
    assert!(usage("--address-list a=f --address-list a=g").contains("a name of its own"));
    assert!(usage("--address-list a/b=f").contains("a list's name is 1 to 32 letters, digits, '_', '.' and '-'"));
    assert!(usage("--address-list f").contains("must be NAME=FILE"));
}
