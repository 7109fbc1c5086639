//! The dashboards in `grafana/`: made from their definitions (`grafana/src`), easy to read, and with data of a real
//! Prometheus. All tests but one look only at the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use bitcointap_dashboards::{SCREEN, TAG};
use serde_json::Value;

use crate::{
    node::Simnode,
    prometheus::{Prometheus, programs},
    tool::{Exporter, eventually},
};

fn grafana(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(path)
}

/// The files, by their names without `.json`.
fn dashboards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(grafana("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap())).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

/// The panels of a dashboard except rows; includes those within collapsed rows.
fn panels_of(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let within = |panel: &'_ Value| panel["type"] == "row";
    let rows = list(dashboard, "panels").iter().filter(move |panel| within(panel));
    let others = list(dashboard, "panels").iter().filter(move |panel| !within(panel));
    others.chain(rows.flat_map(|row| list(row, "panels")))
}

/// All panels except rows, with a name for messages.
fn panels(dashboards: &BTreeMap<String, Value>) -> Vec<(String, &Value)> {
    let named = |(uid, dashboard)| {
        panels_of(dashboard).map(move |panel| (format!("{uid}: {}", text(panel, "title")), panel)).collect::<Vec<_>>()
    };
    dashboards.iter().flat_map(named).collect()
}

/// All PromQL, of panels and annotations, with a name for messages.
fn queries(dashboards: &BTreeMap<String, Value>) -> Vec<(String, &str)> {
    let mut queries = Vec::new();
    for (name, panel) in panels(dashboards) {
        for target in list(panel, "targets") {
            queries.push((format!("{name}: {}", text(target, "legendFormat")), text(target, "expr")));
        }
    }
    for (uid, dashboard) in dashboards {
        for annotation in list(&dashboard["annotations"], "list").iter().filter(|it| it["builtIn"] != 1) {
            queries.push((format!("{uid}: annotation {}", text(annotation, "name")), text(annotation, "expr")));
        }
    }
    queries
}

#[test]
fn the_files_are_what_is_defined() {
    let files = bitcointap_dashboards::files();
    for (file, json) in &files {
        assert!(&fs::read_to_string(file).unwrap_or_default() == json, "{} is old: make dashboards", file.display());
    }
    assert_eq!(dashboards().len(), files.len(), "files that nothing defines");
}

#[test]
fn the_provisioning_names_no_source_by_id_and_takes_the_dashboards() {
    let read = |path| -> Value { serde_saphyr::from_str(&fs::read_to_string(grafana(path)).unwrap()).unwrap() };
    let sources = read("provisioning/datasources/prometheus.yml");
    let [source] = list(&sources, "datasources") else { panic!("{sources}") };
    assert!(sources["apiVersion"] == 1 && source["type"] == "prometheus" && source["uid"].is_null());
    let providers = read("provisioning/dashboards/bitcointap.yml");
    let [provider] = list(&providers, "providers") else { panic!("{providers}") };
    assert!(providers["apiVersion"] == 1 && provider["type"] == "file");
    assert_eq!(provider["options"]["path"], "/var/lib/grafana/dashboards");
}

#[test]
fn dashboards_are_found_and_lead_to_each_other() {
    let dashboards = dashboards();
    for (name, dashboard) in &dashboards {
        assert_eq!(text(dashboard, "uid"), name, "links and bookmarks rely on it");
        for said in ["title", "description", "refresh"] {
            assert_ne!(text(dashboard, said), "", "{name}: {said}");
        }
        let has_tag = |of: &Value| list(of, "tags").contains(&TAG.into());
        assert!(has_tag(dashboard) && list(dashboard, "links").iter().any(has_tag), "{name}");
        assert!(["now-6h", "now-24h"].contains(&text(&dashboard["time"], "from")), "{name}");
        for annotation in ["Node started", "Attached", "Events lost"] {
            let all = list(&dashboard["annotations"], "list");
            assert!(all.iter().any(|it| it["name"] == annotation && it["enable"] == true), "{name}: {annotation}");
        }
    }
    for (name, panel) in panels(&dashboards) {
        for link in panel["links"].as_array().into_iter().flatten() {
            let leads_to = text(link, "url").strip_prefix("/d/").and_then(|url| url.split('?').next()).unwrap();
            assert!(dashboards.contains_key(leads_to), "{name} leads to {leads_to}");
        }
    }
}

#[test]
fn a_reader_chooses_source_job_and_instance_and_what_is_offered_has_an_effect() {
    let of_prometheus = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    for (name, dashboard) in dashboards() {
        let variables: BTreeMap<_, _> =
            list(&dashboard["templating"], "list").iter().map(|it| (text(it, "name"), it)).collect();
        assert_eq!(variables["datasource"]["query"], "prometheus");
        for choice in ["job", "instance"] {
            let variable = variables[choice];
            assert!(variable["multi"] == true && variable["includeAll"] == true, "{name}: {choice}");
            assert_eq!(variable["datasource"], of_prometheus, "{name}: {choice}");
        }
        let shown = dashboard["panels"].to_string();
        for variable in variables.keys() {
            assert!(
                shown.contains(&format!("${variable}")) || shown.contains(&format!("${{{variable}}}")),
                "{name}: {variable}"
            );
        }
        for panel in panels_of(&dashboard) {
            assert_eq!(panel["datasource"], of_prometheus, "{name}");
            for target in list(panel, "targets") {
                assert_eq!(target["datasource"], of_prometheus, "{name}");
            }
        }
    }
}

/// The names of Grafana's units in use; `suffix:` makes one.
const UNITS: &[&str] =
    &["Bps", "bytes", "cps", "dtdurations", "eps", "mps", "none", "percentunit", "reqps", "s", "short"];

#[test]
fn each_panel_says_what_it_shows() {
    for (name, panel) in panels(&dashboards()) {
        let description = text(panel, "description");
        assert!(description.len() > 10 && description.ends_with('.'), "{name}: {description}");
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(UNITS.contains(&unit) || unit.starts_with("suffix: "), "{name}: {unit}");
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{name}");
        let legends: BTreeSet<_> = targets.iter().map(|target| text(target, "legendFormat")).collect();
        assert!(legends.len() == targets.len() && !legends.contains(""), "{name}: {legends:?}");
        let is_heatmap = panel["type"] == "heatmap";
        for target in targets {
            assert_eq!(target["format"] == "heatmap", is_heatmap, "{name}");
            assert_eq!(text(target, "legendFormat") == "{{le}}", is_heatmap, "{name}");
        }
    }
}

#[test]
fn panels_neither_overlap_nor_share_ids() {
    for (name, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        // A collapsed row is seen without the other collapsed rows.
        let rows = list(&dashboard, "panels").iter().map(|panel| panel["panels"].as_array());
        for seen in rows.flatten().chain([dashboard["panels"].as_array().unwrap()]) {
            let mut taken = BTreeSet::new();
            for panel in seen {
                let title = text(panel, "title");
                assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
                let [x, y, width, height] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
                assert!(x + width <= 24, "{name}: {title} is outside");
                for place in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                    assert!(taken.insert(place), "{name}: {title} overlaps at {place:?}");
                }
            }
        }
    }
}

#[test]
fn rows_below_the_first_screen_are_collapsed() {
    let mut collapsed = 0;
    for (name, dashboard) in dashboards() {
        let shown = list(&dashboard, "panels");
        for (place, row) in shown.iter().enumerate().filter(|(_, panel)| panel["type"] == "row") {
            let title = text(row, "title");
            // Grafana looks for the panels of a collapsed row within it.
            let first = list(row, "panels").first().unwrap_or_else(|| &shown[place + 1]);
            let [y, height] = ["y", "h"].map(|key| first["gridPos"][key].as_u64().unwrap());
            let is_below = y + height > u64::from(SCREEN);
            assert_eq!(row["collapsed"], is_below, "{name}: {title}");
            assert_eq!(list(row, "panels").is_empty(), !is_below, "{name}: {title}");
            collapsed += u32::from(is_below);
        }
    }
    assert!(collapsed > 6, "{collapsed}");
}

#[test]
fn a_title_alone_says_what_is_shown() {
    let dashboards = dashboards();
    let mut shown = BTreeMap::new();
    for (name, panel) in panels(&dashboards) {
        let title = text(panel, "title");
        let queries: Vec<_> = list(panel, "targets").iter().map(|target| text(target, "expr")).collect();
        let (other, its) = shown.entry(title).or_insert_with(|| (name.clone(), queries.clone()));
        assert!(*its == queries, "{name} is not what {other} is");
        // What was added, or lasted.
        assert!(title.contains(' '), "{name}");
    }
}

#[test]
fn the_overview_has_alerts_and_each_node_by_itself() {
    let dashboards = dashboards();
    let first: Vec<_> = panels_of(&dashboards["bitcointap-overview"]).take(2).collect();
    assert_eq!(first.iter().map(|panel| text(panel, "type")).collect::<Vec<_>>(), ["table", "table"]);
    assert!(first[0]["targets"].to_string().contains("ALERTS{alertstate="), "{}", first[0]);
    let columns = first[1]["transformations"][1]["options"]["renameByName"].to_string();
    for column in ["Attached", "Height", "Blocks behind", "Inbound", "Outbound", "Events lost"] {
        assert!(columns.contains(&format!("\"{column}\"")), "{columns}");
    }
    for target in list(first[1], "targets") {
        assert!(text(target, "expr").contains("by (instance)"), "{target}");
    }
}

/// Families with their labels, as docs/metrics.md has them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let mut families = BTreeMap::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| [`")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let family = cells[0].split('`').next().unwrap();
        let mut labels: BTreeSet<_> = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        if cells[1] == "histogram" {
            for part in ["sum", "count"] {
                families.insert(format!("{family}_{part}"), labels.clone());
            }
            labels.insert("le".to_owned());
            families.insert(format!("{family}_bucket"), labels);
        } else {
            families.insert(family.to_owned(), labels);
        }
    }
    // Prometheus' client libraries have these, without labels.
    for of_process in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds"] {
        families.insert(format!("process_{of_process}"), BTreeSet::new());
    }
    families
}

const CHOSEN: &str = "{job=~\"$job\", instance=~\"$instance\"";

#[test]
fn queries_ask_for_what_there_is_of_the_chosen_nodes() {
    let documented = documented();
    assert!(documented.len() > 100, "the page is read");
    for (name, promql) in queries(&dashboards()) {
        let mut labels = BTreeSet::from(["job".to_owned(), "instance".to_owned()]);
        for (start, _) in promql.match_indices("bitcointap_").chain(promql.match_indices("process_")) {
            let end = promql[start..].find('{').unwrap_or_else(|| panic!("{name}: of all nodes: {promql}"));
            let family = &promql[start..start + end];
            labels.extend(documented.get(family).unwrap_or_else(|| panic!("{name}: no {family}")).iter().cloned());
            let Some(chosen) = promql[start + end..].strip_prefix(CHOSEN) else {
                panic!("{name}: of all nodes: {promql}")
            };
            for label in chosen.split_once('}').unwrap().0.split(", ").skip(1) {
                let label = label.split(['=', '!']).next().unwrap();
                assert!(documented[family].contains(label), "{name}: no {label} in {family}");
            }
        }
        if promql.contains("ALERTS{") {
            assert!(promql.contains("job=~\"$job|\", instance=~\"$instance|\"}"), "{name}: of all nodes: {promql}");
            labels.extend(["alertname", "severity"].map(str::to_owned));
        }
        for word in ["by (", "on (", "group_left ("] {
            for (_, grouped) in promql.split(word).skip(1).map(|rest| (word, rest.split_once(')').unwrap().0)) {
                for label in grouped.split(", ") {
                    assert!(labels.contains(label), "{name}: no {label} in {promql}");
                }
            }
        }
        // The name ends in the legend: its labels must be left.
        for label in name.split("{{").skip(1).map(|rest| rest.split_once("}}").unwrap().0) {
            assert!(labels.contains(label), "{name}: no {label} in {promql}");
        }
        for bound in promql.split("le=").skip(1).map(|rest| rest.split('"').nth(1).unwrap()) {
            let is_both = bound.ends_with("([.]0)?");
            assert!(
                is_both,
                "{name}: {bound}: the classic text says le=\"1\" and OpenMetrics le=\"1.0\": le=~'1([.]0)?' is both"
            );
        }
    }
}

#[test]
fn counters_are_rated_over_what_suits_scrape_interval_and_resolution() {
    for (name, promql) in queries(&dashboards()) {
        // A dot of a bound is no range.
        let promql = &promql.replace("[.]", ".");
        for (start, range) in
            promql.match_indices('[').map(|(start, _)| (start, promql[start..].split_once(']').unwrap().0))
        {
            // Totals are those of the time range; annotations have one for each rise.
            let allowed = match promql[..start].rfind("increase(").max(promql[..start].rfind("rate(")) {
                Some(function) if promql[function..].starts_with("rate(") => "[$__rate_interval",
                _ if name.contains("annotation") => "[$__rate_interval",
                _ => "[$__range",
            };
            assert_eq!(range, allowed, "{name}: {promql}");
        }
        // A counter without a rate shows nothing, unless a series is new in the time range.
        for counter in ["_total{", "_bucket{", "_sum{", "_count{"] {
            for (start, _) in promql.match_indices(counter) {
                let function = promql[..start].rfind('(').map(|end| &promql[..end]).unwrap_or_default();
                let is_of_new = promql.contains(" offset $__range or last_over_time(");
                assert!(is_of_new || function.ends_with("rate") || function.ends_with("increase"), "{name}: {promql}");
                let after = promql[start..].split_once('}').unwrap().1;
                assert!(after.starts_with('[') || is_of_new, "{name}: {promql}");
            }
        }
    }
}

/// Queries without data for a simulated node, by their end, with the reason.
const EMPTY: &[(&str, &str)] = &[
    (
        "overview: Events lost by tracepoint and reason: {{tracepoint}} {{reason}}",
        "nothing is lost, and a graph of zeros would hide that",
    ),
    ("annotation Events lost", "nothing is lost"),
    ("annotation Attached", "the first attachment is older than the first scrape"),
];

/// The time for "before".
const BEFORE: &str = "2s";

/// What Grafana makes of its variables.
fn of_instance(promql: &str, instance: &str) -> String {
    let values = [
        ("$__rate_interval", "10m"),
        ("$__range", "10m"),
        ("$before", BEFORE),
        ("$job", ".+"),
        ("$instance", instance),
    ];
    values.iter().fold(promql.to_owned(), |promql, (variable, value)| promql.replace(variable, value))
}

#[test]
fn each_query_has_data_and_each_panel_says_what_that_takes() {
    if programs("prometheus").is_empty() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (everybody, json) = (directory.path().join("everybody"), directory.path().join("events.ndjson"));
    fs::write(&everybody, "0.0.0.0/0\n::/0\n").unwrap();
    let simulated = "--scenario mix --rate 2000 --count 24000 --linger";
    let mut nodes = [Simnode::start("v31", simulated), Simnode::start("v23", simulated)];
    let options = format!(
        "--events all --utxocache-coins --tx-response --address-list everybody={} --json {}",
        everybody.display(),
        json.display()
    );
    let exporters = [
        Exporter::start(&format!("--pid {} {options}", nodes[0].pid())),
        Exporter::start(&format!("--pid {}", nodes[1].pid())),
    ];
    let addresses = [exporters[0].address.as_str(), exporters[1].address.as_str()];
    // An alert that fires at once.
    let rules = directory.path().join("rules.yml");
    let rule = "{alert: NodeSilent, expr: bitcointap_up == 1, labels: {severity: critical}}";
    fs::write(&rules, format!("groups: [{{name: now, rules: [{rule}]}}]")).unwrap();
    let prometheuses = Prometheus::start_each(&addresses, Some(&rules));
    for prometheus in &prometheuses {
        eventually("the alert", || (prometheus.query("ALERTS{alertstate=\"firing\"}").len() == 2).then_some(()));
        eventually("first scrapes", || (prometheus.query("bitcointap_up == 1").len() == 2).then_some(()));
    }
    for node in &mut nodes {
        node.fire();
    }
    let tallies = nodes.each_mut().map(Simnode::read_tally);
    exporters[0].settled_events(&tallies[0]);
    for prometheus in &prometheuses {
        for exporter in &exporters {
            let counted = exporter.scrape().sum("events_total", &[]);
            // As long ago as queries look back.
            let stored = format!("sum(bitcointap_events_total{{instance=\"{}\"}} offset {BEFORE})", exporter.address);
            eventually("the last scrape", || (prometheus.query(&stored).first()?.1 >= counted).then_some(()));
        }
        assert_queries_have_data(prometheus, addresses);
    }
}

/// For a node with all options, and for one with few tracepoints and no options.
fn assert_queries_have_data(prometheus: &Prometheus, addresses: [&str; 2]) {
    let dashboards = dashboards();
    let data = |promql: &str, instance| prometheus.query(&of_instance(promql, instance));
    let mut empty: BTreeSet<_> = EMPTY.iter().map(|(query, _)| *query).collect();
    let mut wrong = Vec::new();
    for (name, promql) in queries(&dashboards) {
        let known = EMPTY.iter().find(|(query, _)| name.ends_with(query));
        match (data(promql, addresses[0]).is_empty(), known) {
            (true, Some((query, _))) => drop(empty.remove(query)),
            (true, None) => wrong.push(format!("{name} is empty: {promql}")),
            (false, Some(_)) => wrong.push(format!("{name} is not empty: {promql}")),
            (false, None) => {}
        }
    }
    wrong.extend(empty.iter().map(|query| format!("no query is called {query}")));
    for (name, panel) in panels(&dashboards) {
        let is_share = panel["fieldConfig"]["defaults"]["unit"] == "percentunit";
        let (mut of_all, mut of_few) = (0, 0);
        for promql in list(panel, "targets").iter().map(|target| text(target, "expr")) {
            of_few += data(promql, addresses[1]).len();
            for (labels, value) in data(promql, addresses[0]) {
                of_all += 1;
                // NaN is the share of nothing. CPU may be of several cores.
                if is_share && !promql.contains("cpu") && !value.is_nan() && !(0.0..=1.0).contains(&value) {
                    wrong.push(format!("{name}: {labels} is {value}"));
                }
            }
        }
        // v23 has the fewest tracepoints, and the defaults have the fewest families.
        if of_all > 0 && (of_few == 0) != text(panel, "description").contains(" Needs ") {
            wrong.push(format!("{name}: {of_few} series of an old node with default options"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
