//! Finds the file that a process runs from an overlay file system. If the file was changed after the process had started, the overlay
//! has copied it from a lower directory to its upper directory. Then everything in /proc leads to the copy, but the process still runs
//! the lower file. Only its path in the lower directory leads there. In: a process and its mounts. Out: the paths to try.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use procfs::process::Process;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::node::process::Node;

/// The files in lower directories of an overlay that the process may run; `None` if the program of `node` is on no overlay.
pub(super) fn lower_files(node: &Node) -> Option<Vec<PathBuf>> {
    let executable = node.executable();
    let program = without_mark(fs::read_link(&executable).ok()?);
    let id = statx(CWD, &executable, AtFlags::empty(), StatxFlags::MNT_ID).ok()?.stx_mnt_id;
    let mounts = fs::read(format!("/proc/{}/mountinfo", node.pid)).ok()?;
    let mount = mounts.split(|&byte| byte == b'\n').filter_map(Mount::parse).find(|mount| mount.id == id)?;
    let directories = mount.lower_directories()?;
    // The mount has these directories as seen by the process that mounted it: its root may be any of these.
    let roots = [PathBuf::from("/"), "/proc/1/root".into(), format!("/proc/{}/root", node.pid).into()];
    let names: Vec<PathBuf> = names(node.pid, program).iter().filter_map(|name| mount.inside(name)).collect();
    let mut paths = Vec::new();
    for directory in directories.iter().filter_map(|directory| directory.strip_prefix("/").ok()) {
        paths.extend(names.iter().flat_map(|name| roots.iter().map(move |root| root.join(directory).join(name))));
    }
    let mut known = HashSet::new();
    let is_new = |path: &PathBuf| {
        let file = fs::metadata(path).ok().filter(|metadata| metadata.is_file());
        file.is_some_and(|file| known.insert((file.dev(), file.ino())))
    };
    paths.retain(is_new);
    Some(paths)
}

/// Removes the mark that the kernel adds to the path of a removed file.
fn without_mark(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => OsStr::from_bytes(path).into(),
        None => path,
    }
}

/// Paths that the program has or had. If it was moved, the lower directory still has it under the name with which it was started.
fn names(pid: i32, program: PathBuf) -> Vec<PathBuf> {
    let command = Process::new(pid).and_then(|process| process.cmdline()).unwrap_or_default().into_iter().next();
    let before = command.map(PathBuf::from).and_then(|command| {
        if command.is_absolute() { Some(command) } else { Some(program.with_file_name(command.file_name()?)) }
    });
    let before = before.filter(|before| *before != program);
    [program].into_iter().chain(before).collect()
}

/// A line of mountinfo (proc(5)).
#[derive(Debug, PartialEq)]
struct Mount<'a> {
    id: u64,
    /// Which directory of the file system is mounted, and where (`point`).
    root: PathBuf,
    point: PathBuf,
    file_system: &'a [u8],
    /// The options of the file system, separated by commas, as the kernel writes them.
    options: &'a [u8],
}

impl<'a> Mount<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (root, point) = (path(fields.nth(2)?), path(fields.next()?));
        let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
        let (file_system, _, options) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { id, root, point, file_system, options })
    }

    /// The path within the file system, without its first slash.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let path = self.root.join(path.strip_prefix(&self.point).ok()?);
        path.strip_prefix("/").ok().map(Path::to_owned)
    }

    /// The lower directories of an overlay, the uppermost first.
    fn lower_directories(&self) -> Option<Vec<PathBuf>> {
        let options = self.options.split(|&byte| byte == b',').filter_map(|option| {
            let equals = option.iter().position(|&byte| byte == b'=')?;
            Some((&option[..equals], unescaped(&option[equals + 1..])))
        });
        let directories = options.flat_map(|(name, value)| match name {
            // Directories separated by colons. A colon within a name has a backslash before it.
            b"lowerdir" => between_colons(&value),
            // Since Linux 6.8 there can be an option for each.
            b"lowerdir+" => vec![path_of(&value)],
            _ => Vec::new(),
        });
        (self.file_system == b"overlay").then(|| directories.collect())
    }
}

fn between_colons(value: &[u8]) -> Vec<PathBuf> {
    let mut names = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, names.last_mut()) {
            (b':', _) => names.push(Vec::new()),
            (b'\\', Some(name)) => name.extend(bytes.next()),
            (_, Some(name)) => name.push(byte),
            (_, None) => {}
        }
    }
    // Two colons precede a data-only directory, and leave an empty name between them.
    names.iter().filter(|name| !name.is_empty()).map(|name| path_of(name)).collect()
}

/// Decodes bytes that the kernel writes as a backslash and three octal digits, since they would end a field or an option.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, others)) = rest.split_first() {
        let octal = others.get(..3).filter(|_| first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    bytes
}

fn path(field: &[u8]) -> PathBuf {
    path_of(&unescaped(field))
}

fn path_of(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower_directories(options: &str) -> Vec<PathBuf> {
        let line = format!("106 103 0:41 / /m rw,relatime shared:1 master:2 - overlay overlay {options}");
        Mount::parse(line.as_bytes()).unwrap().lower_directories().unwrap()
    }

    fn paths<const N: usize>(paths: [&str; N]) -> Vec<PathBuf> {
        paths.map(PathBuf::from).into()
    }

    #[test]
    fn lower_directories_are_in_one_option_or_in_one_each() {
        assert_eq!(lower_directories("rw,lowerdir=/a:/b:/c,upperdir=/u,workdir=/w,uuid=on"), paths(["/a", "/b", "/c"]));
        assert_eq!(lower_directories("ro,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d,upperdir=/u"), paths(["/a:b", "/c"]));
        // The kernel writes separators in octal. Whoever mounted writes a backslash before them, which the kernel writes in octal, too.
        assert_eq!(lower_directories(r"rw,lowerdir=/a\134:b:/c\040d\054e\134\134f"), paths(["/a:b", r"/c d,e\f"]));
        assert_eq!(lower_directories("rw,lowerdir=/a::/data"), paths(["/a", "/data"]));
        assert_eq!(lower_directories("rw,upperdir=/u"), paths([]));
    }

    #[test]
    fn a_mount_is_told_by_its_line() {
        let line = br"36 35 98:0 /sub\040dir /mnt/a\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.file_system, mount.options), (36, &b"ext3"[..], &b"rw,errors=continue"[..]));
        assert_eq!(mount.inside(Path::new("/mnt/a b/bin/bitcoind")), Some("sub dir/bin/bitcoind".into()));
        assert_eq!(mount.inside(Path::new("/mnt/a")), None);
        assert_eq!(mount.lower_directories(), None);
        let whole = Mount::parse(b"1 0 0:1 / / rw - overlay overlay rw,lowerdir=/l").unwrap();
        assert_eq!(whole.inside(Path::new("/usr/bin/bitcoind")), Some("usr/bin/bitcoind".into()));
        for cut in ["", "36", "36 35 98:0 / /m rw - ext3", "x 35 98:0 / /m rw - ext3 a b"] {
            assert_eq!(Mount::parse(cut.as_bytes()), None, "{cut}");
        }
    }

    #[test]
    fn a_program_is_looked_for_by_the_name_that_it_was_started_with() {
        assert_eq!(without_mark("/bin/bitcoind (deleted)".into()), Path::new("/bin/bitcoind"));
        let pid = std::process::id() as i32;
        let own = std::env::current_exe().unwrap();
        let moved = own.with_file_name("moved");
        let started = own.file_name().unwrap();
        let found = names(pid, moved.clone());
        assert_eq!(found[0], moved);
        assert!(found[1].ends_with(started), "{found:?}");
        assert_eq!(names(pid, found[1].clone()), found[1..]);
    }
}
