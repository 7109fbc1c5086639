//! Finding the node among the processes, by reading /proc. Runs no other program.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use procfs::process::Process;

use crate::error::Error;

/// The programs that are taken for a node if none is named.
const PROGRAMS: [&str; 3] = ["bitcoind", "bitcoin-qt", "bitcoin-node"];

const PTRACE_HINT: &str = "; the process of another user takes root or CAP_SYS_PTRACE";

/// A running node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its process.
    pub pid: i32,
    /// Where its program was started from; in a container that is a path inside.
    pub program: PathBuf,
    /// Its data directory, as far as command line and environment tell.
    pub data_directory: Option<PathBuf>,
    /// When it was started, UNIX time in seconds.
    pub start_time: f64,
}

impl Node {
    /// The path by which the program is reached, also from another mount namespace and after its file was replaced.
    pub fn executable(&self) -> PathBuf {
        executable(self.pid)
    }

    /// The node that runs, if it is one only.
    pub fn find() -> Result<Node, Error> {
        one(processes()?.filter(is_node), Error::NoNode)
    }

    /// The process `pid`, whatever its program is called.
    pub fn by_pid(pid: i32) -> Result<Node, Error> {
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

    /// The process whose number is in a file, as `bitcoind -pid=FILE` writes it.
    pub fn by_pid_file(path: &Path) -> Result<Node, Error> {
        let problem = |problem: String| Error::PidFile { path: path.to_owned(), problem };
        let mut text = String::new();
        // No more than a number takes: the path may be of anything.
        File::open(path)
            .and_then(|file| file.take(64).read_to_string(&mut text))
            .map_err(|error| problem(format!("cannot be read: {error}; bitcoind writes it where -pid says")))?;
        let pid = text.trim().parse().ok().filter(|&pid: &i32| pid > 0).ok_or_else(|| {
            let start: String = text.trim().chars().take(40).collect();
            problem(format!("does not hold a process id, but {start:?}"))
        })?;
        Node::by_pid(pid)
    }

    /// The process that runs the program in a file.
    pub fn by_program(path: &Path) -> Result<Node, Error> {
        let file = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
        let wanted = file(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error, hint: "" })?;
        let runs_it = |process: &Process| file(&executable(process.pid())).is_ok_and(|found| found == wanted);
        one(processes()?.filter(runs_it), Error::NotRunning(path.to_owned()))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} {}", self.pid, self.program.display())?;
        match &self.data_directory {
            Some(directory) => write!(f, " (data directory {})", directory.display()),
            None => Ok(()),
        }
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
    // One that ends meanwhile is none.
    Ok(all.filter_map(Result::ok).filter(Process::is_alive))
}

fn one(processes: impl Iterator<Item = Process>, none: Error) -> Result<Node, Error> {
    let mut nodes: Vec<Node> = processes.filter_map(|process| describe(&process).ok()).collect();
    match nodes.len() {
        0 => Err(none),
        1 => Ok(nodes.remove(0)),
        _ => Err(Error::SeveralNodes(nodes)),
    }
}

fn is_node(process: &Process) -> bool {
    let name = match process.exe() {
        Ok(path) => file_name(&path),
        // Another user's: its name is all that can be read.
        Err(_) => process.stat().ok().map(|stat| stat.comm),
    };
    name.is_some_and(|name| PROGRAMS.contains(&name.as_str()))
}

/// The name of a program; the kernel marks a file that was replaced.
fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned())
}

fn describe(process: &Process) -> procfs::ProcResult<Node> {
    let stat = process.stat()?;
    let program = process.exe().unwrap_or_else(|_| PathBuf::from(&stat.comm));
    let start_time = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / procfs::ticks_per_second() as f64;
    Ok(Node { pid: process.pid(), program, data_directory: data_directory(process), start_time })
}

fn data_directory(process: &Process) -> Option<PathBuf> {
    let given = process.cmdline().ok()?.into_iter().skip(1).find_map(|argument| {
        let name = argument.trim_start_matches('-');
        (name.len() < argument.len()).then(|| name.strip_prefix("datadir=").map(PathBuf::from)).flatten()
    });
    match given {
        Some(path) => Some(process.cwd().map_or_else(|_| path.clone(), |cwd| cwd.join(&path))),
        None => {
            let environment = process.environ().ok()?;
            let home = environment.get(OsStr::from_bytes(b"HOME"))?;
            Some(Path::new(home).join(".bitcoin"))
        }
    }
}

/// What reading a process' program failed for, in words.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = if error.kind() == io::ErrorKind::PermissionDenied { PTRACE_HINT } else { "" };
    Error::Unreadable { path: path.to_owned(), error, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_pid_file_and_program() {
        let pid = std::process::id() as i32;
        let file = std::env::temp_dir().join(format!("bitcointap-test-{pid}.pid"));
        fs::write(&file, format!("{pid}\n")).unwrap();
        let node = Node::by_pid_file(&file).unwrap();
        assert_eq!(node.pid, pid);
        assert_eq!(fs::canonicalize(node.executable()).unwrap(), std::env::current_exe().unwrap());
        assert_eq!(node, Node::by_program(&node.program).unwrap());
        let age =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() - node.start_time;
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");

        fs::write(&file, "no number").unwrap();
        let words = Node::by_pid_file(&file).unwrap_err().to_string();
        assert!(words.contains("does not hold a process id, but \"no number\""), "{words}");
        fs::remove_file(&file).unwrap();
        assert!(Node::by_pid_file(&file).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn a_pid_that_nobody_has_is_gone() {
        // Above the kernel's limit for pids.
        assert!(matches!(Node::by_pid(i32::MAX), Err(Error::PidGone(_))));
    }

    #[test]
    fn a_replaced_program_keeps_its_name() {
        assert_eq!(file_name(Path::new("/usr/bin/bitcoind (deleted)")).as_deref(), Some("bitcoind"));
    }
}
