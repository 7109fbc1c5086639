//! Completions for shells, and the manual page. In: the definition of the command line in `arguments`. Out: text on standard output.
//! Neither needs privileges or a node.

use bitcointap::selection::WORDS;
use clap::{
    Arg, Command, CommandFactory, ValueHint,
    builder::{PossibleValue, PossibleValuesParser},
};
use clap_complete::Shell;
use roff::{Inline, Roff, bold, italic, roman};

use super::print;
use crate::{arguments::Cli, result::Result};

/// The command that runs if none is named.
const DEFAULT_COMMAND: &str = "tap";

/// The sections after the options. The definition does not have them. Each line is an item; its text follows the tab.
const SECTIONS: [(&str, &str); 4] = [
    (
        "CAPABILITIES",
        "`CAP_BPF`, `CAP_PERFMON`\tTo attach to a node.\n\
         `CAP_SYS_PTRACE`\tIf another user runs the node.\n\
         `CAP_DAC_READ_SEARCH`\tIf other users cannot read the node's program or pid file.\n\
         `CAP_SYS_ADMIN`\tBefore Linux 6.6, if the kernel has the fix of CVE-2025-38466.",
    ),
    (
        "SIGNALS",
        "`SIGINT`, `SIGTERM`\tEnd `tap`, `export`, `record`, `top`, `cut` and `trace`.\n\
         `SIGHUP`\t`export` reads the configuration file and the address lists again; `top` ends.\n\
         `SIGUSR1`\t`export` writes what its flight recorder keeps into `--flight-recorder.dir`.",
    ),
    (
        "EXIT STATUS",
        "`0`\tA clean end: by a signal, `--count`, `--duration`, a closed pipe or, without `--follow`, the node's end. \
         `doctor`: `tap` and `export` would work, perhaps with warnings.\n\
         `1`\tA failure, with a line that says what to do. `doctor`: `tap` and `export` would not work. `info`: something is \
         damaged or missing.\n\
         `2`\tWrong usage.",
    ),
    (
        "EXAMPLES",
        "`bitcointap doctor`\tCheck whether bitcointap would work here, and say what to fix.\n\
         `bitcointap --events net --bytes hex --count 100`\tPrint a hundred events of the net group from the running node.\n\
         `bitcointap trace HASH --replay events.rec`\tTell who announced and sent a transaction or block of a recording.\n\
         `bitcointap export --json events.ndjson`\tServe metrics at http://127.0.0.1:10833/metrics, and write all events to a \
         file.\n\
         `bitcointap cut busy-hour.rec --since 10m --until 15m --command inv -o part.rec`\tKeep a part of a recording.\n\
         `bitcointap export --pid-file /run/bitcoind/bitcoind.pid --web.listen-address [::1]:9100`\tServe metrics of this node \
         at another address.",
    ),
];

/// Prints the script that completes commands and options in `shell`.
pub fn completions(shell: Shell) -> Result<()> {
    let mut command = hinted(Cli::command());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "bitcointap", &mut script);
    match shell {
        Shell::Fish => print(without_dots(&String::from_utf8(script)?).as_bytes()),
        _ => print(&script),
    }
}

/// The script finds the command among the words by fish's argparse. argparse refuses names of options with a dot, and
/// then offers nothing at all. So the script does not give it these options; fish offers them all the same.
fn without_dots(script: &str) -> String {
    const OPTIONS_BEFORE_A_COMMAND: &str = "    string join \\n ";
    let line = |line: &str| match line.strip_prefix(OPTIONS_BEFORE_A_COMMAND) {
        Some(options) => {
            let known: Vec<&str> = options.split(' ').filter(|option| !option.contains('.')).collect();
            format!("{OPTIONS_BEFORE_A_COMMAND}{}\n", known.join(" "))
        }
        None => format!("{line}\n"),
    };
    script.lines().map(line).collect()
}

/// Prints the manual page.
pub fn page() -> Result<()> {
    print(manual(&Cli::command()).render().as_bytes())
}

/// Adds what completions need besides the definition: numbers and addresses are no files, and conditions have names.
fn hinted(command: Command) -> Command {
    let hinted_arguments = command.mut_args(|argument| {
        let name = argument.get_id().as_str();
        let word = WORDS.iter().find(|word| name.strip_prefix("not-").unwrap_or(name) == word.name);
        if let Some(suggested) = word.map(|word| (word.suggested)()).filter(|suggested| !suggested.is_empty()) {
            return argument.value_parser(PossibleValuesParser::new(suggested));
        }
        let is_of_unknown_kind = argument.get_action().takes_values()
            && argument.get_value_hint() == ValueHint::Unknown
            && argument.get_possible_values().is_empty();
        if is_of_unknown_kind { argument.value_hint(ValueHint::Other) } else { argument }
    });
    hinted_arguments.mut_subcommands(hinted)
}

/// The page. `command` is as defined: clap has not yet added help and version, nor the global options to the commands.
fn manual(command: &Command) -> Roff {
    let mut page = Roff::new();
    let name = command.get_name();
    let source = format!("{name} {}", command.get_version().unwrap_or_default());
    // No date: the same sources give the same page. An empty argument would be left out.
    page.control("TH", [name.to_uppercase().as_str(), "1", " ", &source, "User Commands"]);
    // No hyphenation in paths and names of options.
    page.control("nh", []).control("ad", ["l"]);
    page.control("SH", ["NAME"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.text([roman(format!("{name} - {about}"))]);

    page.control("SH", ["SYNOPSIS"]);
    for (number, subcommand) in command.get_subcommands().enumerate() {
        if number > 0 {
            page.control("br", []);
        }
        page.text(usage(name, subcommand));
    }

    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, &long_about(command), "PP");

    page.control("SH", ["COMMANDS"]);
    for subcommand in command.get_subcommands() {
        page.control("TP", []);
        page.text([bold(subcommand.get_name())]);
        paragraphs(&mut page, &long_about(subcommand), "IP");
    }

    page.control("SH", ["OPTIONS"]);
    let options = options(command);
    page.text(marked(
        "An option comes after the name of its command. Parentheses list the commands that have it. The options of `tap` also \
         work without a command.",
    ));
    let mut headings: Vec<&str> = Vec::new();
    for heading in options.iter().filter_map(|option| option.argument.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        page.control("SS", [heading.replace('-', "\\-").as_str()]);
        options.iter().filter(|option| option.argument.get_help_heading() == Some(heading)).for_each(|option| {
            option.describe(&mut page);
        });
    }
    page.control("SS", ["Help"]);
    item(
        &mut page,
        "`-h`, `--help`",
        "Print help for bitcointap or for a command: `-h` a summary, `--help` everything.",
    );
    item(&mut page, "`-V`, `--version`", "Print the version.");

    for (heading, items) in SECTIONS {
        page.control("SH", [heading]);
        for line in items.lines() {
            let (tag, text) = line.split_once('\t').unwrap_or((line, ""));
            item(&mut page, tag, text);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("bitcoind"),
        roman("(1), "),
        bold("prometheus"),
        roman("(1), "),
        bold("capabilities"),
        roman("(7)"),
    ]);
    page
}

fn usage(name: &str, command: &Command) -> Vec<Inline> {
    let subcommand = command.get_name();
    let mut words = vec![bold(name), roman(" ")];
    match subcommand {
        DEFAULT_COMMAND => words.extend([roman("["), bold(subcommand), roman("]")]),
        _ => words.push(bold(subcommand)),
    }
    if command.get_opts().next().is_some() {
        words.extend([roman(" ["), italic("OPTION"), roman("]...")]);
    }
    for argument in command.get_positionals() {
        let [before, after] = if argument.is_required_set() { [" ", ""] } else { [" [", "]"] };
        for value in value_names(argument) {
            words.extend([roman(before), italic(value), roman(after)]);
        }
    }
    words
}

/// An option, and the commands that have it with the same text.
struct CommandOption<'a> {
    argument: &'a Arg,
    /// `None`: all have it.
    commands: Option<Vec<&'a str>>,
}

/// Global options come last. The options of the top level are those of `tap`.
fn options(command: &Command) -> Vec<CommandOption<'_>> {
    let mut options: Vec<CommandOption<'_>> = Vec::new();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        for argument in
            subcommand.get_arguments().filter(|argument| !argument.is_positional() && !argument.is_hide_set())
        {
            let alike = options.iter_mut().find(|option| is_alike(option.argument, argument));
            match alike.and_then(|option| option.commands.as_mut()) {
                Some(commands) => commands.push(name),
                None => options.push(CommandOption { argument, commands: Some(vec![name]) }),
            }
        }
    }
    let global = command.get_arguments().filter(|argument| argument.is_global_set());
    options.extend(global.map(|argument| CommandOption { argument, commands: None }));
    options
}

fn is_alike(one: &Arg, other: &Arg) -> bool {
    let words = |argument: &Arg| {
        let heading = argument.get_help_heading().map(str::to_owned);
        (heading, argument.get_long().map(str::to_owned), long_help(argument), argument.get_default_values().to_vec())
    };
    words(one) == words(other)
}

impl CommandOption<'_> {
    fn describe(&self, page: &mut Roff) {
        let mut tag = Vec::new();
        if let Some(short) = self.argument.get_short() {
            tag.extend([bold(format!("-{short}")), roman(", ")]);
        }
        tag.push(bold(format!("--{}", self.argument.get_long().unwrap_or_default())));
        for value in value_names(self.argument) {
            tag.extend([roman(" "), italic(value)]);
        }
        if let Some(commands) = &self.commands {
            tag.push(roman(format!("  ({})", commands.join(", "))));
        }
        page.control("TP", []);
        page.text(tag);
        let mut help = sentence(&long_help(self.argument));
        // A flag has the values true and false, which nobody writes.
        let takes_values = self.argument.get_action().takes_values();
        let values = if takes_values { self.argument.get_possible_values() } else { Vec::new() };
        if !values.is_empty() && values.iter().all(|value| value.get_help().is_none()) {
            let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
            help.push_str(&format!(" One of {}.", names.join(", ")));
        }
        if let (true, [default, ..]) = (takes_values, self.argument.get_default_values()) {
            help.push_str(&format!(" Default: `{}`.", default.to_string_lossy()));
        }
        paragraphs(page, &help, "IP");
        if values.iter().any(|value| value.get_help().is_some()) {
            page.control("RS", []);
            values.iter().for_each(|value| describe_value(page, value));
            page.control("RE", []);
        }
    }
}

fn describe_value(page: &mut Roff, value: &PossibleValue) {
    let help = value.get_help().map(|help| sentence(&help.to_string())).unwrap_or_default();
    item(page, &format!("`{}`", value.get_name()), &help);
}

fn item(page: &mut Roff, tag: &str, text: &str) {
    page.control("TP", []);
    page.text(marked(tag));
    page.text(marked(text));
}

/// The names of its values.
fn value_names(argument: &Arg) -> Vec<String> {
    let names = argument.get_action().takes_values().then(|| argument.get_value_names().unwrap_or_default());
    names.unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn long_about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    sentence(&about.map(ToString::to_string).unwrap_or_default())
}

fn long_help(argument: &Arg) -> String {
    argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default()
}

/// Adds the full stop that clap removes from a single paragraph.
fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

/// Paragraphs of `text`, with the macro `between` before each except the first.
fn paragraphs(page: &mut Roff, text: &str, between: &str) {
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            page.control(between, []);
        }
        page.text(marked(&paragraph.replace('\n', " ")));
    }
}

/// Text between backticks is bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(number, part)| if number % 2 == 0 { roman(part) } else { bold(part) }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names of options.
    fn longs<'a>(arguments: impl Iterator<Item = &'a Arg>) -> BTreeSet<String> {
        arguments.filter_map(Arg::get_long).map(str::to_owned).collect()
    }

    #[test]
    fn each_option_of_each_command_is_described_once() {
        let page = manual(&Cli::command()).render();
        let mut command = Cli::command();
        command.build();
        let commands: Vec<&Command> =
            command.get_subcommands().filter(|command| command.get_name() != "help").collect();
        let names = longs(commands.iter().flat_map(|command| command.get_arguments()).chain(command.get_arguments()));
        assert!(names.len() > 25 && names.contains("web.max-requests") && names.contains("version"), "{names:?}");
        for name in names {
            // The tag of an item.
            let option = format!("\\fB\\-\\-{}\\fR", name.replace('-', "\\-"));
            let tags = page.split(".TP\n").skip(1).filter(|item| item.lines().next().unwrap().contains(&option));
            // With `record` these are about recordings, elsewhere about JSON lines.
            let times = if ["keep", "rotate"].contains(&&*name) { 2 } else { 1 };
            assert_eq!(tags.count(), times, "{name}");
        }
    }

    #[test]
    fn what_stands_without_a_command_is_of_tap() {
        let command = Cli::command();
        let own = longs(command.get_arguments().filter(|argument| !argument.is_global_set()));
        assert_eq!(own, longs(command.find_subcommand(DEFAULT_COMMAND).unwrap().get_arguments()));
    }

    #[test]
    fn what_is_suggested_is_accepted() {
        for word in &WORDS {
            for suggested in (word.suggested)() {
                let arguments = ["bitcointap", &format!("--{}", word.name), suggested];
                assert!(Cli::parse_arguments(arguments).is_ok(), "{arguments:?}");
            }
        }
    }

    #[test]
    fn backticks_are_bold_and_paragraphs_apart() {
        let mut page = Roff::new();
        paragraphs(&mut page, "One `two`\nthree.\n\n`four`", "IP");
        assert_eq!(page.to_roff(), "One \\fBtwo\\fR three.\n.IP\n\\fBfour\\fR\n");
    }
}
