//! A real Prometheus of each major line scrapes the tool: at the end each has stored what the simulated node fired.
//! `make test` puts them into target/tools, from Debian's packages; without them these tests say that they were
//! skipped.

use std::{
    env, fs,
    io::Write,
    iter,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    exposition::get,
    node::{Simnode, Tally},
    tool::{Exporter, eventually, fetched, free_address, tools},
};

/// A program of Prometheus, for each major line that is here.
pub fn programs(name: &str) -> Vec<PathBuf> {
    let Some(own) = fetched(name, REQUIRED) else { return Vec::new() };
    let of_lines = ["2", "3"].map(|line| tools().join(format!("{name}-{line}")));
    let programs: Vec<PathBuf> = iter::once(own).chain(of_lines.into_iter().filter(|path| path.exists())).collect();
    // `make test-matrix` gives one at a time.
    assert!(
        programs.len() > 1 || env::var_os(REQUIRED).is_none() || env::var_os("TOOLS").is_some(),
        "{name} of one major line only is here"
    );
    programs
}

const REQUIRED: &str = "REQUIRE_PROMETHEUS";

/// A Prometheus that scrapes each second, and evaluates its rules.
pub struct Prometheus {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Prometheus {
    /// One for each major line that is here.
    pub fn start_each(exporters: &[&str], rules: Option<&Path>) -> Vec<Self> {
        programs("prometheus").iter().map(|program| Self::start(program, exporters, rules)).collect()
    }

    fn start(program: &Path, exporters: &[&str], rules: Option<&Path>) -> Self {
        let address = free_address();
        let targets = exporters.join("', '");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n\
             - {{job_name: bitcointap, static_configs: [{{targets: ['{targets}']}}]}}\n\
             - {{job_name: prometheus, static_configs: [{{targets: ['{address}']}}]}}\n",
            rules.map_or_else(String::new, |path| path.display().to_string()),
        );
        Self::launch(program, address, &config, "")
    }

    /// One for each major line that is here, with the example configuration and the rules in prometheus/. Only
    /// addresses, times and a label `prometheus` differ; each comes with the value of that label.
    pub fn start_with_example(exporter: &str, alertmanagers: &[&str]) -> Vec<(String, Self)> {
        let read =
            |name| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus").join(name)).unwrap();
        let rules = read("bitcointap.rules.yml").replace("for: 5m\n", "for: 0m\n");
        let start = |(number, program): (usize, &PathBuf)| {
            let mut config = read("prometheus.yml");
            for (from, to) in [
                ("global:\n", &*format!("global:\n  external_labels: {{prometheus: \"{number}\"}}\n")),
                ("scrape_interval: 15s", "scrape_interval: 1s"),
                ("evaluation_interval: 30s", "evaluation_interval: 1s"),
                ("[127.0.0.1:10833]", &format!("['{exporter}']")),
                ("[127.0.0.1:9093]", &format!("['{}']", alertmanagers.join("', '"))),
            ] {
                assert_eq!(config.matches(from).count(), 1, "the example has {from} once");
                config = config.replace(from, to);
            }
            (number.to_string(), Self::launch(program, free_address(), &config, &rules))
        };
        programs("prometheus").iter().enumerate().map(start).collect()
    }

    fn launch(program: &Path, address: String, config: &str, rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("bitcointap.rules.yml"), rules).unwrap();
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .spawn()
            .expect("Prometheus starts");
        let prometheus = Self { child, address, _directory: directory };
        eventually("Prometheus ready", || get(&prometheus.address, "/-/ready"));
        prometheus
    }

    /// The value of each series, by its labels.
    pub fn query(&self, promql: &str) -> Vec<(Value, f64)> {
        let encoded: String = promql.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.api(&format!("query?query={encoded}"));
        let series = answer["data"]["result"].as_array().unwrap().iter();
        series.map(|it| (it["metric"].clone(), it["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    /// The answer of its API to a valid request.
    pub fn api(&self, request: &str) -> Value {
        let answer = get(&self.address, &format!("/api/v1/{request}")).expect("the request is valid");
        serde_json::from_str(&answer).unwrap()
    }

    /// The only value of a query. After a failed scrape there is none until the next one.
    #[track_caller]
    fn value(&self, promql: &str) -> f64 {
        let values = eventually(promql, || Some(self.query(promql)).filter(|values| !values.is_empty()));
        let [(_, value)] = values.as_slice() else { panic!("{promql} gives {values:?}") };
        *value
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `promtool check metrics` finds nothing wrong with this text.
pub fn assert_promtool_is_silent(metrics: &str) {
    for promtool in programs("promtool") {
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "");
        assert!(output.status.success());
    }
}

#[test]
fn a_minute_of_churn_is_stored_as_it_was_fired() {
    if programs("prometheus").is_empty() {
        return;
    }
    let mut node = Simnode::start("v31", "--scenario churn --rate 2000 --duration 60");
    let exporter = Exporter::start(&format!("--pid {} --events all --tx-response", node.pid()));
    let prometheuses = Prometheus::start_each(&[&exporter.address], None);
    node.fire();
    let up = "up{job=\"bitcointap\"}";
    for prometheus in &prometheuses {
        eventually("a first scrape", || (prometheus.query(up).first()?.1 == 1.0).then_some(()));
    }
    let tally = node.tally();
    exporter.last_scrape();
    let fired: u64 = tally.tracepoints().values().sum();
    for prometheus in &prometheuses {
        eventually("the last scrape", || {
            (prometheus.query("sum(bitcointap_events_total)").first()?.1 == fired as f64).then_some(())
        });
        // On a busy machine some scrapes may take longer than their second.
        let in_time = "scrape_duration_seconds{job=\"bitcointap\"} < 0.9";
        let failed = prometheus.query(&format!("count_over_time(({up} == 0 and {in_time})[2m:1s])"));
        assert!(failed.is_empty(), "each scrape was answered: {failed:?}");
        for reason in
            ["exceeded_sample_limit", "sample_duplicate_timestamp", "sample_out_of_bounds", "sample_out_of_order"]
        {
            assert_eq!(prometheus.value(&format!("prometheus_target_scrapes_{reason}_total")), 0.0, "{reason}");
        }
        assert_stored(prometheus, &tally);
    }
    assert_promtool_is_silent(&get(&exporter.address, "/metrics").unwrap());
    exporter.stop();
}

fn assert_stored(prometheus: &Prometheus, tally: &Tally) {
    for (tracepoint, fired) in tally.tracepoints() {
        let query = format!("bitcointap_events_total{{tracepoint=\"{tracepoint}\"}}");
        assert_eq!(prometheus.value(&query), fired as f64, "{tracepoint}");
    }
    assert_eq!(prometheus.value("sum(bitcointap_events_lost_total)"), 0.0);
    for (event, family) in [("opened", "p2p_connections_opened_total"), ("closed", "p2p_connections_closed_total")] {
        let rows = tally.rows("connections").iter().filter(|row| row["event"] == event);
        for row in rows {
            let (connection_type, network) = (&row["connection_type"], &row["network"]);
            let query = format!("bitcointap_{family}{{connection_type={connection_type},network={network}}}");
            assert_eq!(prometheus.value(&query), row["count"].as_f64().unwrap(), "{query}");
        }
    }
    let mut messages = 0.0;
    for row in tally.rows("messages") {
        messages += row["count"].as_f64().unwrap();
    }
    assert_eq!(prometheus.value("sum(bitcointap_p2p_messages_total)"), messages);
}
