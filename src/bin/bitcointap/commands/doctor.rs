//! `doctor`. In: this machine, and a node. Out: a report.

use bitcointap::doctor;

use super::print;
use crate::{
    arguments::{DoctorArgs, ReportFormat},
    result::Result,
};

/// `doctor`: reports whether `tap` and `export` would work here, and what to fix. True if they would.
pub fn doctor(args: &DoctorArgs) -> Result<bool> {
    let report = doctor::examine(args.node.which().find(), args.node.named_program());
    let text = match args.report.format {
        ReportFormat::Text => report.to_string(),
        ReportFormat::Json => serde_json::to_string(&report)?,
    };
    print(format!("{text}\n").as_bytes())?;
    Ok(report.verdict() != doctor::Status::Failed)
}
