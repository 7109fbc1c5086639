//! JSON: what to write, and where to.

use bitcointap::{
    json::{BytesStyle, IntegersStyle, PayloadStyle},
    spool::{DestinationName, JsonLines, Limits, Rotation},
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
}

/// Where JSON lines go, and what happens to a file that grows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct DestinationArgs {
    /// Write the events as JSON lines to a file, `-` or unix:PATH.
    ///
    /// bitcointap appends them to the file, prints them if DEST is `-`, or sends them to unix:PATH, a Unix stream socket that
    /// another program listens on, now or later. If a file or socket fails, bitcointap tries it again every second, without
    /// capabilities; standard output ends with its first failure.
    #[arg(long, value_name = "DEST", value_parser = place(), value_hint = ValueHint::AnyPath)]
    json: Option<DestinationName>,
    /// Rename the file of --json to DEST.1 and begin a new one when it has reached a size (KiB, MiB, GiB), an age since
    /// its first line (s, m, h, d), or the first of both: 100MiB,1d. bitcointap checks the age every second. The user,
    /// even root, must be allowed to write to the file's directory without capabilities.
    #[arg(hide_short_help = true, long = "rotate", alias = "json-rotate", value_name = "SIZE,AGE")]
    limits: Option<Limits>,
    /// How many old files to keep; DEST.1 is the latest.
    #[arg(
        hide_short_help = true,
        long = "keep",
        alias = "json-keep",
        value_name = "N",
        default_value_t = 10,
        value_parser = number(1..=1000_u32),
        requires = "limits"
    )]
    keep: u32,
}

impl DestinationArgs {
    /// The destination that was given.
    pub fn place(&self) -> Option<&DestinationName> {
        self.json.as_ref()
    }

    pub fn rotation(&self) -> Option<Rotation> {
        self.limits.map(|limits| Rotation { limits, keep: self.keep })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.json, self.limits) {
            (_, None) | (Some(DestinationName::File(_)), Some(_)) => Ok(()),
            (None | Some(DestinationName::Stdout | DestinationName::Socket(_)), Some(_)) => {
                Err("--rotate renames a file: name it by --json FILE".into())
            }
        }
    }
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
        let rotation = |keep| Rotation { limits: "100MiB,1d".parse().unwrap(), keep };
        assert_eq!(tap("--json f --rotate 100MiB,1d"), (Some(DestinationName::File("f".into())), Some(rotation(10))));
        assert_eq!(tap("--json f --rotate 1d,100MiB --keep 3").1, Some(rotation(3)));
        // As these were called before.
        let export = ["bitcointap", "export", "--json", "f", "--json-rotate", "100MiB,1d", "--json-keep", "7"];
        let Some(Command::Export(export)) = Cli::parse_arguments(export).unwrap().command else { panic!() };
        assert_eq!(export.destination.place(), Some(&DestinationName::File("f".into())));
        assert_eq!(export.destination.rotation(), Some(rotation(7)));
    }
}
