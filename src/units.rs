//! Times and sizes as people write them. In: words of a command line, a query or a file, such as `1h30m` and `16MiB`.
//! Out: a [`Duration`], or bytes; or a line that names the accepted forms.

use std::time::Duration;

use time::OffsetDateTime;
#[cfg(feature = "cli")]
use time::format_description::well_known::Rfc3339;

use crate::event::Time;

/// Seconds of each unit. Go's format, which web configurations use, has no days.
const TIMES: [(&str, f64); 9] = [
    ("d", 86_400.0),
    ("h", 3_600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ns", 1e-9),
];

/// As powers of two.
const SIZES: [(&str, u32); 11] = [
    ("", 0),
    ("B", 0),
    ("K", 10),
    ("Ki", 10),
    ("KiB", 10),
    ("M", 20),
    ("Mi", 20),
    ("MiB", 20),
    ("G", 30),
    ("Gi", 30),
    ("GiB", 30),
];

/// A UNIX time in seconds (`1764351000`, `1764351000.5`), or a time as RFC 3339 has it (`2026-11-28T17:30:00Z`,
/// `2026-11-28T18:30:00.25+01:00`).
///
/// # Errors
/// A line that names these forms.
#[cfg(feature = "cli")]
pub fn time(text: &str) -> Result<Time, String> {
    let wrong = || "must be a time such as 2026-11-28T17:30:00Z, or a UNIX time in seconds".to_owned();
    let nanoseconds = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok().and_then(|it| u64::try_from(it.as_nanos()).ok()),
        Err(_) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
            u64::try_from(time.unix_timestamp_nanos()).ok()
        }
    };
    nanoseconds.map(Time).ok_or_else(wrong)
}

/// A time as RFC 3339 has it, with microseconds: `2026-11-28T17:30:00.000250Z`.
#[cfg(feature = "cli")]
pub fn rfc3339(time: Time) -> String {
    let micros = i128::from(time.0 / 1_000) * 1_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(micros).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// A time in UTC, for names of files: `20261129T055148Z`.
pub fn compact(time: Time) -> String {
    let seconds = i64::try_from(time.0 / 1_000_000_000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

/// A number of seconds (`90`, `0.5`), or numbers that each have a unit (`90s`, `10m`, `1h30m`, `1.5d`, `200ms`).
///
/// # Errors
/// A line that names these forms.
pub fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().or_else(|| with_units(text));
    // Infinite and negative numbers are no durations. The longest possible duration is centuries, which nobody waits
    // for.
    let duration = seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| format!("'{text}' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d"))
}

fn with_units(text: &str) -> Option<f64> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let (_, length) = TIMES.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * length;
        rest = after;
    }
    (!text.is_empty()).then_some(seconds)
}

/// A number of bytes (`4096`), or a whole number with a unit, which is a power of 1,024 (`64KiB`, `16MiB`, `1GiB`;
/// `16M` and `16Mi` are the same).
///
/// # Errors
/// A line that names these forms.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let power = SIZES.iter().find(|(name, _)| *name == unit).map(|(_, power)| *power);
    let bytes = power.and_then(|power| number.parse::<u64>().ok()?.checked_mul(1 << power));
    bytes.ok_or_else(|| format!("'{text}' is no size, such as 4096 (bytes), 64KiB, 16MiB or 1GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cli")]
    #[test]
    fn a_point_in_time_is_of_rfc_3339_or_unix_seconds() {
        let seconds = |seconds: f64| Ok(Time((seconds * 1e9) as u64));
        assert_eq!(time("1764351000"), seconds(1_764_351_000.0));
        assert_eq!(time("1764351000.5"), seconds(1_764_351_000.5));
        assert_eq!(time("2025-11-28T17:30:00Z"), seconds(1_764_351_000.0));
        assert_eq!(time("2025-11-28T18:30:00.5+01:00"), seconds(1_764_351_000.5));
        for wrong in
            ["", "-1", "soon", "2025-11-28", "2025-11-28T17:30:00", "1e30", "inf", "NaN", "1901-01-01T00:00:00Z"]
        {
            assert!(time(wrong).unwrap_err().contains("such as 2026-11-28T17:30:00Z"), "{wrong}");
        }
    }

    #[test]
    fn a_time_in_a_file_name_is_in_utc() {
        assert_eq!(compact(Time(1_764_351_000_999_999_999)), "20251128T173000Z");
        assert_eq!(compact(Time(0)), "19700101T000000Z");
        assert_eq!(compact(Time(u64::MAX)), "25540721T233433Z");
    }

    #[test]
    fn a_time_is_seconds_or_has_units() {
        for (text, seconds) in [
            ("90", 90.0),
            ("0.5", 0.5),
            ("0", 0.0),
            ("1e3", 1_000.0),
            ("90s", 90.0),
            ("10m", 600.0),
            ("1h", 3_600.0),
            ("1d", 86_400.0),
            ("1.5d", 129_600.0),
            ("1h30m", 5_400.0),
            ("1d2h3m4.5s", 93_784.5),
            ("200ms", 0.2),
            ("5us", 5e-6),
            ("5µs", 5e-6),
            ("7ns", 7e-9),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in
            ["", " ", "soon", "-1", "-1s", "1h30", "h", "1w", "1H", "1 h", "1.2.3s", "inf", "nan", "1e400", "1e25s"]
        {
            let words = format!("'{wrong}' is no time, such as 90 (seconds), 90s, 10m, 1h30m or 1d");
            assert_eq!(duration(wrong), Err(words), "{wrong}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_has_a_unit() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4_096),
            ("1B", 1),
            ("64KiB", 64 << 10),
            ("16MiB", 16 << 20),
            ("16M", 16 << 20),
            ("16Mi", 16 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in ["", "x", "-1", "1.5MiB", "16MB", "16mib", "1 KiB", "99999999999999999999", "99999999999999999GiB"]
        {
            let words = format!("'{wrong}' is no size, such as 4096 (bytes), 64KiB, 16MiB or 1GiB");
            assert_eq!(bytes(wrong), Err(words), "{wrong}");
        }
    }
}
