/* Tracepoints of the context `coin_selection`: the node's wallets. Values are satoshis. */
#ifndef BITCOINTAP_COIN_SELECTION_H
#define BITCOINTAP_COIN_SELECTION_H

#define ALGORITHM_SIZE 24

/* Text: the wallet's name, as in the records below. */
struct selected_coins_record {
	struct event_header header;
	__u8 algorithm[ALGORITHM_SIZE];
	__s64 target;
	__s64 waste;
	__s64 selected;
};

struct create_tx_record {
	struct event_header header;
	__s64 fee;
	__s32 change_position;
	/* Only for aps_create_tx_internal. */
	__u8 use_aps;
	__u8 success;
	__u8 reserved[2];
};

struct attempting_aps_record {
	struct event_header header;
};

EXPORT(struct, selected_coins_record);
EXPORT(struct, create_tx_record);
EXPORT(struct, attempting_aps_record);

/* Arguments: wallet, algorithm, target, waste, selected. */
SEC("usdt.s")
int coin_selection_selected_coins(struct pt_regs *ctx)
{
	struct {
		struct selected_coins_record fixed;
		char wallet[TEXT_SIZE];
	} record;
	long length;

	count_fired(COIN_SELECTION_SELECTED_COINS);
	__builtin_memset(&record.fixed, 0, sizeof(record.fixed));
	record.fixed.header = header(COIN_SELECTION_SELECTED_COINS);
	length = read_record_text(&record.fixed.header, record.wallet, (const char *)argument(ctx, 0));
	if (length < 0 ||
	    read_text((char *)record.fixed.algorithm, ALGORITHM_SIZE, (const char *)argument(ctx, 1)) < 0) {
		count_lost(COIN_SELECTION_SELECTED_COINS, UNREADABLE);
		return 0;
	}
	record.fixed.target = argument(ctx, 2);
	record.fixed.waste = argument(ctx, 3);
	record.fixed.selected = argument(ctx, 4);
	send(COIN_SELECTION_SELECTED_COINS, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

/* Arguments: wallet, for the second attempt whether it will be used, success, fee, position of the change output. */
static __always_inline int create_tx(struct pt_regs *ctx, enum tracepoint tracepoint)
{
	struct {
		struct create_tx_record fixed;
		char wallet[TEXT_SIZE];
	} record;
	int aps = tracepoint == COIN_SELECTION_APS_CREATE_TX_INTERNAL;
	long length;

	count_fired(tracepoint);
	__builtin_memset(&record.fixed, 0, sizeof(record.fixed));
	record.fixed.header = header(tracepoint);
	length = read_record_text(&record.fixed.header, record.wallet, (const char *)argument(ctx, 0));
	if (length < 0) {
		count_lost(tracepoint, UNREADABLE);
		return 0;
	}
	record.fixed.use_aps = aps && argument(ctx, 1) != 0;
	record.fixed.success = argument(ctx, 1 + aps) != 0;
	record.fixed.fee = argument(ctx, 2 + aps);
	record.fixed.change_position = argument(ctx, 3 + aps);
	send(tracepoint, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

SEC("usdt.s")
int coin_selection_normal_create_tx_internal(struct pt_regs *ctx)
{
	return create_tx(ctx, COIN_SELECTION_NORMAL_CREATE_TX_INTERNAL);
}

SEC("usdt.s")
int coin_selection_aps_create_tx_internal(struct pt_regs *ctx)
{
	return create_tx(ctx, COIN_SELECTION_APS_CREATE_TX_INTERNAL);
}

/* Argument: wallet. */
SEC("usdt.s")
int coin_selection_attempting_aps_create_tx(struct pt_regs *ctx)
{
	struct {
		struct attempting_aps_record fixed;
		char wallet[TEXT_SIZE];
	} record;
	long length;

	count_fired(COIN_SELECTION_ATTEMPTING_APS_CREATE_TX);
	record.fixed.header = header(COIN_SELECTION_ATTEMPTING_APS_CREATE_TX);
	length = read_record_text(&record.fixed.header, record.wallet, (const char *)argument(ctx, 0));
	if (length < 0) {
		count_lost(COIN_SELECTION_ATTEMPTING_APS_CREATE_TX, UNREADABLE);
		return 0;
	}
	send(COIN_SELECTION_ATTEMPTING_APS_CREATE_TX, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

#endif
