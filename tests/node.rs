//! The simulated node as a process: a test starts it, tells it to fire, and asks what it fired.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::Value;
use tempfile::TempDir;

use crate::tool::eventually;

/// A program of the workspace, which is beside the tool.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_bitcointap")).with_file_name(name);
    assert!(path.exists(), "{} is not built: run `make test`, or cargo build --workspace --bins", path.display());
    path
}

/// A file of the simulated node's program that no other test runs.
pub fn own_program(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("bitcoind");
    copy_program(&program("simnode-v31"), &path);
    path
}

/// A process of its own copies it. Otherwise programs that other tests start meanwhile would for a moment hold the copy
/// open for writing, and nobody could run it (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status().expect("coreutils has cp");
    assert!(status.success(), "{from:?} to {to:?}");
}

/// A simulated node that waits for the command to fire.
pub struct Simnode {
    child: Child,
    _data_directory: Option<TempDir>,
}

/// A data directory for a node that a command starts; any user may use it. If a test has its own copy of the program,
/// the directory is beside that, and stays the same when the node starts again.
fn data_directory(command: &Command) -> (PathBuf, Option<TempDir>) {
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(Path::new);
    let is_program = |path: &Path| path.file_name().is_some_and(|name| name == "bitcoind" || name == "simnode-v31");
    let own = words.into_iter().find(|path| path.starts_with(env::temp_dir()) && is_program(path) && path.is_file());
    let beside = |own: &Path| {
        let number = |number: u32| own.with_file_name(format!("data-{number}"));
        (0..).map(number).find(|path| make_open(path) && is_free(path)).expect("one is free")
    };
    match own {
        Some(own) => (beside(own), None),
        None => {
            let directory = tempfile::tempdir().expect("a directory can be made");
            make_open(directory.path());
            (directory.path().to_owned(), Some(directory))
        }
    }
}

fn make_open(path: &Path) -> bool {
    fs::create_dir_all(path).expect("it can be made");
    // Afterwards, so that the mask of this process does not count.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).is_ok()
}

/// Whether no node has locked it.
fn is_free(directory: &Path) -> bool {
    let lock = File::options().append(true).create(true).open(directory.join(".lock")).expect("it can be opened");
    lock.set_permissions(fs::Permissions::from_mode(0o666)).expect("it is ours");
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

impl Simnode {
    pub fn start(layout: &str, arguments: &str) -> Self {
        Self::start_program(&program("simnode"), &format!("--layout {layout} {arguments}"))
    }

    pub fn start_program(program: &Path, arguments: &str) -> Self {
        Self::start_command(Command::new(program).args(arguments.split_whitespace()))
    }

    /// A command that becomes, or starts, a simulated node, and passes on a last argument.
    pub fn start_command(command: &mut Command) -> Self {
        let mut data_directory = None;
        if !command.get_args().any(|argument| argument == "--datadir") {
            // Its lock identifies a node.
            let (path, guard) = self::data_directory(command);
            command.arg("--datadir").arg(path);
            data_directory = guard;
        }
        command.arg("--wait").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = eventually("simnode starts", || match command.spawn() {
            // A fresh copy: a process that another test starts has it open for writing until it runs its program.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => None,
            result => Some(result.expect("simnode starts")),
        });
        let mut ready = String::new();
        BufReader::new(child.stderr.as_mut().expect("stderr is piped")).read_line(&mut ready).expect("simnode speaks");
        assert!(ready.contains("ready, pid"), "simnode says: {ready}");
        Self { child, _data_directory: data_directory }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives the command to fire.
    pub fn fire(&mut self) {
        writeln!(self.child.stdin.as_mut().expect("stdin is piped")).expect("simnode reads");
    }

    /// Reads its tally. The node stays afterwards, if it was told to linger.
    pub fn read_tally(&mut self) -> Tally {
        let mut text = String::new();
        BufReader::new(self.child.stdout.as_mut().expect("stdout is piped")).read_line(&mut text).expect("it is text");
        Tally(serde_json::from_str(&text).expect("a tally is JSON"))
    }

    /// Reads its tally, which comes at its end.
    pub fn tally(mut self) -> Tally {
        let mut text = String::new();
        self.child.stdout.as_mut().expect("stdout is piped").read_to_string(&mut text).expect("simnode ends");
        assert!(self.child.wait().expect("simnode ends").success());
        Tally(serde_json::from_str(&text).expect("a tally is JSON"))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        super::tool::signal(self.pid(), signal);
    }
}

impl Drop for Simnode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it fired.
#[derive(Debug)]
pub struct Tally(pub Value);

impl Tally {
    /// Hits by tracepoint, with zeros for those that the layout has and the scenario does not fire.
    pub fn tracepoints(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.0["tracepoints"].clone()).expect("counts by tracepoint")
    }

    pub fn rows(&self, table: &str) -> &[Value] {
        self.0[table].as_array().expect("a list of rows")
    }

    /// A number by its JSON pointer; 0 if the layout lacks it.
    pub fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).map_or(0, |value| value.as_u64().expect("a number"))
    }
}
