//! Values of options, as people write them. In: texts. Out: values, or the accepted form.

use std::{
    fmt::Display,
    ops::{Bound, RangeBounds},
    str::FromStr,
    time::Duration,
};

use bitcointap::units;

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if time.is_zero() { Err("must be above 0, such as 10s".into()) } else { Ok(time) }
}

/// A whole number in this range.
pub(super) fn number<T, R>(range: R) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Send + Sync + 'static,
    R: RangeBounds<T> + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| match (range.start_bound(), range.end_bound()) {
            (Bound::Included(least), Bound::Included(most)) => format!("must be a whole number from {least} to {most}"),
            (Bound::Included(least), _) => format!("must be a whole number, {least} or more"),
            _ => "must be a whole number".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use bitcointap::selection::Selection;

    use super::*;
    use crate::arguments::{Cli, Command};

    #[test]
    fn times_and_sizes_are_taken_as_people_write_them() {
        let parsed = |line: &str| Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split(' '))).unwrap();
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3_600), ("1h30m", 5_400), ("1d", 86_400)]
        {
            let time = Some(Duration::from_secs(seconds));
            assert_eq!(parsed(&format!("--duration {text}")).tap.duration, time, "{text}");
            let Some(Command::Record(record)) = parsed(&format!("record f --duration {text}")).command else {
                panic!()
            };
            assert_eq!(record.duration, time, "{text}");
        }
        for (text, milliseconds) in [("1", 1_000), ("0.5", 500), ("200ms", 200), ("1m", 60_000)] {
            let Some(Command::Top(top)) = parsed(&format!("top --interval {text}")).command else { panic!() };
            assert_eq!(top.interval, Duration::from_millis(milliseconds), "{text}");
        }
        assert_eq!(parsed("--ring-buffer-size 64M").tap.ring_buffer.size, 64 << 20);
        assert_eq!(
            format!("{:?}", parsed("--min-size 64KiB").tap.selection.selection),
            format!("{:?}", Selection::default().min_size(65_536))
        );
    }
}
