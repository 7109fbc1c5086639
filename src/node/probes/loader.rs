//! A program that the dynamic loader started, as `ld-linux-x86-64.so.2 bitcoind` does. The kernel then takes the loader
//! for the process' program. In: a process. Out: why the kernel's program has no tracepoints.

use std::path::{Path, PathBuf};

use procfs::process::{MMapPath, Process};

use crate::{Error, node::process::Node};

/// Why the program of `node` has no tracepoints of Bitcoin Core.
pub fn absence(node: &Node) -> Error {
    if !is_loader(&node.program) {
        let program = node.program.clone();
        return if node.has_usual_name() {
            Error::NoTracepoints(program)
        } else {
            Error::NotANode { pid: node.pid, program }
        };
    }
    Error::StartedByLoader { loader: node.program.clone(), program: loaded(node) }
}

/// Judged by its name: `ld-linux-x86-64.so.2`, `ld-2.31.so`, `ld64.so.2`, `ld-musl-x86_64.so.1`.
fn is_loader(program: &Path) -> bool {
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_numbered = |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['-', '.']);
    name.strip_prefix("ld").is_some_and(is_numbered) && name.contains(".so")
}

/// The program in the command line: the first file there that is mapped.
fn loaded(node: &Node) -> Option<PathBuf> {
    let process = Process::new(node.pid).ok()?;
    let paths: Vec<PathBuf> = process.maps().ok()?.into_iter().filter_map(|map| mapped(map.pathname)).collect();
    process.cmdline().ok()?.into_iter().skip(1).find_map(|argument| {
        let named = Path::new(&argument).file_name()?;
        paths.iter().find(|path| path.file_name() == Some(named) && **path != node.program).cloned()
    })
}

fn mapped(path: MMapPath) -> Option<PathBuf> {
    match path {
        MMapPath::Path(path) => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_known_by_name() {
        for name in
            ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "ld-2.31.so", "ld64.so.2", "ld-musl-x86_64.so.1", "ld.so"]
        {
            assert!(is_loader(&Path::new("/lib64").join(name)), "{name}");
        }
        for name in ["bitcoind", "ldd", "ld", "ld.gold", "ldconfig.so", "libld-2.so"] {
            assert!(!is_loader(&Path::new("/usr/bin").join(name)), "{name}");
        }
    }
}
