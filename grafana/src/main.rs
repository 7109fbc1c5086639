//! Writes the dashboards to their files.

use std::{fs, io};

fn main() -> io::Result<()> {
    for (path, json) in bitcointap_dashboards::files() {
        fs::write(&path, json)?;
        println!("{}", path.display());
    }
    Ok(())
}
