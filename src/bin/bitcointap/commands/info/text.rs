//! What is in recordings, for people. In: an [`Info`]. Out: text. What peers or the writer of the recording chose is shown without
//! control characters.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use bitcointap::recording::{CommandInfo, Counts, Damage, Info, RunInfo};
use indicatif::{HumanCount, HumanDuration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The most runs and places of damage that are shown; JSON has more.
const MOST: usize = 20;

pub fn of(info: &Info) -> String {
    let mut text = format!("{}\n", info.name.escape_debug());
    let mut row = |name: &str, value: String| _ = writeln!(text, "  {name:<11}{value}");
    let Counts { events, filtered, ref lost, .. } = info.counts;
    if let (Some(from), Some(to)) = (info.from, info.to) {
        row("from", time(from));
        row("to", format!("{}, {} later", time(to), duration(to - from)));
    }
    let rate = info.from.zip(info.to).filter(|(from, to)| to > from).map(|(from, to)| events as f64 / (to - from));
    row("events", count(events) + &rate.map_or(String::new(), |rate| format!(", {rate:.1} a second")));
    row("filtered", count(filtered));
    row("lost", format!("{}{}", count(info.counts.lost_in_all()), reasons(lost, info.gaps)));
    if info.unknown > 0 {
        row("unknown", format!("{}, which a newer bitcointap knows", count(info.unknown)));
    }
    row("peers", format!("{}{}", if info.peers_are_more { "more than " } else { "" }, count(info.peers)));
    let each = info.bytes_per_event.map_or(String::new(), |bytes| format!(", {bytes:.1} for each event"));
    row("bytes", format!("{} in {}{each}", count(info.bytes.files), several(info.files, "file")));
    row(
        "",
        format!(
            "{} of compressed blocks, {} decompressed",
            count(info.bytes.compressed),
            count(info.bytes.decompressed)
        ),
    );
    row("", format!("{} of payloads", count(info.bytes.payloads)));
    let groups = format!("{} and {}", several(info.groups, "group"), several(info.blocks, "block"));
    row("recordings", format!("{} with {groups}", count(info.recordings)));
    let runs = info.runs.len() as u64 + info.runs_left_out;
    row("runs", count(runs));
    for of_run in info.runs.iter().take(MOST) {
        row("", run(of_run));
    }
    let left_out = info.runs.len().saturating_sub(MOST) as u64 + info.runs_left_out;
    if left_out > 0 {
        row("", format!("and {} more", count(left_out)));
    }
    for name in info.unfinished.iter().take(MOST) {
        row("unfinished", format!("{}: still being written, or left by a crash", name.escape_debug()));
    }
    for Damage { file, error, .. } in info.damage.iter().take(MOST) {
        row("damage", format!("{}: {error}", file.escape_debug()));
    }
    let left_out = info.damage.len().saturating_sub(MOST) as u64 + info.damage_left_out;
    if left_out > 0 {
        row("damage", format!("and {} more", count(left_out)));
    }
    tracepoints(&mut text, &info.tracepoints);
    commands(&mut text, &info.commands);
    text
}

fn run(run: &RunInfo) -> String {
    let labels = run.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let named = run.node.iter().cloned().chain(labels).chain(run.chain.clone()).chain(run.user_agent.clone());
    let host = run.host.iter().map(|host| format!("on {host}"));
    let process = format!("pid {} {}", run.pid, run.program);
    let node: Vec<_> = named.chain(host).chain([process]).collect();
    let times = match (run.from, run.to) {
        (Some(from), Some(to)) => format!(" from {} to {}", time(from), time(to)),
        _ => String::new(),
    };
    let end = if run.has_end { "" } else { ", without its end" };
    let (node, started) = (node.join(", "), time(run.start_time));
    format!("{}, started {started}: {}{times}{end}", node.escape_debug(), several(run.events, "event"))
}

fn reasons(lost: &BTreeMap<&str, u64>, gaps: u64) -> String {
    if lost.is_empty() && gaps == 0 {
        return String::new();
    }
    let reasons: Vec<_> = lost.iter().map(|(reason, lost)| format!("{reason} {}", count(*lost))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{reasons} in {}", several(gaps, "gap"))
}

fn tracepoints(text: &mut String, tracepoints: &BTreeMap<String, Counts>) {
    if tracepoints.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  {:<42}{:>15}{:>15}{:>15}", "TRACEPOINT", "EVENTS", "FILTERED", "LOST");
    for (name, counts) in tracepoints {
        let numbers =
            [counts.events, counts.filtered, counts.lost_in_all()].map(|number| format!("{:>15}", count(number)));
        let _ = writeln!(text, "  {name:<42}{}", numbers.concat());
    }
}

fn commands(text: &mut String, commands: &BTreeMap<String, CommandInfo>) {
    if commands.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  {:<42}{:>15}{:>15}{:>15}", "COMMAND", "INBOUND", "OUTBOUND", "PAYLOAD BYTES");
    for (name, command) in commands {
        let numbers =
            [command.inbound, command.outbound, command.payload_bytes].map(|number| format!("{:>15}", count(number)));
        let _ = writeln!(text, "  {:<42}{}", name.escape_debug().to_string(), numbers.concat());
    }
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

fn several(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A UNIX time in seconds, as RFC 3339 has it, with microseconds.
fn time(seconds: f64) -> String {
    let microseconds = (seconds * 1e6).round() as i128;
    let time = OffsetDateTime::from_unix_timestamp_nanos(microseconds * 1_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

fn duration(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration.as_secs() >= 100 => HumanDuration(duration).to_string(),
        _ => format!("{seconds:.3} seconds"),
    }
}
