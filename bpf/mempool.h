/* Tracepoints of the context `mempool`. Sizes are virtual bytes, uint64 before v26 and int32 from v26 on: the notes
 * in the node's program say which, and argument() widens both. Fees are satoshis, entry times UNIX seconds. */
#ifndef BITCOINTAP_MEMPOOL_H
#define BITCOINTAP_MEMPOOL_H

#define HASH_SIZE 32

struct added_record {
	struct event_header header;
	__u8 txid[HASH_SIZE];
	__s64 vsize;
	__s64 fee;
};

/* Text: the reason. */
struct removed_record {
	struct event_header header;
	__u8 txid[HASH_SIZE];
	__s64 vsize;
	__s64 fee;
	__u64 entry_time;
};

struct replaced_record {
	struct event_header header;
	__u8 replaced_txid[HASH_SIZE];
	__s64 replaced_vsize;
	__s64 replaced_fee;
	__u64 replaced_entry_time;
	__u8 replacement_txid[HASH_SIZE];
	__s64 replacement_vsize;
	__s64 replacement_fee;
	__u8 replacement_is_txid;
	__u8 reserved[7];
};

/* Text: the reason. */
struct rejected_record {
	struct event_header header;
	__u8 txid[HASH_SIZE];
};

EXPORT(struct, added_record);
EXPORT(struct, removed_record);
EXPORT(struct, replaced_record);
EXPORT(struct, rejected_record);

/* Arguments: txid, vsize, fee. */
SEC("usdt.s")
int mempool_added(struct pt_regs *ctx)
{
	struct added_record record = {.header = header(MEMPOOL_ADDED)};

	count_fired(MEMPOOL_ADDED);
	if (read_bytes(record.txid, HASH_SIZE, (const void *)argument(ctx, 0))) {
		count_lost(MEMPOOL_ADDED, UNREADABLE);
		return 0;
	}
	record.vsize = argument(ctx, 1);
	record.fee = argument(ctx, 2);
	send(MEMPOOL_ADDED, &record.header, sizeof(record));
	return 0;
}

/* Arguments: txid, reason, vsize, fee, entry time. */
SEC("usdt.s")
int mempool_removed(struct pt_regs *ctx)
{
	struct {
		struct removed_record fixed;
		char reason[TEXT_SIZE];
	} record;
	long length;

	count_fired(MEMPOOL_REMOVED);
	record.fixed.header = header(MEMPOOL_REMOVED);
	length = read_record_text(&record.fixed.header, record.reason, (const char *)argument(ctx, 1));
	if (length < 0 || read_bytes(record.fixed.txid, HASH_SIZE, (const void *)argument(ctx, 0))) {
		count_lost(MEMPOOL_REMOVED, UNREADABLE);
		return 0;
	}
	record.fixed.vsize = argument(ctx, 2);
	record.fixed.fee = argument(ctx, 3);
	record.fixed.entry_time = argument(ctx, 4);
	send(MEMPOOL_REMOVED, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

/* Arguments: txid, vsize, fee and entry time of the replaced transaction; id, vsize and fee of the replacement; from
 * v29 on whether that id is a txid (else the hash of a package). */
SEC("usdt.s")
int mempool_replaced(struct pt_regs *ctx)
{
	struct replaced_record record = {.header = header(MEMPOOL_REPLACED)};

	count_fired(MEMPOOL_REPLACED);
	if (read_bytes(record.replaced_txid, HASH_SIZE, (const void *)argument(ctx, 0)) ||
	    read_bytes(record.replacement_txid, HASH_SIZE, (const void *)argument(ctx, 4))) {
		count_lost(MEMPOOL_REPLACED, UNREADABLE);
		return 0;
	}
	record.replaced_vsize = argument(ctx, 1);
	record.replaced_fee = argument(ctx, 2);
	record.replaced_entry_time = argument(ctx, 3);
	record.replacement_vsize = argument(ctx, 5);
	record.replacement_fee = argument(ctx, 6);
	record.replacement_is_txid = bpf_usdt_arg_cnt(ctx) < 8 || argument(ctx, 7) != 0;
	send(MEMPOOL_REPLACED, &record.header, sizeof(record));
	return 0;
}

/* Arguments: txid, reason. */
SEC("usdt.s")
int mempool_rejected(struct pt_regs *ctx)
{
	struct {
		struct rejected_record fixed;
		char reason[TEXT_SIZE];
	} record;
	long length;

	count_fired(MEMPOOL_REJECTED);
	record.fixed.header = header(MEMPOOL_REJECTED);
	length = read_record_text(&record.fixed.header, record.reason, (const char *)argument(ctx, 1));
	if (length < 0 || read_bytes(record.fixed.txid, HASH_SIZE, (const void *)argument(ctx, 0))) {
		count_lost(MEMPOOL_REJECTED, UNREADABLE);
		return 0;
	}
	send(MEMPOOL_REJECTED, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

#endif
