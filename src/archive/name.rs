//! The names of files of an archive. In: a time, or the name of a file in a directory. Out: the other one.

use std::fmt;

use time::{Date, Month, PrimitiveDateTime, Time as TimeOfDay};

use crate::{event::Time, units};

/// What follows the name of a file that is not complete.
const PART: &str = ".part";

/// When a file begins, and which of those that begin in the same second it is. The order is that of time; that of the texts is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// UNIX time.
    second: i64,
    /// 0 for the first, which has no number in its name.
    number: u32,
}

impl Name {
    pub(super) fn of(time: Time) -> Self {
        Self { second: (time.0 / 1_000_000_000) as i64, number: 0 }
    }

    /// The next file that begins in the same second.
    pub(super) fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }

    /// When the file begins.
    pub(super) fn time(self) -> Time {
        Time((self.second.max(0) as u64).saturating_mul(1_000_000_000))
    }

    /// The name of a complete file.
    pub(super) fn file(self, ending: &str) -> String {
        format!("{self}{ending}")
    }

    /// The name of one that is not complete.
    pub(super) fn part(self, ending: &str) -> String {
        format!("{self}{ending}{PART}")
    }

    /// The other way round. `None` for any other name.
    pub(super) fn of_file(file: &str, ending: &str) -> Option<Self> {
        let text = file.strip_suffix(ending)?;
        let (stamp, number) = match text.split_once('-') {
            Some((stamp, number)) => (stamp, number.parse().ok()?),
            None => (text, 0),
        };
        let digits = |from: usize, to: usize| stamp.get(from..to)?.parse::<u16>().ok();
        let byte = |place| u8::try_from(digits(place, place + 2)?).ok();
        let date = Date::from_calendar_date(digits(0, 4)?.into(), Month::try_from(byte(4)?).ok()?, byte(6)?).ok()?;
        let time = TimeOfDay::from_hms(byte(9)?, byte(11)?, byte(13)?).ok()?;
        let name = Self { second: PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp(), number };
        // There is one way to write it.
        (name.to_string() == text).then_some(name)
    }

    pub(super) fn of_part(file: &str, ending: &str) -> Option<Self> {
        Self::of_file(file.strip_suffix(PART)?, ending)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&units::compact(self.time()))?;
        if self.number > 0 { write!(f, "-{}", self.number) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_time_and_a_number_if_it_needs_one() {
        let name = Name::of(Time(1_795_931_508_999_999_999));
        assert_eq!(name.file(".recording"), "20261129T055148Z.recording");
        assert_eq!(name.part(".ndjson.zst"), "20261129T055148Z.ndjson.zst.part");
        assert_eq!(name.next().next().file(".recording"), "20261129T055148Z-2.recording");
        assert_eq!(name.next().time(), Time(1_795_931_508_000_000_000));
        assert_eq!(Name::of(Time(0)).file(""), "19700101T000000Z");
        for name in [name, name.next(), Name::of(Time(u64::MAX))] {
            assert_eq!(Name::of_file(&name.file(".recording"), ".recording"), Some(name));
            assert_eq!(Name::of_part(&name.part(".ndjson"), ".ndjson"), Some(name));
        }
        let tenth = Name { number: 10, ..name };
        assert!(name < name.next() && name.next() < tenth && tenth < Name::of(Time(1_795_931_509_000_000_000)));
    }

    #[test]
    fn any_other_name_is_none() {
        for file in [
            "",
            ".recording",
            "20261129T055148Z",
            "20261129T055148Z.ndjson",
            "20261129T055148Z.recording.part",
            "20261129T055148Z.recording.part.recording",
            "20261129T055148Z-0.recording",
            "20261129T055148Z-01.recording",
            "20261129T055148Z-.recording",
            "20261129T055148Z--1.recording",
            "20261129T055148Z-4294967296.recording",
            "20261129T055148Z-+1.recording",
            "20261129T055148.recording",
            "20261129t055148Z.recording",
            "2026112 T055148Z.recording",
            "+2261129T055148Z.recording",
            "20261329T055148Z.recording",
            "20260229T055148Z.recording",
            "20261129T245148Z.recording",
            "20261129T055160Z.recording",
            "120261129T055148Z.recording",
            "20261129T055148Z.recording ",
            "x/20261129T055148Z.recording",
            "２0261129T055148Z.recording",
        ] {
            assert_eq!(Name::of_file(file, ".recording"), None, "{file}");
        }
        assert_eq!(Name::of_part("20261129T055148Z.recording", ".recording"), None);
    }
}
