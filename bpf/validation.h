/* Tracepoints of the context `validation`. */
#ifndef BITCOINTAP_VALIDATION_H
#define BITCOINTAP_VALIDATION_H

struct block_connected_record {
	struct event_header header;
	__u8 hash[HASH_SIZE];
	__s64 height;
	__u64 transactions;
	__s64 inputs;
	__u64 sigops;
	/* As the node gives it: µs before v25, ns from v25 on. */
	__u64 duration;
};

EXPORT(struct, block_connected_record);

/* Arguments: hash, height, transactions, inputs, sigops, duration. */
SEC("usdt.s")
int validation_block_connected(struct pt_regs *ctx)
{
	struct block_connected_record record = {.header = header(VALIDATION_BLOCK_CONNECTED)};

	count_fired(VALIDATION_BLOCK_CONNECTED);
	if (read_bytes(record.hash, HASH_SIZE, (const void *)argument(ctx, 0))) {
		count_lost(VALIDATION_BLOCK_CONNECTED, UNREADABLE);
		return 0;
	}
	record.height = argument(ctx, 1);
	record.transactions = argument(ctx, 2);
	record.inputs = argument(ctx, 3);
	record.sigops = argument(ctx, 4);
	record.duration = argument(ctx, 5);
	send(VALIDATION_BLOCK_CONNECTED, &record.header, sizeof(record));
	return 0;
}

#endif
