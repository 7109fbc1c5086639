//! Where recordings are. In: the paths of files and directories. Out: open files and streams, pieces of files to read, and how much
//! of all was read.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    ops::Range,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit, setrlimit},
};

use super::blocks::HEADER_LENGTH;

/// What the names of recordings end with that a directory stands for. The second one is still being written, or was left by a crash.
const ENDINGS: [&str; 2] = [".recording", UNFINISHED];
const UNFINISHED: &str = ".recording.part";

/// A file of recordings.
#[derive(Debug)]
pub(super) struct Source {
    pub name: Name,
    file: File,
    /// The numbers of its device and of its inode.
    place: (u64, u64),
    /// Its bytes when it was opened.
    pub length: u64,
    /// Whether only its directory was named.
    pub is_of_directory: bool,
}

impl Source {
    /// Whether it is being written, and does not even have the bytes that a recording begins with.
    pub(super) fn has_just_begun(&self) -> bool {
        self.name.is_unfinished() && self.length < HEADER_LENGTH as u64
    }

    /// Whether this is the same file.
    pub(super) fn is(&self, other: &Metadata) -> bool {
        self.place == (other.dev(), other.ino())
    }
}

/// What an input is called in errors and in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(PathBuf);

impl Name {
    /// Whether its recording may lack its end.
    pub(super) fn is_unfinished(&self) -> bool {
        self.0.to_string_lossy().ends_with(UNFINISHED)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Path::new("-") { f.write_str("standard input") } else { self.0.display().fmt(f) }
    }
}

/// An input.
pub(super) enum Input {
    File(Arc<Source>),
    /// It can be read once, from its beginning.
    Stream(Name, Box<dyn Read>),
}

/// How much is read of all inputs.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    all: AtomicU64,
    has_streams: AtomicU64,
}

impl Progress {
    /// Bytes that were read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes to read in all. `None` if nobody knows, since a pipe is among the inputs.
    pub fn all(&self) -> Option<u64> {
        (self.has_streams.load(Relaxed) == 0).then(|| self.all.load(Relaxed))
    }

    pub(super) fn adds(&self, bytes: u64) {
        self.all.fetch_add(bytes, Relaxed);
    }

    /// These bytes will not be read.
    pub(super) fn leaves_out(&self, bytes: u64) {
        self.all.fetch_sub(bytes, Relaxed);
    }
}

/// Opens files, and all recordings of directories; `-` is standard input.
///
/// # Errors
/// A line that names the path.
pub(super) fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        if path.is_dir() {
            for file in recordings_of(path)? {
                inputs.push(open_one(&file, true)?);
            }
        } else {
            inputs.push(open_one(path, false)?);
        }
    }
    Ok(inputs)
}

fn open_one(path: &Path, is_of_directory: bool) -> Result<Input, String> {
    let name = Name(path.to_owned());
    if path == Path::new("-") {
        let cannot = |error| format!("cannot read standard input: {error}");
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(cannot)?;
        return Ok(Input::Stream(name, Box::new(File::from(stdin))));
    }
    let cannot = |error| format!("cannot open the recording {name}: {error}");
    let opened = match File::open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) && allow_more_files() => {
            File::open(path)
        }
        opened => opened,
    };
    let file = opened.map_err(cannot)?;
    let data = file.metadata().map_err(cannot)?;
    if !data.is_file() {
        return Ok(Input::Stream(name, Box::new(file)));
    }
    let place = (data.dev(), data.ino());
    Ok(Input::File(Arc::new(Source { name, file, place, length: data.len(), is_of_directory })))
}

/// Whether more files can be open at once from now on.
fn allow_more_files() -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    let grows = limit.current < limit.maximum;
    limit.current = limit.maximum;
    grows && setrlimit(Resource::Nofile, limit).is_ok()
}

/// The recordings in a directory. If it has none, those in its directories: as a directory that has one for each node.
fn recordings_of(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = |directory: &Path| {
        let cannot = |error: io::Error| format!("cannot read the directory {}: {error}", directory.display());
        let listed = fs::read_dir(directory).map_err(cannot)?;
        let mut paths = listed.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(cannot)?;
        paths.sort();
        Ok::<_, String>(paths)
    };
    let is_recording = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ENDINGS.iter().any(|ending| name.ends_with(ending)) && path.is_file()
    };
    let all = entries(directory)?;
    let mut found: Vec<_> = all.iter().filter(|path| is_recording(path)).cloned().collect();
    if found.is_empty() {
        for inner in all.iter().filter(|path| path.is_dir()) {
            found.extend(entries(inner)?.into_iter().filter(is_recording));
        }
    }
    if found.is_empty() {
        return Err(format!(
            "the directory {} has no recordings: their names end with {} or {}",
            directory.display(),
            ENDINGS[0],
            ENDINGS[1]
        ));
    }
    Ok(found)
}

/// Reads a piece of a file.
pub(super) struct PieceReader {
    source: Arc<Source>,
    range: Range<u64>,
    progress: Option<Arc<Progress>>,
}

impl PieceReader {
    /// To look at a piece.
    pub(super) fn new(source: &Arc<Source>, range: Range<u64>) -> Self {
        Self { source: Arc::clone(source), range, progress: None }
    }

    /// To read it as a whole.
    pub(super) fn counted(self, progress: &Arc<Progress>) -> Self {
        Self { progress: Some(Arc::clone(progress)), ..self }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.source.file.read_at(&mut buffer[..most], self.range.start)?;
        self.range.start += read as u64;
        if let Some(progress) = &self.progress {
            progress.read.fetch_add(read as u64, Relaxed);
        }
        Ok(read)
    }
}

/// Reads a stream, and counts what it reads.
pub(super) struct CountedStream {
    input: Box<dyn Read>,
    progress: Arc<Progress>,
}

impl CountedStream {
    pub(super) fn new(input: Box<dyn Read>, progress: &Arc<Progress>) -> Self {
        progress.has_streams.fetch_add(1, Relaxed);
        Self { input, progress: Arc::clone(progress) }
    }
}

impl Read for CountedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.progress.read.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_recordings_and_else_for_those_of_its_directories() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let recordings = || recordings_of(directory.path());
        assert!(
            recordings()
                .unwrap_err()
                .ends_with("has no recordings: their names end with .recording or .recording.part")
        );
        for name in ["alice", "bob", "bob/deeper", "c.recording"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["alice/2.recording", "bob/1.recording.part", "bob/notes", "bob/deeper/3.recording", "notes"] {
            fs::write(path(name), "").unwrap();
        }
        assert_eq!(recordings().unwrap(), [path("alice/2.recording"), path("bob/1.recording.part")]);
        for name in ["2.recording", "1.recording.part", "1.recording.old", "x.recordings"] {
            fs::write(path(name), "").unwrap();
        }
        assert_eq!(recordings().unwrap(), [path("1.recording.part"), path("2.recording")]);
        assert!(recordings_of(&path("none")).unwrap_err().starts_with("cannot read the directory "));
    }

    #[test]
    fn a_piece_of_a_file_is_read_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "0123456789").unwrap();
        let Ok([Input::File(source)]) = open(&[&path]).map(|all| <[Input; 1]>::try_from(all).ok().unwrap()) else {
            panic!()
        };
        assert_eq!((source.length, source.name.to_string()), (10, path.display().to_string()));
        let progress = Arc::default();
        let read = |range| io::read_to_string(PieceReader::new(&source, range).counted(&progress)).unwrap();
        assert_eq!((read(2..5), read(8..u64::MAX), read(3..3)), ("234".into(), "89".into(), String::new()));
        assert_eq!((progress.read(), progress.all()), (5, Some(0)));
        let stream = CountedStream::new(Box::new(&b"abc"[..]), &progress);
        assert_eq!(io::read_to_string(stream).unwrap(), "abc");
        assert_eq!((progress.read(), progress.all()), (8, None));
        assert!(open(&[directory.path().join("none")]).err().unwrap().starts_with("cannot open the recording "));
    }
}
