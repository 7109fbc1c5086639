//! A configuration file instead of options. In: TOML with names of options as keys. Out: the same arguments as on a command line, the
//! tables of outputs, and errors with their lines.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, fs,
    ops::Range,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::first_line;

/// The table whose tables are outputs.
const OUTPUTS: &str = "outputs";
/// Options that make no sense in a file.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];

/// A configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    entries: Vec<Entry>,
    pub(super) outputs: Vec<Table>,
}

/// An option.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Without `--`.
    name: String,
    /// `--name=value`, or `--name`. `None` if the value is `false`.
    argument: Option<String>,
    line: usize,
}

/// The table of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    line: usize,
    entries: Vec<Entry>,
}

/// The errors in a file, in the order of its lines.
#[derive(Debug)]
pub struct Errors {
    path: PathBuf,
    errors: BTreeSet<(usize, String)>,
}

impl Errors {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), errors: BTreeSet::new() }
    }

    fn add(&mut self, line: usize, words: impl Into<String>) {
        self.errors.insert((line, words.into()));
    }

    /// One error.
    fn one(path: &Path, line: usize, words: impl Into<String>) -> Self {
        let mut errors = Self::new(path);
        errors.add(line, words);
        errors
    }
}

/// A line for each.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (line, words)) in self.errors.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{line}: {words}", self.path.display())?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads a file, and checks each value. `command` has the options of the file, and `output` those of an output's table.
    pub(super) fn read(path: &Path, command: &Command, output: &Command) -> Result<Self, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read the file {}: {error}", path.display()))?;
        Self::parse(path, &text, command, output).map_err(|errors| errors.to_string())
    }

    fn parse(path: &Path, text: &str, command: &Command, output: &Command) -> Result<Self, Errors> {
        let mut reading = Reading { text, errors: Errors::new(path) };
        let (table, wrong) = DeTable::parse_recoverable(text);
        for error in wrong {
            let at = error.span().unwrap_or_default();
            reading.wrong(&at, error.message().lines().collect::<Vec<_>>().join(", "));
        }
        // A file that is not TOML would give further errors about the same lines.
        if !reading.errors.errors.is_empty() {
            return Err(reading.errors);
        }
        let (mut entries, mut outputs) = (Vec::new(), Vec::new());
        for (key, value) in in_order(table.get_ref()) {
            match value.get_ref() {
                DeValue::Table(tables) if key.get_ref() == OUTPUTS => outputs = reading.outputs(tables, output),
                _ => reading.entry(key.get_ref(), &key.span(), value, command, &mut entries),
            }
        }
        let Reading { errors, .. } = reading;
        let config = Self { path: path.to_owned(), entries, outputs };
        if errors.errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// The arguments of all options that the command line does not give.
    pub(super) fn arguments(&self, given: &BTreeSet<&str>) -> impl Iterator<Item = OsString> {
        let from_file = self.entries.iter().filter(|entry| !given.contains(&*entry.name));
        from_file.filter_map(|entry| entry.argument.as_ref().map(OsString::from))
    }

    /// Adds the line to an error about all options together, from clap or from our own checks: the line of the option that it names.
    pub(super) fn explained(&self, words: &str) -> String {
        self.explained_of(None, words)
    }

    /// The same for an output.
    pub(super) fn explained_of(&self, table: Option<&Table>, words: &str) -> String {
        let entries = table.map_or(&self.entries, |table| &table.entries);
        let is_named = |entry: &&Entry| words.contains(&format!("--{}", entry.name));
        let line = entries.iter().rev().find(is_named).map(|entry| entry.line);
        self.at(line.or(table.map(|table| table.line)), words)
    }

    /// Adds the line to an error about a value: the line of the argument that begins with `argument`.
    pub fn wrong(&self, argument: &str, words: &str) -> String {
        let begins = |entry: &&Entry| entry.argument.as_ref().is_some_and(|it| it.starts_with(argument));
        self.at(self.entries.iter().find(begins).map(|entry| entry.line), words)
    }

    /// Adds the line to words about an output: of the first of these options that it has, else of its table. An output without a table
    /// is that of the file's own options.
    pub(super) fn wrong_of(&self, output: &str, options: &[&str], words: &str) -> String {
        let table = self.outputs.iter().find(|table| table.name == output);
        let entries = table.map_or(&self.entries, |table| &table.entries);
        let line = entries.iter().find(|entry| options.contains(&&*entry.name)).map(|entry| entry.line);
        self.at(line.or(table.map(|table| table.line)), words)
    }

    fn at(&self, line: Option<usize>, words: &str) -> String {
        match line {
            Some(line) => Errors::one(&self.path, line, words).to_string(),
            None => format!("{}: {words}", self.path.display()),
        }
    }

    /// The names of options that changed since `before`.
    pub fn changes<'a>(&'a self, before: &'a Self) -> BTreeSet<&'a str> {
        let all = self.entries.iter().chain(&before.entries).map(|entry| &*entry.name);
        all.filter(|name| self.values(name).ne(before.values(name))).collect()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        self.entries.iter().filter(move |entry| entry.name == name).filter_map(|entry| entry.argument.as_ref())
    }
}

impl Table {
    /// Whether it has the option.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// Its arguments, as on a command line.
    pub(super) fn arguments(&self) -> Vec<&str> {
        self.entries.iter().filter_map(|entry| entry.argument.as_deref()).collect()
    }
}

/// The names of options that the command line gives.
pub(super) fn given<'a>(command: &'a Command, matches: &ArgMatches) -> BTreeSet<&'a str> {
    let is_given = |it: &&Arg| matches.value_source(it.get_id().as_str()) == Some(ValueSource::CommandLine);
    command.get_arguments().filter(is_given).filter_map(Arg::get_long).collect()
}

/// The arguments without the name of the command.
pub(super) fn without_command<'a>(arguments: &'a [OsString], name: &str) -> impl Iterator<Item = OsString> + use<'a> {
    let at = arguments.iter().position(|argument| argument == name);
    arguments.iter().enumerate().filter(move |&(place, _)| Some(place) != at).map(|(_, argument)| argument.clone())
}

/// The entries in the order of the text. A TOML table has them sorted by name.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<toml::de::DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct Reading<'a> {
    text: &'a str,
    errors: Errors,
}

impl Reading<'_> {
    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..at.start).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    fn wrong(&mut self, at: &Range<usize>, words: impl Into<String>) {
        let line = self.line(at);
        self.errors.add(line, words);
    }

    fn outputs(&mut self, tables: &DeTable<'_>, command: &Command) -> Vec<Table> {
        let mut outputs = Vec::new();
        for (key, value) in in_order(tables) {
            let (name, line) = (key.get_ref().to_string(), self.line(&key.span()));
            let DeValue::Table(table) = value.get_ref() else {
                self.wrong(&key.span(), format!("an output must be a table, as in [{OUTPUTS}.{name}]"));
                continue;
            };
            let mut entries = Vec::new();
            for (key, value) in in_order(table) {
                self.entry(key.get_ref(), &key.span(), value, command, &mut entries);
            }
            outputs.push(Table { name, line, entries });
        }
        outputs
    }

    /// Reads an option, or a table of options. The table's name is the beginning of their names.
    fn entry(
        &mut self,
        name: &str,
        at: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
        command: &Command,
        entries: &mut Vec<Entry>,
    ) {
        // `nats` is an option, and `nats.creds = …` begins a table, in which that option is called nats.url. Other aliases are for old
        // command lines only.
        let is_called = |it: &&Arg| {
            let long = it.get_long().unwrap_or_default();
            let mut in_table = it
                .get_all_aliases()
                .unwrap_or_default()
                .into_iter()
                .filter(|alias| alias.starts_with(&format!("{long}.")));
            long == name || in_table.any(|alias| alias == name)
        };
        let argument = command.get_arguments().find(is_called).filter(|_| !NOT_IN_A_FILE.contains(&name));
        let is_beginning =
            |it: &Arg| it.get_long().and_then(|long| long.strip_prefix(name)).is_some_and(|rest| rest.starts_with('.'));
        let name = argument.and_then(Arg::get_long).unwrap_or(name);
        match (argument, value.get_ref()) {
            (argument, DeValue::Table(table)) if argument.is_none() || command.get_arguments().any(is_beginning) => {
                for (key, value) in in_order(table) {
                    self.entry(&format!("{name}.{}", key.get_ref()), &key.span(), value, command, entries);
                }
            }
            (None, _) => {
                let hint = similar(command, name).map(|name| format!("; is it {name}?")).unwrap_or_default();
                self.wrong(at, format!("there is no option {name}{hint}"));
            }
            (Some(argument), _) => match arguments(argument, name, value) {
                Err(words) => self.wrong(at, format!("{name}: {words}")),
                Ok(arguments) => {
                    for (argument, at) in arguments {
                        if let Err(words) = argument.as_ref().map_or(Ok(()), |argument| check(command, argument)) {
                            self.wrong(&at, format!("{name}: {words}"));
                        }
                        entries.push(Entry { name: name.to_owned(), argument, line: self.line(&at) });
                    }
                }
            },
        }
    }
}

/// An argument as on a command line, and where it is in the text. `false` gives no argument.
type Placed = (Option<String>, Range<usize>);

fn arguments(argument: &Arg, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Placed>, String> {
    let takes_value = argument.get_action().takes_values();
    let is_repeated = matches!(argument.get_action(), ArgAction::Append);
    let names = argument.get_value_names().unwrap_or_default();
    let is_pair = names.first().is_some_and(|name| name.contains('='));
    let of_value = |value: &Spanned<DeValue<'_>>| {
        let argument = match value.get_ref() {
            DeValue::String(text) => format!("--{name}={text}"),
            DeValue::Integer(number) => format!("--{name}={number}"),
            DeValue::Float(number) => format!("--{name}={number}"),
            other => return Err(format!("must be a text or a number, not {}", a(other))),
        };
        Ok((Some(argument), value.span()))
    };
    match value.get_ref() {
        DeValue::Boolean(is_on) if !takes_value => Ok(vec![(is_on.then(|| format!("--{name}")), value.span())]),
        other if !takes_value => Err(format!("must be true or false, not {}", a(other))),
        DeValue::Array(values) if is_repeated => values.iter().map(of_value).collect(),
        DeValue::Array(_) => Err("takes one value, not several".into()),
        DeValue::Table(table) if is_repeated && is_pair => {
            let pairs = in_order(table).into_iter().map(|(key, value)| match value.get_ref() {
                DeValue::String(text) => Ok((Some(format!("--{name}={}={text}", key.get_ref())), key.span())),
                other => Err(format!("{} must be a text, not {}", key.get_ref(), a(other))),
            });
            pairs.collect()
        }
        _ => Ok(vec![of_value(value)?]),
    }
}

fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Checks a value alone, without the other options.
fn check(command: &Command, argument: &str) -> Result<(), String> {
    let error = match command.clone().try_get_matches_from([command.get_name(), argument]) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue) {
        return Err(format!("must be one of {}", values.join(", ")));
    }
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let of_parser = std::error::Error::source(&error).map(ToString::to_string);
            Err(of_parser.unwrap_or_else(|| first_line(&error)))
        }
        // This error is about several options. They are checked together later.
        _ => Ok(()),
    }
}

/// An option with a similar name.
fn similar(command: &Command, name: &str) -> Option<String> {
    // Clap suggests one for an unknown option.
    let error = command.clone().try_get_matches_from([command.get_name(), &format!("--{name}")]).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(suggested) => Some(suggested.trim_start_matches('-').to_owned()),
        _ => None,
    }
}
