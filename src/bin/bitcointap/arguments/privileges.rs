//! Which capabilities to keep, and for how long.

use bitcointap::follow::DropCapabilities;
use clap::Args;

use super::NodeArgs;

#[derive(Debug, Args)]
#[command(next_help_heading = "Privileges")]
pub struct PrivilegeArgs {
    /// Capabilities to drop after attaching, even when run as root. Threads that do not attach have none from their
    /// start. The default is `keep-for-reattach` where bitcointap follows restarts, else `all`.
    #[arg(hide_short_help = true, long, value_name = "WHICH", value_enum)]
    drop_capabilities: Option<DropCapabilities>,
}

impl PrivilegeArgs {
    pub(super) fn or_by_default(&self, follows: bool, node: &NodeArgs) -> DropCapabilities {
        // A process id names one run.
        let has_next_run = follows && node.pid.is_none();
        let default = if has_next_run { DropCapabilities::KeepForReattach } else { DropCapabilities::All };
        self.drop_capabilities.unwrap_or(default)
    }

    pub(super) fn check(&self, follows: bool) -> Result<(), String> {
        match self.drop_capabilities {
            Some(DropCapabilities::All) if follows => {
                Err("--drop-capabilities all leaves no capabilities to attach to the node's next run: use \
                 keep-for-reattach"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Cli, Command};

    #[test]
    fn what_has_no_next_run_drops_all_capabilities() {
        let drops = |arguments: &str| {
            let arguments = ["bitcointap"].into_iter().chain(arguments.split_whitespace());
            let Cli { tap, command, .. } = Cli::parse_arguments(arguments).unwrap();
            match command {
                None => tap.drop_capabilities(),
                Some(Command::Tap(args)) => args.drop_capabilities(),
                Some(Command::Export(args)) => args.drop_capabilities(),
                Some(Command::Record(args)) => args.drop_capabilities(),
                Some(_) => panic!(),
            }
        };
        for all in ["", "tap --bitcoind p", "export --pid 1", "export --drop-capabilities all"] {
            assert_eq!(drops(all), DropCapabilities::All, "{all}");
        }
        for kept in ["--follow", "export", "export --pid-file f", "tap --drop-capabilities keep-for-reattach"] {
            assert_eq!(drops(kept), DropCapabilities::KeepForReattach, "{kept}");
        }
    }
}
