//! Finds the node among the processes, by reading /proc. Runs no other program. In: which node. Out: its process, its
//! data directory and chain.

mod data_directory;
mod settled;

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use procfs::process::{Process, Stat};

pub use self::data_directory::Chain;
pub(crate) use self::data_directory::DataDirectory;
use self::settled::Settled;
use crate::{Error, files};

/// The programs that count as a node if none is named.
const PROGRAMS: [&str; 3] = ["bitcoind", "bitcoin-qt", "bitcoin-node"];

const PTRACE_HINT: &str = "; reading the process of another user needs root or CAP_SYS_PTRACE";
const READ_HINT: &str =
    "; reading a program that is closed to other users needs its owner, root or CAP_DAC_READ_SEARCH";

/// How long [`Which::find`] waits for a node that is starting.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_INTERVAL: Duration = Duration::from_millis(50);

/// Which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The running one that meets these conditions.
    Running(Conditions),
    /// The process with this id, whatever its program is called.
    Pid(i32),
    /// The process with its id in this file, as `bitcoind -pid=FILE` writes it.
    PidFile(PathBuf),
}

/// Conditions that the node must meet; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The file of its program. By default one that is called `bitcoind`, `bitcoin-qt` or `bitcoin-node`.
    pub program: Option<PathBuf>,
    /// Its data directory (`-datadir`), or the folder of its chain in that.
    pub data_directory: Option<PathBuf>,
    /// Its chain (`-chain`).
    pub chain: Option<Chain>,
}

impl Default for Which {
    fn default() -> Self {
        Self::Running(Conditions::default())
    }
}

impl Which {
    /// Looks for the node among the processes that run now. Waits some seconds for one that is starting.
    ///
    /// # Errors
    /// Errors of finding a node: none or several, or a pid or a file that does not say which.
    pub fn find(&self) -> Result<Node, Error> {
        let begun = Instant::now();
        loop {
            match self.look(None) {
                Err(Error::NodeStarts(_)) if begun.elapsed() < PATIENCE => thread::sleep(PATIENCE_INTERVAL),
                result => return result,
            }
        }
    }

    /// [`Which::find`] without waiting. With the node of a previous run it looks for the next run of that node: no
    /// other data directory or chain will do.
    ///
    /// # Errors
    /// Those of `find`, and [`Error::NodeStarts`].
    pub fn look(&self, before: Option<&Node>) -> Result<Node, Error> {
        match self {
            Which::Running(conditions) => running(conditions, before),
            Which::Pid(pid) => by_pid(*pid),
            Which::PidFile(path) => by_pid_file(path),
        }
    }
}

/// A running node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its process.
    pub pid: i32,
    /// The path from which its program was started. For a node in a container it is a path inside.
    pub program: PathBuf,
    /// When it started, UNIX time in seconds.
    pub start_time: f64,
    /// Clock ticks from the machine's start to its own. Together with the pid they identify the process.
    pub(crate) started: u64,
    pub(crate) data: DataDirectory,
    pub(crate) image: Image,
    /// Its program's file, by device and inode; `None` if that cannot be read.
    pub(crate) file: Option<(u64, u64)>,
}

impl Node {
    /// Its data directory, as far as its descriptors, its command line and its environment show it. For a node in a
    /// container it is a path inside.
    pub fn data_directory(&self) -> Option<&PathBuf> {
        self.data.directory.as_ref()
    }

    /// Its chain, as far as the same show it.
    pub fn chain(&self) -> Option<Chain> {
        self.data.chain
    }

    /// A path that reaches the program, also from another mount namespace and after its file was replaced.
    pub fn executable(&self) -> PathBuf {
        executable(self.pid)
    }

    /// Whether its program is called like one of Bitcoin Core's.
    pub(crate) fn has_usual_name(&self) -> bool {
        file_name(&self.program).is_some_and(|name| PROGRAMS.contains(&name.as_str()))
    }

    /// Whether the process still exists and runs the same program. Another process may have got its pid, and it may
    /// have become another program.
    pub fn still_runs(&self) -> bool {
        let Ok(process) = Process::new(self.pid) else { return false };
        let Ok(stat) = process.stat() else { return false };
        // On an overlay file system a changed file may have another inode.
        let same_image = || Image::of(&stat) == self.image;
        stat.starttime == self.started
            && process.is_alive()
            && (self.still_has_file(file_id(&self.executable())) || same_image())
    }

    /// Whether this is its data directory, or the folder of its chain in that. The path may be ours or, as in a
    /// container, its own.
    fn has_data_directory(&self, wanted: &Path) -> bool {
        let Some(whole) = self.data_directory() else { return false };
        let folder = self.chain().and_then(Chain::folder).map(|folder| whole.join(folder));
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        [Some(whole), folder.as_ref()].into_iter().flatten().any(|own| {
            let same_file = || {
                let own = root.join(own.strip_prefix("/").unwrap_or(own));
                file_id(wanted).is_ok_and(|wanted| file_id(&own).is_ok_and(|own| own == wanted))
            };
            own == wanted || fs::canonicalize(wanted).is_ok_and(|wanted| wanted == *own) || same_file()
        })
    }

    fn still_has_file(&self, now: io::Result<(u64, u64)>) -> bool {
        match now {
            Ok(now) => Some(now) == self.file,
            // Once capabilities are dropped, another user's directory is out of reach.
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
}

/// What changes when a process becomes another program: where its code begins, which is random, and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image(u64, String);

impl Image {
    fn of(stat: &Stat) -> Self {
        Self(stat.startcode, stat.comm.clone())
    }
}

fn by_pid(pid: i32) -> Result<Node, Error> {
    let gone = |_| Error::PidGone(pid);
    let process = Process::new(pid).map_err(gone)?;
    if !process.is_alive() {
        return Err(Error::PidGone(pid));
    }
    let status = process.status().map_err(gone)?;
    if status.tgid != pid {
        return Err(Error::Thread { thread: pid, process: status.tgid });
    }
    describe(&process).map_err(gone)
}

fn by_pid_file(path: &Path) -> Result<Node, Error> {
    let problem = |problem: String| Error::PidFile { path: path.to_owned(), problem };
    let mut text = String::new();
    // Only as much as a number needs: the path may be any file.
    files::open(path)
        .and_then(|file| file.take(64).read_to_string(&mut text))
        .map_err(|error| problem(format!("cannot be read: {error}; bitcoind writes it where -pid says")))?;
    let pid = text.trim().parse().ok().filter(|&pid: &i32| pid > 0).ok_or_else(|| {
        let start: String = text.trim().chars().take(40).collect();
        problem(format!("does not hold a process id, but {start:?}"))
    })?;
    by_pid(pid).map_err(|error| match error {
        Error::PidGone(_) => problem(format!(
            "is of pid {pid}, which no process has: the node has ended, or lives in another pid namespace; start it"
        )),
        other => other,
    })
}

fn running(conditions: &Conditions, before: Option<&Node>) -> Result<Node, Error> {
    let processes: Vec<Process> = match &conditions.program {
        None => processes()?.filter(is_node).collect(),
        Some(path) => {
            let wanted = file_id(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error, hint: "" })?;
            let runs_it = |process: &Process| file_id(&executable(process.pid())).is_ok_and(|found| found == wanted);
            processes()?.filter(runs_it).collect()
        }
    };
    let Settled { nodes, starting } = settled::among(processes);
    let nodes: Vec<Node> = nodes.iter().filter_map(|process| describe(process).ok()).collect();
    let (mut meeting, others): (Vec<Node>, Vec<Node>) = nodes
        .into_iter()
        .partition(|node| conditions.are_met_by(node) && before.is_none_or(|before| before.data.is_same(&node.data)));
    match (meeting.len(), starting, &conditions.program) {
        (1, ..) => Ok(meeting.remove(0)),
        (2.., ..) => Err(Error::SeveralNodes(meeting)),
        (0, Some(pid), _) => Err(Error::NodeStarts(pid)),
        (0, None, _) if !others.is_empty() => Err(match before {
            Some(before) => Error::Ended(conditions.or_of(before)),
            None => Error::OtherNodes { wanted: conditions.clone(), others },
        }),
        (0, None, Some(path)) => Err(Error::NotRunning(path.clone())),
        (0, None, None) => Err(Error::NoNode),
    }
}

impl Conditions {
    /// The conditions, completed by those of a node.
    fn or_of(&self, node: &Node) -> Self {
        let Self { program, data_directory, chain } = self.clone();
        let data_directory = data_directory.or_else(|| node.data_directory().cloned());
        Self { program, data_directory, chain: chain.or_else(|| node.chain()) }
    }

    /// Except for the program.
    fn are_met_by(&self, node: &Node) -> bool {
        let has_chain = self.chain.is_none_or(|chain| node.chain() == Some(chain));
        has_chain && self.data_directory.as_deref().is_none_or(|wanted| node.has_data_directory(wanted))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.data_directory.as_ref().map(|path| format!("the data directory {}", path.display()));
        let chain = self.chain.map(|chain| format!("the chain {chain}"));
        f.write_str(&directory.into_iter().chain(chain).collect::<Vec<_>>().join(" and "))
    }
}

/// Device and inode.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} {}", self.pid, self.program.display())?;
        let directory = self.data_directory().map(|path| format!("data directory {}", path.display()));
        let chain = self.chain().map(|chain| format!("chain {chain}"));
        let known: Vec<String> = directory.into_iter().chain(chain).collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}

fn executable(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

fn processes() -> Result<impl Iterator<Item = Process>, Error> {
    let all = procfs::process::all_processes().map_err(|error| Error::Unreadable {
        path: "/proc".into(),
        error: io::Error::other(error),
        hint: "",
    })?;
    // A process that ends in the meantime is not among them.
    Ok(all.filter_map(Result::ok).filter(Process::is_alive))
}

fn is_node(process: &Process) -> bool {
    runs_any(process, &PROGRAMS)
}

/// Whether it runs a program of one of these names.
fn runs_any(process: &Process, programs: &[&str]) -> bool {
    let name = match process.exe() {
        Ok(path) => file_name(&path),
        // Another user's process: only its name can be read.
        Err(_) => process.stat().ok().map(|stat| stat.comm),
    };
    name.is_some_and(|name| programs.contains(&name.as_str()))
}

/// The other processes that run the program `bitcointap`.
pub(crate) fn other_bitcointaps() -> Vec<i32> {
    let own = std::process::id() as i32;
    let all = processes().into_iter().flatten().filter(|process| runs_any(process, &[env!("CARGO_PKG_NAME")]));
    all.map(|process| process.pid()).filter(|&pid| pid != own).collect()
}

/// The name of a program. The kernel marks a file that was replaced.
fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned())
}

fn describe(process: &Process) -> procfs::ProcResult<Node> {
    let stat = process.stat()?;
    let program = process.exe().unwrap_or_else(|_| PathBuf::from(&stat.comm));
    let start_time = procfs::boot_time_secs()? as f64 + seconds_of(stat.starttime);
    let pid = process.pid();
    let data = DataDirectory::of(process);
    let (started, file) = (stat.starttime, file_id(&executable(pid)).ok());
    let image = Image::of(&stat);
    Ok(Node { pid, program, start_time, started, data, image, file })
}

/// The seconds of a start time in clock ticks. In a time namespace that counts from a later moment, these are below
/// zero, and the kernel writes them as nanoseconds near 2⁶⁴.
fn seconds_of(ticks: u64) -> f64 {
    const ALL: f64 = u64::MAX as f64 / 1e9;
    let seconds = ticks as f64 / procfs::ticks_per_second() as f64;
    if seconds > ALL / 2.0 { seconds - ALL } else { seconds }
}

/// Why a process' program could not be read, in words.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Error {
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    // Even the link of another user's process cannot be read.
    let out_of_reach = path.starts_with("/proc") && fs::read_link(path).is_err_and(|error| is_denied(&error));
    let hint = match is_denied(&error) {
        true if out_of_reach => PTRACE_HINT,
        true => READ_HINT,
        false => "",
    };
    Error::Unreadable { path: path.to_owned(), error, hint }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn this_process_is_found_by_pid_file_and_program() {
        let pid = std::process::id() as i32;
        let file = std::env::temp_dir().join(format!("bitcointap-test-{pid}.pid"));
        fs::write(&file, format!("{pid}\n")).unwrap();
        let node = Which::PidFile(file.clone()).find().unwrap();
        assert_eq!(node.pid, pid);
        assert_eq!(fs::canonicalize(node.executable()).unwrap(), std::env::current_exe().unwrap());
        // Another test may run this program a second time.
        let program = Conditions { program: Some(node.program.clone()), ..Conditions::default() };
        match Which::Running(program.clone()).find() {
            Ok(found) => assert_eq!(found, node),
            Err(Error::SeveralNodes(found)) => assert!(found.contains(&node)),
            Err(error) => panic!("{error}"),
        }
        let elsewhere = Conditions { data_directory: Some("/nowhere".into()), ..program };
        let words = Which::Running(elsewhere).find().unwrap_err().to_string();
        assert!(words.starts_with("no node with the data directory /nowhere runs: start it, or choose one"), "{words}");
        let age =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() - node.start_time;
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
        assert!(node.still_runs());
        assert!(!Node { started: node.started + 1, ..node.clone() }.still_runs(), "another process of this pid");
        let other_file = Node { file: Some((0, 0)), ..node.clone() };
        assert!(other_file.still_runs(), "its file was copied");
        let image = Image(node.image.0 + 4096, node.image.1.clone());
        assert!(!Node { image, ..other_file }.still_runs(), "another program");
        assert!(node.still_has_file(Err(io::ErrorKind::PermissionDenied.into())));
        assert!(!node.still_has_file(Err(io::ErrorKind::NotFound.into())));

        fs::write(&file, "no number").unwrap();
        let words = Which::PidFile(file.clone()).find().unwrap_err().to_string();
        assert!(words.contains("does not hold a process id, but \"no number\""), "{words}");
        fs::remove_file(&file).unwrap();
        // A pipe that nobody writes to blocks nothing.
        mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(Which::PidFile(file.clone()).find().unwrap_err().to_string().contains("does not hold a process id"));
        fs::remove_file(&file).unwrap();
        assert!(Which::PidFile(file.clone()).find().unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn a_pid_that_nobody_has_is_gone() {
        // Above the kernel's limit for pids.
        assert!(matches!(Which::Pid(i32::MAX).find(), Err(Error::PidGone(_))));
    }

    #[test]
    fn what_started_before_its_time_namespace_counts_has_started_too() {
        assert_eq!(seconds_of(0), 0.0);
        assert_eq!(seconds_of(100_022 * procfs::ticks_per_second()), 100_022.0);
        // As Linux reports a start at 0.22 s, 300 s before the machine's.
        let wrapped =
            (0_u64.wrapping_sub(299_780_000_000) as u128 * procfs::ticks_per_second() as u128 / 1_000_000_000) as u64;
        assert!((seconds_of(wrapped) + 299.78).abs() < 0.02, "{}", seconds_of(wrapped));
    }

    #[test]
    fn a_replaced_program_keeps_its_name() {
        assert_eq!(file_name(Path::new("/usr/bin/bitcoind (deleted)")).as_deref(), Some("bitcoind"));
    }
}
