//! The launcher: becomes the executable of the wanted layout, which is beside it, with the same arguments and pid.

use std::process::ExitCode;

fn main() -> ExitCode {
    simnode::launch()
}
