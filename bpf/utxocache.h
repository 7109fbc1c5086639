/* Tracepoints of the context `utxocache`. */
#ifndef BITCOINTAP_UTXOCACHE_H
#define BITCOINTAP_UTXOCACHE_H

struct flush_record {
	struct event_header header;
	__s64 duration_us;
	__u64 coins;
	__u64 memory;
	__u32 mode;
	__u8 for_prune;
	__u8 reserved[3];
};

struct coin_record {
	struct event_header header;
	__u8 txid[HASH_SIZE];
	__s64 value;
	__u32 vout;
	__u32 height;
	__u8 is_coinbase;
	__u8 reserved[7];
};

EXPORT(struct, flush_record);
EXPORT(struct, coin_record);

/* Arguments: duration in µs, mode, coins, bytes, whether for pruning. */
SEC("usdt.s")
int utxocache_flush(struct pt_regs *ctx)
{
	struct flush_record record = {.header = header(UTXOCACHE_FLUSH)};

	count_fired(UTXOCACHE_FLUSH);
	record.duration_us = argument(ctx, 0);
	record.mode = argument(ctx, 1);
	record.coins = argument(ctx, 2);
	record.memory = argument(ctx, 3);
	record.for_prune = argument(ctx, 4) != 0;
	send(UTXOCACHE_FLUSH, &record.header, sizeof(record));
	return 0;
}

/* Arguments: txid, vout, height, value in satoshis, whether of a coinbase. Values are summed up here, so that lost
 * events do not change the sums. */
static __always_inline int coin(struct pt_regs *ctx, enum tracepoint tracepoint)
{
	long value = quick_argument(ctx, 3);

	count_fired(tracepoint);
	/* No coin has a value below 0, and a counter must not fall. */
	if (value > 0)
		__sync_fetch_and_add(&counters[tracepoint].value, value);
	if (summed & 1 << tracepoint) {
		count_filtered(tracepoint);
		return 0;
	}

	struct coin_record record = {.header = header(tracepoint), .value = value};
	if (read_bytes(record.txid, HASH_SIZE, (const void *)quick_argument(ctx, 0))) {
		count_lost(tracepoint, UNREADABLE);
		return 0;
	}
	record.vout = quick_argument(ctx, 1);
	record.height = quick_argument(ctx, 2);
	record.is_coinbase = quick_argument(ctx, 4) != 0;
	send(tracepoint, &record.header, sizeof(record));
	return 0;
}

SEC("usdt.s")
int utxocache_add(struct pt_regs *ctx)
{
	return coin(ctx, UTXOCACHE_ADD);
}

SEC("usdt.s")
int utxocache_spent(struct pt_regs *ctx)
{
	return coin(ctx, UTXOCACHE_SPENT);
}

SEC("usdt.s")
int utxocache_uncache(struct pt_regs *ctx)
{
	return coin(ctx, UTXOCACHE_UNCACHE);
}

#endif
