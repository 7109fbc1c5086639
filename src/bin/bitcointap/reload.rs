//! What SIGHUP changes while `export` runs. In: SIGHUP, the configuration file, the files of address lists. Out: lists for metrics,
//! outputs that begin and end, the level of the log; and log lines about changes that need a restart.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use bitcointap::{flight_recorder::Recorder, metrics::AddressList, output::Change, privileges};

use crate::{
    address_lists::AddressListFile,
    arguments::{Cli, Command, ExportArgs, LogLevel, NamedOutput, words},
    log,
    signals::Received,
};

/// The sending ends for changes.
pub struct Changes {
    lists: Sender<AddressList>,
    outputs: Sender<Change>,
}

impl Changes {
    /// The sending ends, and the receiving ends.
    pub fn channels() -> (Self, (Receiver<AddressList>, Receiver<Change>)) {
        let ((lists, lists_read), (outputs, outputs_changed)) = (channel(), channel());
        (Self { lists, outputs }, (lists_read, outputs_changed))
    }
}

/// What runs now and can change.
struct Running {
    lists: Vec<AddressListFile>,
    outputs: Vec<NamedOutput>,
    config: Option<crate::arguments::Config>,
    level: Option<LogLevel>,
    recorder: Recorder,
    changes: Changes,
}

/// Starts a thread, without capabilities, that reads files again at each SIGHUP.
pub fn at_hangups(mut hangups: Received, args: &ExportArgs, recorder: Recorder, changes: Changes) -> io::Result<()> {
    let mut running = Running {
        lists: args.address_lists.clone(),
        outputs: args.outputs(),
        config: args.read.clone(),
        level: None,
        recorder,
        changes,
    };
    thread::Builder::new().name("reload".into()).spawn(move || {
        privileges::drop_all_of_thread();
        while hangups.wait().is_ok() {
            running.read_again();
        }
    })?;
    Ok(())
}

impl Running {
    fn read_again(&mut self) {
        if self.config.is_some() {
            match Cli::parse_arguments(std::env::args_os()) {
                Ok(Cli { command: Some(Command::Export(args)), log, .. }) => self.change(&args, log.level),
                Ok(_) => {}
                Err(error) => {
                    words(&error).lines().filter(|line| !line.is_empty()).for_each(|line| tracing::error!("{line}"));
                    tracing::error!("the configuration file is wrong; nothing changes");
                    return;
                }
            }
        } else if self.lists.is_empty() {
            tracing::info!("SIGHUP: there is nothing to read again, neither a configuration file nor an address list");
        }
        for file in &self.lists {
            match file.read() {
                // It fails only when bitcointap is ending.
                Ok(list) => drop(self.changes.lists.send(list)),
                Err(error) => tracing::error!(list = file.name(), "{error}; the address list stays as it was"),
            }
        }
    }

    fn change(&mut self, args: &ExportArgs, level: LogLevel) {
        let Some(config) = args.read.clone() else { return };
        // Only lists that were there at the start: metrics have families for these.
        for list in &mut self.lists {
            if let Some(file) = args.address_lists.iter().find(|file| file.name() == list.name()) {
                *list = file.clone();
            }
        }
        let names = |files: &[AddressListFile]| files.iter().map(|file| file.name().to_owned()).collect::<Vec<_>>();
        if names(&args.address_lists) != names(&self.lists) {
            tracing::warn!("adding or removing an address list needs a restart");
        }
        self.change_outputs(args.outputs());
        if self.level.replace(level) != Some(level) {
            log::set_level(level);
        }
        let before = self.config.replace(config);
        // What begins with these names is of outputs.
        let is_of_output = |name: &str| name == "flight-recorder" || name.starts_with("flight-recorder.");
        let takes_restart = |name: &&str| !["address-list", "log.level"].contains(name) && !is_of_output(name);
        let changed: Vec<&str> = match (&self.config, &before) {
            (Some(now), Some(before)) => now.changes(before).into_iter().filter(takes_restart).collect(),
            _ => Vec::new(),
        };
        tracing::info!(outputs = self.outputs.len(), "read the configuration file again");
        if !changed.is_empty() {
            tracing::warn!("changes of {} need a restart", changed.join(", "));
        }
    }

    fn change_outputs(&mut self, wanted: Vec<NamedOutput>) {
        let mut outputs = Vec::new();
        for old in &self.outputs {
            if !wanted.iter().any(|new| new.name == old.name) {
                self.send(&old.name, None);
                tracing::info!("the output {} has ended", old.name);
            }
        }
        for new in wanted {
            let old = self.outputs.iter().find(|old| old.name == new.name);
            if old.is_some_and(|old| old.is_as(&new)) {
                outputs.push(new);
                continue;
            }
            let start = |opened| new.start(opened, true, None, &self.recorder).map_err(|error| error.to_string());
            match new.open().and_then(start) {
                Ok(output) => {
                    self.send(&new.name, Some(output));
                    tracing::info!("the output {} has begun, to {}", new.name, new.place());
                    outputs.push(new);
                }
                Err(words) => {
                    tracing::error!("the output {}: {words}; it stays as it was", new.name);
                    outputs.extend(old.cloned());
                }
            }
        }
        self.outputs = outputs;
    }

    fn send(&self, name: &str, output: Option<Box<dyn bitcointap::output::Output + Send>>) {
        // It fails only when bitcointap is ending.
        let _ = self.changes.outputs.send(Change { name: name.to_owned(), output });
    }
}
