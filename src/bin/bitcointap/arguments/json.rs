//! JSON: what to write, and where to.

use std::{os::unix::ffi::OsStrExt, path::Path};

use bitcointap::{
    archive::{self, Limits},
    json::{BytesStyle, IntegersStyle, PayloadStyle},
    selection::Selection,
    spool::{ByTime, DestinationName, JsonLines, Renamed, Rotation},
    tap::Payloads,
    units,
};
use clap::{
    Args, ValueHint,
    builder::{OsStringValueParser, TypedValueParser},
};

use super::values::number;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct JsonArgs {
    /// How to write hashes and byte strings in JSON.
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = BytesStyle::Array)]
    bytes: BytesStyle,
    /// How to write 64-bit integers in `event` of each JSON line. Nonces, for example, exceed what browsers and jq 1.6 keep of numbers.
    #[arg(hide_short_help = true, long, value_enum, value_name = "STYLE", default_value_t = IntegersStyle::Number)]
    integers: IntegersStyle,
    /// Cut longer byte strings in JSON to N bytes (KiB, MiB), such as transactions and undecodable payloads. The line then has a field
    /// `cut`. Hashes and texts are never cut.
    #[arg(hide_short_help = true, long, value_name = "N", value_parser = units::bytes)]
    max_bytes: Option<u64>,
    /// Add to each JSON line a field `source`, which says which node the event is of: --node-name, --label, host and chain. A replay
    /// takes these from the recording.
    #[arg(hide_short_help = true, long = "json-source")]
    source: bool,
    #[command(flatten)]
    pub payload: PayloadArgs,
}

impl JsonArgs {
    pub fn lines(&self, pretty: bool) -> JsonLines {
        let mut lines = JsonLines::new(self.bytes, self.payload.payload);
        (lines.style.integers, lines.style.max_bytes) = (self.integers, self.max_bytes);
        lines.style.pretty = pretty;
        lines.with_source = self.source;
        lines
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct PayloadArgs {
    /// How to write the payloads of messages.
    ///
    /// A recording keeps their bytes, except with `none`.
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = PayloadStyle::Decoded)]
    payload: PayloadStyle,
}

impl PayloadArgs {
    /// How much of payloads to copy for this.
    pub(super) fn payloads(&self) -> Payloads {
        match self.payload {
            PayloadStyle::None => Payloads::None,
            PayloadStyle::Decoded | PayloadStyle::Raw => Payloads::Whole,
        }
    }

    /// How much of payloads to copy for this, and for a selection that may look at them.
    pub(super) fn payloads_for(&self, selection: &Selection) -> Payloads {
        if selection.needs_payloads() { Payloads::Whole } else { self.payloads() }
    }
}

/// Where JSON lines go, and what happens to a file that grows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct DestinationArgs {
    /// Write the events as JSON lines to a file, a directory, `-` or unix:PATH.
    ///
    /// bitcointap appends them to the file, prints them if DEST is `-`, or sends them to unix:PATH, a Unix stream socket that
    /// another program listens on, now or later. If a file or socket fails, bitcointap tries it again every second, without
    /// capabilities; standard output ends with its first failure.
    #[arg(long, value_name = "DEST", value_parser = place(), value_hint = ValueHint::AnyPath)]
    json: Option<DestinationName>,
    /// Begin a new file when that of --json has reached a size (KiB, MiB, GiB), an age since its first line (s, m, h, d), or the
    /// first of both: 100MiB,1d.
    ///
    /// A file is renamed to DEST.1. In a directory, each file has the UTC time of its beginning as its name, such as
    /// 20261129T055148Z.ndjson, and `.part` after it until it is complete. DEST is a directory if it exists as one, if it ends with `/`,
    /// or if --json-compress or a --keep for directories is given; it is made if it is missing. bitcointap checks the age
    /// every second. The user, even root, must be allowed to write to the directory without capabilities.
    #[arg(hide_short_help = true, long = "rotate", alias = "json-rotate", value_name = "SIZE,AGE")]
    limits: Option<Limits>,
    /// How many old files of --json to keep (default 10); DEST.1 is the latest. In a directory: until which age, and up to which size
    /// of all together, such as 30d,200GiB (default all).
    #[arg(hide_short_help = true, long = "keep", alias = "json-keep", value_name = "N|AGE,SIZE", value_parser = keep, requires = "limits")]
    keep: Option<Keep>,
    /// Compress the files in the directory of --json with zstd: 20261129T055148Z.ndjson.zst.
    ///
    /// After a crash, what was written up to a second before can be read.
    #[arg(hide_short_help = true, long = "json-compress", requires = "limits")]
    compress: bool,
}

/// Which old files to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keep {
    /// So many.
    Files(u32),
    /// Those in a directory that are not beyond these limits.
    Within(Limits),
}

impl DestinationArgs {
    /// The destination that was given.
    pub fn place(&self) -> Option<&DestinationName> {
        self.json.as_ref()
    }

    pub fn rotation(&self) -> Option<Rotation> {
        let (limits, path) = (self.limits?, self.path()?);
        Some(match self.keep {
            Some(Keep::Within(keep)) => self.by_time(limits, Some(keep)),
            None if self.compress || is_directory(path) => self.by_time(limits, None),
            Some(Keep::Files(keep)) => Rotation::Renamed(Renamed { limits, keep }),
            None => Rotation::Renamed(Renamed { limits, keep: DEFAULT_KEEP }),
        })
    }

    fn by_time(&self, limits: Limits, keep: Option<Limits>) -> Rotation {
        Rotation::ByTime(ByTime { options: archive::Options { limits, keep }, compresses: self.compress })
    }

    fn path(&self) -> Option<&Path> {
        match &self.json {
            Some(DestinationName::File(path)) => Some(path),
            None | Some(DestinationName::Stdout | DestinationName::Socket(_)) => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.limits.is_none() {
            return Ok(());
        }
        let Some(path) = self.path() else {
            return Err("--rotate begins new files: name one, or a directory, by --json PATH".into());
        };
        if matches!(self.keep, Some(Keep::Files(_))) && (self.compress || is_directory(path)) {
            return Err("--keep of a directory is an age, a size or both, such as 30d,200GiB".into());
        }
        match self.rotation() {
            Some(Rotation::ByTime(by_time)) => by_time.options.check(),
            Some(Rotation::Renamed(_)) | None => Ok(()),
        }
    }
}

/// How many old files are kept.
const DEFAULT_KEEP: u32 = 10;

/// Whether a path is that of a directory, or says that one shall be made.
fn is_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir()
}

fn keep(text: &str) -> Result<Keep, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(1..=1000_u32)(text).map(Keep::Files);
    }
    text.parse().map(Keep::Within)
}

fn place() -> impl TypedValueParser<Value = DestinationName> {
    OsStringValueParser::new().try_map(DestinationName::try_from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Cli, Command};

    #[test]
    fn a_file_of_lines_may_be_rotated() {
        let tap = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            let Cli { tap, .. } = Cli::parse_arguments(arguments).unwrap();
            (tap.destination.place().cloned(), tap.destination.rotation())
        };
        assert_eq!(tap(""), (None, None));
        assert_eq!(tap("--json unix:s"), (Some(DestinationName::Socket("s".into())), None));
        let rotation = |keep| Rotation::Renamed(Renamed { limits: "100MiB,1d".parse().unwrap(), keep });
        assert_eq!(tap("--json f --rotate 100MiB,1d"), (Some(DestinationName::File("f".into())), Some(rotation(10))));
        assert_eq!(tap("--json f --rotate 1d,100MiB --keep 3").1, Some(rotation(3)));
        // As these were called before.
        let export = ["bitcointap", "export", "--json", "f", "--json-rotate", "100MiB,1d", "--json-keep", "7"];
        let Some(Command::Export(export)) = Cli::parse_arguments(export).unwrap().command else { panic!() };
        assert_eq!(export.destination.place(), Some(&DestinationName::File("f".into())));
        assert_eq!(export.destination.rotation(), Some(rotation(7)));
    }
    #[test]
    fn files_of_a_directory_are_begun_by_time() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().to_str().unwrap();
        let parse = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            Cli::parse_arguments(arguments).map(|cli| cli.tap.destination.rotation())
        };
        let by_time = |keep: Option<&str>, compresses| {
            let options = archive::Options { limits: "1h".parse().unwrap(), keep: keep.map(|it| it.parse().unwrap()) };
            Some(Rotation::ByTime(ByTime { options, compresses }))
        };
        let kept = by_time(Some("30d,1GiB"), false);
        assert_eq!(parse(&format!("--json {there} --rotate 1h")).unwrap(), by_time(None, false));
        assert_eq!(parse("--json missing/ --rotate 1h").unwrap(), by_time(None, false));
        assert_eq!(parse("--json missing --json-rotate 1h --json-compress").unwrap(), by_time(None, true));
        assert_eq!(parse("--json missing --json-rotate 1h --json-keep 30d,1GiB").unwrap(), kept);
        for (arguments, words) in [
            (format!("--json {there} --rotate 1h --keep 7"), "--keep of a directory is an age"),
            ("--json f --rotate 1h --json-compress --keep 7".into(), "--keep of a directory is an age"),
            ("--json f --rotate 1h --keep 0".into(), "must be a whole number from 1 to 1000"),
            ("--json f --rotate 1h --keep 7x".into(), "neither a size, such as 100MiB, nor an age"),
            ("--json f --rotate 1h --keep 7m".into(), "--keep is less than what --rotate puts into one file"),
            ("--json - --rotate 1h".into(), "--rotate begins new files"),
            ("--json f --json-compress".into(), "required arguments were not provided"),
        ] {
            let told = parse(&arguments).unwrap_err().to_string();
            assert!(told.contains(words), "{arguments}: {told}");
        }
    }
}
