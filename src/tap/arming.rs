//! Attaches to tracepoints, and reads in the node's memory whether they are armed: the kernel also accepts attachments to a file that
//! nobody runs. In: a node, the probes of its program, and the maps. Out: attachments that are armed, as far as we may read.

use std::{
    io,
    path::{Path, PathBuf},
};

use libbpf_rs::Object;
use rustix::io::Errno;

use super::{attachment::Attachment, detach_all, overlay};
use crate::{
    node::error::Error,
    node::memory,
    node::probes::{self, Probe},
    node::process::Node,
    tracepoint::Tracepoint,
};

/// What to attach to.
pub(super) struct Wanted<'a> {
    pub node: &'a Node,
    pub probes: &'a [(Tracepoint, &'a Probe)],
    pub shared: &'a Object,
}

/// The result of attaching.
#[derive(Default)]
pub(super) struct Armed {
    pub attachments: Vec<(Tracepoint, Attachment)>,
    pub failures: Vec<(Tracepoint, Error)>,
    /// Why we do not know whether the attachments are armed.
    pub unverified: Option<Error>,
}

impl Wanted<'_> {
    /// Attaches to all probes that it can.
    ///
    /// # Errors
    /// Attaching to all of them failed. Gives the error of the first: if all fail, they fail for the same reason.
    pub(super) fn arm(&self) -> Result<Armed, Error> {
        let mut file = self.node.executable();
        let mut armed = self.begin(&file);
        let is_unarmed = armed.attachments.is_empty() && !armed.failures.is_empty();
        let lower_files = is_unarmed.then(|| overlay::lower_files(self.node)).flatten();
        if let Some((lower_file, by_it)) = lower_files.iter().flatten().find_map(|file| self.begin_below(file)) {
            tracing::debug!(file = %lower_file.display(), "the node runs a file below its overlay file system");
            (file, armed) = (lower_file, by_it);
        }
        let tried = armed.attachments.len() + armed.failures.len();
        for one in &self.probes[tried..] {
            self.attach(one, &file, &mut armed);
        }
        let mut armed = self.look(armed);
        if !armed.attachments.is_empty() {
            return Ok(armed);
        }
        let (_, error) = armed.failures.swap_remove(0);
        Err(match error {
            Error::NotArmed(_) if lower_files.is_some() => Error::CopiedUp(self.node.program.clone()),
            error => error,
        })
    }

    /// Attaches to one probe, to find out whether the node runs `file`.
    fn begin(&self, file: &Path) -> Armed {
        let mut armed = Armed::default();
        for one in self.probes {
            self.attach(one, file, &mut armed);
            if !armed.attachments.is_empty() {
                break;
            }
        }
        self.look(armed)
    }

    fn begin_below(&self, file: &Path) -> Option<(PathBuf, Armed)> {
        let found = probes::read(file).ok()?;
        let is_the_same = self.probes.iter().all(|(_, probe)| found.contains(probe));
        let armed = is_the_same.then(|| self.begin(file))?;
        (!armed.attachments.is_empty()).then(|| (file.to_owned(), armed))
    }

    fn attach(&self, &(tracepoint, probe): &(Tracepoint, &Probe), file: &Path, armed: &mut Armed) {
        match Attachment::new(tracepoint, probe, self.shared, self.node.pid, file) {
            Ok(attachment) => armed.attachments.push((tracepoint, attachment)),
            Err(error) => armed.failures.push((tracepoint, error)),
        }
    }

    /// Reads the node's memory, and detaches what is not armed there.
    fn look(&self, armed: Armed) -> Armed {
        let Armed { attachments, mut failures, .. } = armed;
        let is_attached = |tracepoint| attachments.iter().any(|&(attached, _)| attached == tracepoint);
        let attached: Vec<_> = self.probes.iter().filter(|&&(tracepoint, _)| is_attached(tracepoint)).collect();
        let seen = match memory::look(self.node, attached.iter().map(|(_, probe)| *probe)) {
            Ok(seen) => seen,
            Err(error) => return Armed { attachments, failures, unverified: Some(error) },
        };
        let looks = |wanted: Option<bool>| -> Vec<Tracepoint> {
            let those = attached.iter().zip(&seen).filter(|(_, seen)| seen.is_armed() == wanted);
            those.map(|((tracepoint, _), _)| *tracepoint).collect()
        };
        let unarmed = looks(Some(false));
        if !unarmed.is_empty() && !self.node.still_runs() {
            // We have read the memory of another program, or of none.
            let unverified = Some(Error::PidGone(self.node.pid));
            return Armed { attachments, failures, unverified };
        }
        let unverified = (!looks(None).is_empty()).then(|| Error::Memory(io::Error::from(Errno::FAULT)));
        let (let_go, attachments) =
            attachments.into_iter().partition::<Vec<_>, _>(|(tracepoint, _)| unarmed.contains(tracepoint));
        detach_all(let_go);
        failures.extend(unarmed.into_iter().map(|tracepoint| (tracepoint, Error::NotArmed(tracepoint))));
        Armed { attachments, failures, unverified }
    }
}
