//! How blocks come, what is in them, what connecting them takes; and the UTXO cache.

use crate::{
    dashboard::Dashboard,
    panel::{Panel, bars, graph, heatmap, stat},
};

const RESULTS: &[(&str, &str)] =
    &[("from_mempool", "green"), ("requested_transactions", "yellow"), ("full_block", "orange"), ("unfinished", "red")];

fn height() -> Panel {
    stat(
        "Block height",
        "Of the chain, as far as blocks were connected since attaching; none before the first.",
        "none",
    )
    .query("{{instance}}", "bitcointap_validation_block_height")
}

fn last_block() -> Panel {
    stat(
        "Time since the last block",
        "Time since it was connected. Every hundredth block takes more than 46 minutes.",
        "dtdurations",
    )
    .query("{{instance}}", "time() - bitcointap_validation_last_block_connected_timestamp_seconds")
    .warns_from(3600.0, "orange")
}

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-blocks",
        title: "Blocks and relay",
        about: "From the announcement of a block to its being connected: compact blocks, requests, validation, \
        UTXO cache.",
        range: "24h",
        refresh: "1m",
        rows: vec![
            (
                "Blocks",
                vec![
                    height().size(6, 4),
                    last_block().size(6, 4),
                    stat("Blocks connected in the time range", "Blocks in the time range.", "short")
                        .query("blocks", "sum(increase(bitcointap_validation_blocks_connected_total[$__range]))")
                        .size(6, 4),
                    stat(
                        "Blocks reorganised in the time range",
                        "Blocks that took the place of others, in the time range.",
                        "short",
                    )
                    .query("blocks", "sum(increase(bitcointap_validation_reorganised_blocks_total[$__range]))")
                    .warns_from(1.0, "orange")
                    .size(6, 4),
                    graph("Block height over time", "Of the chain. A flat line is a node that falls behind.", "none")
                        .query("{{instance}}", "bitcointap_validation_block_height")
                        .not_from_zero(),
                    graph(
                        "Blocks connected per hour",
                        "By hour, and before; the network's mean is six. Many more is a node that catches up.",
                        "suffix: /h",
                    )
                    .hourly("", "bitcointap_validation_blocks_connected_total")
                    .named("connected")
                    .beside_before()
                    .hourly("", "bitcointap_validation_reorganised_blocks_total")
                    .named("reorganised")
                    .colours(&[("reorganised", "red")]),
                ],
            ),
            (
                "Relay",
                vec![
                    heatmap(
                        "Block announcement to connection",
                        "How long new blocks took from their first announcement to being connected.",
                        "s",
                        "bitcointap_p2p_block_announcement_to_connected_seconds",
                    ),
                    graph(
                        "Share of blocks connected within a second",
                        "Share of new blocks, of their first announcement; and before.",
                        "percentunit",
                    )
                    .query(
                        "within a second",
                        // The classic text says 1, OpenMetrics 1.0.
                        "sum(rate(bitcointap_p2p_block_announcement_to_connected_seconds_bucket\
                             {le=~'1|1\\\\.0'}[$__rate_interval])) / \
                             sum(rate(bitcointap_p2p_block_announcement_to_connected_seconds_count[$__rate_interval]))",
                    )
                    .beside_before(),
                    graph(
                        "Compact blocks by reconstruction",
                        "By what it took to make them whole: the mempool, a getblocktxn, or the whole block.",
                        "suffix: /h",
                    )
                    .hourly("result", "bitcointap_p2p_compact_block_reconstructions_total")
                    .colours(RESULTS)
                    .stacked()
                    .size(8, 9),
                    bars(
                        "Compact blocks in the time range",
                        "In the time range by what it took to make them whole.",
                        "short",
                    )
                    .total("result", "bitcointap_p2p_compact_block_reconstructions_total")
                    .colours(RESULTS),
                    graph(
                        "Share of prefilled transactions",
                        "Share of the transactions in cmpctblock messages that are sent along, by direction.",
                        "percentunit",
                    )
                    .query(
                        "{{direction}}",
                        "sum by (direction) \
                             (rate(bitcointap_p2p_compact_block_transactions_total\
                             {kind='prefilled'}[$__rate_interval])) / \
                             sum by (direction) \
                             (rate(bitcointap_p2p_compact_block_transactions_total[$__rate_interval]))",
                    )
                    .size(8, 9),
                    graph(
                        "Transactions requested by getblocktxn",
                        "In getblocktxn messages: outbound is what the mempool of the node lacked.",
                        "suffix: tx/h",
                    )
                    .hourly("direction", "bitcointap_p2p_block_transactions_requested_total")
                    .size(8, 9),
                    graph(
                        "Response time for blocks",
                        "From a getdata for a block to the block, nine of ten are faster; by who responds.",
                        "s",
                    )
                    .query(
                        "{{responder}}",
                        "histogram_quantile(0.9, sum by (responder, le) \
                             (rate(bitcointap_p2p_response_seconds_bucket\
                             {request='getdata_block'}[$__rate_interval])))",
                    )
                    .size(8, 9),
                    graph(
                        "Block messages by command",
                        "Messages that carry or announce blocks, by direction and command.",
                        "suffix: /h",
                    )
                    .hourly(
                        "direction, command",
                        "bitcointap_p2p_messages_total\
                             {command=~'block|cmpctblock|blocktxn|getblocktxn|headers|merkleblock'}",
                    )
                    .size(8, 9),
                ],
            ),
            (
                "Validation",
                vec![
                    heatmap(
                        "Block connection time",
                        "Neither its transfer nor the time that it waited.",
                        "s",
                        "bitcointap_validation_block_connection_seconds",
                    )
                    .size(8, 8),
                    graph("Block connection time quantiles", "Quantiles, and before.", "s")
                        .query(
                            "median",
                            "histogram_quantile(0.5, sum by (le) \
                             (rate(bitcointap_validation_block_connection_seconds_bucket[$__rate_interval])))",
                        )
                        .query(
                            "90 %",
                            "histogram_quantile(0.9, sum by (le) \
                             (rate(bitcointap_validation_block_connection_seconds_bucket[$__rate_interval])))",
                        )
                        .beside_before()
                        .size(8, 8),
                    heatmap(
                        "Transactions per block",
                        "The coinbase included.",
                        "short",
                        "bitcointap_validation_block_transactions",
                    )
                    .size(8, 8),
                    heatmap(
                        "Inputs per block",
                        "The coinbase's one included.",
                        "short",
                        "bitcointap_validation_block_inputs",
                    )
                    .size(8, 8),
                    heatmap(
                        "Signature operations per block",
                        "As Bitcoin Core weighs them (BIP 141's cost), of at most 80,000.",
                        "short",
                        "bitcointap_validation_block_sigops",
                    )
                    .size(8, 8),
                    graph("Connection time per input", "What connecting blocks took, for each of their inputs.", "s")
                        .query(
                            "mean",
                            "sum(rate(bitcointap_validation_block_connection_seconds_sum[$__rate_interval])) / \
                             sum(rate(bitcointap_validation_block_inputs_sum[$__rate_interval]))",
                        )
                        .beside_before()
                        .size(8, 8),
                ],
            ),
            (
                "UTXO cache",
                vec![
                    heatmap(
                        "UTXO cache write time",
                        "Whatever the mode was; the node validates nothing meanwhile.",
                        "s",
                        "bitcointap_utxocache_flush_seconds",
                    )
                    .size(8, 8),
                    graph(
                        "UTXO cache writes by mode",
                        "By Bitcoin Core's mode, and whether pruning was the cause.",
                        "suffix: /h",
                    )
                    .hourly("mode, for_prune", "bitcointap_utxocache_flush_seconds_count")
                    .size(8, 8),
                    heatmap(
                        "UTXO cache memory before a write",
                        "That the cache took.",
                        "bytes",
                        "bitcointap_utxocache_flushed_bytes",
                    )
                    .size(8, 8),
                    heatmap(
                        "UTXO cache coins before a write",
                        "In the cache; only those that changed are written.",
                        "short",
                        "bitcointap_utxocache_flushed_coins",
                    )
                    .size(8, 8),
                    graph("UTXO cache coins by action", "Added, spent and dropped on purpose, of any cache.", "cps")
                        .rate("action", "bitcointap_utxocache_coins_total")
                        .option("--utxocache-coins")
                        .size(8, 8),
                    graph(
                        "UTXO cache value by action",
                        "Added, spent and dropped on purpose, of any cache.",
                        "suffix: BTC/s",
                    )
                    .query(
                        "{{action}}",
                        "sum by (action) (rate(bitcointap_utxocache_value_satoshis_total[$__rate_interval])) \
                             / 1e8",
                    )
                    .option("--utxocache-coins")
                    .size(8, 8),
                ],
            ),
        ],
    }
}
