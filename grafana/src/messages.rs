//! P2P messages: how many, how big, what is in them, and which do not decode.

use crate::{
    dashboard::Dashboard,
    panel::{bars, graph, heatmap},
};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-messages",
        title: "P2P messages",
        about: "Messages by command, direction and connection type; inventories, addresses, requests and oddities.",
        range: "24h",
        refresh: "1m",
        rows: vec![
            (
                "Messages",
                vec![
                    graph(
                        "Messages from peers by command",
                        "Messages from peers by command, when the node processes them.",
                        "mps",
                    )
                    .rate("command", "bitcointap_p2p_messages_total{direction='inbound'}")
                    .size(8, 9),
                    graph(
                        "Messages to peers by command",
                        "Messages to peers by command, when the node queues them.",
                        "mps",
                    )
                    .rate("command", "bitcointap_p2p_messages_total{direction='outbound'}")
                    .size(8, 9),
                    bars(
                        "Messages in the time range",
                        "Messages in the time range, by direction and command.",
                        "short",
                    )
                    .total("direction, command", "bitcointap_p2p_messages_total"),
                    graph(
                        "Payload from peers by command",
                        "Payload from peers by command, without the transport's headers.",
                        "Bps",
                    )
                    .rate("command", "bitcointap_p2p_message_bytes_total{direction='inbound'}")
                    .size(8, 9),
                    graph(
                        "Payload to peers by command",
                        "Payload to peers by command, without the transport's headers.",
                        "Bps",
                    )
                    .rate("command", "bitcointap_p2p_message_bytes_total{direction='outbound'}")
                    .size(8, 9),
                    bars("Payload in the time range", "Payload in the time range, by direction and command.", "bytes")
                        .total("direction, command", "bitcointap_p2p_message_bytes_total"),
                    graph("Messages by connection type", "Messages in both directions, and all of them before.", "mps")
                        .rate("connection_type", "bitcointap_p2p_messages_total")
                        .query(
                            "all ($before before)",
                            "sum(rate(bitcointap_p2p_messages_total[$__rate_interval] offset $before))",
                        )
                        .stacked(),
                    graph(
                        "Messages by command relative to before",
                        "Rate of messages of each command, divided by its rate before: 1 is no change. Only \
                         commands that then had more than 0.1 messages a second.",
                        "none",
                    )
                    .query(
                        "{{command}}",
                        "sum by (command) (rate(bitcointap_p2p_messages_total[$__rate_interval])) / \
                         (sum by (command) (rate(bitcointap_p2p_messages_total[$__rate_interval] offset $before)) \
                         > 0.1)",
                    ),
                ],
            ),
            (
                "Sizes and contents",
                vec![
                    heatmap(
                        "Sizes of messages from peers",
                        "Payload sizes of single messages from peers, for commands with varying sizes.",
                        "bytes",
                        "bitcointap_p2p_message_size_bytes{direction='inbound'}",
                    ),
                    heatmap(
                        "Items per inv message from peers",
                        "Transactions and blocks that peers announce in one message. Bitcoin Core accepts 50000.",
                        "short",
                        "bitcointap_p2p_inventory_message_items{direction='inbound', message='inv'}",
                    ),
                    graph(
                        "Inventory items from peers",
                        "Items that peers announce (inv), request (getdata) and do not have (notfound), by \
                         message and type.",
                        "cps",
                    )
                    .rate("message, item", "bitcointap_p2p_inventory_items_total{direction='inbound'}"),
                    graph(
                        "Inventory items to peers",
                        "Items that the node announces (inv), requests (getdata) and does not have (notfound), by \
                         message and type.",
                        "cps",
                    )
                    .rate("message, item", "bitcointap_p2p_inventory_items_total{direction='outbound'}"),
                    graph(
                        "inv messages by mix of items",
                        "inv messages by the mix of their items, in both directions. Bitcoin Core sends no empty \
                         ones.",
                        "mps",
                    )
                    .rate("direction, mix", "bitcointap_p2p_inv_messages_total"),
                    graph(
                        "Headers by direction",
                        "Headers in headers messages. A header counts for each peer that sends or receives it.",
                        "cps",
                    )
                    .rate("direction", "bitcointap_p2p_headers_total"),
                    graph(
                        "Fee filters of peers",
                        "Lowest feerates that peers ask for, in satoshis for 1000 virtual bytes.",
                        "suffix: sat/kvB",
                    )
                    .quantiles("bitcointap_p2p_feefilter_satoshis_per_kvbyte{direction='inbound'}"),
                    graph(
                        "Pings of peers by width of nonce",
                        "Pings of peers by the bits of their nonce. Bitcoin Core sends u64.",
                        "mps",
                    )
                    .rate("width", "bitcointap_p2p_ping_nonces_total"),
                ],
            ),
            (
                "Addresses",
                vec![
                    graph(
                        "Addresses by direction and network",
                        "Addresses in addr and addrv2 messages, by direction and network.",
                        "cps",
                    )
                    .rate("direction, network", "bitcointap_p2p_addresses_total")
                    .size(8, 9),
                    graph(
                        "Addresses by nearness",
                        "Addresses that peers announce: their own (self), one in their subnet, or another. Look \
                         closer at a flood of others.",
                        "cps",
                    )
                    .rate("kind", "bitcointap_p2p_address_announcements_total")
                    .stacked()
                    .size(8, 9),
                    bars(
                        "Services of relayed addresses",
                        "Services of the nodes in addresses that peers announced, in the time range.",
                        "short",
                    )
                    .total("service", "bitcointap_p2p_address_services_total{direction='inbound'}"),
                    heatmap(
                        "Addresses per message",
                        "Addresses in single addr and addrv2 messages of peers. Bitcoin Core accepts 1000.",
                        "short",
                        "bitcointap_p2p_address_message_addresses{direction='inbound'}",
                    ),
                    heatmap(
                        "Age of relayed addresses",
                        "How long ago the nodes in announced addresses were last seen, as peers say.",
                        "s",
                        "bitcointap_p2p_address_age_seconds{direction='inbound'}",
                    ),
                ],
            ),
            (
                "Requests and oddities",
                vec![
                    graph(
                        "Response time by request",
                        "Time from a request to its response, by request and who responds. Nine of ten are faster.",
                        "s",
                    )
                    .query(
                        "{{request}} {{responder}}",
                        "histogram_quantile(0.9, sum by (request, responder, le) \
                         (rate(bitcointap_p2p_response_seconds_bucket{request!='getdata_tx'}[$__rate_interval])))",
                    ),
                    graph(
                        "Response time for transactions",
                        "Time from the node's getdata for a transaction until a peer sends the transaction.",
                        "s",
                    )
                    .quantiles("bitcointap_p2p_response_seconds{request='getdata_tx', responder='peer'}")
                    .option("--tx-response"),
                    graph(
                        "Requests without response",
                        "Requests by kind, who should have responded, and what ended the wait.",
                        "suffix: /h",
                    )
                    .hourly("request, responder, cause", "bitcointap_p2p_requests_unanswered_total"),
                    graph(
                        "Undecodable messages",
                        "Messages with payloads that are not what their command says, by direction and command.",
                        "suffix: /h",
                    )
                    .query(
                        "{{direction}} {{command}}",
                        "3600 * sum by (direction, command) \
                             (rate(bitcointap_p2p_undecodable_messages_total[$__rate_interval])) > 0",
                    ),
                    bars(
                        "reject messages",
                        "reject messages (BIP 61) in the time range. Bitcoin Core no longer sends them.",
                        "short",
                    )
                    .total("direction, command, code", "bitcointap_p2p_rejects_total")
                    .size(12, 8),
                    bars(
                        "Messages with listed peers",
                        "Messages with peers in the operator's lists of addresses, in the time range.",
                        "short",
                    )
                    .total("list, direction, command", "bitcointap_p2p_listed_messages_total")
                    .size(12, 8)
                    .option("--address-list"),
                ],
            ),
        ],
    }
}
