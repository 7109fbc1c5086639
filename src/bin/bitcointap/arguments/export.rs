//! The options of `export`.

use std::{io, path::PathBuf};

use bitcointap::{
    follow::DropCapabilities,
    http::{self, Address, Gate, Listener},
    metrics,
    selection::Selection,
    tap::{Options, Payloads},
    tracepoint::Tracepoints,
};
use clap::Args;

use super::{
    DestinationArgs, FlightArgs, JsonArgs, NatsArgs, NodeArgs, PrivilegeArgs, RedactArgs, ReplayArgs, RingBufferArgs,
    SelectionArgs, SourceArgs, SubscribeArgs, config::Config, outputs::NamedOutput, values::number,
};
use crate::address_lists::AddressListFile;

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ExportArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub subscribe: SubscribeArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub ring_buffer: RingBufferArgs,
    #[command(flatten)]
    pub json_style: JsonArgs,
    /// Where to listen.
    ///
    /// HOST:PORT, [IPV6]:PORT, :PORT for all addresses, or unix:PATH. Can be given several times.
    #[arg(
        long = "web.listen-address",
        help_heading = "Metrics",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:10833"
    )]
    pub listen_addresses: Vec<Address>,
    /// Listen on the sockets that systemd passes, instead of on addresses.
    #[arg(
        hide_short_help = true,
        long = "web.systemd-socket",
        help_heading = "Metrics",
        conflicts_with = "listen_addresses"
    )]
    pub systemd_socket: bool,
    /// The path of the metrics.
    #[arg(
        hide_short_help = true,
        long = "web.telemetry-path",
        help_heading = "Metrics",
        value_name = "PATH",
        default_value = "/metrics",
        value_parser = path
    )]
    pub telemetry_path: String,
    /// Read TLS and basic authentication from FILE.
    ///
    /// It has the format of Prometheus' exporter-toolkit. It is read again for each connection and request, without capabilities.
    #[arg(long = "web.config.file", help_heading = "Metrics", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// How many scrapes to answer at once; further ones get status 503. 0 sets no limit, but the server
    /// accepts at most 64 connections.
    #[arg(hide_short_help = true, long = "web.max-requests", help_heading = "Metrics", value_name = "N", default_value_t = 40, value_parser = number(0_u32..))]
    pub max_requests: u32,
    /// How many readers /events and /recording can have at once; further ones get status 503. 0 turns both off. At most
    /// 32, which leaves room for scrapes.
    #[arg(
        hide_short_help = true,
        long = "web.max-streams",
        help_heading = "Metrics",
        value_name = "N",
        default_value_t = 20,
        default_value_if("hide_addresses", "true", "0"),
        value_parser = number(0..=http::MAX_STREAMS as u16)
    )]
    pub max_streams: u16,
    /// Serve only links at /, no live page.
    #[arg(hide_short_help = true, long = "web.disable-live-page", help_heading = "Metrics")]
    pub disable_live_page: bool,
    /// Hide peer addresses: the live page shows none, and /events and /recording, which have them, are off.
    #[arg(hide_short_help = true, long = "web.hide-addresses", help_heading = "Metrics")]
    pub hide_addresses: bool,
    /// How many values to keep of a label with texts that peers or the node choose, such as a peer's user agent; all
    /// others count as `other`. User agents of Bitcoin Core's releases are kept in addition; for reasons of
    /// rejections the number is twice this.
    #[arg(hide_short_help = true, long, help_heading = "Metrics", value_name = "N", default_value_t = metrics::Options::default().max_free_form_values, value_parser = number(0_usize..))]
    pub max_free_form_values: usize,
    /// Also measure the time from getdata to tx. This hashes each transaction.
    #[arg(hide_short_help = true, long, help_heading = "Metrics")]
    pub tx_response: bool,
    /// Count the coins that are added to, spent in and uncached from UTXO caches, and sum up their values. The kernel
    /// does this, which costs the node less than events. Single events go to `--json` and /events only if `--events`
    /// lists them.
    #[arg(hide_short_help = true, long, help_heading = "Metrics")]
    pub utxocache_coins: bool,
    /// Count separately the connections and messages of peers with an address in FILE. Each line of FILE has an IP
    /// address or a network (192.0.2.0/24, 2001:db8::/32); comments begin with `#`. NAME is the value of the label
    /// `list`. SIGHUP reads the file again. Can be given up to 8 times.
    #[arg(hide_short_help = true, long = "address-list", help_heading = "Metrics", value_name = "NAME=FILE")]
    pub address_lists: Vec<AddressListFile>,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    pub flight: FlightArgs,
    #[command(flatten)]
    pub redact: RedactArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
    /// Read options from FILE, in TOML.
    ///
    /// Each key is the name of an option, as in `events = ["net"]` and `web.max-streams = 3`. Each table `[outputs.NAME]` is
    /// one more output of JSON lines. An option on the command line overrides FILE. SIGHUP reads it again.
    #[arg(long, help_heading = "Configuration", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What FILE said.
    #[arg(skip)]
    pub read: Option<Config>,
    /// Those of FILE.
    #[arg(skip)]
    pub(super) named_outputs: Vec<NamedOutput>,
}

impl ExportArgs {
    /// When to drop capabilities.
    pub fn drop_capabilities(&self) -> DropCapabilities {
        self.privileges.or_by_default(true, &self.node)
    }

    /// What to tap. No metric needs events of single coins, only their sums by the kernel side. Only JSON wants the
    /// events, in a file or in streams.
    pub fn options(&self) -> Options {
        let coins = Tracepoints::coins();
        let events = self.selection.selection.chosen_tracepoints();
        let outputs = self.outputs();
        let written: Tracepoints = outputs.iter().flat_map(|output| output.selection.tracepoints().iter()).collect();
        let is_streamed = |tracepoint| self.max_streams > 0 && events.contains(tracepoint);
        let coins_too = if self.utxocache_coins { coins } else { Tracepoints::default() };
        let tracepoints: Tracepoints = events.iter().chain(written.iter()).chain(coins_too.iter()).collect();
        let is_summed = |coin| tracepoints.contains(coin) && !written.contains(coin) && !is_streamed(coin);
        let summed = coins.iter().filter(|&coin| is_summed(coin)).collect();
        let payloads = if outputs.iter().any(|output| output.payloads() == Payloads::Whole) {
            Payloads::Whole
        } else {
            // Those that streams want are asked for while there are some.
            Payloads::Limited(metrics::payloads(self.tx_response))
        };
        Options {
            selection: Selection::of(tracepoints),
            summed,
            payloads,
            named: self.source.named(),
            ring_buffer_size: self.ring_buffer.size,
            ..Options::default()
        }
    }

    /// All outputs with a name: that of the command line, and those of the configuration file.
    pub fn outputs(&self) -> Vec<NamedOutput> {
        let of_options = NamedOutput::of(&self.destination, &self.json_style, &self.selection);
        let nats = NamedOutput::of_nats(&self.nats, &self.json_style, &self.selection);
        let events = self.selection.selection.chosen_tracepoints();
        let flight = NamedOutput::of_flight(&self.flight, events);
        let named = self.named_outputs.iter().cloned().map(|output| output.or_of(events));
        let all = of_options.into_iter().chain(nats).chain(flight).chain(named);
        all.map(|output| output.of_node(self.source.node())).collect()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        AddressListFile::check(&self.address_lists)?;
        self.source.check(!self.replay.files.is_empty() || self.subscribe.is_given())?;
        self.replay.check()?;
        self.subscribe.check_of_one()?;
        self.subscribe.check_without_start()?;
        self.selection.check()?;
        self.destination.check()?;
        self.flight.check()?;
        let outputs = self.outputs();
        outputs.iter().try_for_each(NamedOutput::fits)?;
        let is_twice = |output: &&NamedOutput| outputs.iter().filter(|other| other.name == output.name).count() > 1;
        if let Some(NamedOutput { name, .. }) = outputs.iter().find(is_twice) {
            return Err(format!(
                "the output {name} has the name of that of --json, --nats or --flight-recorder: choose another"
            ));
        }
        if self.destination.place().is_none() && !self.nats.is_given() && self.selection.selection.has_conditions() {
            return Err(
                "conditions such as --command filter only what --json writes, and --json is missing; metrics count all \
                 events that --events chooses"
                    .into(),
            );
        }
        if self.hide_addresses && self.max_streams > 0 {
            return Err(
                "--web.hide-addresses turns off /events and /recording, which have addresses: leave --web.max-streams out"
                    .into()
            );
        }
        Ok(())
    }

    /// The sockets to listen on, bound. Call it before anything else, for the sockets of systemd.
    pub fn listeners(&self) -> Result<Vec<Listener>, String> {
        if self.systemd_socket {
            return Listener::from_systemd().map_err(|error| {
                format!("{error}; --web.systemd-socket is for a service that a .socket unit of systemd starts")
            });
        }
        let bound = self.listen_addresses.iter().map(Listener::bind).collect::<io::Result<_>>();
        bound.map_err(|error| format!("{error}; choose another address by --web.listen-address"))
    }

    /// Which clients to let in.
    pub fn gate(&self) -> Result<Gate, String> {
        match &self.web_config_file {
            Some(path) => Gate::guarded(path).map_err(|error| error.to_string()),
            None => Ok(Gate::open()),
        }
    }
}

fn path(text: &str) -> Result<String, String> {
    let others = [http::EVENTS_PATH, http::RECORDING_PATH, http::HEALTHY_PATH, http::READY_PATH];
    if others.contains(&text) || http::is_path_of_live_page(text) {
        return Err("is another page of bitcointap: choose one such as /metrics".into());
    }
    // Clients would write other characters as %XX of RFC 3986, as in /%C3%BC.
    let is_sent_so = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
    match text.strip_prefix('/') {
        // The landing page is at /, and after // would come a host.
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_sent_so) => Ok(text.to_owned()),
        _ => Err("must begin with / and name a page, as in /metrics".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Cli, Command};

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
    fn a_path_is_what_clients_send() {
        assert_eq!(path("/a-b/%C3%BC"), Ok("/a-b/%C3%BC".into()));
    }
}
