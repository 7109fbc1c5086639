//! What the mempool accepts, removes and rejects, and why; and the wallets' choices of coins.

use crate::{
    dashboard::Dashboard,
    panel::{bars, graph, heatmap, stat},
};

const ACTIONS: &[(&str, &str)] =
    &[("added", "green"), ("removed", "blue"), ("replaced", "purple"), ("rejected", "red")];

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "bitcointap-mempool",
        title: "Mempool",
        about: "Transactions added, removed, replaced and rejected, with reasons, sizes, fees and times.",
        range: "24h",
        refresh: "1m",
        rows: vec![
            (
                "Transactions",
                vec![
                    stat("Mempool growth", "Transactions added minus removed, each hour.", "suffix: tx/h")
                        .query(
                            "transactions",
                            "3600 * \
                             (sum(rate(bitcointap_mempool_transactions_total{action='added'}[$__rate_interval])) - \
                             sum(rate(bitcointap_mempool_transactions_total{action='removed'}[$__rate_interval])))",
                        )
                        .since("v25")
                        .size(6, 4),
                    stat(
                        "Mempool growth in virtual bytes",
                        "Virtual bytes added minus removed, each hour. A block takes up to 1,000,000.",
                        "suffix: vB/h",
                    )
                    .query(
                        "virtual bytes",
                        "3600 * (sum(rate(bitcointap_mempool_vbytes_total{action='added'}[$__rate_interval])) - \
                             sum(rate(bitcointap_mempool_vbytes_total{action='removed'}[$__rate_interval])))",
                    )
                    .since("v25")
                    .size(6, 4),
                    stat(
                        "Mean feerate of added transactions",
                        "Fees of all added transactions, divided by their virtual bytes.",
                        "suffix: sat/vB",
                    )
                    .query(
                        "mean",
                        "sum(rate(bitcointap_mempool_fees_satoshis_total{action='added'}[$__rate_interval])) / \
                             sum(rate(bitcointap_mempool_vbytes_total{action='added'}[$__rate_interval]))",
                    )
                    .since("v25")
                    .size(6, 4),
                    stat(
                        "Share of transactions rejected",
                        "Share of transactions that the node rejected, orphans included.",
                        "percentunit",
                    )
                    .query(
                        "rejected",
                        "sum(rate(bitcointap_mempool_transactions_total{action='rejected'}[$__rate_interval])) / \
                             sum(rate(bitcointap_mempool_transactions_total\
                             {action=~'added|rejected'}[$__rate_interval]))",
                    )
                    .since("v25")
                    .size(6, 4),
                    graph(
                        "Mempool transactions by action",
                        "Transactions by what became of them. Do not sum the actions: they overlap.",
                        "suffix: tx/s",
                    )
                    .rate("action", "bitcointap_mempool_transactions_total")
                    .colours(ACTIONS)
                    .since("v25")
                    .size(8, 9),
                    graph("Transactions added", "Transactions added, now and before.", "suffix: tx/s")
                        .rate("", "bitcointap_mempool_transactions_total{action='added'}")
                        .named("added")
                        .beside_before()
                        .colours(ACTIONS)
                        .since("v25")
                        .size(8, 9),
                    bars(
                        "Mempool transactions in the time range",
                        "Transactions in the time range by what became of them.",
                        "short",
                    )
                    .total("action", "bitcointap_mempool_transactions_total")
                    .since("v25"),
                    graph("Virtual bytes by action", "Sum over transactions by what became of them.", "suffix: vB/s")
                        .rate("action", "bitcointap_mempool_vbytes_total")
                        .colours(ACTIONS)
                        .since("v25"),
                    graph("Fees by action", "Sum over transactions by what became of them.", "suffix: sat/s")
                        .rate("action", "bitcointap_mempool_fees_satoshis_total")
                        .colours(ACTIONS)
                        .since("v25"),
                ],
            ),
            (
                "Reasons",
                vec![
                    graph(
                        "Rejections by reason",
                        "Transactions that the node rejected, by Bitcoin Core's reason. Only the total includes \
                         the first one of a reason.",
                        "suffix: tx/s",
                    )
                    .rate("reason", "bitcointap_mempool_rejections_total")
                    .since("v25"),
                    bars(
                        "Rejections in the time range",
                        "Rejections in the time range, by reason. Those with missing inputs are orphans.",
                        "short",
                    )
                    .total_with_new("reason", "bitcointap_mempool_rejections_total")
                    .since("v25")
                    .size(12, 8),
                    graph(
                        "Removals by reason",
                        "Transactions that left the mempool, by Bitcoin Core's reason.",
                        "suffix: tx/s",
                    )
                    .rate("reason", "bitcointap_mempool_removals_total")
                    .since("v25")
                    .size(8, 8),
                    bars("Removals in the time range", "In the time range, by reason.", "short")
                        .total("reason", "bitcointap_mempool_removals_total")
                        .since("v25")
                        .size(8, 8),
                    graph(
                        "Rejections reversed",
                        "Transactions that were added within a second of their rejection, by its reason. An \
                         example is a parent that comes in a package with its child.",
                        "suffix: tx/h",
                    )
                    .hourly("reason", "bitcointap_mempool_rejections_reversed_total")
                    .since("v25")
                    .size(8, 8),
                ],
            ),
            (
                "Sizes, feerates, times",
                vec![
                    heatmap(
                        "Feerates of added transactions",
                        "Feerates of single added transactions, in satoshis for each virtual byte.",
                        "suffix: sat/vB",
                        "bitcointap_mempool_feerate_satoshis_per_vbyte{action='added'}",
                    )
                    .since("v25"),
                    graph(
                        "Feerate quantiles of added transactions",
                        "Feerates of added transactions in satoshis for each virtual byte, and the median before.",
                        "suffix: sat/vB",
                    )
                    .quantiles("bitcointap_mempool_feerate_satoshis_per_vbyte{action='added'}")
                    .query(
                        "median ($before before)",
                        "histogram_quantile(0.5, sum by (le) (rate(\
                             bitcointap_mempool_feerate_satoshis_per_vbyte_bucket{action='added'}\
                             [$__rate_interval] offset $before)))",
                    )
                    .since("v25"),
                    heatmap(
                        "Sizes of added transactions",
                        "Virtual bytes of single added transactions.",
                        "suffix: vB",
                        "bitcointap_mempool_transaction_size_vbytes{action='added'}",
                    )
                    .since("v25"),
                    heatmap(
                        "Time in the mempool until mined",
                        "How long mined transactions had been in the mempool.",
                        "s",
                        "bitcointap_mempool_residence_seconds{reason='block'}",
                    )
                    .since("v25"),
                    heatmap(
                        "Fee increase of replacements",
                        "How much more a replacement pays than all the transactions that it replaced, in satoshis.",
                        "suffix: sat",
                        "bitcointap_mempool_replacement_fee_increase_satoshis",
                    )
                    .since("v25"),
                    graph(
                        "Median time in the mempool by removal reason",
                        "Median time in the mempool, by reason of removal.",
                        "s",
                    )
                    .query(
                        "{{reason}}",
                        "histogram_quantile(0.5, sum by (reason, le) \
                             (rate(bitcointap_mempool_residence_seconds_bucket[$__rate_interval])))",
                    )
                    .since("v25"),
                ],
            ),
            (
                "Wallets",
                vec![
                    graph(
                        "Coin selections by algorithm",
                        "Choices of coins by the node's wallets, by algorithm.",
                        "suffix: /h",
                    )
                    .hourly("algorithm", "bitcointap_coin_selection_total")
                    .stacked()
                    .since("v24"),
                    graph(
                        "Wallet transactions by attempt and result",
                        "Attempts of the node's wallets to create a transaction, by attempt and result.",
                        "suffix: /h",
                    )
                    .hourly("attempt, result", "bitcointap_coin_selection_transactions_total")
                    .since("v24"),
                ],
            ),
        ],
    }
}
