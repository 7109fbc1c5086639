//! The dashboards in `grafana/dashboards`, made from their definitions. In: nothing but the names of alerts in
//! `prometheus/bitcointap.rules.yml`. Out: JSON that Grafana reads. `make dashboards` writes the files anew; `tests/grafana.rs` checks them.

mod blocks;
mod dashboard;
mod exporter;
mod mempool;
mod messages;
mod overview;
mod panel;
mod peers;
mod promql;

use std::path::PathBuf;

pub use dashboard::{Dashboard, SCREEN, TAG};

/// In the order in which a reader meets them.
pub fn dashboards() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        messages::dashboard(),
        peers::dashboard(),
        mempool::dashboard(),
        blocks::dashboard(),
        exporter::dashboard(),
    ]
}

/// The file of each dashboard, and its contents.
pub fn files() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards"));
    let file = |dashboard: Dashboard| {
        let json = serde_json::to_string_pretty(&dashboard.json()).expect("JSON can be written");
        (folder.join(format!("{}.json", dashboard.uid)), json + "\n")
    };
    dashboards().into_iter().map(file).collect()
}
