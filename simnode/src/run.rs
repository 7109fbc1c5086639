//! From arguments to the tally: the main functions of the launcher and of the layouts' executables.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{self, ExitCode},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    cli::{Layout, Options, Rate},
    emit::{Emitter, Trace},
    pace::{Clock, Limits},
    probes::Probes,
    scenario,
    tally::Tally,
};

/// The status after wrong usage.
const USAGE: u8 = 2;
/// How often a waiting thread looks for signals.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a process that starts a daemon takes until then.
const PREPARATION: Duration = Duration::from_millis(400);
/// How long a child lives: longer than the time between two looks at the processes.
const CHILDHOOD: Duration = Duration::from_millis(300);

/// Becomes the executable of the wanted layout, with the same arguments and pid.
pub fn launch() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(status) => return status,
    };
    let layout = options.layout.unwrap_or(Layout::V31);
    let executable = match env::current_exe() {
        Ok(own) => own.with_file_name(format!("simnode-{}", layout.name())),
        Err(error) => return fail(&format!("cannot find its own executable: {error}")),
    };
    // It returns only if it fails.
    let error = process::Command::new(&executable).args(env::args_os().skip(1)).exec();
    fail(&format!("cannot run {}: {error}; build the whole package simnode", executable.display()))
}

/// Simulates a node with these tracepoints and the given arguments, and prints the tally.
pub fn simulate(probes: &'static Probes) -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(status) => return status,
    };
    let Some(layout) = Layout::from_number(probes.layout) else {
        return fail(&format!("probes.c has the layout {}, which the rest does not know", probes.layout));
    };
    if options.layout.is_some_and(|wanted| wanted != layout) {
        let name = layout.name();
        eprintln!("error: this is simnode-{name}, which has no other layout; use simnode --layout");
        return ExitCode::from(USAGE);
    }
    let result = match options.daemon {
        Some(stays) => start_daemon(stays),
        None => run(&options, layout, probes),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

/// Starts another process with the same arguments and streams, without `--daemon`, and prints its pid.
fn start_daemon(stays: Duration) -> Result<(), String> {
    // Before that, Bitcoin Core reads its configuration and checks itself.
    thread::sleep(PREPARATION);
    let is_daemon = |argument: &OsString| argument.to_str().is_some_and(|it| it == "--daemon");
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some(place) = arguments.iter().position(is_daemon) {
        arguments.drain(place..place + 2);
    }
    let node = itself().args(arguments).spawn().map_err(|error| format!("cannot start itself: {error}"))?;
    println!("{}", node.id());
    thread::sleep(stays);
    Ok(())
}

fn itself() -> process::Command {
    // This path works even if its file was replaced, or is in another mount namespace.
    process::Command::new("/proc/self/exe")
}

/// Starts one process of this program after another, each for a while, until `stop`.
fn start_children(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let quiet = || process::Stdio::null();
        let child = itself()
            .args(["--wait", "--count", "1"])
            .stdin(process::Stdio::piped())
            .stdout(quiet())
            .stderr(quiet())
            .spawn();
        thread::sleep(CHILDHOOD);
        if let Ok(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
        thread::sleep(GLANCE);
    }
}

/// Takes the lock of Bitcoin Core's node in the same way: for the process, on the whole file.
fn lock(directory: &Path, chain: &str) -> Result<File, String> {
    let folder = match chain {
        "main" => directory.to_owned(),
        "test" => directory.join("testnet3"),
        chain => directory.join(chain),
    };
    let path = folder.join(".lock");
    let lock = || {
        fs::create_dir_all(&folder)?;
        let file = File::options().append(true).create(true).open(&path)?;
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    };
    lock().map_err(|error: io::Error| format!("cannot lock {}: {error}; another node may have it", path.display()))
}

fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

/// The options, or the status to end with after help or an error was printed.
fn parse() -> Result<Options, ExitCode> {
    let arguments: Vec<OsString> = env::args_os().collect();
    Options::parse_and_check(arguments).map_err(|error| {
        if error.use_stderr() {
            // The first line says what is wrong; the others repeat the usage.
            let text = error.to_string();
            eprintln!("{} (see --help)", text.lines().next().unwrap_or_default());
            ExitCode::from(USAGE)
        } else {
            let _ = error.print();
            ExitCode::SUCCESS
        }
    })
}

fn run(options: &Options, layout: Layout, probes: &'static Probes) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| format!("cannot handle signal {signal}: {error}"))?;
    }
    let _lock = options.datadir.as_deref().map(|directory| lock(directory, &options.chain)).transpose()?;
    if options.children {
        let stop = Arc::clone(&stop);
        thread::spawn(move || start_children(&stop));
    }
    let trace = match &options.trace {
        None => None,
        Some(path) => Some(
            Trace::create(path, options.trace_contents)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?,
        ),
    };
    let (tally, seconds) = fire(options, layout, probes, trace.as_ref(), &stop)?;
    if let (Some(trace), Some(path)) = (&trace, &options.trace) {
        trace.finish().map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let report = tally.report(layout.name(), options.scenario.name(), options.seed, seconds);
    let line = serde_json::to_string(&report).map_err(|error| format!("cannot write the tally: {error}"))?;
    match writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(format!("cannot write the tally: {error}"));
        }
        _ => {}
    }
    while options.linger && !stop.load(Ordering::Relaxed) {
        thread::sleep(GLANCE);
    }
    Ok(())
}

/// Fires from all threads. Returns what they fired and how many seconds that took.
fn fire(
    options: &Options,
    layout: Layout,
    probes: &'static Probes,
    trace: Option<&Trace>,
    stop: &Arc<AtomicBool>,
) -> Result<(Tally, f64), String> {
    let clock = options.fixed_time.map_or(Clock::System, Clock::Fixed);
    // All threads meet once when they are prepared, and again when they may fire.
    let barrier = &Barrier::new(options.threads as usize + 1);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for index in 0..options.threads {
            let limits = limits(options, index, stop);
            let work = move || {
                let mut emitter = Emitter::new(probes, limits, clock, trace);
                scenario::play(options, layout, index, &mut emitter, || {
                    barrier.wait();
                    barrier.wait();
                });
                emitter.into_tally()
            };
            let thread = thread::Builder::new().name(format!("simnode-{index}"));
            match thread.spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // The threads that have started wait for this one.
                    eprintln!("error: cannot start {} threads: {error}", options.threads);
                    process::exit(1);
                }
            }
        }
        barrier.wait();
        if options.wait {
            wait_for_line(layout, stop);
        }
        let start = Instant::now();
        barrier.wait();
        let mut total = Tally::new(probes);
        for thread in threads {
            total.merge(&thread.join().map_err(|_| "a thread panicked".to_owned())?);
        }
        Ok((total, start.elapsed().as_secs_f64()))
    })
}

/// The share of the thread numbered `index` of what `options` ask for.
fn limits(options: &Options, index: u32, stop: &Arc<AtomicBool>) -> Limits {
    let threads = u64::from(options.threads);
    Limits {
        rate: match options.rate {
            Rate::Max => Rate::Max,
            Rate::PerSecond(rate) => Rate::PerSecond(rate / f64::from(options.threads)),
        },
        count: options.count.map(|count| count / threads + u64::from(u64::from(index) < count % threads)),
        duration: options.duration,
        stop: Arc::clone(stop),
    }
}

/// Says that all is ready, and waits for a line or the end of file on stdin, or for a signal.
fn wait_for_line(layout: Layout, stop: &AtomicBool) {
    eprintln!("simnode-{}: ready, pid {}; fires after a line on standard input", layout.name(), process::id());
    let (sender, line) = mpsc::channel();
    // Reading cannot be interrupted: after a signal this thread ends with the process.
    thread::spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        let _ = sender.send(());
    });
    while !stop.load(Ordering::Relaxed) {
        match line.recv_timeout(GLANCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => break,
        }
    }
}
