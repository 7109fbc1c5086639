//! Nodes that do not run, lack tracepoints or cannot be attached to. In: the good node, changed in one thing. Out: what the check
//! of that thing says, and what it advises.

use super::*;

#[test]
fn no_node_runs() {
    let report = Report::new(checks(&good_machine(), &no_node()));
    assert_eq!(report.verdict(), Status::Failed);
    let rest: Vec<_> =
        report.checks()[11..].iter().map(|check| (check.name, check.status, check.detail.as_str())).collect();
    assert_eq!(
        rest,
        [
            (
                "node",
                Status::Failed,
                "no running bitcoind, bitcoin-qt or bitcoin-node found: start one, or name another program by --pid or \
                 --bitcoind"
            ),
            ("program", Status::Unknown, "not known without a node"),
            ("tracepoints", Status::Unknown, "not known without the program"),
            ("other_taps", Status::Unknown, "not known without a node that has tracepoints"),
            ("attach", Status::Unknown, "not tried without a node that has tracepoints"),
        ]
    );
}

#[test]
fn a_program_that_does_not_run_is_looked_at() {
    let target =
        || Target { node: Err(Error::NotRunning("/bin/bitcoind".into())), program: good_target().program, ..no_node() };
    let detail = "no process runs /bin/bitcoind: start it, or name the process by --pid";
    target_says("node", target(), Status::Failed, detail, "");
    target_says("program", target(), Status::Ok, "/bin/bitcoind can be read", "");
    let all = Tracepoint::COUNT;
    target_says("tracepoints", target(), Status::Ok, &format!("{all} of {all}"), "");
}

fn with_probes(probes: Result<Vec<Probe>, Error>) -> Target {
    Target { program: Some(program(probes)), ..good_target() }
}

#[test]
fn a_program_that_cannot_be_read() {
    let problem = Error::NotElf { path: "/bin/bitcoind".into(), problem: "it is a script".into() };
    let target = with_probes(Err(problem));
    says(check("tracepoints", &good_machine(), &target), Status::Unknown, "not known without the program", "");
    let detail = "/bin/bitcoind is not a 64-bit ELF program: it is a script";
    target_says("program", target, Status::Failed, detail, "");
}

#[test]
fn a_program_without_tracepoints() {
    let of_others = Probe { name: "libc:setjmp".into(), ..probe(Tracepoint::NetInboundMessage, 6) };
    target_says(
        "tracepoints",
        with_probes(Ok(vec![of_others])),
        Status::Failed,
        "/bin/bitcoind has no tracepoints of Bitcoin Core: the release binaries for Linux have them, own builds need \
         cmake -DWITH_USDT=ON",
        "",
    );
}

#[test]
fn an_older_release_has_fewer_tracepoints() {
    let mempool = "bitcointap does not see the mempool, nor why transactions are rejected: that needs Bitcoin Core v25 or \
         later";
    let churn = "bitcointap does not see connections that open, close and are evicted (churn), and alerts on them cannot \
     fire: that needs Bitcoin Core v29 or later";
    let of_v29: Tracepoints = Tracepoint::all().filter(|it| it.since() == "v29").collect();
    for (release, later, advice) in
        [("v23", &["v24", "v25", "v29"][..], format!("{mempool}\n{churn}")), ("v28", &["v29"], churn.to_owned())]
    {
        let has: Tracepoints = Tracepoint::all().filter(|it| it.since() <= release).collect();
        let check = check("tracepoints", &good_machine(), &with_probes(Ok(probes_of(has))));
        assert_eq!((check.status, check.advice), (Status::Warning, Some(advice)));
        let detail = check.detail;
        assert!(detail.starts_with(&format!("{} of {}; absent: ", has.len(), Tracepoint::COUNT)), "{detail}");
        assert!(detail.contains(&format!("{of_v29} (since v29)")), "{detail}");
        assert!(
            later.iter().map(|it| detail.find(&format!(" (since {it})")).expect("it is told")).is_sorted(),
            "{detail}"
        );
    }
}

#[test]
fn a_tracepoint_that_no_advice_is_about_may_be_absent() {
    let mut has = probes("all");
    has.remove(Tracepoint::NetMisbehavingConnection.index());
    let detail = format!("{}; absent: net:misbehaving_connection (since v29)", all_but_one());
    target_says("tracepoints", with_probes(Ok(has)), Status::Ok, &detail, "");
}

/// `19 of 20`.
fn all_but_one() -> String {
    format!("{} of {}", Tracepoint::COUNT - 1, Tracepoint::COUNT)
}

#[test]
fn tracepoints_with_unknown_arguments() {
    let advice =
        "bitcointap does not attach to these: look for a release of bitcointap that knows this release of Bitcoin Core";
    let mut newer = probes("all");
    newer[Tracepoint::MempoolReplaced.index()] = probe(Tracepoint::MempoolReplaced, 9);
    let detail = format!("{}; with unknown arguments: mempool:replaced", all_but_one());
    target_says("tracepoints", with_probes(Ok(newer)), Status::Warning, &detail, advice);

    let all = Tracepoint::all().map(|tracepoint| probe(tracepoint, 12)).collect();
    let detail = format!(
        "0 of {}; with unknown arguments: net, mempool, validation, utxocache, coin_selection",
        Tracepoint::COUNT
    );
    target_says("tracepoints", with_probes(Ok(all)), Status::Failed, &detail, advice);
}

#[test]
fn a_program_that_the_loader_has_started() {
    let absence = Error::StartedByLoader { loader: "/lib/ld-linux.so.2".into(), program: Some("/bin/bitcoind".into()) };
    let target = Target { program: Some(Program { absence, ..program(Ok(vec![])) }), ..good_target() };
    let detail = "/bin/bitcoind was started by the dynamic loader /lib/ld-linux.so.2, which has no tracepoints and which the \
                  kernel takes for the program: start the program itself";
    target_says("tracepoints", target, Status::Failed, detail, "");
    let unknown = Error::StartedByLoader { loader: "/lib/ld-linux.so.2".into(), program: None }.to_string();
    assert!(unknown.starts_with("the process was started by the dynamic loader /lib/ld-linux.so.2, "), "{unknown}");
}

#[test]
fn tracepoints_that_cannot_be_read() {
    let mut odd = probes("all");
    odd[Tracepoint::MempoolAdded.index()].places[0].arguments[2] = "8@%ah".into();
    let problem = "mempool:added: argument 3 has a form that bitcointap cannot read: 8@%ah";
    let detail = format!("{}; {problem}", all_but_one());
    let advice = "bitcointap does not attach to tracepoints that it cannot read: build the node with another compiler, or \
     other compiler options";
    target_says("tracepoints", with_probes(Ok(odd)), Status::Warning, &detail, advice);
}

#[test]
fn somebody_else_listens() {
    let target = |words: &str, other_bitcointaps| Target {
        listened_to: Some(Ok(set(words))),
        other_bitcointaps,
        ..good_target()
    };
    let advice = "each attached tracepoint costs the node, and so does each tracer: stop those that nobody needs";
    let detail = "another tracer is attached to 1 tracepoint: net:inbound_message";
    target_says("other_taps", target("net:inbound_message", vec![]), Status::Warning, detail, advice);
    target_says(
        "other_taps",
        target("default", vec![8, 9]),
        Status::Warning,
        &format!(
            "another tracer is attached to {} tracepoints: net, mempool, validation, utxocache:flush, \
             coin_selection",
            set("default").len()
        ),
        &format!("{advice}\nbitcointap runs as pid 8, 9"),
    );
    let idle = Target { other_bitcointaps: vec![8], ..good_target() };
    target_says("other_taps", idle, Status::Ok, "no other tracer is attached to the node's tracepoints", "");
}

#[test]
fn memory_that_cannot_be_read() {
    let refused = || Error::Memory(io::ErrorKind::PermissionDenied.into());
    let target = |ptrace_scope| Target {
        listened_to: Some(Err(refused())),
        attached: Some((Tracepoint::UtxocacheFlush, Ok(Attached::Unverified(refused())))),
        ptrace_scope,
        ..good_target()
    };
    let takes = "reading the node's memory needs CAP_SYS_PTRACE";
    let filtered = "a filter of system calls, or a security module (SELinux, AppArmor), forbids reading the node's memory\n\
     a service: SystemCallFilter=process_vm_readv besides the others";
    let never = "kernel.yama.ptrace_scope is 3: nobody may read the node's memory until the machine reboots without that \
         setting";
    for (may_trace, scope, advice) in [
        (true, None, filtered.to_owned()),
        (true, Some(2), filtered.to_owned()),
        (true, Some(3), never.to_owned()),
        (false, None, takes.to_owned()),
        (false, Some(0), takes.to_owned()),
        (false, Some(1), format!("kernel.yama.ptrace_scope is 1: {takes}")),
        (false, Some(2), format!("kernel.yama.ptrace_scope is 2: {takes}")),
        (false, Some(3), never.to_owned()),
    ] {
        let machine = if may_trace { good_machine() } else { without_caps(CAP_SYS_PTRACE) };
        let detail = "the node's memory cannot be read: permission denied";
        says(check("other_taps", &machine, &target(scope)), Status::Unknown, detail, &advice);
        let detail = "utxocache:flush was attached for a moment; bitcointap could not verify that it was armed: the node's \
         memory cannot be read: permission denied";
        says(check("attach", &machine, &target(scope)), Status::Warning, detail, &advice);
    }
}

#[test]
fn an_attachment_to_what_nobody_runs() {
    let target = |error| Target { attached: Some((Tracepoint::UtxocacheFlush, Err(error))), ..good_target() };
    let detail = "no event of /bin/bitcoind can be seen: its file was changed (chmod, touch, mv) on an overlay file system after \
                  the node had started, and the kernel attaches to the changed copy instead of the file that runs: restart the \
                  node";
    target_says("attach", target(Error::CopiedUp("/bin/bitcoind".into())), Status::Failed, detail, "");
    let detail = "the kernel attached to utxocache:flush, but the node's memory does not show it, and no event of it would be \
     seen: restart the node";
    target_says("attach", target(Error::NotArmed(Tracepoint::UtxocacheFlush)), Status::Failed, detail, "");
}

#[test]
fn an_attachment_that_fails() {
    let error = Error::System {
        action: "attach to utxocache:flush of pid 7".into(),
        error: io::ErrorKind::PermissionDenied.into(),
    };
    let target = Target { attached: Some((Tracepoint::UtxocacheFlush, Err(error))), ..good_target() };
    let detail = "cannot attach to utxocache:flush of pid 7: permission denied";
    target_says("attach", target, Status::Failed, detail, "");
}
