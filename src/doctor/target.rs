//! Checks of the node and its program. In: facts. Out: checks. Pure.

use super::{
    Check,
    facts::{Attached, Machine, Target},
};
use crate::{
    node::probes::{Probe, Refusal},
    tracepoint::{Tracepoint, Tracepoints},
};

/// Without one of these, the advice is about the mempool.
const MEMPOOL: [Tracepoint; 4] =
    [Tracepoint::MempoolAdded, Tracepoint::MempoolRemoved, Tracepoint::MempoolReplaced, Tracepoint::MempoolRejected];
/// Without one of these, it is about churn.
const CHURN: [Tracepoint; 4] = [
    Tracepoint::NetInboundConnection,
    Tracepoint::NetOutboundConnection,
    Tracepoint::NetEvictedInboundConnection,
    Tracepoint::NetClosedConnection,
];

pub(super) fn checks(machine: &Machine, target: &Target) -> [Check; 5] {
    [node(target), program(target), tracepoints(target), other_taps(machine, target), attach(machine, target)]
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
    let Some((probes, absence)) =
        target.program.as_ref().and_then(|program| Some((program.probes.as_ref().ok()?, &program.absence)))
    else {
        return Check::unknown(NAME, "not known without the program");
    };
    let of = |wanted: &dyn Fn(&Probe) -> bool| -> Tracepoints {
        probes.iter().filter(|probe| wanted(probe)).filter_map(Probe::tracepoint).collect()
    };
    let (all, supported) = (of(&|_| true), of(&Probe::supported));
    let without = |set: Tracepoints, other: Tracepoints| -> Tracepoints {
        set.iter().filter(|&tracepoint| !other.contains(tracepoint)).collect()
    };
    if all.is_empty() {
        return Check::error(NAME, absence);
    }
    let absent = without(Tracepoint::all().collect(), all);
    let mut detail = format!("{} of {}", supported.len(), Tracepoint::COUNT);
    if !absent.is_empty() {
        detail += &format!("; absent: {}", with_releases(absent));
    }
    let mut advice = Vec::new();
    if absent.contains_any(&MEMPOOL) {
        advice.push(
            "bitcointap does not see the mempool, nor why transactions are rejected: that needs Bitcoin Core v25 \
             or later",
        );
    }
    if absent.contains_any(&CHURN) {
        advice.push(
            "bitcointap does not see connections that open, close and are evicted (churn), and alerts on them \
             cannot fire: that needs Bitcoin Core v29 or later",
        );
    }
    let unknown = of(&|probe| matches!(probe.refusal(), Some(Refusal::ArgumentCount(_))));
    if !unknown.is_empty() {
        detail += &format!("; with unknown arguments: {}", in_groups(unknown));
        advice.push(
            "bitcointap does not attach to these: look for a release of bitcointap that knows this release of Bitcoin \
         Core",
        );
    }
    for probe in probes {
        match probe.refusal() {
            None | Some(Refusal::NotDocumented | Refusal::ArgumentCount(_)) => continue,
            Some(refusal @ Refusal::ArgumentForm { .. }) => {
                detail += &format!("; {}: {refusal}", probe.name);
                advice.push(
                    "bitcointap does not attach to tracepoints that it cannot read: build the node with another \
                     compiler, or other compiler options",
                );
            }
            Some(refusal @ Refusal::FiveByteNop) => {
                detail += &format!("; {}: {refusal}", probe.name);
                advice.push(
                    "bitcointap does not attach where that could harm the node: build the node with single nops, as \
                 systemtap's sys/sdt.h has them",
                );
            }
        }
    }
    advice.dedup();
    let check = match () {
        () if advice.is_empty() => return Check::ok(NAME, detail),
        () if supported.is_empty() => Check::failed(NAME, detail),
        () => Check::warning(NAME, detail),
    };
    check.advise(advice.join("\n"))
}

/// Each with the first release that has it.
fn with_releases(absent: Tracepoints) -> String {
    let mut releases: Vec<&str> = absent.iter().map(Tracepoint::since).collect();
    releases.sort();
    releases.dedup();
    let since = |&release: &&str| -> Tracepoints { absent.iter().filter(|absent| absent.since() == release).collect() };
    let texts = releases.iter().map(|release| format!("{} (since {release})", in_groups(since(release))));
    texts.collect::<Vec<_>>().join(", ")
}

/// Names as `--events` accepts them: the group's name for a whole group.
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

fn other_taps(machine: &Machine, target: &Target) -> Check {
    const NAME: &str = "other_taps";
    let listened_to = match &target.listened_to {
        None => return Check::unknown(NAME, "not known without a node that has tracepoints"),
        Some(Err(error)) => return Check::unknown(NAME, error.to_string()).advise(how_to_look(machine, target)),
        Some(Ok(listened_to)) => *listened_to,
    };
    if listened_to.is_empty() {
        return Check::ok(NAME, "no other tracer is attached to the node's tracepoints");
    }
    let mut advice =
        "each attached tracepoint costs the node, and so does each tracer: stop those that nobody needs".to_owned();
    if !target.other_bitcointaps.is_empty() {
        let pids: Vec<_> = target.other_bitcointaps.iter().map(ToString::to_string).collect();
        advice += &format!("\nbitcointap runs as pid {}", pids.join(", "));
    }
    let count = listened_to.len();
    let plural = if count == 1 { "" } else { "s" };
    Check::warning(
        NAME,
        format!("another tracer is attached to {count} tracepoint{plural}: {}", in_groups(listened_to)),
    )
    .advise(advice)
}

/// What reading the node's memory needs.
fn how_to_look(machine: &Machine, target: &Target) -> String {
    let may_trace = machine.capabilities.is_none_or(|capabilities| capabilities.has_sys_ptrace());
    match target.ptrace_scope {
        Some(3..) => {
            "kernel.yama.ptrace_scope is 3: nobody may read the node's memory until the machine reboots without that \
         setting"
                .into()
        }
        Some(scope @ (1 | 2)) if !may_trace => {
            format!("kernel.yama.ptrace_scope is {scope}: reading the node's memory needs CAP_SYS_PTRACE")
        }
        _ if !may_trace => "reading the node's memory needs CAP_SYS_PTRACE".into(),
        _ => "a filter of system calls, or a security module (SELinux, AppArmor), forbids reading the node's memory\n\
         a service: SystemCallFilter=process_vm_readv besides the others"
            .into(),
    }
}

fn attach(machine: &Machine, target: &Target) -> Check {
    const NAME: &str = "attach";
    match &target.attached {
        Some((tracepoint, Ok(Attached::Verified))) => {
            Check::ok(NAME, format!("{tracepoint} was attached for a moment"))
        }
        Some((tracepoint, Ok(Attached::Unverified(error)))) => Check::warning(
            NAME,
            format!("{tracepoint} was attached for a moment; bitcointap could not verify that it was armed: {error}"),
        )
        .advise(how_to_look(machine, target)),
        Some((_, Err(error))) => Check::error(NAME, error),
        // In this case there is something to attach to.
        None if target.listened_to.is_some() => Check::unknown(NAME, "not tried, since capabilities are missing"),
        None => Check::unknown(NAME, "not tried without a node that has tracepoints"),
    }
}
