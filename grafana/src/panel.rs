//! A panel of a dashboard. In: what it shows, a line or two. Out: the JSON that Grafana reads.
//!
//! Queries are PromQL with `'` for `"`. They do not choose nodes: [`of_chosen_nodes`] adds that to each family.

use serde_json::{Map, Value, json};

/// The visualisations of Grafana in use here.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Stat,
    Graph,
    Bars,
    Heatmap,
    States,
    Table,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Graph => "timeseries",
            Self::Bars => "bargauge",
            Self::Heatmap => "heatmap",
            Self::States => "state-timeline",
            Self::Table => "table",
        }
    }

    /// Columns, of 24, and rows.
    fn size(self) -> (u32, u32) {
        match self {
            Self::Stat => (4, 4),
            Self::Graph | Self::Heatmap => (12, 8),
            Self::Bars => (8, 9),
            Self::States => (24, 6),
            Self::Table => (16, 8),
        }
    }

    /// Shows one number for each series instead of its course.
    fn is_instant(self) -> bool {
        match self {
            Self::Bars | Self::Table => true,
            Self::Stat | Self::Graph | Self::Heatmap | Self::States => false,
        }
    }
}

struct Query {
    legend: String,
    promql: String,
}

#[must_use]
pub struct Panel {
    kind: Kind,
    title: &'static str,
    about: String,
    unit: &'static str,
    queries: Vec<Query>,
    size: (u32, u32),
    is_stacked: bool,
    is_from_zero: bool,
    /// For stats: the value and the colour at which a warning begins.
    warning: Option<(f64, &'static str)>,
    states: Option<[&'static str; 2]>,
    shows_name: bool,
    colours: Vec<(&'static str, &'static str)>,
    /// A pattern: matching legends are drawn below the axis.
    below: Option<&'static str>,
    leads_to: Option<(&'static str, &'static str)>,
    columns: Vec<Column>,
}

/// A column of a table: a query's value, or a label.
struct Column {
    name: &'static str,
    /// `None` for a label.
    unit: Option<&'static str>,
    warning: Option<(f64, &'static str)>,
    states: Option<[&'static str; 2]>,
}

fn panel(kind: Kind, title: &'static str, about: &str, unit: &'static str) -> Panel {
    Panel {
        kind,
        title,
        about: about.to_owned(),
        unit,
        queries: Vec::new(),
        size: kind.size(),
        is_stacked: false,
        is_from_zero: true,
        warning: None,
        states: None,
        shows_name: false,
        colours: Vec::new(),
        below: None,
        leads_to: None,
        columns: Vec::new(),
    }
}

/// Big numbers, with the course behind them.
pub fn stat(title: &'static str, about: &str, unit: &'static str) -> Panel {
    panel(Kind::Stat, title, about, unit)
}

/// Lines over time.
pub fn graph(title: &'static str, about: &str, unit: &'static str) -> Panel {
    panel(Kind::Graph, title, about, unit)
}

/// Totals of the whole time range, longest first, to go with rates.
pub fn bars(title: &'static str, about: &str, unit: &'static str) -> Panel {
    panel(Kind::Bars, title, about, unit)
}

/// A histogram over time; `family` may choose labels.
pub fn heatmap(title: &'static str, about: &str, unit: &'static str, family: &str) -> Panel {
    let (name, labels) = family.split_at(family.find('{').unwrap_or(family.len()));
    let promql = format!("sum by (le) (rate({name}_bucket{labels}[$__rate_interval]))");
    panel(Kind::Heatmap, title, about, unit).query("{{le}}", &promql)
}

/// When something was so, and when not: names for 0 and 1.
pub fn states(title: &'static str, about: &str, names: [&'static str; 2]) -> Panel {
    Panel { states: Some(names), ..panel(Kind::States, title, about, "none") }
}

/// A row for each instance or other set of labels; columns follow.
pub fn table(title: &'static str, about: &str) -> Panel {
    panel(Kind::Table, title, about, "none")
}

impl Panel {
    /// A table's column with the value of a query. The query must sum away labels other than those of the rows.
    pub fn column(mut self, name: &'static str, unit: &'static str, promql: &str) -> Self {
        self.columns.push(Column { name, unit: Some(unit), warning: None, states: None });
        self.query(name, promql)
    }

    /// A table's column with a label.
    pub fn label(mut self, name: &'static str) -> Self {
        self.columns.push(Column { name, unit: None, warning: None, states: None });
        self
    }

    /// The last column is coloured from here on.
    pub fn column_warns_from(mut self, value: f64, colour: &'static str) -> Self {
        self.columns.last_mut().expect("there is a column").warning = Some((value, colour));
        self
    }

    /// The last column is 0 or 1.
    pub fn column_with_states(mut self, names: [&'static str; 2]) -> Self {
        self.columns.last_mut().expect("there is a column").states = Some(names);
        self
    }

    /// Any PromQL; `legend` may name labels as `{{label}}`.
    pub fn query(mut self, legend: &str, promql: &str) -> Self {
        self.queries.push(Query { legend: legend.to_owned(), promql: promql.to_owned() });
        self
    }

    /// A counter's rate by labels.
    pub fn rate(self, by: &str, counter: &str) -> Self {
        let promql = format!("{}(rate({counter}[$__rate_interval]))", sum(by));
        self.query(&legend(by), &promql)
    }

    /// A counter's hourly rate by labels, for what is rare.
    pub fn hourly(self, by: &str, counter: &str) -> Self {
        let promql = format!("3600 * {}(rate({counter}[$__rate_interval]))", sum(by));
        self.query(&legend(by), &promql)
    }

    /// A counter's increase over the time range by labels, of those that increased; at most 25.
    pub fn total(self, by: &str, counter: &str) -> Self {
        let promql = format!("sort_desc(topk(25, {}(increase({counter}[$__range])) > 0))", sum(by));
        self.query(&legend(by), &promql)
    }

    /// The same for a counter with series that appear with their first event. No increase includes that event, so these
    /// count with their current value.
    pub fn total_with_new(self, by: &str, counter: &str) -> Self {
        let promql = format!("sort_desc(topk(25, {} > 0))", increase_with_new(by, counter));
        self.query(&legend(by), &promql)
    }

    /// Median and upper quantiles of a histogram.
    pub fn quantiles(mut self, histogram: &str) -> Self {
        let (name, labels) = histogram.split_at(histogram.find('{').unwrap_or(histogram.len()));
        for (legend, quantile) in [("median", 0.5), ("90 %", 0.9), ("99 %", 0.99)] {
            let promql =
                format!("histogram_quantile({quantile}, sum by (le) (rate({name}_bucket{labels}[$__rate_interval])))");
            self = self.query(legend, &promql);
        }
        self
    }

    /// Names the last query, if its legend has no labels.
    pub fn named(mut self, legend: &str) -> Self {
        self.queries.last_mut().expect("there is a query").legend = legend.to_owned();
        self
    }

    /// Draws each query so far again, a day or a week earlier, as the reader chooses.
    pub fn beside_before(mut self) -> Self {
        for index in 0..self.queries.len() {
            let Query { legend, promql } = &self.queries[index];
            let (legend, promql) = (format!("{legend} ($before before)"), before(promql));
            self.queries.push(Query { legend, promql });
        }
        self
    }

    /// Columns, of 24, and rows.
    pub fn size(mut self, columns: u32, rows: u32) -> Self {
        self.size = (columns, rows);
        self
    }

    pub fn stacked(mut self) -> Self {
        self.is_stacked = true;
        self
    }

    /// A graph with an axis that begins where its values do.
    pub fn not_from_zero(mut self) -> Self {
        self.is_from_zero = false;
        self
    }

    /// A stat is green below this value, and has this colour from it on.
    pub fn warns_from(mut self, value: f64, colour: &'static str) -> Self {
        self.warning = Some((value, colour));
        self
    }

    /// A stat with names for its values 0 and 1.
    pub fn with_states(mut self, names: [&'static str; 2]) -> Self {
        self.states = Some(names);
        self
    }

    /// A stat that shows its legend, not its value.
    pub fn shows_name(mut self) -> Self {
        self.shows_name = true;
        self
    }

    /// The colours of legends that mean something.
    pub fn colours(mut self, colours: &[(&'static str, &'static str)]) -> Self {
        self.colours.extend(colours);
        self
    }

    /// Draws matching legends below the axis.
    pub fn below(mut self, pattern: &'static str) -> Self {
        self.below = Some(pattern);
        self
    }

    /// Older nodes lack the tracepoint.
    pub fn since(mut self, release: &str) -> Self {
        self.about += &format!(" Needs a node of Bitcoin Core {release} or later.");
        self
    }

    /// Absent by default.
    pub fn option(mut self, option: &str) -> Self {
        self.about += &format!(" Needs `bitcointap export {option}`.");
        self
    }

    /// A link to another dashboard: its uid and title.
    pub fn leads_to(mut self, uid: &'static str, title: &'static str) -> Self {
        self.leads_to = Some((uid, title));
        self
    }

    pub(super) fn columns_and_rows(&self) -> (u32, u32) {
        self.size
    }

    pub(super) fn json(&self, id: u32, x: u32, y: u32) -> Value {
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

fn sum(by: &str) -> String {
    if by.is_empty() { "sum".to_owned() } else { format!("sum by ({by}) ") }
}

/// The increase of a counter of reasons or names in the time range, with those that are new in it.
pub fn increase_with_new(by: &str, counter: &str) -> String {
    format!(
        "{}(increase({counter}[$__range]) and {counter} offset $__range or last_over_time({counter}[$__range]))",
        sum(by)
    )
}

fn legend(by: &str) -> String {
    by.split(", ")
        .filter(|label| !label.is_empty())
        .map(|label| format!("{{{{{label}}}}}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The query with each family restricted by `$job` and `$instance`.
pub fn of_chosen_nodes(promql: &str) -> String {
    let mut chosen = String::new();
    for_each_family(promql, |text, family, labels, range| {
        let comma = if labels.is_empty() { "" } else { ", " };
        chosen += &format!("{text}{family}");
        if !family.is_empty() {
            chosen += &format!("{{job=~\"$job\", instance=~\"$instance\"{comma}{labels}}}{range}");
        }
    });
    chosen.replace('\'', "\"")
}

/// The same query for an earlier time.
fn before(promql: &str) -> String {
    let mut earlier = String::new();
    for_each_family(promql, |text, family, labels, range| {
        earlier += &format!("{text}{family}");
        if !family.is_empty() {
            earlier += &format!("{{{labels}}}{range} offset $before");
        }
    });
    earlier
}

/// Calls `each` with the text before a family, its name, its braces' contents, and its range; at the end with the rest
/// alone.
fn for_each_family(promql: &str, mut each: impl FnMut(&str, &str, &str, &str)) {
    let mut rest = promql;
    while let Some(start) = ["bitcointap_", "process_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        let (text, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
        let (family, mut after) = from.split_at(end);
        let mut labels = "";
        if let Some((inside, outside)) = after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            (labels, after) = (inside, outside);
        }
        let range = if after.starts_with('[') { after.find(']').map_or(0, |end| end + 1) } else { 0 };
        each(text, family, labels, &after[..range]);
        // An offset belongs to its family.
        rest = &after[range..];
    }
    each(rest, "", "", "");
}
