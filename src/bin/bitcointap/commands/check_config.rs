//! `check-config`. In: a configuration file of `export`. Out: a line that it is right, with warnings of what may be misspelled, or the
//! errors in it, in the files that it names and in the destinations of outputs.

use std::{ffi::OsStr, path::Path};

use super::print;
use crate::{
    arguments::{Cli, Command, words},
    result::Result,
};

/// `check-config`: checks whether `export --config` would accept the file.
pub fn check_config(file: &Path) -> Result<()> {
    let arguments = ["bitcointap", "export", "--config"].map(OsStr::new).into_iter().chain([file.as_os_str()]);
    let cli = Cli::parse_arguments(arguments).map_err(|error| words(&error))?;
    let Some(Command::Export(args)) = &cli.command else { unreachable!("the arguments name export") };
    let config = args.read.as_ref().expect("the arguments name a configuration file");
    let mut errors = Vec::new();
    for list in &args.address_lists {
        if let Err(error) = list.addresses() {
            errors.push(config.wrong(&format!("--address-list={}=", list.name()), &error.to_string()));
        }
    }
    if let Err(words) = args.gate() {
        errors.push(config.wrong("--web.config.file=", &words));
    }
    let outputs = args.outputs();
    errors.extend(outputs.iter().filter_map(|output| output.check(config).err()));
    if !errors.is_empty() {
        return Err(errors.join("\n").into());
    }
    outputs.iter().flat_map(|output| output.doubts(config)).for_each(|doubt| tracing::warn!("{doubt}"));
    print(format!("{} is right\n", file.display()).as_bytes())
}
