//! Each line is in one file of a directory, whole, whatever fails.

use std::{fs, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::archive::Options;

fn open(directory: &Path, limits: Limits, compresses: bool) -> LineDirectory {
    let options = Options { limits, keep: None };
    let mut opened = LineDirectory::open(directory, ByTime { options, compresses }).unwrap();
    opened.archive.wait();
    opened
}

fn of_size(limit: &str) -> Limits {
    limit.parse().unwrap()
}

fn line(number: usize) -> String {
    format!("{{\"timestamp\":{number},\"event\":\"{:016x}\"}}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Writes lines as a spool does: if the file is full, it is looked after first.
fn give(directory: &mut LineDirectory, text: &str) {
    if directory.is_full(0) {
        directory.look_after().unwrap();
        directory.archive.wait();
    }
    assert_eq!(directory.take(&mut Records::of_lines(text.as_bytes())).unwrap(), text.len());
}

fn finish(directory: &mut LineDirectory) {
    directory.finish().unwrap();
    directory.archive.wait();
}

/// Names and texts of its files, the oldest first.
fn files(directory: &Path) -> Vec<(String, String)> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| name(entry.unwrap())).collect();
    let number = |name: &String| {
        let stem = name.split('.').next().unwrap();
        let (time, number) = stem.split_once('-').unwrap_or((stem, "0"));
        (time.to_owned(), number.parse::<u32>().unwrap())
    };
    names.sort_by_key(number);
    let text = |name: &String| {
        let bytes = fs::read(directory.join(name)).unwrap();
        let bytes = if name.contains(".zst") { read_as_far_as_it_is(&bytes) } else { bytes };
        String::from_utf8(bytes).unwrap()
    };
    names.iter().map(|name| (name.clone(), text(name))).collect()
}

fn read_as_far_as_it_is(bytes: &[u8]) -> Vec<u8> {
    use io::Read;
    let mut text = Vec::new();
    let _ = zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text);
    text
}

#[test]
fn lines_go_into_one_file_after_another() {
    for (compresses, ending) in [(false, ".ndjson"), (true, ".ndjson.zst")] {
        let directory = tempfile::tempdir().unwrap();
        let mut lines = open(directory.path(), of_size("64KiB"), compresses);
        let expected: String = (0..20_000).map(line).collect();
        for number in 0..20_000 {
            give(&mut lines, &line(number));
        }
        assert!(lines.is_unsettled());
        finish(&mut lines);
        assert!(!lines.is_unsettled() && lines.held() == 0);
        let files = files(directory.path());
        assert!(files.len() >= 3, "{}", files.len());
        assert!(files.iter().all(|(name, text)| name.ends_with(ending) && text.ends_with('\n')));
        assert!(files.iter().map(|(_, text)| text.as_str()).collect::<String>() == expected);
        assert_eq!(lines.tally().unwrap().files().kept, files.len() as u64);
        for (name, _) in &files {
            let length = fs::metadata(directory.path().join(name)).unwrap().len();
            assert!(length < (64 + 80) << 10, "{name} {length}");
            if compresses {
                zstd::decode_all(&fs::read(directory.path().join(name)).unwrap()[..]).unwrap();
            }
        }
        drop(lines);
        assert!(open(directory.path(), of_size("64KiB"), compresses).goes_on());
    }
}

#[test]
fn a_file_of_age_gives_way_even_if_nothing_comes() {
    for compresses in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut lines = open(directory.path(), Limits { age: Some(Duration::ZERO), size: None }, compresses);
        lines.look_after().unwrap();
        assert!(!lines.is_full(0) && !lines.is_unsettled() && files(directory.path()).is_empty());
        give(&mut lines, &line(1));
        assert!(!lines.is_full(0));
        let Some(Begun { form, .. }) = &mut lines.file else { panic!() };
        if let Form::Compressed { flushed, .. } = form {
            *flushed -= LOOK_INTERVAL;
        }
        lines.flush().unwrap();
        // A crash now loses nothing.
        let [(name, text)] = <[_; 1]>::try_from(files(directory.path())).unwrap();
        assert!(name.ends_with(".part") && text == line(1) && lines.held() == 0);
        lines.look_after().unwrap();
        lines.archive.wait();
        let [(name, text)] = <[_; 1]>::try_from(files(directory.path())).unwrap();
        assert!(!name.ends_with(".part") && text == line(1) && !lines.is_unsettled());
        finish(&mut lines);
        assert_eq!(files(directory.path()).len(), 1, "one without lines is none");
    }
}

#[test]
fn a_torn_line_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let mut lines = open(directory.path(), of_size("1MiB"), false);
    give(&mut lines, &format!("{}{{\"tor", line(1)));
    give(&mut lines, "n\":");
    assert!(lines.has_failed());
    give(&mut lines, &line(2));
    finish(&mut lines);
    assert_eq!(files(directory.path())[0].1, [line(1), line(2)].concat());
}

#[test]
fn a_long_line_that_has_begun_is_taken_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut lines = open(directory.path(), of_size("1MiB"), true);
    // Hardly anything of it can be compressed.
    let mut random = fastrand::Rng::with_seed(7);
    let long: String = std::iter::repeat_with(|| random.alphanumeric()).take(1_000_000).collect();
    let text = format!("{}{{{long}\n{}", line(1), line(2));
    for piece in text.as_bytes().chunks(64 << 10) {
        assert_eq!(lines.take(&mut Records::of_lines(piece)).unwrap(), piece.len());
    }
    assert!(lines.file.as_ref().unwrap().bytes() > 4 * MOST_WAITING as u64);
    finish(&mut lines);
    assert!(files(directory.path())[0].1 == text);
}

/// A directory that becomes a file, so that nothing can be begun in it.
fn blocked(directory: &TempDir, compresses: bool) -> (PathBuf, LineDirectory) {
    let path = directory.path().join("d");
    let lines = open(&path, of_size("1MiB"), compresses);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    (path, lines)
}

#[test]
fn a_directory_that_is_there_again_is_written_to_again() {
    for compresses in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut lines) = blocked(&directory, compresses);
        let take = |lines: &mut LineDirectory| lines.take(&mut Records::of_lines(line(1).as_bytes()));
        assert!(take(&mut lines).is_err() && lines.has_failed() && lines.reopen().is_err());
        fs::remove_file(&path).unwrap();
        lines.reopen().unwrap();
        assert!(take(&mut lines).is_ok());
        finish(&mut lines);
        assert_eq!(files(&path)[0].1, line(1));
    }
}
