//! Which part of recordings to read, by time.

use bitcointap::{
    recording::{Limit, Limits},
    units,
};
use clap::Args;

/// A part of recordings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub struct WindowArgs {
    /// Read only events from this time on: 2026-11-28T17:30:00Z, or a UNIX time in seconds. A duration counts from the first event
    /// (10m), or back from the last one (-10m).
    #[arg(hide_short_help = true, long, value_name = "TIME", allow_hyphen_values = true, value_parser = limit)]
    since: Option<Limit>,
    /// Read only events up to this time.
    #[arg(hide_short_help = true, long, value_name = "TIME", allow_hyphen_values = true, value_parser = limit)]
    until: Option<Limit>,
}

impl WindowArgs {
    /// When the wanted events fired.
    pub fn limits(&self) -> Limits {
        Limits { since: self.since, until: self.until }
    }

    pub(super) fn is_given(&self) -> bool {
        self.limits() != Limits::default()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (self.since, self.until) {
            (Some(Limit::At(since)), Some(Limit::At(until))) if since > until => {
                Err("--since is later than --until".into())
            }
            _ => Ok(()),
        }
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    if let Ok(time) = units::time(text) {
        return Ok(Limit::At(time));
    }
    let (is_from_end, duration) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    // A number alone is a UNIX time.
    let duration = units::duration(duration).ok().filter(|_| duration.parse::<f64>().is_err());
    let limit = duration.map(|it| if is_from_end { Limit::FromEnd(it) } else { Limit::FromBeginning(it) });
    limit.ok_or_else(|| {
        "must be a time such as 2026-11-28T17:30:00Z, a UNIX time in seconds, or a duration: 10m from the beginning, -10m from the \
         end"
        .into()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bitcointap::event::Time;

    use super::*;
    use crate::arguments::Cli;

    #[test]
    fn a_limit_is_a_time_or_a_duration_from_either_end() {
        let limits = |line: &str| {
            let words = ["bitcointap", "--replay", "f"].into_iter().chain(line.split(' '));
            Cli::parse_arguments(words).map(|cli| cli.tap.replay.window.limits())
        };
        let time = Limit::At(Time(1_764_351_000_000_000_000));
        let ten = Duration::from_secs(600);
        for (text, limit) in [
            ("1764351000", time),
            ("2025-11-28T17:30:00Z", time),
            ("10m", Limit::FromBeginning(ten)),
            ("-10m", Limit::FromEnd(ten)),
            ("-0s", Limit::FromEnd(Duration::ZERO)),
        ] {
            for line in [format!("--since {text}"), format!("--since={text}")] {
                assert_eq!(limits(&line).unwrap(), Limits { since: Some(limit), until: None }, "{line}");
            }
            assert_eq!(
                limits(&format!("--until={text}")).unwrap(),
                Limits { since: None, until: Some(limit) },
                "{text}"
            );
        }
        for (line, words) in [
            ("--since soon", "10m from the beginning, -10m from the end"),
            ("--since -90", "10m from the beginning, -10m from the end"),
            ("--since --10m", "10m from the beginning, -10m from the end"),
            ("--since 5 --until 4", "--since is later than --until"),
        ] {
            assert!(limits(line).unwrap_err().to_string().contains(words), "{line}");
        }
        let error = Cli::parse_arguments(["bitcointap", "--since", "10m"]).unwrap_err().to_string();
        assert!(error.contains("--since and --until are for recordings: name them by --replay"), "{error}");
    }
}
