/* Tracepoints of the context `net`: P2P messages and connections. */
#ifndef BITCOINTAP_NET_H
#define BITCOINTAP_NET_H

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

/* Peers with a record that had their address and connection type: (number + 1) << 8 | type, at the place of their
 * number. So both are read once, and not for each message. */
#define KNOWN_PEERS 4096
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KNOWN_PEERS);
	__type(key, __u32);
	__type(value, __u64);
} known_peers SEC(".maps");

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
