//! What a refused command line meant. In: clap's error, and the arguments. Out: an error that names the command or the
//! option to use, or the same one.

use std::ffi::OsString;

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Commands that do not exist, and what to use instead. FILE becomes the next argument.
const COMMANDS: [(&[&str], &str); 11] = [
    (&["replay", "play"], "use `bitcointap tap --replay FILE` or `bitcointap export --replay FILE`"),
    (
        &["serve", "server", "metrics", "exporter", "prometheus", "web", "http", "start", "run", "daemon"],
        "use `bitcointap export`, which serves metrics, events and a live page",
    ),
    (&["list", "ls", "tracepoints", "probe", "usdt"], "use `bitcointap probes`, which lists tracepoints"),
    (
        &["json", "events", "event", "stream", "print", "dump", "cat", "follow", "attach"],
        "use `bitcointap tap`, which prints events as JSON lines",
    ),
    (
        &["pcap", "pcapng", "wireshark", "capture"],
        "use `bitcointap tap --pcap FILE`, which writes packets for Wireshark",
    ),
    (&["rec", "save", "recording", "write"], "use `bitcointap record FILE`"),
    (
        &["join", "merge", "split", "slice", "filter", "extract", "edit", "trim"],
        "use `bitcointap cut FILE -o OUT`, which writes a part of recordings, or joins them",
    ),
    (
        &["stat", "stats", "statistics", "summary", "inspect", "capinfos", "verify"],
        "use `bitcointap info FILE`, which says what is in a recording",
    ),
    (&["check", "test", "diagnose", "status"], "use `bitcointap doctor`, which checks whether bitcointap would work"),
    (
        &["monitor", "watch", "ui", "tui", "live", "peers"],
        "use `bitcointap top`, which shows what the node does on a screen",
    ),
    (
        &["manual", "completion", "version"],
        "use `bitcointap man`, `bitcointap completions SHELL` or `bitcointap --version`",
    ),
];

/// Options that do not exist, and what to use instead.
const OPTIONS: [(&[&str], &str); 8] = [
    (&["-v", "--verbose", "--debug"], "use --log.level debug"),
    (&["-q", "--quiet", "--silent"], "use --log.level error"),
    (
        &["--port", "--listen", "--bind", "--host", "--address.listen"],
        "use `bitcointap export --web.listen-address HOST:PORT`",
    ),
    (&["-o", "--output", "--out", "--file"], "use --json FILE, which writes JSON lines to it"),
    (&["-p"], "use --pid PID"),
    (&["-n", "--limit", "--max", "--number"], "use `bitcointap tap --count N`"),
    (&["-t", "--time", "--timeout", "--seconds"], "use --duration TIME"),
    (
        &["--format"],
        "use --log.format for the log, or `bitcointap doctor --format`; events are JSON, or pcapng with --pcap FILE",
    ),
];

/// The same error, or one that says more.
pub(super) fn explained(error: Error, command: &mut Command, arguments: &[OsString]) -> Error {
    let used = used(command, arguments);
    let words = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            text(&error, ContextKind::InvalidSubcommand).map(|name| no_command(&error, command, &name, arguments))
        }
        ErrorKind::UnknownArgument => {
            text(&error, ContextKind::InvalidArg).and_then(|name| no_option(command, &name, used.as_deref()))
        }
        _ => None,
    };
    let Some(words) = words else { return error };
    // So that the error shows the usage of this command.
    let name = used.filter(|name| command.find_subcommand(name).is_some());
    match name.and_then(|name| command.find_subcommand_mut(name)) {
        Some(used) => used.error(error.kind(), words),
        None => command.error(error.kind(), words),
    }
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The command in use: the first word that is the name of a command.
fn used(command: &Command, arguments: &[OsString]) -> Option<String> {
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.find(|word| command.find_subcommand(word).is_some()).map(str::to_owned)
}

fn no_command(error: &Error, command: &Command, name: &str, arguments: &[OsString]) -> String {
    let next = arguments.iter().skip_while(|word| *word != name).nth(1);
    let file = next.and_then(|word| word.to_str()).filter(|word| !word.starts_with('-')).unwrap_or("FILE");
    let known = COMMANDS.iter().find(|(names, _)| names.contains(&name)).map(|(_, hint)| hint.replace("FILE", file));
    let hint = known.unwrap_or_else(|| {
        if name.contains(['/', '.']) {
            return format!(
                "to replay a recording use `bitcointap tap --replay {name}` or `bitcointap export --replay {name}`"
            );
        }
        let similar = match error.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(names)) => names.clone(),
            _ => Vec::new(),
        };
        match similar.as_slice() {
            [] => {
                let names: Vec<_> =
                    command.get_subcommands().map(Command::get_name).filter(|it| *it != "help").collect();
                format!("there are {}", names.join(", "))
            }
            similar => format!("is it `bitcointap {}`?", similar.join("` or `bitcointap ")),
        }
    });
    format!("there is no command '{name}': {hint}")
}

/// `None` if clap says enough.
fn no_option(command: &Command, name: &str, used: Option<&str>) -> Option<String> {
    // Without the name of a command, `tap` is in use.
    let shown = format!("`bitcointap {}`", used.unwrap_or("tap"));
    let Some(long) = name.strip_prefix("--").filter(|long| !long.is_empty()) else {
        return short_or_word(name, used, &shown);
    };
    let has = |command: &&Command| command.get_arguments().any(|argument| argument.get_long() == Some(long));
    let names: Vec<_> =
        command.get_subcommands().filter(has).map(|it| format!("`bitcointap {}`", it.get_name())).collect();
    match names.as_slice() {
        [] => known_option(name),
        [one] => Some(format!("{shown} has no option '{name}': {one} has it")),
        [some @ .., last] => Some(format!("{shown} has no option '{name}': {} and {last} have it", some.join(", "))),
    }
}

fn short_or_word(name: &str, used: Option<&str>, shown: &str) -> Option<String> {
    if name.starts_with('-') {
        return known_option(name);
    }
    let option = match used? {
        "tap" | "export" | "top" | "trace" => "--replay",
        "probes" | "doctor" if name.bytes().all(|byte| byte.is_ascii_digit()) => "--pid",
        "probes" | "doctor" => "--bitcoind",
        _ => return None,
    };
    let what = match option {
        "--replay" => "a recording",
        "--pid" => "a node's process id",
        _ => "a node's program",
    };
    Some(format!("{shown} takes no '{name}' alone: {what} is named by {option} {name}"))
}

fn known_option(name: &str) -> Option<String> {
    let (_, hint) = OPTIONS.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("there is no option '{name}': {hint}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Cli;

    #[track_caller]
    fn assert_says(line: &str, words: &str) {
        let error = Cli::parse_arguments(["bitcointap"].into_iter().chain(line.split(' '))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        assert_eq!(text.lines().next(), Some(&*format!("error: {words}")), "{line}");
    }

    #[test]
    fn a_command_that_there_is_not_leads_to_one_that_does_it() {
        for (line, words) in [
            (
                "replay f.rec",
                "there is no command 'replay': use `bitcointap tap --replay f.rec` or `bitcointap export --replay f.rec`",
            ),
            (
                "replay",
                "there is no command 'replay': use `bitcointap tap --replay FILE` or `bitcointap export --replay FILE`",
            ),
            (
                "./f.rec",
                "there is no command './f.rec': to replay a recording use `bitcointap tap --replay ./f.rec` or `bitcointap \
                 export --replay ./f.rec`",
            ),
            (
                "serve --pid 7",
                "there is no command 'serve': use `bitcointap export`, which serves metrics, events and a live page",
            ),
            ("list", "there is no command 'list': use `bitcointap probes`, which lists tracepoints"),
            ("json", "there is no command 'json': use `bitcointap tap`, which prints events as JSON lines"),
            ("pcap f", "there is no command 'pcap': use `bitcointap tap --pcap f`, which writes packets for Wireshark"),
            (
                "merge a.rec b.rec",
                "there is no command 'merge': use `bitcointap cut a.rec -o OUT`, which writes a part of recordings, or joins them",
            ),
            ("recrod f", "there is no command 'recrod': is it `bitcointap record`?"),
            (
                "1234",
                "there is no command '1234': there are tap, export, record, cut, info, top, trace, probes, doctor, check-config, \
                 healthcheck, completions, man",
            ),
        ] {
            assert_says(line, words);
        }
    }

    #[test]
    fn an_option_of_another_command_leads_there() {
        for (line, words) in [
            ("export --pcap f", "`bitcointap export` has no option '--pcap': `bitcointap tap` has it"),
            ("record f --count 3", "`bitcointap record` has no option '--count': `bitcointap tap` has it"),
            (
                "record f --json g",
                "`bitcointap record` has no option '--json': `bitcointap tap` and `bitcointap export` have it",
            ),
            (
                "--web.listen-address :1",
                "`bitcointap tap` has no option '--web.listen-address': `bitcointap export` has it",
            ),
            ("--verbose", "there is no option '--verbose': use --log.level debug"),
            ("export --port 1", "there is no option '--port': use `bitcointap export --web.listen-address HOST:PORT`"),
            ("-p 1", "there is no option '-p': use --pid PID"),
            ("tap f.rec", "`bitcointap tap` takes no 'f.rec' alone: a recording is named by --replay f.rec"),
            (
                "probes /usr/bin/bitcoind",
                "`bitcointap probes` takes no '/usr/bin/bitcoind' alone: a node's program is named by --bitcoind \
                 /usr/bin/bitcoind",
            ),
            ("doctor 17", "`bitcointap doctor` takes no '17' alone: a node's process id is named by --pid 17"),
            // clap reports what this file does not know.
            ("--nonsense", "unexpected argument '--nonsense' found"),
        ] {
            assert_says(line, words);
        }
    }

    #[test]
    fn no_name_is_there_twice_or_is_one_of_ours() {
        let mut seen = HashSet::new();
        for name in COMMANDS.iter().flat_map(|(names, _)| names.iter()) {
            assert!(seen.insert(*name), "{name}");
            assert!(Cli::command().find_subcommand(name).is_none(), "{name}");
        }
        for name in OPTIONS.iter().flat_map(|(names, _)| names.iter()) {
            assert!(seen.insert(*name), "{name}");
        }
    }
}
