//! When a file gives way to the next one, and which files are kept. In: words such as `1h,1GiB`. Out: limits of age and size.

use std::{str::FromStr, time::Duration};

use crate::units;

/// An age, a size or both. What is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In bytes.
    pub size: Option<u64>,
    /// Of a file that is written: since its beginning.
    pub age: Option<Duration>,
}

/// How a directory of files is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// When the next file begins.
    pub limits: Limits,
    /// How old complete files may become, and how large together, until the oldest are removed.
    pub keep: Option<Limits>,
}

impl Limits {
    pub(crate) fn are_reached(&self, size: u64, age: Duration) -> bool {
        size > 0 && (self.size.is_some_and(|limit| size >= limit) || self.age.is_some_and(|limit| age >= limit))
    }
}

impl Options {
    /// Refuses to keep less than one file has.
    ///
    /// # Errors
    /// A line that names the options of the command line.
    pub fn check(&self) -> Result<(), String> {
        let Some(keep) = self.keep else { return Ok(()) };
        let is_less =
            |keep: Option<u128>, limit: Option<u128>| keep.zip(limit).is_some_and(|(keep, limit)| keep < limit);
        let ages = [keep, self.limits].map(|it| it.age.map(|age| age.as_nanos()));
        let sizes = [keep, self.limits].map(|it| it.size.map(u128::from));
        match is_less(ages[0], ages[1]) || is_less(sizes[0], sizes[1]) {
            true => Err("--keep is less than what --rotate puts into one file".into()),
            false => Ok(()),
        }
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
    fn what_is_kept_is_at_least_a_file() {
        let check =
            |limits: &str, keep: &str| Options { limits: limits.parse().unwrap(), keep: keep.parse().ok() }.check();
        for (limits, keep) in [("1h,1GiB", "30d,200GiB"), ("1h", "1h"), ("1h", "1KiB"), ("1GiB", "1s"), ("1h", "none")]
        {
            assert_eq!(check(limits, keep), Ok(()), "{limits} {keep}");
        }
        for (limits, keep) in [("1h,1GiB", "30m,200GiB"), ("1h,1GiB", "1d,1MiB"), ("2KiB", "1KiB")] {
            assert!(check(limits, keep).unwrap_err().contains("--keep is less"), "{limits} {keep}");
        }
    }
}
