//! Which events, and the memory for them.

use bitcointap::{
    selection::{Selection, WORDS, Word},
    tap::Options,
    units,
};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, error::ErrorKind};

/// Words that `-h` lists; `--help` lists all.
const COMMON: [&str; 3] = ["events", "command", "network"];

/// The conditions of a [`Selection`], as options.
#[derive(Clone, Debug, Default)]
pub struct SelectionArgs {
    pub selection: Selection,
}

impl SelectionArgs {
    /// All conditions with their help, each as it is and with `not-` in front.
    fn words() -> impl Iterator<Item = (String, &'static Word, &'static str)> {
        WORDS.iter().flat_map(|word| {
            let negated = word.not.map(|help| (format!("not-{}", word.name), word, help));
            [(word.name.to_owned(), word, word.help)].into_iter().chain(negated)
        })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.selection.check("--")
    }
}

/// For `-h`.
fn first_clause(help: &'static str) -> &'static str {
    let sentence = help.split_once(". ").map_or(help, |(first, _)| first);
    sentence.split_once(": ").map_or(sentence, |(first, _)| first)
}

impl Args for SelectionArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.next_help_heading("Events").args(Self::words().map(|(name, word, help)| {
            let is_negated = name != word.name;
            let checked = name.clone();
            let check = move |values: &str| Selection::default().add(&checked, values).map(|()| values.to_owned());
            Arg::new(name.clone())
                .long(name)
                .value_name(word.value)
                .help(first_clause(help))
                .long_help(help)
                .hide_short_help(is_negated || !COMMON.contains(&word.name))
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
    /// Memory for events on their way from the kernel: a power of two from 8MiB to 1GiB. It shows twice in resident memory (ps).
    #[arg(hide_short_help = true, long = "ring-buffer-size", value_name = "SIZE", default_value = "16MiB", value_parser = ring_buffer_size)]
    pub size: u32,
}

fn ring_buffer_size(text: &str) -> Result<u32, String> {
    let size = u32::try_from(units::bytes(text)?).ok().filter(|&size| Options::accepts_ring_buffer_size(size));
    size.ok_or_else(|| "must be a power of two from 8MiB to 1GiB, such as 64MiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_buffer_has_a_power_of_two() {
        for (text, size) in [("16MiB", 16 << 20), ("1GiB", 1 << 30), ("8388608", 8 << 20)] {
            assert_eq!(ring_buffer_size(text), Ok(size));
        }
    }
}
