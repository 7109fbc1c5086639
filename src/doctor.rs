//! Whether `tap` and `export` would work here, and what to do if not. In: a node, or why none was found. Out: a
//! [`Report`] of checks, each with its words. Gathering facts and judging them are apart: the checks are pure.

mod facts;
mod machine;
mod target;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use serde::Serialize;

use crate::{Error, process::Node};
use facts::{Machine, Target};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Fine.
    Ok,
    /// It works, but there is something to know or to do.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be checked.
    Unknown,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name. The checks and their order are always the same.
    pub name: &'static str,
    /// Its result.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do, a line for each way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { name, status, detail: detail.into(), advice: None }
    }

    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, detail)
    }

    fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Warning, detail)
    }

    fn unknown(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Unknown, detail)
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Failed, detail)
    }

    /// An error itself says what to do.
    fn error(name: &'static str, error: &Error) -> Self {
        Self::failed(name, error.to_string())
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// All checks. Its text is for people, a line for each check; its JSON is for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    verdict: Status,
    checks: Vec<Check>,
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        let any = |status| checks.iter().any(|check| check.status == status);
        let verdict = match () {
            () if any(Status::Failed) => Status::Failed,
            () if any(Status::Warning) => Status::Warning,
            () => Status::Ok,
        };
        Self { verdict, checks }
    }

    /// [`Status::Failed`] if any check failed, else [`Status::Warning`] if there is any, else [`Status::Ok`].
    pub fn verdict(&self) -> Status {
        self.verdict
    }

    /// All that was looked at.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    fn names(&self, status: Status) -> Vec<&'static str> {
        self.checks.iter().filter(|check| check.status == status).map(|check| check.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        for Check { name, status, detail, advice } in &self.checks {
            let mark = match status {
                Status::Ok => "ok",
                Status::Warning => "warn",
                Status::Failed => "FAIL",
                Status::Unknown => "?",
            };
            writeln!(f, "{mark:4}  {name:width$}  {detail}")?;
            for line in advice.iter().flat_map(|advice| advice.lines()) {
                writeln!(f, "{:indent$}{line}", "", indent = 4 + 2 + width + 2 + 2)?;
            }
        }
        let about = |names: Vec<&str>| names.join(", ");
        match self.verdict {
            Status::Failed => {
                let failed = self.names(Status::Failed);
                let (line, say) = if failed.len() == 1 { ("line", "says") } else { ("lines", "say") };
                write!(f, "bitcointap does not work here yet: fix what the FAIL {line} {say}: {}", about(failed))
            }
            Status::Warning => write!(f, "bitcointap works here; look at: {}", about(self.names(Status::Warning))),
            Status::Ok | Status::Unknown => write!(f, "bitcointap works here"),
        }
    }
}

/// Checks the machine and `node`, and tries to attach. If no node was found, checks the named `program`, if any.
pub fn examine(node: Result<Node, Error>, program: Option<&Path>) -> Report {
    let machine = Machine::gather();
    let target = Target::gather(node, program, machine.may_load());
    Report::new(checks(&machine, &target))
}

fn checks(machine: &Machine, target: &Target) -> Vec<Check> {
    machine::checks(machine, target).into_iter().chain(target::checks(machine, target)).collect()
}
