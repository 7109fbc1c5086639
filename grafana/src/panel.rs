//! A panel of a dashboard. In: what it shows, a line or two. Out: the panel, which `panel/json.rs` writes as Grafana reads it.
//!
//! Queries are PromQL with `'` for `"`. They do not choose nodes: [`promql::of_chosen_nodes`](crate::promql::of_chosen_nodes) adds
//! that to each family.

mod json;

pub use self::json::data_source;
use crate::promql::{before, increase_with_new, legend, sum};

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
}
