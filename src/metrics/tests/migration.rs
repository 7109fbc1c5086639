//! docs/migration.md against the code. In: the page; its tables are the only list of what became of other exporters'
//! families. Out: claims that the families of bitcointap that it names exist, and that it names each family of the
//! others once.

use std::collections::BTreeSet;

use prometheus::proto::MetricType;

use crate::metrics::{family::Defined, testing::everything_and_a_list, *};

const PAGE: &str = include_str!("../../../docs/migration.md");

/// Labels whose values the operator chooses.
const OPERATORS_LABELS: [&str; 1] = ["list"];

/// `bitcointap_name{label="value",…}`, with or without the braces.
struct Selector<'a> {
    /// Without the prefix.
    name: &'a str,
    /// Label, operator and value of each.
    matchers: Vec<[&'a str; 3]>,
}

/// All selectors of the page, in tables or not. The prefix alone is none.
fn selectors() -> Vec<Selector<'static>> {
    let after_prefix = PAGE.split("bitcointap_").skip(1);
    let selectors = after_prefix.map(|text| {
        let (name, rest) = text.split_at(text.find(|c: char| !is_of_name(c)).unwrap_or(text.len()));
        let braces = rest.strip_prefix('{').map(|rest| rest.split_once('}').expect("a brace is closed").0);
        Selector { name, matchers: braces.map_or(Vec::new(), |matchers| matchers.split(',').map(matcher).collect()) }
    });
    selectors.filter(|selector| !selector.name.is_empty()).collect()
}

fn matcher(text: &str) -> [&str; 3] {
    let (label, rest) = text.split_at(text.find(|c: char| !is_of_name(c)).expect("a label has an operator"));
    let (operator, value) = rest.split_once('"').expect("a value is quoted");
    let value = value.strip_suffix('"').expect("a value is quoted");
    // A bound may have been scraped as a whole number or not.
    let value = if (label, operator) == ("le", "=~") {
        value.strip_suffix("([.]0)?").expect("a whole bound")
    } else {
        assert!(["=", "!="].contains(&operator), "{text}: values can only be checked as they are");
        value
    };
    [label, operator, value]
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// The cells of each row of each table, without its head.
fn rows() -> Vec<Vec<&'static str>> {
    let lines: Vec<_> = PAGE.lines().collect();
    let is_row = |line: &&str| line.starts_with("| ");
    // A head is a row before a line of dashes.
    let rows = lines.windows(2).filter(|pair| is_row(&pair[0]) && !pair[1].starts_with("|-")).map(|pair| pair[0]);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What a cell has in backticks.
fn code(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// The family, and the part of a histogram that is meant, if it is one.
fn find<'a>(metrics: &'a Metrics, name: &'static str) -> Option<(&'a Defined, &'static str)> {
    let defined = &metrics.registered.defined;
    let of_histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| {
        let family = defined.get(name.strip_suffix(part)?)?;
        (family.kind() == MetricType::HISTOGRAM).then_some((family, part))
    });
    of_histogram.or_else(|| Some((defined.get(name)?, "")))
}

impl Defined {
    pub(super) fn kind(&self) -> MetricType {
        self.collector.collect()[0].get_field_type()
    }

    fn has_label(&self, label: &str) -> bool {
        self.collector.desc()[0].variable_labels.iter().any(|known| known == label)
    }

    #[track_caller]
    fn assert_has(&self, part: &str, name: &str, [label, _, value]: [&str; 3]) {
        if label == "le" {
            assert_eq!(part, "_bucket", "{name}: only buckets have bounds");
            let bounds = self.bounds.as_deref().expect("it is a histogram");
            assert!(
                value == "+Inf" || bounds.iter().any(|bound| bound.to_string() == value),
                "{name} has no bucket {value}, but {bounds:?}"
            );
            return;
        }
        assert!(self.has_label(label), "{name} has no label {label}");
        if OPERATORS_LABELS.contains(&label) {
            return;
        }
        let values = self.closed_labels.iter().find(|(closed, _)| *closed == label).map(|(_, values)| values);
        let values = values.unwrap_or_else(|| panic!("{name}: the world chooses the values of {label}"));
        assert!(values.contains(&value), "{name}: {label} is never {value}, but one of {values:?}");
    }
}

#[test]
fn what_the_page_names_of_ours_is_there() {
    let metrics = Metrics::new(Tracepoint::all().collect(), &everything_and_a_list());
    let selectors = selectors();
    let mut missing = BTreeSet::new();
    for Selector { name, matchers } in &selectors {
        match find(&metrics, name) {
            Some((family, part)) => matchers.iter().for_each(|&matcher| family.assert_has(part, name, matcher)),
            None => {
                missing.insert(name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn the_page_is_read_whole() {
    let theirs: Vec<_> = rows().into_iter().flat_map(|row| code(row[0])).collect();
    for name in ["p2p_message_count", "conn_inbound_network", "log_events", "bitcoin_blocks", "bitcoin_meminfo_*"] {
        assert!(theirs.contains(&name), "{name}");
    }
    let selectors = selectors();
    let large = selectors.iter().find(|selector| selector.name == "p2p_inventory_message_items_bucket").unwrap();
    assert_eq!(large.matchers, [["direction", "=", "outbound"], ["message", "=", "inv"], ["le", "=~", "35"]]);
}

#[test]
fn each_of_theirs_is_named_once() {
    let mut names = BTreeSet::new();
    for row in rows() {
        assert!(row.len() == 2 || row.len() == 3, "a pipe within a cell: {row:?}");
        assert_ne!(code(row[0]).count(), 0, "no name: {row:?}");
        for name in code(row[0]) {
            let stem = name.strip_suffix('*').unwrap_or(name);
            assert!(!stem.is_empty() && stem.chars().all(is_of_name), "no name of a family: {name}");
            assert!(names.insert(name), "named twice: {name}");
        }
        if row.len() == 3 {
            let ours = code(row[1]).any(|code| code.contains("bitcointap_") || code.starts_with("process_"));
            assert!(ours, "nothing of ours: {row:?}");
        }
    }
    for stem in names.iter().filter_map(|name| name.strip_suffix('*')) {
        let of_group: Vec<_> = names.iter().filter(|name| name.starts_with(stem)).collect();
        assert_eq!(of_group.len(), 1, "named by a group too: {of_group:?}");
    }
}
