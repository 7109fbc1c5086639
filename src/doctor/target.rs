//! Of the node and its program: facts in, checks out. Pure.

use super::{Check, facts::Target};
use crate::{
    error::Error,
    probes::Probe,
    tracepoint::{Tracepoint, Tracepoints},
};

pub(super) fn checks(target: &Target) -> [Check; 5] {
    [node(target), program(target), tracepoints(target), other_taps(target), attach(target)]
}

fn node(target: &Target) -> Check {
    const NAME: &str = "node";
    match &target.node {
        Ok(node) => Check::ok(NAME, node.to_string()),
        Err(error) => Check::error(NAME, error),
    }
}

fn program(target: &Target) -> Check {
    const NAME: &str = "program";
    let Some(program) = &target.program else { return Check::unknown(NAME, "not known without a node") };
    match &program.probes {
        Ok(_) => Check::ok(NAME, format!("{} can be read", program.path.display())),
        Err(error) => Check::error(NAME, error),
    }
}

fn tracepoints(target: &Target) -> Check {
    const NAME: &str = "tracepoints";
    let Some((path, probes)) =
        target.program.as_ref().and_then(|program| Some((&program.path, program.probes.as_ref().ok()?)))
    else {
        return Check::unknown(NAME, "not known without the program");
    };
    let of = |wanted: fn(&&Probe) -> bool| -> Tracepoints {
        probes.iter().filter(wanted).filter_map(Probe::tracepoint).collect()
    };
    let (all, supported) = (of(|_| true), of(|probe| probe.supported()));
    let without = |set: Tracepoints, other: Tracepoints| -> Tracepoints {
        set.iter().filter(|&tracepoint| !other.contains(tracepoint)).collect()
    };
    if all.is_empty() {
        return Check::error(NAME, &Error::NoTracepoints(path.clone()));
    }
    let absent = without(Tracepoint::all().collect(), all);
    let unknown = without(all, supported);
    let mut detail = format!("{} of {}", supported.len(), Tracepoint::COUNT);
    if !absent.is_empty() {
        detail += &format!("; absent: {}", with_releases(absent));
    }
    if unknown.is_empty() {
        return Check::ok(NAME, detail);
    }
    detail += &format!("; with other arguments than known: {}", in_groups(unknown));
    let check = if supported.is_empty() { Check::failed(NAME, detail) } else { Check::warning(NAME, detail) };
    check.advise("these are not attached: look for a release of bitcointap that knows this release of Bitcoin Core")
}

/// Each with the release that brought it.
fn with_releases(absent: Tracepoints) -> String {
    let mut releases: Vec<&str> = absent.iter().map(Tracepoint::since).collect();
    releases.sort();
    releases.dedup();
    let since = |&release: &&str| -> Tracepoints { absent.iter().filter(|absent| absent.since() == release).collect() };
    let texts = releases.iter().map(|release| format!("{} (since {release})", in_groups(since(release))));
    texts.collect::<Vec<_>>().join(", ")
}

/// Names as `--events` takes them: of a group that is whole, the group's.
fn in_groups(tracepoints: Tracepoints) -> String {
    let mut names: Vec<&str> = Vec::new();
    for tracepoint in tracepoints.iter() {
        let context = tracepoint.context();
        let whole = Tracepoint::all().filter(|t| t.context() == context).all(|t| tracepoints.contains(t));
        names.push(if whole { context } else { tracepoint.name() });
    }
    names.dedup();
    names.join(", ")
}

fn other_taps(target: &Target) -> Check {
    const NAME: &str = "other_taps";
    let listened_to = match &target.listened_to {
        None => return Check::unknown(NAME, "not known without a node that has tracepoints"),
        Some(Err(error)) => {
            let check = Check::unknown(NAME, format!("the node's memory cannot be read: {error}"));
            return check.advise(match target.ptrace_scope {
                Some(3..) => "kernel.yama.ptrace_scope is 3: nobody may read it until the machine starts anew without",
                Some(_) | None => {
                    "to tell who else listens takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, as root has them outside of containers"
                }
            });
        }
        Some(Ok(listened_to)) => *listened_to,
    };
    if listened_to.is_empty() {
        return Check::ok(NAME, "nobody else listens to the node's tracepoints");
    }
    let mut advice = "each tracepoint that is listened to costs the node, and so does each listener: \
                      stop those that nobody needs"
        .to_owned();
    if !target.other_bitcointaps.is_empty() {
        let pids: Vec<_> = target.other_bitcointaps.iter().map(ToString::to_string).collect();
        advice += &format!("\nbitcointap runs as pid {}", pids.join(", "));
    }
    let count = listened_to.len();
    let plural = if count == 1 { "" } else { "s" };
    Check::warning(NAME, format!("somebody else listens to {count} tracepoint{plural}: {}", in_groups(listened_to)))
        .advise(advice)
}

fn attach(target: &Target) -> Check {
    const NAME: &str = "attach";
    match &target.attached {
        Some((tracepoint, Ok(()))) => Check::ok(NAME, format!("{tracepoint} was attached for a moment")),
        Some((_, Err(error))) => Check::error(NAME, error),
        // Then there is something to attach to.
        None if target.listened_to.is_some() => Check::unknown(NAME, "not tried, for want of capabilities"),
        None => Check::unknown(NAME, "not tried without a node that has tracepoints"),
    }
}
