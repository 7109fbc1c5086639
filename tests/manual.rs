//! What the tool says of itself, as shells and readers of manual pages take it. If a program is not installed, its part
//! is skipped with a message.

use std::{
    io::{ErrorKind, Write},
    process::{Command, Output, Stdio},
};

use crate::tool::{Nobody, bitcointap, output};

const COMMANDS: [&str; 10] =
    ["tap", "export", "record", "top", "trace", "probes", "doctor", "healthcheck", "completions", "man"];

fn printed(arguments: &str) -> String {
    let output = output(arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a program makes of `input`; `None` if it is not installed.
fn fed(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        child => child.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    Some(output)
}

/// What bash offers after these words; the last word is incomplete.
fn offered(words: &str) -> Vec<String> {
    let script = printed("completions bash");
    let drive = format!(
        r#"{script}
        COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        # It is for readline, which is not there.
        compopt() {{ :; }}
        complete -p bitcointap >/dev/null || exit 1
        _bitcointap bitcointap "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
        printf '%s\n' "${{COMPREPLY[@]}}""#
    );
    let output = fed("bash", &["--norc"], &drive).expect("other tests use bash, too");
    assert!(output.status.success() && output.stderr.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let checked = fed("bash", &["-n"], &printed("completions bash")).unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");

    assert_eq!(offered("bitcointap ta"), ["tap"]);
    assert_eq!(offered("bitcointap --dur"), ["--duration"]);
    let web = [
        "--web.listen-address",
        "--web.systemd-socket",
        "--web.telemetry-path",
        "--web.config.file",
        "--web.max-requests",
        "--web.max-streams",
        "--web.disable-live-page",
        "--web.hide-addresses",
    ];
    assert_eq!(offered("bitcointap export --web."), web);
    assert_eq!(offered("bitcointap tap --bytes ''"), ["array", "hex"]);
    assert_eq!(offered("bitcointap export --events co"), ["coin_selection"]);
    assert_eq!(offered("bitcointap completions f"), ["fish"]);
    // A number is no file.
    assert_eq!(offered("bitcointap tap --count 1"), ["1"]);
}

#[test]
fn other_shells_have_scripts_with_all_commands() {
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = printed(&format!("completions {shell}"));
        for word in COMMANDS.iter().chain(&["web.listen-address", "drop-capabilities"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    for shell in ["zsh", "fish"] {
        let Some(checked) = fed(shell, &["-n"], &printed(&format!("completions {shell}"))) else { continue };
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    }
    let script = printed("completions fish");
    let known_to_argparse = script.lines().find_map(|line| line.trim().strip_prefix(r"string join \n ")).unwrap();
    assert!(known_to_argparse.contains("pid-file= ") && !known_to_argparse.contains('.'), "{known_to_argparse}");
    let offered = r#"complete -C "bitcointap export --web.s"; complete -C "bitcointap ex""#;
    if let Some(offered) = fed("fish", &["--no-config"], &format!("{script}{offered}")) {
        let text = String::from_utf8(offered.stdout).unwrap();
        let words: Vec<&str> = text.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!(words, ["--web.systemd-socket", "export"]);
    }
    assert_eq!(output("completions tcsh").status.code(), Some(2));
}

#[test]
fn the_manual_page_is_rendered_without_a_warning_and_names_everything() {
    let page = printed("man");
    let Some(rendered) = fed("groff", &["-man", "-Tutf8", "-ww", "-P-c"], &page) else { return };
    assert!(rendered.status.success() && rendered.stderr.is_empty(), "{rendered:?}");
    // Removes the characters that make letters bold and underlined by printing over them.
    let mut text = String::new();
    for letter in String::from_utf8(rendered.stdout).unwrap().chars() {
        match letter {
            '\u{8}' => drop(text.pop()),
            letter => text.push(letter),
        }
    }
    for heading in ["NAME", "SYNOPSIS", "COMMANDS", "OPTIONS", "EXIT STATUS", "EXAMPLES"] {
        assert!(text.lines().any(|line| line == heading), "{heading}\n{text}");
    }
    for command in COMMANDS {
        let usage = if command == "tap" { "bitcointap [tap]".to_owned() } else { format!("bitcointap {command}") };
        assert!(text.lines().any(|line| line.trim().starts_with(&usage)), "{usage}\n{text}");
        let help = printed(&format!("{command} --help"));
        let options = help.lines().filter_map(|line| line.trim_start().strip_prefix("--")?.split([' ', ',']).next());
        for option in options {
            let option = format!("--{option}");
            assert!(text.lines().any(|line| line.trim().split(' ').next() == Some(&option)), "{option}\n{text}");
        }
    }
}

#[test]
fn neither_takes_privileges_and_a_closed_pipe_is_a_clean_end() {
    let nobody = Nobody::new();
    for what in ["man", "completions zsh"] {
        let unprivileged = nobody.output("-all", what);
        assert_eq!(String::from_utf8(unprivileged.stdout).unwrap(), printed(what));

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = bitcointap(what).stdout(writer).output().unwrap();
        assert!(closed.status.success() && closed.stderr.is_empty(), "{what}: {closed:?}");

        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let failed = bitcointap(what).stdout(full).output().unwrap();
        assert_eq!(failed.status.code(), Some(1), "{what}");
        let words = String::from_utf8(failed.stderr).unwrap();
        assert!(words.starts_with("bitcointap: cannot write to standard output: No space left on device"), "{words}");
    }
}
