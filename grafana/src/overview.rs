//! At one glance: which alerts fire, how each node does, whether bitcointap is attached, what it costs, what is lost,
//! and what the node does.

use crate::{
    dashboard::Dashboard,
    panel::{Panel, graph, heatmap, stat, states, table},
    promql::increase_with_new,
};
const RULES: &str = include_str!("../../prometheus/bitcointap.rules.yml");

/// What an event costs the node, in seconds, as measured for README.md.
const SECONDS_PER_EVENT: &str = "1.5e-6";

/// The alerts of prometheus/bitcointap.rules.yml for the chosen nodes, and BitcointapDown, which may name no node.
fn firing() -> Panel {
    let mut names: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    names.sort_unstable();
    names.dedup();
    let names = names.join("|");
    let firing = format!("ALERTS{{alertstate='firing', alertname=~'{names}', job=~'$job|', instance=~'$instance|'}}");
    table(
        "Firing alerts",
        "The alerts of prometheus/bitcointap.rules.yml; docs/alerts.md says what to do for each. Empty is good, \
         if Prometheus has these rules.",
    )
    .query("alerts", &format!("max by (alertname, severity, instance) ({firing})"))
    .label("Alertname")
    .label("Severity")
    .label("Instance")
    .size(8, 8)
}

fn nodes() -> Panel {
    table(
        "State of each node",
        "One row for each node. Blocks behind: compared with the highest of the chosen nodes. Events lost: in the \
         time range. Open connections need Bitcoin Core v29 or later.",
    )
    .label("Instance")
    .column("Attached", "none", "max by (instance) (bitcointap_up)")
    .column_with_states(["no node", "attached"])
    .column("Uptime", "dtdurations", "time() - max by (instance) (bitcointap_node_start_time_seconds)")
    .column("Height", "none", "max by (instance) (bitcointap_validation_block_height)")
    .column(
        "Blocks behind",
        "none",
        "scalar(max(bitcointap_validation_block_height)) - max by (instance) (bitcointap_validation_block_height)",
    )
    .column_warns_from(2.0, "orange")
    .column(
        "Last block",
        "dtdurations",
        "time() - max by (instance) (bitcointap_validation_last_block_connected_timestamp_seconds)",
    )
    .column_warns_from(5400.0, "orange")
    .column("Inbound", "none", "sum by (instance) (bitcointap_p2p_connections{connection_type='inbound'})")
    .column("Outbound", "none", "sum by (instance) (bitcointap_p2p_connections{connection_type!='inbound'})")
    .column("Events lost", "none", "round(sum by (instance) (increase(bitcointap_events_lost_total[$__range])))")
    .column_warns_from(1.0, "red")
    .leads_to("bitcointap-exporter", "Exporter")
}

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-overview",
        title: "Overview",
        about: "Which nodes bitcointap is attached to, which alerts fire, what it costs, what is lost, and what the \
         nodes do.",
        range: "6h",
        refresh: "30s",
        rows: vec![
            ("Now", vec![firing(), nodes()]),
            (
                "All chosen nodes together",
                vec![
                    stat(
                        "User agent of the node",
                        "User agents of the nodes, from their version messages. Empty before the first one.",
                        "none",
                    )
                    .query("{{user_agent}}", "count by (user_agent) (bitcointap_node_info)")
                    .shows_name()
                    .size(3, 4),
                    stat("Events per second", "Hits of all attached tracepoints.", "eps")
                        .rate("", "bitcointap_events_total")
                        .named("events")
                        .size(3, 4),
                    stat(
                        "Events lost in the time range",
                        "Events in the time range that could not be delivered. All other panels miss them.",
                        "short",
                    )
                    .query("lost", "sum(increase(bitcointap_events_lost_total[$__range]))")
                    .warns_from(1.0, "red")
                    .leads_to("bitcointap-exporter", "Exporter")
                    .size(3, 4),
                    stat(
                        "CPU cost for the node",
                        "Share of one core that tracepoints take from the node. This is an estimate: events times \
                         the measured 1.5 µs.",
                        "percentunit",
                    )
                    .query(
                        "node",
                        &format!(
                            "sum(rate(bitcointap_events_total[$__rate_interval])) * \
                    {SECONDS_PER_EVENT}"
                        ),
                    )
                    .warns_from(0.05, "orange")
                    .size(3, 4),
                    stat("Open connections", "Connections open now, inbound and outbound.", "short")
                        .query("connections", "sum(bitcointap_p2p_connections)")
                        .since("v29")
                        .leads_to("bitcointap-peers", "Peers and churn")
                        .size(3, 4),
                    stat("P2P messages per second", "P2P messages in both directions.", "mps")
                        .rate("", "bitcointap_p2p_messages_total")
                        .named("messages")
                        .leads_to("bitcointap-messages", "P2P messages")
                        .size(3, 4),
                    stat(
                        "Mempool growth",
                        "Transactions added minus removed, each hour. No tracepoint reports the mempool's size \
                         itself.",
                        "suffix: tx/h",
                    )
                    .query(
                        "mempool",
                        "3600 * (sum(rate(bitcointap_mempool_transactions_total{action='added'}[$__rate_interval])) - \
                         sum(rate(bitcointap_mempool_transactions_total{action='removed'}[$__rate_interval])))",
                    )
                    .since("v25")
                    .leads_to("bitcointap-mempool", "Mempool")
                    .size(3, 4),
                    stat("Misbehaviour of peers", "Offences of peers in the time range.", "short")
                        .query("offences", &increase_with_new("", "bitcointap_p2p_misbehaving_total"))
                        .warns_from(1.0, "orange")
                        .since("v29")
                        .leads_to("bitcointap-peers", "Peers and churn")
                        .size(3, 4),
                    states(
                        "Attached to a node over time",
                        "When bitcointap was attached to a running node.",
                        ["no node", "attached"],
                    )
                    .query("{{instance}}", "bitcointap_up")
                    .size(24, 4),
                ],
            ),
            (
                "Over time",
                vec![
                    graph("Events of all tracepoints", "Hits of tracepoints, now and before.", "eps")
                        .rate("", "bitcointap_events_total")
                        .named("events")
                        .beside_before(),
                    graph(
                        "Events lost by tracepoint and reason",
                        "Lost events by tracepoint and reason: the ring buffer was full, or the node's memory \
                         could not be read. Empty is good.",
                        "eps",
                    )
                    .query(
                        "{{tracepoint}} {{reason}}",
                        "sum by (tracepoint, reason) (rate(bitcointap_events_lost_total[$__rate_interval])) > 0",
                    ),
                    graph(
                        "P2P messages by direction",
                        "P2P messages by direction, now and before. Outbound is below the axis.",
                        "mps",
                    )
                    .rate("direction", "bitcointap_p2p_messages_total")
                    .beside_before()
                    .below("/^outbound/")
                    .leads_to("bitcointap-messages", "P2P messages"),
                    graph(
                        "Payload by direction",
                        "Payload of P2P messages by direction, now and before. Outbound is below the axis.",
                        "Bps",
                    )
                    .rate("direction", "bitcointap_p2p_message_bytes_total")
                    .beside_before()
                    .below("/^outbound/")
                    .leads_to("bitcointap-messages", "P2P messages"),
                    graph("Open connections by type", "Connections open now, by type.", "short")
                        .query("{{connection_type}}", "sum by (connection_type) (bitcointap_p2p_connections) > 0")
                        .stacked()
                        .since("v29")
                        .leads_to("bitcointap-peers", "Peers and churn"),
                    graph(
                        "Connections opened, closed and evicted",
                        "Connections opened, closed, and evicted to make room for others. Evicted ones also count \
                         as closed.",
                        "suffix: /h",
                    )
                    .hourly("", "bitcointap_p2p_connections_opened_total")
                    .named("opened")
                    .hourly("", "bitcointap_p2p_connections_closed_total")
                    .named("closed")
                    .hourly("", "bitcointap_p2p_connections_evicted_total")
                    .named("evicted")
                    .colours(&[("opened", "green"), ("closed", "orange"), ("evicted", "red")])
                    .since("v29")
                    .leads_to("bitcointap-peers", "Peers and churn"),
                    graph(
                        "Mempool transactions by action",
                        "Transactions by what became of them. Do not sum the actions: they overlap.",
                        "suffix: tx/s",
                    )
                    .rate("action", "bitcointap_mempool_transactions_total")
                    .colours(&[("added", "green"), ("removed", "blue"), ("replaced", "purple"), ("rejected", "red")])
                    .since("v25")
                    .leads_to("bitcointap-mempool", "Mempool"),
                    heatmap(
                        "Block announcement to connection",
                        "Time from a new block's first announcement until the node connected it.",
                        "s",
                        "bitcointap_p2p_block_announcement_to_connected_seconds",
                    )
                    .leads_to("bitcointap-blocks", "Blocks and relay"),
                    graph("Ping round trip quantiles", "Time from the node's pings to the peers' pongs.", "s")
                        .quantiles("bitcointap_p2p_ping_round_trip_seconds")
                        .leads_to("bitcointap-peers", "Peers and churn"),
                    graph(
                        "CPU of bitcointap and of tracepoints",
                        "Shares of one core: what bitcointap itself takes, and an estimate of what tracepoints \
                         take from the node.",
                        "percentunit",
                    )
                    .rate("", "process_cpu_seconds_total")
                    .named("bitcointap")
                    .query(
                        "node (estimate)",
                        &format!("sum(rate(bitcointap_events_total[$__rate_interval])) * {SECONDS_PER_EVENT}"),
                    )
                    .leads_to("bitcointap-exporter", "Exporter"),
                ],
            ),
        ],
    }
}
