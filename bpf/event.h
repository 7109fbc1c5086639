/* What all programs share: the ring buffer for records, the counters that account for each hit, and the helpers that
 * read the node's memory. In: arguments of a tracepoint. Out: a record in `ring`, or a count in `counters`.
 *
 * A record is a struct that starts with struct event_header. A text follows and, for a P2P message, its payload,
 * without a terminating zero. User space gets these structs from this object's BTF: they are written once, here. */
#ifndef BITCOINTAP_EVENT_H
#define BITCOINTAP_EVENT_H

/* `enum tracepoint`. build/kernel_side.rs makes it from the table in src/tracepoint/table.rs. */
#include "tracepoints.h"

/* In the order of LossReason::KERNEL in src/tracepoint.rs. */
enum loss_reason {
	RING_FULL,
	UNREADABLE,
	LOSS_REASON_COUNT,
};

/* Longer texts are cut: a host name of 253 characters with its port needs 259. */
#define TEXT_SIZE 264

struct event_header {
	/* CLOCK_BOOTTIME, which no step of the wall clock moves. The reader converts it to wall-clock time: a second
	 * clock read here would cost the node a tenth of the trap. */
	__u64 boot_ns;
	__u8 tracepoint;
	__u8 reserved[5];
	/* Bytes of text after the record's struct. */
	__u16 text_length;
};

struct losses_record {
	struct event_header header;
	__u32 counts[TRACEPOINT_COUNT][LOSS_REASON_COUNT];
};

/* Fired = delivered + filtered + lost. One cache line each, since threads of the node count at once. */
struct tracepoint_counters {
	__u64 fired;
	/* Hits that nobody selected, or that are only counted. */
	__u64 filtered;
	/* For coins, the value of all that fired, in satoshis. */
	__u64 value;
	__u64 lost[LOSS_REASON_COUNT];
	/* The part of `lost` that no losses_record has reported yet. */
	__u32 untold[LOSS_REASON_COUNT];
} __attribute__((aligned(64)));

struct tracepoint_counters counters[TRACEPOINT_COUNT] = {};
/* Not zero if some `untold` may not be zero: one load in the usual case. */
__u32 untold_losses = 0;
/* Whether the reader was woken since it last went to sleep; it sets this to zero before. The fill of the ring buffer
 * does not show that the reader has drained it: one record may fill it past the mark again. */
__u32 woken SEC(".data.woken") = 0;

/* Set before loading: the reader is woken when this many bytes wait. Before that it drains on a timer, or when
 * somebody asks. */
const volatile __u64 wake_mark = 1 << 20;
/* Set before loading, a bit for each tracepoint of coins that are only counted, since no output wants their events.
 * The verifier drops code that a constant rules out. */
const volatile __u32 summed = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* set again before loading */
} ring SEC(".maps");

/* Puts a type into this object's BTF, where user space gets it. */
#define EXPORT(kind, type) kind type *export_##type __attribute__((unused))
EXPORT(enum, tracepoint);
EXPORT(enum, loss_reason);
EXPORT(struct, event_header);
EXPORT(struct, losses_record);

/* Programs on one CPU interrupt each other, so even counters need atomics. Returns the number of earlier hits. */
static __always_inline __u64 count_fired(enum tracepoint tracepoint)
{
	return __sync_fetch_and_add(&counters[tracepoint].fired, 1);
}

static __always_inline void count_filtered(enum tracepoint tracepoint)
{
	__sync_fetch_and_add(&counters[tracepoint].filtered, 1);
}

static __always_inline void count_lost(enum tracepoint tracepoint, enum loss_reason reason)
{
	__sync_fetch_and_add(&counters[tracepoint].lost[reason], 1);
	__sync_fetch_and_add(&counters[tracepoint].untold[reason], 1);
	*(volatile __u32 *)&untold_losses = 1;
}

/* The node pays for waking the reader, so it is done once for each sleep. */
static __always_inline __u64 wake_flags(void)
{
	if (*(volatile __u32 *)&woken || bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < wake_mark)
		return BPF_RB_NO_WAKEUP;
	*(volatile __u32 *)&woken = 1;
	return BPF_RB_FORCE_WAKEUP;
}

/* The same for small events that fire often. Some hundreds of these do not fill the ring buffer, so only about one
 * in 64 looks. The clock decides which one: wanted events may follow a pattern that counting would miss. */
static __always_inline __u64 seldom_wake_flags(const struct event_header *header)
{
	return header->boot_ns & 63 ? BPF_RB_NO_WAKEUP : wake_flags();
}

/* Records a gap at its place: before the first record that gets through after it. Not zero if there is no room for
 * it, so that no record goes first, however small. */
static __always_inline int tell_losses(const struct event_header *next)
{
	if (!*(volatile __u32 *)&untold_losses)
		return 0;
	struct losses_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record)
		return 1;
	*(volatile __u32 *)&untold_losses = 0;
	record->header = *next;
	record->header.tracepoint = LOSSES;
	record->header.text_length = 0;
	for (int i = 0; i < TRACEPOINT_COUNT; i++)
		for (int j = 0; j < LOSS_REASON_COUNT; j++)
			record->counts[i][j] = __sync_lock_test_and_set(&counters[i].untold[j], 0);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline struct event_header header(enum tracepoint tracepoint)
{
	return (struct event_header){
		.boot_ns = bpf_ktime_get_boot_ns(),
		.tracepoint = tracepoint,
	};
}

/* Sends a whole record of `size` bytes, its text included. Not zero if it is lost. */
static __always_inline long send(enum tracepoint tracepoint, struct event_header *record, __u64 size)
{
	long error = tell_losses(record) || bpf_ringbuf_output(&ring, record, size, wake_flags());

	if (error)
		count_lost(tracepoint, RING_FULL);
	return error;
}

/* The zero-based argument of a tracepoint, widened by its own width and sign. */
static __always_inline long argument(struct pt_regs *ctx, __u64 index)
{
	long value;

	bpf_usdt_arg(ctx, index, &value);
	return value;
}

/* Where an argument of the program's tracepoint is, set before loading from the notes in the node's program. The
 * verifier drops code that these constants rule out. What is left for an argument in a register is one load, a tenth
 * of libbpf's bpf_usdt_arg, which finds the place anew at each hit. */
enum place {
	/* libbpf finds it. */
	PLACE_OTHER,
	PLACE_REGISTER,
	/* At `offset` from the address in a register. */
	PLACE_MEMORY,
	/* The argument is `offset` itself. */
	PLACE_CONSTANT,
};

struct argument_place {
	__s64 offset;
	__u8 place;
	/* The register's place in struct pt_regs, in words. */
	__u8 word;
	__u8 bytes;
	__u8 is_signed;
	__u8 reserved[4];
};

#define ARGUMENTS_MAX 8

const volatile struct argument_place places[ARGUMENTS_MAX] SEC(".rodata.places") = {};
EXPORT(enum, place);

#define WORD(number)                                                                                                   \
	case number:                                                                                                   \
		asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"(8 * (number)));                    \
		break;
#define WORDS(first) WORD(first) WORD(first + 1) WORD(first + 2) WORD(first + 3)

/* A register. Programs can read the context only at constant offsets, so each register has an instruction of its
 * own. */
static __always_inline long register_word(struct pt_regs *ctx, __u8 word)
{
	long value = 0;

	switch (word) {
		WORDS(0)
		WORDS(4)
		WORDS(8)
#ifdef __TARGET_ARCH_x86
		/* Of the others only the stack pointer. */
		WORD(12) WORD(13) WORD(14) WORD(19)
#else
		WORDS(12)
		WORDS(16)
		WORDS(20)
		WORDS(24)
		WORDS(28)
#endif
	}
	return value;
}

/* As argument(), for tracepoints that fire often: fast, but much code. */
static __always_inline long quick_argument(struct pt_regs *ctx, __u64 index)
{
	const volatile struct argument_place *at = &places[index];
	__u32 unused_bits = 64 - 8 * at->bytes;
	long value;

	if (at->place == PLACE_OTHER)
		return argument(ctx, index);
	if (at->place == PLACE_CONSTANT)
		return at->offset;
	value = register_word(ctx, at->word);
	if (at->place == PLACE_MEMORY) {
		const void *from = (const void *)(value + at->offset);

		value = 0;
		/* The stack of a running thread, or memory that it has just used. */
		if (bpf_probe_read_user(&value, sizeof(value), from))
			bpf_copy_from_user(&value, sizeof(value), from);
	}
	value <<= unused_bits;
	return at->is_signed ? value >> unused_bits : (long)((unsigned long)value >> unused_bits);
}

/* Reads memory of the node: first without faults, which is cheap. If the page is not resident, faults it in. `size`
 * has a bound that the verifier sees. */
static __always_inline long read_bytes(void *to, __u32 size, const void *from)
{
	if (!bpf_probe_read_user(to, size, from))
		return 0;
	return bpf_copy_from_user(to, size, from);
}

#define PAGE_BYTES 4096

/* Reads a C string. Returns its length without the zero, or a negative error. If a page is not resident, reads a
 * byte of each of the two pages that it can be in, which faults them in. */
static __always_inline long read_text(char *to, __u32 size, const char *from)
{
	long length = bpf_probe_read_user_str(to, size, from);

	if (length < 0) {
		const char *next_page = (const char *)(((unsigned long)from | (PAGE_BYTES - 1)) + 1);
		char byte;

		bpf_copy_from_user(&byte, 1, from);
		if (next_page < from + size)
			bpf_copy_from_user(&byte, 1, next_page);
		length = bpf_probe_read_user_str(to, size, from);
	}
	/* For an empty string older kernels return 0 and write nothing; newer ones count the zero. */
	if (!length) {
		*to = 0;
		return 0;
	}
	return length - 1;
}

/* Reads the text that follows a record's struct: its length, or a negative error. */
static __always_inline long read_record_text(struct event_header *header, char *text, const char *from)
{
	long length = read_text(text, TEXT_SIZE, from);

	/* Never more than fits; the check is for the verifier. */
	if (length < 0 || length >= TEXT_SIZE)
		return -1;
	header->text_length = length;
	return length;
}

#endif
