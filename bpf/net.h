/* Tracepoints of the context `net`: P2P messages and connections. */
#ifndef BITCOINTAP_NET_H
#define BITCOINTAP_NET_H

/* Bitcoin Core's MAX_PROTOCOL_MESSAGE_LENGTH. */
#define PAYLOAD_MAX 4000000
#define COMMAND_SIZE 16

/* The numbers of conn_type in docs/events.md. Bitcoin Core passes names (ConnectionTypeAsString). */
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
	PAYLOAD_BEGINNING,
};

/* Text: the peer's address. After it come `size` bytes if `payload` is PAYLOAD_WHOLE, `copied` bytes if it is
 * PAYLOAD_BEGINNING, and any number of bytes without meaning. */
struct message_record {
	struct event_header header;
	__s64 peer_id;
	__u64 size;
	__u8 command[COMMAND_SIZE];
	__u8 connection_type;
	__u8 payload;
	/* Space for the reader to note the peer's network, which only connection_record has: its number plus 1. */
	__u8 peer_network;
	/* Not zero if the text is left out, since an earlier record of this peer has it. The reader inserts it. */
	__u8 is_known_peer;
	__u32 copied;
};

/* Text: the peer's address. */
struct connection_record {
	struct event_header header;
	__s64 peer_id;
	/* For an opening: connections in this direction, including this one. For a closing or eviction: when the
	 * connection was established, UNIX time in seconds. */
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

/* The part of a selection that is decided here, before anything is copied; the reader decides the rest. Everything
 * is set before loading, so that the verifier drops code for conditions that nobody asked for. */
enum listed {
	/* All values are wanted. */
	NOT_LISTED,
	/* The values in the map are wanted. */
	ONLY_LISTED,
	/* The values that are not in the map are wanted. */
	NONE_LISTED,
};

const volatile __u32 peers_listed = NOT_LISTED;
const volatile __u32 commands_listed = NOT_LISTED;
/* A bit for each of enum connection_type. */
const volatile __u32 connection_types = ~0;
const volatile __u64 min_size = 0;
const volatile __u64 max_size = ~0ULL;

/* How much of payloads to copy. */
enum payloads {
	PAYLOADS_WHOLE,
	PAYLOADS_NONE,
	/* For each command as much as `payload_limits` says, and nothing of other commands, while `whole_payloads`
	 * is zero. */
	PAYLOADS_LIMITED,
};

const volatile __u32 payloads = PAYLOADS_WHOLE;
/* Can change at any time: whether some output wants whole payloads now. */
__u32 whole_payloads SEC(".data.payloads") = 0;
/* Copying a payload up to this size costs less than deciding about it. */
#define PAYLOAD_SMALL 64

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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct command);
	__type(value, __u32);
} payload_limits SEC(".maps");

/* Peers with a record that had their address and connection type: (number + 1) << 8 | type, at the place of their
 * number. So both are read once, and not for each message. */
#define KNOWN_PEERS 4096
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KNOWN_PEERS);
	__type(key, __u32);
	__type(value, __u64);
} known_peers SEC(".maps");

EXPORT(enum, listed);
EXPORT(enum, payload_state);
EXPORT(enum, payloads);
EXPORT(struct, message_record);
EXPORT(struct, connection_record);
EXPORT(struct, misbehaving_record);

/* The names differ in their first eight bytes. */
#define NAME8(a, b, c, d, e, f, g, h)                                                                                  \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |    \
	 (__u64)(g) << 48 | (__u64)(h) << 56)

static __always_inline __u8 read_connection_type(const char *from)
{
	__u64 name = 0;

	if (read_text((char *)&name, sizeof(name), from) < 0)
		return CONNECTION_UNKNOWN;
	/* read_text ends with a zero, which leaves seven characters of longer names. */
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

/* Two slices of one constant size, which the verifier requires, cover any payload from that size to twice of it: the
 * second one ends where the payload ends. */
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

static __always_inline int is_wanted_peer(const __s64 *peer_id)
{
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

/* The entry of `known_peers` for a peer of this type; 0 if its number does not fit. */
static __always_inline __u64 known_peer(__s64 peer_id, __u8 type)
{
	return (__u64)peer_id < 1ULL << 55 ? (peer_id + 1) << 8 | type : 0;
}

static __always_inline __u64 *place_of_peer(__s64 peer_id)
{
	__u32 place = peer_id & (KNOWN_PEERS - 1);

	return bpf_map_lookup_elem(&known_peers, &place);
}

static __always_inline void peer_was_told(const struct message_record *record)
{
	__u64 *place = place_of_peer(record->peer_id);

	/* A type that could not be read is read again. */
	if (place && record->connection_type != CONNECTION_UNKNOWN)
		*place = known_peer(record->peer_id, record->connection_type);
}

/* How many bytes of a payload some output wants. */
static __always_inline __u64 wanted_bytes(__u64 size, const __u8 *command)
{
	if (payloads == PAYLOADS_NONE || size > PAYLOAD_MAX)
		return 0;
	if (payloads == PAYLOADS_LIMITED && size > PAYLOAD_SMALL && !*(volatile __u32 *)&whole_payloads) {
		const __u32 *limit = bpf_map_lookup_elem(&payload_limits, command);

		if (!limit)
			return 0;
		return *limit < size ? *limit : size;
	}
	return size;
}

/* Reads memory of the node as read_bytes does. `size` is never more than `most`; the check is for the verifier,
 * which has lost track of that. */
static __always_inline long read_payload(void *to, __u64 size, __u64 most, const void *from)
{
	asm volatile("" : "+r"(size));
	if (size > most)
		size = most;
	return read_bytes(to, size, from);
}

/* Sends a message of a known peer in a record of constant size, which costs the node least. The rest of the record
 * has no meaning. */
#define SEND_IN(bytes)                                                                                                 \
	if (copied <= (bytes) - sizeof(record.fixed)) {                                                                \
		struct message_record *to = bpf_ringbuf_reserve(&ring, bytes, 0);                                      \
		if (!to) {                                                                                             \
			count_lost(tracepoint, RING_FULL);                                                             \
			return 0;                                                                                      \
		}                                                                                                      \
		*to = record.fixed;                                                                                    \
		if ((bytes) > sizeof(record.fixed) &&                                                                  \
		    read_payload(to + 1, copied, (bytes) - sizeof(record.fixed), from))                                \
			to->payload = PAYLOAD_UNREADABLE;                                                              \
		bpf_ringbuf_submit(to, seldom_wake_flags(&record.fixed.header));                                       \
		return 0;                                                                                              \
	}

/* Arguments: peer id, address, connection type, command, size, bytes. */
static __always_inline int message(struct pt_regs *ctx, enum tracepoint tracepoint)
{
	struct {
		struct message_record fixed;
		char address[TEXT_SIZE];
	} record;
	struct bpf_dynptr out;
	__u64 size, copied, head, known, *place;
	const void *from;
	long length = 0;

	count_fired(tracepoint);
	__builtin_memset(&record.fixed, 0, sizeof(record.fixed));
	size = quick_argument(ctx, 4);
	record.fixed.peer_id = quick_argument(ctx, 0);
	if (size < min_size || size > max_size || !is_wanted_peer(&record.fixed.peer_id)) {
		count_filtered(tracepoint);
		return 0;
	}
	place = place_of_peer(record.fixed.peer_id);
	known = place ? *(volatile __u64 *)place : 0;
	record.fixed.connection_type = known;
	record.fixed.is_known_peer = known && known == known_peer(record.fixed.peer_id, known);
	if (!record.fixed.is_known_peer)
		record.fixed.connection_type = read_connection_type((const char *)quick_argument(ctx, 2));
	if (!is_wanted_type(record.fixed.connection_type)) {
		count_filtered(tracepoint);
		return 0;
	}
	if (read_text((char *)record.fixed.command, COMMAND_SIZE, (const char *)quick_argument(ctx, 3)) < 0) {
		count_lost(tracepoint, UNREADABLE);
		return 0;
	}
	if (!is_wanted(commands_listed, &commands, record.fixed.command)) {
		count_filtered(tracepoint);
		return 0;
	}
	record.fixed.header = header(tracepoint);
	record.fixed.size = size;
	copied = wanted_bytes(size, record.fixed.command);
	record.fixed.copied = copied;
	record.fixed.payload = copied == size	    ? PAYLOAD_WHOLE
			       : copied		    ? PAYLOAD_BEGINNING
			       : size > PAYLOAD_MAX ? PAYLOAD_TOO_LARGE
						    : PAYLOAD_NOT_WANTED;
	from = (const void *)quick_argument(ctx, 5);
	if (record.fixed.is_known_peer) {
		if (tell_losses(&record.fixed.header)) {
			count_lost(tracepoint, RING_FULL);
			return 0;
		}
		if (!copied) {
			SEND_IN(sizeof(record.fixed))
		}
		SEND_IN(128)
		SEND_IN(256)
		SEND_IN(512)
		SEND_IN(1024)
		SEND_IN(2048)
	} else {
		length = read_record_text(&record.fixed.header, record.address, (const char *)quick_argument(ctx, 1));
		if (length < 0) {
			count_lost(tracepoint, UNREADABLE);
			return 0;
		}
	}

	head = sizeof(record.fixed) + length;
	if (!copied) {
		if (!send(tracepoint, &record.fixed.header, head))
			peer_was_told(&record.fixed);
		return 0;
	}
	if (tell_losses(&record.fixed.header)) {
		count_lost(tracepoint, RING_FULL);
		return 0;
	}
	if (bpf_ringbuf_reserve_dynptr(&ring, head + copied, 0, &out)) {
		bpf_ringbuf_discard_dynptr(&out, BPF_RB_NO_WAKEUP);
		count_lost(tracepoint, RING_FULL);
		return 0;
	}
	/* Bytes that cannot be read have no meaning. */
	if (copy_payload(&out, head, copied, from))
		record.fixed.payload = PAYLOAD_UNREADABLE;
	bpf_dynptr_write(&out, 0, &record, head, 0);
	bpf_ringbuf_submit_dynptr(&out, wake_flags());
	/* For a known peer this record added nothing, and another peer may have its place by now. */
	if (!record.fixed.is_known_peer)
		peer_was_told(&record.fixed);
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
	record.fixed.peer_id = argument(ctx, 0);
	record.fixed.connection_type = read_connection_type((const char *)argument(ctx, 2));
	if (!is_wanted_peer(&record.fixed.peer_id) || !is_wanted_type(record.fixed.connection_type)) {
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
	record.fixed.peer_id = argument(ctx, 0);
	if (!is_wanted_peer(&record.fixed.peer_id)) {
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
