//! How blocks come, what is in them, how long the node takes to connect them; and the UTXO cache.

use crate::{
    dashboard::Dashboard,
    panel::{Panel, bars, graph, heatmap, stat},
};

const RESULTS: &[(&str, &str)] =
    &[("from_mempool", "green"), ("requested_transactions", "yellow"), ("full_block", "orange"), ("unfinished", "red")];

fn height() -> Panel {
    stat(
        "Block height",
        "Height of the chain, from blocks connected since attaching. Empty before the first one.",
        "none",
    )
    .query("{{instance}}", "bitcointap_validation_block_height")
}

fn last_block() -> Panel {
    stat(
        "Time since the last block",
        "Time since the node connected the last block. One block in a hundred takes more than 46 minutes.",
        "dtdurations",
    )
    .query("{{instance}}", "time() - bitcointap_validation_last_block_connected_timestamp_seconds")
    .warns_from(3600.0, "orange")
}

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-blocks",
        title: "Blocks and relay",
        about: "How blocks go from announcement to connection: compact blocks, requests, validation, UTXO cache.",
        range: "24h",
        refresh: "1m",
        rows: vec![
            (
                "Blocks",
                vec![
                    height().size(6, 4),
                    last_block().size(6, 4),
                    stat("Blocks connected in the time range", "Blocks connected in the time range.", "short")
                        .query("blocks", "sum(increase(bitcointap_validation_blocks_connected_total[$__range]))")
                        .size(6, 4),
                    stat(
                        "Blocks reorganised in the time range",
                        "Blocks that replaced others, in the time range.",
                        "short",
                    )
                    .query("blocks", "sum(increase(bitcointap_validation_reorganised_blocks_total[$__range]))")
                    .warns_from(1.0, "orange")
                    .size(6, 4),
                    graph(
                        "Block height over time",
                        "Height of the chain. A flat line means that the node falls behind.",
                        "none",
                    )
                    .query("{{instance}}", "bitcointap_validation_block_height")
                    .not_from_zero(),
                    graph(
                        "Blocks connected per hour",
                        "Blocks connected each hour, now and before. The network's mean is six. Many more mean \
                         that the node catches up.",
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
                        "Time from a new block's first announcement until the node connected it.",
                        "s",
                        "bitcointap_p2p_block_announcement_to_connected_seconds",
                    ),
                    graph(
                        "Share of blocks connected within a second",
                        "Share of new blocks that were connected within a second of their first announcement, now \
                         and before.",
                        "percentunit",
                    )
                    .query(
                        "within a second",
                        // The classic text says 1, OpenMetrics 1.0.
                        "sum(rate(bitcointap_p2p_block_announcement_to_connected_seconds_bucket\
                             {le=~'1([.]0)?'}[$__rate_interval])) / \
                             sum(rate(bitcointap_p2p_block_announcement_to_connected_seconds_count[$__rate_interval]))",
                    )
                    .beside_before(),
                    graph(
                        "Compact blocks by reconstruction",
                        "Compact blocks by what the node needed to reconstruct them: the mempool, a getblocktxn, \
                         or the whole block.",
                        "suffix: /h",
                    )
                    .hourly("result", "bitcointap_p2p_compact_block_reconstructions_total")
                    .colours(RESULTS)
                    .stacked()
                    .size(8, 9),
                    bars(
                        "Compact blocks in the time range",
                        "Compact blocks in the time range by what the node needed to reconstruct them.",
                        "short",
                    )
                    .total("result", "bitcointap_p2p_compact_block_reconstructions_total")
                    .colours(RESULTS),
                    graph(
                        "Share of prefilled transactions",
                        "Share of the transactions in cmpctblock messages that were sent along, by direction.",
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
                        "Transactions requested in getblocktxn messages. Outbound ones were missing in the node's \
                         mempool.",
                        "suffix: tx/h",
                    )
                    .hourly("direction", "bitcointap_p2p_block_transactions_requested_total")
                    .size(8, 9),
                    graph(
                        "Response time for blocks",
                        "Time from a getdata for a block to the block, by who responds. Nine of ten are faster.",
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
                        "Time that the node took to connect a block, without its transfer and the time that it \
                         waited.",
                        "s",
                        "bitcointap_validation_block_connection_seconds",
                    )
                    .size(8, 8),
                    graph(
                        "Block connection time quantiles",
                        "Quantiles of the time that the node took to connect a block, now and before.",
                        "s",
                    )
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
                        "Transactions of connected blocks, the coinbase included.",
                        "short",
                        "bitcointap_validation_block_transactions",
                    )
                    .size(8, 8),
                    heatmap(
                        "Inputs per block",
                        "Inputs of connected blocks, the coinbase's input included.",
                        "short",
                        "bitcointap_validation_block_inputs",
                    )
                    .size(8, 8),
                    heatmap(
                        "Signature operations per block",
                        "Signature operations as Bitcoin Core weighs them (BIP 141's cost). The limit is 80,000.",
                        "short",
                        "bitcointap_validation_block_sigops",
                    )
                    .size(8, 8),
                    graph(
                        "Connection time per input",
                        "Time that the node took to connect blocks, divided by their inputs, now and before.",
                        "s",
                    )
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
                        "Time that the node took to write the UTXO cache, in all modes. Meanwhile it validates \
                         nothing.",
                        "s",
                        "bitcointap_utxocache_flush_seconds",
                    )
                    .size(8, 8),
                    graph(
                        "UTXO cache writes by mode",
                        "Writes of the UTXO cache by Bitcoin Core's mode, and whether pruning was the cause.",
                        "suffix: /h",
                    )
                    .hourly("mode, for_prune", "bitcointap_utxocache_flush_seconds_count")
                    .size(8, 8),
                    heatmap(
                        "UTXO cache memory before a write",
                        "Memory of the UTXO cache before a write.",
                        "bytes",
                        "bitcointap_utxocache_flushed_bytes",
                    )
                    .size(8, 8),
                    heatmap(
                        "UTXO cache coins before a write",
                        "Coins in the UTXO cache before a write. The node writes only those that changed.",
                        "short",
                        "bitcointap_utxocache_flushed_coins",
                    )
                    .size(8, 8),
                    graph(
                        "UTXO cache coins by action",
                        "Operations on coins in any UTXO cache: added, spent, dropped on purpose (uncache).",
                        "cps",
                    )
                    .rate("action", "bitcointap_utxocache_coins_total")
                    .option("--utxocache-coins")
                    .size(8, 8),
                    graph(
                        "UTXO cache value by action",
                        "Operations on coins in any UTXO cache: added, spent, dropped on purpose (uncache).",
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
