//! The executables as a user runs them: arguments, signals, standard streams.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::table::rows;

const SIMNODE: &str = env!("CARGO_BIN_EXE_simnode");

fn run(arguments: &[&str]) -> Output {
    Command::new(SIMNODE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn tally(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(&text).unwrap()
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

fn terminate(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

fn wait(child: &mut Child) -> ExitStatus {
    eventually("the end", || child.try_wait().unwrap())
}

/// Repeats until there is a result.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    // Long enough for a slow machine.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until it catches SIGTERM: before that, the signal would just end it.
fn wait_until_it_listens(child: &Child) {
    const SIGTERM: u32 = 15;
    eventually("a handler of signals", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        (u64::from_str_radix(caught, 16).unwrap() & 1 << (SIGTERM - 1) != 0).then_some(())
    });
}

#[test]
fn every_layout_fires_exactly_the_count_from_what_it_has() {
    for (layout, number) in [("v23", 23), ("v25", 25), ("v26", 26), ("v27-patched", 27), ("v29", 29), ("v31", 31)] {
        let has = rows(number).count();
        for scenario in ["mix", "churn", "blocks", "flood", "hostile"] {
            let tally =
                tally(&["--layout", layout, "--scenario", scenario, "--count", "3001", "--rate", "max", "--seed", "3"]);
            assert_eq!(tally["layout"], layout);
            assert_eq!(tally["scenario"], scenario);
            assert_eq!(tally["events"], 3001, "{layout} {scenario}");
            assert_eq!(tally["tracepoints"].as_object().unwrap().len(), has, "{layout}");
            assert_eq!(sum(&tally["tracepoints"]), 3001);
        }
    }
}

#[test]
fn a_fixed_time_makes_runs_alike() {
    let run = || {
        let mut tally = tally(&["--count", "20000", "--rate", "max", "--fixed-time", "1750000000"]);
        tally["seconds"] = Value::Null;
        tally
    };
    assert_eq!(run(), run());
}

#[test]
fn threads_share_count_and_rate() {
    let tally = tally(&["--threads", "3", "--count", "10000", "--rate", "20000"]);
    assert_eq!(tally["events"], 10_000);
    // At that rate each alone would take a third of it.
    let seconds = tally["seconds"].as_f64().unwrap();
    assert!(seconds > 0.4, "{seconds}");
}

#[test]
fn the_duration_ends_it_at_the_rate() {
    let tally = tally(&["--scenario", "flood", "--duration", "1", "--rate", "5000"]);
    // Fewer, if it had no processor at the end.
    let events = tally["events"].as_u64().unwrap();
    assert!((1..=5_001).contains(&events), "{events}");
    assert!(tally["seconds"].as_f64().unwrap() >= 1.0, "{tally}");
}

#[test]
fn wrong_usage_is_status_2_with_one_line() {
    for arguments in [
        &["--rate", "0"][..],
        &["--scenario", "nonsense"],
        &["--layout", "v1"],
        &["--count"],
        &["--threads", "2", "--scenario", "churn"],
        &["--nonsense"],
        &["word"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("error: "), "{text}");
    }
    let own = Command::new(env!("CARGO_BIN_EXE_simnode-v23")).args(["--layout", "v31"]).output().unwrap();
    assert_eq!(own.status.code(), Some(2));
}

#[test]
fn help_names_every_option() {
    let text = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for option in [
        "--layout",
        "--scenario",
        "--seed",
        "--rate",
        "--count",
        "--duration",
        "--threads",
        "--wait",
        "--linger",
        "--trace",
        "--fixed-time",
    ] {
        assert!(text.contains(option), "{option}");
    }
}

#[test]
fn it_waits_keeps_its_pid_and_lingers_until_a_signal() {
    let mut child = Command::new(SIMNODE)
        .args(["--wait", "--linger", "--count", "100", "--rate", "max"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains(&format!("pid {}", child.id())), "{ready}");
    thread::sleep(Duration::from_millis(100));
    let go = Instant::now();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let tally: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(tally["events"], 100);
    assert!(tally["seconds"].as_f64().unwrap() <= go.elapsed().as_secs_f64(), "the wait does not count");
    assert!(child.try_wait().unwrap().is_none(), "it lingers");
    terminate(&child);
    assert!(wait(&mut child).success());
}

#[test]
fn a_signal_ends_it_with_a_tally() {
    for arguments in [&["--rate", "100"][..], &["--rate", "max"], &["--rate", "0.01", "--linger"], &["--wait"]] {
        let mut child = Command::new(SIMNODE)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until_it_listens(&child);
        terminate(&child);
        assert!(wait(&mut child).success(), "{arguments:?}");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let tally: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(tally["events"].as_u64().unwrap(), sum(&tally["tracepoints"]));
    }
}

#[test]
fn a_closed_stdout_is_a_clean_end() {
    let mut child = Command::new(SIMNODE)
        .args(["--count", "1000", "--rate", "2000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(wait(&mut child).success());
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.is_empty(), "{line}");
}

#[test]
fn the_trace_has_a_line_for_each_event() {
    let path = std::env::temp_dir().join(format!("simnode-trace-{}", std::process::id()));
    let name = path.to_str().unwrap();
    let tally = tally(&["--count", "500", "--rate", "max", "--trace", name]);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut last = 0;
    let mut messages = 0;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (before, after) = (line["before"].as_u64().unwrap(), line["after"].as_u64().unwrap());
        assert!(last <= before && before <= after);
        last = after;
        messages += u64::from(line["tracepoint"] == "net:inbound_message");
    }
    assert_eq!(text.lines().count(), 500);
    assert_eq!(tally["tracepoints"]["net:inbound_message"], messages);
    let output = run(&["--trace", "/nonexistent/file", "--count", "1"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_trace_says_of_whom_the_tally_speaks() {
    let path = std::env::temp_dir().join(format!("simnode-trace-of-peers-{}", std::process::id()));
    let name = path.to_str().unwrap();
    let tally = tally(&["--count", "20000", "--rate", "max", "--trace", name]);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let of_line = |line: &Value| {
        let fields =
            line.as_object().unwrap().keys().filter(|key| !["tracepoint", "before", "after"].contains(&&***key));
        fields.cloned().collect::<Vec<_>>().join(" ")
    };
    // Sorted by name.
    for line in &lines {
        let expected = match line["tracepoint"].as_str().unwrap() {
            "net:inbound_message" | "net:outbound_message" => {
                "address command connection_type direction network peer size"
            }
            "net:misbehaving_connection" => "peer",
            tracepoint if tracepoint.starts_with("net:") => "address connection_type direction network peer",
            _ => "",
        };
        assert_eq!(of_line(line), expected, "{line}");
    }

    // The tally's rows, from the trace.
    let rows = |names: &[&str], of: &dyn Fn(&Value) -> bool| {
        let mut rows: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
        for line in lines.iter().filter(|line| of(line)) {
            let key = names.iter().map(|&name| line[name].as_str().unwrap().to_owned()).collect();
            let row = rows.entry(key).or_default();
            *row = (row.0 + 1, row.1 + line["size"].as_u64().unwrap_or(0));
        }
        rows
    };
    let told = |names: &[&str], table: &str, of: &dyn Fn(&Value) -> bool| {
        let table = tally[table].as_array().unwrap().iter().filter(|row| of(row));
        let row = |row: &Value| {
            let key: Vec<_> = names.iter().map(|&name| row[name].as_str().unwrap().to_owned()).collect();
            (key, (row["count"].as_u64().unwrap(), row["bytes"].as_u64().unwrap_or(0)))
        };
        table.map(row).collect::<BTreeMap<_, _>>()
    };
    let message = ["direction", "command", "connection_type"];
    assert_eq!(rows(&message, &|line| !line["command"].is_null()), told(&message, "messages", &|_| true));
    let connection = ["direction", "connection_type", "network"];
    for (event, tracepoints) in [
        ("opened", &["net:inbound_connection", "net:outbound_connection"][..]),
        ("closed", &["net:closed_connection"]),
        ("evicted", &["net:evicted_inbound_connection"]),
    ] {
        let fired = rows(&connection, &|line| tracepoints.contains(&line["tracepoint"].as_str().unwrap()));
        assert!(!fired.is_empty(), "{event}");
        assert_eq!(fired, told(&connection, "connections", &|row| row["event"] == event), "{event}");
    }
}
