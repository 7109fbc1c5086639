//! The command line. In: arguments. Out: plain, checked values, a node that is found, or sockets that are bound. It
//! does nothing else. Each command with options of its own has a file, and so has each group of options that several
//! commands share.

mod config;
mod cut;
mod events;
mod export;
mod flight;
mod info;
mod json;
mod log;
mod meant;
mod nats;
mod node;
mod outputs;
mod privileges;
mod record;
mod redact;
mod replay;
mod report;
mod servers;
mod source;
mod subscribe;
mod tap;
mod top;
mod trace;
mod values;
mod window;

use std::{ffi::OsString, path::PathBuf};

use bitcointap::http::Address;
use clap::{
    Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint, error::ErrorKind,
    parser::ValueSource,
};
use clap_complete::Shell;

pub use self::{
    config::Config,
    cut::CutArgs,
    events::{RingBufferArgs, SelectionArgs},
    export::ExportArgs,
    flight::FlightArgs,
    info::InfoArgs,
    json::{DestinationArgs, JsonArgs, PayloadArgs},
    log::{LogArgs, LogFormat, LogLevel},
    nats::NatsArgs,
    node::{DoctorArgs, NODE_HEADING, NodeArgs},
    outputs::NamedOutput,
    privileges::PrivilegeArgs,
    record::RecordArgs,
    redact::RedactArgs,
    replay::ReplayArgs,
    report::{ReportArgs, ReportFormat},
    source::SourceArgs,
    subscribe::SubscribeArgs,
    tap::TapArgs,
    top::TopArgs,
    trace::TraceArgs,
    window::WindowArgs,
};

/// Shows what a running Bitcoin Core does, through its USDT tracepoints.
///
/// Attaches small eBPF programs to an unmodified bitcoind. Gives P2P messages, connections, and events of the mempool,
/// blocks, the UTXO cache and coin selection, as JSON lines or as metrics for Prometheus. Needs Linux 6.1 or later, and
/// Bitcoin Core v23 or later with tracepoints; its release binaries for Linux have them.
///
/// Without a command, `bitcointap` is `bitcointap tap`: it prints events as JSON lines.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub tap: TapArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

impl Cli {
    /// Parses the arguments. Help and wrong usage are errors, as in clap.
    pub fn parse_arguments<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let (command, matches) = Self::matched(&arguments)?;
        let cli = Self::from_arg_matches(&matches)?;
        let Some(Command::Export(ExportArgs { config: Some(path), .. })) = &cli.command else {
            // The error shows the usage of the command that was given.
            let given = matches.subcommand_name().and_then(|name| command.find_subcommand(name).cloned());
            let mut given = given.unwrap_or(command);
            return cli.checked().map_err(|words| given.error(ErrorKind::ArgumentConflict, words));
        };
        let wrong = |words: String| clap::Error::raw(ErrorKind::ValueValidation, format!("{words}\n"));
        let export = command.find_subcommand("export").expect("it is a command");
        let config = Config::read(path, export, &NamedOutput::command()).map_err(wrong)?;
        let given = config::given(export, matches.subcommand_matches("export").expect("it was given"));
        // After the command, as all options of it.
        let all = arguments.iter().take(1).cloned().chain(["export".into()]).chain(config.arguments(&given));
        let all: Vec<_> = all.chain(config::without_command(&arguments[1..], "export")).collect();
        let with_those_of_file = Self::matched(&all).and_then(|(_, matches)| Self::from_arg_matches(&matches));
        let mut cli = with_those_of_file.map_err(|error| wrong(config.explained(&first_line(&error))))?;
        let Some(Command::Export(args)) = &mut cli.command else { unreachable!("it was export before") };
        args.named_outputs = NamedOutput::of_config(&config).map_err(wrong)?;
        args.read = Some(config.clone());
        cli.checked().map_err(|words| wrong(config.explained(&words)))
    }

    /// The command line's definition, and what clap finds in the arguments. What does not go together is not refused yet.
    fn matched(arguments: &[OsString]) -> Result<(clap::Command, ArgMatches), clap::Error> {
        let mut command = Cli::command();
        if arguments.iter().any(|argument| argument == "-h") {
            command = in_a_line_each(command);
        }
        let matches = command.try_get_matches_from_mut(arguments);
        let matches = matches.map_err(|error| meant::explained(error, &mut command, arguments))?;
        // Options of `tap` must not be given to another command, which would ignore them.
        let given =
            |argument: &&Arg| matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
        let stray = command.get_arguments().filter(|argument| !argument.is_global_set()).find(given);
        if let (Some((name, _)), Some(stray)) = (matches.subcommand(), stray) {
            let words = format!("'{stray}' stands before '{name}': the options of a command come after its name");
            return Err(command.clone().error(ErrorKind::ArgumentConflict, words));
        }
        Ok((command, matches))
    }

    fn checked(self) -> Result<Self, String> {
        let checked = match &self.command {
            Some(Command::Export(args)) => args.check(),
            Some(Command::Tap(args)) => args.check(),
            None => self.tap.check(),
            Some(Command::Record(args)) => args.check(),
            Some(Command::Top(args)) => args.check(),
            Some(Command::Cut(args)) => args.check(),
            Some(Command::Trace(args)) => args.check(),
            Some(
                Command::Info(_)
                | Command::Probes(_)
                | Command::Doctor(_)
                | Command::CheckConfig { .. }
                | Command::Healthcheck { .. }
                | Command::Completions { .. }
                | Command::Man,
            ) => Ok(()),
        };
        checked.map(|()| self)
    }
}

/// What an error of clap says, without the word `error`.
pub fn words(error: &clap::Error) -> String {
    error.to_string().trim_start_matches("error: ").trim_end().to_owned()
}

/// The first line of that; what follows is about usage.
fn first_line(error: &clap::Error) -> String {
    words(error).lines().next().unwrap_or_default().to_owned()
}

/// For `-h`: without the values that options can have, which `--help` lists.
fn in_a_line_each(command: clap::Command) -> clap::Command {
    let short = command.mut_args(|argument| {
        let takes_value = argument.get_action().takes_values();
        if takes_value { argument.hide_possible_values(true) } else { argument }
    });
    short.mut_subcommands(in_a_line_each)
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the program runs")]
pub enum Command {
    /// Print events as JSON lines, or write them to a file or a socket.
    Tap(TapArgs),
    /// Serve Prometheus metrics over HTTP until a signal ends it.
    Export(ExportArgs),
    /// Record events to a file that `tap`, `export` and `top` can replay.
    Record(RecordArgs),
    /// Write a part of recordings as a recording: some of the time, some of the events.
    ///
    /// The part has what a replay with the same options gives. Several recordings become one file, in the order of their times. A replay of it
    /// gives what a replay of all gives. If an input is damaged, the part has what is whole, and the status is 1.
    Cut(CutArgs),
    /// Say what is in recordings: times, nodes, events, losses, damage.
    ///
    /// Reads them whole. The status is 1 if something is damaged or missing.
    Info(InfoArgs),
    /// Show on a screen what the node does now: peers, messages, mempool and blocks.
    ///
    /// Follows the node through restarts. Keys: q quits, h shows all of them. NO_COLOR in the environment turns off colours.
    Top(TopArgs),
    /// Tell the story of a transaction or block: who announced it, sent it and took it.
    ///
    /// Prints a row for each event that names it, with the time since the first. Follows the node through restarts until a signal ends it. A
    /// recording is read twice, so that all hashes of a transaction are known before. Of a node, a transaction is found by its other hash
    /// only after the node got or sent it whole.
    Trace(TraceArgs),
    /// List the tracepoints of the node's program.
    ///
    /// Also prints their arguments, and whether bitcointap supports them.
    Probes(NodeArgs),
    /// Check whether bitcointap would work here, and say what to fix (exit status 1 if not).
    ///
    /// Attaches to one tracepoint of the node for a moment.
    Doctor(DoctorArgs),
    /// Check a configuration file of `export` (exit status 1 if it is wrong).
    ///
    /// Also reads the files that it names, looks whether the files and directories of outputs are there, and warns of commands that may be misspelled. Each error is a line, with the number of the line in the file. Files are read with the rights of who runs this.
    CheckConfig {
        /// The file, as `export --config` takes it.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Check whether `export` answers at an address (exit status 1 if not).
    ///
    /// For the health check of a container. A server that asks for a password or for TLS is healthy. This does not check whether `export` is attached to a
    /// node: /-/ready and the metric bitcointap_up say that.
    Healthcheck {
        /// The address that `export` got as --web.listen-address.
        #[arg(default_value = "127.0.0.1:10833")]
        address: Address,
    },
    /// Print a script for a shell's completion of commands and options.
    ///
    /// Put it, for bash, into ~/.local/share/bash-completion/completions/bitcointap, for zsh into a file _bitcointap in a
    /// directory of $fpath, for fish into ~/.config/fish/completions/bitcointap.fish.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page bitcointap(1).
    ///
    /// It describes all commands. `bitcointap man | man -l -` shows it.
    Man,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_short_help_has_a_line_for_each_common_option() {
        let mut command = in_a_line_each(Cli::command()).term_width(100);
        command.build();
        let mut pages = vec![command.render_help().to_string()];
        pages.extend(command.get_subcommands_mut().map(|it| it.render_help().to_string()));
        for page in pages {
            let is_second = |line: &&str| line.starts_with(&" ".repeat(12)) && !line.trim_start().starts_with("--");
            assert_eq!(page.lines().find(is_second), None, "{page}");
            assert!(page.lines().count() <= 51, "{page}");
        }
        let mut command = Cli::command();
        command.build();
        let long = command.find_subcommand_mut("export").unwrap().render_long_help().to_string();
        for rare in ["--not-peer", "--keep", "--web.max-streams", "[possible values: main", "SIGHUP reads it again"] {
            assert!(long.contains(rare), "{rare}");
        }
    }

    #[test]
    fn tap_is_what_is_done_without_a_command() {
        let cli = Cli::parse_arguments(["bitcointap", "--pid", "7", "--count", "3", "--log.level", "debug"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.tap.count, Some(3));
        assert_eq!(cli.tap.node.pid, Some(7));
        let cli = Cli::parse_arguments(["bitcointap", "tap", "--bytes", "hex", "--log.format", "json"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Tap(_))));
        let cli = Cli::parse_arguments(["bitcointap", "--log.level", "warn", "tap", "--count", "3"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Tap(TapArgs { count: Some(3), .. }))));
    }

    /// The error says what an option accepts, with the least that a person needs to correct it.
    #[test]
    fn a_wrong_value_is_told_with_the_right_form() {
        for (line, words) in [
            ("--duration soon", "such as 90 (seconds), 90s, 10m, 1h30m or 1d"),
            ("--duration -1", "such as 90 (seconds), 90s, 10m, 1h30m or 1d"),
            ("--duration 0", "must be above 0, such as 10s"),
            ("top --interval 2h", "must be from 200ms to 1m, such as 2s"),
            ("--count x", "must be a whole number, 1 or more"),
            ("--count -1", "must be a whole number, 1 or more"),
            ("--ring-buffer-size 16MB", "such as 4096 (bytes), 64KiB, 16MiB or 1GiB"),
            ("--ring-buffer-size 10MiB", "a power of two from 8MiB to 1GiB, such as 64MiB"),
            ("--min-size 1KB", "such as 4096 (bytes), 64KiB, 16MiB or 1GiB"),
            ("--json f --rotate 100", "neither a size, such as 100MiB, nor an age, such as 12h or 1d"),
            ("--json f --rotate 1d --keep 0", "a whole number from 1 to 1000"),
            ("export --web.max-requests x", "a whole number, 0 or more"),
            ("export --web.max-streams 33", "a whole number from 0 to 32"),
            ("export --max-free-form-values x", "a whole number, 0 or more"),
            ("export --web.listen-address 1", "must be HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH"),
            ("export --web.telemetry-path m", "as in /metrics"),
            ("export --address-list f", "must be NAME=FILE, such as banned="),
            ("--replay f --speed 10x", "a number above 0, such as 10 or 0.5, or max"),
            ("--peer x", "such as 17"),
            ("--command inv,", "such as inv"),
            ("--address 1.2.3", "(192.0.2.1:8333, [2001:db8::1]:8333)"),
            ("--events nett", "for example mempool:added"),
            ("--json unix:", "must be FILE, - or unix:PATH"),
        ] {
            let error = Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split(' '))).unwrap_err();
            let text = error.to_string();
            assert!(text.lines().next().unwrap().contains(words), "{line}: {text}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for wrong in [
            "--pid 0",
            "--pid x",
            "--pid 1 --pid-file f",
            "--pid 1 --datadir d",
            "--pid-file f --chain main",
            "--pid 1 --follow",
            "record f --pid 1 --follow",
            "--chain testnet3",
            "--count 0",
            "--duration 0",
            "--duration -1",
            "--duration soon",
            "--events nett",
            "--bytes octal",
            "--ring-buffer-size 9MiB",
            "--ring-buffer-size 4MiB",
            "--ring-buffer-size 16MB",
            "--ring-buffer-size 99999999999999999999",
            "--ring-buffer-size 4GiB",
            "export --web.telemetry-path metrics",
            "export --web.telemetry-path /",
            "export --web.telemetry-path //metrics",
            "export --web.telemetry-path /metrics?a",
            "export --web.telemetry-path /m\u{fc}",
            "export --web.telemetry-path /a|b",
            "export --web.telemetry-path /-/ready",
            "export --web.telemetry-path /events",
            "export --web.telemetry-path /api/live",
            "export --web.telemetry-path /live/main.js",
            "export --web.listen-address nonsense",
            "export --web.listen-address ::1:10833",
            "export --web.listen-address :1,:2",
            "export --web.listen-address :1 --web.systemd-socket",
            "export --web.max-requests -1",
            "export --web.max-streams 33",
            "export --web.max-streams 1 --web.hide-addresses",
            "export --web.config.file",
            "export --web.config.file a --web.config.file b",
            "tap --utxocache-coins",
            "tap --follow --drop-capabilities all",
            "--follow --drop-capabilities all",
            "export --drop-capabilities none",
            "--drop-capabilities all export",
            "--json",
            "--json unix:",
            "--rotate 1MiB",
            "--json - --rotate 1MiB",
            "--json unix:s --rotate 1MiB",
            "--json f --rotate 1MB",
            "--json f --rotate 1d,1h",
            "--json f --rotate 1d --keep 0",
            "--json f --keep 3",
            "--json f --pcap g",
            "export --rotate 1MiB",
            "export --json - --rotate 1MiB",
            "export --json f --keep 3",
            "export --address-list file",
            "export --address-list =file",
            "export --address-list name=",
            "export --address-list a=f --address-list a=g",
            "--count 3 export",
            "--pid 3 tap",
            "top --sort size",
            "top --interval 0.1",
            "top --replay -",
            "top --replay f --pid 1",
            "doctor --format xml",
            "doctor --pid 1 --bitcoind p",
            "serve",
        ] {
            let arguments = ["bitcointap"].into_iter().chain(wrong.split(' '));
            assert!(Cli::parse_arguments(arguments).is_err_and(|error| error.exit_code() == 2), "{wrong}");
        }
    }
}
