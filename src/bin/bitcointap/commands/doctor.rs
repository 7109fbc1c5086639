//! `doctor`. In: this machine, and a node. Out: a report.

use std::io::{self, Write};

use bitcointap::doctor;

use crate::{
    arguments::{DoctorArgs, ReportFormat},
    result::Result,
};

/// `doctor`: reports whether `tap` and `export` would work here, and what to fix. True if they would.
pub fn doctor(args: &DoctorArgs) -> Result<bool> {
    let report = doctor::examine(args.node.which().find(), args.node.named_program());
    let text = match args.format {
        ReportFormat::Text => report.to_string(),
        ReportFormat::Json => serde_json::to_string(&report)?,
    };
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(report.verdict() != doctor::Status::Failed),
    }
}
