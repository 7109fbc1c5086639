//! The command line: what can be said, checked and turned into plain values, a node that is found or sockets that are
//! bound. Does nothing else.

mod meant;

use std::{
    ffi::OsString,
    fmt::Display,
    io,
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bitcointap::{
    Error,
    http::{self, Address, Gate, Listener},
    json::{BytesStyle, PayloadStyle},
    live::Live,
    metrics,
    output::{JsonLines, Limits, Place, Rotation},
    pcap,
    process::{Chain, Conditions, Which},
    selection::{Selection, WORDS, Word},
    tap::{Options, Payloads},
    tracepoint::Tracepoints,
    units,
};
use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
    parser::ValueSource,
};
use clap_complete::Shell;

use crate::{address_lists::AddressListFile, top::Column};

const NODE_HEADING: &str = "Which node (default: the running bitcoind, bitcoin-qt or bitcoin-node)";

/// Shows what a running Bitcoin Core does, through its USDT tracepoints.
///
/// Attaches small eBPF programs to an unmodified bitcoind. Gives P2P messages, connections, and events of the mempool, blocks,
/// the UTXO cache and coin selection, as JSON lines or as metrics for Prometheus. Needs Linux 6.1 or later, and Bitcoin Core v23
/// or later with tracepoints; its release binaries for Linux have them.
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
    /// Parses; help and wrong usage are errors too, as clap has them.
    pub fn parse_arguments<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = Cli::command();
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let matches = command.try_get_matches_from_mut(&arguments);
        let matches = matches.map_err(|error| meant::explained(error, &mut command, &arguments))?;
        // What belongs to `tap` must not be given to another command, and be ignored there.
        let given =
            |argument: &&Arg| matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
        let stray = command.get_arguments().filter(|argument| !argument.is_global_set()).find(given);
        if let (Some((name, _)), Some(stray)) = (matches.subcommand(), stray) {
            let words = format!("'{stray}' stands before '{name}': the options of a command come after its name");
            return Err(command.clone().error(ErrorKind::ArgumentConflict, words));
        }
        let cli = Cli::from_arg_matches(&matches)?;
        let checked = match &cli.command {
            Some(Command::Export(args)) => {
                AddressListFile::check(&args.address_lists)
                    .map_err(|words| command.error(ErrorKind::ValueValidation, words))?;
                args.check()
            }
            Some(Command::Tap(args)) => args.check(),
            None => cli.tap.check(),
            Some(Command::Record(args)) => args.check(),
            Some(Command::Top(args)) => args.check(),
            Some(
                Command::Probes(_)
                | Command::Doctor(_)
                | Command::Healthcheck { .. }
                | Command::Completions { .. }
                | Command::Man,
            ) => Ok(()),
        };
        checked.map_err(|words| command.error(ErrorKind::ArgumentConflict, words))?;
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print events as JSON lines, or write them to a file or a socket.
    Tap(TapArgs),
    /// Serve Prometheus metrics over HTTP until a signal ends it.
    Export(ExportArgs),
    /// Record events to a file that `tap`, `export` and `top` can replay.
    Record(RecordArgs),
    /// Show on a screen what the node does now: peers, messages, mempool and blocks.
    ///
    /// Follows the node through restarts. Keys: q quits, h shows all of them. NO_COLOR in the environment turns off colours.
    Top(TopArgs),
    /// List the tracepoints of the node's program, with their arguments and whether they are supported.
    Probes(NodeArgs),
    /// Check whether bitcointap would work here, and say what to fix (exit status 1 if not).
    ///
    /// Attaches one tracepoint of the node for a moment.
    Doctor(DoctorArgs),
    /// Check whether `export` answers at an address (exit status 1 if not), for the health check of a container.
    ///
    /// A server that asks for a password or for TLS is healthy. Whether it taps a node is another question: /-/ready and the
    /// metric bitcointap_up answer that.
    Healthcheck {
        /// What `export` was given as --web.listen-address.
        #[arg(default_value = "127.0.0.1:10833")]
        address: Address,
    },
    /// Print a script by which a shell completes the commands and options of bitcointap.
    ///
    /// Put it, for bash, into ~/.local/share/bash-completion/completions/bitcointap, for zsh into a file _bitcointap in a
    /// directory of $fpath, for fish into ~/.config/fish/completions/bitcointap.fish.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page bitcointap(1), which describes all commands; `bitcointap man | man -l -` shows it.
    Man,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct TapArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    /// Indent the JSON, over several lines for each event.
    #[arg(long, help_heading = "Output")]
    pub pretty: bool,
    /// Instead of JSON, write P2P messages as packets that Wireshark reads (pcapng): to FILE, which must not exist yet, to a
    /// named pipe, or to standard output if it is `-`. Values that tracepoints do not provide are synthesised: the node's
    /// address (192.0.2.1 or 2001:db8::1), and the addresses of peers that have a name instead.
    #[arg(long, help_heading = "Output", value_name = "FILE", conflicts_with_all = ["json", "limits", "pretty", "bytes", "payload"])]
    pub pcap: Option<PathBuf>,
    /// Wait for the node, also before its first start, and go on when it is started again.
    #[arg(long, help_heading = NODE_HEADING, conflicts_with = "file")]
    pub follow: bool,
    /// Stop after N events.
    #[arg(long, help_heading = "Events", value_name = "N", value_parser = number(1_u64..), allow_negative_numbers = true)]
    pub count: Option<u64>,
    /// Stop after this time: 90 or 90s, 10m, 1h30m, 1d.
    #[arg(long, help_heading = "Events", value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

impl TapArgs {
    /// What to tap.
    pub fn options(&self) -> Options {
        Options {
            selection: self.selection(),
            payloads: self.json.payload.payloads(),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// When to let go of capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(self.follow, &self.node)
    }

    fn selection(&self) -> Selection {
        let selection = self.selection.selection.clone();
        if self.pcap.is_some() { selection.within(pcap::Writer::tracepoints()) } else { selection }
    }

    fn check(&self) -> Result<(), String> {
        self.destination.check()?;
        if self.selection().tracepoints().is_empty() {
            self.selection.check()?;
            return Err(
                "--pcap writes P2P messages and connections, and --events chooses none of them: add net to it".into()
            );
        }
        self.privileges.check(self.follow)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ExportArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub json_style: JsonArgs,
    /// Where to listen: HOST:PORT, [IPV6]:PORT, :PORT for all addresses, or unix:PATH. Can be given several times.
    #[arg(
        long = "web.listen-address",
        help_heading = "Metrics",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:10833"
    )]
    pub listen_addresses: Vec<Address>,
    /// Listen on the sockets that systemd passes, instead of on addresses.
    #[arg(long = "web.systemd-socket", help_heading = "Metrics", conflicts_with = "listen_addresses")]
    pub systemd_socket: bool,
    /// The path of the metrics.
    #[arg(
        long = "web.telemetry-path",
        help_heading = "Metrics",
        value_name = "PATH",
        default_value = "/metrics",
        value_parser = path
    )]
    pub telemetry_path: String,
    /// TLS and basic authentication, as FILE says in the format of Prometheus' exporter-toolkit. It is read again for each
    /// connection and request, without capabilities.
    #[arg(long = "web.config.file", help_heading = "Metrics", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// How many scrapes are answered at once; further ones get status 503. 0 is no limit of its own: the server accepts at
    /// most 64 connections.
    #[arg(long = "web.max-requests", help_heading = "Metrics", value_name = "N", default_value_t = 40, value_parser = number(0_u32..))]
    pub max_requests: u32,
    /// How many readers /events can have at once; further ones get status 503. 0 turns it off. At most 32, which leaves room
    /// for scrapes.
    #[arg(
        long = "web.max-streams",
        help_heading = "Metrics",
        value_name = "N",
        default_value_t = 20,
        default_value_if("hide_addresses", "true", "0"),
        value_parser = number(0..=http::MAX_STREAMS as u16)
    )]
    pub max_streams: u16,
    /// Serve only links at /, no live page.
    #[arg(long = "web.disable-live-page", help_heading = "Metrics")]
    pub disable_live_page: bool,
    /// Hide peer addresses: the live page shows none, and /events, which has them, is off.
    #[arg(long = "web.hide-addresses", help_heading = "Metrics")]
    pub hide_addresses: bool,
    /// How many values a label can have that the world chooses, such as a peer's user agent; all others count as `other`. User agents
    /// of Bitcoin Core's releases come on top, and reasons of rejections have twice as many.
    #[arg(long, help_heading = "Metrics", value_name = "N", default_value_t = metrics::Options::default().max_free_form_values, value_parser = number(0_usize..))]
    pub max_free_form_values: usize,
    /// Also measure the time from getdata to tx. Each transaction is hashed for that.
    #[arg(long, help_heading = "Metrics")]
    pub tx_response: bool,
    /// Count the coins that are added to, spent in and uncached from UTXO caches, and sum up their values, in the kernel, which
    /// costs the node less than events. Single events go to `--json` and /events only if `--events` lists them.
    #[arg(long, help_heading = "Metrics")]
    pub utxocache_coins: bool,
    /// Count separately the connections and messages of peers whose address is in FILE. Each line of FILE has an IP address or
    /// a network (192.0.2.0/24, 2001:db8::/32); comments begin with `#`. NAME is the value of the label `list`. SIGHUP reads the
    /// file again. Can be given 8 times.
    #[arg(long = "address-list", help_heading = "Metrics", value_name = "NAME=FILE")]
    pub address_lists: Vec<AddressListFile>,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

impl ExportArgs {
    /// When to let go of capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(true, &self.node)
    }

    /// What to tap. Events of single coins feed no metric but what the kernel side sums up, so that only JSON wants them, in
    /// a file or in streams.
    pub fn options(&self) -> Options {
        let coins = Tracepoints::coins();
        let events = self.selection.selection.chosen_tracepoints();
        let has_json = self.destination.json.is_some() || self.max_streams > 0;
        let streamed = |tracepoint| has_json && events.contains(tracepoint);
        let coins_too = if self.utxocache_coins { coins } else { Tracepoints::default() };
        let tracepoints: Tracepoints = events.iter().chain(coins_too.iter()).collect();
        let summed = coins.iter().filter(|&coin| tracepoints.contains(coin) && !streamed(coin)).collect();
        let json = self.destination.json.as_ref().map_or(Payloads::None, |_| self.json_style.payload.payloads());
        let payloads = match json {
            Payloads::Whole => Payloads::Whole,
            // Those that streams want are asked for while there are some.
            Payloads::None | Payloads::Limited(_) => Payloads::Limited(metrics::payloads(self.tx_response)),
        };
        Options {
            selection: Selection::of(tracepoints),
            summed,
            payloads,
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    fn check(&self) -> Result<(), String> {
        self.selection.check()?;
        self.destination.check()?;
        if self.destination.json.is_none() && self.selection.selection.has_conditions() {
            return Err(
                "conditions such as --command filter only what --json writes, and --json is missing; metrics count all \
                 events that --events chooses"
                    .into(),
            );
        }
        if self.hide_addresses && self.max_streams > 0 {
            return Err(
                "--web.hide-addresses turns off /events, which has addresses: leave --web.max-streams out".into()
            );
        }
        Ok(())
    }

    /// The sockets to listen on, bound. To be called first of all, for those of systemd.
    pub fn listeners(&self) -> Result<Vec<Listener>, String> {
        if self.systemd_socket {
            return Listener::from_systemd().map_err(|error| {
                format!("{error}; --web.systemd-socket is for a service that a .socket unit of systemd starts")
            });
        }
        let bound = self.listen_addresses.iter().map(Listener::bind).collect::<io::Result<_>>();
        bound.map_err(|error| format!("{error}; choose another address by --web.listen-address"))
    }

    /// Whom to let in.
    pub fn gate(&self) -> Result<Gate, String> {
        match &self.web_config_file {
            Some(path) => Gate::guarded(path).map_err(|error| error.to_string()),
            None => Ok(Gate::open()),
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct RecordArgs {
    /// The recording to write, which must not exist yet; `-` is standard output.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Wait for the node, also before its first start, and go on when it is started again.
    #[arg(long, help_heading = NODE_HEADING)]
    pub follow: bool,
    /// Stop after this time: 90 or 90s, 10m, 1h30m, 1d.
    #[arg(long, help_heading = "Events", value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

impl RecordArgs {
    /// What to tap.
    pub fn options(&self) -> Options {
        Options {
            selection: self.selection.selection.clone(),
            payloads: self.payload.payloads(),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// When to let go of capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(self.follow, &self.node)
    }

    fn check(&self) -> Result<(), String> {
        self.selection.check()?;
        self.privileges.check(self.follow)
    }
}

#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    /// The column by which peers are sorted at first.
    #[arg(long, help_heading = "Output", value_name = "COLUMN", value_enum, default_value_t = Column::In)]
    pub sort: Column,
    /// How often the screen is drawn: a time from 200ms to 1m.
    #[arg(long, help_heading = "Output", value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Stop after this time: 90 or 90s, 10m, 1h30m, 1d.
    #[arg(long, help_heading = "Events", value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
}

impl TopArgs {
    /// What to tap: what can be seen on the screen.
    pub fn options(&self) -> Options {
        Options {
            selection: Selection::of(Live::tracepoints()),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// When to let go of capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(true, &self.node)
    }

    fn check(&self) -> Result<(), String> {
        if self.replay.file.as_deref() == Some(Path::new("-")) {
            return Err("--replay - reads standard input, which top needs for keys: name a file".into());
        }
        self.privileges.check(true)
    }
}

/// What stands in for a node.
#[derive(Debug, Args)]
#[command(next_help_heading = NODE_HEADING)]
pub struct ReplayArgs {
    /// Replay the recording FILE, made by `bitcointap record`, in place of a node; `-` is standard input.
    #[arg(long = "replay", value_name = "FILE", conflicts_with_all = ["NodeArgs", "drop_capabilities"])]
    pub file: Option<PathBuf>,
    /// How fast to replay: a multiple of the recorded pace, such as 10 or 0.5, or `max`.
    #[arg(long, value_name = "N|max", default_value = "1", requires = "file", value_parser = speed)]
    pub speed: Speed,
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    Times(f64),
    Max,
}

/// Which node.
#[derive(Debug, Args)]
#[group(multiple = true)]
#[command(next_help_heading = NODE_HEADING)]
pub struct NodeArgs {
    /// The node's process id. It names one run, which is not followed over restarts.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// A file that holds the node's process id, as `bitcoind -pid=FILE` writes it.
    #[arg(long, value_name = "FILE", conflicts_with = "pid")]
    pid_file: Option<PathBuf>,
    /// The node's program; `probes` and `doctor` look at it even if it does not run.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["pid", "pid_file"])]
    bitcoind: Option<PathBuf>,
    /// The node's data directory, as `bitcoind -datadir=DIR` has it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pid", "pid_file"], value_hint = ValueHint::DirPath)]
    datadir: Option<PathBuf>,
    /// The node's chain, as `bitcoind -chain=CHAIN` has it: main, test, testnet4, signet or regtest.
    #[arg(long, value_name = "CHAIN", conflicts_with_all = ["pid", "pid_file"], value_parser = PossibleValuesParser::new(Chain::ALL.map(Chain::name)).try_map(|name| name.parse::<Chain>()))]
    chain: Option<Chain>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    /// How the checks are printed.
    // By its own id, since clap knows the log's format, which is global, by that one.
    #[arg(
        long = "format",
        id = "report",
        help_heading = "Output",
        value_name = "FORMAT",
        value_enum,
        default_value_t = ReportFormat::Text
    )]
    pub format: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
}

/// The words of a [`Selection`], as options.
#[derive(Clone, Debug, Default)]
pub struct SelectionArgs {
    pub selection: Selection,
}

impl SelectionArgs {
    /// All words, each once or with `not-` before it, and its help.
    fn words() -> impl Iterator<Item = (String, &'static Word, &'static str)> {
        WORDS.iter().flat_map(|word| {
            let negated = word.not.map(|help| (format!("not-{}", word.name), word, help));
            [(word.name.to_owned(), word, word.help)].into_iter().chain(negated)
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.selection.tracepoints().is_empty() {
            return Err("no event can meet all of these conditions together: leave one of them out".into());
        }
        Ok(())
    }
}

impl Args for SelectionArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.next_help_heading("Events").args(Self::words().map(|(name, word, help)| {
            let checked = name.clone();
            let check = move |values: &str| Selection::default().add(&checked, values).map(|()| values.to_owned());
            Arg::new(name.clone())
                .long(name)
                .value_name(word.value)
                .help(help)
                .action(ArgAction::Append)
                .value_parser(check)
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SelectionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (name, ..) in Self::words() {
            for values in matches.get_many::<String>(&name).into_iter().flatten() {
                let wrong = |words| clap::Error::raw(ErrorKind::ValueValidation, words);
                self.selection.add(&name, values).map_err(wrong)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub struct RingBufferArgs {
    /// Memory for events on their way from the kernel: a power of two from 8MiB to 1GiB. It counts twice as resident memory.
    #[arg(long = "ring-buffer-size", value_name = "SIZE", default_value = "16MiB", value_parser = ring_buffer_size)]
    pub size: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct JsonArgs {
    /// How hashes and byte strings are written in JSON.
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = BytesStyle::Array)]
    bytes: BytesStyle,
    #[command(flatten)]
    pub payload: PayloadArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct PayloadArgs {
    /// What to write of the payloads of messages.
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = PayloadStyle::Decoded)]
    payload: PayloadStyle,
}

impl PayloadArgs {
    /// What is copied for this.
    fn payloads(&self) -> Payloads {
        match self.payload {
            PayloadStyle::None => Payloads::None,
            PayloadStyle::Decoded | PayloadStyle::Raw => Payloads::Whole,
        }
    }
}

/// Where JSON lines go, and what becomes of a file that grows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct DestinationArgs {
    /// Write the events as JSON lines: append them to FILE, print them if it is `-` (the default of `tap`), or send them to
    /// unix:PATH, a Unix stream socket that another program listens on, now or later. A file or socket that fails is tried
    /// again every second, without capabilities; standard output ends with its first failure.
    #[arg(long, value_name = "DEST", value_parser = place(), value_hint = ValueHint::AnyPath)]
    json: Option<Place>,
    /// Rename the FILE of --json to FILE.1 and begin a new one when it has reached a size (KiB, MiB, GiB), an age since its
    /// first line (s, m, h, d), or the first of both: 100MiB,1d. The age is checked every second. The user, even root, must
    /// be allowed to write to FILE's directory without capabilities.
    #[arg(long = "json-rotate", value_name = "SIZE,AGE")]
    limits: Option<Limits>,
    /// How many old files to keep; FILE.1 is the latest.
    #[arg(
        long = "json-keep",
        value_name = "N",
        default_value_t = 10,
        value_parser = number(1..=1000_u32),
        requires = "limits"
    )]
    keep: u32,
}

impl DestinationArgs {
    /// What was named.
    pub fn place(&self) -> Option<&Place> {
        self.json.as_ref()
    }

    pub fn rotation(&self) -> Option<Rotation> {
        self.limits.map(|limits| Rotation { limits, keep: self.keep })
    }

    fn check(&self) -> Result<(), String> {
        match (&self.json, self.limits) {
            (_, None) | (Some(Place::File(_)), Some(_)) => Ok(()),
            (None | Some(Place::Stdout | Place::Socket(_)), Some(_)) => {
                Err("--json-rotate renames a file: name it by --json FILE".into())
            }
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Privileges")]
pub struct PrivilegeArgs {
    /// Capabilities to drop after attaching, even when run as root. Threads that attach to nothing have none from their
    /// start. The default is `keep-for-reattach` where the node is followed, else `all`.
    #[arg(long, value_name = "WHICH", value_enum)]
    drop_capabilities: Option<DropCapabilities>,
}

impl PrivilegeArgs {
    fn or_by_default(&self, follows: bool, node: &NodeArgs) -> DropCapabilities {
        // A process id names one run.
        let has_next_run = follows && node.pid.is_none();
        let default = if has_next_run { DropCapabilities::KeepForReattach } else { DropCapabilities::All };
        self.drop_capabilities.unwrap_or(default)
    }

    fn check(&self, follows: bool) -> Result<(), String> {
        match self.drop_capabilities {
            Some(DropCapabilities::All) if follows => Err(
                "--drop-capabilities all leaves none to attach to the node's next run with, which is followed: use \
                     keep-for-reattach"
                    .into(),
            ),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DropCapabilities {
    /// Every one: a next run of the node is not attached to.
    All,
    /// Every one but those that it takes to find the next run and attach to it.
    KeepForReattach,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging, on standard error")]
pub struct LogArgs {
    /// How much is logged.
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info, global = true)]
    pub level: LogLevel,
    /// How the log is written.
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Logfmt, global = true)]
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Logfmt,
    Json,
}

impl NodeArgs {
    /// The node that they name, or the one that runs.
    pub fn which(&self) -> Which {
        match self {
            Self { pid: Some(pid), .. } => Which::Pid(*pid),
            Self { pid_file: Some(path), .. } => Which::PidFile(path.clone()),
            Self { bitcoind, datadir, chain, .. } => {
                Which::Running(Conditions { program: bitcoind.clone(), data_directory: datadir.clone(), chain: *chain })
            }
        }
    }

    /// The program that they name, which need not run.
    pub fn named_program(&self) -> Option<&Path> {
        self.bitcoind.as_deref()
    }

    /// The program whose probes to list; one that is named need not run.
    pub fn program(&self) -> Result<PathBuf, Error> {
        match self.named_program() {
            Some(path) => Ok(path.to_owned()),
            None => Ok(self.which().find()?.executable()),
        }
    }
}

impl JsonArgs {
    pub fn lines(&self, pretty: bool) -> JsonLines {
        let mut lines = JsonLines::new(self.bytes, self.payload.payload);
        lines.style.pretty = pretty;
        lines
    }
}

fn place() -> impl TypedValueParser<Value = Place> {
    OsStringValueParser::new().try_map(Place::try_from)
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
    times.map(Speed::Times).ok_or_else(|| "must be a number above 0, such as 10 or 0.5, or max".into())
}

fn time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if time.is_zero() { Err("must be above 0, such as 10s".into()) } else { Ok(time) }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text)?;
    let is_sensible = (Duration::from_millis(200)..=Duration::from_secs(60)).contains(&interval);
    is_sensible.then_some(interval).ok_or_else(|| "must be from 200ms to 1m, such as 2s".into())
}

/// A whole number within these.
fn number<T, R>(range: R) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
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

fn path(text: &str) -> Result<String, String> {
    if [http::EVENTS_PATH, http::HEALTHY_PATH, http::READY_PATH].contains(&text) || http::is_path_of_live_page(text) {
        return Err("is another page of bitcointap: choose one such as /metrics".into());
    }
    // What clients would write otherwise, RFC 3986 has as %XX, as in /%C3%BC.
    let is_sent_so = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
    match text.strip_prefix('/') {
        // The landing page is at /, and what follows // would be a host to it.
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_sent_so) => Ok(text.to_owned()),
        _ => Err("must begin with / and name a page, as in /metrics".into()),
    }
}

fn ring_buffer_size(text: &str) -> Result<u32, String> {
    let size = u32::try_from(units::bytes(text)?).ok().filter(|&size| Options::accepts_ring_buffer_size(size));
    size.ok_or_else(|| "must be a power of two from 8MiB to 1GiB, such as 64MiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
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

    #[test]
    fn a_node_is_named_by_what_it_must_meet() {
        let which = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            Cli::parse_arguments(arguments).unwrap().tap.node.which()
        };
        assert_eq!(which(""), Which::default());
        assert_eq!(which("--pid 7"), Which::Pid(7));
        let conditions =
            Conditions { program: Some("p".into()), data_directory: Some("d".into()), chain: Some(Chain::Testnet4) };
        assert_eq!(which("--bitcoind p --datadir d --chain testnet4"), Which::Running(conditions));
    }

    #[test]
    fn addresses_are_repeated() {
        let addresses = |arguments: &str| {
            let arguments = ["bitcointap", "export"].into_iter().chain(arguments.split_whitespace());
            let Some(Command::Export(args)) = Cli::parse_arguments(arguments).unwrap().command else { panic!() };
            args.listen_addresses
        };
        assert_eq!(addresses(""), ["127.0.0.1:10833".parse().unwrap()]);
        assert_eq!(addresses("--web.systemd-socket --web.max-requests 0").len(), 1);
        let several = addresses("--web.listen-address :9 --web.listen-address [::1]:8 --web.listen-address unix:/s");
        assert_eq!(several, [":9", "[::1]:8", "unix:/s"].map(|text| text.parse().unwrap()));
    }

    #[test]
    fn coins_are_summed_up_unless_json_wants_their_events() {
        let export = |arguments: &str| {
            let arguments = ["bitcointap", "export"].into_iter().chain(arguments.split_whitespace());
            let Some(Command::Export(args)) = Cli::parse_arguments(arguments).unwrap().command else { panic!() };
            let options = args.options();
            (options.selection.tracepoints(), options.summed)
        };
        let set = |words: &str| words.parse::<Tracepoints>().unwrap();
        let (none, coins) = (Tracepoints::default(), Tracepoints::coins());
        assert_eq!(export(""), (set("default"), none));
        assert_eq!(export("--utxocache-coins"), (set("all"), coins));
        assert_eq!(export("--utxocache-coins --json f"), (set("all"), coins));
        assert_eq!(export("--utxocache-coins --json f --events all"), (set("all"), none));
        assert_eq!(
            export("--utxocache-coins --json f --events utxocache:add"),
            (coins, set("utxocache:spent,utxocache:uncache"))
        );
        assert_eq!(export("--events utxocache --web.max-streams 0"), (set("utxocache"), coins));
        assert_eq!(export("--events utxocache"), (set("utxocache"), none), "a stream may want them");
        assert_eq!(
            export("--events utxocache:add,net --web.max-streams 0"),
            (set("net,utxocache:add"), set("utxocache:add"))
        );
        assert_eq!(export("--events all --json f"), (set("all"), none));

        let Cli { tap, .. } = Cli::parse_arguments(["bitcointap", "--events", "utxocache:add"]).unwrap();
        let options = tap.options();
        assert_eq!((options.selection.tracepoints(), options.summed), (set("utxocache:add"), none));
    }

    #[test]
    fn who_hides_addresses_streams_no_events() {
        let streams = |arguments: &str| {
            let arguments = ["bitcointap", "export"].into_iter().chain(arguments.split_whitespace());
            let Some(Command::Export(args)) = Cli::parse_arguments(arguments).unwrap().command else { panic!() };
            (args.hide_addresses, args.max_streams)
        };
        assert_eq!(streams(""), (false, 20));
        assert_eq!(streams("--web.max-streams 3"), (false, 3));
        assert_eq!(streams("--web.hide-addresses"), (true, 0));
        assert_eq!(streams("--web.hide-addresses --web.max-streams 0"), (true, 0));
    }

    #[test]
    fn a_file_of_lines_may_be_rotated() {
        let tap = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            let Cli { tap, .. } = Cli::parse_arguments(arguments).unwrap();
            (tap.destination.place().cloned(), tap.destination.rotation())
        };
        assert_eq!(tap(""), (None, None));
        assert_eq!(tap("--json unix:s"), (Some(Place::Socket("s".into())), None));
        let rotation = |keep| Rotation { limits: "100MiB,1d".parse().unwrap(), keep };
        assert_eq!(tap("--json f --json-rotate 100MiB,1d"), (Some(Place::File("f".into())), Some(rotation(10))));
        assert_eq!(tap("--json f --json-rotate 1d,100MiB --json-keep 3").1, Some(rotation(3)));
        let export = ["bitcointap", "export", "--json", "f", "--json-rotate", "100MiB,1d", "--json-keep", "7"];
        let Some(Command::Export(export)) = Cli::parse_arguments(export).unwrap().command else { panic!() };
        assert_eq!(export.destination.place(), Some(&Place::File("f".into())));
        assert_eq!(export.destination.rotation(), Some(rotation(7)));
    }

    #[test]
    fn a_report_has_a_format_beside_the_log() {
        let format = |arguments: &str| {
            let arguments = ["bitcointap", "doctor"].into_iter().chain(arguments.split_whitespace());
            let cli = Cli::parse_arguments(arguments).unwrap();
            let Some(Command::Doctor(args)) = cli.command else { panic!() };
            (args.format, matches!(cli.log.format, LogFormat::Json))
        };
        assert_eq!(format(""), (ReportFormat::Text, false));
        assert_eq!(format("--format json"), (ReportFormat::Json, false));
        assert_eq!(format("--log.format json"), (ReportFormat::Text, true));
    }

    #[test]
    fn what_has_no_next_run_drops_all_capabilities() {
        let drops = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            let Cli { tap, command, .. } = Cli::parse_arguments(arguments).unwrap();
            match command {
                None => tap.drop_capabilities(),
                Some(Command::Tap(args)) => args.drop_capabilities(),
                Some(Command::Export(args)) => args.drop_capabilities(),
                Some(Command::Record(args)) => args.drop_capabilities(),
                Some(_) => panic!(),
            }
        };
        for all in ["", "tap --bitcoind p", "tap --follow --pid 1", "export --pid 1", "export --drop-capabilities all"]
        {
            assert_eq!(drops(all), DropCapabilities::All, "{all}");
        }
        for kept in ["--follow", "export", "export --pid-file f", "tap --drop-capabilities keep-for-reattach"] {
            assert_eq!(drops(kept), DropCapabilities::KeepForReattach, "{kept}");
        }
    }

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

    /// What an option takes is in the error, with the least that a person needs to correct it.
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
            ("--json f --json-rotate 100", "neither a size, such as 100MiB, nor an age, such as 12h or 1d"),
            ("--json f --json-rotate 1d --json-keep 0", "a whole number from 1 to 1000"),
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
            "--json-rotate 1MiB",
            "--json - --json-rotate 1MiB",
            "--json unix:s --json-rotate 1MiB",
            "--json f --json-rotate 1MB",
            "--json f --json-rotate 1d,1h",
            "--json f --json-rotate 1d --json-keep 0",
            "--json f --json-keep 3",
            "--json f --pcap g",
            "export --json-rotate 1MiB",
            "export --json - --json-rotate 1MiB",
            "export --json f --json-keep 3",
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
        assert_eq!(path("/a-b/%C3%BC"), Ok("/a-b/%C3%BC".into()));
        assert_eq!(ring_buffer_size("16MiB"), Ok(16 << 20));
        assert_eq!(ring_buffer_size("1GiB"), Ok(1 << 30));
        assert_eq!(ring_buffer_size("8388608"), Ok(8 << 20));
    }
}
