//! A configuration file works like options, and defines further outputs. One of the files is the published example.

use std::{collections::BTreeSet, fs, os::unix::net::UnixListener, path::Path};

use serde_json::Value;

use crate::{
    exposition::Exposition,
    node::Simnode,
    tool::{Exporter, eventually, free_address, output},
};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may not be complete yet.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The commands of messages, and the kinds of other events.
fn kinds(lines: &[Value]) -> BTreeSet<String> {
    let kind = |line: &Value| match line.pointer("/event/Msg/meta/command") {
        Some(command) => command.as_str().unwrap().to_owned(),
        None => line["event"].as_object().unwrap().keys().next().unwrap().clone(),
    };
    lines.iter().map(kind).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn written(metrics: &Exposition, output: &str) -> f64 {
    metrics.sum("json_lines_total", &[("sink", output)])
}

#[test]
fn the_published_example_is_right_and_does_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = fs::read_to_string("docs/example.toml").unwrap();
    // Puts its files into a folder of this test, and removes `chain`: the node is not on mainnet.
    let here = directory.path().to_str().unwrap();
    let mut text = text.replace("/etc/bitcointap", here).replace("/var/log/bitcointap", here);
    text = text
        .replace("/run/bitcointap", here)
        .replace("chain = \"main\"\n", "")
        .replace("127.0.0.1:10833", &free_address());
    fs::write(path("banned"), "8.8.8.0/24\n").unwrap();
    fs::write(path("config.toml"), &text).unwrap();
    let checked = output(&format!("check-config {}", path("config.toml").display()));
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    assert_eq!(String::from_utf8(checked.stdout).unwrap(), format!("{} is right\n", path("config.toml").display()));

    let listener = UnixListener::bind(path("shipper.sock")).unwrap();
    let mut node = Simnode::start("v31", "--scenario mix --rate 2000 --count 20000");
    // An option on the command line overrides the file's.
    let exporter = Exporter::start(&format!("--config {} --pid {}", path("config.toml").display(), node.pid()));
    let (shipper, _) = listener.accept().unwrap();
    let shipped = std::thread::spawn(move || std::io::read_to_string(shipper).unwrap());
    node.fire();
    let tally = node.tally();
    let metrics = exporter.last_scrape();
    assert!(metrics.has("p2p_listed_messages_total"), "metrics have the list");
    assert!(metrics.sum("p2p_response_seconds_count", &[("request", "getdata_tx")]) > 0.0, "tx-response is on");
    assert_eq!(metrics.sum("ring_buffer_bytes", &[]), 33_554_432.0);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("[outputs.")?.strip_suffix(']')).collect();
    assert!(["announcements", "blocks", "shipper"].iter().all(|name| names.contains(name)), "{names:?}");
    eventually("each output writes, and all lines of one are there", || {
        let metrics = exporter.scrape();
        let blocks = tally.tracepoints()["validation:block_connected"] as f64;
        let all_write = names.iter().all(|name| written(&metrics, name) > 0.0);
        (all_write && written(&metrics, "blocks") == blocks).then_some(())
    });
    exporter.stop();
    let announcements = lines(&path("announcements.ndjson"));
    assert_eq!(kinds(&announcements), set(&["inv", "tx"]));
    let item = announcements.iter().find_map(|line| line.pointer("/event/Msg/msg/Inv/items/0/item")).unwrap();
    let id = item.as_object().unwrap().values().next().unwrap();
    assert!(id.is_string(), "in hex: {id}");
    assert_eq!(kinds(&lines(&path("blocks.ndjson"))), set(&["Validation"]));
    let shipped: Vec<Value> = shipped.join().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_shipper = kinds(&shipped);
    assert!(
        of_shipper.contains("inv") && of_shipper.contains("Mempool") && !of_shipper.contains("ping"),
        "{of_shipper:?}"
    );
    let has_payload = |line: &&Value| line.pointer("/event/Msg/msg/Inv").is_some();
    assert_eq!(shipped.iter().filter(has_payload).count(), 0);
}

#[test]
fn each_error_has_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let [checked, started] =
            ["check-config", "export --config"].map(|command| output(&format!("{command} {path}")));
        let told = |output: std::process::Output| String::from_utf8(output.stderr).unwrap().replace(path, "FILE");
        assert_eq!((checked.status.code(), checked.stdout.len()), (Some(1), 0));
        let checked = told(checked).trim_start_matches("bitcointap: ").trim_end().to_owned();
        (checked, started.status.code(), told(started).trim_start_matches("error: ").trim_end().to_owned())
    };
    let missing = directory.path().join("missing");
    for (text, expected) in [
        ("chain = \"main\"\nevents = [\"net\",\n\"nett\"]", "FILE:3: events: no tracepoint or group is called 'nett'"),
        ("evnts = 3", "FILE:1: there is no option evnts; is it events?"),
        ("config = \"x\"", "FILE:1: there is no option config"),
        ("json-rotate = \"1d\"", "FILE:1: there is no option json-rotate"),
        ("tx-response = \"yes\"", "FILE:1: tx-response: must be true or false, not a text"),
        ("web.config.file = true", "FILE:1: web.config.file: must be a text or a number, not true or false"),
        ("chain = [\"main\"]", "FILE:1: chain: takes one value, not several"),
        ("ring-buffer-size = 2024-01-01", "FILE:1: ring-buffer-size: must be a text or a number, not a date"),
        ("[log]\n\nlevel = \"loud\"", "FILE:3: log.level: must be one of error, warn, info, debug, trace"),
        ("[web]\nmax-streams = 99", "FILE:2: web.max-streams: must be a whole number from 0 to 32"),
        ("[address-list]\nbanned = 7", "FILE:1: address-list: banned must be a text, not a number"),
        ("pid = 7\ndatadir = \"d\"", "FILE:2: the argument '--pid <PID>' cannot be used with '--datadir <DIR>'"),
        ("[outputs.a]\njson = \"f\"\nrotate = \"1x\"", "FILE:3: rotate: '1x' is neither a size"),
        ("[outputs.a]\njson = \"f\"\nkeep = 3", "FILE:1: the following required arguments were not provided:"),
        ("[outputs.a]\njson = \"-\"\nrotate = \"1d\"", "FILE:3: --rotate begins new files"),
        ("[outputs.a]\nevents = [\"net\"]", "FILE:1: the output a lacks its destination: json = \"FILE\""),
        ("[outputs]\na = 3", "FILE:2: an output must be a table, as in [outputs.a]"),
        ("[outputs.\"a b\"]\njson = \"f\"", "FILE:1: an output's name is 1 to 32 letters"),
        ("[outputs.http]\njson = \"f\"", "FILE:1: the name http is taken by /events: choose another"),
        ("json = \"f\"\n[outputs.file]\njson = \"g\"", "FILE:1: the output file has the name of that of --json"),
        (
            "[outputs.a]\njson = \"f\"\ncommand = [\"inv\"]\nevents = [\"mempool\"]",
            "FILE:4: no event can meet --events and --command",
        ),
        ("chain = \"main\"\n= 3", "FILE:2: "),
        ("chain = \"main\"\nchain = \"main\"", "FILE:2: duplicate key"),
    ] {
        let (checked, code, started) = check(text);
        assert!(checked.starts_with(expected), "{text:?}: {checked}");
        assert_eq!((code, &started), (Some(2), &checked), "{text:?}: check-config and export print the same");
    }
    // It prints all errors at once, in the order of lines.
    let (checked, ..) = check("evnts = 1\nchain = 3\n[outputs.a]\njsn = \"f\"\n");
    let begins: Vec<&str> = checked.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(begins, ["FILE:1:", "FILE:2:", "FILE:4:"], "{checked}");

    // It also reads files that the configuration file names. `export` gives their errors without the line.
    fs::write(&file, format!("[address-list]\na = \"/dev/null\"\nbanned = \"{}\"\n", missing.display())).unwrap();
    let checked = output(&format!("check-config {}", file.display()));
    let words = String::from_utf8(checked.stderr).unwrap();
    assert!(words.contains(&format!("{}:3: ", file.display())) && words.contains("No such file"), "{words}");
    fs::write(&file, format!("web.config.file = \"{}\"\n", missing.display())).unwrap();
    let words = String::from_utf8(output(&format!("check-config {}", file.display())).stderr).unwrap();
    assert!(words.contains(&format!("{}:1: the web configuration", file.display())), "{words}");
}

#[test]
fn destinations_and_commands_are_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    let file = directory.path().join("c.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let checked = output(&format!("check-config {}", file.display()));
        (checked.status.code(), String::from_utf8(checked.stderr).unwrap().replace(file.to_str().unwrap(), "FILE"))
    };
    let missing = "No such file or directory (os error 2); its directory must exist";
    for (text, line, place, words) in [
        (format!("json = \"{here}/none/a\"\n"), 1, format!("{here}/none/a"), missing),
        (
            format!("\n[outputs.a]\nkeep = 3\nrotate = \"1d\"\njson = \"{here}/none/a\""),
            5,
            format!("{here}/none/a"),
            missing,
        ),
        (
            format!("[outputs.a]\njson = \"{here}\""),
            2,
            here.to_owned(),
            "it is a directory: name a file in it, or give --rotate",
        ),
        ("[outputs.a]\njson = \"/dev/null/a\"".into(), 2, "/dev/null/a".into(), "Not a directory (os error 20)"),
        (
            "[outputs.a]\nrotate = \"1d\"\njson = \"/dev/null\"".into(),
            3,
            "/dev/null".into(),
            "only a regular file can be rotated",
        ),
    ] {
        let cannot_open = format!("cannot open {place} for JSON lines: {words}");
        assert_eq!(check(&text), (Some(1), format!("bitcointap: FILE:{line}: {cannot_open}\n")), "{text}");
        let started = output(&format!("export --config {} --web.listen-address 127.0.0.1:0", file.display()));
        assert_eq!(String::from_utf8(started.stderr).unwrap(), format!("bitcointap: {cannot_open}\n"), "{text}");
    }
    let right =
        format!("[outputs.a]\njson = \"{here}/a\"\nrotate = \"1d\"\n[outputs.b]\njson = \"unix:{here}/none/b\"\n");
    assert_eq!(check(&right), (Some(0), String::new()));
    assert!(!directory.path().join("a").exists(), "it creates no file");

    let (code, log) = check(&format!("{right}events = [\"net\"]\nnot-command = [\"invv\"]\n"));
    assert!(
        log.contains("level=warn")
            && log.contains("FILE:7: Bitcoin Core has no message called invv: is it misspelled?"),
        "{log}"
    );
    assert_eq!((code, log.lines().count()), (Some(0), 1), "a warning is no error");
}

#[test]
fn sighup_changes_outputs_lists_and_the_log_and_says_what_takes_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let place = |name: &str| path(name).to_str().unwrap().to_owned();
    let config = |text: &str| fs::write(path("c.toml"), text).unwrap();
    let of = |name: &str, rest: &str| format!("[outputs.{name}]\njson = \"{}\"\n{rest}\n", place(name));
    fs::write(path("list"), "").unwrap();
    let list = format!("[address-list]\nlist = \"{}\"\n", place("list"));
    config(
        &[
            &*list,
            &of("stays", "command = [\"ping\"]"),
            &of("goes", ""),
            &of("changes", "command = [\"ping\"]\npayload = \"none\""),
        ]
        .concat(),
    );
    // It fires until the test ends it.
    let mut node = Simnode::start("v31", "--scenario mix --rate 2000");
    let arguments = format!("--config {} --pid {}", place("c.toml"), node.pid());
    let mut exporter = Exporter::start(&arguments);
    node.fire();
    let grows = |name: &str| {
        let before = lines(&path(name)).len();
        eventually("the output goes on", || (lines(&path(name)).len() > before).then_some(()));
    };
    ["stays", "goes", "changes"].into_iter().for_each(grows);

    // A wrong file changes nothing.
    config("evnts = 1");
    exporter.process.hang_up("the configuration file is wrong; nothing changes");
    ["stays", "goes", "changes"].into_iter().for_each(grows);

    fs::write(path("list"), "0.0.0.0/0\n::/0\n").unwrap();
    let changed = [
        "tx-response = true\n".to_owned(),
        list,
        "[log]\nlevel = \"debug\"\n".into(),
        of("stays", "command = [\"ping\"]"),
        of("changes", "command = [\"inv\"]"),
        of("comes", "events = [\"mempool\"]"),
    ];
    config(&changed.concat());
    exporter.process.hang_up("list=list networks=2");
    let log = &exporter.process.log;
    assert!(log.contains("changes of tx-response need a restart"), "{log}");
    for words in ["the output goes has ended", "the output changes has begun", "the output comes has begun"] {
        assert!(log.contains(words), "{log}");
    }
    let metrics = eventually("each is counted", || {
        let metrics = exporter.scrape();
        (written(&metrics, "comes") > 0.0 && metrics.sum("p2p_listed_messages_total", &[]) > 0.0).then_some(metrics)
    });
    assert!(written(&metrics, "goes") > 0.0, "the figures of an ended output stay");
    ["stays", "changes", "comes"].into_iter().for_each(grows);
    assert_eq!(kinds(&lines(&path("comes"))), set(&["Mempool"]));
    assert_eq!(kinds(&lines(&path("stays"))), set(&["ping"]));
    // From the change on, whole payloads come, although no output wanted them before.
    let changes = lines(&path("changes"));
    let inv = changes.iter().filter(|line| line.pointer("/event/Msg/meta/command") == Some(&"inv".into()));
    let unseen = inv.filter(|line| line.pointer("/event/Msg/msg/Inv").is_none()).count();
    assert_eq!(unseen, 0, "each payload is decoded");
    let goes = lines(&path("goes")).len();
    grows("stays");
    assert_eq!(lines(&path("goes")).len(), goes, "the output has ended");
    // The new level of the log applies.
    exporter.process.hang_up("read the configuration file again");
    drop(exporter);
}
