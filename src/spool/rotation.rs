//! What happens to a file that grows, and how old files are renamed. In: a file, and how many old ones are kept. Out: FILE becomes FILE.1,
//! FILE.1 becomes FILE.2, and so on.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::archive::{self, Limits};

/// What happens to a file that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is renamed, and a new one takes its place.
    Renamed(Renamed),
    /// The destination is a directory, and the next file in it begins.
    ByTime(ByTime),
}

/// A file that is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// When.
    pub limits: Limits,
    /// How many old files stay, at least one.
    pub keep: u32,
}

/// A directory of files that are named by the time of their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByTime {
    /// When the next file begins, and which are kept.
    pub options: archive::Options,
    /// Whether files are compressed, with zstd.
    pub compresses: bool,
}

impl Renamed {
    /// Renames the files, to make room for a new one. If it fails, no file is lost, and it can be called again.
    pub(super) fn shift(&self, path: &Path) -> io::Result<()> {
        // Up to the first free name. If there is none, the oldest file is overwritten.
        let is_free = |&number: &u32| fs::symlink_metadata(old(path, number)).is_err();
        let last = (1..=self.keep).find(is_free).unwrap_or(self.keep);
        for number in (1..last).rev() {
            fs::rename(old(path, number), old(path, number + 1))?;
        }
        fs::rename(path, old(path, 1))
    }
}

fn old(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_a_free_name_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let rotation = Renamed { limits: Limits { size: None, age: None }, keep: 3 };
        let texts = || {
            let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
            (1..=4).map(|number| text(old(&path, number))).collect::<Vec<_>>().join(" ")
        };
        for (number, left) in ["1   ", "2 1  ", "3 2 1 ", "4 3 2 "].into_iter().enumerate() {
            fs::write(&path, (number + 1).to_string()).unwrap();
            rotation.shift(&path).unwrap();
            assert_eq!(texts(), left);
        }
        fs::remove_file(old(&path, 2)).unwrap();
        fs::write(&path, "5").unwrap();
        rotation.shift(&path).unwrap();
        assert_eq!(texts(), "5 4 2 ");

        // A rotation that fails half way loses nothing, and the next one goes on where it stopped.
        assert_eq!(rotation.shift(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(texts(), " 5 4 ");
        fs::write(&path, "6").unwrap();
        rotation.shift(&path).unwrap();
        assert_eq!(texts(), "6 5 4 ");
    }
}
