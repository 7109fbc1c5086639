//! What bitcointap takes of the machine: CPU for each event, memory, the rate at which it begins to lose events, how
//! long a scrape and a start take. The simulated node fires on one core, bitcointap runs on another. In: commands and
//! scenarios. Out: rows.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, table::Figure};

const PATIENCE: Duration = Duration::from_secs(30);
/// How many scrapes to take the median of.
const SCRAPES: usize = 20;

const COMMANDS: [(&str, &[&str]); 4] = [
    ("export", &["export", "--web.listen-address"]),
    ("with flight recorder", &["export", "--flight-recorder", "64MiB", "--web.listen-address"]),
    ("tap to /dev/null", &["tap"]),
    ("record to /dev/null", &["record", "/dev/null"]),
];

const SCENARIOS: [(&str, &[&str]); 4] = [
    ("mix, 50,000 a second", &["--scenario", "mix", "--rate", "50000"]),
    ("churn, 50,000 a second", &["--scenario", "churn", "--rate", "50000"]),
    ("flood, as fast as it goes", &["--scenario", "flood", "--rate", "max"]),
    ("blocks, 100 a second", &["--scenario", "blocks", "--rate", "100"]),
];

/// Mixed events a second while only Prometheus scrapes, and how often it does.
const QUIET_RATES: [&str; 2] = ["300", "1000"];
const SCRAPE_SECONDS: u64 = 15;

/// Figures of a command and a scenario.
#[derive(Default)]
struct Cost {
    rate: Figure,
    cpu_us: Figure,
    memory_mib: Figure,
    lost: u64,
    fired: u64,
}

/// The node fires for `seconds` in each measurement.
pub fn measure(rounds: usize, seconds: u64) -> Result<()> {
    let mut costs: Vec<Cost> = (0..COMMANDS.len() * SCENARIOS.len()).map(|_| Cost::default()).collect();
    let [mut idle, mut busy, mut started] = [Figure::default(), Figure::default(), Figure::default()];
    let mut bytes = 0;
    for _ in 0..rounds {
        let cases = COMMANDS.iter().flat_map(|command| SCENARIOS.iter().map(move |scenario| (command, scenario)));
        for ((command, scenario), cost) in cases.zip(&mut costs) {
            let is_flood = scenario.0.starts_with("flood");
            let mut running = Running::start(command.1, scenario.1, seconds)?;
            let tool = &running.tool;
            started.add(tool.attached_after.as_secs_f64());
            if let (Some(address), true) = (&tool.address, is_flood) {
                bytes = scrapes(address, &mut idle)?;
            }
            let before = cpu_nanoseconds(tool.child.id())?;
            let start = Instant::now();
            running.node.go()?;
            if let (Some(address), true) = (&tool.address, is_flood) {
                scrapes(address, &mut busy)?;
            }
            running.node.wait()?;
            let took = start.elapsed();
            let tool = &running.tool;
            let Counted { fired, lost } = tool.counted()?;
            let cpu = cpu_nanoseconds(tool.child.id()).unwrap_or(before) - before;
            cost.rate.add(fired as f64 / took.as_secs_f64());
            cost.cpu_us.add(cpu as f64 / 1e3 / fired as f64);
            cost.memory_mib.add(peak_memory_mib(tool.child.id())?);
            cost.fired += fired;
            cost.lost += lost;
        }
    }
    println!(
        "\n{:22} {:26} {:>10} {:>10} {:>15} {:>10} {:>12} {:>8}",
        "COMMAND", "SCENARIO", "EVENTS/S", "µS/EVENT", "SPREAD", "PEAK MIB", "FIRED", "LOST"
    );
    let names = COMMANDS.iter().flat_map(|command| SCENARIOS.iter().map(move |scenario| (command.0, scenario.0)));
    for ((command, scenario), cost) in names.zip(&costs) {
        println!(
            "{command:22} {scenario:26} {:10.0} {:10.2} {:>15} {:10.1} {:12} {:8}",
            cost.rate.median(),
            cost.cpu_us.median(),
            cost.cpu_us.spread(2),
            cost.memory_mib.most(),
            cost.fired,
            cost.lost
        );
    }
    println!("\n{:22} {:>26} {:>22}", "COMMAND", "EVENTS/S WITHOUT LOSS", "EVENTS/S WITH LOSS");
    for (name, arguments) in COMMANDS {
        let [without, with] = loss_begins(arguments)?.map(|rate| match rate {
            Some(rate) => format!("{rate:.0}"),
            None => "none seen".into(),
        });
        println!("{name:22} {without:>26} {with:>22}");
    }
    println!("\n{:42} {:>10} {:>15}", "EXPORT, A SCRAPE EACH 15 SECONDS", "CPU MS/S", "SPREAD");
    for (rate, figure) in QUIET_RATES.iter().zip(quiet(rounds)?) {
        println!("mix, {rate:>5} a second {:21} {:10.2} {:>15}", "", figure.median(), figure.spread(2));
    }
    println!("\n{:42} {:>10} {:>15}", "TIME", "MS", "SPREAD");
    for (name, figure) in [
        (format!("a scrape of {} kB, idle", bytes / 1000), idle),
        ("a scrape in the flood".into(), busy),
        ("start to attached".into(), started),
    ] {
        let milliseconds = figure.times(1e3);
        println!("{name:42} {:10.1} {:>15}", milliseconds.median(), milliseconds.spread(1));
    }
    Ok(())
}

/// Milliseconds of CPU that `export` takes in a second, with two scrapes in each measurement.
fn quiet(rounds: usize) -> Result<[Figure; QUIET_RATES.len()]> {
    let mut figures = QUIET_RATES.map(|_| Figure::default());
    for _ in 0..rounds {
        for (rate, figure) in QUIET_RATES.iter().zip(&mut figures) {
            let seconds = 3 * SCRAPE_SECONDS;
            let mut running = Running::start(COMMANDS[0].1, &["--scenario", "mix", "--rate", rate], seconds)?;
            running.node.go()?;
            let tool = &running.tool;
            let address = tool.address.as_ref().ok_or("it serves metrics")?;
            // Its peers connect, and the first scrape has allocated what it needs.
            thread::sleep(Duration::from_secs(SCRAPE_SECONDS / 2));
            scrape(address)?;
            let (before, start) = (cpu_nanoseconds(tool.child.id())?, Instant::now());
            for _ in 0..2 {
                thread::sleep(Duration::from_secs(SCRAPE_SECONDS));
                scrape(address)?;
            }
            let cpu = cpu_nanoseconds(tool.child.id())? - before;
            figure.add(cpu as f64 / 1e6 / start.elapsed().as_secs_f64());
        }
    }
    Ok(figures)
}

/// The highest rate of the flood without losses, and the lowest with losses, in events a second; `None` if there is no
/// such rate. Exact to a sixteenth of the node's highest rate.
fn loss_begins(arguments: &[&str]) -> Result<[Option<f64>; 2]> {
    const SECONDS: u64 = 2;
    let lost_at = |rate: &str| -> Result<(f64, bool)> {
        let mut running = Running::start(arguments, &["--scenario", "flood", "--rate", rate], SECONDS)?;
        running.node.go()?;
        running.node.wait()?;
        let Counted { fired, lost } = running.tool.counted()?;
        Ok((fired as f64 / SECONDS as f64, lost > 0))
    };
    let (mut least, mut most) = (None, None);
    let mut rate = String::from("max");
    for _ in 0..5 {
        let (fired, is_lost) = lost_at(&rate)?;
        *(if is_lost { &mut most } else { &mut least }) = Some(fired);
        let Some(most) = most else { break };
        rate = format!("{:.0}", (least.unwrap_or(0.0) + most) / 2.0);
    }
    Ok([least, most])
}

/// A node, and what is attached to it.
struct Running {
    tool: Tool,
    node: Node,
}

impl Running {
    fn start(command: &[&str], scenario: &[&str], seconds: u64) -> Result<Self> {
        let node = Node::start(scenario, seconds)?;
        Ok(Self { tool: Tool::start(command, node.child.id())?, node })
    }
}

/// The simulated node, which fires on command.
pub struct Node {
    pub child: Child,
}

impl Node {
    pub fn start(scenario: &[&str], seconds: u64) -> Result<Self> {
        let child = on_core(0, "simnode")?
            .args(scenario)
            .args(["--duration", &seconds.to_string(), "--wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut node = Self { child };
        // It says that it is ready.
        let mut log = BufReader::new(node.child.stderr.take().ok_or("it is piped")?);
        log.read_line(&mut String::new())?;
        thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Ok(node)
    }

    pub fn go(&mut self) -> Result<()> {
        writeln!(self.child.stdin.as_mut().ok_or("it is piped")?, "go")?;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.tally().map(drop)
    }

    /// What it has fired, as JSON. Waits for its end.
    fn tally(&mut self) -> Result<String> {
        let mut tally = String::new();
        self.child.stdout.take().ok_or("it is piped")?.read_to_string(&mut tally)?;
        self.child.wait()?;
        Ok(tally)
    }

    /// How many events it has fired that are published over NATS by default. Waits until it has fired them; it may linger.
    pub fn published(&mut self) -> Result<u64> {
        let mut tally = String::new();
        BufReader::new(self.child.stdout.take().ok_or("it is piped")?).read_line(&mut tally)?;
        let counts = tally.split_once("\"tracepoints\":{").ok_or("a tally has tracepoints")?.1;
        let counts = counts.split_once('}').ok_or("a tally has tracepoints")?.0;
        let count = |row: &str| {
            let (name, count) = row.rsplit_once(':')?;
            let is_published =
                ["\"net:", "\"mempool:", "\"validation:"].iter().any(|context| name.starts_with(context));
            is_published.then(|| count.parse::<u64>().ok()).flatten()
        };
        Ok(counts.split(',').filter_map(count).sum())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events of a run.
struct Counted {
    fired: u64,
    lost: u64,
}

/// bitcointap, attached.
struct Tool {
    child: Child,
    log: Receiver<String>,
    attached_after: Duration,
    /// The address of the metrics, if it serves them.
    address: Option<String>,
}

impl Tool {
    fn start(arguments: &[&str], pid: u32) -> Result<Self> {
        let address = match arguments.last() {
            Some(&"--web.listen-address") => Some(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string()),
            _ => None,
        };
        let start = Instant::now();
        let mut child = on_core(1, "bitcointap")?
            .args(arguments)
            .args(&address)
            .args(["--pid", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().ok_or("it is piped")?).lines();
        thread::spawn(move || lines.map_while(std::result::Result::ok).try_for_each(|line| sender.send(line)));
        let mut tool = Self { child, log, attached_after: Duration::ZERO, address };
        tool.line("attached to")?;
        tool.attached_after = start.elapsed();
        Ok(tool)
    }

    fn line(&self, with: &str) -> Result<String> {
        loop {
            let line = self.log.recv_timeout(PATIENCE).map_err(|_| format!("bitcointap did not say {with:?}"))?;
            if line.contains(with) {
                return Ok(line);
            }
        }
    }

    /// From its log at the node's end.
    fn counted(&self) -> Result<Counted> {
        let line = self.line("the node has ended")?;
        let field = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).ok_or(format!("no {name} in {line}"))
        };
        Ok(Counted { fired: field("fired=")?, lost: field("lost=")? })
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// A program built beside this one.
pub fn on_core(core: usize, program: &str) -> Result<Command> {
    let path: PathBuf = std::env::current_exe()?.with_file_name(program);
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(path);
    Ok(command)
}

/// CPU time of a process's threads. Threads of a run that has ended are gone, and count as idle.
pub fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += schedstat.split_whitespace().next().ok_or("schedstat has numbers")?.parse::<u64>()?;
    }
    Ok(sum)
}

pub fn peak_memory_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Adds the seconds of some scrapes; returns the bytes of one.
fn scrapes(address: &str, figure: &mut Figure) -> Result<usize> {
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let start = Instant::now();
        bytes = scrape(address)?;
        figure.add(start.elapsed().as_secs_f64());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(bytes)
}

/// Returns its bytes.
fn scrape(address: &str) -> Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.len())
}
