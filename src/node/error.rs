//! What can go wrong, each with what the user can do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    node::probes::Refusal,
    node::process::{Chain, Conditions, Node},
    tracepoint::{Tracepoint, Tracepoints},
};

/// Why a node cannot be tapped. The text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No node runs, as far as /proc shows.
    #[error(
        "no running bitcoind, bitcoin-qt or bitcoin-node found: start one, or name another program by --pid or --bitcoind"
    )]
    NoNode,
    /// No process was started from that file.
    #[error("no process runs {path}: start it, or name the process by --pid", path = .0.display())]
    NotRunning(PathBuf),
    /// The options must choose one.
    #[error("{} nodes run, choose one by {}: {}", .0.len(), choice(.0), list(.0))]
    SeveralNodes(Vec<Node>),
    /// Nodes run, but none meets the conditions on data directory and chain.
    #[error("no node with {wanted} runs: start it, or choose one that runs: {}", list(.others))]
    OtherNodes {
        /// The conditions.
        wanted: Conditions,
        /// The nodes that run.
        others: Vec<Node>,
    },
    /// The node that was tapped has ended. Other nodes run, but none takes its place.
    #[error("no node with {0} runs any more: start it again")]
    Ended(Conditions),
    /// A process that may become the node has just started.
    #[error("pid {0} is starting: it does not hold the lock of its data directory yet")]
    NodeStarts(i32),
    /// There is no such process, or it has ended.
    #[error(
        "no process has the pid {0}: it has ended, or lives in another pid namespace; without --pid, bitcointap finds the node, and \
         --datadir chooses one"
    )]
    PidGone(i32),
    /// The number is the id of a thread.
    #[error("{thread} is the id of a thread: name its process by --pid {process}")]
    Thread {
        /// The thread.
        thread: i32,
        /// Its process.
        process: i32,
    },
    /// The pid file cannot be used.
    #[error("the pid file {path} {problem}", path = .path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or a directory of /proc cannot be read.
    #[error("cannot read {path}: {error}{hint}", path = .path.display())]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// Why not.
        error: io::Error,
        /// What to do, starting with a separator, or nothing.
        hint: &'static str,
    },
    /// The file is no program that can be tapped.
    #[error("{path} is not a 64-bit ELF program: {problem}", path = .path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The binary was built without tracepoints.
    #[error(
        "{path} has no tracepoints of Bitcoin Core: the release binaries for Linux have them, own builds need cmake -DWITH_USDT=ON",
        path = .0.display()
    )]
    NoTracepoints(PathBuf),
    /// The process runs a program without tracepoints, which has no name of Bitcoin Core's, either.
    #[error(
        "pid {pid} runs {program}, which has no tracepoints of Bitcoin Core: is it the node? Without --pid, --pid-file and \
         --bitcoind, bitcointap finds the node; own builds need cmake -DWITH_USDT=ON",
        program = .program.display()
    )]
    NotANode {
        /// The process.
        pid: i32,
        /// Its program.
        program: PathBuf,
    },
    /// The kernel takes the dynamic loader for the process' program. The loader has no tracepoints.
    #[error(
        "{} by the dynamic loader {loader}, which has no tracepoints and which the kernel takes for the program: \
         start the program itself",
        loaded(program.as_deref()), loader = .loader.display()
    )]
    StartedByLoader {
        /// The loader.
        loader: PathBuf,
        /// The program that it has loaded, as far as the process' command line shows.
        program: Option<PathBuf>,
    },
    /// A tracepoint must not or cannot be attached to.
    #[error("{tracepoint} cannot be tapped: {refusal}")]
    Refused {
        /// The tracepoint.
        tracepoint: Tracepoint,
        /// Why.
        refusal: Refusal,
    },
    /// The kernel attaches to another file than the one that runs, and the one that runs is out of reach.
    #[error(
        "no event of {path} can be seen: its file was changed (chmod, touch, mv) on an overlay file system after the node had \
         started, and the kernel attaches to the changed copy instead of the file that runs: restart the node",
        path = .0.display()
    )]
    CopiedUp(PathBuf),
    /// The kernel accepted the attachment, but the node's memory does not show it.
    #[error(
        "the kernel attached to {0}, but the node's memory does not show it, and no event of it would be seen: \
         restart the node"
    )]
    NotArmed(Tracepoint),
    /// bitcointap could not read the node's memory.
    #[error("the node's memory cannot be read: {0}")]
    Memory(io::Error),
    /// The binary has tracepoints, but none of the chosen ones.
    #[error("{path} has none of the chosen tracepoints ({}): see `bitcointap probes`, and choose others by --events", .1, path = .0.display())]
    NoneChosen(PathBuf, Tracepoints),
    /// Capabilities are missing.
    #[error(
        "too few privileges: {missing} missing; {}, as `bitcointap doctor` says",
        if *.is_root { TAKEN_AWAY } else { "run as root, for example with sudo, or give them to the program" }
    )]
    Privileges {
        /// Their names, as the beginning of a sentence: `CAP_BPF is`.
        missing: String,
        /// Whether this is root, who usually has all.
        is_root: bool,
    },
    /// The kernel lacks something that bitcointap needs.
    #[error("the kernel {0} is too old: bitcointap needs Linux 6.1 or later")]
    KernelTooOld(String),
    /// The ring buffer cannot have this size.
    #[error("a ring buffer of {0} bytes is not possible: the size must be a power of two from 8MiB to 1GiB")]
    RingBufferSize(u32),
    /// libbpf or the kernel refused.
    #[error("cannot {action}: {error:#}{}", in_brackets(.warning.as_deref()))]
    Bpf {
        /// What was tried.
        action: String,
        /// Why not.
        error: libbpf_rs::Error,
        /// The first warning of libbpf about it.
        warning: Option<String>,
    },
    /// The system refused.
    #[error("cannot {action}: {error}")]
    System {
        /// What was tried.
        action: String,
        /// Why not.
        error: io::Error,
    },
}

/// What root lacks was taken away.
pub(crate) const TAKEN_AWAY: &str =
    "bitcointap runs as root, but a container or a service has taken capabilities away: give them back";

/// The options that tell nodes apart. Those that still do so after a restart come before --pid.
fn choice(nodes: &[Node]) -> String {
    let differ = |same: fn(&Node, &Node) -> bool| {
        nodes.iter().enumerate().all(|(index, node)| !nodes[..index].iter().any(|before| same(before, node)))
    };
    let is_known = nodes.iter().all(|node| node.data_directory().is_some());
    let mut options = Vec::new();
    if is_known && differ(|a, b| a.data_directory() == b.data_directory()) {
        options.push("--datadir".to_owned());
    }
    if nodes.iter().all(|node| node.chain().is_some()) && differ(|a, b| a.chain() == b.chain()) {
        let names: Vec<&str> = nodes.iter().filter_map(Node::chain).map(Chain::name).collect();
        options.push(format!("--chain ({})", names.join(", ")));
    }
    if options.is_empty()
        && is_known
        && differ(|a, b| (a.data_directory(), a.chain()) == (b.data_directory(), b.chain()))
    {
        options.push("--datadir and --chain".to_owned());
    }
    if differ(|a, b| a.program == b.program) {
        options.push("--bitcoind".to_owned());
    }
    if options.is_empty() {
        options.push("--pid-file".to_owned());
    }
    options.push("--pid".to_owned());
    options.join(" or ")
}

fn list(nodes: &[Node]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn loaded(program: Option<&Path>) -> String {
    program.map_or_else(|| "the process was started".into(), |program| format!("{} was started", program.display()))
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

/// Adds what was tried to an error of the system or of libbpf.
pub(crate) trait Trying<T> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Trying<T> for Result<T, libbpf_rs::Error> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Bpf { action: action(), error, warning: None })
    }
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::System { action: action(), error })
    }
}

impl<T> Trying<T> for rustix::io::Result<T> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(io::Error::from).trying(action)
    }
}
