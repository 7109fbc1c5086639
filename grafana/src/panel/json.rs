//! A panel as Grafana reads it. In: a panel, its number and its place on the dashboard. Out: its JSON.

use serde_json::{Map, Value, json};

use super::{Column, Kind, Panel, Query};
use crate::promql::of_chosen_nodes;

impl Panel {
    pub(crate) fn json(&self, id: u32, x: u32, y: u32) -> Value {
        let mut panel = json!({
            "id": id,
            "type": self.kind.name(),
            "title": self.title,
            "description": self.about,
            "datasource": data_source(),
            "gridPos": { "h": self.size.1, "w": self.size.0, "x": x, "y": y },
            "fieldConfig": { "defaults": self.field(), "overrides": self.overrides() },
            "options": self.options(),
            "targets": self.targets(),
        });
        if let Some((uid, title)) = self.leads_to {
            let url = format!("/d/{uid}?${{__url_time_range}}&${{__all_variables}}");
            panel["links"] = json!([{ "title": title, "url": url }]);
        }
        if self.kind == Kind::Table {
            panel["transformations"] = self.transformations();
        }
        panel
    }

    fn targets(&self) -> Vec<Value> {
        let format = match self.kind {
            Kind::Heatmap => "heatmap",
            Kind::Table => "table",
            Kind::Stat | Kind::Graph | Kind::Bars | Kind::States => "time_series",
        };
        let target = |(query, ref_id): (&Query, char)| {
            json!({
                "refId": ref_id.to_string(),
                "datasource": data_source(),
                "editorMode": "code",
                "expr": of_chosen_nodes(&query.promql),
                "legendFormat": query.legend,
                "format": format,
                "instant": self.kind.is_instant(),
                "range": !self.kind.is_instant(),
            })
        };
        self.queries.iter().zip('A'..='Z').map(target).collect()
    }

    /// For a table: one row for the values of all queries with the same labels, columns in their order.
    fn transformations(&self) -> Value {
        let mut ref_ids = 'A'..='Z';
        let (mut names, mut places) = (Map::new(), Map::new());
        for (place, Column { name, unit, .. }) in self.columns.iter().enumerate() {
            // Grafana's names for a label, and for the value of one of several queries.
            let field = match unit {
                None => name.to_lowercase(),
                Some(_) => format!("Value #{}", ref_ids.next().expect("there are fewer queries")),
            };
            places.insert(field.clone(), json!(place));
            names.insert(field, json!(name));
        }
        let hidden = json!({ "Time": true, "Value": true });
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": hidden, "indexByName": places, "renameByName": names } },
        ])
    }

    fn field(&self) -> Value {
        let mut field = json!({ "unit": self.unit, "color": { "mode": "palette-classic" } });
        let step = |value: Option<f64>, colour: &str| json!({ "value": value, "color": colour });
        match self.kind {
            Kind::Graph => {
                if self.is_from_zero && self.below.is_none() {
                    field["min"] = json!(0);
                }
                field["custom"] = json!({
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": if self.is_stacked { 40 } else { 8 },
                    "showPoints": "auto",
                    "pointSize": 3,
                    "spanNulls": false,
                    "stacking": { "mode": if self.is_stacked { "normal" } else { "none" }, "group": "A" },
                });
            }
            Kind::Bars => {
                field["min"] = json!(0);
                field["color"] = json!({ "mode": "continuous-BlPu" });
            }
            Kind::Stat => field["color"] = json!({ "mode": "fixed", "fixedColor": "blue" }),
            Kind::States => field["custom"] = json!({ "fillOpacity": 70, "lineWidth": 0 }),
            Kind::Table => field["custom"] = json!({ "align": "auto", "cellOptions": { "type": "auto" } }),
            Kind::Heatmap => {}
        }
        if let Some((value, colour)) = self.warning {
            field["color"] = json!({ "mode": "thresholds" });
            field["thresholds"] =
                json!({ "mode": "absolute", "steps": [step(None, "green"), step(Some(value), colour)] });
        }
        if let Some([no, yes]) = self.states {
            field["color"] = json!({ "mode": "thresholds" });
            field["thresholds"] = json!({ "mode": "absolute", "steps": [step(None, "red"), step(Some(1.0), "green")] });
            field["mappings"] = mappings([no, yes]);
        }
        field
    }

    fn overrides(&self) -> Vec<Value> {
        let by = |id: &str, pattern: &str, properties: Value| {
            let matcher = json!({ "id": id, "options": pattern });
            json!({ "matcher": matcher, "properties": properties })
        };
        let mut overrides = Vec::new();
        for Column { name, unit, warning, states } in &self.columns {
            let mut properties = Vec::new();
            let mut property = |id: &str, value: Value| properties.push(json!({ "id": id, "value": value }));
            if let Some(unit) = unit {
                property("unit", json!(unit));
            }
            if let Some((value, colour)) = warning {
                let steps = json!([{ "value": null, "color": "text" }, { "value": value, "color": colour }]);
                property("thresholds", json!({ "mode": "absolute", "steps": steps }));
                property("color", json!({ "mode": "thresholds" }));
                property("custom.cellOptions", json!({ "type": "color-text" }));
            }
            if let Some(states) = states {
                property("mappings", mappings(*states));
                property("custom.cellOptions", json!({ "type": "color-background" }));
            }
            if !properties.is_empty() {
                overrides.push(by("byName", name, json!(properties)));
            }
        }
        for (legend, colour) in &self.colours {
            let colour = json!([{ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } }]);
            overrides.push(by("byName", legend, colour));
        }
        if let Some(pattern) = self.below {
            let below = json!([{ "id": "custom.transform", "value": "negative-Y" }]);
            overrides.push(by("byRegexp", pattern, below));
        }
        if self.queries.iter().any(|query| query.promql.contains("$before")) {
            let faint = json!([
                { "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [6, 6] } },
                { "id": "custom.fillOpacity", "value": 0 },
                { "id": "custom.stacking", "value": { "mode": "none", "group": "before" } },
                { "id": "color", "value": { "mode": "fixed", "fixedColor": "#8e8e8e" } },
            ]);
            overrides.push(by("byRegexp", "/ before\\)$/", faint));
        }
        overrides
    }

    fn options(&self) -> Value {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.kind {
            Kind::Stat => json!({
                "colorMode": if self.states.is_some() { "background" } else { "value" },
                "graphMode": if self.states.is_some() || self.shows_name { "none" } else { "area" },
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": reduce,
                "textMode": if self.shows_name { "name" } else { "auto" },
                "wideLayout": true,
            }),
            Kind::Graph => {
                let legend = json!({
                    "showLegend": true,
                    "displayMode": "table",
                    "placement": "bottom",
                    "calcs": ["lastNotNull", "mean", "max"],
                    "sortBy": "Mean",
                    "sortDesc": true,
                });
                json!({ "legend": legend, "tooltip": { "mode": "multi", "sort": "desc" } })
            }
            Kind::Bars => json!({
                "displayMode": "gradient",
                "orientation": "horizontal",
                "reduceOptions": reduce,
                "showUnfilled": true,
                "valueMode": "color",
                "minVizHeight": 10,
                "minVizWidth": 8,
            }),
            // Buckets come as they are, and empty ones are left blank.
            Kind::Heatmap => json!({
                "calculate": false,
                "cellGap": 1,
                "color": {
                    "mode": "scheme",
                    "scheme": "Turbo",
                    "fill": "dark-orange",
                    "exponent": 0.5,
                    "steps": 64,
                    "reverse": false,
                },
                "filterValues": { "le": 1e-9 },
                "rowsFrame": { "layout": "auto" },
                "yAxis": { "axisPlacement": "left", "unit": self.unit },
                "legend": { "show": true },
                "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": true },
                "exemplars": { "color": "rgba(255,0,255,0.7)" },
            }),
            Kind::Table => json!({ "showHeader": true, "cellHeight": "sm", "footer": { "show": false } }),
            Kind::States => json!({
                "mergeValues": true,
                "showValue": "auto",
                "alignValue": "left",
                "rowHeight": 0.9,
                "legend": { "showLegend": false, "displayMode": "list", "placement": "bottom", "calcs": [] },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
        }
    }
}

fn mappings([no, yes]: [&str; 2]) -> Value {
    json!([{ "type": "value", "options": {
        "0": { "index": 0, "text": no, "color": "red" },
        "1": { "index": 1, "text": yes, "color": "green" },
    } }])
}

/// The data source that the reader chose.
pub fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}
