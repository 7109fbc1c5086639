//! What a user sees after a mistake: one clear line, and a status.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Output, Stdio},
};

use bitcointap::tracepoint::Tracepoint;
use rustix::process::Signal;

use crate::{
    node::{Simnode, copy_program, program},
    tool::{Attached, Nobody, bitcointap, output, signal},
};

/// The only line on stderr of a failure, without the program's name.
fn failure(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let [line] = lines[..] else { panic!("not one line: {text}") };
    line.strip_prefix("bitcointap: ").expect("it says who speaks").to_owned()
}

/// A shell in a pid namespace of its own, where no other node runs.
pub fn alone(script: &str) -> Output {
    let mut shell = Command::new("unshare");
    shell.args(["--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", script]).stdin(Stdio::null());
    shell.env("BITCOINTAP", env!("CARGO_BIN_EXE_bitcointap")).output().expect("util-linux has unshare")
}

/// A simulated node under another name.
fn named(directory: &Path, name: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    copy_program(&program("simnode-v31"), &path);
    path
}

#[test]
fn no_node_runs() {
    let words = failure(&alone("$BITCOINTAP"));
    assert!(words.starts_with("no running bitcoind, bitcoin-qt or bitcoin-node found"), "{words}");
    assert!(words.contains("--pid"), "{words}");
}

#[test]
fn the_node_that_runs_is_found_and_several_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let bitcoind = named(directory.path(), "bitcoind");
    // Until it holds the lock that identifies a node.
    let start = format!(
        "n=$((n + 1)); {0} --rate 1000 --datadir {1}/data-$n 2>/dev/null >/dev/null &
         until grep -q \" $! \" /proc/locks; do sleep 0.01; done; export RUST_BACKTRACE=1;",
        bitcoind.display(),
        directory.path().display()
    );
    let one = alone(&format!("{start} $BITCOINTAP --count 2"));
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert_eq!(one.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);

    let words = failure(&alone(&format!("{start} {start} $BITCOINTAP")));
    assert!(words.starts_with("2 nodes run, choose one by --datadir or --pid: pid "), "{words}");
    let program = bitcoind.display().to_string();
    assert_eq!(words.matches(&program).count(), 2, "{words}");
    assert!(words.contains(&format!("(data directory {}/data-2, chain main)", directory.path().display())), "{words}");
}

#[test]
fn a_replaced_program_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let bitcoind = named(directory.path(), "bitcoind");
    let mut node = Simnode::start_program(&bitcoind, "--count 5000");
    fs::remove_file(&bitcoind).unwrap();
    fs::write(&bitcoind, "an upgrade").unwrap();
    node.fire();
    let output = output(&format!("tap --pid {} --count 3", node.pid()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_node_is_named_by_pid_file_and_by_program() {
    let directory = tempfile::tempdir().unwrap();
    let bitcoind = named(directory.path(), "node-of-my-own");
    let mut node = Simnode::start_program(&bitcoind, "--rate 1000");
    node.fire();
    let pid_file = directory.path().join("bitcoind.pid");
    fs::write(&pid_file, format!("{}\n", node.pid())).unwrap();
    for which in [format!("--pid-file {}", pid_file.display()), format!("--bitcoind {}", bitcoind.display())] {
        let output = output(&format!("tap {which} --count 1"));
        assert!(output.status.success(), "{which}: {}", String::from_utf8_lossy(&output.stderr));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(&format!("pid {}", node.pid())), "{log}");
    }
    drop(node);
    let words = failure(&output(&format!("tap --bitcoind {}", bitcoind.display())));
    assert!(words.contains("start it, or name the process by --pid"), "{words}");
    let words = failure(&output(&format!("tap --pid-file {}", pid_file.display())));
    assert!(words.contains("it has ended"), "{words}");
    fs::write(&pid_file, "bitcoind").unwrap();
    let words = failure(&output(&format!("tap --pid-file {}", pid_file.display())));
    assert!(words.ends_with("does not hold a process id, but \"bitcoind\""), "{words}");
}

#[test]
fn a_program_without_tracepoints() {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let words = failure(&output(&format!("tap --pid {}", sleep.id())));
    assert!(words.contains("has no tracepoints of Bitcoin Core"), "{words}");
    assert!(words.contains("-DWITH_USDT=ON"), "{words}");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
}

#[test]
fn tracepoints_that_the_release_does_not_have() {
    let node = Simnode::start("v23", "");
    let words = failure(&output(&format!("tap --pid {} --events mempool", node.pid())));
    assert!(words.contains("none of the chosen tracepoints (mempool:added, "), "{words}");
    assert!(words.contains("bitcointap probes"), "{words}");
}

#[test]
fn too_few_privileges() {
    let node = Simnode::start("v31", "");
    let nobody = Nobody::new();
    let run = |capabilities: &str| failure(&nobody.output(capabilities, &format!("--pid {}", node.pid())));
    assert!(run("-all").starts_with("too few privileges: CAP_BPF and CAP_PERFMON are missing"));
    assert!(run("-all,+bpf").starts_with("too few privileges: CAP_PERFMON is missing"));
    let words = run("-all,+bpf,+perfmon");
    assert!(words.ends_with("the process of another user needs root or CAP_SYS_PTRACE"), "{words}");
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let node = Simnode::start("v31", "");
    let words = failure(&output(&format!("export --pid {} --web.listen-address {address}", node.pid())));
    assert!(words.contains(&address.to_string()) && words.contains("in use"), "{words}");
    assert!(words.contains("--web.listen-address"), "{words}");
}

/// The answer to a request for a page.
fn get(mut stream: impl Read + Write, page: &str) -> String {
    write!(stream, "GET {page} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn several_addresses_and_a_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let node = Simnode::start("v31", "");
    let arguments = format!("--pid {} --web.listen-address unix:{}", node.pid(), path.display());
    let exporter = crate::tool::Exporter::start(&arguments);
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    let from_file = || get(UnixStream::connect(&path).unwrap(), "/metrics");
    assert!(from_file().contains("\nbitcointap_up 1\n"));
    let words = failure(&output(&format!("export {arguments}")));
    assert!(words.starts_with(&format!("cannot listen on unix:{}: it is in use", path.display())), "{words}");
    assert!(words.contains("--web.listen-address"), "{words}");
    assert!(from_file().starts_with("HTTP/1.0 200"));
    let log = exporter.stop();
    assert!(log.contains("/metrics, unix:"), "{log}");
    assert!(!path.exists());
}

#[test]
fn a_web_configuration() {
    let node = Simnode::start("v31", "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yml");
    let arguments = format!("--pid {} --web.config.file {}", node.pid(), file.display());
    std::fs::write(&file, "basic_auth_users:\n  alice: secret\n").unwrap();
    let words = failure(&output(&format!("export {arguments} --web.listen-address 127.0.0.1:0")));
    assert!(words.starts_with(&format!("the web configuration {}: basic_auth_users: ", file.display())), "{words}");

    let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
    std::fs::write(&file, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
    let exporter = crate::tool::Exporter::start(&arguments);
    let answer = get(TcpStream::connect(&exporter.address).unwrap(), "/-/healthy");
    assert!(answer.starts_with("HTTP/1.0 401 Unauthorized"), "{answer}");
    // alice:fakepassword
    let page = "/-/healthy HTTP/1.1\r\nConnection: close\r\nAuthorization: Basic YWxpY2U6ZmFrZXBhc3N3b3Jk\r\nX:";
    let answer = get(TcpStream::connect(&exporter.address).unwrap(), page);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    exporter.stop();
}

#[test]
fn sockets_of_systemd() {
    let node = Simnode::start("v31", "");
    let words = failure(&output(&format!("export --pid {} --web.systemd-socket", node.pid())));
    assert!(words.starts_with("systemd has passed no sockets to this process; --web.systemd-socket"), "{words}");

    // As systemd does: from the third file descriptor on, with the process id that the program will have.
    let start = |socket: std::os::fd::OwnedFd| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]);
        command.args([env!("CARGO_BIN_EXE_bitcointap"), "export", "--web.systemd-socket"]);
        command.args(["--pid", &node.pid().to_string()]).stdin(socket);
        command
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut exporter = Attached::spawn(start(listener.into()));
    assert!(get(TcpStream::connect(address).unwrap(), "/metrics").contains("\nbitcointap_up 1\n"));
    exporter.terminate();
    assert!(exporter.wait().success(), "{}", exporter.log);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut exporter = Attached::spawn(start(UnixListener::bind(&path).unwrap().into()));
    assert!(get(UnixStream::connect(&path).unwrap(), "/-/ready").starts_with("HTTP/1.0 200"));
    exporter.terminate();
    assert!(exporter.wait().success(), "{}", exporter.log);
    assert!(path.exists(), "it is systemd's");

    let words = failure(&start(UnixStream::pair().unwrap().0.into()).output().unwrap());
    assert!(words.starts_with("socket 1 of those that systemd has passed is a connection"), "{words}");
    let words = failure(&start(File::open("/dev/null").unwrap().into()).output().unwrap());
    assert!(words.starts_with("socket 1 of those that systemd has passed is no stream socket"), "{words}");
}

#[test]
fn it_is_ready_until_the_node_is_gone() {
    let mut node = Simnode::start("v31", "--count 1");
    let exporter = crate::tool::Exporter::start(&format!("--pid {}", node.pid()));
    let page = |page: &str| get(TcpStream::connect(&exporter.address).unwrap(), page);
    exporter.scrape();
    assert!(page("/-/ready").starts_with("HTTP/1.0 200"));
    node.fire();
    node.tally();
    crate::tool::eventually("not ready", || page("/-/ready").starts_with("HTTP/1.0 503").then_some(()));
    assert!(page("/-/ready").ends_with("the node has ended\n"));
    assert!(page("/-/healthy").starts_with("HTTP/1.0 200"));
}

#[test]
fn wrong_usage_has_status_2() {
    for wrong in ["--ring-buffer-size 10MiB", "--pid 0", "tap --events nett", "serve", "--count 1 probes"] {
        let output = output(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(output.stdout.is_empty(), "{wrong}");
    }
}

#[test]
fn conditions_that_select_nothing_are_wrong_usage() {
    for (arguments, words) in [
        ("tap --events mempool --command inv", "no event can meet all of these conditions"),
        ("record f --command inv --not-command inv", "no event can meet all of these conditions"),
        ("export --json f --min-size 9 --max-size 8", "no event can meet all of these conditions"),
        ("export --command inv", "filter only what --json writes, and --json is missing"),
        ("export --not-peer 3 --events net", "filter only what --json writes, and --json is missing"),
        ("tap --peer=-1", "'-1' is no peer number"),
        ("tap --command inv,", "'' is no command"),
        ("tap --not-min-size 3", "unexpected argument '--not-min-size'"),
        ("--network tor", "'tor' is none of unroutable, ipv4"),
        ("--command inv export", "the options of a command come after its name"),
    ] {
        let output = output(arguments);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {log}");
        assert!(output.stdout.is_empty() && log.contains(words), "{arguments}: {log}");
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
    let exporter = crate::tool::Exporter::start_by(
        bitcointap,
        &format!("--replay {path} --speed max --json {json} --command pign"),
        "the node has ended",
    );
    assert_eq!(told(&exporter.stop()), ["pign"]);
}

#[test]
fn a_full_disk() {
    let mut node = Simnode::start("v31", "--rate 2000");
    node.fire();
    let mut tap = bitcointap(&format!("tap --pid {} --log.level error", node.pid()));
    let output = tap.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    let words = failure(&output);
    assert!(words.starts_with("cannot write to standard output: No space left on device"), "{words}");

    // An exporter goes on, says it once, and counts.
    let exporter = crate::tool::Exporter::start(&format!("--pid {} --json /dev/full", node.pid()));
    crate::tool::eventually("lost lines", || {
        let lost = exporter.scrape().sum("json_lines_lost_total", &[("sink", "file")]);
        (lost > 1000.0).then_some(())
    });
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    let log = exporter.stop();
    assert_eq!(log.matches("No space left on device").count(), 1, "{log}");
}

#[test]
fn a_closed_pipe_is_a_clean_end() {
    let mut node = Simnode::start("v31", "--rate 5000");
    let mut command = bitcointap(&format!("tap --pid {}", node.pid()));
    let mut tap = Attached::spawn({
        command.stdout(Stdio::piped());
        command
    });
    node.fire();
    let mut line = String::new();
    BufReader::new(tap.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"timestamp\":"));
    let status = tap.wait();
    assert_eq!(status.code(), Some(0), "{}", tap.log);
    assert!(!tap.log.contains("were not written"), "its reader wanted no more: {}", tap.log);
}

#[test]
fn a_place_that_cannot_be_written_to_is_told_with_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    for option in ["record", "tap --pcap"] {
        let words = failure(&output(&format!("{option} {path}")));
        assert_eq!(words, format!("{path} is a directory: name a file in it"));
        let words = failure(&output(&format!("{option} {path}/no/f")));
        let expected =
            format!("cannot create {path}/no/f: No such file or directory (os error 2); its directory must exist");
        assert_eq!(words, expected);
    }
    let words = failure(&output(&format!("tap --json {path}")));
    assert_eq!(words, format!("cannot open {path} for JSON lines: it is a directory: name a file in it"));
    let words = failure(&output(&format!("tap --json unix:{path}/{}", "x".repeat(108))));
    assert!(words.ends_with("for JSON lines: the path of a socket has at most 107 bytes"), "{words}");
    let words = failure(&output(&format!("export --web.config.file {path} --web.listen-address 127.0.0.1:0")));
    assert_eq!(words, format!("the web configuration {path}: cannot be read: it is a directory"));
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let probes = format!("probes --bitcoind {}", program("simnode-v31").display());
    let words = failure(&bitcointap(&probes).stdout(full()).output().unwrap());
    assert_eq!(words, "cannot write to standard output: No space left on device (os error 28)");
}

#[test]
fn packets_that_are_not_written_are_not_called_lines() {
    let mut node = Simnode::start("v31", "--rate 2000");
    node.fire();
    let mut tap = bitcointap(&format!("tap --pid {} --log.level warn --pcap -", node.pid()));
    let output = tap.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("some events were not written as packets") && !log.contains("JSON"), "{log}");
}

#[test]
fn a_signal_is_a_clean_end() {
    let node = Simnode::start("v31", "");
    for number in [Signal::INT, Signal::TERM] {
        let mut tap = Attached::spawn(bitcointap(&format!("tap --pid {}", node.pid())));
        signal(tap.pid(), number);
        let status = tap.wait();
        assert_eq!(status.code(), Some(0), "{}", tap.log);
    }
}

#[test]
fn the_exporter_stays_when_the_node_is_gone() {
    let mut node = Simnode::start("v31", "--count 500");
    let mut exporter = crate::tool::Exporter::start(&format!("--pid {}", node.pid()));
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    node.fire();
    node.tally();
    exporter.last_scrape();
    assert!(exporter.process.child.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(exporter.scrape().sum("attachments_total", &[]), 1.0);
    assert!(exporter.stop().contains("has ended"));
}

#[test]
fn logs_are_logfmt_or_json() {
    let node = Simnode::start("v31", "");
    let logged = |format: &str| {
        let output = output(&format!("tap --pid {} --duration 0.1 --log.format {format}", node.pid()));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(logged("logfmt").lines().all(|line| line.starts_with("ts=") && line.contains(" level=info ")));
    for line in logged("json").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "INFO");
    }
    let output = output(&format!("tap --pid {} --duration 0.1 --log.level warn", node.pid()));
    assert!(output.stderr.is_empty());
}

#[test]
fn probes_are_listed_without_a_running_node() {
    let list = |layout: &str| {
        let output = output(&format!("probes --bitcoind {}", program(&format!("simnode-{layout}")).display()));
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let old = list("v23");
    assert!(old.contains("Bitcoin Core has it since v29"), "{old}");
    let newer = Tracepoint::all().filter(|it| it.since() != "v23").count();
    assert_eq!(old.matches("absent").count(), newer, "{old}");
    let new = list("v31");
    assert_eq!(new.lines().filter(|line| line.contains("  yes        yes  ")).count(), Tracepoint::COUNT, "{new}");
    assert!(!new.contains("absent"), "{new}");
    let replaced = new.lines().find(|line| line.starts_with("mempool:replaced")).unwrap();
    assert!(replaced.contains("  8: "), "{replaced}");
    // A program with a name that nobody knows, and a reader that closes early.
    let mut head = bitcointap(&format!("probes --bitcoind {}", program("simnode-v31").display()));
    let mut child = head.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let words = failure(&output("probes --bitcoind /proc/self/nothing"));
    assert!(words.starts_with("cannot read /proc/self/nothing"), "{words}");
}

#[test]
fn json_of_the_exporter_is_appended() {
    let file = tempfile::NamedTempFile::new().unwrap();
    writeln!(File::options().append(true).open(file.path()).unwrap(), "before").unwrap();
    let mut node = Simnode::start("v31", "--count 100");
    let exporter =
        crate::tool::Exporter::start(&format!("--pid {} --events all --json {}", node.pid(), file.path().display()));
    node.fire();
    node.tally();
    exporter.last_scrape();
    let metrics = crate::tool::eventually("all lines", || {
        let metrics = exporter.scrape();
        (metrics.sum("json_lines_total", &[("sink", "file")]) == 100.0).then_some(metrics)
    });
    assert_eq!(metrics.sum("json_lines_lost_total", &[]), 0.0);
    exporter.stop();
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(text.starts_with("before\n{"));
    assert_eq!(text.lines().count(), 101);
}

#[test]
fn a_named_pipe_that_nobody_reads_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("events");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let node = Simnode::start("v31", "");
    let address = crate::tool::free_address();
    let export = format!("export --pid {} --web.listen-address {address} --json {}", node.pid(), fifo.display());
    assert!(failure(&output(&export)).ends_with("nobody reads this pipe yet: start its reader first"));
}

#[test]
fn a_thread_is_no_process() {
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receive.recv());
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().file_name().into_string().unwrap());
    let own = std::process::id().to_string();
    let id = tasks.into_iter().find(|task| *task != own).unwrap();
    let words = failure(&output(&format!("tap --pid {id}")));
    assert_eq!(words, format!("{id} is the id of a thread: name its process by --pid {own}"));
    drop(send);
    assert!(thread.join().unwrap().is_err());
}

#[test]
fn a_duration_ends_though_nobody_reads() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 20000");
    node.fire();
    // Attaching takes part of the time, and long on a busy machine: then nothing is left to be written.
    let are_lost = [3, 9, 27, 81].into_iter().any(|seconds| {
        let mut command = bitcointap(&format!("tap --pid {} --duration {seconds} --events all", node.pid()));
        command.stdout(Stdio::piped());
        let mut tap = Attached::spawn(command);
        let status = tap.wait();
        assert!(status.success(), "{}", tap.log);
        tap.log.contains("some events were not written as JSON lines")
    });
    assert!(are_lost);

    // Longer than any clock runs, but a valid number of seconds.
    let output = output(&format!("tap --pid {} --duration 1e19 --count 1", node.pid()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_wrong_address_list_is_told_before_anything_is_attached() {
    let node = Simnode::start("v31", "");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, "192.0.2.0/24\n# a comment\n192.0.2.0/33\n").unwrap();
    let export = |lists: &str| {
        let address = crate::tool::free_address();
        output(&format!("export --pid {} --web.listen-address {address} {lists}", node.pid()))
    };
    let words = failure(&export(&format!("--address-list a={}", path.display())));
    let expected = "3: \"192.0.2.0/33\" is neither an IP address nor a network such as 192.0.2.0/24 or 2001:db8::/32, without a port";
    assert_eq!(words, format!("the address list a: {}:{expected}", path.display()));
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

#[test]
fn a_hangup_reads_again_and_ends_nothing() {
    let mut node = Simnode::start("v31", "--count 10");
    let mut exporter = crate::tool::Exporter::start(&format!("--pid {}", node.pid()));
    exporter.process.hang_up("there is nothing to read again");
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    // Nor when the node has ended.
    node.fire();
    node.tally();
    exporter.last_scrape();
    exporter.process.hang_up("there is nothing to read again");
    exporter.stop();
}
