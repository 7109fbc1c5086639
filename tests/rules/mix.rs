//! The simulated node's `mix` for a day and a third, as Prometheus would have scraped it each minute, with all alerts.
//! In: the events of its trace, which also give its time. Out: a test for promtool with the values of the families of
//! connections.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use bitcointap::{
    event::{
        Event, Kind, Moment, Time,
        net::{Conn, Connection, ConnectionType},
    },
    metrics::{Metrics, Options},
    network::Network,
};
use prometheus::TextEncoder;
use serde::Deserialize;

use crate::{
    node,
    prometheus::programs,
    rules::{assert_promtool_succeeds, path},
};

/// The mix has a block every 5,000 events, and mainnet has one every ten minutes.
const EVENTS_A_MINUTE: u64 = 500;
/// A day to compare with, the hour for which alerts wait, and seven hours in which they compare.
const MINUTES: u64 = 32 * 60;
const MINUTE: u64 = 60_000_000_000;
/// The wall clock at the first event, in minutes: far enough after 0 for older times.
const START: u64 = 1_000_000;

const CONNECTIONS: &str = "net:inbound_connection,net:outbound_connection,net:closed_connection,\
                           net:evicted_inbound_connection,net:misbehaving_connection";

/// A line of the trace.
#[derive(Deserialize)]
struct Traced<'a> {
    tracepoint: &'a str,
    peer: i64,
    address: &'a str,
    connection_type: &'a str,
    network: &'a str,
}

/// The families as they appear, and all values so far of each series.
struct Scraped {
    metrics: Metrics,
    /// When each peer's connection was established, in seconds.
    established: HashMap<i64, u64>,
    /// Peers that have sent something, and addresses of connections that closed before that. The next connection to
    /// such an address is a retry with the other transport, as the exporter counts it. The exporter gets no messages
    /// here.
    heard: HashSet<i64>,
    unheard: HashSet<String>,
    retries: u64,
    fired: BTreeMap<String, u64>,
    minutes: usize,
    series: BTreeMap<String, Vec<f64>>,
}

impl Scraped {
    fn observe(&mut self, time: u64, line: &str) {
        let tracepoint = line.split('"').nth(3).expect("a line begins with the tracepoint");
        *self.fired.entry(tracepoint.to_owned()).or_default() += 1;
        if tracepoint == "net:inbound_message" {
            let peer = line.split("\"peer\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
            self.heard.insert(peer.parse().unwrap());
            return;
        }
        // Offences count only by their tracepoint.
        if !tracepoint.ends_with("_connection") || tracepoint == "net:misbehaving_connection" {
            return;
        }
        let Traced { tracepoint, peer, address, connection_type, network } = serde_json::from_str(line).unwrap();
        let conn_type = ConnectionType::ALL.into_iter().find(|it| it.name() == connection_type).unwrap();
        let network = (0..).find(|&number| Network::from_number(number).name() == network).unwrap();
        let conn = Conn { peer_id: peer, addr: address.into(), conn_type, network };
        let now = START * MINUTE / 1_000_000_000 + time / 1_000_000_000;
        let existing_connections = 9;
        let event = match tracepoint {
            "net:inbound_connection" => Connection::Inbound { conn, existing_connections },
            "net:outbound_connection" => {
                self.retries += u64::from(self.unheard.remove(address));
                Connection::Outbound { conn, existing_connections }
            }
            "net:evicted_inbound_connection" => {
                Connection::InboundEvicted { conn, time_established: self.established[&peer] }
            }
            "net:closed_connection" => {
                let time_established = self.established.remove(&peer).expect("it was opened");
                if !self.heard.remove(&peer) {
                    self.unheard.insert(address.to_owned());
                }
                self.metrics.observe(&self::event(time, Connection::Closed { conn, time_established }));
                return;
            }
            other => panic!("{other}"),
        };
        self.established.entry(peer).or_insert(now);
        self.metrics.observe(&self::event(time, event));
    }

    fn scrape(&mut self) {
        let text = TextEncoder::new().encode_to_string(&self.metrics.registry().gather()).unwrap();
        let is_of_connections = |line: &&str| line.starts_with("bitcointap_p2p_");
        let mut values: BTreeMap<String, f64> = text
            .lines()
            .filter(is_of_connections)
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect();
        let fired = |tracepoint: &str| self.fired.get(tracepoint).copied().unwrap_or(0) as f64;
        for tracepoint in ["net:inbound_message", "net:misbehaving_connection"] {
            values.insert(format!("bitcointap_events_total{{tracepoint=\"{tracepoint}\"}}"), fired(tracepoint));
        }
        let rejected = fired("mempool:rejected");
        values.insert("bitcointap_mempool_transactions_total{action=\"rejected\"}".into(), rejected);
        values.insert("bitcointap_p2p_transport_retries_total".into(), self.retries as f64);
        let blocks = fired("validation:block_connected");
        values.insert("bitcointap_validation_blocks_connected_total".into(), blocks);
        values.insert("bitcointap_validation_block_height".into(), 900_000.0 + blocks);
        for (series, value) in values {
            let of_series = self.series.entry(series).or_default();
            // A new series is 0 before.
            of_series.resize(self.minutes, 0.0);
            of_series.push(value);
        }
        self.minutes += 1;
    }

    /// All series except those that are always 0.
    fn as_input(&self) -> String {
        let minutes = self.minutes;
        let mut input = format!(
            "  - {{series: 'up{{job=\"bitcointap\", instance=\"a\"}}', values: \"1x{minutes}\"}}\n  \
             - {{series: 'bitcointap_up{{job=\"bitcointap\", instance=\"a\"}}', values: \"1x{minutes}\"}}\n  \
             - {{series: 'bitcointap_node_start_time_seconds{{job=\"bitcointap\", instance=\"a\"}}', values: \"-600x{minutes}\"}}\n"
        );
        for tracepoint in ["net:inbound_message", "net:closed_connection"] {
            let series = format!(
                "bitcointap_tracepoint_attached{{job=\"bitcointap\", instance=\"a\", tracepoint=\"{tracepoint}\"}}"
            );
            writeln!(input, "  - {{series: '{series}', values: \"1x{minutes}\"}}").unwrap();
        }
        for (series, values) in &self.series {
            if values.iter().any(|&value| value != 0.0) {
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let values: Vec<_> = values.iter().map(f64::to_string).collect();
                let series = format!("{name}{{job=\"bitcointap\", instance=\"a\", {labels}").replace(", }", "}");
                writeln!(input, "  - {{series: '{series}', values: \"{}\"}}", values.join(" ")).unwrap();
            }
        }
        input
    }
}

fn event(time: u64, event: Connection<'_>) -> Event<'_> {
    Event { time: Time(START * MINUTE + time), moment: Moment(START * MINUTE + time), kind: Kind::Conn { event } }
}

#[test]
fn a_day_and_more_of_steady_traffic_fires_nothing() {
    if programs("promtool").is_empty() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("trace");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let arguments = format!(
        "--layout v31 --scenario mix --rate max --fixed-time 1700000000 --count {} --trace",
        MINUTES * EVENTS_A_MINUTE
    );
    let mut node = Command::new(node::program("simnode"))
        .args(arguments.split(' '))
        .arg(&fifo)
        .stdout(Stdio::null())
        .spawn()
        .expect("simnode starts");

    let mut scraped = Scraped {
        metrics: Metrics::new(CONNECTIONS.parse().unwrap(), &Options::default()),
        established: HashMap::new(),
        heard: HashSet::new(),
        unheard: HashSet::new(),
        retries: 0,
        fired: BTreeMap::new(),
        minutes: 0,
        series: BTreeMap::new(),
    };
    let mut trace = BufReader::new(File::open(&fifo).unwrap());
    let mut line = String::new();
    for number in 0.. {
        line.clear();
        if trace.read_line(&mut line).unwrap() == 0 {
            break;
        }
        if number % EVENTS_A_MINUTE == 0 {
            scraped.scrape();
        }
        scraped.observe(number * (MINUTE / EVENTS_A_MINUTE), &line);
    }
    assert!(node.wait().unwrap().success());
    assert_eq!(scraped.minutes as u64, MINUTES);

    let test = directory.path().join("mix.yml");
    let rules = path("prometheus/bitcointap.rules.yml");
    let text = format!(
        "rule_files: ['{}']\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n{}  promql_expr_test:\n  \
         - {{expr: 'max_over_time(ALERTS{{alertstate=\"firing\"}}[2d])', eval_time: {last}m, exp_samples: []}}\n  \
         # And it was compared with the day before.\n  \
         - {{expr: 'count(instance:bitcointap_p2p_inbound_connections_closed:increase10m_day_before > 5)', eval_time: {last}m, \
         exp_samples: [{{value: 1}}]}}\n",
        rules.display(),
        scraped.as_input(),
        last = MINUTES - 1,
    );
    fs::write(&test, text).unwrap();
    assert_promtool_succeeds(&["test", "rules"], &[test]);
}
