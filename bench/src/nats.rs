//! What publishing over NATS takes: CPU of the publisher and of the server with one subscriber, for each event. Another publisher can be
//! measured in the same run. In: formats, rates of the simulated node, a server. Out: rows.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Result,
    our_side::{Node, cpu_nanoseconds, on_core, peak_memory_mib},
    table::Figure,
};

/// Mixed events a second.
const RATES: [u64; 3] = [300, 20_000, 50_000];
/// Options of `tap`.
const FORMATS: [(&str, &[&str]); 4] = [
    ("json", &["--nats.format", "json"]),
    ("json, hex", &["--nats.format", "json", "--bytes", "hex"]),
    ("peer-observer", &["--nats.format", "peer-observer"]),
    (RECORDING, &["--nats.format", "recording"]),
];
/// Its events cannot be counted without reading the recording.
const RECORDING: &str = "recording";
/// How long another publisher may take until it is attached.
const OTHER_STARTS: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Options {
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for which the node fires in each measurement
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// The program of nats-server; the default is the one that `make test` fetches
    #[arg(long)]
    server: Option<PathBuf>,
    /// Another publisher of one event in a message. In its command line, {pid} and {program} are those of the node, and {server} is
    /// HOST:PORT of the server
    #[arg(long, value_name = "COMMAND")]
    other: Option<String>,
}

#[derive(Default)]
struct Cost {
    publisher_us: Figure,
    server_us: Figure,
    memory_mib: Figure,
    messages: Figure,
    bytes: Figure,
    fired: u64,
    arrived: u64,
}

impl Cost {
    fn missing(&self, name: &str) -> String {
        if name == RECORDING { "unknown".into() } else { self.fired.saturating_sub(self.arrived).to_string() }
    }
}

/// Measures all formats at all rates.
pub fn measure(options: &Options) -> Result<()> {
    let mut publishers: Vec<(&str, Option<&[&str]>)> =
        FORMATS.iter().map(|&(name, arguments)| (name, Some(arguments))).collect();
    publishers.extend(options.other.iter().map(|_| ("the other", None)));
    let mut costs: Vec<Cost> = (0..publishers.len() * RATES.len()).map(|_| Cost::default()).collect();
    for _ in 0..options.rounds {
        let cases = publishers.iter().flat_map(|publisher| RATES.map(|rate| (publisher, rate)));
        for ((&(name, arguments), rate), cost) in cases.zip(&mut costs) {
            let can_count = arguments.is_some() && name != RECORDING;
            round(options, arguments, can_count, rate, cost)?;
        }
    }
    println!(
        "{:16} {:>8} {:>10} {:>12} {:>12} {:>9} {:>12} {:>12} {:>10} {:>10}",
        "FORMAT",
        "EVENTS/S",
        "µS/EVENT",
        "SPREAD",
        "SERVER µS",
        "PEAK MIB",
        "BYTES/EVENT",
        "MESSAGES/S",
        "FIRED",
        "MISSING"
    );
    let names = publishers.iter().flat_map(|publisher| RATES.map(|rate| (publisher.0, rate)));
    for ((name, rate), cost) in names.zip(&costs) {
        println!(
            "{name:16} {rate:8} {:10.2} {:>12} {:12.2} {:9.1} {:12.0} {:12.0} {:10} {:10}",
            cost.publisher_us.median(),
            cost.publisher_us.spread(2),
            cost.server_us.median(),
            cost.memory_mib.most(),
            cost.bytes.median(),
            cost.messages.median(),
            cost.fired,
            cost.missing(name),
        );
    }
    println!(
        "\nFIRED are the events that are published by default. A publisher that stops waits for nobody: MISSING are those that the"
    );
    println!("subscriber did not get.");
    Ok(())
}

fn round(options: &Options, arguments: Option<&[&str]>, can_count: bool, rate: u64, cost: &mut Cost) -> Result<()> {
    let server = Server::start(options)?;
    let subscriber = Subscriber::start(&server.address)?;
    let mut node = Node::start(&["--scenario", "mix", "--rate", &rate.to_string(), "--linger"], options.seconds)?;
    let publisher = Publisher::start(options, arguments, &node, &server.address)?;
    let cpu = || {
        Ok::<_, Box<dyn std::error::Error>>([cpu_nanoseconds(publisher.0.id())?, cpu_nanoseconds(server.child.id())?])
    };
    let (before, start) = (cpu()?, Instant::now());
    node.go()?;
    let fired = node.published()?;
    let took = start.elapsed();
    // What is on its way arrives.
    let deadline = Instant::now() + PATIENCE;
    while subscriber.events() < fired && Instant::now() < deadline && can_count {
        thread::sleep(Duration::from_millis(20));
    }
    if !can_count {
        thread::sleep(Duration::from_secs(1));
    }
    // The node lingers, so that the publisher is still there.
    let after = cpu()?;
    let per_event = |place: usize| (after[place] - before[place]) as f64 / 1e3 / fired as f64;
    cost.publisher_us.add(per_event(0));
    cost.server_us.add(per_event(1));
    cost.memory_mib.add(peak_memory_mib(publisher.0.id())?);
    cost.messages.add(subscriber.messages.load(Relaxed) as f64 / took.as_secs_f64());
    cost.bytes.add(subscriber.bytes.load(Relaxed) as f64 / fired as f64);
    cost.fired += fired;
    cost.arrived += subscriber.events();
    Ok(())
}

struct Server {
    child: Child,
    address: String,
    _configuration: tempfile::NamedTempFile,
}

impl Server {
    fn start(options: &Options) -> Result<Self> {
        let fetched = std::env::current_exe()?.with_file_name("../tools/nats-server");
        let program = options.server.clone().unwrap_or(fetched);
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut configuration = tempfile::NamedTempFile::new()?;
        write!(configuration, "listen: \"{address}\"\nmax_payload: 16MB\n")?;
        let cannot = |error| format!("cannot start {}: {error}", program.display());
        let mut command = Command::new(&program);
        command.arg("-c").arg(configuration.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(cannot)?;
        let server = Self { child, address, _configuration: configuration };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&server.address).is_err() {
            if Instant::now() > deadline {
                return Err("the server does not listen".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A publisher that is attached to the node.
struct Publisher(Child);

impl Publisher {
    fn start(options: &Options, arguments: Option<&[&str]>, node: &Node, server: &str) -> Result<Self> {
        let pid = node.child.id().to_string();
        if let Some(arguments) = arguments {
            let mut child = on_core(1, "bitcointap")?
                .args(["tap", "--pid", &pid, "--nats", &format!("nats://{server}"), "--node-name", "bench"])
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            let mut log = BufReader::new(child.stderr.take().ok_or("it is piped")?);
            let mut line = String::new();
            while !line.contains("attached to") {
                line.clear();
                if log.read_line(&mut line)? == 0 {
                    return Err("bitcointap did not attach".into());
                }
            }
            thread::spawn(move || log.read_to_end(&mut Vec::new()));
            return Ok(Self(child));
        }
        let program = std::fs::read_link(format!("/proc/{pid}/exe"))?;
        let command = options.other.as_deref().unwrap_or_default();
        let words = command.split_whitespace().map(|word| {
            word.replace("{pid}", &pid).replace("{program}", &program.display().to_string()).replace("{server}", server)
        });
        let child = Command::new("taskset")
            .args(["-c", "1"])
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        thread::sleep(OTHER_STARTS);
        Ok(Self(child))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// Gets all messages, and counts those of events.
struct Subscriber {
    messages: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    events: Arc<AtomicU64>,
}

impl Subscriber {
    fn start(server: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB > 1\r\nPING\r\n")?;
        let subscriber = Self { messages: Arc::default(), bytes: Arc::default(), events: Arc::default() };
        let counts = [&subscriber.messages, &subscriber.bytes, &subscriber.events].map(Arc::clone);
        thread::spawn(move || count(stream, &counts));
        Ok(subscriber)
    }

    fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }
}

/// Reads what the server sends, until it ends: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
fn count(stream: TcpStream, [messages, bytes, events]: &[Arc<AtomicU64>; 3]) -> Option<()> {
    let mut pongs = stream.try_clone().ok()?;
    let mut input = BufReader::with_capacity(1 << 20, stream);
    let (mut line, mut payload) = (String::new(), Vec::new());
    loop {
        line.clear();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let headers = match *words.first()? {
            "PING" => {
                pongs.write_all(b"PONG\r\n").ok()?;
                continue;
            }
            "MSG" => 0,
            "HMSG" => words[words.len() - 2].parse::<usize>().ok()?,
            _ => continue,
        };
        let size: usize = words.last()?.parse().ok()?;
        payload.resize(size + 2, 0);
        input.read_exact(&mut payload).ok()?;
        let subject = words[1];
        if subject.ends_with(".heartbeat") || subject.contains(".confirm.") {
            continue;
        }
        let is_json = subject.contains('.') && !subject.ends_with(".recording");
        let lines = if is_json { payload[headers..size].iter().filter(|&&byte| byte == b'\n').count() } else { 1 };
        messages.fetch_add(1, Relaxed);
        bytes.fetch_add(size as u64, Relaxed);
        events.fetch_add(lines as u64, Relaxed);
    }
}
