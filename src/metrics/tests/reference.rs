//! docs/metrics.md, which is made from the definitions. In: each family. Out: the claim that the page says what the
//! code does; with BLESS=1 the page itself.

use std::{collections::BTreeMap, env, fmt::Write, fs};

use prometheus::proto::MetricType;

use crate::metrics::{family::Defined, testing::everything_and_a_list, *};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

const HEAD: &str = "# Metrics

Counters end in `_total`, units are seconds, bytes and satoshis. Times are those at which tracepoints fire in the node. A
family exists only while a tracepoint that feeds it is attached, and a gauge only once its value is known.

Most labels have closed sets of values. A few have texts that peers or the node choose. bitcointap keeps
`--max-free-form-values` of these for a family, unless the family says otherwise. An empty text counts as `none`, a text that is
not kept as `other`. So the number of series has a bound that no peer can move. Each line of `/metrics` is one series.
";

/// How far one peer can move a number: each family of peers appears once.
const MOVED_BY_ONE_PEER: &[(&str, &[&str])] = &[
    (
        "Without limit: they count messages and their contents, not peers. So do their medians. The peer sends `inbound` \
         messages, and asks the `responder` `node`",
        &[
            "p2p_address_age_seconds",
            "p2p_address_announcements_total",
            "p2p_address_message_addresses",
            "p2p_address_services_total",
            "p2p_addresses_from_future_total",
            "p2p_addresses_total",
            "p2p_block_transactions_requested_total",
            "p2p_compact_block_transactions_total",
            "p2p_feefilter_satoshis_per_kvbyte",
            "p2p_headers_total",
            "p2p_inv_messages_total",
            "p2p_inventory_items_total",
            "p2p_inventory_message_items",
            "p2p_listed_message_bytes_total",
            "p2p_listed_messages_total",
            "p2p_message_bytes_total",
            "p2p_message_size_bytes",
            "p2p_messages_total",
            "p2p_ping_nonces_total",
            "p2p_rejects_total",
            "p2p_requests_unanswered_total",
            "p2p_response_seconds",
            "p2p_undecodable_messages_total",
        ],
    ),
    (
        "Without limit, by transactions that the node rejects",
        &["mempool_rejections_total", "mempool_transactions_total"],
    ),
    ("Without limit if the node may not drop the peer (`noban`, manual), otherwise by one", &["p2p_misbehaving_total"]),
    (
        "By one for each connection, however much the peer sends",
        &[
            "p2p_connection_duration_seconds",
            "p2p_connections",
            "p2p_connections_closed_total",
            "p2p_connections_evicted_total",
            "p2p_connections_opened_total",
            "p2p_handshake_seconds",
            "p2p_inbound_largest_netgroup_connections",
            "p2p_inbound_netgroups",
            "p2p_listed_connections_opened_total",
            "p2p_node_connections",
            "p2p_peer_clock_offset_seconds",
            "p2p_peer_protocol_versions_total",
            "p2p_peer_services_total",
            "p2p_peer_txrcncl_versions_total",
            "p2p_reconnections_total",
            "p2p_transport_retries_total",
            "p2p_user_agents_total",
        ],
    ),
    ("By one for each of the first 16 features that a connection names", &["p2p_peer_features_total"]),
    ("By one for each ping of the node", &["p2p_ping_round_trip_seconds"]),
    (
        "By up to 16 blocks at a time for each connection, of blocks that are not connected yet",
        &["p2p_block_announcement_to_connected_seconds", "p2p_compact_block_reconstructions_total"],
    ),
];

/// A set of values that this many families have is listed once.
const SHARED_BY: usize = 3;

type Values = Vec<&'static str>;

fn page() -> String {
    let metrics = Metrics::new(Tracepoint::all().collect(), &everything_and_a_list());
    let families = &metrics.registered.defined;
    let mut sharing = BTreeMap::<(&str, &Values), usize>::new();
    for (label, values) in families.values().flat_map(|family| &family.closed_labels) {
        *sharing.entry((label, values)).or_default() += 1;
    }
    sharing.retain(|_, families| *families >= SHARED_BY);

    let mut page = HEAD.to_owned();
    let sum = |by_list: bool| -> usize {
        families.values().filter(|family| family.is_by_list() == by_list).map(|family| family.lines).sum()
    };
    let (total, by_list) = (sum(false), sum(true));
    writeln!(
        page,
        "\nWith every option but `--address-list` there are at most {total} of them. Each list adds up to {by_list}."
    )
    .unwrap();
    page += "\n| family | kind | labels | series at most |\n|---|---|---|---|\n";
    for (name, family) in families {
        let labels: Vec<_> = family.labels().iter().map(|label| format!("`{label}`")).collect();
        let (kind, lines) = (family.kind_in_words(), family.lines);
        let each = if family.is_by_list() { " for each list" } else { "" };
        writeln!(
            page,
            "| [`bitcointap_{name}`](#bitcointap_{name}) | {kind} | {} | {lines}{each} |",
            labels.join(", ")
        )
        .unwrap();
    }
    page += "\n## Labels\n\nTheir values, unless a family names others:\n\n";
    for (label, values) in sharing.keys() {
        writeln!(page, "- `{label}`: {}", values.join(", ")).unwrap();
    }
    page += "\n## What one peer can move\n\n| how far | families |\n|---|---|\n";
    for (how, names) in MOVED_BY_ONE_PEER {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        writeln!(page, "| {how}. | {} |", names.join(", ")).unwrap();
    }
    page += "\nAll other families describe the node, what it accepts as valid, and bitcointap itself.\n\n## Families\n";
    for (name, family) in families {
        writeln!(page, "\n### bitcointap_{name}\n\n{}", family.help()).unwrap();
        for (label, values) in &family.closed_labels {
            // A label with one value says what the build or the options say.
            if values.len() > 1 && !sharing.contains_key(&(*label, values)) {
                write!(page, "\n`{label}`: {}.", values.join(", ")).unwrap();
            }
        }
        if let Some(bounds) = &family.bounds {
            let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
            write!(page, "\nBuckets up to {}.", bounds.join(", ")).unwrap();
        }
        if !page.ends_with('\n') {
            page.push('\n');
        }
    }
    page += "\n---\n\nThis page is made from the code by `BLESS=1 cargo test --lib reference`; a test compares them.\n";
    page
}

impl Defined {
    fn help(&self) -> String {
        self.collector.desc()[0].help.replace('<', "\\<")
    }

    fn labels(&self) -> &[String] {
        &self.collector.desc()[0].variable_labels
    }

    fn is_by_list(&self) -> bool {
        self.labels().iter().any(|label| label == "list")
    }

    fn kind_in_words(&self) -> &'static str {
        match self.kind() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY | MetricType::UNTYPED => unreachable!("no family is of this kind"),
        }
    }
}

#[test]
fn the_page_says_what_the_code_does() {
    let page = page();
    if env::var_os("BLESS").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    assert!(
        fs::read_to_string(PAGE).unwrap_or_default() == page,
        "docs/metrics.md is old: BLESS=1 cargo test reference"
    );
}

#[test]
fn how_far_one_peer_moves_it_is_said_of_each_family_of_peers() {
    let metrics = Metrics::new(Tracepoint::all().collect(), &everything_and_a_list());
    let mut said: Vec<_> = MOVED_BY_ONE_PEER.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    said.sort_unstable();
    let defined = &metrics.registered.defined;
    let expected: Vec<_> = defined.keys().copied().filter(|name| name.starts_with("p2p_")).collect();
    assert_eq!(said.iter().copied().filter(|name| name.starts_with("p2p_")).collect::<Vec<_>>(), expected);
    assert!(said.iter().all(|name| defined.contains_key(name)));
}
