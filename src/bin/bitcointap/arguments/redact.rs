//! What outputs shall not have. In: options. Out: what takes it out of events.

use std::path::PathBuf;

use bitcointap::redact::{Key, Options, Redactor};
use clap::{Args, ValueEnum, ValueHint};

/// What to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Redacted {
    /// Addresses of peers and nodes.
    Addresses,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sharing")]
pub struct RedactArgs {
    /// Replace addresses of peers and nodes by pseudonyms in all that is written, sent or shown. What may have an address and cannot be
    /// cleaned is left out. docs/sharing.md says what this does not hide.
    #[arg(hide_short_help = true, long, value_name = "WHAT", value_enum)]
    redact: Option<Redacted>,
    /// Make pseudonyms by the key in FILE, of 16 bytes or more: then an address has the same pseudonym each time. Without it, the key is made
    /// for this process. Who has the key can test which address a pseudonym stands for.
    #[arg(hide_short_help = true, long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "redact")]
    redact_key: Option<PathBuf>,
    /// Keep whether two addresses are of one /16 (IPv6: /32). Their pseudonyms then look like addresses of other machines.
    #[arg(hide_short_help = true, long, requires = "redact")]
    redact_keep_netgroups: bool,
    /// Replace transactions in messages by their txids and wtxids, without scripts and witnesses.
    #[arg(hide_short_help = true, long)]
    txids_only: bool,
}

impl RedactArgs {
    /// `None` if everything is given as it is. Reads the key.
    pub fn redactor(&self) -> Result<Option<Redactor>, String> {
        let mut options = Options::default();
        if self.redact == Some(Redacted::Addresses) {
            options.addresses = Some(match &self.redact_key {
                Some(path) => Key::read(path)?,
                None => Key::random(),
            });
        }
        (options.keeps_netgroups, options.transactions) = (self.redact_keep_netgroups, self.txids_only);
        Ok(Redactor::new(&options))
    }
}
