//! Is it attached, what does it cost, what is lost, and what does the node do: at one glance.

use super::{
    blocks::{height, last_block},
    dashboard::Dashboard,
    panel::{graph, heatmap, increase_with_new, stat, states},
};

/// What an event costs the node, in seconds, as README.md has measured it.
const SECONDS_PER_EVENT: &str = "2.1e-6";

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-overview",
        title: "Overview",
        about: "Whether a node is tapped, what that costs, what is lost, and what the node does.",
        range: "6h",
        refresh: "30s",
        rows: vec![
            (
                "Now",
                vec![
                    stat("Tapped", "Whether bitcointap is attached to a running node.", "none")
                        .query("{{instance}}", "bitcointap_up")
                        .with_states(["no node", "tapped"])
                        .leads_to("bitcointap-exporter", "Exporter"),
                    stat(
                        "Node",
                        "User agents of the nodes, as their version messages say; none before the first.",
                        "none",
                    )
                    .query("{{user_agent}}", "count by (user_agent) (bitcointap_node_info)")
                    .shows_name(),
                    stat("Running for", "Since the node's process started.", "dtdurations")
                        .query("{{instance}}", "time() - bitcointap_node_start_time_seconds"),
                    stat("Events", "Hits of all tracepoints that are attached.", "eps")
                        .rate("", "bitcointap_events_total")
                        .named("events"),
                    stat(
                        "Lost",
                        "Events in the time range that could not be delivered: every other family misses them.",
                        "short",
                    )
                    .query("lost", "sum(increase(bitcointap_events_lost_total[$__range]))")
                    .warns_from(1.0, "red")
                    .leads_to("bitcointap-exporter", "Exporter"),
                    stat(
                        "Cost for the node",
                        "Share of one core that tracepoints take from the node: an estimate, events times the \
                         2.1 µs that were measured.",
                        "percentunit",
                    )
                    .query(
                        "node",
                        &format!(
                            "sum(rate(bitcointap_events_total[$__rate_interval])) * \
                    {SECONDS_PER_EVENT}"
                        ),
                    )
                    .warns_from(0.05, "orange"),
                    stat("Connections", "Open now, inbound and outbound.", "short")
                        .query("connections", "sum(bitcointap_p2p_connections)")
                        .since("v29")
                        .leads_to("bitcointap-peers", "Peers and churn"),
                    stat("Messages", "P2P messages in both directions.", "mps")
                        .rate("", "bitcointap_p2p_messages_total")
                        .named("messages")
                        .leads_to("bitcointap-messages", "P2P messages"),
                    stat(
                        "Mempool grows by",
                        "Transactions added minus removed, each hour. The mempool's size itself no tracepoint tells.",
                        "suffix: tx/h",
                    )
                    .query(
                        "mempool",
                        "3600 * (sum(rate(bitcointap_mempool_transactions_total{action='added'}[$__rate_interval])) - \
                         sum(rate(bitcointap_mempool_transactions_total{action='removed'}[$__rate_interval])))",
                    )
                    .since("v25")
                    .leads_to("bitcointap-mempool", "Mempool"),
                    height().leads_to("bitcointap-blocks", "Blocks and relay"),
                    last_block().leads_to("bitcointap-blocks", "Blocks and relay"),
                    stat("Offences", "Misbehaviour of peers in the time range.", "short")
                        .query("offences", &increase_with_new("", "bitcointap_p2p_misbehaving_total"))
                        .warns_from(1.0, "orange")
                        .since("v29")
                        .leads_to("bitcointap-peers", "Peers and churn"),
                    states("Tapped when", "When bitcointap was attached to a running node.", ["no node", "tapped"])
                        .query("{{instance}}", "bitcointap_up")
                        .size(24, 4),
                ],
            ),
            (
                "What changed?",
                vec![
                    graph("Events", "Hits of tracepoints, and before.", "eps")
                        .rate("", "bitcointap_events_total")
                        .named("events")
                        .beside_before(),
                    graph(
                        "Events lost",
                        "By tracepoint and reason: the ring buffer was full, or the node's memory could not be \
                         read. Empty is good.",
                        "eps",
                    )
                    .query(
                        "{{tracepoint}} {{reason}}",
                        "sum by (tracepoint, reason) (rate(bitcointap_events_lost_total[$__rate_interval])) > 0",
                    ),
                    graph("Messages", "P2P messages by direction, and before. Outbound is below the axis.", "mps")
                        .rate("direction", "bitcointap_p2p_messages_total")
                        .beside_before()
                        .below("/^outbound/")
                        .leads_to("bitcointap-messages", "P2P messages"),
                    graph(
                        "Traffic",
                        "Payload of P2P messages by direction, and before. Outbound is below the axis.",
                        "Bps",
                    )
                    .rate("direction", "bitcointap_p2p_message_bytes_total")
                    .beside_before()
                    .below("/^outbound/")
                    .leads_to("bitcointap-messages", "P2P messages"),
                    graph("Connections", "Open now, by type.", "short")
                        .query("{{connection_type}}", "sum by (connection_type) (bitcointap_p2p_connections) > 0")
                        .stacked()
                        .since("v29")
                        .leads_to("bitcointap-peers", "Peers and churn"),
                    graph(
                        "Churn",
                        "Connections opened, closed, and evicted to make room for others; evicted ones are \
                         closed, too.",
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
                        "Mempool",
                        "Transactions by what became of them. Actions overlap: they are not to be summed.",
                        "suffix: tx/s",
                    )
                    .rate("action", "bitcointap_mempool_transactions_total")
                    .colours(&[("added", "green"), ("removed", "blue"), ("replaced", "purple"), ("rejected", "red")])
                    .since("v25")
                    .leads_to("bitcointap-mempool", "Mempool"),
                    heatmap(
                        "From announcement to connected",
                        "How long new blocks took from their first announcement to being connected.",
                        "s",
                        "bitcointap_p2p_block_announcement_to_connected_seconds",
                    )
                    .leads_to("bitcointap-blocks", "Blocks and relay"),
                    graph("Round trips", "From the node's pings to the peers' pongs.", "s")
                        .quantiles("bitcointap_p2p_ping_round_trip_seconds")
                        .leads_to("bitcointap-peers", "Peers and churn"),
                    graph(
                        "Cost",
                        "Shares of one core: what bitcointap itself takes, and the estimate of what tracepoints \
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
