//! The kinds of outputs that can have a name, with all that is particular to each. In: the options of a table. Out: an output, first
//! opened, later started.

use std::{fmt, io, path::Path, sync::Arc};

use bitcointap::{
    flight_recorder::{Recorder, Settings},
    nats,
    output::Output,
    selection::Selection,
    spool::{DestinationName, Format, JsonLines, Room, Rotation, Spool, SpoolOutput},
    stop::Stop,
    tap::Payloads,
};
use clap::{ArgMatches, Args, Command};

use crate::arguments::{DestinationArgs, FlightArgs, JsonArgs, NatsArgs, first_line};

/// All kinds. A table is of the first of these whose key it has.
pub(super) const KINDS: [Row; 2] = [Row::of::<JsonOptions>(), Row::of::<NatsTable>()];

/// The options of a table of one kind, without those that select events.
pub(super) trait Options: Args {
    /// The option that each table of this kind has, and no other: it says where the output writes.
    const KEY: &'static str;
    /// What stands for its value in errors.
    const VALUE: &'static str;

    /// What they say. Checks what concerns several of them.
    fn kind(self) -> Result<Arc<dyn Kind>, String>;
}

/// What is particular to an output. SIGHUP leaves an output alone if `Debug` shows the same as before.
pub trait Kind: fmt::Debug + Send + Sync {
    /// Where it writes, for logs and errors.
    fn place(&self) -> String;

    /// How much of payloads it needs.
    fn payloads(&self) -> Payloads;

    /// What it takes of the events that were chosen, and by default.
    fn selection(&self, chosen: Selection) -> Selection {
        chosen
    }

    /// Whether it can be of a node with this name, if one was given.
    fn fits(&self, _node: Option<&str>) -> Result<(), String> {
        Ok(())
    }

    /// Finds what opening would fail at, without changing anything, and where this user may look.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Opens what it writes to with the capabilities of this thread, which are dropped before it starts.
    fn open(&self) -> Result<Opened, String>;
}

/// Starts an output whose destination is open.
pub type Opened = Box<dyn for<'a> FnOnce(Start<'a>) -> io::Result<Box<dyn Output + Send + 'a>>>;

/// What an output gets at its start.
pub struct Start<'a> {
    /// Its name in logs and metrics.
    pub name: String,
    /// As its [`Kind`] says.
    pub place: String,
    /// As its [`Kind`] says.
    pub payloads: Payloads,
    /// The events that it shall take.
    pub selection: Selection,
    /// The name of the node, if it was given.
    pub node: Option<String>,
    /// Whether it takes none until payloads are whole, if it needs these: it begins while a node is tapped.
    pub waits: bool,
    /// A recording waits for it until this stops it; a node never waits.
    pub waited_for: Option<&'a Stop>,
    /// What a flight recorder fills.
    pub recorder: Recorder,
}

impl<'a> Start<'a> {
    /// Makes the output of a spool.
    fn with_spool(self, spool: Spool) -> SpoolOutput<'a> {
        let mut output = SpoolOutput::new(spool, self.name, self.place);
        if self.payloads == Payloads::Whole {
            output = output.with_payloads(self.waits);
        }
        match self.waited_for {
            Some(stop) => output.waited_for(stop, Room::Always),
            None => output,
        }
    }
}

/// A kind in the list of all.
pub(super) struct Row {
    pub key: &'static str,
    pub value: &'static str,
    /// Adds its options to a command.
    pub options: fn(Command) -> Command,
    pub read: fn(&ArgMatches) -> Result<Arc<dyn Kind>, String>,
}

impl Row {
    pub const fn of<O: Options>() -> Self {
        let read = |matches: &ArgMatches| O::from_arg_matches(matches).map_err(|error| first_line(&error))?.kind();
        Self { key: O::KEY, value: O::VALUE, options: O::augment_args, read }
    }
}

#[derive(Args)]
pub(super) struct JsonOptions {
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    json: JsonArgs,
}

impl Options for JsonOptions {
    const KEY: &'static str = "json";
    const VALUE: &'static str = "FILE";

    fn kind(self) -> Result<Arc<dyn Kind>, String> {
        self.destination.check()?;
        let output = JsonOutput::of(&self.destination, &self.json).expect("its key is the destination");
        Ok(Arc::new(output))
    }
}

/// JSON lines to a destination.
#[derive(Debug)]
pub(super) struct JsonOutput {
    pub place: DestinationName,
    rotation: Option<Rotation>,
    lines: JsonLines,
    payloads: Payloads,
}

impl JsonOutput {
    /// `None` without a destination.
    pub fn of(destination: &DestinationArgs, json: &JsonArgs) -> Option<Self> {
        Some(Self {
            place: destination.place()?.clone(),
            rotation: destination.rotation(),
            lines: json.lines(false),
            payloads: json.payload.payloads(),
        })
    }
}

impl Kind for JsonOutput {
    fn place(&self) -> String {
        self.place.to_string()
    }

    fn payloads(&self) -> Payloads {
        self.payloads
    }

    fn check(&self) -> Result<(), String> {
        if let DestinationName::File(path) = &self.place
            && path.parent().is_some_and(is_created_by_systemd)
        {
            return Ok(());
        }
        self.place.check(JsonLines::RECORDS, self.rotation)
    }

    /// A file to be rotated is opened without capabilities.
    fn open(&self) -> Result<Opened, String> {
        let (destination, lines) = (self.place.open(JsonLines::RECORDS, self.rotation)?, self.lines);
        Ok(Box::new(move |start| {
            let spool = Spool::start_to(destination, lines, &start.selection, None)?;
            Ok(Box::new(start.with_spool(spool)))
        }))
    }
}

#[derive(Args)]
pub(super) struct NatsTable {
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    json: JsonArgs,
}

impl Options for NatsTable {
    const KEY: &'static str = "nats";
    const VALUE: &'static str = "URL";

    fn kind(self) -> Result<Arc<dyn Kind>, String> {
        Ok(Arc::new(NatsOutput::of(&self.nats, &self.json)))
    }
}

/// JSON lines over NATS.
#[derive(Debug)]
pub(super) struct NatsOutput {
    nats: NatsArgs,
    lines: JsonLines,
    payloads: Payloads,
}

impl NatsOutput {
    pub fn of(nats: &NatsArgs, json: &JsonArgs) -> Self {
        Self { nats: nats.clone(), lines: json.lines(false), payloads: json.payload.payloads() }
    }
}

impl Kind for NatsOutput {
    fn place(&self) -> String {
        let options = self.nats.options(None, self.lines).ok().flatten();
        options.map(|options| options.server.to_string()).unwrap_or_default()
    }

    fn payloads(&self) -> Payloads {
        self.payloads
    }

    fn selection(&self, chosen: Selection) -> Selection {
        chosen.or_of(NatsArgs::default_tracepoints()).within(NatsArgs::tracepoints())
    }

    fn fits(&self, node: Option<&str>) -> Result<(), String> {
        self.nats.options(node, self.lines).map(drop)
    }

    /// Nothing: the server is connected to later, without capabilities.
    fn open(&self) -> Result<Opened, String> {
        let (nats, lines) = (self.nats.clone(), self.lines);
        Ok(Box::new(move |start| {
            let options = nats.options(start.node.as_deref(), lines).map_err(io::Error::other)?;
            let options = options.ok_or(io::ErrorKind::InvalidInput)?;
            let wanted = start.selection.clone();
            nats::start(&options, &wanted, None, |spool| start.with_spool(spool))
        }))
    }
}

/// The newest events in memory. There is only one, so it is no kind of table.
#[derive(Debug)]
pub(super) struct FlightOutput {
    settings: Settings,
    payloads: Payloads,
}

impl FlightOutput {
    /// Its name in logs and metrics.
    pub const NAME: &str = "flight-recorder";
    /// The option that can be wrong.
    pub const KEY: &str = "flight-recorder.dir";

    /// `None` without a size.
    pub fn of(flight: &FlightArgs) -> Option<Self> {
        Some(Self { settings: flight.settings()?, payloads: flight.payloads() })
    }
}

impl Kind for FlightOutput {
    fn place(&self) -> String {
        "memory".into()
    }

    fn payloads(&self) -> Payloads {
        self.payloads
    }

    fn check(&self) -> Result<(), String> {
        let Some(directory) = &self.settings.directory else { return Ok(()) };
        let wrong = match directory.metadata() {
            Ok(it) if it.is_dir() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_created_by_systemd(directory) => return Ok(()),
            Ok(_) => "it is no directory".to_owned(),
            // Another user may look there.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => error.to_string(),
        };
        Err(format!("cannot write flight recordings into {}: {wrong}", directory.display()))
    }

    fn open(&self) -> Result<Opened, String> {
        self.check()?;
        let settings = self.settings.clone();
        Ok(Box::new(move |start| {
            let recorder = start.recorder.clone();
            let spool = recorder.start(&settings, &start.selection)?;
            // It takes payloads as they come until they are whole: so nothing is missing.
            let start = Start { waits: false, ..start };
            Ok(Box::new(start.with_spool(spool).in_memory(move || recorder.kept())))
        }))
    }
}

/// Whether the directory is missing only because no service has started yet: systemd then creates the `LogsDirectory=` of dist/.
fn is_created_by_systemd(directory: &Path) -> bool {
    let name = directory.strip_prefix("/var/log").ok().and_then(Path::to_str).unwrap_or_default();
    let is_of_service = name == "bitcointap" || name.starts_with("bitcointap-") && !name.contains('/');
    is_of_service && !directory.exists()
}
