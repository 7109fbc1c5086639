//! When a file gives way to a new one, and what becomes of old ones. In: words such as `100MiB,1d`. Out: FILE is FILE.1, that
//! was FILE.1 is FILE.2, and so on.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// A file gives way before the line that follows the first of its limits.
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
    /// When the file gives way.
    pub limits: Limits,
    /// How many old ones stay, at least one.
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
            let unit_at = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (digits, unit) = part.split_at(unit_at);
            let number = digits.parse::<u64>().ok().filter(|&number| number > 0);
            let number = number.ok_or_else(|| format!("'{part}' does not begin with a whole number above 0"))?;
            let times = |unit: u64| number.checked_mul(unit).ok_or_else(|| format!("'{part}' is too large"));
            let is_twice = match unit {
                "KiB" => limits.size.replace(times(1 << 10)?).is_some(),
                "MiB" => limits.size.replace(times(1 << 20)?).is_some(),
                "GiB" => limits.size.replace(times(1 << 30)?).is_some(),
                "s" => limits.age.replace(Duration::from_secs(number)).is_some(),
                "m" => limits.age.replace(Duration::from_secs(times(60)?)).is_some(),
                "h" => limits.age.replace(Duration::from_secs(times(3_600)?)).is_some(),
                "d" => limits.age.replace(Duration::from_secs(times(86_400)?)).is_some(),
                _ => {
                    return Err(format!(
                        "'{part}' has no known unit: a size takes KiB, MiB or GiB, an age s, m, h or d"
                    ));
                }
            };
            if is_twice {
                return Err("there is at most one size and one age".into());
            }
        }
        Ok(limits)
    }
}

impl Rotation {
    /// Makes place for a new file. What fails leaves each file under some name, and can be done again.
    pub(super) fn shift(&self, path: &Path) -> io::Result<()> {
        // Up to the first name that is free; the oldest gives way if none is.
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
        for (wrong, why) in [
            ("", "'' does not begin with a whole number above 0"),
            ("0MiB", "'0MiB' does not begin with a whole number above 0"),
            ("-1d", "'-1d' does not begin with a whole number above 0"),
            ("1MiB,", "'' does not begin with a whole number above 0"),
            ("100", "'100' has no known unit: a size takes KiB, MiB or GiB, an age s, m, h or d"),
            ("1.5d", "'1.5d' has no known unit: a size takes KiB, MiB or GiB, an age s, m, h or d"),
            ("1MB", "'1MB' has no known unit: a size takes KiB, MiB or GiB, an age s, m, h or d"),
            ("1d,24h", "there is at most one size and one age"),
            ("1MiB,1d,1GiB", "there is at most one size and one age"),
            ("99999999999999999999GiB", "'99999999999999999999GiB' does not begin with a whole number above 0"),
            ("99999999999999999GiB", "'99999999999999999GiB' is too large"),
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

        // What fails half way takes nothing away, and goes on where it was.
        assert_eq!(rotation.shift(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(texts(), " 5 4 ");
        fs::write(&path, "6").unwrap();
        rotation.shift(&path).unwrap();
        assert_eq!(texts(), "6 5 4 ");
    }
}
