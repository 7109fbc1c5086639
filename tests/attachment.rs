//! What bitcointap attaches to is armed in the node's memory, or it says that it is not. It does not attach where that
//! would harm the node.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use bitcointap::{Error, process::Which, tap::Tap, tracepoint::Tracepoint};
use seccompiler::{SeccompAction, SeccompFilter};
use tempfile::TempDir;

use crate::{
    doctor::Report,
    exposition::get,
    node::{Simnode, program},
    tool::{Attached, Exporter, Nobody, bitcointap, eventually, output},
};

/// A node that runs from an overlay file system in a mount namespace of its own, which ends with it.
struct Overlaid {
    node: Simnode,
    directory: TempDir,
}

/// Where the lower directory of the overlay can be seen.
#[derive(Clone, Copy, Debug)]
enum SeenBy {
    /// On a disk, as for a container.
    All,
    /// Only in the mount namespace of the node.
    Node,
    Nobody,
}

impl Overlaid {
    fn start(program_name: &str, lower: SeenBy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        for name in ["lower", "layers", "merged"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let (of_node, unseen) = match lower {
            SeenBy::All => ("true", "true"),
            SeenBy::Node => ("mount -t tmpfs lower lower", "true"),
            SeenBy::Nobody => ("mount -t tmpfs lower lower", "umount --lazy lower"),
        };
        // A colon in a name and a second layer, so that a test tells both apart.
        let script = format!(
            "set -e; cd {path}; {of_node}; mkdir lower/a:b lower/empty; cp {program} lower/a:b/bitcoind
             mount -t tmpfs layers layers; mkdir layers/upper layers/work
             mount -t overlay -o 'lowerdir={path}/lower/empty:{path}/lower/a\\:b,upperdir={path}/layers/upper,workdir={path}/layers/work' merged merged
             {unseen}; exec {path}/merged/bitcoind \"$@\"",
            program = program(program_name).display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        let node = Simnode::start_command(command.args("--count 1000 --rate max --linger".split(' ')));
        Self { node, directory }
    }

    /// Its program's file, as the node sees it.
    fn file(&self) -> PathBuf {
        let path = self.directory.path().join("merged/bitcoind");
        Path::new(&format!("/proc/{}/root", self.node.pid())).join(path.strip_prefix("/").unwrap())
    }

    fn chmod(&self) {
        fs::set_permissions(self.file(), fs::Permissions::from_mode(0o711)).unwrap();
    }

    fn rename(&self) {
        fs::rename(self.file(), self.file().with_file_name("bitcoind.old")).unwrap();
    }

    fn assert_all_is_counted(mut self, case: &str) {
        let exporter = Exporter::start(&format!("--events all --pid {}", self.node.pid()));
        self.node.fire();
        let tally = self.node.read_tally();
        exporter.settled_events(&tally);
        let fired: u64 = tally.tracepoints().values().sum();
        assert_eq!((fired, exporter.scrape().sum("events_total", &[])), (1000, 1000.0), "{case}");
        let log = exporter.stop();
        assert!(!log.contains("not attached") && !log.contains("not verified"), "{case}: {log}");
    }
}

#[test]
fn a_program_whose_file_was_changed_on_an_overlay_is_tapped_all_the_same() {
    for name in ["simnode-v31", "simnode-v26"] {
        for lower in [SeenBy::All, SeenBy::Node] {
            let node = Overlaid::start(name, lower);
            node.chmod();
            node.assert_all_is_counted(&format!("{name} {lower:?}"));
        }
    }
    let moved = Overlaid::start("simnode-v31", SeenBy::All);
    moved.rename();
    moved.assert_all_is_counted("moved");
    let removed = Overlaid::start("simnode-v31", SeenBy::All);
    removed.chmod();
    fs::remove_file(removed.file()).unwrap();
    removed.assert_all_is_counted("removed");
    Overlaid::start("simnode-v31", SeenBy::Nobody).assert_all_is_counted("unchanged");
}

#[test]
fn a_node_whose_file_is_changed_while_it_is_tapped_goes_on_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    // The copy is on another file system, with numbers of its own.
    let mut node = Overlaid::start("simnode-v31", SeenBy::Node);
    fs::write(&pid_file, node.node.pid().to_string()).unwrap();
    let exporter = Exporter::start(&format!("--events all --pid-file {}", pid_file.display()));
    node.chmod();
    // Longer than until the next look.
    thread::sleep(Duration::from_millis(2500));
    node.node.fire();
    exporter.settled_events(&node.node.read_tally());
    assert_eq!(exporter.scrape().sum("attachments_total", &[]), 1.0);
    exporter.stop();
}

#[test]
fn a_changed_file_whose_original_is_out_of_sight_is_no_node_that_is_tapped() {
    for name in ["simnode-v31", "simnode-v26"] {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let mut exporter = Exporter::start_waiting(&format!("--pid-file {}", pid_file.display()));
        let node = Overlaid::start(name, SeenBy::Nobody);
        node.chmod();
        let pid = node.node.pid();
        fs::write(&pid_file, pid.to_string()).unwrap();
        let program = node.directory.path().join("merged/bitcoind");
        let words = format!(
            "no event of {} can be seen: its file was changed (chmod, touch, mv) on an overlay file system after the node had \
             started, and the kernel attaches to the changed copy instead of the file that runs: restart the node",
            program.display()
        );
        let scrape = eventually("a failure", || {
            let scrape = exporter.scrape();
            (scrape.sum("attach_failures_total", &[]) > 0.0).then_some(scrape)
        });
        assert_eq!((scrape.sum("up", &[]), scrape.sum("attachments_total", &[])), (0.0, 0.0), "{name}");
        assert_eq!(get(&exporter.address, "/-/ready"), None, "{name}");
        exporter.process.read_log_until(&words, 1);

        let output = output(&format!("tap --duration 1 --pid {pid}"));
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("bitcointap: {words}\n"), "{name}");
        assert_eq!(doctor(pid, "attach"), ("failed".into(), words), "{name}");
    }
}

/// Status and detail of a check.
fn doctor(pid: u32, name: &str) -> (String, String) {
    Report::run(&format!("--pid {pid}")).told(name)
}

/// Runs something in a thread, and in programs that it starts, while the kernel refuses a system call, as a filter of a
/// service or a container does.
fn without_system_call<T: Send>(number: i64, action: impl FnOnce() -> T + Send) -> T {
    let refusal = SeccompAction::Errno(libc::EPERM as u32);
    let rules = [(number, Vec::new())].into();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, std::env::consts::ARCH.try_into().unwrap());
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            action()
        });
        thread.join().unwrap()
    })
}

#[test]
fn without_the_right_to_look_it_is_attached_and_said_to_be_not_verified() {
    let mut node = Simnode::start("v31", "--count 1000 --rate max --linger");
    let pid = node.pid();
    let arguments = format!("--events all --pid {pid}");
    let refused = "the node's memory cannot be read: permission denied";
    without_system_call(libc::SYS_process_vm_readv, || {
        let report = output(&format!("doctor --format json --pid {pid}"));
        assert_eq!(report.status.code(), Some(0));
        let attached = "coin_selection:attempting_aps_create_tx was attached for a moment";
        let detail = format!("{attached}; bitcointap could not verify that it was armed: {refused}");
        assert_eq!(Report::of(&report).told("attach"), ("warning".into(), detail));
        assert_eq!(Report::of(&report).told("other_taps"), ("unknown".into(), refused.into()));

        let tap = Tap::builder().node(Which::Pid(pid as i32)).attach().unwrap();
        assert!(matches!(tap.verified(), Err(Error::Memory(_))), "{:?}", tap.verified());

        let exporter = Exporter::start(&arguments);
        node.fire();
        exporter.settled_events(&node.read_tally());
        let log = exporter.stop();
        // The log escapes the apostrophe in it.
        let (_, end) = refused.split_once('\'').unwrap();
        let is_told = |line: &&str| line.contains("not verified: ") && line.contains(&end[1..]);
        let told: Vec<&str> = log.lines().filter(is_told).collect();
        let all = format!("attached to {} tracepoints", Tracepoint::COUNT);
        assert!(matches!(told[..], [line] if line.contains(&all)), "{log}");
    });
    let tap = Tap::builder().node(Which::Pid(pid as i32)).attach().unwrap();
    assert!(tap.verified().is_ok());
    drop(tap);
    assert_eq!(doctor(pid, "attach").0, "ok");
    // As in a service.
    let service = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/dist/bitcointap.service")).unwrap();
    let allowed = service.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    assert!(allowed.flat_map(str::split_whitespace).any(|call| call == "process_vm_readv"));
}

#[test]
fn the_rights_that_attaching_takes_suffice_to_look() {
    let nobody = Nobody::new();
    let program = nobody.copy_of("simnode-v31");
    for (node, capabilities) in [
        (Simnode::start_program(&program, ""), "-all,+bpf,+perfmon,+sys_ptrace"),
        (Simnode::start_command(&mut nobody.command(&program, "-all")), "-all,+bpf,+perfmon"),
    ] {
        let tap = Attached::spawn(nobody.bitcointap(capabilities, &format!("tap --pid {}", node.pid())));
        assert!(!tap.log.contains("not verified"), "{}", tap.log);
    }
}

/// The node of tests/attachment/sites.c.
#[cfg(target_arch = "x86_64")]
fn sites(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("bitcoind");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attachment/sites.c");
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiled = Command::new(cc).args(["-O2", "-Wall", "-Wextra", "-Werror", source, "-o"]).arg(&path).status();
    assert!(compiled.unwrap().success());
    path
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_would_hurt_the_node_is_not_attached_to() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    if numbers[..2] < [6, 18][..] {
        println!("skipped: Linux {release} leaves long nops as they are");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = sites(&directory);
    let refusal = "it stands on a five-byte nop, and this kernel would turn that into a call, which can overwrite variables of the node";
    let unreadable = "argument 3 has a form that bitcointap cannot read: -8@%ah";

    let node = Simnode::start_program(&path, "");
    let pid = node.pid();
    // If no other tracepoint is wanted, that is the reason.
    for (tracepoint, reason) in
        [("mempool:added", refusal), ("mempool:removed", refusal), ("mempool:replaced", unreadable)]
    {
        let refused = output(&format!("tap --duration 1 --events {tracepoint} --pid {pid}"));
        let words = format!("bitcointap: {tracepoint} cannot be tapped: {reason}\n");
        assert_eq!((refused.status.code(), String::from_utf8(refused.stderr).unwrap()), (Some(1), words));
    }
    let listed = String::from_utf8(output(&format!("probes --pid {pid}")).stdout).unwrap();
    for (tracepoint, supported, reason) in [
        ("utxocache:flush", "yes", ""),
        ("mempool:added", "no", refusal),
        ("mempool:removed", "no", refusal),
        ("mempool:replaced", "no", unreadable),
    ] {
        let row = listed.lines().find(|line| line.starts_with(tracepoint)).unwrap();
        assert_eq!(row.split_whitespace().nth(1), Some(supported), "{row}");
        let in_brackets = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        assert!(row.ends_with(&in_brackets) && row.contains(" (") != in_brackets.is_empty(), "{row}");
    }
    let (status, detail) = doctor(pid, "tracepoints");
    assert_eq!(status, "warning");
    for words in [
        format!("mempool:added: {refusal}"),
        format!("mempool:removed: {refusal}"),
        format!("mempool:replaced: {unreadable}"),
    ] {
        assert!(detail.contains(&words), "{detail}");
    }

    // The others are attached, and the node goes on to compute correctly.
    let mut node = node;
    let lines = directory.path().join("lines");
    let mut command = bitcointap(&format!("tap --events utxocache:flush,mempool --pid {pid}"));
    command.stdout(fs::File::create(&lines).unwrap());
    let mut tap = Attached::spawn(command);
    node.fire();
    let tally = node.tally();
    assert_eq!(tally.number("/wrong"), 0);
    assert!(tap.wait().success(), "{}", tap.log);
    assert_eq!(fs::read_to_string(&lines).unwrap().lines().count(), 1000);
    for (tracepoint, reason) in
        [("mempool:added", refusal), ("mempool:removed", refusal), ("mempool:replaced", unreadable)]
    {
        let words = format!("not attached to {tracepoint}: {tracepoint} cannot be tapped: {reason}");
        assert!(tap.log.contains(&words), "{}", tap.log);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_libbpf_fails_for_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let node = Simnode::start_program(&sites(&directory), "");
    let failed = output(&format!("tap --duration 1 --events mempool:rejected --pid {}", node.pid()));
    let words = String::from_utf8(failed.stderr).unwrap();
    let reason = "libbpf: usdt: failed to find ELF program segment for 'mempool:rejected'";
    assert!(words.contains(&format!("cannot attach to mempool:rejected of pid {}: ", node.pid())), "{words}");
    assert!(words.contains(reason), "{words}");
}

#[test]
fn a_program_that_the_loader_has_started_is_named() {
    let loader = match std::env::consts::ARCH {
        "aarch64" => "/lib/ld-linux-aarch64.so.1",
        _ => "/lib64/ld-linux-x86-64.so.2",
    };
    let simnode = program("simnode-v31").canonicalize().unwrap();
    let node = Simnode::start_command(Command::new(loader).args(["--inhibit-cache".as_ref(), simnode.as_os_str()]));
    let words = format!(
        "{} was started by the dynamic loader {}, which has no tracepoints and which the kernel takes for the program: start \
         the program itself",
        simnode.display(),
        Path::new(loader).canonicalize().unwrap().display()
    );
    for command in ["tap", "probes"] {
        let output = output(&format!("{command} --pid {}", node.pid()));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("bitcointap: {words}\n"), "{command}");
    }
    assert_eq!(doctor(node.pid(), "tracepoints"), ("failed".into(), words));
}
