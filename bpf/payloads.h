/* Payloads of messages. In: a message's command, its size, and where the node has its bytes. Out: how many of them some
 * output wants, and these in a record. */
#ifndef BITCOINTAP_PAYLOADS_H
#define BITCOINTAP_PAYLOADS_H

/* Bitcoin Core's MAX_PROTOCOL_MESSAGE_LENGTH. */
#define PAYLOAD_MAX 4000000

enum payload_state {
	PAYLOAD_WHOLE,
	PAYLOAD_UNREADABLE,
	PAYLOAD_TOO_LARGE,
	PAYLOAD_NOT_WANTED,
	PAYLOAD_BEGINNING,
};

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
	__uint(max_entries, 1);
	__type(key, struct command);
	__type(value, __u32);
} payload_limits SEC(".maps");

EXPORT(enum, payload_state);
EXPORT(enum, payloads);

/* Two slices of one constant size, which the verifier requires, cover any payload from that size to twice of it: the
 * second one ends where the payload ends. */
#define COPY_BY(slice)                                                                                                 \
	if (size >= (slice)) {                                                                                         \
		void *first = bpf_dynptr_data(to, offset, slice);                                                      \
		void *last = bpf_dynptr_data(to, offset + size - (slice), slice);                                      \
		return !first || !last || read_bytes(first, slice, from) ||                                            \
		       read_bytes(last, slice, from + size - (slice));                                                 \
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

#endif
