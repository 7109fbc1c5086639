//! The simulated node as a process: started, told to fire, and asked what it fired.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::tool::eventually;

/// A program of the workspace, which lies next to the tool.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_bitcointap")).with_file_name(name);
    assert!(path.exists(), "{} is not built: run `make test`, or cargo build --workspace --bins", path.display());
    path
}

/// A file of the simulated node's program that no other test runs.
pub fn own_program(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("bitcoind");
    fs::copy(program("simnode-v31"), &path).unwrap();
    path
}

/// A simulated node that waits for the word to fire.
pub struct Simnode {
    child: Child,
    _data_directory: TempDir,
}

/// A folder that any user may use.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    // Afterwards: the mask of this process does not count then.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    directory
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
        let data_directory = open_directory();
        if !command.get_args().any(|argument| argument == "--datadir") {
            // Its lock is what a node is known by.
            command.arg("--datadir").arg(data_directory.path());
        }
        command.arg("--wait").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = eventually("simnode starts", || match command.spawn() {
            // A copy made just now: what another test starts has it open for writing, until it is started.
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

    /// Gives the word.
    pub fn fire(&mut self) {
        writeln!(self.child.stdin.as_mut().expect("stdin is piped")).expect("simnode reads");
    }

    /// Reads its tally, after which it stays, if it was told to linger.
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
    /// Hits by tracepoint, with zeros for what the layout has and the scenario does not fire.
    pub fn tracepoints(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.0["tracepoints"].clone()).expect("counts by tracepoint")
    }

    pub fn rows(&self, table: &str) -> &[Value] {
        self.0[table].as_array().expect("a list of rows")
    }

    /// A number by its JSON pointer; 0 where the layout has no such thing.
    pub fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).map_or(0, |value| value.as_u64().expect("a number"))
    }
}
