//! PromQL with `'` for `"`. In: queries as the dashboards have them, without a choice of nodes. Out: the same for the chosen nodes,
//! or for an earlier time; and what panels share of queries and legends.

pub fn sum(by: &str) -> String {
    if by.is_empty() { "sum".to_owned() } else { format!("sum by ({by}) ") }
}

/// The increase of a counter of reasons or names in the time range, with those that are new in it.
pub fn increase_with_new(by: &str, counter: &str) -> String {
    format!(
        "{}(increase({counter}[$__range]) and {counter} offset $__range or last_over_time({counter}[$__range]))",
        sum(by)
    )
}

pub fn legend(by: &str) -> String {
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
pub fn before(promql: &str) -> String {
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
