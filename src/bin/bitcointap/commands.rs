//! The commands, a file for each, `new_file` for those that write, and `print` for those that print a text. In: arguments. Out: the
//! result of the command.

mod check_config;
mod cut;
mod doctor;
mod export;
mod healthcheck;
mod info;
mod manual;
mod new_file;
mod probes;
mod record;
mod tap;
mod top;
mod trace;

use std::io::{self, Write};

pub use self::{
    check_config::check_config,
    cut::cut,
    doctor::doctor,
    export::export,
    healthcheck::healthcheck,
    info::info,
    manual::{completions, page},
    probes::probes,
    record::record,
    tap::tap,
    top::top,
    trace::trace,
};
use crate::result::Result;

/// Prints a text. A reader that has gone wants no more: that is no error.
fn print(text: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(()),
    }
}
