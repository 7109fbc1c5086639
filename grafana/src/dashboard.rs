//! A dashboard: rows of panels, and what all dashboards have in common. In: its panels. Out: the JSON that Grafana
//! reads, with the panels laid out from left to right.

use serde_json::{Value, json};

use crate::{
    panel::{Panel, data_source},
    promql::of_chosen_nodes,
};

/// Every dashboard has this tag, and links lead to all dashboards with it.
pub const TAG: &str = "bitcointap";

/// The version of the format that Grafana 11 writes. Later ones read it, too.
const SCHEMA_VERSION: u32 = 39;

const COLUMNS: u32 = 24;

/// How many rows of the grid fit on the first screen. A row of panels is collapsed if its first panels do not fit.
pub const SCREEN: u32 = 24;

pub struct Dashboard {
    /// The name in links and of the file: it never changes.
    pub uid: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// The time range up to now, and how often to refresh.
    pub range: &'static str,
    pub refresh: &'static str,
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Dashboard {
    pub fn json(&self) -> Value {
        let panels = self.panels();
        json!({
            "uid": self.uid,
            "title": format!("bitcointap: {}", self.title),
            "description": self.about,
            "tags": [TAG, "bitcoin"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": true,
            "graphTooltip": 1,
            "time": { "from": format!("now-{}", self.range), "to": "now" },
            "timepicker": {},
            "timezone": "browser",
            "refresh": self.refresh,
            "links": [{
                "type": "dashboards",
                "title": "bitcointap",
                "tags": [TAG],
                "asDropdown": false,
                "includeVars": true,
                "keepTime": true,
                "targetBlank": false,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }],
            "annotations": { "list": annotations() },
            "templating": { "list": variables(&panels) },
            "panels": panels,
        })
    }

    fn panels(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let mut ids = 1..;
        let mut id = || ids.next().expect("there are enough");
        let mut top = 0;
        for (title, row) in &self.rows {
            let place = json!({ "h": 1, "w": COLUMNS, "x": 0, "y": top });
            let is_collapsed = top + 1 + row[0].columns_and_rows().1 > SCREEN;
            let mut header = json!({
                "id": id(), "type": "row", "title": title, "collapsed": is_collapsed, "gridPos": place, "panels": [],
            });
            let (mut x, mut y, mut height) = (0, top + 1, 0);
            let mut of_row = Vec::new();
            for panel in row {
                let (columns, rows) = panel.columns_and_rows();
                if x + columns > COLUMNS {
                    y += height;
                    (x, height) = (0, 0);
                }
                of_row.push(panel.json(id(), x, y));
                x += columns;
                height = height.max(rows);
            }
            // Grafana keeps the panels of a collapsed row within the row.
            if is_collapsed {
                header["panels"] = of_row.into();
                panels.push(header);
                top += 1;
            } else {
                panels.push(header);
                panels.append(&mut of_row);
                top = y + height;
            }
        }
        panels
    }
}

/// What the reader chooses: the data source, the nodes, and the time to compare with if any panel compares.
fn variables(panels: &[Value]) -> Vec<Value> {
    let of_label = |name: &str, label: &str, text: &str| {
        json!({
            "name": name,
            "label": label,
            "type": "query",
            "datasource": data_source(),
            "query": { "query": text, "refId": name },
            "definition": text,
            "multi": true,
            "includeAll": true,
            "allValue": ".+",
            "current": { "text": ["All"], "value": ["$__all"] },
            "options": [],
            "refresh": 2,
            "sort": 1,
            "regex": "",
            "hide": 0,
        })
    };
    let choice =
        |text: &str, value: &str, selected: bool| json!({ "text": text, "value": value, "selected": selected });
    let mut variables = vec![
        json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "multi": false,
            "includeAll": false,
            "current": {},
            "options": [],
            "refresh": 1,
            "regex": "",
            "hide": 0,
        }),
        of_label("job", "Job", "label_values(bitcointap_build_info, job)"),
        of_label("instance", "Instance", "label_values(bitcointap_build_info{job=~\"$job\"}, instance)"),
    ];
    if panels.iter().any(|panel| panel.to_string().contains("$before")) {
        variables.push(json!({
            "name": "before",
            "label": "Compare with",
            "type": "custom",
            "query": "a day : 1d, a week : 1w, four weeks : 4w",
            "multi": false,
            "includeAll": false,
            "current": choice("a day", "1d", true),
            "options": [choice("a day", "1d", true), choice("a week", "1w", false), choice("four weeks", "4w", false)],
            "hide": 0,
        }));
    }
    variables
}

/// Marks on all panels that explain changes.
fn annotations() -> Value {
    let annotation = |name: &str, colour: &str, promql: &str, text: &str, value_is_time: bool| {
        let expr = of_chosen_nodes(promql);
        json!({
            "name": name,
            "datasource": data_source(),
            "enable": true,
            "hide": false,
            "iconColor": colour,
            "expr": expr,
            "target": { "expr": expr, "refId": "A", "range": true, "instant": false },
            "titleFormat": name,
            "textFormat": text,
            "tagKeys": "instance",
            "step": "30s",
            "useValueForTime": value_is_time,
        })
    };
    json!([
        {
            "name": "Annotations & Alerts",
            "builtIn": 1,
            "type": "dashboard",
            "datasource": { "type": "grafana", "uid": "-- Grafana --" },
            "enable": true,
            "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)",
        },
        annotation(
            "Node started",
            "blue",
            "1000 * bitcointap_node_start_time_seconds",
            "The node of {{instance}} started",
            true,
        ),
        annotation(
            "Attached",
            "green",
            "increase(bitcointap_attachments_total[$__rate_interval]) > 0",
            "bitcointap at {{instance}} attached to a node",
            false,
        ),
        annotation(
            "Events lost",
            "red",
            "sum by (instance, tracepoint, reason) (increase(bitcointap_events_lost_total[$__rate_interval])) > 0",
            "{{instance}} lost events of {{tracepoint}} ({{reason}}): their counters are too low",
            false,
        ),
    ])
}
