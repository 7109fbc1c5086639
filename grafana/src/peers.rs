//! Which peers are connected, which come and go, how far away they are, and which misbehave.

use crate::{
    dashboard::Dashboard,
    panel::{bars, graph, heatmap, stat},
};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-peers",
        title: "Peers and churn",
        about: "Connections open, opened, closed and evicted; handshakes, round trips, what peers say of themselves, \
         offences.",
        range: "24h",
        refresh: "1m",
        rows: vec![
            (
                "Connected now",
                vec![
                    stat(
                        "Open connections by direction",
                        "Connections open now, by direction, from openings, closings and messages.",
                        "short",
                    )
                    .query("inbound", "sum(bitcointap_p2p_connections{connection_type='inbound'})")
                    .query("outbound", "sum(bitcointap_p2p_connections{connection_type!='inbound'})")
                    .since("v29")
                    .size(6, 4),
                    stat(
                        "The node's own count of connections",
                        "The node's own count when it last opened a connection.",
                        "short",
                    )
                    .query("{{direction}}", "sum by (direction) (bitcointap_p2p_node_connections)")
                    .since("v29")
                    .size(6, 4),
                    stat(
                        "Share of the largest netgroup",
                        "Largest share of inbound connections that come from one group of addresses (IPv4 /16, \
                         IPv6 /32), by network.",
                        "percentunit",
                    )
                    .query(
                        "{{network}}",
                        "max by (network) (bitcointap_p2p_inbound_largest_netgroup_connections \
                         / on (job, instance, network) (sum by (job, instance, network) \
                         (bitcointap_p2p_connections{connection_type='inbound'}) > 0))",
                    )
                    .warns_from(0.25, "orange")
                    .since("v29")
                    .size(6, 4),
                    stat("Median connection lifetime", "Median duration of closed connections.", "s")
                        .query(
                            "median",
                            "histogram_quantile(0.5, sum by (le) \
                             (rate(bitcointap_p2p_connection_duration_seconds_bucket[$__rate_interval])))",
                        )
                        .since("v29")
                        .size(6, 4),
                    graph("Open connections by type", "Connections open now, by type.", "short")
                        .query("{{connection_type}}", "sum by (connection_type) (bitcointap_p2p_connections) > 0")
                        .stacked()
                        .since("v29")
                        .size(8, 9),
                    graph(
                        "Open connections by network",
                        "Connections open now, by network, and all of them before.",
                        "short",
                    )
                    .query("{{network}}", "sum by (network) (bitcointap_p2p_connections) > 0")
                    .query("all ($before before)", "sum(bitcointap_p2p_connections offset $before)")
                    .stacked()
                    .since("v29")
                    .size(8, 9),
                    graph(
                        "Netgroups of inbound peers",
                        "Groups of addresses (IPv4 /16, IPv6 /32) that inbound peers come from, and connections \
                         from the largest group.",
                        "short",
                    )
                    .query("{{network}} groups", "sum by (network) (bitcointap_p2p_inbound_netgroups)")
                    .query(
                        "{{network}} largest",
                        "max by (network) \
                        (bitcointap_p2p_inbound_largest_netgroup_connections)",
                    )
                    .since("v29")
                    .size(8, 9),
                ],
            ),
            (
                "Churn",
                vec![
                    graph(
                        "Connections opened by type",
                        "Connections opened by type, and all of them before.",
                        "suffix: /h",
                    )
                    .hourly("connection_type", "bitcointap_p2p_connections_opened_total")
                    .query(
                        "all ($before before)",
                        "3600 * sum(rate(bitcointap_p2p_connections_opened_total[$__rate_interval] offset \
                             $before))",
                    )
                    .stacked()
                    .since("v29")
                    .size(8, 9),
                    graph(
                        "Connections closed by type",
                        "Connections closed by either side, by type, and all of them before. Includes evicted ones.",
                        "suffix: /h",
                    )
                    .hourly("connection_type", "bitcointap_p2p_connections_closed_total")
                    .query(
                        "all ($before before)",
                        "3600 * sum(rate(bitcointap_p2p_connections_closed_total[$__rate_interval] offset \
                             $before))",
                    )
                    .stacked()
                    .since("v29")
                    .size(8, 9),
                    bars(
                        "Connections opened in the time range",
                        "Connections opened in the time range, by type and network.",
                        "short",
                    )
                    .total("connection_type, network", "bitcointap_p2p_connections_opened_total")
                    .since("v29"),
                    graph(
                        "Inbound connections evicted by network",
                        "Inbound connections closed to make room for another, by network.",
                        "suffix: /h",
                    )
                    .hourly("network", "bitcointap_p2p_connections_evicted_total")
                    .stacked()
                    .since("v29")
                    .size(8, 9),
                    graph(
                        "Reconnections and transport retries",
                        "Connections with a host that had a connection closed less than an hour before, and \
                         fall-backs to the v1 transport.",
                        "suffix: /h",
                    )
                    .hourly("connection_type", "bitcointap_p2p_reconnections_total")
                    .hourly("", "bitcointap_p2p_transport_retries_total")
                    .named("transport retries")
                    .since("v29")
                    .size(8, 9),
                    heatmap(
                        "Connection lifetime",
                        "How long closed connections had lasted.",
                        "s",
                        "bitcointap_p2p_connection_duration_seconds",
                    )
                    .since("v29")
                    .size(8, 9),
                    graph(
                        "Misbehaviour by reason",
                        "Offences of peers by reason. Only the total includes the first offence of a reason.",
                        "suffix: /h",
                    )
                    .hourly("reason", "bitcointap_p2p_misbehaving_total")
                    .since("v29"),
                    bars("Misbehaviour in the time range", "In the time range, by reason.", "short")
                        .total_with_new("reason", "bitcointap_p2p_misbehaving_total")
                        .since("v29")
                        .size(6, 8),
                    bars(
                        "Connections opened with listed peers",
                        "Connections opened with peers in the operator's lists of addresses, in the time range.",
                        "short",
                    )
                    .total("list", "bitcointap_p2p_listed_connections_opened_total")
                    .since("v29")
                    .option("--address-list")
                    .size(6, 8),
                ],
            ),
            (
                "Latency",
                vec![
                    heatmap(
                        "Ping round trips",
                        "Time from the node's pings to the peers' pongs.",
                        "s",
                        "bitcointap_p2p_ping_round_trip_seconds",
                    )
                    .size(8, 8),
                    graph(
                        "Median ping round trip by type",
                        "Median time from the node's pings to the peers' pongs, by type of connection.",
                        "s",
                    )
                    .query(
                        "{{connection_type}}",
                        "histogram_quantile(0.5, sum by (connection_type, le) \
                             (rate(bitcointap_p2p_ping_round_trip_seconds_bucket[$__rate_interval])))",
                    )
                    .size(8, 8),
                    heatmap(
                        "Handshake time",
                        "Time from the opening of a connection to the peer's verack.",
                        "s",
                        "bitcointap_p2p_handshake_seconds",
                    )
                    .since("v29")
                    .size(8, 8),
                ],
            ),
            (
                "What peers say of themselves",
                vec![
                    bars("User agents of peers", "From version messages in the time range.", "short")
                        .total_with_new("user_agent", "bitcointap_p2p_user_agents_total"),
                    bars("Services of peers", "From version messages in the time range.", "short")
                        .total("service", "bitcointap_p2p_peer_services_total"),
                    bars("Protocol versions of peers", "From version messages in the time range.", "short")
                        .total("protocol_version", "bitcointap_p2p_peer_protocol_versions_total"),
                    heatmap(
                        "Clock offset of peers",
                        "Time in peers' version messages minus the time here. If most are off to one side, this \
                         machine's clock is wrong.",
                        "s",
                        "bitcointap_p2p_peer_clock_offset_seconds",
                    ),
                    graph("version messages from peers", "Version messages from peers, now and before.", "suffix: /h")
                        .hourly("", "bitcointap_p2p_messages_total{direction='inbound', command='version'}")
                        .named("version")
                        .beside_before(),
                ],
            ),
        ],
    }
}
