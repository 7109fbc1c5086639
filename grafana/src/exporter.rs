//! The exporter itself: what it is attached to, how late and how busy it is, what it loses.

use crate::{
    dashboard::Dashboard,
    panel::{bars, graph, heatmap, stat, states},
    promql::increase_with_new,
};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-exporter",
        title: "Exporter",
        about: "Whether the other dashboards are complete: attachments, losses, delays, and what bitcointap takes.",
        range: "6h",
        refresh: "30s",
        rows: vec![
            (
                "Attached",
                vec![
                    stat("Attached to a node", "Whether bitcointap is attached to a running node.", "none")
                        .query("{{instance}}", "bitcointap_up")
                        .with_states(["no node", "attached"]),
                    stat("Version of bitcointap", "Version and revision of the sources.", "none")
                        .query("{{version}} {{revision}}", "count by (version, revision) (bitcointap_build_info)")
                        .shows_name(),
                    stat(
                        "Attachments in the time range",
                        "Attachments to nodes in the time range: one for each start of the node.",
                        "short",
                    )
                    .query("attachments", &increase_with_new("", "bitcointap_attachments_total")),
                    stat(
                        "Failed attachments in the time range",
                        "Attempts to attach to a node or to a tracepoint that failed in the time range. The log says why.",
                        "short",
                    )
                    .query("failed", "sum(increase(bitcointap_attach_failures_total[$__range]))")
                    .warns_from(1.0, "red"),
                    stat(
                        "Share of events lost",
                        "Share of events in the time range that could not be delivered.",
                        "percentunit",
                    )
                    .query(
                        "lost",
                        "sum(increase(bitcointap_events_lost_total[$__range])) / \
                             (sum(increase(bitcointap_events_total[$__range])) > 0)",
                    )
                    .warns_from(1e-9, "red"),
                    stat(
                        "Event delay, 99 %",
                        "Time from when an event fires until bitcointap counts it: 99 of 100 are faster. Up to 1 s is \
                     normal while nobody looks.",
                        "s",
                    )
                    .query(
                        "99 %",
                        "histogram_quantile(0.99, sum by (le) \
                             (rate(bitcointap_event_delay_seconds_bucket[$__rate_interval])))",
                    )
                    .warns_from(1.0, "orange"),
                    states(
                        "Tracepoints attached over time",
                        "Which tracepoints were attached, and when.",
                        ["not attached", "attached"],
                    )
                    .query("{{tracepoint}}", "max by (tracepoint) (bitcointap_tracepoint_attached)")
                    .size(24, 12),
                ],
            ),
            (
                "Events",
                vec![
                    graph(
                        "Events by tracepoint",
                        "Hits by tracepoint: delivered, filtered and lost ones together.",
                        "eps",
                    )
                    .rate("tracepoint", "bitcointap_events_total")
                    .size(8, 9),
                    graph("Events of all tracepoints", "Hits of all tracepoints, now and before.", "eps")
                        .rate("", "bitcointap_events_total")
                        .named("events")
                        .beside_before()
                        .size(8, 9),
                    bars("Events in the time range", "Hits in the time range by tracepoint.", "short")
                        .total("tracepoint", "bitcointap_events_total"),
                    graph(
                        "Events lost per second",
                        "Lost events by tracepoint and reason. For ring_full, a larger --ring-buffer-size bridges \
                         longer pauses.",
                        "eps",
                    )
                    .rate("tracepoint, reason", "bitcointap_events_lost_total")
                    .size(8, 9),
                    graph("Events filtered by tracepoint", "Hits that no output wanted, by tracepoint.", "eps")
                        .rate("tracepoint", "bitcointap_events_filtered_total")
                        .size(8, 9),
                    graph(
                        "Ring buffer use",
                        "Bytes that waited in the ring buffer when bitcointap last looked, and its size.",
                        "bytes",
                    )
                    .query("{{instance}} used", "bitcointap_ring_buffer_used_bytes")
                    .query("{{instance}} size", "bitcointap_ring_buffer_bytes")
                    .size(8, 9),
                    heatmap(
                        "Event delay",
                        "Time from when an event fires in the node until bitcointap counts it. Up to 1 s is \
                         normal while nobody looks.",
                        "s",
                        "bitcointap_event_delay_seconds",
                    )
                    .size(8, 8),
                    graph(
                        "State entries dropped",
                        "Entries that fell out of the exporter's tables before the event that they waited for \
                         came, by table and cause.",
                        "suffix: /h",
                    )
                    .hourly("table, cause", "bitcointap_state_dropped_total")
                    .size(8, 8),
                    graph(
                        "JSON lines written and lost",
                        "Lines written by --json and to readers of /events, and lines not written because an \
                         output was too slow or failed.",
                        "suffix: lines/s",
                    )
                    .rate("", "bitcointap_json_lines_total")
                    .named("written")
                    .rate("", "bitcointap_json_lines_lost_total")
                    .named("lost")
                    .colours(&[("written", "green"), ("lost", "red")])
                    .size(8, 8),
                ],
            ),
            (
                "Resources of bitcointap",
                vec![
                    graph("CPU of bitcointap", "CPU time of bitcointap as a share of one core.", "percentunit")
                        .rate("instance", "process_cpu_seconds_total")
                        .size(8, 8),
                    graph("CPU of bitcointap per event", "CPU time of bitcointap for each event.", "s")
                        .query(
                            "{{instance}}",
                            "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval])) / \
                             (sum by (instance) (rate(bitcointap_events_total[$__rate_interval])) > 0)",
                        )
                        .size(8, 8),
                    graph("Memory of bitcointap", "Resident memory. It includes the ring buffer twice.", "bytes")
                        .query("{{instance}}", "process_resident_memory_bytes")
                        .size(8, 8),
                    graph("HTTP requests by path and code", "HTTP requests answered, by path and status.", "reqps")
                        .query(
                            "{{path}} {{code}}",
                            "sum by (path, code) (rate(bitcointap_http_requests_total[$__rate_interval])) > 0",
                        ),
                    graph("Open file descriptors", "File descriptors that are open, and how many may be.", "short")
                        .query("{{instance}} open", "process_open_fds")
                        .query("{{instance}} at most", "process_max_fds"),
                ],
            ),
        ],
    }
}
