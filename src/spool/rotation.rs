//! When a new file replaces a file, and how old files are renamed. In: words such as `100MiB,1d`. Out: FILE becomes FILE.1, FILE.1
//! becomes FILE.2, and so on.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use crate::units;

/// When to rotate a file: before the next line, once one of these limits is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In bytes.
    pub size: Option<u64>,
    /// Since its first line.
    pub age: Option<Duration>,
}

/// Limits, and how many old files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// When to rotate the file.
    pub limits: Limits,
    /// How many old files stay, at least one.
    pub keep: u32,
}

impl Limits {
    pub(super) fn are_reached(&self, size: u64, age: Duration) -> bool {
        size > 0 && (self.size.is_some_and(|limit| size >= limit) || self.age.is_some_and(|limit| age >= limit))
    }
}

/// A size, an age or both, separated by a comma: `100MiB,1d`.
impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = Limits { size: None, age: None };
        for part in text.split(',').map(str::trim) {
            let wrong = |_| format!("'{part}' is neither a size, such as 100MiB, nor an age, such as 12h or 1d");
            // A number alone could be either.
            let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').chars().next();
            let (is_some, is_twice) = match unit {
                Some('K' | 'M' | 'G') => {
                    let size = units::bytes(part).map_err(wrong)?;
                    (size > 0, limits.size.replace(size).is_some())
                }
                Some(_) => {
                    let age = units::duration(part).map_err(wrong)?;
                    (!age.is_zero(), limits.age.replace(age).is_some())
                }
                None => return Err(wrong(String::new())),
            };
            if !is_some {
                return Err(format!("'{part}' is 0: it must be above 0"));
            }
            if is_twice {
                return Err("there can be one size and one age, as in 100MiB,1d".into());
            }
        }
        Ok(limits)
    }
}

impl Rotation {
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
    fn limits_are_a_size_an_age_or_both() {
        let limits = |text: &str| text.parse::<Limits>();
        let (day, hundred) = (Duration::from_secs(86_400), 100 << 20);
        assert_eq!(limits("100MiB,1d"), Ok(Limits { size: Some(hundred), age: Some(day) }));
        assert_eq!(limits("24h, 102400KiB"), Ok(Limits { size: Some(hundred), age: Some(day) }));
        assert_eq!(limits("2GiB"), Ok(Limits { size: Some(2 << 30), age: None }));
        assert_eq!(limits("90m"), Ok(Limits { size: None, age: Some(Duration::from_secs(5_400)) }));
        assert_eq!(limits("7s"), Ok(Limits { size: None, age: Some(Duration::from_secs(7)) }));
        assert_eq!(limits("1.5d"), Ok(Limits { size: None, age: Some(Duration::from_secs(129_600)) }));
        assert_eq!(limits("1h30m,64K"), Ok(Limits { size: Some(64 << 10), age: Some(Duration::from_secs(5_400)) }));
        let neither = |part: &str| format!("'{part}' is neither a size, such as 100MiB, nor an age, such as 12h or 1d");
        for part in ["", "-1d", "100", "1MB", "1w", "x", "99999999999999999999GiB", "99999999999999999GiB"] {
            assert_eq!(limits(part), Err(neither(part)));
            assert_eq!(limits(&format!("1MiB,{part}")), Err(neither(part)));
        }
        for (wrong, why) in [
            ("0MiB", "'0MiB' is 0: it must be above 0"),
            ("0d", "'0d' is 0: it must be above 0"),
            ("1d,24h", "there can be one size and one age, as in 100MiB,1d"),
            ("1MiB,1d,1GiB", "there can be one size and one age, as in 100MiB,1d"),
        ] {
            assert_eq!(limits(wrong), Err(why.into()));
        }
    }

    #[test]
    fn an_empty_file_reaches_no_limit() {
        let limits: Limits = "1KiB,10s".parse().unwrap();
        let seconds = Duration::from_secs;
        assert!(!limits.are_reached(0, seconds(11)));
        assert!(!limits.are_reached(1_023, seconds(9)));
        assert!(limits.are_reached(1_024, seconds(0)));
        assert!(limits.are_reached(1, seconds(10)));
    }

    #[test]
    fn the_oldest_gives_way_and_a_free_name_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let rotation = Rotation { limits: Limits { size: None, age: None }, keep: 3 };
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
