/* Tracepoints of the context `net`: P2P messages and connections. */
#ifndef BITCOINTAP_NET_H
#define BITCOINTAP_NET_H

/* Bitcoin Core's MAX_PROTOCOL_MESSAGE_LENGTH. */
#define PAYLOAD_MAX 4000000
#define COMMAND_SIZE 16

/* The numbers of json.md's conn_type. Bitcoin Core passes names (ConnectionTypeAsString). */
enum connection_type {
	CONNECTION_UNKNOWN,
	CONNECTION_INBOUND,
	CONNECTION_OUTBOUND_FULL_RELAY,
	CONNECTION_BLOCK_RELAY_ONLY,
	CONNECTION_FEELER,
	CONNECTION_MANUAL,
	CONNECTION_ADDR_FETCH,
	CONNECTION_PRIVATE_BROADCAST,
};

enum payload_state {
	PAYLOAD_WHOLE,
	PAYLOAD_UNREADABLE,
	PAYLOAD_TOO_LARGE,
	PAYLOAD_NOT_WANTED,
};

/* Text: the peer's address. After it, if `payload` is PAYLOAD_WHOLE, `size` bytes. */
struct message_record {
	struct event_header header;
	__s64 peer_id;
	__u64 size;
	__u8 command[COMMAND_SIZE];
	__u8 connection_type;
	__u8 payload;
	/* For the reader to note the peer's network, which only connection_record tells: its number plus 1. */
	__u8 peer_network;
	__u8 reserved[5];
};

/* Text: the peer's address. */
struct connection_record {
	struct event_header header;
	__s64 peer_id;
	/* An opening: connections in this direction, this one included. A closing or eviction: when the connection was
	 * established, UNIX time in seconds. */
	__u64 detail;
	__u32 network;
	__u8 connection_type;
	__u8 reserved[3];
};

/* Text: the reason. */
struct misbehaving_record {
	struct event_header header;
	__s64 peer_id;
	__s32 score_before;
	__s32 score_increase;
	__u8 threshold_exceeded;
	__u8 reserved[7];
};

/* What of a selection is decided here, before anything is copied; the reader decides the rest. All set before loading,
 * so that the verifier drops the code of what nobody asked for. */
enum listed {
	/* All are wanted. */
	NOT_LISTED,
	/* Those in the map. */
	ONLY_LISTED,
	/* Those that are not in the map. */
	NONE_LISTED,
};

const volatile __u32 peers_listed = NOT_LISTED;
const volatile __u32 commands_listed = NOT_LISTED;
/* A bit for each of enum connection_type. */
const volatile __u32 connection_types = ~0;
const volatile __u64 min_size = 0;
const volatile __u64 max_size = ~0ULL;
/* Whether payloads are not to be copied. */
const volatile __u32 without_payload = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set again before loading, as is that of commands */
	__type(key, __s64);
	__type(value, __u8);
} peers SEC(".maps");

struct command {
	__u8 name[COMMAND_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct command);
	__type(value, __u8);
} commands SEC(".maps");

EXPORT(enum, listed);
EXPORT(enum, payload_state);
EXPORT(struct, message_record);
EXPORT(struct, connection_record);
EXPORT(struct, misbehaving_record);

/* The first eight bytes tell the names apart. */
#define NAME8(a, b, c, d, e, f, g, h)                                                                                  \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)

static __always_inline __u8 read_connection_type(const char *from)
{
	__u64 name = 0;

	if (read_text((char *)&name, sizeof(name), from) < 0)
		return CONNECTION_UNKNOWN;
	/* read_text ends with a zero: seven characters are left of longer names. */
	switch (name) {
	case NAME8('i', 'n', 'b', 'o', 'u', 'n', 'd', 0):
		return CONNECTION_INBOUND;
	case NAME8('o', 'u', 't', 'b', 'o', 'u', 'n', 0):
		return CONNECTION_OUTBOUND_FULL_RELAY;
	case NAME8('b', 'l', 'o', 'c', 'k', '-', 'r', 0):
		return CONNECTION_BLOCK_RELAY_ONLY;
	case NAME8('f', 'e', 'e', 'l', 'e', 'r', 0, 0):
		return CONNECTION_FEELER;
	case NAME8('m', 'a', 'n', 'u', 'a', 'l', 0, 0):
		return CONNECTION_MANUAL;
	case NAME8('a', 'd', 'd', 'r', '-', 'f', 'e', 0):
		return CONNECTION_ADDR_FETCH;
	case NAME8('p', 'r', 'i', 'v', 'a', 't', 'e', 0):
		return CONNECTION_PRIVATE_BROADCAST;
	default:
		return CONNECTION_UNKNOWN;
	}
}

/* Two slices of one constant size, which the verifier asks for, cover any payload from that size to twice of it: the
 * second ends where the payload ends. */
#define COPY_BY(slice)                                                                                                 \
	if (size >= (slice)) {                                                                                         \
		void *first = bpf_dynptr_data(to, offset, slice);                                                      \
		void *last = bpf_dynptr_data(to, offset + size - (slice), slice);                                      \
		return !first || !last || read_bytes(first, slice, from) ||                                            \
		       read_bytes(last, slice, from + size - (slice));                                                 \
	}

static __always_inline int is_wanted(__u32 listed, void *map, const void *key)
{
	int is_listed;

	if (listed == NOT_LISTED)
		return 1;
	is_listed = bpf_map_lookup_elem(map, key) != 0;
	return listed == ONLY_LISTED ? is_listed : !is_listed;
}

static __always_inline int is_wanted_peer(struct pt_regs *ctx, __s64 *peer_id)
{
	*peer_id = argument(ctx, 0);
	return is_wanted(peers_listed, &peers, peer_id);
}

static __always_inline int is_wanted_type(__u8 type)
{
	return connection_types >> type & 1;
}

#define BIG_SLICE (64 << 10)

struct big_copy {
	struct bpf_dynptr *to;
	__u64 offset;
	const void *from;
	long error;
};

static long copy_big_slice(__u32 index, struct big_copy *copy)
{
	__u64 done = (__u64)index * BIG_SLICE;
	void *slice = bpf_dynptr_data(copy->to, copy->offset + done, BIG_SLICE);

	copy->error = !slice || read_bytes(slice, BIG_SLICE, copy->from + done);
	return copy->error;
}

/* Copies `size` bytes into the record at `offset`; not zero on failure. */
static __always_inline long copy_payload(struct bpf_dynptr *to, __u64 offset, __u64 size, const void *from)
{
	if (size >= BIG_SLICE) {
		struct big_copy copy = {.to = to, .offset = offset, .from = from};
		void *last = bpf_dynptr_data(to, offset + size - BIG_SLICE, BIG_SLICE);

		bpf_loop(size / BIG_SLICE, copy_big_slice, &copy, 0);
		return copy.error || !last || read_bytes(last, BIG_SLICE, from + size - BIG_SLICE);
	}
	COPY_BY(32 << 10)
	COPY_BY(16 << 10)
	COPY_BY(8 << 10)
	COPY_BY(4 << 10)
	COPY_BY(2 << 10)
	COPY_BY(1 << 10)
	COPY_BY(512)
	COPY_BY(256)
	COPY_BY(128)
	COPY_BY(64)
	COPY_BY(32)
	COPY_BY(16)
	COPY_BY(8)
	COPY_BY(4)
	COPY_BY(2)
	COPY_BY(1)
	return 0;
}

/* Arguments: peer id, address, connection type, command, size, bytes. */
static __always_inline int message(struct pt_regs *ctx, enum tracepoint tracepoint)
{
	struct {
		struct message_record fixed;
		char address[TEXT_SIZE];
	} record;
	struct bpf_dynptr out;
	__u64 size, head;
	long length;

	count_fired(tracepoint);
	__builtin_memset(&record.fixed, 0, sizeof(record.fixed));
	size = argument(ctx, 4);
	if (size < min_size || size > max_size || !is_wanted_peer(ctx, &record.fixed.peer_id)) {
		count_filtered(tracepoint);
		return 0;
	}
	record.fixed.connection_type = read_connection_type((const char *)argument(ctx, 2));
	if (!is_wanted_type(record.fixed.connection_type)) {
		count_filtered(tracepoint);
		return 0;
	}
	if (read_text((char *)record.fixed.command, COMMAND_SIZE, (const char *)argument(ctx, 3)) < 0) {
		count_lost(tracepoint, UNREADABLE);
		return 0;
	}
	if (!is_wanted(commands_listed, &commands, record.fixed.command)) {
		count_filtered(tracepoint);
		return 0;
	}
	record.fixed.header = header(tracepoint);
	length = read_record_text(&record.fixed.header, record.address, (const char *)argument(ctx, 1));
	if (length < 0) {
		count_lost(tracepoint, UNREADABLE);
		return 0;
	}
	record.fixed.size = size;
	head = sizeof(record.fixed) + length;
	if (!size || size > PAYLOAD_MAX || without_payload) {
		record.fixed.payload = !size ? PAYLOAD_WHOLE : without_payload ? PAYLOAD_NOT_WANTED : PAYLOAD_TOO_LARGE;
		send(tracepoint, &record.fixed.header, head);
		return 0;
	}

	if (tell_losses(&record.fixed.header)) {
		count_lost(tracepoint, RING_FULL);
		return 0;
	}
	if (bpf_ringbuf_reserve_dynptr(&ring, head + size, 0, &out)) {
		bpf_ringbuf_discard_dynptr(&out, BPF_RB_NO_WAKEUP);
		count_lost(tracepoint, RING_FULL);
		return 0;
	}
	if (copy_payload(&out, head, size, (const void *)argument(ctx, 5))) {
		bpf_ringbuf_discard_dynptr(&out, BPF_RB_NO_WAKEUP);
		record.fixed.payload = PAYLOAD_UNREADABLE;
		send(tracepoint, &record.fixed.header, head);
		return 0;
	}
	bpf_dynptr_write(&out, 0, &record, head, 0);
	bpf_ringbuf_submit_dynptr(&out, wake_flags());
	return 0;
}

SEC("usdt.s")
int net_inbound_message(struct pt_regs *ctx)
{
	return message(ctx, NET_INBOUND_MESSAGE);
}

SEC("usdt.s")
int net_outbound_message(struct pt_regs *ctx)
{
	return message(ctx, NET_OUTBOUND_MESSAGE);
}

/* Arguments: peer id, address, connection type, network, detail. */
static __always_inline int connection(struct pt_regs *ctx, enum tracepoint tracepoint)
{
	struct {
		struct connection_record fixed;
		char address[TEXT_SIZE];
	} record;
	long length;

	count_fired(tracepoint);
	__builtin_memset(&record.fixed, 0, sizeof(record.fixed));
	record.fixed.connection_type = read_connection_type((const char *)argument(ctx, 2));
	if (!is_wanted_peer(ctx, &record.fixed.peer_id) || !is_wanted_type(record.fixed.connection_type)) {
		count_filtered(tracepoint);
		return 0;
	}
	record.fixed.header = header(tracepoint);
	length = read_record_text(&record.fixed.header, record.address, (const char *)argument(ctx, 1));
	if (length < 0) {
		count_lost(tracepoint, UNREADABLE);
		return 0;
	}
	record.fixed.network = argument(ctx, 3);
	record.fixed.detail = argument(ctx, 4);
	send(tracepoint, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

SEC("usdt.s")
int net_inbound_connection(struct pt_regs *ctx)
{
	return connection(ctx, NET_INBOUND_CONNECTION);
}

SEC("usdt.s")
int net_outbound_connection(struct pt_regs *ctx)
{
	return connection(ctx, NET_OUTBOUND_CONNECTION);
}

SEC("usdt.s")
int net_evicted_inbound_connection(struct pt_regs *ctx)
{
	return connection(ctx, NET_EVICTED_INBOUND_CONNECTION);
}

SEC("usdt.s")
int net_closed_connection(struct pt_regs *ctx)
{
	return connection(ctx, NET_CLOSED_CONNECTION);
}

/* Arguments: peer id, reason. Patched builds up to v27 have five: peer id, score before, increase, reason, whether the
 * threshold was exceeded. */
SEC("usdt.s")
int net_misbehaving_connection(struct pt_regs *ctx)
{
	struct {
		struct misbehaving_record fixed;
		char reason[TEXT_SIZE];
	} record;
	int scored = bpf_usdt_arg_cnt(ctx) == 5;
	long length;

	count_fired(NET_MISBEHAVING_CONNECTION);
	__builtin_memset(&record.fixed, 0, sizeof(record.fixed));
	if (!is_wanted_peer(ctx, &record.fixed.peer_id)) {
		count_filtered(NET_MISBEHAVING_CONNECTION);
		return 0;
	}
	record.fixed.header = header(NET_MISBEHAVING_CONNECTION);
	length = read_record_text(&record.fixed.header, record.reason, (const char *)argument(ctx, scored ? 3 : 1));
	if (length < 0) {
		count_lost(NET_MISBEHAVING_CONNECTION, UNREADABLE);
		return 0;
	}
	if (scored) {
		record.fixed.score_before = argument(ctx, 1);
		record.fixed.score_increase = argument(ctx, 2);
		record.fixed.threshold_exceeded = argument(ctx, 4) != 0;
	}
	send(NET_MISBEHAVING_CONNECTION, &record.fixed.header, sizeof(record.fixed) + length);
	return 0;
}

#endif
