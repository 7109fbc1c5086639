//! Outputs with a name. In: tables `[outputs.NAME]` of a configuration file, or options of the command line. Out: started outputs.

mod kinds;

use std::{io, sync::Arc};

use bitcointap::{
    flight_recorder::Recorder, output::Output, selection::Selection, stop::Stop, tap::Payloads, tracepoint::Tracepoints,
};
use clap::{
    Arg, Args, Command, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

pub use self::kinds::Opened;
use self::kinds::{FlightOutput, JsonOptions, JsonOutput, KINDS, Kind, NatsOutput, NatsTable, Row, Start};
use super::{
    DestinationArgs, FlightArgs, JsonArgs, NatsArgs, SelectionArgs,
    config::{Config, Table},
    first_line,
};
use crate::names;

/// The name of the HTTP server's streams in metrics.
const OF_SERVER: &str = "http";

/// An output with a name.
#[derive(Clone, Debug)]
pub struct NamedOutput {
    /// For logs and metrics.
    pub name: String,
    pub selection: Selection,
    /// The option that says where it writes.
    key: &'static str,
    kind: Arc<dyn Kind>,
    /// The name of the node, if it was given.
    node: Option<String>,
}

impl NamedOutput {
    /// The output of the command line, if there is one. Its name is the kind of its destination.
    pub(super) fn of(destination: &DestinationArgs, json: &JsonArgs, selection: &SelectionArgs) -> Option<Self> {
        let output = JsonOutput::of(destination, json)?;
        let name = output.place.kind().to_owned();
        Some(Self::new(name, <JsonOptions as kinds::Options>::KEY, &selection.selection, Arc::new(output)))
    }

    /// The output of `--nats` in the command line.
    pub(super) fn of_nats(nats: &NatsArgs, json: &JsonArgs, selection: &SelectionArgs) -> Option<Self> {
        let output = nats.is_given().then(|| NatsOutput::of(nats, json))?;
        Some(Self::new("nats".into(), <NatsTable as kinds::Options>::KEY, &selection.selection, Arc::new(output)))
    }

    /// The flight recorder, if there is one. It takes all of these events.
    pub(super) fn of_flight(flight: &FlightArgs, events: Tracepoints) -> Option<Self> {
        let output = FlightOutput::of(flight)?;
        Some(Self::new(FlightOutput::NAME.into(), FlightOutput::KEY, &Selection::of(events), Arc::new(output)))
    }

    fn new(name: String, key: &'static str, selection: &Selection, kind: Arc<dyn Kind>) -> Self {
        Self { name, selection: kind.selection(selection.clone()), key, kind, node: None }
    }

    /// It takes events of these tracepoints, unless others were chosen for it.
    pub(super) fn or_of(self, events: Tracepoints) -> Self {
        Self { selection: self.selection.or_of(events), ..self }
    }

    /// It is of a node with this name.
    pub(super) fn of_node(self, node: Option<&str>) -> Self {
        Self { node: node.map(str::to_owned), ..self }
    }

    /// Whether its options go together, and with those of the node.
    pub(super) fn fits(&self) -> Result<(), String> {
        self.kind.fits(self.node.as_deref())
    }

    /// Where it writes, for logs.
    pub fn place(&self) -> String {
        self.kind.place()
    }

    /// How much of payloads it needs.
    pub fn payloads(&self) -> Payloads {
        if self.selection.needs_payloads() { Payloads::Whole } else { self.kind.payloads() }
    }

    /// What is wrong with its destination, as far as that is seen without opening it: the line is that of its option in `config`.
    pub fn check(&self, config: &Config) -> Result<(), String> {
        self.kind.check().map_err(|words| config.wrong_of(&self.name, &[self.key], &words))
    }

    /// What may be wrong with its conditions, with lines as in `check`.
    pub fn doubts<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = String> + 'a {
        let doubts = self.selection.doubts();
        doubts.map(|words| config.wrong_of(&self.name, &["command", "not-command"], &words))
    }

    /// Opens its destination with the capabilities of this thread.
    pub fn open(&self) -> Result<Opened, String> {
        self.kind.open()
    }

    /// Starts to write the wanted events. If it `waits`, it takes none until payloads are whole, if it needs these: for an output that
    /// begins while a node is tapped. A recording waits for it until `waited_for` stops it; a node never waits. The flight recorder
    /// fills `recorder`.
    pub fn start<'a>(
        &self,
        opened: Opened,
        waits: bool,
        waited_for: Option<&'a Stop>,
        recorder: &Recorder,
    ) -> io::Result<Box<dyn Output + Send + 'a>> {
        let (name, selection) = (self.name.clone(), self.selection.clone());
        let (place, payloads, node) = (self.place(), self.payloads(), self.node.clone());
        opened(Start { name, place, payloads, selection, node, waits, waited_for, recorder: recorder.clone() })
    }

    /// Whether both have the same options.
    pub fn is_as(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }

    /// The options that a table may have.
    pub(super) fn command() -> Command {
        options_of(&KINDS)
    }

    /// The outputs of a configuration file. Errors have their lines.
    pub(super) fn of_config(config: &Config) -> Result<Vec<Self>, String> {
        let (mut outputs, mut errors) = (Vec::new(), Vec::new());
        for table in &config.outputs {
            match Self::of_table(table, &KINDS) {
                Ok(output) => outputs.push(output),
                Err(words) => errors.push(config.explained_of(Some(table), &words)),
            }
        }
        if errors.is_empty() { Ok(outputs) } else { Err(errors.join("\n")) }
    }

    fn of_table(table: &Table, kinds: &[Row]) -> Result<Self, String> {
        let name = &table.name;
        names::check("an output's", name)?;
        if name == OF_SERVER {
            return Err(format!("the name {OF_SERVER} is taken by /events: choose another"));
        }
        let Some(row) = kinds.iter().find(|row| table.has(row.key)) else {
            let keys: Vec<_> = kinds.iter().map(|Row { key, value, .. }| format!("{key} = \"{value}\"")).collect();
            return Err(format!("the output {name} lacks its destination: {}", keys.join(" or ")));
        };
        let command = SelectionArgs::augment_args((row.options)(no_options()));
        let matches = command.try_get_matches_from([&["output"][..], &table.arguments()].concat());
        let matches = matches.map_err(|error| match (error.kind(), error.get(ContextKind::InvalidArg)) {
            (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => {
                format!("an output with {} has no option {option}", row.key)
            }
            _ => first_line(&error),
        })?;
        let kind = (row.read)(&matches)?;
        let selection = SelectionArgs::from_arg_matches(&matches).map_err(|error| first_line(&error))?;
        selection.check()?;
        Ok(Self::new(name.clone(), row.key, &selection.selection, kind))
    }
}

fn no_options() -> Command {
    Command::new("output").disable_help_flag(true)
}

/// The options that tables of these kinds may have. One that several kinds have must mean the same in each.
fn options_of(kinds: &[Row]) -> Command {
    let of_kinds = kinds.iter().fold(no_options(), |command, row| {
        let options = (row.options)(no_options());
        let is_new = |it: &&Arg| command.get_arguments().all(|known| known.get_id() != it.get_id());
        let new: Vec<_> = options.get_arguments().filter(is_new).cloned().collect();
        command.args(new)
    });
    SelectionArgs::augment_args(of_kinds)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A further kind, which writes nothing.
    #[derive(Args, Clone, Debug)]
    struct Idle {
        #[arg(long)]
        idle: String,
        #[arg(long = "idle-for", default_value_t = 1, value_parser = crate::arguments::values::number(1..=9_u32))]
        idle_for: u32,
        #[command(flatten)]
        json: JsonArgs,
    }

    impl kinds::Options for Idle {
        const KEY: &'static str = "idle";
        const VALUE: &'static str = "PLACE";

        fn kind(self) -> Result<Arc<dyn Kind>, String> {
            Ok(Arc::new(self))
        }
    }

    impl Kind for Idle {
        fn place(&self) -> String {
            self.idle.clone()
        }

        fn payloads(&self) -> Payloads {
            self.json.payload.payloads()
        }

        fn open(&self) -> Result<Opened, String> {
            Ok(Box::new(|start| Ok(Box::new(Started(format!("{} {} {}", start.name, start.place, start.waits))))))
        }
    }

    struct Started(String);

    impl Output for Started {
        fn name(&self) -> &str {
            &self.0
        }
    }

    /// The outputs of a file, or the errors in it, if only JSON lines and the further kind are there.
    fn outputs(text: &str) -> Result<Vec<NamedOutput>, String> {
        let kinds: Vec<Row> = KINDS.into_iter().take(1).chain([Row::of::<Idle>()]).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c");
        fs::write(&path, text).unwrap();
        let without_path = |words: String| words.replace(&*path.to_string_lossy(), "");
        let config = Config::read(&path, &Command::new("export"), &options_of(&kinds)).map_err(without_path)?;
        let output = |table| {
            let output = NamedOutput::of_table(table, &kinds);
            output.map_err(|words| without_path(config.explained_of(Some(table), &words)))
        };
        config.outputs.iter().map(output).collect()
    }

    #[test]
    fn a_table_is_of_the_kind_whose_key_it_has() {
        let text = "[outputs.a]\njson = \"f\"\nkeep = 3\nrotate = \"1d\"\nevents = [\"net\"]\n\
                    [outputs.b]\nidle = \"nowhere\"\nidle-for = 3\npayload = \"none\"\nevents = [\"mempool\"]";
        let [a, b] = <[_; 2]>::try_from(outputs(text).unwrap()).unwrap();
        assert_eq!((a.place(), a.payloads()), ("f".into(), Payloads::Whole));
        assert_eq!((b.place(), b.payloads()), ("nowhere".into(), Payloads::None));
        assert_eq!(b.selection.tracepoints(), "mempool".parse().unwrap());
        let started = b.start(b.open().unwrap(), true, None, &Recorder::default()).unwrap();
        assert_eq!(started.name(), "b nowhere true");

        let changed = outputs(&text.replace("idle-for = 3", "idle-for = 4")).unwrap();
        assert!(a.is_as(&changed[0]) && !b.is_as(&changed[1]));
    }

    #[test]
    fn a_table_has_only_options_of_its_kind() {
        for (text, words) in [
            ("json = \"f\"\n\nidle-for = 3", ":4: an output with json has no option --idle-for"),
            ("rotate = \"1d\"\nidle = \"x\"", ":2: an output with idle has no option --rotate"),
            ("json = \"f\"\nidle = \"x\"", ":3: an output with json has no option --idle"),
            ("idle = \"x\"\nidle-for = 10", ":3: idle-for: must be a whole number from 1 to 9"),
            ("idel = \"x\"", ":2: there is no option idel; is it idle?"),
            ("bytes = \"hex\"", ":1: the output a lacks its destination: json = \"FILE\" or idle = \"PLACE\""),
            (
                "idle = \"x\"\ncommand = [\"inv\"]\nevents = [\"mempool\"]",
                ":4: no event can meet --events and --command",
            ),
        ] {
            let told = outputs(&format!("[outputs.a]\n{text}")).unwrap_err();
            assert!(told.starts_with(words), "{text:?}: {told}");
        }
    }
}
