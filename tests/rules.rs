//! prometheus/bitcointap.rules.yml and what must agree with it: its tests, docs/alerts.md, the example configuration,
//! and what a real Prometheus has stored of a simulated node.

mod mix;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    node::Simnode,
    prometheus::{Prometheus, programs},
    tool::{Exporter, eventually},
};

/// Records that have no value in a run of some seconds, and why.
const NOT_YET: [(&str, &str); 6] = [
    ("instance:bitcointap_p2p_inbound_connections_closed:increase10m", AN_HOUR),
    ("instance:bitcointap_p2p_inbound_connections_closed:increase10m_day_before", A_DAY),
    ("instance_network:bitcointap_p2p_inbound_connections_opened:increase1h", AN_HOUR),
    ("instance_network:bitcointap_p2p_inbound_connections_opened:increase1h_day_before", A_DAY),
    ("instance:bitcointap_mempool_final_rejections:increase30m", AN_HOUR),
    ("instance:bitcointap_mempool_final_rejections:increase30m_day_before", A_DAY),
];
const AN_HOUR: &str = "the gate opens an hour after the node's start";
const A_DAY: &str = "it takes a day of what another rule records";

#[derive(Deserialize)]
struct RulesFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    pub r#for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestsFile {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    name: String,
    promql_expr_test: Vec<Expectation>,
}

#[derive(Deserialize)]
struct Expectation {
    exp_samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    labels: String,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

pub fn rules() -> Vec<Rule> {
    let file: RulesFile = parse(&path("prometheus/bitcointap.rules.yml"));
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// The names of all alerts.
pub fn alerts() -> BTreeSet<String> {
    rules().into_iter().filter_map(|rule| rule.alert).collect()
}

fn test_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(path("prometheus/tests")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Runs it with promtool of each major line.
#[track_caller]
fn assert_promtool_succeeds(arguments: &[&str], files: &[PathBuf]) {
    for promtool in programs("promtool") {
        let output = Command::new(promtool).args(arguments).args(files).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn promtool_accepts_the_rules_and_the_example() {
    let rules = path("prometheus/bitcointap.rules.yml");
    assert_promtool_succeeds(&["check", "rules", "--lint=all", "--lint-fatal"], &[rules]);
    assert_promtool_succeeds(&["check", "config"], &[path("prometheus/prometheus.yml")]);
}

#[test]
fn alerts_fire_when_they_should_and_not_in_what_happens_to_every_node() {
    assert_promtool_succeeds(&["test", "rules"], &test_files());
}

#[test]
fn each_alert_is_tested_to_fire_and_not_to() {
    let tests: Vec<Test> = test_files().iter().flat_map(|file| parse::<TestsFile>(file).tests).collect();
    for alert in alerts() {
        let named = format!("alertname=\"{alert}\"");
        let fires = |expectation: &Expectation| expectation.exp_samples.iter().any(|it| it.labels.contains(&named));
        let own = tests.iter().filter(|test| test.name.split(' ').next() == Some(&alert));
        let expectations: Vec<_> = own.flat_map(|test| &test.promql_expr_test).collect();
        assert!(expectations.iter().any(|it| fires(it)), "{alert} is not tested to fire");
        assert!(expectations.iter().any(|it| !fires(it)), "{alert} is not tested not to fire");
    }
}

#[test]
fn each_alert_says_what_it_means_and_has_a_section_in_the_runbook() {
    let page = fs::read_to_string(path("docs/alerts.md")).unwrap();
    let sections: BTreeMap<&str, &str> =
        page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let names: BTreeSet<String> = sections.keys().map(|&name| name.to_owned()).collect();
    assert_eq!(names, alerts(), "sections and alerts are the same");
    for (name, text) in sections {
        for part in ["Meaning", "Why it can be wrong", "First look", "Flight recording", "What to do"] {
            assert!(text.contains(&format!("**{part}.** ")), "{name} does not say: {part}");
        }
    }
    for rule in rules() {
        let Some(alert) = rule.alert else { continue };
        let severity = rule.labels["severity"].as_str();
        assert!(["critical", "warning", "info"].contains(&severity), "{alert} is {severity}");
        let anchor = alert.to_lowercase();
        // An alert is shown elsewhere than where the rules are.
        let published = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/alerts.md");
        assert_eq!(rule.annotations["runbook_url"], format!("{published}#{anchor}"));
        assert!(rule.annotations["description"].contains("Look first "), "{alert} does not say what to look at");
        assert!(rule.annotations["summary"].contains("$labels.instance"), "{alert} does not say whose");
        let row = page.lines().find(|line| line.starts_with(&format!("| [{alert}](#{anchor}) | ")));
        assert!(row.is_some_and(|row| row.contains(severity)), "the table has {alert} as {severity}");
    }
}

/// The selectors of series in a query: series of the exporter with their matchers, records by name.
pub fn selectors(query: &str) -> Vec<&str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("bitcointap_") {
        let start = rest[..at].bytes().rposition(|byte| !is_name(byte)).map_or(0, |before| before + 1);
        let from = &rest[start..];
        let name = from.bytes().position(|byte| !is_name(byte)).unwrap_or(from.len());
        let end = match from[name..].starts_with('{') {
            true => name + from[name..].find('}').expect("a selector ends") + 1,
            false => name,
        };
        found.push(&from[..end]);
        rest = &from[end..];
    }
    found
}

#[test]
fn selectors_are_found_in_queries() {
    assert_eq!(
        selectors("sum(rate(bitcointap_a_total{b=\"c:d\"}[5m])) / x:bitcointap_e:f > 0 and bitcointap_up"),
        ["bitcointap_a_total{b=\"c:d\"}", "x:bitcointap_e:f", "bitcointap_up"]
    );
}

#[test]
fn every_query_finds_what_a_simulated_node_gave() {
    if programs("prometheus").is_empty() {
        return;
    }
    let mut node = Simnode::start("v31", "--scenario mix --rate 5000 --count 20000 --linger");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    let rules_file = path("prometheus/bitcointap.rules.yml");
    let prometheuses = Prometheus::start_each(&[&exporter.address], Some(&rules_file));
    node.fire();
    node.read_tally();
    for prometheus in &prometheuses {
        assert_queries_find(prometheus, &rules());
    }
    exporter.stop();
}

fn assert_queries_find(prometheus: &Prometheus, rules: &[Rule]) {
    let recorded: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.record.as_deref()).collect();
    for selector in rules.iter().flat_map(|rule| selectors(&rule.expr)) {
        if selector.contains(":bitcointap_") {
            assert!(recorded.contains(selector), "no rule records {selector}");
        } else {
            eventually(selector, || (!prometheus.query(selector).is_empty()).then_some(()));
        }
    }
    let not_yet = BTreeMap::from(NOT_YET);
    for record in recorded {
        match not_yet.get(record) {
            None => eventually(record, || (!prometheus.query(record).is_empty()).then_some(())),
            Some(why) => assert!(prometheus.query(record).is_empty(), "{record} has a value, though {why}"),
        }
    }
    // All rules have been evaluated, and none failed.
    let evaluated = eventually("an evaluation of each rule", || {
        let answer = prometheus.api("rules");
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        let evaluated: Vec<Value> = groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        evaluated.iter().all(|rule| rule["health"] != "unknown").then_some(evaluated)
    });
    assert_eq!(evaluated.len(), rules.len());
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
