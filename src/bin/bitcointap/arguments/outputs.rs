//! Outputs with a name. In: tables `[outputs.NAME]` of a configuration file, or options of the command line. Out: started outputs.

use std::io;

use bitcointap::{
    selection::Selection,
    spool::{Destination, DestinationName, Format, JsonLines, Rotation, Spool, SpoolOutput},
    tap::Payloads,
};
use clap::{CommandFactory, FromArgMatches, Parser};

use super::{
    DestinationArgs, JsonArgs, SelectionArgs,
    config::{Config, Table},
    first_line,
};
use crate::names;

/// The name of the HTTP server's streams in metrics.
const OF_SERVER: &str = "http";

/// The options of a table.
#[derive(Clone, Debug, Parser)]
#[command(name = "output", disable_help_flag = true)]
struct OutputArgs {
    #[command(flatten)]
    destination: DestinationArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    selection: SelectionArgs,
}

/// JSON lines to a destination.
#[derive(Clone, Debug)]
pub struct NamedOutput {
    /// For logs and metrics.
    pub name: String,
    pub place: DestinationName,
    pub rotation: Option<Rotation>,
    pub lines: JsonLines,
    pub payloads: Payloads,
    pub selection: Selection,
}

impl NamedOutput {
    /// The output of the command line, if there is one. Its name is its kind.
    pub(super) fn of(destination: &DestinationArgs, json: &JsonArgs, selection: &SelectionArgs) -> Option<Self> {
        let place = destination.place()?;
        Some(Self {
            name: place.kind().to_owned(),
            place: place.clone(),
            rotation: destination.rotation(),
            lines: json.lines(false),
            payloads: json.payload.payloads(),
            selection: selection.selection.clone(),
        })
    }

    /// Opens its destination with the capabilities of this thread. A file to be rotated is opened without them.
    pub fn open(&self) -> Result<Box<dyn Destination>, String> {
        self.place.open(JsonLines::RECORDS, self.rotation)
    }

    /// Starts to write the wanted events. If it `waits`, it takes none until payloads are whole, if it wants these: for an output that
    /// begins while a node is tapped.
    pub fn start(&self, destination: Box<dyn Destination>, waits: bool) -> io::Result<SpoolOutput<'static>> {
        let spool = Spool::start_to(destination, self.lines, &self.selection, None)?;
        let output = SpoolOutput::new(spool, &*self.name, self.place.to_string());
        Ok(if self.payloads == Payloads::Whole { output.with_payloads(waits) } else { output })
    }

    /// Whether both have the same options.
    pub fn is_as(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }

    /// The options that a table may have.
    pub(super) fn command() -> clap::Command {
        OutputArgs::command()
    }

    /// The outputs of a configuration file. Errors have their lines.
    pub(super) fn of_config(config: &Config) -> Result<Vec<Self>, String> {
        let (mut outputs, mut errors) = (Vec::new(), Vec::new());
        for table in &config.outputs {
            match Self::of_table(table) {
                Ok(output) => outputs.push(output),
                Err(words) => errors.push(config.explained_of(Some(table), &words)),
            }
        }
        if errors.is_empty() { Ok(outputs) } else { Err(errors.join("\n")) }
    }

    fn of_table(table: &Table) -> Result<Self, String> {
        let name = &table.name;
        names::check("an output's", name)?;
        if name == OF_SERVER {
            return Err(format!("the name {OF_SERVER} is taken by /events: choose another"));
        }
        let matches = Self::command().try_get_matches_from([&["output"][..], &table.arguments()].concat());
        let args = matches.and_then(|matches| OutputArgs::from_arg_matches(&matches));
        let args = args.map_err(|error| first_line(&error))?;
        args.destination.check()?;
        args.selection.check()?;
        let output = Self::of(&args.destination, &args.json, &args.selection);
        let output = output.ok_or_else(|| format!("the output {name} lacks its destination: json = \"FILE\""))?;
        Ok(Self { name: name.clone(), ..output })
    }
}
