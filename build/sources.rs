//! The sources of the kernel side. In: `bpf/`, the table of tracepoints. Out: a line for each file. By these, build.rs
//! sees that `bpf/objects` belongs to other sources. tests/kernel_side.rs checks that the objects are what clang makes
//! of them.

use std::{fs, path::Path};

/// The source of the numbers of tracepoints.
pub const TABLE: &str = "src/tracepoint/table.rs";

/// CRC-32 and name of each file, sorted by name.
#[allow(dead_code, reason = "build.rs does not ask with the feature `build-bpf`")]
pub fn list(root: &Path) -> String {
    let entries = fs::read_dir(root.join("bpf")).into_iter().flatten().flatten();
    let mut sources: Vec<_> = entries.filter(|entry| entry.path().is_file()).map(|entry| entry.path()).collect();
    sources.sort();
    sources.push(root.join(TABLE));
    let line = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{:08x} {name}\n", crc32fast::hash(&fs::read(path).unwrap_or_default()))
    };
    sources.iter().map(line).collect()
}
