// The tracepoints of Bitcoin Core in one of its releases.
//
// In: LAYOUT, the release, from the compiler's command line; `tracepoints.h`, which build/header.rs makes of the table
// src/table.rs. Out: `simnode_probes()`, with one function for each tracepoint, or NULL if the release lacks it.
// Providers, names, order, widths and signs of the arguments are those of Bitcoin Core (doc/tracing.md there).
//
// LAYOUT 27 is v27 with the patch that gave it connection tracepoints before v29 had them, with five arguments for
// net:misbehaving_connection.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LAYOUT
#error "LAYOUT is 23, 25, 26, 27, 29 or 31"
#endif

#define HAS_SEMAPHORES (LAYOUT >= 29)
#define IS_PATCHED (LAYOUT == 27)

#if HAS_SEMAPHORES
#define _SDT_HAS_SEMAPHORES 1
#endif
#define SDT_USE_VARIADIC 1

#if HAS_SEMAPHORES
// The tracer counts itself in here; at zero the tracepoint is not executed.
#define SEMAPHORE(provider, name) unsigned short provider##_##name##_semaphore __attribute__((section(".probes")))
#define ATTACHED(provider, name) (provider##_##name##_semaphore > 0)
#else
#define SEMAPHORE(provider, name) _Static_assert(true, "no semaphores before v29")
#define ATTACHED(provider, name) true
#endif

#include <sys/sdt.h>

#define FIRE(provider, name, ...)                                                                                      \
	do {                                                                                                           \
		if (ATTACHED(provider, name)) {                                                                        \
			STAP_PROBEV(provider, name, __VA_ARGS__);                                                      \
		}                                                                                                      \
	} while (0)

// Semaphores, and the functions that fire what they are given.
#include "tracepoints.h"

// Below are the functions of tracepoints whose arguments differ between releases.

// The type of a transaction's virtual size.
#if LAYOUT >= 26
typedef int32_t vsize_t;
#else
typedef uint64_t vsize_t;
#endif

#if LAYOUT >= 27
// Only the patched v27 fires the scores.
static void misbehaving_connection(int64_t peer, int32_t score_before, int32_t score_increase, const char *reason,
				   bool threshold_exceeded)
{
#if IS_PATCHED
	FIRE(net, misbehaving_connection, peer, score_before, score_increase, reason, threshold_exceeded);
#else
	(void)score_before;
	(void)score_increase;
	(void)threshold_exceeded;
	FIRE(net, misbehaving_connection, peer, reason);
#endif
}
#endif

static void block_connected(const unsigned char *hash, int32_t height, uint64_t transactions, int32_t inputs,
			    int64_t sigops, int64_t nanoseconds)
{
#if LAYOUT >= 25
	int64_t duration = nanoseconds;
#else
	int64_t duration = nanoseconds / 1000;
#endif
	FIRE(validation, block_connected, hash, height, transactions, inputs, sigops, duration);
}

#if LAYOUT >= 25
static void mempool_added(const unsigned char *txid, int32_t vbytes, int64_t fee)
{
	vsize_t vsize = (vsize_t)vbytes;
	FIRE(mempool, added, txid, vsize, fee);
}

static void mempool_removed(const unsigned char *txid, const char *reason, int32_t vbytes, int64_t fee,
			    uint64_t entry_time)
{
	vsize_t vsize = (vsize_t)vbytes;
	FIRE(mempool, removed, txid, reason, vsize, fee, entry_time);
}

static void mempool_replaced(const unsigned char *txid, int32_t vbytes, int64_t fee, uint64_t entry_time,
			     const unsigned char *new_id, int32_t new_vbytes, int64_t new_fee, bool new_id_is_txid)
{
	vsize_t vsize = (vsize_t)vbytes;
	vsize_t new_vsize = (vsize_t)new_vbytes;
#if LAYOUT >= 29
	FIRE(mempool, replaced, txid, vsize, fee, entry_time, new_id, new_vsize, new_fee, new_id_is_txid);
#else
	(void)new_id_is_txid;
	FIRE(mempool, replaced, txid, vsize, fee, entry_time, new_id, new_vsize, new_fee);
#endif
}
#endif

const struct probes *simnode_probes(void);

const struct probes *simnode_probes(void)
{
	return &probes;
}
