//! `info`. In: recordings. Out: what is in them, as text or as a line of JSON for each.

mod text;

use bitcointap::{privileges, recording::Inspection};

use super::print;
use crate::{
    arguments::{InfoArgs, ReportFormat},
    progress::Bar,
    result::Result,
};

/// `info`: says what is in recordings. True if they are whole.
pub fn info(args: &InfoArgs) -> Result<bool> {
    let opened = args.inputs.iter().map(|path| Inspection::open(path)).collect::<Result<Vec<_>, _>>()?;
    privileges::drop_all()?;
    let mut are_whole = true;
    for (number, inspection) in opened.into_iter().enumerate() {
        let bar = Bar::new();
        let info = inspection.read(|progress, events| bar.show(progress, events))?;
        drop(bar);
        are_whole &= info.damage.is_empty();
        let text = match args.report.format {
            ReportFormat::Json => serde_json::to_string(&info)? + "\n",
            ReportFormat::Text if number > 0 => format!("\n{}", text::of(&info)),
            ReportFormat::Text => text::of(&info),
        };
        print(text.as_bytes())?;
    }
    Ok(are_whole)
}
